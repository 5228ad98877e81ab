"""Estimators in scikit-learn's manner: `fit` is a whole search, `predict` is its best network.

They take what scikit-learn's own take, numbers in two dimensions, and go wherever those go: into
pipelines and cross_val_score. Tables with words, dates and gaps are for `nntune search`.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from nntune import session, study
from nntune.bundle import forward
from nntune.data import bins
from nntune.data.encoding import FAR, scale_of
from nntune.errors import UsageError
from nntune.metrics import METRICS, metric_for
from nntune.search import Search
from nntune.space import Space, bins_of, build, explicit, parse, texts_of
from nntune.stacks import shape_of
from nntune.stops import Budget
from nntune.study import Definition, Trial, View
from nntune.trials import Problem, Shape
from nntune.workers import Workers, one_thread

Array = NDArray[Any]
_BLOCK = 1 << 14  # rows whose bins stay small


@dataclass(frozen=True)
class _Examples:
    """Standardised examples, dealt out."""

    x: Array  # (N, D) float32
    y: Array  # (N,) int64 class, or float32 standardised target
    x_valid: Array  # (V, D)
    y_valid: Array  # (V,)
    task: str
    classes: int  # 0 for regression
    scale: float  # unit of a regression target
    bins: int  # of the features, so many are bins of numbers, the last ones

    @property
    def problem(self) -> Problem:
        return Problem(self.x.shape[1], len(self.x), self.classes, self.scale, bins=self.bins)


class _Winner(NamedTuple):
    """What is left of a search."""

    metric: str
    params: dict[str, Any]
    value: float
    trials: list[dict[str, Any]]  # the best first
    layers: list[tuple[Array, Array]]  # weight (outputs, inputs) and bias (outputs,)


class _Tuned(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What the two estimators share."""

    def __init__(
        self,
        *,
        trials: int | None = 32,
        time: float | None = None,
        metric: str | None = None,
        space: Mapping[str, object] | str | Path | None = None,
        validation_fraction: float = 0.2,
        patience: int | None = None,
        random_state: Any = None,
        workers: int = 0,
        device: str = "cpu",
    ) -> None:
        self.trials = trials
        self.time = time
        self.metric = metric
        self.space = space
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.workers = workers
        self.device = device

    def _search(self, x: Array, y: Array, classes: int) -> None:
        """Fits everything that does not depend on the kind of target.

        Args:
            x: (N, D) float64.
            y: (N,) int64 class, or float64 target.
            classes: how many; 0 for regression.
        """
        budget = self._budget()
        if self.device not in session.DEVICES:
            there = ", ".join(session.DEVICES)
            raise ValueError(f"device={self.device!r}; there are {there}.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        train, valid = _dealt(y if classes else None, len(y), self._fraction(), seed)
        self._mean, self._sd = x[train].mean(0), _spread(x[train])
        self._target_mean, self._target_sd = (0.0, 1.0) if classes else _center(y[train])
        standard = self._standardised(x)
        count = self._count(*standard[train].shape)
        self._edges = [bins.edges_of(column, count) for column in standard[train].T]
        features = self._with_bins(standard, np.float32)
        if not classes:
            y = ((y - self._target_mean) / self._target_sd).astype(np.float32)
        task = "regression" if not classes else "binary" if classes == 2 else "multiclass"
        examples = _Examples(
            features[train], y[train], features[valid], y[valid], task, classes, self._target_sd,
            features.shape[1] - x.shape[1],
        )  # fmt: skip
        with _sentences():
            self._keep(_tuned(self, examples, count, budget, seed))

    def _budget(self) -> Budget:
        if self.trials is None and self.time is None:
            raise ValueError("trials and time are None; give one of them, or both.")
        for name, least in (("trials", 1), ("patience", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Integral) and int(value) >= least):
                raise ValueError(f"{name}={value!r}; a whole number, at least {least}, is needed.")
        if self.time is not None and not (isinstance(self.time, Real) and self.time > 0):
            raise ValueError(f"time={self.time!r}; seconds above 0 are needed.")
        deadline = math.inf if self.time is None else time.monotonic() + self.time
        return Budget(self.trials, deadline)

    def _fraction(self) -> float:
        """The share of rows to compare on."""
        share = self.validation_fraction
        if not (isinstance(share, Real) and 0 < share < 1):
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r}; between 0 and 1 is needed."
            )
        return self.validation_fraction

    def _standardised(self, x: Array) -> Array:
        return np.asarray(np.clip((x - self._mean) / self._sd, -FAR, FAR))

    def _count(self, rows: int, columns: int) -> int:
        """Bins of each column."""
        with _sentences():
            asked = texts_of(self.space).get("bins")
            if asked is None:
                return bins.usual(columns, rows)
            return bins_of(parse("bins", asked, "space: bins"))

    def _with_bins(self, x: Array, kind: type[np.floating[Any]]) -> Array:  # (N, D + bins)
        """Standardised numbers, (N, D), and their places in the bins of their columns."""
        counts = [max(len(edges) - 1, 0) for edges in self._edges]
        features = np.empty((len(x), x.shape[1] + sum(counts)), kind)
        features[:, : x.shape[1]] = x
        end = x.shape[1]
        for column, edges, count in zip(x.T, self._edges, counts, strict=True):
            bins.fill(column, edges, features[:, end : end + count])
            end += count
        return features

    def _keep(self, winner: "_Winner") -> None:
        self.metric_ = winner.metric
        self.best_params_ = winner.params
        self.best_score_ = winner.value
        self.trials_ = winner.trials
        self.coefs_ = [weight.T.astype(np.float64) for weight, _ in winner.layers]
        self.intercepts_ = [bias.astype(np.float64) for _, bias in winner.layers]

    def _outputs(self, x: Any) -> Array:  # (N, C)
        """What the network says, in double precision: a row's result then is that of its batch."""
        check_is_fitted(self)
        x = self._standardised(validate_data(self, x, reset=False, dtype=np.float64))
        network = [(w.T, b) for w, b in zip(self.coefs_, self.intercepts_, strict=True)]
        hidden = tuple(len(bias) for bias in self.intercepts_[:-1])
        outputs = len(self.intercepts_[-1])
        shape = Shape(len(self.coefs_[0]), hidden, outputs, self.best_params_["activation"])
        parts = (x[start : start + _BLOCK] for start in range(0, len(x), _BLOCK))
        if shape.inputs > x.shape[1]:
            parts = (self._with_bins(part, np.float64) for part in parts)
        return np.concatenate([forward.outputs(network, shape, part) for part in parts])


