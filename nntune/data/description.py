"""What `nntune data` shows: as values, and as a plain table."""

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from nntune.data.roles import Column
from nntune.data.target import listed
from nntune.families import Grid

# A table of more columns than this is shown by role, not column by column.
WIDE = 100
_PICTURES = {ord("\t"): "␉", ord("\n"): "␊"}  # of what would break a line of the table


@dataclass(frozen=True)
class Description:
    """What was understood of a source.

    Args:
        task: '' where no target was named.
        classes: name and rows of each class.
        width: how many features there are in all.
        bins: how many of them are bins of numbers.
    """

    name: str
    task: str
    target: str
    columns: tuple[Column, ...]
    classes: tuple[tuple[str, int], ...]
    counts: dict[str, int]
    warnings: tuple[str, ...]
    width: int
    bins: int
    split_summary: dict[str, Any]
    grid: Grid | None = None

    def values(self) -> dict[str, Any]:
        """Plain values for JSON."""
        grid = None if self.grid is None else self.grid._asdict()
        return {**asdict(self), "classes": dict(self.classes), "grid": grid}

    def text(self) -> str:
        """A table of the columns, with what is known of the whole above and the warnings below."""
        rows: list[tuple[str, ...]] = [
            ("column", "role", "missing", "distinct", "features", "note")
        ]
        rows += [row for run in self._runs() for row in _rows(run)]
        widths = [min(32, max(len(row[i]) for row in rows)) for i in range(5)]
        lines = [*self._head(), "", *(_line(row, widths) for row in rows), *self._tail()]
        return "\n".join(line.translate(_PICTURES) for line in lines)

    def _runs(self) -> list[list[Column]]:
        """Neighbours of one role; in a wide table all columns of one role."""
        wide = len(self.columns) > WIDE
        columns = sorted(self.columns, key=_kind) if wide else self.columns
        return [list(run) for _, run in groupby(columns, key=_kind)]

    def _head(self) -> list[str]:
        counts = ", ".join(f"{key} {n:,}" for key, n in self.counts.items())
        form = f": {self.grid.text}" if self.grid else ""
        bins = f", and {self.bins:,} bins of numbers" * bool(self.bins)
        head = [f"rows      {counts}", f"features  {self.width - self.bins:,}{bins}{form}"]
        if not self.task:
            return head
        shown = listed([f"{name} ({n:,})" for name, n in self.classes])
        task = f"task      {self.task}, target {self.target}"
        return [task, *([f"classes   {shown}"] if shown else []), *head]

    def _tail(self) -> list[str]:
        return ["", *(f"note: {w}" for w in self.warnings)] if self.warnings else []


def _kind(column: Column) -> tuple[str, str]:
    return column.role, column.note


def _rows(run: list[Column]) -> list[tuple[str, ...]]:
    """Lines for neighbours of one role; many, such as pixels, share one."""
    if len(run) > 8:
        first, last = run[0], run[-1]
        name = f"{first.name} ... {last.name}"
        missing, width = sum(c.missing for c in run), sum(c.width for c in run)
        note = "; ".join(filter(None, (f"{len(run)} columns", first.note)))
        return [(name, first.role, f"{missing:,}", "", str(width), note)]
    return [
        (c.name, c.role, f"{c.missing:,}", f"{c.distinct:,}", str(c.width), c.note) for c in run
    ]


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [c if len(c) <= w else c[: w - 1] + "…" for c, w in zip(row, widths, strict=False)]
    name, role, *counts = (
        c.ljust(w) if i < 2 else c.rjust(w)
        for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([name, role, *counts, row[5]]).rstrip()
