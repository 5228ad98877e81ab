"""From a study to a bundle: the winner trained once more, or exactly as the search had it."""

import platform
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from nntune import __version__
from nntune.bundle.checks import plain
from nntune.bundle.format import Bundle, Parameters
from nntune.bundle.resampling import resampled
from nntune.bundle.scoring import network_values, score, truth
from nntune.data.learning import Learning, learning_of
from nntune.data.plan import Plan
from nntune.errors import AllFailedError, NotFoundError, UsageError
from nntune.failures import unfailed
from nntune.metrics import METRICS
from nntune.retraining import Retrainer, check_same, plan_again
from nntune.study import Trial, View
from nntune.trials import AnyShape, Progress, Setting
from nntune.workers import Workers, cores

Values = NDArray[np.float64]
_APART = 1 << 32  # between the numbers by which networks of one trial draw: no trial has them


@dataclass(frozen=True)
class Wanted:
    """Which network to make.

    Args:
        trial: its number; the confirmed winner if not given, or the best of the search.
        rows: to train on: 'train+valid', 'all', or 'train' for the network of the search itself.
        ensemble: how many of the best complete trials to average at most.
        seeds: how many networks of each to average, which begin from other weights (a deep
            ensemble, Lakshminarayanan et al. 2017, arXiv:1612.01474); they are trained as one.
        data: where the table is now, if not where the search read it.
        command: that asks for it.
    """

    trial: int | None = None
    rows: str = "train+valid"
    ensemble: int = 1
    seeds: int = 1
    data: str | None = None
    command: str = ""


@dataclass(frozen=True)
class Refitted:
    """The bundle, sentences on how it came about, and each trial's number with its epoch."""

    bundle: Bundle
    notes: tuple[str, ...]
    epochs: dict[int, int | None]


def refit(view: View, wanted: Wanted, plan: Plan | None = None) -> Refitted:
    """A bundle of a study's winner.

    Args:
        view: the study.
        wanted: which network.
        plan: the study's request, if it was carried out again already.

    Raises:
        NotFoundError: there is no such trial, or none with a value.
        RefusedError: the data are not those of the study.
        DataError: the data cannot be read.
        AllFailedError: the training diverged on the new rows, or its process died again and again.
    """
    chosen = _chosen(view, wanted)
    plan = plan or plan_again(view, wanted.data)
    searched = learning_of(plan, "train")
    check_same(view, plan.request.source, searched.fingerprint)
    if wanted.rows == "train" and wanted.seeds > 1:
        raise UsageError(
            f"--as-searched takes the network of the search, of which there is one, and --seeds "
            f"{wanted.seeds} trains anew; leave one of them out."
        )
    if wanted.rows == "train" and searched.others:
        raise UsageError(
            f"study '{view.name}' was searched on {len(searched.folds)} folds, with a network "
            "for each; without --as-searched one network learns from the rows of all folds."
        )
    notes: list[str] = []
    with Workers(min(wanted.seeds, cores())) as workers:
        maker = _Maker(view, workers, notes)
        if wanted.ensemble > 1:
            chosen = maker.helpful(chosen, wanted.ensemble, searched)
        if wanted.rows == "train":
            learning, parameters = searched, maker.searched(chosen, searched)
        else:
            learning = learning_of(plan, wanted.rows)
            chosen = [_confirmed(view, trial, notes) for trial in chosen]
            parameters = maker.retrained(chosen, learning, wanted.rows, wanted.seeds)
            chosen = [trial for trial in chosen for _ in range(wanted.seeds)]
        shapes = [maker.shape(trial, learning) for trial in chosen]
    if wanted.rows == "all":
        notes.append("it has learnt from the test rows too: no score of it on them is honest")
    bundle = _bundle(view, wanted, plan, learning, chosen, parameters, shapes)
    return Refitted(bundle, tuple(notes), {trial.number: trial.epoch for trial in chosen})


