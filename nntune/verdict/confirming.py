"""The best few configurations of a search, from seeds that nothing was chosen by.

A search's best value is the luckiest of many, at the luckiest of its epochs. Here its best few
distinct configurations are trained from fresh seeds. Their mean curves say after which epoch each
is best, and which of them is; both choices are still a little lucky, so the winner is trained once
more, for that many epochs, from seeds that chose nothing, and that is its confirmed value. What a
value owes to the luck of seeds is gone from it; what it owes to these validation rows, which chose
configuration and epoch, is not: that is for the test rows to say.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nntune.bundle.resampling import resampled
from nntune.bundle.scoring import network_values, truth
from nntune.errors import AllFailedError, NotFoundError
from nntune.metrics import METRICS
from nntune.retraining import Retrainer, Rows, problem_of
from nntune.stacks import epoch_seconds
from nntune.study import Trial, View
from nntune.verdict.baselines import KINDS, Baseline, baselines
from nntune.verdict.replicas import Key, Replica, Replicas, replica_seed
from nntune.verdict.thresholds import best_threshold

SCHEMA = "nntune.confirmation/1"
Values = NDArray[np.float64]


class Effort(NamedTuple):
    """How many configurations are confirmed, and from how many seeds each."""

    top: int = 5
    seeds: int = 5


def candidates(view: View, top: int) -> list[Trial]:
    """The best trials of distinct configurations, the best first."""
    found: dict[str, Trial] = {}
    for trial in view.trials(top=20 * top):
        if trial.state in ("complete", "pruned") and trial.value is not None and trial.epoch:
            found.setdefault(repr(sorted(trial.params.items())), trial)
    return list(found.values())[:top]


def is_confirmed(view: View, effort: Effort) -> bool:
    """Whether these trials were confirmed with that many seeds already, or more of both."""
    last = view.confirmation()
    if last is None:
        return False
    known = {each["trial"] for each in last["candidates"]}
    wanted = {trial.number for trial in candidates(view, effort.top)}
    return wanted <= known and len(last["seeds"]) >= effort.seeds


def seconds_needed(view: View, effort: Effort, rows: Rows, workers: int) -> float:
    """Estimated time of the trainings, within a factor of two."""
    few, problem = candidates(view, effort.top), problem_of(rows)
    epochs = horizons(view, few)
    each = [epochs[t.number] * epoch_seconds(view.space.params(t.params), problem) for t in few]
    return effort.seeds * (sum(each) + max(each, default=0)) / max(workers, 1)


def horizons(view: View, few: Sequence[Trial]) -> dict[int, int]:
    """How long candidates are trained: as long as the search looked on after their best epoch."""
    patience = int(view.definition.training["patience"])
    longest = {t.number: int(view.space.params(t.params)["epochs"]) for t in few}
    return {t.number: min((t.epoch or 0) + patience, longest[t.number]) for t in few}


def confirm(view: View, rows: Rows, retrainer: Retrainer, effort: Effort) -> dict[str, Any]:
    """What is kept of a confirmation; see docs/verdict.md for its fields.

    Raises:
        NotFoundError: no trial of the study has a value.
        AllFailedError: every replica diverged.
        TimeoutError: the retrainer's deadline came first.
    """
    few = candidates(view, effort.top)
    if not few:
        raise NotFoundError(f"study '{view.name}' has no trial with a value yet.")
    definition = view.definition
    seeds = [replica_seed(definition.seed, place) for place in range(2 * effort.seeds)]
    ranking, fresh = seeds[: effort.seeds], seeds[effort.seeds :]
    replicas = Replicas(retrainer, rows, few)
    ranked = _ranked(view, few, replicas.train(horizons(view, few), ranking), ranking)
    winner = next(trial for trial in few if trial.number == ranked[0]["trial"])
    epoch = int(ranked[0]["epochs"][0])
    trained = replicas.train({winner.number: epoch}, fresh)
    curves = [trained[seed, winner.number].curve for seed in fresh]
    confirmed = _summary([curve[-1] for curve in curves if len(curve) == epoch], len(fresh))
    if not confirmed["values"]:
        raise AllFailedError(f"trial #{winner.number} diverges from every fresh seed.")
    judge = _Judge(view, rows, retrainer, winner, trained)
    return {
        "schema": SCHEMA,
        "metric": definition.metric,
        "direction": definition.direction,
        "seeds": ranking,
        "rows": "valid",
        "candidates": ranked,
        "winner": winner.number,
        "confirmed": {"seeds": fresh, "epoch": epoch, **confirmed, "se_rows": judge.se()},
        "luck": _luck(few[0], ranked, winner, confirmed["mean"], definition.direction),
        "baselines": judge.compared(confirmed["mean"], confirmed["sd"]),
        "threshold": judge.threshold(),
    }


def _ranked(
    view: View, few: Sequence[Trial], trained: dict[Key, Replica], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Candidates by their means, the best first; those with failures after those without."""
    sign = -1 if view.direction == "maximize" else 1
    found = []
    for trial in few:
        curves = [trained[seed, trial.number].curve for seed in seeds]
        whole = [curve for curve in curves if len(curve) >= (trial.epoch or 1)]
        epoch, values = _best_epoch(whole, sign)
        found.append(
            {
                "trial": trial.number,
                "searched": trial.value,
                "epochs": [epoch] * len(values),
                **_summary(values, len(seeds)),
            }
        )
    found.sort(key=lambda each: (each["failed"], sign * (each["mean"] or 0.0)))
    if not found[0]["values"]:
        raise AllFailedError("every candidate diverges from fresh seeds; lower --lr.")
    return found


