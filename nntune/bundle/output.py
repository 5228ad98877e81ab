"""Predictions as csv or parquet, written as they come and whole or not at all."""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nntune import outputs
from nntune.bundle.format import Bundle
from nntune.errors import OutputError, UsageError

# A spreadsheet takes a cell that begins so for a formula and may run it.
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_FORMATS = (".csv", ".parquet", ".pq")


class Part(NamedTuple):
    """Predictions of some rows in a row."""

    values: NDArray[np.float64]  # (N, classes) probabilities, or (N, 1)
    files: tuple[str, ...] = ()  # of pictures: which each row is


Parts = Iterable[Part]


def safe(label: str) -> str:
    """A label that no spreadsheet takes for a formula: those that begin like one get a quote.

    Numbers stay as they are, and so does everything in parquet.

    >>> safe("=1+1"), safe("-1"), safe("@home"), safe("yes")
    ("'=1+1", '-1', "'@home", 'yes')
    """
    is_formula = _FORMULA.match(label) and not _NUMBER.fullmatch(label)
    return f"'{label}" if is_formula else label


def cell(text: str) -> str:
    """A cell of a csv file.

    >>> cell('a "b", c')
    '"a ""b"", c"'
    """
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text


def check(path: Path, *, force: bool) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        RefusedError: there is a file already.
        UsageError: its ending is none that is known, it is a folder, or lies in none.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"-o {path}: predictions are written to .csv or .parquet files.")
    outputs.check_free(path, force=force)


def write(
    path: Path | None, bundle: Bundle, parts: Parts, *, proba: bool, force: bool = False
) -> int:
    """Writes a header and a line for each row; returns how many rows there were.

    Args:
        path: of a csv or parquet file; standard output if not given.
        bundle: says the labels.
        parts: the rows in order; where they have files, these are the first column.
        proba: a column of probabilities for each class too.
        force: take the place of a file that is there.

    Raises:
        OutputError: the file cannot be written.
    """
    parts = iter(parts)
    first = list(islice(parts, 1))  # what is wrong with the table comes before any output
    names = columns(bundle, proba=proba, files=any(part.files for part in first))
    parts = chain(first, parts)
    if path is None:
        sys.stdout.flush()
        return _write_lines(sys.stdout.buffer.write, bundle, parts, names, safe)
    with outputs.replacing(path, force=force) as new:
        if path.suffix.lower() == ".csv":
            with new.open("wb") as file:
                return _write_lines(file.write, bundle, parts, names, safe)
        return _write_parquet(new, bundle, parts, names)


def columns(bundle: Bundle, *, proba: bool, files: bool = False) -> list[str]:
    """Names of the columns of predictions."""
    probabilities = [f"probability_{label}" for label in bundle.classes if proba]
    return [*["file"] * files, "prediction", *probabilities]


def _write_lines(
    write: Callable[[bytes], Any],
    bundle: Bundle,
    parts: Parts,
    names: Sequence[str],
    escape: Callable[[str], str],
) -> int:
    labels = np.array([cell(escape(label)) for label in bundle.classes], object)
    write((",".join(map(cell, names)) + "\n").encode())
    proba = names[-1] != "prediction"
    rows = 0
    for values, files in parts:
        if len(values) == 0:
            continue
        lines = _lines(values, labels, proba=proba)
        if files:
            lines = [f"{cell(escape(f))},{line}" for f, line in zip(files, lines, strict=True)]
        write(("\n".join(lines) + "\n").encode())
        rows += len(values)
    return rows


def _lines(part: NDArray[np.float64], labels: NDArray[Any], *, proba: bool) -> list[str]:
    # Nine digits give back every number in single precision, which is what a network has.
    if len(labels) == 0:
        return [f"{value:.9g}" for value in part[:, 0].tolist()]
    chosen: list[str] = labels[part.argmax(1)].tolist()
    if not proba:
        return chosen
    form = ",".join(["%s", *["%.9g"] * len(labels)])
    return [form % (label, *row) for label, row in zip(chosen, part.tolist(), strict=True)]


def _write_parquet(new: Path, bundle: Bundle, parts: Parts, names: Sequence[str]) -> int:
    """By way of a csv file on disk, so that memory holds one part at a time."""
    import duckdb

    from nntune.data import ducks

    kinds = {"file": "varchar", "prediction": "varchar" if bundle.classes else "double"}
    # Numbered inside: to DuckDB names that differ in case alone are one, and the later gets a _1.
    types = ", ".join(f"'c{i}': '{kinds.get(n, 'double')}'" for i, n in enumerate(names))
    picked = ", ".join(f"c{i} as {ducks.quoted(n)}" for i, n in enumerate(names))
    with TemporaryDirectory(prefix="nntune-", dir=new.parent) as folder:
        kept = Path(folder, "predictions")
        with kept.open("wb") as file:
            rows = _write_lines(file.write, bundle, parts, names, str)
        con = ducks.connect()
        try:
            con.execute(
                f"copy (select {picked} from read_csv({ducks.literal(kept)}, auto_detect=false, "
                f"header=true, delim=',', quote='\"', escape='\"', columns={{{types}}})) "
                f"to {ducks.literal(new)} (format parquet)"
            )
        except duckdb.Error as error:
            raise OutputError(f"the parquet file cannot be written: {error}.") from None
        finally:
            con.close()
    return rows
