"""Columns that are pixels of an image or steps of a series: found, ordered and scaled as one.

The columns of a grid come first, channel after channel, and every channel has one scale: that a
pixel is brighter than another says as much as that an image is.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.encoding import Feature, Scale, ends_of, finite, unit_of
from nntune.data.pictures import is_folder
from nntune.data.request import Request
from nntune.data.roles import Role, forced
from nntune.data.table import Rows, Strings, Table, numbers
from nntune.errors import DataError, UsageError
from nntune.families import Grid

_COLOURS = 4  # at most so many channels of an image


def grid_of_array(shape: tuple[int, ...]) -> Grid | None:
    """What the examples of an array are: images where two sides are alike, else series.

    >>> grid_of_array((28, 28)), grid_of_array((32, 32, 3)).channels, grid_of_array((6, 100)).size
    (Grid(channels=1, size=(28, 28), has_gaps=False), 3, (100,))
    """
    if len(shape) == 2:
        low, high = sorted(shape)
        return Grid(1, shape) if low >= 4 and high <= 2 * low else Grid(shape[0], shape[1:])
    if len(shape) == 3:
        return Grid(shape[2], shape[:2]) if shape[2] <= _COLOURS else Grid(shape[0], shape[1:])
    return None


def flattened(x: NDArray[Any], name: str) -> tuple[NDArray[Any], Grid | None]:
    """Examples (N, ...) as columns (D, N), channel after channel, and the grid that they form.

    Raises:
        DataError: they are no numbers.
    """
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name}: X is of type {x.dtype}; it needs to be numbers")
    grid = grid_of_array(x.shape[1:])
    if grid is not None and x.ndim == 4 and x.shape[1:3] == grid.size:
        x = np.moveaxis(x, 3, 1)  # colours of a pixel stood beside each other
    flat = np.ascontiguousarray(x.reshape(len(x), math.prod(x.shape[1:])).T)
    return (flat.astype(np.uint8) if flat.dtype.kind == "b" else flat), grid


def arranged(table: Table, request: Request, left_out: Sequence[str]) -> Table:
    """The table with the columns of its grid first, as the request or the file says.

    Args:
        table: as read.
        request: may name a grid.
        left_out: columns that are no part of one.

    Raises:
        UsageError: the columns are not as many as the grid needs, or are said to be two things.
    """
    if request.series and (request.image is not None or is_folder(request.source)):
        raise UsageError("--series: these are images; their columns are not the steps of a series.")
    if (request.image is None and not request.series) or is_folder(request.source):
        return table
    if request.series and table.grid is not None:  # an array says its channels itself
        rows, *steps = table.grid.size
        grid = Grid(rows, tuple(steps)) if steps and table.grid.channels == 1 else table.grid
        return replace(table, grid=grid, test=table.test and arranged(table.test, request, ()))
    names = [name for name in table.columns if name not in left_out]
    grid, order = _series(names) if request.series else _image(str(request.image), names, table)
    columns = {names[place]: table.columns[names[place]] for place in order}
    columns |= {name: table.columns[name] for name in left_out if name in table.columns}
    test = table.test and arranged(table.test, request, left_out)
    return replace(table, columns=columns, test=test, grid=grid)


def _series(names: Sequence[str]) -> tuple[Grid, list[int]]:
    if len(names) < 2:
        raise UsageError(f"--series: a series has at least 2 steps, and there are {len(names)}.")
    return Grid(1, (len(names),)), list(range(len(names)))


def _image(text: str, names: Sequence[str], table: Table) -> tuple[Grid, list[int]]:
    sides = [int(side) for side in re.findall(r"\d+", text)]
    if not re.fullmatch(r"\d+x\d+(x\d+)?", text) or not all(sides):
        raise UsageError(
            f"--image {text}: write height x width, such as 28x28, 32x32x3 for the colours of a "
            "pixel beside each other, or 3x32x32 for one colour after the other."
        )
    if math.prod(sides) != len(names):
        raise UsageError(
            f"--image {text} takes {math.prod(sides):,} columns, and {table.name} has "
            f"{len(names):,} beside the target; --ignore leaves columns out."
        )
    places = np.arange(len(names)).reshape(sides)
    if len(sides) == 2:
        return Grid(1, (sides[0], sides[1])), places.ravel().tolist()
    if sides[2] <= _COLOURS:
        places = np.moveaxis(places, 2, 0)
    channels, height, width = places.shape
    return Grid(channels, (height, width)), places.ravel().tolist()


def roles(table: Table, rows: Rows) -> dict[str, Role]:
    """All columns of a grid are numbers, also where they hold one value only.

    A step may be empty in all of the rows: none of their series reaches it.

    Raises:
        DataError: one holds words, or is a pixel without a value.
    """
    if table.grid is None:
        return {}
    what = "pixel" if len(table.grid.size) == 2 else "step"
    found = {}
    for name in grid_columns(table):
        cells = table.columns[name].take(rows)
        role = forced(cells, "numeric")
        if len(rows) and isinstance(cells, Strings) and np.isnan(numbers(cells, role.style)).all():
            _refuse(name, cells, what, table.name)
        found[name] = Role("numeric", what, role.style)
    return found


def _refuse(name: str, cells: Strings, what: str, source: str) -> None:
    """A column of a grid without a number, unless it is where no series goes on."""
    if (cells.codes >= 0).any():
        raise DataError(f"column {name!r} of {source} holds no numbers, as a {what} does")
    if what == "pixel":
        raise DataError(
            f"column {name!r} of {source} is empty in every row; --ignore leaves it out"
        )


def grid_columns(table: Table) -> list[str]:
    """Names of the columns that the grid is made of."""
    if table.grid is None:
        return []
    return list(table.columns)[: table.grid.channels * math.prod(table.grid.size)]


def with_gaps(table: Table, rows: Rows) -> Grid | None:
    """The grid, noting whether series of these rows end at different steps."""
    grid = table.grid
    if grid is None or len(grid.size) == 2:
        return grid
    last = grid_columns(table)[grid.size[0] - 1 :: grid.size[0]]
    ends = [_values(table, name, rows, "point") for name in last]
    return grid._replace(has_gaps=any(bool(np.isnan(end).any()) for end in ends))


def _values(table: Table, name: str, rows: Rows, style: str) -> np.ndarray:
    cells = table.columns[name].take(rows)
    return finite(numbers(cells, style))


def features(table: Table, rows: Rows, grid: Grid, roles: dict[str, Role]) -> list[Feature]:
    """The encoding of a grid's columns, each channel with one scale."""
    names = grid_columns(table)
    steps = math.prod(grid.size)
    found = []
    for start in range(0, len(names), steps):
        channel = names[start : start + steps]
        scale = _scale([_values(table, name, rows, roles[name].style) for name in channel])
        for name in channel:
            own = (name, f"{name} missing") if grid.has_gaps else (name,)
            found.append(
                Feature(name, "numeric", roles[name].style, own, (scale,), missing=grid.has_gaps)
            )
    return found


def _scale(columns: Sequence[np.ndarray]) -> Scale:
    """Mean and deviation of all numbers of a channel, column by column to save memory."""
    known = [column[~np.isnan(column)] for column in columns]
    count = sum(map(len, known))
    if not count:
        return Scale(0.0, 1.0)
    lows, highs = zip(*(ends_of(column) for column in known if len(column)), strict=True)
    low, high = min(lows), max(highs)
    unit = unit_of(low, high)
    mean = sum(float((column / unit).sum()) for column in known) / count
    sd = (sum(float(np.square(column / unit - mean).sum()) for column in known) / count) ** 0.5
    return Scale.of(unit * mean, unit * sd, low, high)
