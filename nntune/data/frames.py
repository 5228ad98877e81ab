"""Tables that are in memory already: data frames, arrays and dicts of columns, without a library.

Whatever has `columns` and gives a column for a name will do: pandas, polars and others alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.delimited import unique_names
from nntune.data.grids import flattened, grid_of_array
from nntune.data.table import (
    Cells,
    Dates,
    Numbers,
    Table,
    are_large,
    as_written,
    numbers_of,
    spelled,
    strings,
)
from nntune.errors import DataError
from nntune.families import Grid

NAME = "the table"


def table_of(data: Any, names: Sequence[str], grid: Grid | None = None) -> Table:
    """Any of them as a table.

    Args:
        data: a data frame, a dict of columns, or a 2-D array; where there is a grid, also an array
            of images (N, H, W), (N, H, W, C) or (N, C, H, W), or of series (N, C, T).
        names: of the columns of an array, which has none.
        grid: that the columns form, channel after channel.

    Raises:
        DataError: it is none of these, its columns differ in length, or its examples are others.
    """
    if grid and not has_names(data) and np.shape(data)[1:] != (len(names),):
        return _examples(np.asarray(data), names, grid)
    columns = {name: cells_of(values, name) for name, values in _columns(data, names).items()}
    if len({len(cells) for cells in columns.values()}) > 1:
        raise DataError(f"the columns of {NAME} differ in length")
    return Table(NAME, columns)


def has_names(data: Any) -> bool:
    """Whether the columns have names: a data frame or a dict, not an array."""
    return isinstance(data, Mapping) or hasattr(data, "columns")


def _examples(array: NDArray[Any], names: Sequence[str], grid: Grid) -> Table:
    found = grid_of_array(array.shape[1:])
    if found is None or found[:2] != grid[:2]:
        held = f"holds {found.text}" if found else f"has the shape {array.shape}"
        raise DataError(
            f"the array {held}; the network reads {grid.text}, an array of several, "
            f"or rows of {len(names)} numbers"
        )
    flat, _ = flattened(array, "the array")
    cells: dict[str, Cells] = dict(zip(names, map(numbers_of, flat), strict=True))
    return Table("the array", cells)


def _columns(data: Any, names: Sequence[str]) -> dict[str, Any]:
    if has_names(data):
        written = list(data if isinstance(data, Mapping) else data.columns)
        found, _ = unique_names(tuple(map(str, written)), NAME, None)
        return {name: data[key] for name, key in zip(found, written, strict=True)}
    array = np.asarray(data)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise DataError(
            f"an array of shape {array.shape} was given; rows of {len(names)} columns are needed"
        )
    return dict(zip(names, array.T, strict=True))


def cells_of(values: Any, name: str) -> Cells:
    """One column, typed by what it holds."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"column {name} of {NAME} has shape {array.shape}; it needs one dimension")
    match array.dtype.kind:
        case "i" | "u" | "f":
            return numbers_of(array)
        case "b":
            return strings(["true" if value else "false" for value in array])
        case "M":
            return Dates(_seconds(array))
        case "U":
            return strings([str(value).strip() for value in array])
        case "O" | "T" | "S":
            return _objects(list(array))
    raise DataError(
        f"column {name} of {NAME} is of type {array.dtype}; numbers, words and dates are understood"
    )


def _seconds(moments: NDArray[Any]) -> NDArray[np.float64]:
    seconds = moments.astype("datetime64[us]").astype(np.int64) / 1e6
    return np.where(np.isnat(moments), np.nan, seconds)


def _objects(values: list[Any]) -> Cells:
    present = [value for value in values if not _is_missing(value)]
    if present and all(_is_number(value) for value in present):
        cells = Numbers(np.array([np.nan if _is_missing(v) else float(v) for v in values]))
        return (
            as_written(cells, np.array(list(map(str, values)), object))
            if are_large(cells.values)
            else cells
        )
    if present and all(hasattr(value, "isoformat") for value in present):
        moments = [np.datetime64("NaT") if _is_missing(v) else _moment(v) for v in values]
        return Dates(_seconds(np.array(moments, "datetime64[us]")))
    return strings([None if _is_missing(value) else _word(value) for value in values])


def _moment(value: Any) -> np.datetime64:
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(_utc()).replace(tzinfo=None)
    return np.datetime64(value.isoformat(), "us")


def _utc() -> Any:
    from datetime import UTC

    return UTC


def _is_missing(value: Any) -> bool:
    """None, nan, NaT, and pandas' NA, which answers no question."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(value != value)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return (number or type(value).__name__ == "Decimal") and not isinstance(value, bool)


def _word(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return spelled(value) if _is_number(value) else str(value).strip()
