"""A source to a table: the format is found, then the reader made for it does the rest."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nntune.data import ducks
from nntune.data.delimited import dialect, read_delimited, unique_names
from nntune.data.files import even_file, file_format, plain_file, shown, utf8_file
from nntune.data.pictures import TARGET, is_folder, read_pictures
from nntune.data.table import Table
from nntune.errors import DataError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ISO = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?)?"
ENCODINGS = {"cp1252": "Windows-1252", "latin-1": "Latin-1", "utf-16": "UTF-16"}


def read(source: str, hint: str | None = None, image: str | None = None) -> Table:
    """The whole table, typed; the same content gives the same table, gzipped or not.

    Args:
        source: a path, '-' or 'sklearn:NAME'.
        hint: name of the target, if known; tells a header from a first row.
        image: to what size the pictures of a folder are brought.

    Raises:
        DataError: the source is not there or holds no table.
    """
    if is_folder(source):
        return read_pictures(source, image)
    table = _read(source, hint)
    if table.rows == 0:
        raise DataError(f"{table.name} has a header and no rows")
    return table


def _read(source: str, hint: str | None) -> Table:
    from nntune.data.arrays import read_arrays, read_sklearn

    if source.startswith("sklearn:"):
        return read_sklearn(source)
    name = shown(source)
    with plain_file(source) as path:
        match file_format(source, path):
            case "npz":
                return read_arrays(path, name)
            case "parquet":
                return _read_typed(path, name, "parquet", hint)
            case "jsonl":
                return _read_typed(utf8_file(path, name)[0], name, "jsonl", hint)
        plain, encoding = even_file(path, name)
        table = read_delimited(plain, name, hint)
    if encoding not in ENCODINGS:
        return table
    note = f"{name} is not UTF-8; it was read as {ENCODINGS[encoding]}"
    return Table(table.name, table.columns, headerless=table.headerless, notes=(note, *table.notes))


def _reader(path: Path, form: str) -> str:
    if form == "parquet":
        return f"read_parquet({ducks.literal(path)})"
    return f"read_json({ducks.literal(path)}, format='newline_delimited', sample_size=-1)"


def _json_reader(path: Path, types: Mapping[str, str]) -> str:
    columns = ", ".join(f"{ducks.literal(n)}: {ducks.literal(t)}" for n, t in types.items())
    return f"read_json({ducks.literal(path)}, format='newline_delimited', columns={{{columns}}})"


def _written_otherwise(con: "DuckDBPyConnection", path: Path, dates: Sequence[str]) -> list[str]:
    """Those columns of JSON lines whose dates are not in ISO 8601; DuckDB guesses their format."""
    texts = _json_reader(path, dict.fromkeys(dates, "VARCHAR"))
    query = ", ".join(
        f"bool_and(regexp_full_match({ducks.quoted(name)}, {ducks.literal(ISO)}))" for name in dates
    )
    found = con.execute(f"select {query} from {texts}").fetchone() or ()
    return [name for name, is_iso in zip(dates, found, strict=True) if is_iso is False]


def _complaint(path: Path, name: str, form: str) -> str:
    if form == "parquet":
        return f"{name} is not a whole parquet file; fetch or write it again"
    if re.match(rb"\s*\[\s*\{", _head(path)):
        return f"{name} is one JSON array; a jsonl file holds an object a line, without brackets"
    place = f"{name}, line {_broken_line(path)}"
    return f"{place}: this is not a JSON object; each line of a jsonl file holds one"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)


def _broken_line(path: Path) -> int:
    """Number of the first line that is no JSON object."""
    with path.open(encoding="utf-8") as file:
        return next((n for n, line in enumerate(file, 1) if not _is_object(line)), 1)


def _is_object(line: str) -> bool:
    try:
        return not line.strip() or isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _read_typed(path: Path, name: str, form: str, hint: str | None) -> Table:
    """Parquet and JSON lines, which say themselves what their columns hold."""
    import duckdb

    con = ducks.connect()
    try:
        reader = _reader(path, form)
        described = con.execute(f"describe select * from {reader}").fetchall()
        types = {row[0]: row[1] for row in described}
        flat = {n: t for n, t in types.items() if ducks.kind(t) != "nested"}
        if form == "jsonl" and set(types) == {"json"}:
            raise DataError(_complaint(path, name, form))
        dates = [n for n, t in flat.items() if ducks.kind(t) == "date"]
        if form == "jsonl" and dates and (texts := _written_otherwise(con, path, dates)):
            flat |= dict.fromkeys(texts, "VARCHAR")
            reader = _json_reader(path, flat)
        picked = [
            f"{ducks.stored(ducks.quoted(n), t)} as c{i}" for i, (n, t) in enumerate(flat.items())
        ]
        if not picked:
            raise DataError(
                f"{name} holds lists, structures or bytes only; nntune needs plain columns"
            )
        con.execute(f"create temp table staged as select {', '.join(picked)} from {reader}")
    except duckdb.Error:
        raise DataError(_complaint(path, name, form)) from None
    cells = ducks.columns(con, "staged", [ducks.kind(t) for t in flat.values()])
    source = _json_reader(path, dict.fromkeys(flat, "VARCHAR")) if form == "jsonl" else reader
    texts = [f"cast({ducks.quoted(name)} as varchar)" for name in flat]
    cells = ducks.with_wholes(con, cells, texts, source)
    con.close()
    names, renamed = unique_names(tuple(flat), name, hint)
    nested = tuple(n for n in types if n not in flat)
    left_out = tuple(
        f"column {n!r} holds {'bytes' if types[n] == 'BLOB' else 'lists or structures'}; "
        "it is left out"
        for n in nested
    )
    columns = dict(zip(names, cells, strict=True))
    return Table(name, columns, notes=left_out + renamed, nested=nested)


def column_names(source: str) -> list[str]:
    """Names of the columns, without reading more than the head of a delimited file."""
    from nntune.data.arrays import read_arrays, sklearn_names

    if source.startswith("sklearn:"):
        return sklearn_names(source)
    if is_folder(source):
        return [TARGET]
    name = shown(source)
    with plain_file(source) as path:
        form = file_format(source, path)
        if form == "npz":
            return list(read_arrays(path, name).columns)
        if form != "csv":
            return list(_read_typed(path, name, form, None).columns)
        plain, _ = even_file(path, name)
        found = dialect(ducks.connect(), plain, name, None)
        return unique_names(found.names, name, None)[0]