def _chosen(view: View, wanted: Wanted) -> list[Trial]:
    if wanted.trial is not None and wanted.ensemble > 1:
        raise UsageError("--trial names one network and --ensemble several; choose one of them.")
    trial = view.winner() if wanted.trial is None else view.trial(wanted.trial)
    if trial is None:
        raise NotFoundError(f"study '{view.name}' has no trial with a value yet.")
    if trial.value is None or trial.epoch is None:
        raise NotFoundError(
            f"trial {trial.number} of study '{view.name}' is {trial.state} and has no value; "
            "nntune trials lists those that have."
        )
    return [trial]


def _confirmed(view: View, trial: Trial, notes: list[str]) -> Trial:
    """The trial with the epoch of its confirmation, if it is the confirmed winner."""
    found = view.confirmation()
    if found is None or found["winner"] != trial.number:
        return trial
    epoch, seeds = found["confirmed"]["epoch"], len(found["seeds"])
    notes.append(
        f"trial #{trial.number} won the confirmation; the mean of {seeds} curves says epoch {epoch}"
    )
    return trial._replace(epoch=epoch)


class _Maker:
    """Trains the networks of a study's trials."""

    def __init__(self, view: View, workers: Workers, notes: list[str]) -> None:
        self._view, self._notes = view, notes
        self._retrainer = Retrainer(view, workers)
        self._made: dict[int, Parameters] = {}  # of the search's networks, by trial

    def shape(self, trial: Trial, learning: Learning) -> AnyShape:
        return self._retrainer.shape(trial, learning)

    def helpful(self, best: list[Trial], count: int, searched: Learning) -> list[Trial]:
        """As many of the best complete trials as average best, or the best if clearly better.

        Of many trials the best is the luckiest on the validation rows, their average is not: it may
        be worse there by two standard errors of the difference. docs/search.md has the figures.
        """
        few = self._distinct(count)
        if len(few) < 2:
            self._notes.append("there are no two complete trials to average; the best stays alone")
            return best
        name, folds = self._view.definition.metric, searched.folds
        (alone,), each = self._predictions(best, searched), self._predictions(few, searched)
        averages = {
            many: [np.mean(fold, 0) for fold in zip(*each[:many], strict=True)]
            for many in range(2, len(few) + 1)
        }
        values = {many: _value(name, average, searched) for many, average in averages.items()}
        sign = 1 if METRICS[name].direction == "minimize" else -1
        many = min(values, key=lambda many: (sign * values[many], many))
        draws = [
            resampled(searched.task, [name], models, truth(fold), self._view.definition.seed)[name]
            for *models, fold in zip(averages[many], alone, folds, strict=True)
        ]
        fewest = min(map(len, draws))
        se = float(np.nanstd(np.diff(np.mean([drawn[:fewest] for drawn in draws], 0))))
        best_value = _value(name, alone, searched)
        is_kept = bool(sign * (values[many] - best_value) <= 2 * np.nan_to_num(se))
        numbers = ", ".join(f"#{trial.number}" for trial in few[:many])
        self._notes.append(
            f"ensemble of {many} ({numbers}): {name} {values[many]:.4g} on the validation rows, "
            f"{best_value:.4g} for #{best[0].number} alone, standard error of the difference "
            f"{se:.2g}; " + ("kept" if is_kept else "clearly worse, so the best stays alone")
        )
        return few[:many] if is_kept else best

    def _distinct(self, count: int) -> list[Trial]:
        found: list[Trial] = []
        seen = []
        for trial in self._view.trials(state="complete"):
            params = self._retrainer.params(trial)
            if trial.value is not None and params not in seen and len(found) < count:
                found.append(trial)
                seen.append(params)
        return found

    def _predictions(self, trials: Sequence[Trial], searched: Learning) -> list[list[Values]]:
        """What each trial's networks say of the validation rows of their folds."""
        return [
            [
                network_values(fold, len(searched.classes), self.shape(trial, searched), part)
                for fold, part in zip(
                    searched.folds, np.split(flat, len(searched.folds)), strict=True
                )
            ]
            for trial, flat in zip(trials, self.searched(trials, searched), strict=True)
        ]

    def searched(self, trials: Sequence[Trial], searched: Learning) -> list[Parameters]:
        """Each trial's parameters at its best epoch: those kept, else trained again alike."""
        for trial in trials:
            if trial.number not in self._made:
                self._made[trial.number] = self._searched(trial, searched)
        return [self._made[trial.number] for trial in trials]

    def _searched(self, trial: Trial, searched: Learning) -> Parameters:
        shape = self.shape(trial, searched)
        kept = self._view.weights(trial.number)
        count = shape.parameters * len(searched.folds)
        if kept is not None and len(kept) == 4 * count:
            return np.frombuffer(kept, "<f4").astype(np.float32)
        patience = int(self._view.definition.training["patience"])
        setting = self._retrainer.setting(trial, searched, patience)
        assert trial.epoch is not None
        (member,) = self._train(trial, setting, searched, trial.epoch, extra=0)
        if member.value != trial.value:
            self._notes.append(
                f"trial #{trial.number} trained again has {member.value:.6g} where the search had "
                f"{trial.value:.6g}: another processor or library rounds differently"
            )
        assert member.best is not None
        return member.best

    def retrained(
        self, trials: Sequence[Trial], learning: Learning, rows: str, seeds: int = 1
    ) -> list[Parameters]:
        """Parameters after each trial's best number of epochs on the rows of `learning`."""
        found = []
        for trial in trials:
            assert trial.epoch is not None
            metric = "log_loss" if learning.classes else "rmse"
            setting = self._retrainer.setting(trial, learning, trial.epoch + 1, metric=metric)
            for member in self._train(trial, setting, learning, trial.epoch, 1, seeds):
                if member.average is None or not np.isfinite(member.average).all():
                    raise AllFailedError(
                        f"trial #{trial.number} diverges when it is trained on {rows}; "
                        "--as-searched takes the network of the search."
                    )
                found.append(member.average)  # what a search scores and keeps
        return found

    def _train(
        self, trial: Trial, setting: Setting, learning: Learning, until: int, extra: int,
        seeds: int = 1,
    ) -> list[Progress]:  # fmt: skip
        """A trial from its first epoch; with an extra epoch ahead it ends with its last average."""
        first = self._retrainer.member(trial, until + extra)
        members = [first._replace(number=first.number + place * _APART) for place in range(seeds)]
        dealt = self._retrainer.dealt(trial, members, learning)
        for _ in range(2):
            futures = [self._retrainer.train(stack, setting, learning, until) for stack in dealt]
            with suppress(BrokenExecutor):  # something else may have taken the memory
                trained = [unfailed(member) for future in futures for member in future.result()]
                return sorted(trained, key=lambda member: member.number)
        raise AllFailedError(
            f"the process that trains trial #{trial.number} died, twice; there may not be enough "
            "memory for it."
        )


