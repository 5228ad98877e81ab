"""Replicas: trials trained again from other seeds.

A replica differs from its trial in `Setting.seed` alone, so that initial weights, the order of
examples and noise are new. It is trained for a fixed number of epochs and never stops early: the
best epoch of its own curve, on the rows that it is judged by, would flatter it.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nntune.retraining import Retrainer, Rows, problem_of
from nntune.stacks import stacks
from nntune.study import Trial
from nntune.trials import Progress

Key = tuple[int, int]  # (seed, trial number)


class Replica(NamedTuple):
    """One more training of a trial.

    Attributes:
        curve: the study's metric on validation rows after each epoch; shorter if it diverged.
        parameters: (P,) after the last epoch; None if it diverged.
    """

    curve: tuple[float, ...]
    parameters: NDArray[np.float32] | None


def replica_seed(study_seed: int, replica: int) -> int:
    """The seed of a replica, from 0 on.

    >>> len({replica_seed(0, replica) for replica in range(100)})
    100
    """
    return int(np.random.SeedSequence([study_seed, 4, replica]).generate_state(1)[0])


class Replicas:
    """Trains trials from other seeds.

    Args:
        retrainer: of the study.
        rows: of the search.
        trials: what may be trained.
    """

    def __init__(self, retrainer: Retrainer, rows: Rows, trials: Sequence[Trial]) -> None:
        self._retrainer, self._rows = retrainer, rows
        self._trials = {trial.number: trial for trial in trials}

    def train(self, epochs: Mapping[int, int], seeds: Sequence[int]) -> dict[Key, Replica]:
        """Trials from every seed.

        Args:
            epochs: trial number to how long it is trained.
            seeds: of the replicas.

        Raises:
            TimeoutError: the retrainer's deadline came first.
        """
        never = max(epochs.values()) + 1
        alive = {
            (seed, number): self._retrainer.member(self._trials[number], never)
            for seed in seeds
            for number in epochs
        }
        done: dict[Key, Replica] = {}
        for until in sorted(set(epochs.values())):  # as at a rung, some leave
            alive |= self._advanced(alive, until)
            for key in list(alive):
                if alive[key].outcome or epochs[key[1]] == until:
                    member = alive.pop(key)
                    done[key] = Replica(_finite(member.curve), member.average)
        return done

    def _advanced(self, alive: dict[Key, Progress], until: int) -> dict[Key, Progress]:
        """All of them at an epoch; those of one seed and one shape share a stack."""
        pending = [
            (seed, stack, self._start(seed, stack, until)) for seed, stack in self._stacks(alive)
        ]
        advanced: dict[Key, Progress] = {}
        for seed, stack, future in pending:
            try:
                members = future.result()
            except BrokenExecutor:  # a dead worker takes the work of all with it
                members = [self._alone(seed, member, until) for member in stack]
            if any(member.outcome == "time" for member in members):
                raise TimeoutError
            advanced |= {(seed, member.number): member for member in members}
        return advanced

    def _stacks(self, alive: dict[Key, Progress]) -> list[tuple[int, list[Progress]]]:
        by_seed: dict[int, list[Progress]] = defaultdict(list)
        for (seed, _), member in alive.items():
            by_seed[seed].append(member)
        params = {number: self._retrainer.params(trial) for number, trial in self._trials.items()}
        problem = problem_of(self._rows)
        workers = math.ceil(self._retrainer.count / max(len(by_seed), 1))
        return [
            (seed, stack)
            for seed, members in by_seed.items()
            for stack in stacks(members, params, problem, workers)
        ]

    def _start(self, seed: int, stack: Sequence[Progress], until: int) -> "Future[list[Progress]]":
        setting = self._retrainer.setting(
            self._trials[stack[0].number], self._rows, until + 1, seed=seed
        )
        return self._retrainer.train(stack, setting, self._rows, until)

    def _alone(self, seed: int, member: Progress, until: int) -> Progress:
        try:
            return self._start(seed, [member], until).result()[0]
        except BrokenExecutor:
            return member._replace(outcome="crashed")


def _finite(curve: Sequence[float]) -> tuple[float, ...]:
    """A curve up to where it diverges."""
    return tuple(takewhile(math.isfinite, curve))
