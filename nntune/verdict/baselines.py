"""Models that a network has to beat to be worth its trouble; scikit-learn's, on the same encoding.

Bins of numbers are left out: with them a linear model would bend, and be no plain one.
Each has one strength, chosen as the network's hyperparameters are: learnt from the training rows,
judged by the study's metric on the validation rows, the mean over folds where there are some.
"""

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nntune.bundle.scoring import score, truth, unscaled
from nntune.data.dataset import Fold
from nntune.data.encoding import Encoded, filled_of
from nntune.metrics import METRICS
from nntune.retraining import Rows
from nntune.workers import one_thread

Array = NDArray[Any]
Values = NDArray[np.float64]
_Judged = tuple[float, Any, tuple[Values, ...]]  # value, strength, predictions of each fold
_ROUNDS = 200  # of boosting, at most
_DECADES = ("ridge", "logistic_l2", "logistic_l1")  # strengths a decade apart, then half of one
_SHRINKAGES = np.logspace(-4, 2, 7)  # penalties of standardised columns, per row
_SHRINKAGES_OF_TERMS = np.logspace(-6, -3, 7)  # the same where each row of terms has norm 1


class Kind(NamedTuple):
    """A family of baselines."""

    label: str
    strength: str  # what is chosen on the validation rows
    most: float  # numbers in the rows it learns from; a drawn part of a larger table has to do


KINDS = {
    "majority": Kind("class frequencies", "", np.inf),
    "mean": Kind("the mean", "", np.inf),
    "ridge": Kind("linear model (ridge)", "alpha", 4e8),
    "lasso": Kind("linear model (lasso)", "alpha", 4e8),
    "logistic_l2": Kind("logistic regression (L2)", "C", 1e8),
    "logistic_l1": Kind("logistic regression (L1)", "C", 4e6),
    "boosting": Kind("gradient boosting", "max_iter", 1e8),
}


class Baseline(NamedTuple):
    """What a family is worth at its best strength.

    Attributes:
        name: a key of KINDS.
        params: the strength, and the number of training rows if not all.
        values: predictions of each fold's validation rows, (V, classes) or (V, 1).
        value: of the study's metric.
        seconds: of processor time, the choice included.
    """

    name: str
    params: dict[str, Any]
    values: tuple[Values, ...]
    value: float
    seconds: float


def names_of(task: str, terms: int = 0) -> tuple[str, ...]:
    """The baselines of a task, the plainest first.

    Terms of text leave those that keep all of them: trees and sparse models take minutes on tens
    of thousands, and are not better.

    >>> names_of("regression")
    ('mean', 'ridge', 'lasso', 'boosting')
    """
    if terms:
        return ("mean", "ridge") if task == "regression" else ("majority", "logistic_l2")
    if task == "regression":
        return ("mean", "ridge", "lasso", "boosting")
    return ("majority", "logistic_l2", "logistic_l1", "boosting")


def baselines(rows: Rows, metric: str, seed: int) -> list[Baseline]:
    """Each baseline at the strength that is best on the validation rows."""
    with one_thread(), _silence():
        return [_chosen(name, rows, metric, seed) for name in names_of(rows.task, rows.train.terms)]


def predictions(name: str, params: dict[str, Any], rows: Rows, x: Encoded, seed: int) -> Values:
    """What a baseline of a strength, learnt from the training rows of `rows`, says of others.

    Args:
        name: a key of KINDS.
        params: of a Baseline.
        rows: to learn from.
        x: (N, D), encoded as the rows are.
        seed: of the study.
    """
    fold, classes = _plain(rows.folds[0], rows.bins), len(rows.classes)
    strength = params.get(KINDS[name].strength)
    with one_thread(), _silence():
        estimator = _fitted(name, strength, *_taken(name, fold, classes, seed), seed)
        return _predicted(fold, classes, estimator, _without(x, rows.bins))


def _plain(fold: Fold, bins: int) -> Fold:
    """A fold without bins of numbers."""
    train, valid = (replace(part, x=_without(part.x, bins)) for part in (fold.train, fold.valid))
    return replace(fold, train=train, valid=valid)


def _without(x: Encoded, bins: int) -> Encoded:
    """The same rows without so many columns, the last ones."""
    return x[:, : x.shape[1] - bins] if bins else x