def _value(metric: str, predicted: Sequence[Values], searched: Learning) -> float:
    """The study's metric of predictions of validation rows, the mean over folds."""
    values = [
        score(searched.task, each, truth(fold), [metric])[metric]
        for each, fold in zip(predicted, searched.folds, strict=True)
    ]
    return sum(values) / len(values)


def _bundle(
    view: View,
    wanted: Wanted,
    plan: Plan,
    learning: Learning,
    trials: Sequence[Trial],
    parameters: Sequence[Parameters],
    shapes: Sequence[AnyShape],
) -> Bundle:
    definition, first = view.definition, trials[0]
    has_bins = max(shape.inputs for shape in shapes) == learning.encoder.width
    return Bundle(
        parameters=tuple(parameters),
        shapes=tuple(shapes),
        task=learning.task,
        target=learning.target,
        classes=learning.classes,
        target_mean=learning.target_mean,
        target_scale=learning.target_scale,
        encoder=(learning.encoder if has_bins else learning.encoder.plain).to_dict(),
        columns=learning.columns,
        metrics={
            "metric": definition.metric,
            "value": first.value,
            "epoch": first.epoch,
            "patience": definition.training["patience"],
            "rows": wanted.rows,
            "count": len(learning.train.y),
            "study": view.name,
        },
        versions={
            "nntune": __version__,
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
        },
        fingerprint=learning.fingerprint,
        params=view.space.params(first.params),
        trials=tuple(trial.number for trial in trials),
        seed=definition.seed,
        command=wanted.command,
        data=asdict(plan.request) | {"grid": plain(plan.form)},
    )
