"""Files that a command writes: whole or not at all, and over no other unless that was asked for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nntune.errors import OutputError, RefusedError, UsageError


def check_free(path: Path, *, force: bool) -> None:
    """Refuse a path that is taken, before any work is done for it.

    Raises:
        RefusedError: there is a file already, and `force` was not given.
        UsageError: it is a folder, or lies in none.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; -o names a file to write.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}.")
    if path.exists() and not force:
        raise _there(path)


def check_ending(path: Path, endings: tuple[str, ...]) -> None:
    """Refuse a name by which others would take the file for something else.

    Raises:
        UsageError: it has none of the endings.
    """
    if path.suffix.lower() not in endings:
        raise UsageError(f"-o {path}: name a file that ends in {' or '.join(endings)}.")


def check_other(path: Path, *sources: str | Path) -> None:
    """Refuse a path that is one of the files that are read.

    Raises:
        UsageError: it would be lost.
    """
    for source in map(Path, sources):
        if path.exists() and source.exists() and path.samefile(source):
            raise UsageError(f"-o {path} is what is read here; name another file to write.")


@contextmanager
def replacing(path: Path, *, force: bool) -> Iterator[Path]:
    """A file beside the path that takes its place once it is whole; `check_free` comes before.

    Its name has the ending of the path, by which libraries tell what to write.

    Raises:
        RefusedError: a file has appeared there meanwhile, and `force` was not given.
        OutputError: it cannot be written.
    """
    new = path.with_name(f".{os.getpid()}.new.{path.name}")
    try:
        yield new
        _put(new, path, force=force)
    except FileExistsError:
        raise _there(path) from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def put(path: Path, content: bytes, *, force: bool) -> None:
    """Writes any file, whole or not at all.

    Raises:
        RefusedError: there is a file already, and `force` was not given.
        UsageError: it is a folder, or lies in none.
        OutputError: it cannot be written.
    """
    check_free(path, force=force)
    with replacing(path, force=force) as new:
        new.write_bytes(content)


def _there(path: Path) -> RefusedError:
    return RefusedError(f"{path} is there already; --force writes over it, -o names another.")


def _put(new: Path, path: Path, *, force: bool) -> None:
    """Gives a whole file its name; a file that appeared meanwhile is not written over."""
    if force:
        os.replace(new, path)
        return
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.replace(new, path)