def _chosen(name: str, rows: Rows, metric: str, seed: int) -> Baseline:
    started = time.process_time()
    folds, classes = [_plain(fold, rows.bins) for fold in rows.folds], len(rows.classes)
    examples = [_taken(name, fold, classes, seed) for fold in folds]
    targets = [truth(fold) for fold in folds]

    def judged(strengths: Sequence[Any]) -> Iterator[_Judged]:
        """Value, strength and predictions of each."""
        tried = (
            _tried(name, strengths, fold, classes, each, seed)
            for fold, each in zip(folds, examples, strict=True)
        )
        for strength, *values in zip(strengths, *tried, strict=True):
            scores = [
                score(rows.task, each, y, [metric])[metric]
                for each, y in zip(values, targets, strict=True)
            ]
            yield float(np.mean(scores)), strength, tuple(values)

    best = _best(metric, judged(_strengths(name, *examples[0], folds[0].train.terms)))
    if name in _DECADES:
        between = [best[1] * factor for factor in (10**-0.5, 10**0.5)]
        best = _best(metric, [best, *judged(between)])
    value, strength, chosen = best
    params = {KINDS[name].strength: strength} if KINDS[name].strength else {}
    if len(examples[0][1]) < len(folds[0].train.y):
        params["rows"] = len(examples[0][1])
    return Baseline(name, params, chosen, value, time.process_time() - started)


def _best(metric: str, found: Iterable[_Judged]) -> _Judged:
    """The first of those with the best value."""
    return reduce(lambda best, e: e if METRICS[metric].better(e[0], best[0]) else best, found)


def _taken(name: str, fold: Fold, classes: int, seed: int) -> tuple[Encoded, Array]:
    """The training rows to learn from: all, or a drawn part of a large table."""
    count, inputs = len(fold.train.y), filled_of(fold.train.x)
    most = KINDS[name].most / (inputs * max(classes, 1))
    if count <= most:
        return fold.train.x, fold.train.y
    draws = np.random.default_rng([seed, 6])
    rows = np.sort(draws.choice(count, min(max(int(most), 1000), count), replace=False))
    return fold.train.x[rows], fold.train.y[rows]


def _tried(
    name: str,
    strengths: Sequence[Any],
    fold: Fold,
    classes: int,
    examples: tuple[Encoded, Array],
    seed: int,
) -> Iterator[Values]:
    """What models of each strength say of a fold's validation rows."""
    if name == "boosting":  # one training tells of every number of rounds
        whole = _fitted(name, _ROUNDS, *examples, seed)
        ahead = whole.staged_predict_proba if classes else whole.staged_predict
        for values in ahead(fold.valid.x):
            yield values if classes else unscaled(fold, values)
        return
    for strength in strengths:
        yield _predicted(fold, classes, _fitted(name, strength, *examples, seed), fold.valid.x)


def _strengths(name: str, x: Encoded, y: Array, terms: int) -> Sequence[Any]:
    shrinkages = _SHRINKAGES_OF_TERMS if terms else _SHRINKAGES
    match name:
        case "ridge":
            return [float(each * len(y)) for each in shrinkages]
        case "lasso":
            # Beyond this all weights are zero.
            most = float(np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / len(y))
            return [float(most * 10**-each) for each in np.linspace(0, 4, 13)]
        case "logistic_l2" | "logistic_l1":
            return [float(1 / (each * len(y))) for each in shrinkages[::-1]]
        case "boosting":
            return range(1, _ROUNDS + 1)
    return [None]


def _fitted(name: str, strength: Any, x: Encoded, y: Array, seed: int) -> Any:
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import Lasso, LogisticRegression, Ridge

    trees = {"max_iter": strength, "early_stopping": False, "random_state": seed}
    match name:
        case "mean":
            estimator: Any = DummyRegressor()
        case "majority":
            estimator = DummyClassifier(strategy="prior")
        case "ridge":
            estimator = Ridge(strength)
        case "lasso":
            estimator = Lasso(strength)
        case "logistic_l2":
            estimator = LogisticRegression(C=strength, max_iter=300)
        case "logistic_l1":
            solver = "liblinear" if y.max() == 1 else "saga"
            estimator = LogisticRegression(
                C=strength, l1_ratio=1, solver=solver, max_iter=100, tol=1e-3, random_state=seed
            )
        case _ if y.dtype.kind == "f":
            estimator = HistGradientBoostingRegressor(**trees)
        case _:
            estimator = HistGradientBoostingClassifier(**trees)
    return estimator.fit(x, y)


def _predicted(fold: Fold, classes: int, estimator: Any, x: Encoded) -> Values:
    if not classes:
        return unscaled(fold, estimator.predict(x))
    values = np.zeros((x.shape[0], classes))
    values[:, estimator.classes_] = estimator.predict_proba(x)  # a class may lack training rows
    return values


@contextmanager
def _silence() -> Iterator[None]:
    """A solver that stops early is judged as it stands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
