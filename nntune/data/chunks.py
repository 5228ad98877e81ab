"""A file in parts that fit in memory, read for a network that knows what its columns are.

Delimited text and JSON lines are cut between records and given to DuckDB a part at a time; parquet
is asked for ranges of rows. What a cell means is decided by the training column, never by the part
that it stands in, so a file gives the same however it is cut.
"""

import codecs
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from nntune.data import ducks
from nntune.data.delimited import Dialect, complaint, dialect, unique_names
from nntune.data.encoding import Feature
from nntune.data.files import decodes, even, file_format, plain_file, scratch, shown, utf8_file
from nntune.data.fitting import Columns, Doubts, filled, fit_cells
from nntune.data.roles import FALSE, TRUE
from nntune.data.table import GROUPED, MISSING, WHOLE, Cells, Dates, Numbers, Strings, Table
from nntune.errors import DataError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BLOCK = 16 << 20  # bytes of text that are read at once
PARQUET_ROWS = 1 << 17
_LONGEST = 256 << 20  # bytes of one record
# Columns of a query: planning one takes longer than linear in them.
_TOGETHER = 32
_OTHER = "\0"  # stands for every category that the network does not know
_Opened = tuple[Path, str, Iterator[bytes]]  # a plain file, its format, and its text in blocks


def chunks(source: str, columns: Columns, doubts: Doubts) -> Iterator[Table]:
    """The rows of a source in order, some in a row at a time, with the columns that are needed.

    Args:
        source: a path, '-' for standard input, or 'sklearn:NAME'.
        columns: what is needed.
        doubts: takes what could not be read.

    Raises:
        DataError: there is no such table, a column is missing, or it holds something else.
    """
    from nntune.data.arrays import read_arrays, read_sklearn
    from nntune.data.pictures import is_folder, read_pictures
    from nntune.data.reading import read as read_whole

    name = shown(source)
    if source.startswith("sklearn:"):
        yield columns.fitted(read_sklearn(source), doubts)
        return
    if columns.history is not None:
        yield from _both(read_whole(source, columns.history.target), columns, doubts)
        return
    if is_folder(source):
        yield from _both(read_pictures(source, columns.image), columns, doubts)
        return
    opened = _piped() if source == "-" else _opened_file(source, name)
    with opened as (path, form, blocks), closing(_connected()) as con:
        if form == "npz":
            answers = any(feature.column == "y" for feature in columns.features)
            yield from _both(read_arrays(path, name, answers=answers), columns, doubts)
            return
        reader = _Reader(con, columns, doubts, name, form)
        if form == "parquet":
            yield from reader.parquet(path)
        else:
            with scratch() as folder:
                part = folder / "part"
                read = reader.delimited if form == "csv" else reader.json_lines
                yield from read(blocks, part)


def _both(table: Table, columns: Columns, doubts: Doubts) -> Iterator[Table]:
    """A whole table, then the rows that it keeps apart."""
    doubts.notes += table.notes
    yield columns.fitted(table, doubts)
    if table.test is not None:
        doubts.notes.append(
            f"{table.name}: {table.rows:,} rows of X_train come first, then {table.test.rows:,} of "
            "X_test"
        )
        yield columns.fitted(table.test, doubts)


def _connected() -> "DuckDBPyConnection":
    con = ducks.connect()
    con.execute("set preserve_insertion_order = true")
    # They would read every cell in the slow way too, and join it with the words for missing.
    con.execute("set disabled_optimizers = 'common_subexpressions,in_clause'")
    return con


@contextmanager
def _piped() -> Iterator[_Opened]:
    """Plain text as it comes; what is packed or in another encoding from a file."""
    if sys.stdin.isatty():
        raise DataError("standard input is a terminal; pipe a table into it or name a file")
    stream = sys.stdin.buffer
    first = stream.read(BLOCK)
    if not first:
        raise DataError("standard input is empty")
    if _is_plain_text(first):
        if first.startswith(codecs.BOM_UTF8):
            first = first[3:] + stream.read(3)
        form = "jsonl" if first.lstrip()[:1] == b"{" else "csv"
        yield Path("-"), form, _still_utf8(chain([first], _read(stream)))
        return
    with scratch() as folder:
        kept = folder / "input"
        with kept.open("wb") as file:
            file.write(first)
            shutil.copyfileobj(stream, file, 1 << 20)
        with _opened_file(str(kept), "standard input") as found:
            yield found


