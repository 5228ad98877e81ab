"""When a search ends: trials, time, a value that is good enough, or too many without a better one.

Beside the deadline all of it follows from the trials alone, so that a search stops where it would
have stopped had it not been killed, and does nothing when it is run again.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from nntune.metrics import Metric
from nntune.study import Trial


class Budget(NamedTuple):
    """When to stop.

    Attributes:
        trials: of the study in total.
        deadline: on time.monotonic().
        trial_time: seconds that a trial may be in training.
        until: a value that is good enough.
        patience_trials: trials without a better value.
        reserved: seconds before the deadline that are for a confirmation.
        enough: trials with a value from which on that time is kept.
    """

    trials: int | None = None
    deadline: float = math.inf
    trial_time: float = math.inf
    until: float | None = None
    patience_trials: int | None = None
    reserved: float = 0.0
    enough: int = 0

    def ends(self, valued: int) -> float:
        """When the time of a search with so many valued trials is over, on time.monotonic().

        >>> budget = Budget(deadline=60.0, reserved=12.0, enough=32)
        >>> budget.ends(31), budget.ends(32)
        (60.0, 48.0)
        """
        return self.deadline - self.reserved * (valued >= self.enough)

    def is_met(self, values: Iterable[float | None], metric: Metric) -> bool:
        """Whether one of the values is good enough; nan never is.

        >>> from nntune.metrics import METRICS
        >>> Budget(until=0.9).is_met([None, 0.9], METRICS["accuracy"])
        True
        """
        goal = self.until
        return goal is not None and any(
            value is not None and (value == goal or metric.better(value, goal)) for value in values
        )


def met(budget: Budget, best: Trial | None, metric: Metric) -> str:
    """Why there is nothing to search for any more, or nothing."""
    if best is None or not budget.is_met([best.value], metric):
        return ""
    return f"trial #{best.number} has {best.value:.6g}, and --until {budget.until:.6g} is reached"


def spent(budget: Budget, trials: int, best: Trial | None) -> str:
    """Why no further bracket is begun once all trials have ended, or nothing."""
    if budget.trials is not None and trials >= budget.trials:
        many = budget.trials > 1
        return f"all {budget.trials} trials are done" if many else "the one trial is done"
    since = 0 if best is None else trials - 1 - best.number
    if budget.patience_trials is not None and since >= budget.patience_trials:
        assert best is not None
        return (
            f"{since} trials since #{best.number} brought no better value "
            f"(--patience-trials {budget.patience_trials})"
        )
    return ""
