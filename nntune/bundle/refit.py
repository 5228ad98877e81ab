"""From a study to a bundle: the winner trained once more, or exactly as the search had it."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from nntune import __version__
from nntune.bundle import forward
from nntune.bundle.format import Bundle, Parameters
from nntune.bundle.scoring import score
from nntune.data import Request
from nntune.data.learning import Learning, learning_of
from nntune.data.plan import plan_of
from nntune.errors import AllFailedError, DataError, NotFoundError, RefusedError, UsageError
from nntune.metrics import METRICS
from nntune.space import Space, parse
from nntune.stacks import shape_of
from nntune.study import Trial, View
from nntune.trials import Problem, Progress, Setting, Shape
from nntune.workers import Workers

_FIELDS = ("source", "target", "task", "ignore", "categorical", "numeric", "valid", "test", "seed")


@dataclass(frozen=True)
class Wanted:
    """Which network to make.

    Args:
        trial: its number; the study's best if not given.
        rows: to train on: 'train+valid', 'all', or 'train' for the network of the search itself.
        ensemble: how many of the best complete trials to average, if validation says it helps.
        data: where the table is now, if not where the search read it.
        command: that asks for it.
    """

    trial: int | None = None
    rows: str = "train+valid"
    ensemble: int = 1
    data: str | None = None
    command: str = ""


@dataclass(frozen=True)
class Refitted:
    """The bundle, and sentences on how it came about."""

    bundle: Bundle
    notes: tuple[str, ...]


def refit(view: View, wanted: Wanted) -> Refitted:
    """A bundle of a study's winner.

    Raises:
        NotFoundError: there is no such trial, or none with a value.
        RefusedError: the data are not those of the study.
        DataError: the data cannot be read.
        AllFailedError: the training diverged on the new rows.
    """
    chosen = _chosen(view, wanted)
    request = request_of(view, wanted.data)
    plan = plan_of(request)
    searched = learning_of(plan, "train")
    if searched.fingerprint != view.definition.data.get("fingerprint"):
        raise RefusedError(
            f"{request.source} is not what study '{view.name}' was made on: its table, target, "
            "roles or split differ; search again with --study NAME, or --data FILE says where "
            "the old table is."
        )
    notes: list[str] = []
    with Workers(1) as workers:
        maker = _Maker(view, workers, notes)
        if wanted.ensemble > 1:
            chosen = maker.helpful(chosen, wanted.ensemble, searched)
        if wanted.rows == "train":
            learning, parameters = searched, maker.searched(chosen, searched)
        else:
            learning = learning_of(plan, wanted.rows)
            parameters = maker.retrained(chosen, learning, wanted.rows)
        shapes = [maker.shape(trial, learning) for trial in chosen]
    if wanted.rows == "all":
        notes.append("it has learnt from the test rows too: no score of it on them is honest")
    bundle = _bundle(view, wanted, request, learning, chosen, parameters, shapes)
    return Refitted(bundle, tuple(notes))


def request_of(view: View, source: str | None = None) -> Request:
    """How a study's data were asked for.

    Args:
        view: the study.
        source: where the table is now, if not where it was.

    Raises:
        DataError: the study does not say, or its data came from standard input.
    """
    data = view.definition.data
    fields: dict[str, Any] = {key: data[key] for key in ("source", "target", "task") if key in data}
    fields |= {"seed": view.definition.seed}
    fields |= {key: value for key, value in data.get("request", {}).items() if key in _FIELDS}
    if source is not None:
        fields["source"] = source
    if "source" not in fields or fields["source"] == "-":
        raise DataError(
            f"study '{view.name}' does not say where its data are; --data FILE says it."
        )
    for name in ("ignore", "categorical", "numeric"):
        fields[name] = tuple(fields.get(name, ()))
    return Request(**fields)


def _chosen(view: View, wanted: Wanted) -> list[Trial]:
    if wanted.trial is not None and wanted.ensemble > 1:
        raise UsageError("--trial names one network and --ensemble several; choose one of them.")
    trial = view.best() if wanted.trial is None else view.trial(wanted.trial)
    if trial is None:
        raise NotFoundError(f"study '{view.name}' has no trial with a value yet.")
    if trial.value is None or trial.epoch is None:
        raise NotFoundError(
            f"trial {trial.number} of study '{view.name}' is {trial.state} and has no value; "
            "nntune trials lists those that have."
        )
    return [trial]


class _Maker:
    """Trains the networks of a study's trials."""

    def __init__(self, view: View, workers: Workers, notes: list[str]) -> None:
        self._view, self._workers, self._notes = view, workers, notes
        definition = view.definition
        self._space = Space(tuple(parse(name, text) for name, text in definition.space.items()))
        self._shared: Learning | None = None

    def params(self, trial: Trial) -> dict[str, Any]:
        return self._space.params(trial.params)

    def shape(self, trial: Trial, learning: Learning) -> Shape:
        return shape_of(self.params(trial), _problem(learning))

    def helpful(self, best: list[Trial], count: int, searched: Learning) -> list[Trial]:
        """The best few complete trials if their average is better than the best alone."""
        few = self._distinct(count)
        if len(few) < 2:
            self._notes.append("there are no two complete trials to average; the best stays alone")
            return best
        values = self._average(few, searched)
        alone = self._average(best, searched)
        metric = METRICS[self._view.definition.metric]
        numbers = ", ".join(f"#{trial.number}" for trial in few)
        helps = metric.better(values, alone)
        self._notes.append(
            f"ensemble of {len(few)} ({numbers}): {self._view.definition.metric} {values:.4g} on "
            f"the validation rows, {alone:.4g} for #{best[0].number} alone; "
            + ("kept" if helps else "not better, so the best stays alone")
        )
        return few if helps else best

    def _distinct(self, count: int) -> list[Trial]:
        found: list[Trial] = []
        seen = []
        for trial in self._view.trials(state="complete"):
            params = self.params(trial)
            if trial.value is not None and params not in seen and len(found) < count:
                found.append(trial)
                seen.append(params)
        return found

    def _average(self, trials: Sequence[Trial], searched: Learning) -> float:
        """The study's metric of averaged predictions on the validation rows."""
        total: Any = 0.0
        for trial, flat in zip(trials, self.searched(trials, searched), strict=True):
            shape = self.shape(trial, searched)
            outputs = forward.outputs(forward.layers(flat, shape), shape, searched.valid.x)
            total = total + (
                forward.probabilities(outputs)
                if searched.classes
                else outputs.astype(np.float64) * searched.target_scale + searched.target_mean
            )
        y = searched.valid.y
        if not searched.classes:
            y = y.astype(np.float64) * searched.target_scale + searched.target_mean
        values = score(searched.task, total / len(trials), y, [self._view.definition.metric])
        return values[self._view.definition.metric]

    def searched(self, trials: Sequence[Trial], searched: Learning) -> list[Parameters]:
        """Each trial's parameters at its best epoch: those kept, else trained again alike."""
        return [self._searched(trial, searched) for trial in trials]

    def _searched(self, trial: Trial, searched: Learning) -> Parameters:
        shape = self.shape(trial, searched)
        kept = self._view.weights(trial.number)
        if kept is not None and len(kept) == 4 * shape.parameters:
            return np.frombuffer(kept, "<f4").astype(np.float32)
        patience = int(self._view.definition.training["patience"])
        setting = self._setting(trial, searched, self._view.definition.metric, patience)
        assert trial.epoch is not None
        member = self._train(trial, setting, searched, trial.epoch, extra=0)
        if member.value != trial.value:
            self._notes.append(
                f"trial #{trial.number} trained again has {member.value:.6g} where the search had "
                f"{trial.value:.6g}: another processor or library rounds differently"
            )
        assert member.best is not None
        return member.best

    def retrained(self, trials: Sequence[Trial], learning: Learning, rows: str) -> list[Parameters]:
        """Parameters after each trial's best number of epochs on the rows of `learning`."""
        found = []
        for trial in trials:
            assert trial.epoch is not None
            metric = "log_loss" if learning.classes else "rmse"
            setting = self._setting(trial, learning, metric, trial.epoch + 1)
            member = self._train(trial, setting, learning, trial.epoch, extra=1)
            if member.average is None or not np.isfinite(member.average).all():
                raise AllFailedError(
                    f"trial #{trial.number} diverges when it is trained on {rows}; "
                    "--as-searched takes the network of the search."
                )
            found.append(member.average)  # what a search scores and keeps
        return found

    def _setting(self, trial: Trial, learning: Learning, metric: str, patience: int) -> Setting:
        params, definition = self.params(trial), self._view.definition
        return Setting(
            self.shape(trial, learning), params["batch_size"], params["optimizer"], metric,
            patience, definition.seed, definition.training["product"],
        )  # fmt: skip

    def _train(
        self, trial: Trial, setting: Setting, learning: Learning, until: int, extra: int
    ) -> Progress:
        """A trial from its first epoch; with an extra epoch ahead it ends with its last average."""
        params = self.params(trial)
        member = Progress(
            trial.number, **{key: params[key] for key in ("lr", "l1", "l2", "dropout")},
            epochs=until + extra,
        )  # fmt: skip
        if self._shared is not learning:
            train, valid = learning.train, learning.valid
            self._workers.share(
                {"x": train.x, "y": train.y, "x_valid": valid.x, "y_valid": valid.y}
            )
            self._shared = learning
        problem = _problem(learning)
        return self._workers.train([member], setting, problem, until, float("inf")).result()[0]


