"""A table that is to be predicted, brought to what the network learnt from.

Columns go by name: their order does not matter and others are left aside. Cells are read in the
way that the training column was, whatever the new file's own cells would suggest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nntune.data.encoding import Feature
from nntune.data.history import History
from nntune.data.roles import FALSE, TRUE
from nntune.data.table import (
    MISSING,
    WHOLE,
    Cells,
    Dates,
    Floats,
    Numbers,
    Strings,
    Table,
    labels,
    level_numbers,
    moment,
    spelled,
    strings,
)
from nntune.data.target import listed
from nntune.errors import DataError, did_you_mean
from nntune.families import Grid

# More unreadable cells than this share of those with a value are no slips but another column.
MOST_JUNK = 0.05


@dataclass
class Doubts:
    """What to say of a table that is to be predicted.

    Attributes:
        cells: that could not be read and count as missing: how many of each column, and one.
        notes: sentences on anything else.
    """

    cells: dict[str, tuple[int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, source: str, feature: Feature, count: int, total: int, example: str) -> None:
        """Note unreadable cells of a column.

        Raises:
            DataError: they are too many for slips.
        """
        if not count:
            return
        if count > MOST_JUNK * total:
            what = {"numeric": "numbers", "boolean": "yes or no", "date": "dates"}[feature.role]
            raise DataError(
                f"column {feature.column!r} of {source} should hold {what}, as in training; "
                f"{count:,} of {total:,} cells do not, such as {example!r}"
            )
        before = self.cells.get(feature.column, (0, example))
        self.cells[feature.column] = (before[0] + count, before[1])

    def sentences(self) -> list[str]:
        """One for each column, then the notes."""
        cells = [
            f"column {name!r}: {count:,} unreadable cells (such as {example!r}) count as missing"
            for name, (count, example) in self.cells.items()
        ]
        return [*cells, *self.notes]


@dataclass(frozen=True)
class Columns:
    """The columns that a network needs.

    Args:
        features: how each is encoded.
        kinds: of each column as it was read for training, see `kind_of`.
        history: of which columns the past is needed; such a table cannot be read in parts.
        image: the size that pictures are brought to.
        grid: what its examples are, where they are arrays.
    """

    features: Sequence[Feature]
    kinds: Mapping[str, str]
    history: History | None = None
    image: str | None = None
    grid: Grid | None = None

    def check(self, names: Sequence[str], source: str) -> None:
        """Refuse a table that lacks one.

        Raises:
            DataError: the sentence lists all that are missing.
        """
        absent = [f.column for f in self.features if f.column not in names]
        if not absent:
            return
        what = f"column {absent[0]!r}" if len(absent) == 1 else f"columns {listed(absent)}"
        hint = did_you_mean(absent[0], names) if len(absent) == 1 else ""
        raise DataError(
            f"{source} has no {what}, which the network needs; "
            f"it has {listed([str(name) for name in names])}.{hint}"
        )

    def fitted(self, table: Table, doubts: Doubts) -> Table:
        """The needed columns of a table in memory, and the one that orders its rows.

        Raises:
            DataError: a column is missing, or holds something else than in training.
        """
        if self.grid and table.grid and self.grid[:2] != table.grid[:2]:
            raise DataError(
                f"{table.name} holds {table.grid.text}; the network reads {self.grid.text}"
            )
        table = self.history.lagged(table) if self.history else table
        self.check(list(table.columns), table.name)
        fitted: dict[str, Cells] = {}
        for feature in self.features:
            kind = self.kinds.get(feature.column, "string")
            cells, junk, example = fit_cells(table.columns[feature.column], feature, kind)
            doubts.add(table.name, feature, junk, filled(cells) + junk, example)
            fitted[feature.column] = cells
        if self.history and self.history.time is not None:
            fitted.setdefault(self.history.time, table.columns[self.history.time])
        return Table(table.name, fitted, files=table.files)


def filled(cells: Cells) -> int:
    """Cells with a value."""
    if isinstance(cells, Strings):
        return int(np.count_nonzero(cells.codes >= 0))
    return int(np.count_nonzero(~np.isnan(cells.values)))


def fit_cells(cells: Cells, feature: Feature, kind: str) -> tuple[Cells, int, str]:
    """Cells as the feature reads them; how many had a value that it cannot read, and one such."""
    match feature.role:
        case "numeric":
            return _read(cells, feature.style)
        case "boolean":
            return _truths(cells)
        case "date":
            return _dates(cells, feature.style)
        case _:
            return _respelled(cells, kind), 0, ""


def _read(cells: Cells, style: str) -> tuple[Cells, int, str]:
    if not isinstance(cells, Strings):
        return Numbers(np.asarray(cells.values, np.float64)), 0, ""
    cells = cells.packed()
    values, junk = level_numbers(cells.levels, style)
    return _spread(cells, values, junk)


def _spread(cells: Strings, values: Floats, junk: np.ndarray) -> tuple[Numbers, int, str]:
    """Values of the levels as cells, with the junk among them counted."""
    count = int(cells.counts()[junk].sum())
    example = cells.levels[int(np.argmax(junk))] if count else ""
    return Numbers(np.append(values, np.nan)[cells.codes]), count, example


def _truths(cells: Cells) -> tuple[Cells, int, str]:
    words = labels(cells).packed()
    values = np.full(len(words.levels), np.nan)
    for place, level in enumerate(words.levels):
        lower = level.lower()
        values[place] = 1.0 if lower in TRUE else 0.0 if lower in FALSE else np.nan
    spelt, junk = level_numbers(words.levels, "point")
    unit = np.isin(spelt, (0.0, 1.0))  # in another spelling, such as 1.00
    values[unit] = spelt[unit]
    # A number other than 0 and 1 says neither yes nor no; in training it counted as missing too.
    return _spread(words, values, junk & np.isnan(values))


def _dates(cells: Cells, style: str) -> tuple[Cells, int, str]:
    if isinstance(cells, Dates):
        return cells, 0, ""
    words = labels(cells).packed()
    values = np.array([_moment(level, style) for level in words.levels], np.float64)
    known = np.array([level.lower() in MISSING for level in words.levels], np.bool_)
    seconds, count, example = _spread(words, values, np.isnan(values) & ~known)
    return Dates(seconds.values), count, example


def _moment(text: str, style: str) -> float:
    """In the training column's format, or in ISO 8601, which reads in one way only."""
    value = moment(text, style)
    return value if value == value else moment(text, "iso")


