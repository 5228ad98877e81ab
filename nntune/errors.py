"""The one exception for the user's mistakes; everything else that is raised is a bug."""

from collections.abc import Iterable
from difflib import get_close_matches


class Error(Exception):
    """A mistake in what the user gave: one sentence, what is wrong and what would be right."""

    exit_code = 2


class UsageError(Error):
    """The command line or the search space is wrong."""


class DataError(Error):
    """The data file cannot be used as it is."""

    exit_code = 3


class NotFoundError(Error):
    """There is no such study, trial or database."""

    exit_code = 4


class DatabaseError(Error):
    """The database is busy, damaged, not ours or newer than this version."""

    exit_code = 5


class OutputError(Error):
    """A file, or standard output, cannot be written."""

    exit_code = 5


class AllFailedError(Error):
    """Every trial failed, or the workers died again and again."""

    exit_code = 6


class CrashError(Error):
    """The same exception ended one training after the other; its traceback is in the message."""

    exit_code = 1


class ClusterError(Error):
    """The scheduler or its workers cannot be used, or are gone."""

    exit_code = 6


class RefusedError(Error):
    """Going on would change what a study means; a flag is needed to say so."""

    exit_code = 7


def removed(folder: str) -> DataError:
    """What to raise where temporary files are gone."""
    return DataError(
        f"the temporary files in {folder} were removed while nntune ran; all finished trials are "
        "kept, the same command goes on from here."
    )


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """A hint with a leading blank, or nothing.

    >>> did_you_mean("qualty", ["quality", "alcohol"])
    " Did you mean 'quality'?"
    """
    known = list(options)
    begun = [option for option in known if word and option.startswith(word)]
    close = begun or get_close_matches(word, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