def _problem(learning: Learning) -> Problem:
    rows, inputs = learning.train.x.shape
    return Problem(inputs, rows, len(learning.classes), learning.target_scale)


def _bundle(
    view: View,
    wanted: Wanted,
    request: Request,
    learning: Learning,
    trials: Sequence[Trial],
    parameters: Sequence[Parameters],
    shapes: Sequence[Shape],
) -> Bundle:
    definition, first = view.definition, trials[0]
    space = Space(tuple(parse(name, text) for name, text in definition.space.items()))
    return Bundle(
        parameters=tuple(parameters),
        shapes=tuple(shapes),
        task=learning.task,
        target=learning.target,
        classes=learning.classes,
        target_mean=learning.target_mean,
        target_scale=learning.target_scale,
        encoder=learning.encoder.to_dict(),
        columns=learning.columns,
        metrics={
            "metric": definition.metric,
            "value": first.value,
            "epoch": first.epoch,
            "patience": definition.training["patience"],
            "rows": wanted.rows,
            "count": len(learning.train.x),
            "study": view.name,
        },
        versions={
            "nntune": __version__,
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
        },
        fingerprint=learning.fingerprint,
        params=space.params(first.params),
        trials=tuple(trial.number for trial in trials),
        seed=definition.seed,
        command=wanted.command,
        data=asdict(request),
    )
