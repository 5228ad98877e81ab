"""How a search looks while it runs: one live panel on a terminal, one line a bracket in a pipe.

All of it goes to stderr; standard output is for results.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nntune.report import HarmlessConsole, duration, number

if TYPE_CHECKING:
    from nntune.search import Update
    from nntune.stops import Budget


class Display:
    """Draws a search's updates; a context manager.

    Args:
        name: of the study.
        metric: of the values.
        budget: to show how much of it is left.
        notes: lines to print first, such as what was understood of the data.
        quiet: draw nothing.
    """

    def __init__(
        self, name: str, metric: str, budget: "Budget", notes: Sequence[str], *, quiet: bool
    ) -> None:
        self._name, self._metric, self._budget = name, metric, budget
        self._console = HarmlessConsole(
            stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._started = time.monotonic()
        self._done_before: int | None = None
        self._live: Live | None = None
        for note in notes:
            self._console.print(Text(note))

    def __enter__(self) -> "Display":
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, line: str) -> None:
        """Prints a line that stays."""
        self._console.print(Text(line))

    def show(self, update: "Update") -> None:
        """Brings the panel up to date, or prints a line if the bracket is finished."""
        done = sum(count for state, count in update.states.items() if state != "running")
        if self._done_before is None:
            self._done_before = done
        if self._live is not None:
            self._live.update(self._panel(update, done), refresh=True)
        elif update.rung_done and not update.training:
            self._console.print(Text(f"bracket {update.bracket + 1}: {self._line(update, done)}"))

    def end(self, reason: str) -> None:
        """Says why the search has ended, if it has done anything."""
        if self._done_before is not None:
            self._console.print(Text(f"stopped: {reason}"))

    def _panel(self, update: "Update", done: int) -> Panel:
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            "bracket", f"{update.bracket + 1}, training {update.training} to epoch {update.rung}"
        )
        grid.add_row("trials", self._counts(update, done))
        grid.add_row("best", self._best(update).removeprefix("best "))
        grid.add_row("time", self._clock(done))
        total = self._budget.trials
        bar = [ProgressBar(total=total, completed=min(done, total))] if total else []
        return Panel(Group(*bar, grid), title=Text(self._name), title_align="left")

    def _line(self, update: "Update", done: int) -> str:
        return f"{self._counts(update, done)}; {self._best(update)}; {self._clock(done)}"

    def _counts(self, update: "Update", done: int) -> str:
        total = f" of {self._budget.trials}" if self._budget.trials else ""
        names = ("complete", "pruned", "failed")
        parts = [f"{update.states[name]} {name}" for name in names if update.states.get(name)]
        return f"{done}{total} trials" + (f" ({', '.join(parts)})" if parts else "")

    def _best(self, update: "Update") -> str:
        if update.best is None or update.best.value is None:
            return "no value yet"
        return f"best {self._metric} {number(update.best.value)} (#{update.best.number})"

    def _clock(self, done: int) -> str:
        spent = time.monotonic() - self._started
        left = self._budget.ends(done) - time.monotonic()
        new = done - (self._done_before or 0)
        if self._budget.trials and new > 0:
            left = min(left, spent / new * max(self._budget.trials - done, 0))
        known = f", about {duration(max(left, 0))} left" if left < float("inf") else ""
        return f"{duration(spent)}{known}"
