"""DuckDB's answers as columns: numbers as float64, everything else as coded strings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nntune.data.table import MISSING, Cells, Dates, Numbers, Strings, strings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NUMERIC = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
NESTED = ("STRUCT", "MAP", "UNION", "BLOB", "BIT", "ARRAY", "VARIANT", "GEOMETRY")
LARGE = 100_000
BLANKS = "chr(9) || chr(10) || chr(13) || chr(32) || chr(160)"


def connect() -> "DuckDBPyConnection":
    """An empty database in memory that downloads nothing."""
    import duckdb

    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    return duckdb.connect(":memory:", config=dict(settings))


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

    Of a large table each is freed once it is fetched: it is never held twice.
    """
    cells: list[Cells] = []
    for place, kind in enumerate(kinds):
        cells.append(_column(con, table, f"c{place}", kind))
        if len(cells[-1]) >= LARGE and place + 1 < len(kinds):
            con.execute(f"alter table {table} drop column c{place}")
    return cells


def _column(con: "DuckDBPyConnection", table: str, column: str, kind: str) -> Cells:
    if kind == "number":
        return Numbers(_doubles(con, f"select {column} as c from {table}"))
    if kind == "date":
        return Dates(_doubles(con, f"select {column} as c from {table}"))
    if _all_numbers(con, table, column):
        return Numbers(_doubles(con, f"select try_cast({column} as double) as c from {table}"))
    return _strings(con, f"select {column} as c from {table}")


def _all_numbers(con: "DuckDBPyConnection", table: str, column: str) -> bool:
    """Whether a text column holds numbers and words for "missing", nothing else."""
    words = ", ".join(literal(w) for w in sorted(MISSING - {""}))
    query = f"""
        select count(*) filter (missing), count(*) filter (number and not missing), count(*)
        from (select lower({column}) in ({words}) as missing,
                     try_cast({column} as double) is not null and not contains({column}, '_')
                         as number
              from {table} where {column} is not null)"""
    missing, number, every = con.execute(query).fetchone() or (0, 0, 0)
    return bool(number) and missing + number == every


def _doubles(con: "DuckDBPyConnection", query: str) -> Any:
    values = con.execute(query).fetchnumpy()["c"]
    return np.ma.filled(values, np.nan) if isinstance(values, np.ma.MaskedArray) else values


def _strings(con: "DuckDBPyConnection", query: str) -> Strings:
    return coded(con.execute(query).fetchnumpy()["c"])


def coded(values: Any) -> Strings:
    """Texts as DuckDB gives them; gaps are missing."""
    if isinstance(values, np.ma.MaskedArray):
        # `filled` would write NumPy's '?' into the gaps of strings.
        gaps, values = np.ma.getmaskarray(values), np.array(values.data, object)
        values[gaps] = None
    return strings(list(values))
