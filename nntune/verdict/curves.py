"""What probabilities are worth, as curves of few points."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_POINTS = 200
_BINS = 10


def receiver(probability: NDArray[np.float64], y: NDArray[Any]) -> list[list[float]] | None:
    """False and true positive rate at each threshold; None if there is one class only."""
    from sklearn.metrics import roc_curve

    if len(np.unique(y)) < 2:
        return None
    false, true, _ = roc_curve(y, probability)
    return _points(false, true)


def precision_recall(probability: NDArray[np.float64], y: NDArray[Any]) -> list[list[float]] | None:
    """Recall and precision at each threshold; None if there is one class only."""
    from sklearn.metrics import precision_recall_curve

    if len(np.unique(y)) < 2:
        return None
    precision, recall, _ = precision_recall_curve(y, probability)
    return _points(recall, precision)


def calibration(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> dict[str, Any]:
    """How often predictions of a confidence are right, and the expected calibration error.

    Ten bins of equal width; Guo et al. 2017, arXiv:1706.04599, equation 5.

    >>> calibration(np.array([0.75, 0.75]), np.array([True, False]))["ece"]
    0.25

    Args:
        confidence: (N,) probability of the class predicted.
        correct: (N,) whether it was right.
    """
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    bins = []
    for each in np.unique(place):
        here = place == each
        bins.append(
            {
                "confidence": float(confidence[here].mean()),
                "accuracy": float(correct[here].mean()),
                "count": int(here.sum()),
            }
        )
    gaps = [abs(each["confidence"] - each["accuracy"]) * each["count"] for each in bins]
    return {"bins": bins, "ece": float(sum(gaps) / len(correct))}


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[list[float]]:
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).astype(int))
    return [[float(a), float(b)] for a, b in zip(x[places], y[places], strict=True)]
