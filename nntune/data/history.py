"""Rows in time: what came before a row as features of it, and splits that never look ahead.

A row learns from the rows before it: of the target and of every other column of numbers the last
`lags` values, as a series of one step a row. Columns of words, such as the day of the week, are
known in advance and stay as they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nntune.data.roles import forced, role_of
from nntune.data.splits import Parts
from nntune.data.table import (
    MISSING,
    Cells,
    Dates,
    Numbers,
    Rows,
    Strings,
    Table,
    date_format,
    moments,
    numbers,
)
from nntune.errors import DataError, UsageError
from nntune.families import Grid

MOST_LAGS = 10_000
_LAGGED = re.compile(r"(.*) -(\d+)", re.DOTALL)


@dataclass(frozen=True)
class History:
    """Which columns of a table are looked back at, and how far.

    Args:
        columns: their names, the target's first, and how the numbers of each are written.
        steps: rows back, at most.
        time: column that orders the rows; the order of the file if not given.
    """

    columns: Mapping[str, str]
    steps: int
    time: str | None = None

    @staticmethod
    def of_features(
        names: Sequence[str], styles: Mapping[str, str], steps: int, time: str | None
    ) -> "History":
        """The history behind the columns of a network, which `lagged` has named."""
        found = [match[1] for name in names if (match := _LAGGED.fullmatch(name))]
        return History({name: styles.get(name, "point") for name in found}, steps, time)

    @property
    def target(self) -> str:
        """The column that is predicted."""
        return next(iter(self.columns))

    def lagged(self, table: Table) -> Table:
        """The table with the past of its columns first; in the first rows it is missing.

        Raises:
            DataError: a column is not there or has no numbers.
        """
        order = order_of(table, self.time)
        columns = {}
        for name, style in self.columns.items():
            values = _numbers(table, name, style)[order]
            for lag in range(self.steps, 0, -1):
                past = np.full(len(values), np.nan)
                past[order] = np.concatenate([np.full(min(lag, len(values)), np.nan),
                                              values[: max(len(values) - lag, 0)]])  # fmt: skip
                columns[f"{name} -{lag}"] = Numbers(past)
        grid = Grid(len(self.columns), (self.steps,))
        return replace(table, columns=columns | table.columns, grid=grid)

    def gaps(self, table: Table) -> int:
        """How many rows of such a table lack some of the target's past."""
        lags = range(1, self.steps + 1)
        past = [numbers(table.columns[f"{self.target} -{lag}"]) for lag in lags]
        return int(np.isnan(past).any(0).sum())

    def rows(self, table: Table) -> Rows:
        """Rows that have their whole past in the table, ascending."""
        return np.sort(order_of(table, self.time)[self.steps :])


def is_looked_back_at(name: str, table: Table) -> bool:
    """Whether a column's past is used, so that its own value is not known in advance."""
    return f"{name} -1" in table.columns


def history_of(
    table: Table, target: str, lags: int, time: str | None, left_out: Sequence[str]
) -> History:
    """What to look back at: the target and all other columns of numbers.

    Raises:
        UsageError: there are not as many rows.
        DataError: the target holds words.
    """
    if not 1 <= lags < min(table.rows, MOST_LAGS):
        raise UsageError(
            f"--lags {lags}: {table.name} has {table.rows:,} rows to look back at; write a number "
            "from 1 to a small part of them."
        )
    others = [
        name
        for name, cells in table.columns.items()
        if name not in left_out and name != target and _is_numeric(name, cells)
    ]
    styles = {name: forced(table.columns[name], "numeric").style for name in (target, *others)}
    _numbers(table, target, styles[target])
    return History(styles, lags, time)


def _is_numeric(name: str, cells: Cells) -> bool:
    """Whether a column holds numbers, be it with decimal commas or a stray word."""
    if isinstance(cells, Strings):
        return role_of(name, cells, np.arange(len(cells))).name == "numeric"
    return isinstance(cells, Numbers)


def _numbers(table: Table, name: str, style: str) -> np.ndarray:
    if name not in table.columns:
        raise DataError(f"{table.name} has no column {name!r}, whose past the network needs")
    values = numbers(table.columns[name], style).astype(np.float64)
    if len(values) and np.isnan(values).all():
        raise DataError(f"column {name!r} of {table.name} has no numbers to look back at")
    return values


def order_of(table: Table, time: str | None) -> Rows:
    """Row numbers from the earliest to the latest; rows of one moment as they stand.

    Raises:
        DataError: the column is not there, or neither dates nor numbers.
    """
    if time is None:
        return np.arange(table.rows)
    if time not in table.columns:
        raise DataError(f"{table.name} has no column {time!r}, which orders its rows in time")
    return np.argsort(_moments(table, time), kind="stable")


def _moments(table: Table, name: str) -> np.ndarray:
    cells = table.columns[name]
    if isinstance(cells, Strings):
        cells = cells.packed()
        written = [level for level in cells.levels if level.lower() not in MISSING]
        style = date_format(written)
        values = moments(cells, style) if style else numbers(cells, forced(cells, "numeric").style)
        if words := [level for level in written if not re.search(r"\d", level)]:
            raise DataError(
                f"column {name!r} of {table.name} holds words, such as {words[0]!r}; rows are "
                "ordered by dates or numbers"
            )
    else:
        values = cells.values if isinstance(cells, Dates) else cells.values.astype(np.float64)
    if np.isnan(values).any():
        raise DataError(
            f"column {name!r} of {table.name} has rows without a date or number, and orders them"
        )
    return np.asarray(values)


def time_split(table: Table, rows: Rows, time: str | None, of: tuple[float, float]) -> Parts:
    """The earliest rows train, later ones validate, the latest test; a moment is not cut.

    Args:
        table: of the rows.
        rows: to deal out.
        time: column that orders them.
        of: shares for validation and test.

    Raises:
        DataError: too few moments for as many splits.
    """
    ordered = order_of(table, time)
    ordered = ordered[np.isin(ordered, rows)]
    when = np.arange(table.rows) if time is None else _moments(table, time)
    starts = [round((1 - sum(of)) * len(ordered)), round((1 - of[1]) * len(ordered))]
    cuts = [int(np.searchsorted(when[ordered], when[ordered[min(s, len(ordered) - 1)]]))
            if s < len(ordered) else s for s in starts]  # fmt: skip
    train, valid, test = np.split(ordered, cuts)
    parts = (train, *(p for p, share in zip((valid, test), of, strict=True) if share))
    if any(len(part) == 0 for part in parts):
        raise DataError(f"{table.name} has too few moments for {len(parts)} splits in time")
    return Parts(np.sort(train), np.sort(valid), np.sort(test))
