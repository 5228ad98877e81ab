"""Who goes on at a rung: halving, and the rules of others for those who compare."""

import statistics
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

Rank: TypeAlias = tuple[float, ...]  # lower is better

PRUNERS = ("halving", "none", "hyperband", "median")
_LEAST_COMPLETE = 5  # trials that a median needs, as in Optuna


class Rung(NamedTuple):
    """A bracket at a rung.

    Attributes:
        bracket: its place among the brackets, from 0 on.
        place: of the rung, from 0 on; never the last.
        rungs: how many there are.
        mine: trials of the bracket that reached the rung, or ended well before: number to rank.
        seen: rank and number of all trials of the study that did, in order.
        complete: of those that have ended without being cut; only the median asks for them.
    """

    bracket: int
    place: int
    rungs: int
    mine: Mapping[int, Rank]
    seen: Sequence[tuple[Rank, int]]
    complete: Mapping[int, Rank]


def going_on(pruner: str, rung: Rung, eta: int) -> set[int]:
    """Trials of the bracket that go on.

    References:
        median: Golovin et al. 2017, "Google Vizier", with Optuna's defaults. hyperband: Li et al.
        2018, arXiv:1603.06560, by turns a bracket for each first rung; all but the first two
        have the same width here, where the paper makes those that cut late narrower.
    """
    match pruner:
        case "halving":
            return survivors(rung.mine, rung.seen, eta, 1 if rung.bracket else 3)
        case "hyperband" if rung.place >= rung.bracket % rung.rungs:
            return survivors(rung.mine, ordered(rung.mine), eta, 1)
        case "median" if len(rung.complete) >= _LEAST_COMPLETE:
            middle = statistics.median(rank[0] for rank in rung.complete.values())
            return {number for number, rank in rung.mine.items() if rank[0] <= middle}
    return set(rung.mine)


def survivors(
    bracket: Mapping[int, Rank], seen: Sequence[tuple[Rank, int]], eta: int, least: int
) -> set[int]:
    """Trials of a bracket that go on: the best 1/eta of all seen, and at least `least` of its own.

    >>> bracket = {3: (0.1,), 4: (0.5,)}
    >>> survivors(bracket, ordered({1: (0.2,), 2: (0.3,)} | bracket), eta=3, least=1)
    {3}

    Args:
        bracket: trial number to what it is ranked by, lower is better; ties go to the earlier.
        seen: rank and number of all trials that reached this rung, the bracket's included, in
            order.
        eta: one in eta goes on.
        least: of the bracket that go on in any case.
    """
    top = len(seen) // eta
    own = ordered(bracket)
    going_on = {number for rank, number in own if bisect_left(seen, (rank, number)) < top}
    return going_on | {number for _, number in own[:least]}


def ordered(ranks: Mapping[int, Rank]) -> list[tuple[Rank, int]]:
    """Ranks with their numbers, the best first."""
    return sorted((rank, number) for number, rank in ranks.items())


class Reached:
    """What the trials that reached a rung are ranked by, always in order.

    To sort 100,000 anew at every cut took 5 ms a trial.

    Attributes:
        ranks: trial number to its rank.
        order: the same as `ordered` gives it.
    """

    def __init__(self) -> None:
        self.ranks: dict[int, Rank] = {}
        self.order: list[tuple[Rank, int]] = []

    def keep(self, number: int, rank: Rank) -> None:
        """Notes a trial's rank, in the place of one it had."""
        before = self.ranks.get(number)
        if before == rank:
            return
        if before is not None:
            del self.order[bisect_left(self.order, (before, number))]
        self.ranks[number] = rank
        insort(self.order, (rank, number))
