"""What the user asked of the data, and the name a study takes from its source."""

import re
from dataclasses import dataclass
from pathlib import PurePath

from nntune.errors import UsageError

ENDINGS = (
    ".csv",
    ".tsv",
    ".txt",
    ".tab",
    ".dat",
    ".parquet",
    ".pq",
    ".jsonl",
    ".ndjson",
    ".json",
    ".npz",
)


@dataclass(frozen=True)
class Request:
    """What to read, what to predict, and what the user knows better than the detection.

    Args:
        source: a path, '-' for standard input, or 'sklearn:NAME'.
        target: column to predict; its own where the source has one (sklearn, npz).
        task: 'auto', 'binary', 'multiclass' or 'regression'.
        valid: file whose rows validate, instead of a share of the source.
        test: file whose rows test, instead of a share of the source.
        text: columns to read as text.
        ngrams: lengths of the runs of words that count as terms, such as 1:2; 0 for none.
        characters: the same of characters within words.
        vocabulary: terms of each kind in a column, at most.
        case: 'lower' takes capitals for small letters, 'kept' tells them apart.
        bins: features for places in so many bins beside each number; what is usual if not given.
        seed: fixes which rows go where.
        cv: folds to validate on in turn; one split if not given, or 0 or 1.
        group: column whose equal values stay in one split; no feature unless asked for.
        image: the columns are pixels of images of this size, such as 28x28 or 32x32x3.
        series: the columns are the steps of one series a row.
        time: column that orders the rows, which are then split by time.
        lags: so many rows back, their numbers are features too.
        subsample: so many training and validation rows do for the search; the test rows stay all.
    """

    source: str
    target: str | None = None
    task: str = "auto"
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    valid: str | None = None
    test: str | None = None
    seed: int = 0
    cv: int | None = None
    group: str | None = None
    image: str | None = None
    series: bool = False
    time: str | None = None
    lags: int | None = None
    text: tuple[str, ...] = ()
    ngrams: str = "1:2"
    characters: str = "4"
    vocabulary: int = 20_000
    subsample: int | None = None
    bins: int | None = None
    case: str = "lower"


def refuse_one_fold(request: Request) -> None:
    """Refuse --cv 1, which says nothing; a study keeps it all the same where it has one split.

    Raises:
        UsageError: one fold is asked for.
    """
    if request.cv == 1:
        raise UsageError("--cv 1: one fold has nothing to be validated on; --cv takes 2 or more.")


def study_name(source: str) -> str:
    """Name of a study on this source, fit to be a file name.

    >>> [study_name(s) for s in ("data/adult.csv.gz", "sklearn:digits", "-", "my sales.csv")]
    ['adult', 'digits', 'stdin', 'my_sales']
    """
    if source == "-":
        return "stdin"
    name = PurePath(source.removeprefix("sklearn:")).name
    name = name[:-3] if name.lower().endswith(".gz") else name
    ending = next((e for e in ENDINGS if name.lower().endswith(e)), "")
    return re.sub(r"[^\w.+-]+", "_", name.removesuffix(name[len(name) - len(ending) :])) or "data"