def _best_epoch(curves: Sequence[Sequence[float]], sign: int) -> tuple[int, list[float]]:
    """The epoch, from 1, at which curves are best on average, and their values there.

    >>> _best_epoch([(3.0, 1.0, 2.0), (3.0, 2.0, 0.5, 0.1)], 1)
    (3, [2.0, 0.5])
    """
    if not curves:
        return 0, []
    shortest = min(map(len, curves))
    values = np.array([curve[:shortest] for curve in curves])
    place = int(np.argmin(sign * values.mean(0)))
    return place + 1, [float(value) for value in values[:, place]]


def _summary(values: Sequence[float], count: int) -> dict[str, Any]:
    """Of so many replicas, the values of those that did not fail; null where there are too few."""
    return {
        "values": list(values),
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "failed": count - len(values),
    }


def _luck(
    best: Trial, ranked: Sequence[dict[str, Any]], winner: Trial, mean: float, direction: str
) -> float | None:
    """By how much the search flattered its own best trial; positive if it did."""
    again = next(each["mean"] for each in ranked if each["trial"] == best.number)
    if best.number == winner.number:
        again = mean
    if again is None or best.value is None:
        return None
    return float(best.value - again if direction == "maximize" else again - best.value)


class _Judge:
    """The winner's replicas beside the baselines, on the validation rows."""

    def __init__(
        self,
        view: View,
        rows: Rows,
        retrainer: Retrainer,
        winner: Trial,
        trained: dict[Key, Replica],
    ) -> None:
        self._metric, self._folds = view.definition.metric, rows.folds
        self._task = rows.task
        shape = retrainer.shape(winner, rows)
        # Predictions of each fold's validation rows, of each replica that did not diverge.
        self._networks = [
            [
                network_values(fold, len(rows.classes), shape, part)
                for fold, part in zip(self._folds, np.split(flat, len(self._folds)), strict=True)
            ]
            for flat in (each.parameters for each in trained.values())
            if flat is not None
        ]
        seed = view.definition.seed
        self._baselines: list[Baseline] = baselines(rows, self._metric, seed)
        models = [*self._networks, *(each.values for each in self._baselines)]
        draws = [
            resampled(
                rows.task, [self._metric], [each[place] for each in models], truth(fold), seed
            )[self._metric]
            for place, fold in enumerate(self._folds)
        ]
        fewest = min(map(len, draws))
        self._drawn = np.mean([each[:fewest] for each in draws], 0)  # (repeats, models)

    def se(self) -> float | None:
        """Standard error of the winner's value that the validation rows are responsible for."""
        return _deviation(self._drawn[:, : len(self._networks)].mean(1))

    def compared(self, mean: float, sd: float | None) -> list[dict[str, Any]]:
        """Each baseline; how much better the network is, and the standard error of that."""
        count = len(self._networks)
        network = self._drawn[:, :count].mean(1)
        sign = 1 if METRICS[self._metric].direction == "maximize" else -1
        seeds = (sd or 0.0) / math.sqrt(count)
        found = []
        for place, each in enumerate(self._baselines):
            rows = _deviation(network - self._drawn[:, count + place])
            found.append(
                {
                    "name": each.name,
                    "label": KINDS[each.name].label,
                    "params": each.params,
                    "value": each.value,
                    "seconds": round(each.seconds, 3),
                    "difference": sign * (mean - each.value),
                    "se": None if rows is None else math.hypot(rows, seeds),
                }
            )
        return found

    def threshold(self) -> dict[str, Any] | None:
        """Where to cut the probability of the second of two classes."""
        if self._task != "binary":
            return None
        probability = np.concatenate(
            [np.mean(each, 0) for each in zip(*self._networks, strict=True)]
        )
        y = np.concatenate([truth(fold) for fold in self._folds])
        return best_threshold(probability[:, 1], y, self._metric)


def _deviation(values: Values) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else None
