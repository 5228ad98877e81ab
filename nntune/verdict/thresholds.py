"""Where to cut the probability of the second of two classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_CUTS = 200


def best_threshold(
    probability: NDArray[np.float64], y: NDArray[Any], metric: str
) -> dict[str, Any]:
    """The cut that is best for what is asked of labels.

    That is the study's metric where it judges labels (accuracy, balanced_accuracy, f1), else
    balanced accuracy, which does not depend on how frequent the classes are.

    >>> best_threshold(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1]), "log_loss")["value"]
    0.25

    Args:
        probability: (N,) of the second class.
        y: (N,) 0 or 1.
        metric: of the study.
    """
    chosen = metric if metric in ("accuracy", "balanced_accuracy", "f1") else "balanced_accuracy"
    distinct = np.unique(probability)
    if len(distinct) > _CUTS:
        distinct = np.quantile(probability, np.linspace(0, 1, _CUTS))
    cuts = (distinct[1:] + distinct[:-1]) / 2
    if not len(cuts):
        return {"value": 0.5, "chosen_for": chosen}
    scores = [label_scores(probability >= cut, y)[chosen] for cut in cuts]
    return {"value": round(float(cuts[int(np.argmax(scores))]), 6), "chosen_for": chosen}


def label_scores(chosen: NDArray[np.bool_], y: NDArray[Any]) -> dict[str, float]:
    """What labels are worth.

    Args:
        chosen: (N,) where the second class is predicted.
        y: (N,) 0 or 1.
    """
    positive = y == 1
    hits, rejections = (chosen & positive).sum(), (~chosen & ~positive).sum()
    recall, specificity = hits / max(positive.sum(), 1), rejections / max((~positive).sum(), 1)
    precision = hits / max(chosen.sum(), 1)
    return {
        "accuracy": float((chosen == positive).mean()),
        "balanced_accuracy": float((recall + specificity) / 2),
        "f1": float(2 * hits / max(chosen.sum() + positive.sum(), 1)),
        "precision": float(precision),
        "recall": float(recall),
        "specificity": float(specificity),
    }