class NNTuneClassifier(ClassifierMixin, _Tuned):  # type: ignore[misc]
    """A classifier: the best perceptron of a search over its hyperparameters.

    Part of the rows that `fit` gets is set aside to compare the trials on; features are
    standardised with the others. `fit` is the search, so it takes as long as `trials` trainings.

    Args:
        trials: how many configurations are tried; None for as many as the time allows.
        time: seconds after which the search ends, beside or instead of `trials`.
        metric: log_loss (the default), accuracy, balanced_accuracy, auc or f1.
        space: hyperparameter to range, as `nntune.search` has them: {"lr": "1e-4:1e-1:log",
            "units": [64, 128], "epochs": 50}; others keep their default range. "bins": 0 leaves out
            bins of numbers, which tables of at most 32 columns try otherwise.
        validation_fraction: share of the rows that compares the trials, drawn by class.
        patience: epochs without a better value before a training stops; an eighth of the most
            epochs, at least 20, if not given.
        random_state: fixes the rows set aside, the draws and the training.
        workers: processes that train; 0 trains in this one.
        device: cpu, cuda, mps or auto.

    Attributes:
        classes_: labels, in the order of `predict_proba`.
        best_params_: configuration of the best trial.
        best_score_: its value of `metric_` on the rows set aside.
        metric_: the metric.
        trials_: number, state, value and configuration of each trial, the best first.
        coefs_: weights of each layer, (inputs, outputs); bins of the columns, if the network reads
            them, are inputs after the columns.
        intercepts_: biases of each layer, (outputs,).
        n_features_in_: columns seen in fit.
        feature_names_in_: their names, where the columns had names.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Search.

        Args:
            X: (N, D) numbers.
            y: (N,) labels of at least two classes.

        Raises:
            ValueError: the data or a parameter cannot be used as they are.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            only = self.classes_.tolist()[0]
            raise ValueError(f"y has 1 class, {only!r}, in every row; there is nothing to learn.")
        self._search(X, codes.astype(np.int64), len(self.classes_))
        return self

    def predict(self, X: Any) -> Array:  # (N,)
        """The most likely class of each row."""
        places = self._outputs(X).argmax(1)
        return np.asarray(self.classes_[places])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # (N, classes)
        """Probabilities of the classes, in the order of `classes_`."""
        return forward.probabilities(self._outputs(X))


class NNTuneRegressor(RegressorMixin, _Tuned):  # type: ignore[misc]
    """A regressor: the best perceptron of a search over its hyperparameters.

    Part of the rows that `fit` gets is set aside to compare the trials on; features and target
    are standardised with the others. `fit` is the search, so it takes as long as `trials`
    trainings.

    Args:
        trials: how many configurations are tried; None for as many as the time allows.
        time: seconds after which the search ends, beside or instead of `trials`.
        metric: rmse (the default), mae or r2.
        space: hyperparameter to range, as `nntune.search` has them: {"lr": "1e-4:1e-1:log",
            "units": [64, 128], "epochs": 50}; others keep their default range. "bins": 0 leaves out
            bins of numbers, which tables of at most 32 columns try otherwise.
        validation_fraction: share of the rows that compares the trials.
        patience: epochs without a better value before a training stops; an eighth of the most
            epochs, at least 20, if not given.
        random_state: fixes the rows set aside, the draws and the training.
        workers: processes that train; 0 trains in this one.
        device: cpu, cuda, mps or auto.

    Attributes:
        best_params_: configuration of the best trial.
        best_score_: its value of `metric_` on the rows set aside, in the target's unit.
        metric_: the metric.
        trials_: number, state, value and configuration of each trial, the best first.
        coefs_: weights of each layer, (inputs, outputs); bins of the columns, if the network reads
            them, are inputs after the columns.
        intercepts_: biases of each layer, (outputs,).
        n_features_in_: columns seen in fit.
        feature_names_in_: their names, where the columns had names.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Search.

        Args:
            X: (N, D) numbers.
            y: (N,) numbers.

        Raises:
            ValueError: the data or a parameter cannot be used as they are.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        self._search(X, np.asarray(y, np.float64), 0)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:  # (N,)
        """The number expected for each row."""
        return np.asarray(self._outputs(X)[:, 0] * self._target_sd + self._target_mean)


