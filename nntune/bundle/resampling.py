"""How sure a value on some rows is: the rows drawn again, with replacement, many times.

Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapters 6 and 13. Every resample serves
all models, so that differences between models are paired by row.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nntune.bundle.scoring import tensors
from nntune.metrics import METRICS

_FEWEST, _MOST = 200, 1000
_WORK = 1e8  # numbers looked at in all: some seconds


def repeats(models: int, rows: int, classes: int) -> int:
    """How many resamples are drawn; fewer of large tables, where each costs more.

    >>> repeats(6, 500, 2), repeats(6, 100_000, 10)
    (1000, 200)
    """
    return int(min(max(_WORK / (models * rows * max(classes, 1)), _FEWEST), _MOST))


def resampled(
    task: str,
    metrics: Sequence[str],
    models: Sequence[NDArray[np.float64]],
    y: NDArray[np.float64],
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Each metric of each model on each resample, (repeats, models).

    Args:
        task: says how to read the values.
        metrics: names.
        models: what each says of the rows: (N, classes) probabilities or (N, 1) numbers.
        y: (N,) class indices, or the target in its unit.
        seed: fixes the draws.
    """
    import torch

    outputs, target = tensors(task, models, y)
    draws = np.random.default_rng([seed, 5])
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in metrics}
    for _ in range(repeats(len(models), len(y), outputs.shape[1])):
        rows = torch.from_numpy(draws.integers(len(y), size=len(y)))
        picked, truth = outputs.index_select(2, rows), target.index_select(0, rows)
        for name in metrics:
            found[name].append(METRICS[name].formula(picked, truth, 1.0).numpy())
    return {name: np.array(values) for name, values in found.items()}


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of resampled values; those that are not defined are left out."""
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    return float(low), float(high)
