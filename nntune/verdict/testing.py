"""The test rows, opened: the winner and the baselines on rows that nothing was chosen by.

This module alone may ask for them. The network is the one that `nntune refit` makes, trained on
training and validation rows; the baselines learn from the same rows, at the strength that the
confirmation chose. What is found is kept with the study before anyone sees it, so that a second
look at the same rows, which may choose what the first one told, is known as such.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.bundle.predictor import Predictor
from nntune.bundle.refit import Wanted, refit
from nntune.bundle.resampling import interval, resampled
from nntune.bundle.scoring import metrics_of, score, unscaled
from nntune.data.learning import Learning, learning_of, test_of
from nntune.errors import NotFoundError
from nntune.retraining import plan_again
from nntune.study import View
from nntune.verdict.baselines import KINDS, predictions
from nntune.verdict.curves import calibration, precision_recall, receiver
from nntune.verdict.thresholds import label_scores

SCHEMA = "nntune.test/1"
_RESIDUALS = 1000
Values = NDArray[np.float64]


def opened(view: View, trial: int) -> dict[str, Any] | None:
    """What the test rows said of a trial already."""
    found = [each for each in view.verdicts("test") if each["trial"] == trial]
    return found[-1] if found else None


def scored(view: View, source: str | None = None) -> dict[str, Any]:
    """What is kept of a test of the confirmed winner; see docs/verdict.md for its fields.

    Args:
        view: a study that is confirmed.
        source: where the table is now, if not where it was.

    Raises:
        NotFoundError: the study is not confirmed.
        DataError: there are no test rows, or no data.
        RefusedError: the data are not those of the study.
    """
    confirmation = view.confirmation()
    if confirmation is None:
        raise NotFoundError(f"study '{view.name}' is not confirmed; nntune confirm does it.")
    plan = plan_again(view, source)
    bundle = refit(view, Wanted(data=source), plan).bundle
    rows = learning_of(plan, "train+valid")
    split = test_of(plan, rows)
    models = [Predictor(bundle).scores(split.x)]
    for each in confirmation["baselines"]:
        seed = view.definition.seed
        models.append(predictions(each["name"], each["params"], rows, split.x, seed))
    y = split.y if rows.classes else unscaled(rows.folds[0], split.y)[:, 0]
    return {
        "schema": SCHEMA,
        "opening": len(view.verdicts("test")) + 1,
        "trial": confirmation["winner"],
        "rows": len(y),
        "metric": view.definition.metric,
        "direction": view.direction,
        "entries": _entries(view, rows, models, y, confirmation["baselines"]),
        **_details(rows, models[0], y, confirmation.get("threshold")),
    }


def _entries(
    view: View,
    rows: Learning,
    models: list[Values],
    y: NDArray[Any],
    chosen: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Every metric of every model, with its interval."""
    names = metrics_of(rows.task)
    drawn = resampled(rows.task, names, models, y, view.definition.seed)
    labels = [("network", "network")]
    labels += [(each["name"], KINDS[each["name"]].label) for each in chosen]
    sign = 1 if view.direction == "maximize" else -1
    main = drawn[view.definition.metric]
    entries: list[dict[str, Any]] = []
    for place, (name, label) in enumerate(labels):
        values = score(rows.task, models[place], y, names)
        metrics = {metric: _between(values[metric], drawn[metric][:, place]) for metric in names}
        entry: dict[str, Any] = {"name": name, "label": label, "metrics": metrics}
        if place:
            own = entries[0]["metrics"][view.definition.metric]["value"]
            other = metrics[view.definition.metric]["value"]
            if own is not None and other is not None:
                gap = sign * (own - other)
                entry["difference"] = _between(gap, sign * (main[:, 0] - main[:, place]))
        entries.append(entry)
    return entries


def _between(value: float, drawn: Values) -> dict[str, float | None]:
    """A value and the 95 % interval of its resamples; null where it is not defined."""
    if not np.isfinite(value) or not np.isfinite(drawn).any():
        return {"value": None, "low": None, "high": None}
    low, high = interval(drawn)
    return {"value": value, "low": low, "high": high}


def _details(
    rows: Learning, values: Values, y: NDArray[Any], threshold: dict[str, Any] | None
) -> dict[str, Any]:
    """What only a task has: confusions, curves, calibration; or residuals."""
    found: dict[str, Any] = dict.fromkeys(
        ("confusion", "threshold", "at_threshold", "roc", "pr", "calibration", "residuals")
    )
    if not rows.classes:
        found["residuals"] = _residuals(values[:, 0], y)
        return found
    chosen = values.argmax(1)
    found["confusion"] = {
        "classes": list(rows.classes), "counts": _counts(y, chosen, len(rows.classes)),
    }  # fmt: skip
    found["calibration"] = calibration(values.max(1), chosen == y)
    if rows.task == "binary":
        found["roc"] = receiver(values[:, 1], y)
        found["pr"] = precision_recall(values[:, 1], y)
        if threshold is not None:
            second = values[:, 1] >= threshold["value"]
            found["threshold"] = threshold["value"]
            found["at_threshold"] = {
                "chosen_for": threshold["chosen_for"],
                "metrics": label_scores(second, y),
                "counts": _counts(y, second.astype(int), 2),
            }
    return found


def _counts(y: NDArray[Any], chosen: NDArray[Any], classes: int) -> list[list[int]]:
    """How often each class (rows) was taken for each (columns)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (y, chosen), 1)
    return [[int(count) for count in row] for row in counts]


def _residuals(predicted: Values, y: NDArray[Any]) -> dict[str, list[float]]:
    """An even sample of predictions and what was missing of the truth."""
    places = np.linspace(0, len(y) - 1, min(len(y), _RESIDUALS)).astype(int)
    return {
        "predicted": [float(each) for each in predicted[places]],
        "residual": [float(each) for each in (y - predicted)[places]],
    }
