"""DuckDB's answers as columns: numbers as float64, everything else as coded strings."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nntune.data.table import (
    MISSING,
    Cells,
    Dates,
    Numbers,
    Strings,
    are_large,
    as_written,
    strings,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NUMERIC = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
NESTED = ("STRUCT", "MAP", "UNION", "BLOB", "BIT", "ARRAY", "VARIANT", "GEOMETRY")
LARGE = 100_000
AT_ONCE, TEXTS_AT_ONCE = 200, 10  # columns in a query
BLANKS = "chr(9) || chr(10) || chr(13) || chr(32) || chr(160)"


def connect() -> "DuckDBPyConnection":
    """An empty database in memory that downloads nothing and reads moments in UTC."""
    import duckdb

    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    con = duckdb.connect(":memory:", config=dict(settings))
    con.execute("set TimeZone = 'UTC'")
    return con


def literal(text: object) -> str:
    """A string for SQL.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + str(text).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def kind(dtype: str) -> str:
    """'number', 'date', 'string' or 'nested' for a type of DuckDB's.

    >>> kind("UBIGINT"), kind("DECIMAL(18,3)"), kind("DATE"), kind("INTEGER[]")
    ('number', 'number', 'date', 'nested')
    """
    bare = dtype.upper()
    if bare.endswith("]") or bare.startswith(NESTED):
        return "nested"
    if bare.removeprefix("U").startswith(NUMERIC):
        return "number"
    return "date" if bare.startswith(("DATE", "TIMESTAMP")) else "string"


def stored(column: str, dtype: str) -> str:
    """SQL that brings a column to what `columns` fetches: DOUBLE, seconds, or trimmed text."""
    if kind(dtype) == "number":
        return f"cast({column} as double)"
    if kind(dtype) == "date":
        return f"epoch(cast({column} as timestamp))"
    text = (
        f"json_extract_string({column}, '$')" if dtype == "JSON" else f"cast({column} as varchar)"
    )
    return f"nullif(trim({text}, {BLANKS}), '')"


def columns(con: "DuckDBPyConnection", table: str, kinds: Sequence[str]) -> list[Cells]:
    """All columns of a staged table (c0, c1, ...), in order.

    A query takes milliseconds for each column that the table has, so it asks for many; of a large
    table for one, which is freed once it is fetched: it is never held twice.
    """
    (rows,) = con.execute(f"select count(*) from {table}").fetchone() or (0,)
    at_once = 1 if rows >= LARGE else AT_ONCE
    cells: list[Cells] = []
    for start in range(0, len(kinds), at_once):
        part = {
            f"c{place}": kinds[place] for place in range(start, min(start + at_once, len(kinds)))
        }
        cells += _fetched(con, table, part)
        if rows >= LARGE and start + 1 < len(kinds):
            con.execute(f"alter table {table} drop column c{start}")
    return cells


def with_wholes(
    con: "DuckDBPyConnection", cells: Sequence[Cells], texts: Sequence[str], source: str
) -> list[Cells]:
    """The same cells; large whole numbers with all the digits that they have in the source.

    Args:
        con: knows the source.
        cells: of all columns.
        texts: SQL for the text of each.
        source: SQL for what they are read from, in the same order.
    """
    found = list(cells)
    for place, each in enumerate(cells):
        if isinstance(each, Numbers) and are_large(each.values):
            query = f"select {stored(texts[place], 'VARCHAR')} as c from {source}"
            values = con.execute(query).fetchnumpy()["c"]
            found[place] = as_written(each, np.asarray(np.ma.getdata(values)))
    return found


def _fetched(con: "DuckDBPyConnection", table: str, kinds: Mapping[str, str]) -> list[Cells]:
    texts = [column for column, kind in kinds.items() if kind == "string"]
    numbers: set[str] = set()
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        numbers |= _all_numbers(con, table, texts[start : start + TEXTS_AT_ONCE])
    picked = [f"try_cast({c} as double) as {c}" if c in numbers else c for c in kinds]
    values = con.execute(f"select {', '.join(picked)} from {table}").fetchnumpy()
    return [_cells("number" if c in numbers else kind, values[c]) for c, kind in kinds.items()]


def _cells(kind: str, values: Any) -> Cells:
    if kind == "string":
        return coded(values)
    values = np.ma.filled(values, np.nan) if isinstance(values, np.ma.MaskedArray) else values
    return Dates(values) if kind == "date" else Numbers(values)


def _all_numbers(con: "DuckDBPyConnection", table: str, columns: Sequence[str]) -> set[str]:
    """Those text columns that hold numbers and words for "missing", nothing else."""
    words = ", ".join(literal(w) for w in sorted(MISSING - {""}))
    picked = []
    for column in columns:
        missing = f"coalesce(lower({column}) in ({words}), false)"
        number = f"(try_cast({column} as double) is not null and not contains({column}, '_'))"
        picked.append(
            f"count(*) filter ({column} is not null and not {missing} and not {number}) = 0"
            f" and count(*) filter (not {missing} and {number}) > 0"
        )
    found = con.execute(f"select {', '.join(picked)} from {table}").fetchone() or ()
    return {column for column, is_number in zip(columns, found, strict=True) if is_number}


def coded(values: Any) -> Strings:
    """Texts as DuckDB gives them; gaps are missing."""
    if isinstance(values, np.ma.MaskedArray):
        # `filled` would write NumPy's '?' into the gaps of strings.
        gaps, values = np.ma.getmaskarray(values), np.array(values.data, object)
        values[gaps] = None
    return strings(list(values))
