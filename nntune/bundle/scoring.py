"""Predictions held against what was true, by the formulas that a search uses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nntune.bundle import forward
from nntune.data import Fold
from nntune.metrics import METRICS
from nntune.trials import AnyShape

if TYPE_CHECKING:
    from torch import Tensor

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
    outputs, target = tensors(task, [values], y)
    return {name: float(METRICS[name].formula(outputs, target, 1.0)[0]) for name in names}


def truth(fold: Fold) -> NDArray[Any]:
    """A fold's validation target as it was: (V,) class indices, or numbers in their unit."""
    y = fold.valid.y
    return y if y.dtype.kind == "i" else unscaled(fold, y)[:, 0]


def unscaled(fold: Fold, y: NDArray[Any]) -> NDArray[np.float64]:
    """Standardised numbers (N,) or (N, 1) in the target's unit, (N, 1)."""
    return (y.astype(np.float64) * fold.target_scale + fold.target_mean).reshape(-1, 1)


def network_values(
    fold: Fold, classes: int, shape: AnyShape, flat: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What a network says of a fold's validation rows: probabilities, or numbers in their unit."""
    outputs = forward.network_outputs(shape, flat, fold.valid.x)
    return forward.probabilities(outputs) if classes else unscaled(fold, outputs)


def tensors(
    task: str, models: Sequence[NDArray[np.float64]], y: NDArray[Any]
) -> "tuple[Tensor, Tensor]":
    """Predictions of some models and the truth as the metrics' formulas take them.

    Returns:
        Outputs (M, C, N), logits or numbers, and the target (N,).
    """
    import torch

    values = np.stack([np.ascontiguousarray(each.T) for each in models])
    outputs = values if task == "regression" else np.log(np.maximum(values, _LEAST))
    target = y.astype(np.float64 if task == "regression" else np.int64)
    return torch.from_numpy(outputs), torch.from_numpy(target)