def kind_of(cells: Cells, *, is_quantity: bool) -> str:
    """What a column of training was read as: 'number', 'whole', 'string' or 'date'.

    The last digit counts in 'whole' numbers, which are larger than float64 can tell apart and are
    no quantity, but name something.
    """
    if not isinstance(cells, Numbers):
        return "date" if isinstance(cells, Dates) else "string"
    return "number" if cells.wholes is None or is_quantity else "whole"


def _respelled(cells: Cells, kind: str) -> Cells:
    """Categories that were numbers in training: 3.0 and 03 are 3."""
    if isinstance(cells, Numbers):
        # Models from before whole numbers kept their digits know them as float64 spells them.
        return Numbers(cells.values) if kind == "number" else cells
    if not isinstance(cells, Strings) or kind not in ("number", "whole"):
        return cells
    cells = cells.packed()
    values, junk = level_numbers(cells.levels, "point")
    recoded = strings(
        [
            level if bad else None if np.isnan(value) else _spelled(level, value, kind)
            for level, value, bad in zip(cells.levels, values, junk, strict=True)
        ]
    )
    return Strings(np.append(recoded.codes, np.int32(-1))[cells.codes], recoded.levels)


def _spelled(level: str, value: float, kind: str) -> str:
    return str(int(level)) if kind == "whole" and WHOLE.fullmatch(level) else spelled(value)