@contextmanager
def _opened_file(source: str, name: str) -> Iterator[_Opened]:
    with plain_file(source) as path:
        form = file_format(source, path)
        if form in ("parquet", "npz"):
            yield path, form, iter(())
            return
        plain, _ = utf8_file(path, name)
        with plain.open("rb") as stream:
            yield plain, form, _read(stream)


def _read(stream: BinaryIO) -> Iterator[bytes]:
    return iter(partial(stream.read, BLOCK), b"")


def _is_plain_text(first: bytes) -> bool:
    """Whether standard input can be read as it comes: UTF-8, not packed."""
    head = first[:4096]
    if head[:2] in (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff") or b"\0" in head or head[:4] == b"PAR1":
        return False
    return decodes(codecs.getincrementaldecoder("utf-8")(), first, len(first) < BLOCK)


def _still_utf8(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks again: what came through a pipe cannot be read once more in another encoding.

    Raises:
        DataError: one is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    for block in blocks:
        if not decodes(decoder, block):
            raise DataError(
                "standard input begins as UTF-8 and goes on in another encoding, such as "
                "Windows-1252; save it to a file and name that, or pipe it as UTF-8"
            )
        yield block


class _Reader:
    """DuckDB's view of the parts of one file."""

    def __init__(
        self, con: "DuckDBPyConnection", columns: Columns, doubts: Doubts, name: str, form: str
    ) -> None:
        self._con, self._columns, self._doubts = con, columns, doubts
        self._name, self._form = name, form
        self._types: list[str] = []  # in the file, of each needed column
        for place, feature in enumerate(columns.features):
            if feature.role == "categorical" and feature.levels:
                levels = ", ".join(ducks.literal(level) for level in feature.levels)
                con.execute(f"create type e{place} as enum ({levels})")

    def delimited(self, blocks: Iterator[bytes], part: Path) -> Iterator[Table]:
        """Parts of a delimited file."""
        line = 0
        for count, block in enumerate(_records(blocks, lambda first: self._sniffed(first, part))):
            part.write_bytes(even(block))
            found = self._dialect if count == 0 else replace(self._dialect, header=False, skip=0)
            columns = [f"c{place}" for place in range(len(found.names))]
            picked = self._picked(found.names, ["VARCHAR"] * len(columns), columns)
            types = ", ".join(f"'{column}': 'VARCHAR'" for column in columns)
            source = (
                f"read_csv({ducks.literal(part)}, auto_detect=false, columns={{{types}}}, "
                f"{found.options(found.header)})"
            )
            yield self._chunk(source, picked, line)
            line += block.count(b"\n")

    def _sniffed(self, block: bytes, part: Path) -> str:
        """Finds how the file is written in its first part; the quote."""
        part.write_bytes(even(block))
        needed = [feature.column for feature in self._columns.features]
        self._dialect: Dialect = dialect(self._con, part, self._name, needed)
        return self._dialect.quote

    def _named(self, written: Sequence[str]) -> list[str]:
        """Names as training has them."""
        counts = Counter(name.strip() for name in written)
        for name in {feature.column: None for feature in self._columns.features}:
            note = f"{self._name} has two columns named {name!r}; the network reads the first"
            if counts[name] > 1 and note not in self._doubts.notes:
                self._doubts.notes.append(note)
        return unique_names(tuple(written), self._name, None)[0]

    def json_lines(self, blocks: Iterator[bytes], part: Path) -> Iterator[Table]:
        """Parts of a file of JSON lines."""
        picked: tuple[str, list[str]] | None = None
        line = 0
        for block in _records(blocks, lambda _: ""):
            part.write_bytes(block)
            if picked is None:
                keys = self._keys(part)
                picked = self._picked(keys, ["VARCHAR"] * len(keys), [*map(ducks.quoted, keys)])
                wanted = {feature.column for feature in self._columns.features}
                named = zip(keys, self._named(keys), strict=True)
                needed = [ducks.literal(key) for key, name in named if name in wanted]
                types = ", ".join(f"{key}: 'VARCHAR'" for key in needed)
            source = (
                f"read_json({ducks.literal(part)}, format='newline_delimited', columns={{{types}}})"
            )
            yield self._chunk(source, picked, line)
            line += block.count(b"\n")

    def _keys(self, part: Path) -> list[str]:
        query = f"describe select * from read_json({ducks.literal(part)}, sample_size=-1)"
        return [row[0] for row in self._asked(query, 0).fetchall()]

    def parquet(self, path: Path) -> Iterator[Table]:
        """Ranges of rows of a parquet file."""
        file = ducks.literal(path)
        described = self._asked(f"describe select * from read_parquet({file})", 0).fetchall()
        names, types = [row[0] for row in described], [row[1] for row in described]
        picked = self._picked(names, types, [*map(ducks.quoted, names)])
        total = self._asked(f"select count(*) from read_parquet({file})", 0).fetchall()[0][0]
        for start in range(0, total, PARQUET_ROWS):
            source = (
                f"read_parquet({file}, file_row_number=true) "
                f"where file_row_number between {start} and {start + PARQUET_ROWS - 1}"
            )
            yield self._chunk(source, picked, 0)

    def _picked(
        self, written: Sequence[str], types: Sequence[str], columns: Sequence[str]
    ) -> tuple[str, list[str]]:
        """SQL of the text or number of all needed columns, and of what is fetched of each.

        Args:
            written: names in the file.
            types: DuckDB's.
            columns: what SQL calls them.
        """
        names = self._named(written)
        self._columns.check(names, self._name)
        places = {name: place for place, name in enumerate(names)}
        self._types = [types[places[feature.column]] for feature in self._columns.features]
        plain, fetched = [], []
        for place, feature in enumerate(self._columns.features):
            at = places[feature.column]
            kind = self._columns.kinds.get(feature.column, "string")
            plain.append(f"{_plain(columns[at], types[at], feature, kind)} as t{place}")
            fetched.append(_fetched(place, feature, kind, types[at]))
        return ", ".join(plain), fetched

    def _chunk(self, source: str, picked: tuple[str, list[str]], line: int) -> Table:
        plain, fetched = picked
        self._asked(f"create or replace temp table part as select {plain} from {source}", line)
        table: dict[str, Cells] = {}
        for start in range(0, len(fetched), _TOGETHER):
            few = fetched[start : start + _TOGETHER]
            query = ", ".join(f"{each} as c{place}" for place, each in enumerate(few, start))
            arrays = self._asked(f"select {query} from part", 0).fetchnumpy()
            for place in range(start, start + len(few)):
                feature = self._columns.features[place]
                cells = _cells(arrays[f"c{place}"], feature)
                table[feature.column] = self._read(place, feature, cells)
        return Table(self._name, table)

    def _read(self, place: int, feature: Feature, cells: Cells) -> Cells:
        """Cells as the feature reads them, with doubts noted."""
        if isinstance(cells, Numbers) and np.isinf(cells.values).any():
            self._doubt(place, feature)
        if isinstance(cells, Strings) and feature.role != "categorical":
            kind = self._columns.kinds.get(feature.column, "string")
            cells, count, example = fit_cells(cells, feature, kind)
            if count:
                self._doubts.add(self._name, feature, count, filled(cells) + count, example)
        return cells

    def _doubt(self, place: int, feature: Feature) -> None:
        """Counts the unreadable cells of a column in a part."""
        doubt = _doubt(place, feature, self._types[place])
        if not doubt:
            return
        clean = _clean(f"t{place}")
        count, example, filled = self._asked(
            f"select count(*) filter ({doubt}), min({clean}) filter ({doubt}), count({clean}) "
            "from part",
            0,
        ).fetchall()[0]
        self._doubts.add(self._name, feature, count, filled, example or "")

    def _asked(self, query: str, line: int) -> "DuckDBPyConnection":
        import duckdb

        try:
            return self._con.execute(query)
        except duckdb.Error as error:
            raise DataError(self._complaint(str(error), line)) from None

    def _complaint(self, message: str, line: int) -> str:
        """DuckDB's paragraph as one sentence, with the line in the whole file."""
        if self._form == "parquet":
            return f"{self._name} is not a whole parquet file; fetch or write it again"
        if self._form == "jsonl":
            found = re.search(r"line (\d+)", message)
            place = f", line {int(found[1]) + line}" if found else ""
            return (
                f"{self._name}{place}: this is not a JSON object; "
                "each line of a jsonl file holds one"
            )
        shifted = re.sub(r"on Line: (\d+)", lambda m: f"on Line: {int(m[1]) + line}", message)
        return complaint(self._name, shifted)


def _records(blocks: Iterator[bytes], sniff: Callable[[bytes], str]) -> Iterator[bytes]:
    """Whole records of about BLOCK bytes; `sniff` sees the first part and says the quote."""
    rest, quote, newline = b"", None, b"\n"
    for block in blocks:
        is_last = len(block) < BLOCK
        block = rest + block
        if quote is None:
            newline = b"\n" if b"\n" in block else b"\r"
            head = 0 if is_last else end_of_records(block, b'"', newline)
            quote = sniff(block[: head or None]).encode()
        end = end_of_records(block, quote, newline)
        rest = block[end:]
        if end:
            yield block[:end]
        elif len(rest) > _LONGEST:
            raise DataError(
                f"a row of more than {_LONGEST >> 20} MB; check the delimiter and the quotes"
            )
    if rest:
        yield rest


def end_of_records(block: bytes, quote: bytes, newline: bytes = b"\n") -> int:
    r"""Where the last whole record ends; 0 if there is none.

    >>> end_of_records(b'1,2\n3,"a\nb', b'"')
    4
    >>> end_of_records(b'1,5" nail\n2,x\n3', b'"')
    14
    """
    end = _by_parity(block, quote, newline)
    return end if end or quote not in block else _by_fields(block, quote, newline)


def _by_parity(block: bytes, quote: bytes, newline: bytes) -> int:
    """After the last line end with an even number of quotes before it."""
    quotes = block.count(quote) if quote else 0
    end = len(block)
    while (start := block.rfind(newline, 0, end)) >= 0:
        quotes -= block.count(quote, start, end) if quote else 0
        if quotes % 2 == 0:
            return start + 1
        end = start
    return 0


def _by_fields(block: bytes, quote: bytes, newline: bytes) -> int:
    """The same where single quotes stand inside fields: only one at a field's start opens it."""
    q = re.escape(quote)
    opens, inside = rb"(?:\A|(?<=[,;\t| \r\n]))" + q, rb"(?:[^" + q + rb"]|" + q + q + rb")*+"
    quoted = re.compile(opens + inside + rb"(?:" + q + rb"|\Z)")
    end = len(block)
    for field in reversed(list(quoted.finditer(block))):
        start = block.rfind(newline, field.end(), end)
        if start >= 0:
            return start + 1
        end = field.start()
    return block.rfind(newline, 0, end) + 1


def _quoted_words(words: frozenset[str]) -> str:
    return ", ".join(ducks.literal(word) for word in sorted(words))


def _plain(column: str, dtype: str, feature: Feature, trained: str) -> str:
    """A cell as its text, or as the number or the moment that it is."""
    kind = ducks.kind(dtype)
    # Of a date that is read as something else training saw the seconds.
    in_seconds = trained == "date" and feature.role != "date"
    if dtype == "VARCHAR":
        seconds = _spelled(f"epoch(try_cast({_clean(column)} as timestamptz))")
        return f"coalesce({seconds}, {column})" if in_seconds else column
    if kind == "date":
        seconds = ducks.stored(column, dtype)
        if in_seconds:
            return _spelled(seconds)
        return seconds if feature.role == "date" else f"cast({column} as varchar)"
    if kind == "number":
        double = f"cast({column} as double)"
        if trained == "whole" and dtype not in ("FLOAT", "DOUBLE"):
            return f"cast({column} as varchar)"
        return double if feature.role == "numeric" else _spelled(double)
    return ducks.stored(column, dtype)


def _clean(text: str) -> str:
    """Without blanks around it, null if nothing is left; slow, so for few cells only."""
    return f"nullif(trim({text}, {ducks.BLANKS}), '')"


def _spelled(double: str) -> str:
    """The label of a number: 3 for 3.0, as table.spelled has it."""
    whole = f"{double} = trunc({double}) and abs({double}) < 1e15"
    return (
        f"case when isnan({double}) then null when {whole} then "
        f"cast(cast({double} as bigint) as varchar) else cast({double} as varchar) end"
    )


def _digits(text: str, otherwise: str) -> str:
    """A whole number with all its digits, without + and zeros in front."""
    whole = f"regexp_full_match({text}, '{WHOLE.pattern}')"
    digits = f"coalesce(cast(try_cast({text} as hugeint) as varchar), {text})"
    return f"case when {whole} then {digits} else {otherwise} end"


def _number(text: str, style: str) -> str:
    """The number that a text spells, in the style of the training column; else null."""
    clean = _clean(text)
    if style == "comma":
        grouped = f"contains({clean}, ',') or regexp_full_match({clean}, '{GROUPED}')"
        return _double(
            f"case when {grouped} then replace(replace({clean}, '.', ''), ',', '.') "
            f"else {clean} end"
        )
    if style == "thousands":
        clean = f"replace({clean}, ',', '')"
    return f"coalesce({_double(text)}, {_double(clean)})"


def _double(text: str) -> str:
    # Like Python, DuckDB takes 1_000 for a number; in a table it is a name.
    return f"case when contains({text}, '_') then null else try_cast({text} as double) end"


def _truth(text: str) -> str:
    return f"coalesce({_yes_or_no(text)}, {_yes_or_no(_clean(text))})"


def _yes_or_no(text: str) -> str:
    number = f"try_cast({text} as double)"
    return (
        f"case when lower({text}) in ({_quoted_words(TRUE)}) then 1.0 "
        f"when lower({text}) in ({_quoted_words(FALSE)}) then 0.0 "
        f"when {number} = 1 then 1.0 when {number} = 0 then 0.0 end"
    )


def _fetched(place: int, feature: Feature, kind: str, dtype: str) -> str:
    """What is fetched of a column: a number, a code into its categories, or text."""
    text = f"t{place}"
    match feature.role:
        case "numeric":
            if ducks.kind(dtype) == "number":
                return f"coalesce({text}, 'nan'::double)"
            return f"coalesce({_number(text, feature.style)}, {_gap(text)})::double"
        case "boolean":
            return f"coalesce({_truth(text)}, {_gap(text)})::double"
        case "categorical":
            return _code(place, feature, kind)
    return text if feature.role == "date" and ducks.kind(dtype) == "date" else _clean(text)


def _code(place: int, feature: Feature, kind: str) -> str:
    """The place of a category in the levels; after them for another, -1 for a missing one."""
    clean = _clean(f"t{place}")
    if kind in ("number", "whole"):  # 3.0 and 03 are the category 3
        number = f"try_cast({clean} as double)"
        spelled = _spelled(number) if kind == "number" else _digits(clean, _spelled(number))
        clean = (
            f"case when lower({clean}) in ({_quoted_words(MISSING)}) then null "
            f"when {number} is null then {clean} else {spelled} end"
        )
    other = f"case when {clean} is null then -1 else {len(feature.levels)} end"
    if not feature.levels:
        return f"({other})::integer"
    codes = [f"enum_code(try_cast({text} as e{place}))::integer" for text in (f"t{place}", clean)]
    return f"coalesce({', '.join(codes)}, {other})::integer"


def _gap(text: str) -> str:
    """For a text that is no number: nan where it says that it is missing, else infinity.

    Infinite numbers count as missing, so what is left is to ask about such cells once more.
    """
    return f"case when {_missing(text)} then 'nan'::double else 'infinity'::double end"


def _missing(text: str) -> str:
    clean = _clean(text)
    return f"({clean} is null or lower({clean}) in ({_quoted_words(MISSING)}))"


def _doubt(place: int, feature: Feature, dtype: str) -> str:
    """SQL: whether a cell has a value that cannot be read."""
    text = f"t{place}"
    if feature.role == "numeric" and ducks.kind(dtype) == "number":
        return ""
    if feature.role == "boolean":  # a number other than 0 and 1 says neither yes nor no
        value = f"coalesce({_truth(text)}, {_number(text, 'point')})"
    else:
        value = _number(text, feature.style)
    return f"({value}) is null and not {_missing(text)}"


def _cells(values: Any, feature: Feature) -> Cells:
    match feature.role:
        case "numeric" | "boolean":
            return Numbers(np.asarray(values, np.float64))
        case "categorical":
            return Strings(np.asarray(values, np.int32), (*feature.levels, _OTHER))
    if values.dtype.kind == "f":
        return Dates(np.asarray(np.ma.filled(values, np.nan), np.float64))
    return ducks.coded(values)
