"""Brackets of trials, the rungs at which they are cut, and the rounds in which they get there.

A bracket is asked at once, trained to rising rungs (1, 3, 9, ... epochs) and cut at each:
successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943) in which a trial has to be among
the best 1/eta of all trials that were ever seen at the rung, as in ASHA (Li et al. 2020,
arXiv:1810.05934).

Late in a bracket few trials are left, each with a long way to go, and most workers would be idle.
So the next bracket begins before that, after some rounds, and a long way takes several of them.
Which bracket is trained how far in a round is arithmetic: it does not depend on who is faster, so
that a search with eight workers, or one that was killed, does what a search with one does.
"""

import math
from typing import NamedTuple

from nntune.trials import Progress


class Plan(NamedTuple):
    """How a study halves its trials; written into the study when it is created."""

    width: int = 32  # trials of a bracket
    eta: int = 3
    rungs: tuple[int, ...] = (1, 3, 9, 27, 81, 100)
    patience: int = 20
    # Rounds from a bracket's begin to the next one's; 0: after its end. With 1, a search of minutes
    # has many brackets begun and none ended.
    interval: int = 3

    @property
    def rounds(self) -> tuple[int, ...]:
        """Epochs that a bracket has reached after each round: the rungs, and some between far ones.

        >>> Plan(rungs=(1, 3, 9, 27)).rounds
        (1, 3, 9, 18, 27)
        """
        longest, found, before = self.rungs[min(2, len(self.rungs) - 1)], list[int](), 0
        for rung in self.rungs:
            parts = math.ceil((rung - before) / longest)
            found += [before + (rung - before) * part // parts for part in range(1, parts + 1)]
            before = rung
        return tuple(found)


def rungs(
    epochs: int, rows: int, batch_size: int, eta: int = 3, steps: int = 30
) -> tuple[int, ...]:
    """Epochs at which a bracket is cut; the last is the whole training.

    >>> rungs(100, 10_000, 64)
    (1, 3, 9, 27, 81, 100)
    >>> rungs(100, 400, 64)
    (5, 15, 45, 100)

    Args:
        epochs: of a whole training.
        rows: of the training split.
        batch_size: a typical one.
        eta: factor from rung to rung.
        steps: the first rung has at least so many of the typical batch size.
    """
    first = math.ceil(steps / math.ceil(rows / batch_size))
    rising = []
    while first < epochs:
        rising.append(first)
        first *= eta
    return (*rising, epochs)


class Bracket:
    """A bracket of which some trials are in training.

    Args:
        index: its place among the brackets of the study.
        members: those in training, by number.
        cuts: at how many rungs it was cut.
        plan: of the study.
    """

    def __init__(self, index: int, members: dict[int, Progress], cuts: int, plan: Plan) -> None:
        self.index, self.members, self.cuts = index, members, cuts
        self._rungs, self._rounds = plan.rungs, plan.rounds
        self._begin = index * plan.interval

    @property
    def rung(self) -> int:
        """The epoch at which it is cut next."""
        return self._rungs[self.cuts]

    @property
    def due(self) -> int:
        """The round at whose end it is cut next."""
        return self._begin + self._rounds.index(self.rung)

    def epoch(self, turn: int) -> int:
        """What its members are trained to in a round: at most to the next cut."""
        place = min(max(turn - self._begin, 0), len(self._rounds) - 1)
        return min(self._rounds[place], self.rung)

    @property
    def scored(self) -> dict[int, Progress]:
        """Members with a value to compare."""
        outcomes = ("", "early stop", "epochs")
        return {n: m for n, m in self.members.items() if m.outcome in outcomes}

    def keep(self, numbers: set[int]) -> None:
        """Goes on with these members, as far as they can."""
        self.members = {n: m for n, m in self.members.items() if n in numbers and not m.outcome}

    def expire(self) -> None:
        """The time is over for those that could go on."""
        self.members = {
            n: m if m.outcome else m._replace(outcome="time") for n, m in self.members.items()
        }
