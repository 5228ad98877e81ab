"""Delimited text through DuckDB's sniffer: delimiter, quoting, header or none, types.

The sniffer sees the first 20,480 rows. Names are read as written and columns are numbered
inside, so that duplicate, empty or odd names cannot confuse a query. Of a file of long lines the
sniffer sees the first hundred alone: for ten thousand columns it takes minutes otherwise, however
few rows it is told to look at.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from nntune.data import ducks
from nntune.data.files import scratch
from nntune.data.table import Table
from nntune.errors import DataError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DELIMITERS = (",", ";", "\t", "|", " ")
_LONG, _HEAD = 20_000, 100  # characters of a first line, and lines that tell how it is written


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written, and what its columns hold."""

    delimiter: str
    quote: str
    skip: int
    header: bool
    names: tuple[str, ...]  # as written; by position where there is no header
    types: tuple[str, ...]

    def options(self, header: bool) -> str:
        given = {"delim": self.delimiter, "quote": self.quote, "escape": self.quote}
        texts = [f"{key}={ducks.literal(value)}" for key, value in given.items()]
        return ", ".join([*texts, f"skip={self.skip}", f"header={str(header).lower()}"])


def dialect(
    con: "DuckDBPyConnection", path: Path, name: str, hint: str | Sequence[str] | None
) -> Dialect:
    """What the sniffer finds, with the header settled by names that it should have, if any."""
    if _lines(path) == 0:
        raise DataError(f"{name} is empty")
    with _head(path) as head:
        found = _sniff(con, head, name)
        if len(found.types) == 1:
            found = _resniffed(con, path, name, found)
        elif found.delimiter == "," and (mark := _beside_decimal_commas(path)):
            found = _sniff(con, head, name, f", delim={ducks.literal(mark)}")
        first = _first_row(con, head, name, found)
    numbered = [str(i) for i in range(len(first))]
    header = found.header
    hints = {hint} if isinstance(hint, str) else set(hint or ())
    # What a user calls 10 may be the column at that place, and 10 a number of the first row.
    names = hints - set(numbered) if isinstance(hint, str) else hints
    if first and (names & set(first) or first == numbered):
        header = True
    elif hints & set(_by_position(len(found.types))):
        header = False
    written = first if header else _by_position(len(found.types))
    return replace(found, header=header, names=tuple(written))