def _tuned(tuned: _Tuned, examples: _Examples, count: int, budget: Budget, seed: int) -> _Winner:
    """A search in a study that is gone with its folder."""
    metric = metric_for(examples.task, tuned.metric)
    space = _space(texts_of(tuned.space), len(examples.x), examples.bins and count)
    with (
        TemporaryDirectory(prefix="nntune-") as folder,
        one_thread(),
        Workers(tuned.workers, tuned.device) as workers,
    ):
        workers.use_device()
        workers.share({name: getattr(examples, name) for name in ("x", "y", "x_valid", "y_valid")})
        path = Path(folder, "study.db")
        definition = _definition(tuned, examples, space, metric, seed)
        with study.open_writer(path, "estimator", definition) as writer:
            for _ in Search(writer, space, examples.problem, workers, keep=1).run(budget):
                pass
        return _winner(study.read(path), space, examples.problem)


def _winner(view: View, space: Space, problem: Problem) -> _Winner:
    best = view.best()
    assert best is not None
    kept = view.weights(best.number)
    assert best.value is not None
    assert kept is not None
    params = explicit(space.params(best.params))
    trials = [_row(trial, space) for trial in view.trials()]
    shape = shape_of(params, problem)
    assert isinstance(shape, Shape)
    layers = forward.layers(np.frombuffer(kept, "<f4"), shape)
    return _Winner(view.definition.metric, params, best.value, trials, layers)


def _row(trial: Trial, space: Space) -> dict[str, Any]:
    params = explicit(space.params(trial.params))
    return {"number": trial.number, "state": trial.state, "value": trial.value, "params": params}


def _space(ranges: Mapping[str, str], rows: int, count: int) -> Space:
    for name, text in ranges.items():
        parse(name, text, f"space: {name}")
    space = build(ranges, rows=rows, bins=count)
    if space.models != ("mlp",):
        raise UsageError(
            f"space: model {ranges['model']}: an estimator is a perceptron, mlp; leave model out. "
            "nntune.search has the others."
        )
    return space


def _definition(
    tuned: _Tuned, examples: _Examples, space: Space, metric: str, seed: int
) -> Definition:
    plan = session.plan_for(space, examples.problem, tuned.patience)
    return Definition(
        data={"source": "arrays", "task": examples.task, "features": examples.x.shape[1]},
        space={each.name: each.text for each in space.hyperparameters},
        metric=metric,
        direction=METRICS[metric].direction,
        seed=seed,
        sampler="tpe",
        pruner="halving",
        # Measuring which library is faster could choose otherwise in a second fit.
        training={**plan._asdict(), "rungs": list(plan.rungs), "product": "mixed"},
        versions=session.versions(),
        command="fit",
    )


def _dealt(classes: Array | None, rows: int, share: float, seed: int) -> tuple[Array, Array]:
    """Rows to train on and rows to compare on, ascending: of each class some of both.

    A class of one row is trained on; if that leaves nothing to compare on, all rows serve for both.
    """
    order = np.random.default_rng(seed).permutation(rows)
    strata = (
        [order] if classes is None else [order[classes[order] == c] for c in np.unique(classes)]
    )
    sizes = [min(max(1, round(share * len(part))), len(part) - 1) for part in strata]
    train = np.sort(np.concatenate([p[size:] for p, size in zip(strata, sizes, strict=True)]))
    valid = np.sort(np.concatenate([p[:size] for p, size in zip(strata, sizes, strict=True)]))
    return train, valid if len(valid) else train


def _center(y: Array) -> tuple[float, float]:
    return float(y.mean()), float(y.std()) or 1.0


def _spread(x: Array) -> Array:
    """Standard deviations of the columns, 1 where there is none."""
    return np.array([scale_of(column).sd for column in x.T])


@contextmanager
def _sentences() -> Iterator[None]:
    """A mistake in a parameter as scikit-learn's callers expect it."""
    try:
        yield
    except UsageError as error:
        raise ValueError(str(error).removeprefix("--")) from None
