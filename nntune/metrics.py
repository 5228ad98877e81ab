"""How a prediction is judged: each metric's name, direction, tasks and formula.

Importing this module does not import torch: its names serve the command line.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from nntune.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

BINARY, CLASSES, REGRESSION = ("binary",), ("binary", "multiclass"), ("regression",)


class Metric(NamedTuple):
    """A metric of predictions; formula(outputs (M, C, N), target (N,), scale) is (M,)."""

    direction: str
    tasks: tuple[str, ...]
    formula: "Callable[[Tensor, Tensor, float], Tensor]"

    def better(self, value: float, than: float) -> bool:
        """Whether a value is strictly better; nan never is."""
        return value < than if self.direction == "minimize" else value > than


def log_loss(outputs: "Tensor", target: "Tensor", scale: float = 1.0) -> "Tensor":
    """Mean negative log likelihood of the class, in nats; outputs are logits."""
    members, _, rows = outputs.shape
    picked = outputs.log_softmax(1).gather(1, target.expand(members, 1, rows))
    return -picked[:, 0].double().mean(1)


def mean_squared_error(outputs: "Tensor", target: "Tensor", scale: float = 1.0) -> "Tensor":
    """In squared units of the target: scale is the target's standard deviation."""
    return (outputs[:, 0] - target).double().square().mean(1) * scale**2


def _accuracy(outputs: "Tensor", target: "Tensor", scale: float) -> "Tensor":
    return (outputs.argmax(1) == target).double().mean(1)


def _recalls(outputs: "Tensor", target: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
    """Hits (C, M), predicted rows (C, M) and true rows (C, 1) of each class."""
    import torch

    classes = torch.arange(outputs.shape[1], device=outputs.device)[:, None, None]
    chosen, truth = outputs.argmax(1) == classes, target[None] == classes
    return (
        (chosen & truth).sum(2).double(),
        chosen.sum(2).double(),
        truth.sum(2).double(),
    )


def _balanced_accuracy(outputs: "Tensor", target: "Tensor", scale: float) -> "Tensor":
    hits, _, rows = _recalls(outputs, target)
    return (hits / rows).nanmean(0)  # a class without rows has no recall: 0/0


def _f1(outputs: "Tensor", target: "Tensor", scale: float) -> "Tensor":
    """Of the second class when there are two, else the mean over classes."""
    hits, predicted, rows = _recalls(outputs, target)
    each = 2 * hits / (predicted + rows).clamp(min=1)
    return each[1] if len(each) == 2 else each.mean(0)


def _auc(outputs: "Tensor", target: "Tensor", scale: float) -> "Tensor":
    """Area under the ROC curve of the second class, ties counted half (Mann-Whitney)."""
    scores = (outputs[:, 1] - outputs[:, 0]).double()
    positive = target == 1
    n1 = positive.sum().double()
    n0 = len(target) - n1
    result = scores.new_empty(len(scores))
    for member, row in enumerate(scores):
        _, inverse, counts = row.unique(return_inverse=True, return_counts=True)
        ranks = counts.cumsum(0) - (counts - 1) / 2
        result[member] = (ranks[inverse][positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)
        if bool(row.isnan().any()):
            result[member] = float("nan")
    return result


def _mae(outputs: "Tensor", target: "Tensor", scale: float) -> "Tensor":
    return (outputs[:, 0] - target).double().abs().mean(1) * scale


def _r2(outputs: "Tensor", target: "Tensor", scale: float) -> "Tensor":
    spread = target.double().var(correction=0)
    spread = spread.where(target.min() < target.max(), math.nan)  # as auc of one class is
    return 1 - mean_squared_error(outputs, target) / spread


METRICS = {
    "log_loss": Metric("minimize", CLASSES, log_loss),
    "accuracy": Metric("maximize", CLASSES, _accuracy),
    "balanced_accuracy": Metric("maximize", CLASSES, _balanced_accuracy),
    "auc": Metric("maximize", BINARY, _auc),
    "f1": Metric("maximize", CLASSES, _f1),
    "rmse": Metric("minimize", REGRESSION, lambda z, y, s: mean_squared_error(z, y, s).sqrt()),
    "mae": Metric("minimize", REGRESSION, _mae),
    "r2": Metric("maximize", REGRESSION, _r2),
}


def metric_for(task: str, name: str | None = None) -> str:
    """The metric to use: the task's default, or the named one if it fits the task.

    >>> metric_for("regression"), metric_for("binary", "auc")
    ('rmse', 'auc')

    Raises:
        UsageError: no such metric, or not one of this task.
    """
    if name is None:
        return "rmse" if task == "regression" else "log_loss"
    fitting = [key for key, metric in METRICS.items() if task in metric.tasks]
    if name not in METRICS:
        raise UsageError(
            f"--metric: there is no metric '{name}'; for a {task} target there are "
            f"{', '.join(fitting)}.{did_you_mean(name, METRICS)}"
        )
    if name not in fitting:
        raise UsageError(
            f"--metric {name} does not fit a {task} target; there are {', '.join(fitting)}."
        )
    return name