@contextmanager
def _head(path: Path) -> Iterator[Path]:
    """The file; if its lines are long a file of the first of them."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = [file.readline()]
        if len(lines[0]) > _LONG:
            lines += islice(file, _HEAD)
    if len(lines) <= _HEAD:
        yield path
        return
    with scratch() as folder:
        short = folder / "head"
        short.write_text("".join(lines), encoding="utf-8", newline="")
        yield short


def _by_position(count: int) -> list[str]:
    return [f"column{i}" for i in range(count)]


def _sniff(con: "DuckDBPyConnection", path: Path, name: str, options: str = "") -> Dialect:
    import duckdb

    query = f"""select Delimiter, Quote, SkipRows, HasHeader, Columns
                from sniff_csv({ducks.literal(path)}{options})"""
    try:
        row = con.execute(query).fetchone()
    except duckdb.Error as error:
        raise DataError(complaint(name, str(error))) from None
    assert row is not None
    quote = '"' if row[1] in ("(empty)", "") else row[1]
    types = tuple(column["type"] for column in row[4])
    return Dialect(row[0], quote, row[2], row[3], (), types)


def _resniffed(con: "DuckDBPyConnection", path: Path, name: str, found: Dialect) -> Dialect:
    """One column is mostly a sniffer that gave up: on rows of unequal length, on blanks."""
    with path.open(encoding="utf-8") as file:
        head = [line for _, line in zip(range(20), file, strict=False) if line.strip()]
    for mark in DELIMITERS:
        least = min(line.count(mark) for line in head)
        if least > 0 and (mark != " " or len({line.count(mark) for line in head}) == 1):
            _refuse_uneven_rows(path, name, replace(found, delimiter=mark, skip=0))
            return _sniff(con, path, name, f", delim={ducks.literal(mark)}, strict_mode=false")
    return found


def _beside_decimal_commas(path: Path) -> str:
    """The mark that divides rows whose commas are all decimal, as in 60,83;29,38; else nothing."""
    with path.open(encoding="utf-8") as file:
        head = [line for _, line in zip(range(50), file, strict=False) if line.strip()]
    for mark in (";", "\t"):
        rows = [line.split(mark) for line in head]
        is_even = len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
        if is_even and all(cell.count(",") <= 1 for row in rows for cell in row):
            return mark
    return ""


def _refuse_uneven_rows(path: Path, name: str, found: Dialect) -> None:
    """Find the first row that is longer or shorter than the first.

    Raises:
        DataError: there is one; the sentence has its line.
    """
    with path.open(encoding="utf-8", newline="") as file, suppress(csv.Error):
        reader = csv.reader(
            islice(file, found.skip, None), delimiter=found.delimiter, quotechar=found.quote,
            strict=True,
        )  # fmt: skip
        rows = filter(None, reader)
        width = len(next(rows, ()))
        for row in rows:
            if len(row) != width:
                raise DataError(
                    f"{name}, line {found.skip + reader.line_num}: "
                    f"{len(row)} values where {width} are expected"
                )


def _first_row(
    con: "DuckDBPyConnection", path: Path, name: str, found: Dialect
) -> list[str]:  # (columns,)
    import duckdb

    query = f"""
        select * from read_csv({ducks.literal(path)}, all_varchar=true, auto_detect=false,
            null_padding=true, parallel=false, columns={_struct(["VARCHAR"] * len(found.types))},
            {found.options(header=False)}) limit 1"""
    try:
        row = con.execute(query).fetchone() or ()
    except duckdb.Error as error:
        raise DataError(complaint(name, str(error))) from None
    if len(row) != len(found.types):
        raise DataError(complaint(name, "" if row else "unterminated quote"))
    return [(cell or "").strip() for cell in row]


def _struct(types: list[str]) -> str:
    return "{" + ", ".join(f"'c{i}': '{t}'" for i, t in enumerate(types)) + "}"


def read_delimited(path: Path, name: str, hint: str | None = None) -> Table:
    """The table of a UTF-8 file.

    Args:
        path: the file.
        name: how messages call it.
        hint: name of the target, if known; tells a header from a first row.

    Raises:
        DataError: a row has too many or too few values, or there are no rows.
    """
    con = ducks.connect()
    found = dialect(con, path, name, hint)
    names, notes = unique_names(found.names, name, hint)
    kinds = _stage(con, path, name, found)
    cells = ducks.columns(con, "staged", kinds)
    texts = [f"c{place}" for place in range(len(cells))]
    cells = ducks.with_wholes(con, cells, texts, _source(path, found, ["VARCHAR"] * len(cells)))
    con.close()
    table = dict(zip(names, cells, strict=True))
    if len(cells[0]) == 0 and _lines(path) > found.skip + 1:
        raise DataError(complaint(name, "unterminated quote"))
    if found.skip:
        what = f"{found.skip} lines of" if found.skip > 1 else "line of"
        notes = (f"skipped, as no part of the table: the first {what} {name}", *notes)
    return Table(name, table, headerless=not found.header, notes=notes)


def _lines(path: Path) -> int:
    """Lines with text, counted up to a thousand."""
    with path.open(encoding="utf-8") as file:
        return sum(1 for _, line in zip(range(1000), file, strict=False) if line.strip())


def _stage(con: "DuckDBPyConnection", path: Path, name: str, found: Dialect) -> list[str]:
    """Read the file into the table `staged`; what its columns hold.

    Types from the first rows may fail further down; then the whole file decides.
    """
    import duckdb

    kinds = ["number" if ducks.kind(t) == "number" else "string" for t in found.types]
    try:
        con.execute(_staging(path, found, kinds))
    except duckdb.ConversionException:
        return _stage_texts(con, path, name, found)
    except duckdb.Error as error:
        if "CAST" in str(error).upper() or "convert" in str(error).lower():
            return _stage_texts(con, path, name, found)
        _refuse_uneven_rows(path, name, found)
        raise DataError(complaint(name, str(error))) from None
    return kinds


def _stage_texts(con: "DuckDBPyConnection", path: Path, name: str, found: Dialect) -> list[str]:
    import duckdb

    kinds = ["string"] * len(found.types)
    try:
        con.execute(_staging(path, found, kinds))
    except duckdb.Error as error:
        _refuse_uneven_rows(path, name, found)
        raise DataError(complaint(name, str(error))) from None
    return kinds


def _staging(path: Path, found: Dialect, kinds: list[str]) -> str:
    types = ["DOUBLE" if k == "number" else "VARCHAR" for k in kinds]
    picked = ", ".join(f"{ducks.stored(f'c{i}', t)} as c{i}" for i, t in enumerate(types))
    return (
        f"create or replace temp table staged as select {picked} from {_source(path, found, types)}"
    )


def _source(path: Path, found: Dialect, types: list[str]) -> str:
    return (
        f"read_csv({ducks.literal(path)}, auto_detect=false, columns={_struct(types)}, "
        f"{found.options(found.header)})"
    )


def complaint(name: str, message: str) -> str:
    """DuckDB's paragraph as one sentence.

    >>> complaint("a.csv", "CSV Error on Line: 3 ... Expected Number of Columns: 3 Found: 2")
    'a.csv, line 3: 2 values where 3 are expected'
    """
    line = re.search(r"on Line: (\d+)", message)
    place = f"{name}, line {line[1]}" if line else name
    if "Out of Memory" in message:
        return f"there is not enough memory to read {name}; --subsample reads a part of its rows"
    count = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if count:
        return f"{place}: {count[2]} values where {count[1]} are expected"
    if "quote" in message.lower() and "unterminated" in message.lower():
        return f"{place}: a quote is opened and never closed"
    return f"{place} cannot be read as delimited text; check its delimiter and quotes"


def unique_names(
    names: tuple[str, ...], source: str, target: str | None
) -> tuple[list[str], tuple[str, ...]]:
    """Names without blanks around, empty ones by position, repeated ones numbered from 2.

    >>> unique_names(("x", "", "x"), "a.csv", None)
    (['x', 'column1', 'x_2'], ("a.csv has two columns named 'x'; the later is called 'x_2' here",))

    Raises:
        DataError: the target is one of the repeated names.
    """
    taken: dict[str, None] = {}
    notes: list[str] = []
    for place, written in enumerate(names):
        name, number = written.strip() or f"column{place}", 2
        if name in taken and name == target:
            raise DataError(
                f"{source} has more than one column named {target!r}; rename all but one"
            )
        while name in taken:
            name, number = f"{written.strip() or f'column{place}'}_{number}", number + 1
        if written.strip() in taken:
            notes.append(
                f"{source} has two columns named {written.strip()!r}; "
                f"the later is called {name!r} here"
            )
        taken[name] = None
    return list(taken), tuple(notes)
