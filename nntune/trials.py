"""A trial as training sees it: what it shares with its stack, and how far it got.

Plain values that travel between processes; importing this module does not import torch.
"""

import math
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from nntune.families import Grid, Layered, Part

# The library that multiplies matrices; mixed: numpy the small ones, torch the large ones.
Product = Literal["numpy", "torch", "mixed"]


class Shape(NamedTuple):
    """What members must share to be trained as one network.

    Of the inputs the last `terms` are sparse. Their weights come first in a member's parameters,
    (terms, units of the first layer), so that those of one term lie together.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str = "relu"
    terms: int = 0

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of every linear layer, first to last."""
        widths = (self.inputs, *self.hidden, self.outputs)
        return list(pairwise(widths))

    @property
    def dense(self) -> "Shape":
        """The same network without its sparse inputs."""
        return self._replace(inputs=self.inputs - self.terms, terms=0)

    @property
    def sparse_weights(self) -> int:
        """How many weights the sparse inputs have."""
        return self.terms * self.layers[0][1]

    @property
    def weights(self) -> int:
        """How many weights; they come before the biases in a member's parameters."""
        return sum(a * b for a, b in self.layers)

    @property
    def parameters(self) -> int:
        """How many weights and biases a member has.

        >>> Shape(4, (8,), 3).parameters
        67
        """
        return self.weights + sum(b for _, b in self.layers)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its tensors in the order of the flat parameters: all weights, then all biases."""
        if self.terms:
            size = (self.terms, self.layers[0][1])
            return (Part("terms", size, "weight", self.inputs), *self.dense.parts)
        return tuple(
            Part(f"{place}.{kind}", (b, a) if kind == "weight" else (b,), kind, a)
            for kind in ("weight", "bias")
            for place, (a, b) in enumerate(self.layers)
        )


AnyShape: TypeAlias = Shape | Layered


def terms_of(shape: AnyShape) -> int:
    """Of a network's inputs, how many are sparse, the last ones."""
    return shape.terms if isinstance(shape, Shape) else 0


def hidden_widths(layers: int, units: int, shape: str) -> tuple[int, ...]:
    """Units of each hidden layer: equal, or halved from layer to layer (at least 4).

    >>> hidden_widths(3, 64, "flat"), hidden_widths(3, 64, "taper")
    ((64, 64, 64), (64, 32, 16))
    """
    if shape == "flat":
        return (units,) * layers
    return tuple(max(units >> layer, min(units, 4)) for layer in range(layers))


class Problem(NamedTuple):
    """The size and kind of what is to be learnt."""

    inputs: int  # D, encoded features
    rows: int  # N, training rows
    classes: int  # 0 for regression
    scale: float = 1.0  # unit of a regression target
    folds: int = 1  # rotations of training and validation rows, F
    terms: int = 0  # of the inputs, the last so many are sparse
    filled: float = 0.0  # of these, how many a row has
    grid: Grid | None = None  # how features form an image or a series
    bins: int = 0  # of the inputs, the last so many are bins of numbers: some trials have them


class Setting(NamedTuple):
    """What the members of a stack have in common."""

    shape: AnyShape
    batch_size: int
    optimizer: str
    metric: str
    patience: int  # epochs without a better value before a member stops
    seed: int  # of the study
    product: Product = "torch"
    trial_time: float = math.inf  # seconds that a trial may be in training, in all


class Failure(NamedTuple):
    """What ended a training that could not go on."""

    outcome: str  # 'out of memory' or 'crashed'
    error: str  # the exception's type
    place: str  # file and line where it was raised
    traceback: str


class Progress(NamedTuple):
    """One trial in the middle of its training; plain numbers and arrays, so that it travels.

    A new trial has no arrays yet. `outcome` is empty while it can go on, else 'early stop',
    'epochs' (its own limit reached), 'diverged', 'time', 'time limit' (the trial's own),
    'out of memory' or 'crashed'.
    """

    number: int
    lr: float
    l1: float
    l2: float
    dropout: float
    epochs: int
    epoch: int = 0
    outcome: str = ""
    value: float = math.nan  # the best of the curve
    loss: float = math.inf  # at the best epoch, breaks ties of the value
    best_epoch: int = 0
    curve: tuple[float, ...] = ()  # validation metric after each epoch, the mean over the folds
    seconds: float = 0.0  # its share of its stacks' processor time
    elapsed: float = 0.0  # seconds that its stacks took
    parameters: np.ndarray | None = None  # (F * P,), fold by fold
    first: np.ndarray | None = None  # (F * P,) moments of the optimizer
    second: np.ndarray | None = None
    average: np.ndarray | None = None  # (F * P,) of the parameters over the last steps
    best: np.ndarray | None = None  # (F * P,) the average at the best epoch
    failure: Failure | None = None
