"""Predictions held against what was true, by the formulas that a search uses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.metrics import METRICS

_LEAST = 1e-300  # a probability of 0 would make the log loss infinite


def metrics_of(task: str) -> list[str]:
    """All metrics that fit a task.

    >>> metrics_of("regression")
    ['rmse', 'mae', 'r2']
    """
    return [name for name, metric in METRICS.items() if task in metric.tasks]


def score(
    task: str, values: NDArray[np.float64], y: NDArray[Any], names: Sequence[str]
) -> dict[str, float]:
    """Metrics of predictions; nan where one is not defined, such as auc with one class.

    Args:
        task: says how to read the values.
        values: (N, classes) probabilities, or (N, 1) predictions in the target's unit.
        y: (N,) class indices, or the target in its unit.
        names: of the metrics.
    """
    import torch

    outputs = values if task == "regression" else np.log(np.maximum(values, _LEAST))
    scores = torch.from_numpy(np.ascontiguousarray(outputs.T))[None]  # (1, C, N)
    target = torch.from_numpy(y.astype(np.float64 if task == "regression" else np.int64))
    return {name: float(METRICS[name].formula(scores, target, 1.0)[0]) for name in names}
