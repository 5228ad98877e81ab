"""The confirmation that ends a search, within what time there is."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nntune import study
from nntune.errors import AllFailedError
from nntune.stacks import UNSURE
from nntune.study import View, Writer

if TYPE_CHECKING:
    from nntune.retraining import Rows
    from nntune.verdict.confirming import Effort
    from nntune.workers import Workers

_ENOUGH = 32  # trials: of fewer, a search is a trial of the tool
_TOP = 5
_RESERVED = 0.2  # of a search's time
_SMALLER = ((_TOP, 5), (3, 5), (2, 4), (1, 3))  # candidates and seeds, where time is short


@dataclass(frozen=True)
class AtTheEnd:
    """What follows a search.

    Args:
        top: configurations to confirm; if None, 5 once there are 32 trials.
        deadline: of search and confirmation together, on time.monotonic(); None for no limit.
    """

    top: int | None
    deadline: float | None

    @property
    def enough(self) -> int:
        """Trials with a value that a search has to have before anything follows."""
        return _ENOUGH if self.top is None else 0

    def reserved(self) -> float:
        """Seconds that a search of enough trials leaves, of the time that there is now."""
        if self.deadline is None or self.top == 0:
            return 0.0
        return _RESERVED * max(self.deadline - time.monotonic(), 0)

    def run(
        self, writer: Writer, rows: "Rows", workers: "Workers", say: Callable[[str], None]
    ) -> None:
        """Confirms the best few and keeps it with the study, unless that was done already."""
        if self.top == 0:
            return
        view = study.read(writer.path, writer.name)
        counts = view.counts()
        if counts["complete"] + counts["pruned"] < self.enough:
            return
        from nntune.retraining import Retrainer
        from nntune.verdict.confirming import confirm, is_confirmed

        effort = self._effort(view, rows, workers)
        if effort is not None and is_confirmed(view, effort):
            return
        missing = f"; nntune confirm {view.name} does it"
        if effort is None:
            say(f"not confirmed: the time left is too short{missing}")
            return
        plural, each = ("s", " each") if effort.top > 1 else ("", "")
        say(f"confirming {effort.top} configuration{plural} from {effort.seeds} fresh seeds{each}")
        deadline = math.inf if self.deadline is None else self.deadline
        try:
            content = confirm(view, rows, Retrainer(view, workers, rows, deadline), effort)
        except TimeoutError:
            say(f"not confirmed: it took longer than the time left{missing}")
        except AllFailedError as error:
            say(f"not confirmed: {error}")
        else:
            writer.add_verdict("confirmation", content)

    def _effort(self, view: View, rows: "Rows", workers: "Workers") -> "Effort | None":
        """The most that fits."""
        from nntune.verdict.confirming import Effort, candidates, seconds_needed

        there = len(candidates(view, self.top or _TOP))
        if self.deadline is None:
            return Effort(there)
        left = self.deadline - time.monotonic()
        smaller = (Effort(min(top, there), seeds) for top, seeds in _SMALLER)
        for effort in (Effort(there), *smaller):
            if UNSURE * seconds_needed(view, effort, rows, workers.count) < left:
                return effort
        return None
