"""Networks for images and series, described in plain values: their layers, sizes and parts.

A network is a list of layers, each named after its class in torch.nn. The list makes the module
that trains, the code of an export and the places of its numbers in a member's flat parameters:
weights first, which are penalised, then biases and gains, then buffers, which no gradient moves.
"""

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

FAMILIES = ("mlp", "cnn", "rnn")
OWN = "own"  # the family of networks whose code is the user's
PREFIX = "net."  # of the names that hyperparameters of such a network have in a study
WORD = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")  # how it is named
OURS = ("Spread", "States", "Residual")  # layers that torch.nn does not have
MODULES = {"relu": "ReLU", "tanh": "Tanh", "gelu": "GELU", "silu": "SiLU"}


class Grid(NamedTuple):
    """How the first features of a row form an image or a series; any others stand beside it.

    Channel after channel, rows of an image from top to bottom, steps of a series in time.
    """

    channels: int
    size: tuple[int, ...]  # (height, width) or (steps,)
    has_gaps: bool = False  # series end at different steps: beside each number, if it is missing

    @property
    def features(self) -> int:
        """How many features it takes.

        >>> Grid(3, (32, 32)).features
        3072
        """
        return self.channels * math.prod(self.size) * (1 + self.has_gaps)

    def planes(self, inputs: int) -> int:
        """Channels that a network sees: those of the grid, which steps there are, the rest."""
        return self.channels + self.has_gaps + inputs - self.features

    @property
    def image(self) -> str | None:
        """The size of pictures as --image writes it; None of series.

        >>> Grid(3, (32, 24)).image
        '32x24x3'
        """
        return "x".join(map(str, (*self.size, self.channels))) if len(self.size) == 2 else None

    @property
    def text(self) -> str:
        """In words.

        >>> Grid(1, (28, 28)).text, Grid(6, (100,)).text
        ('images of 28 x 28 pixels', 'series of 100 steps in 6 channels')
        """
        channels = f" in {self.channels} channels" * (self.channels > 1)
        if len(self.size) == 2:
            return f"images of {self.size[0]} x {self.size[1]} pixels{channels}"
        return f"series of {'up to ' * self.has_gaps}{self.size[0]} steps{channels}"


class Part(NamedTuple):
    """One tensor of a network."""

    name: str  # as in the module's state_dict
    size: tuple[int, ...]
    kind: str  # weight, bias or buffer
    fan: int = 0  # begins uniformly within 1/sqrt(fan); 0: at `start`
    start: float = 0.0


class Layer(NamedTuple):
    """A layer as torch.nn has it: class, arguments, and its tensors without the place's name."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    parts: tuple[Part, ...] = ()
    operations: int = 0  # multiplications for a row
    activations: int = 0  # numbers for a row that it writes


class Convolutional(NamedTuple):
    """Blocks of convolution, pooling, normalisation and activation, then dense layers.

    A block that halves the resolution doubles the channels of the next, up to four times the first.
    In a plain block pooling comes before what is done to every number: a quarter of the work for an
    image. A residual block has two convolutions with a shortcut around them, and pools behind.
    """

    inputs: int
    grid: Grid
    blocks: int
    channels: int  # of the first block
    kernel: int  # places on a side
    norm: str  # batch or none
    pool: str  # max or none
    gather: str  # flatten or mean
    head: int  # units of the dense layer before the outputs; 0 for none
    outputs: int
    activation: str = "relu"
    augment: str = "none"
    block_type: str = "plain"  # or residual

    @property
    def layers(self) -> list[Layer]:
        """First to last."""
        rank, size = len(self.grid.size), self.grid.size
        found = [_spread(self.inputs, self.grid)]
        before = self.grid.planes(self.inputs)
        for width in self._widths():
            is_residual = self.block_type == "residual"
            block = self._residual if is_residual else self._convolution
            found.append(block(before, width, size))
            if self._pooled(size):
                size = tuple(side // 2 for side in size)
                found.append(Layer(f"MaxPool{rank}d", (2,), activations=width * math.prod(size)))
            places = math.prod(size)
            if not is_residual:
                found += [_norm(rank, width, places)] if self.norm == "batch" else []
                found.append(_activation(self.activation, width * places))
            before = width
        if self.gather == "mean":
            found.append(Layer(f"AdaptiveAvgPool{rank}d", (1,), activations=before))
            size = (1,) * rank
        return [*found, Layer("Flatten"), *self._dense(before * math.prod(size))]

    def _widths(self) -> list[int]:
        widths, size = [], self.grid.size
        width = self.channels
        for _ in range(self.blocks):
            widths.append(width)
            if self._pooled(size):
                size = tuple(side // 2 for side in size)
                width = min(2 * width, 4 * self.channels)
        return widths

    def _pooled(self, size: tuple[int, ...]) -> bool:
        return self.pool == "max" and min(size) >= 4

    def _residual(self, before: int, width: int, size: tuple[int, ...]) -> Layer:
        """See nntune.autograd.modules.Residual."""
        rank, places, is_normed = len(size), math.prod(size), self.norm == "batch"
        convolutions = {
            "first": self._convolution(before, width, size),
            "second": self._convolution(width, width, size),
            "shortcut": self._replace(kernel=1)._convolution(before, width, size),
        }
        layers = {f"{name}.conv": layer for name, layer in convolutions.items()}
        if is_normed:
            layers |= {f"{name}.norm": _norm(rank, width, places) for name in convolutions}
        parts = tuple(
            part._replace(name=f"{name}.{part.name}")
            for name, layer in layers.items()
            for part in layer.parts
        )
        arguments = (rank, before, width, self.kernel, is_normed, MODULES[self.activation])
        operations = sum(layer.operations for layer in layers.values())
        # Beside what its layers write, the sum and two activations.
        activations = sum(layer.activations for layer in layers.values()) + 3 * width * places
        return Layer("Residual", arguments, (), parts, operations, activations)

    def _convolution(self, before: int, width: int, size: tuple[int, ...]) -> Layer:
        rank, places = len(size), math.prod(size)
        fan = before * self.kernel**rank
        weight = Part("weight", (width, before, *[self.kernel] * rank), "weight", fan)
        bias = () if self.norm == "batch" else (Part("bias", (width,), "bias", fan),)
        options = (("padding", "same"), *((("bias", False),) if not bias else ()))
        return Layer(
            f"Conv{rank}d", (before, width, self.kernel), options, (weight, *bias),
            fan * width * places, width * places,
        )  # fmt: skip

    def _dense(self, width: int) -> list[Layer]:
        found = [Layer("Dropout")]
        if self.head:
            found += [_linear(width, self.head), _activation(self.activation, self.head)]
            found.append(Layer("Dropout"))
            width = self.head
        return [*found, _linear(width, self.outputs)]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its tensors in the order of the flat parameters."""
        return parts_of(self.layers)

    @property
    def weights(self) -> int:
        """How many of its numbers are weights; they come first."""
        return _count(self.parts, "weight")

    @property
    def parameters(self) -> int:
        """How many numbers a member has, buffers included."""
        return _count(self.parts, "weight", "bias", "buffer")


class Recurrent(NamedTuple):
    """Recurrent layers that read a series step by step, then a dense layer on their states.

    An image is read row by row: its columns are channels.
    """

    inputs: int
    grid: Grid
    cell: str  # gru or lstm
    depth: int
    units: int
    states: str  # last, mean or max: which states the outputs see
    outputs: int

    @property
    def layers(self) -> list[Layer]:
        """First to last."""
        steps, *columns = self.grid.size
        before = self.grid.planes(self.inputs) * math.prod(columns)
        gates = {"gru": 3, "lstm": 4}[self.cell] * self.units
        parts: list[Part] = []
        operations = 0
        for layer in range(self.depth):
            width = self.units if layer else before
            for kind, size in (("ih", width), ("hh", self.units)):
                parts.append(
                    Part(f"cell.weight_{kind}_l{layer}", (gates, size), "weight", self.units)
                )
                parts.append(Part(f"cell.bias_{kind}_l{layer}", (gates,), "bias", self.units))
                operations += gates * size * steps
        arguments = (self.cell, before, self.units, self.depth, self.states,
                     self.grid.channels if self.grid.has_gaps else -1)  # fmt: skip
        states = Layer(
            "States", arguments, (), tuple(parts), operations, 6 * gates * steps * self.depth
        )
        return [_spread(self.inputs, self.grid), states, Layer("Dropout"),
                _linear(self.units, self.outputs)]  # fmt: skip

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its tensors in the order of the flat parameters."""
        return parts_of(self.layers)

    @property
    def weights(self) -> int:
        """How many of its numbers are weights; they come first."""
        return _count(self.parts, "weight")

    @property
    def parameters(self) -> int:
        """How many numbers a member has."""
        return _count(self.parts, "weight", "bias", "buffer")


class Own(NamedTuple):
    """A network whose code is the user's; see nntune.own."""

    inputs: int
    grid: Grid | None
    file: str
    name: str  # of the class
    arguments: tuple[tuple[str, Any], ...]  # beside `inputs`, `outputs` and `size`
    outputs: int
    parts: tuple[Part, ...]  # what its code makes with these arguments
    digest: str = ""  # of its code; bundles of older versions do not say
    given: tuple[str, ...] | None = None  # which of inputs, outputs, size it takes; nor this

    @property
    def size(self) -> tuple[int, ...]:
        """Of an example as the network gets it: (inputs,), (planes, steps) or (planes, H, W)."""
        if self.grid is None:
            return (self.inputs,)
        return (self.grid.planes(self.inputs), *self.grid.size)

    @property
    def spread(self) -> Layer:
        """The layer that brings features into that form."""
        if self.grid is None:
            return Layer("Identity")
        return _spread(self.inputs, self.grid)

    @property
    def layers(self) -> list[Layer]:
        """One layer with all that it has; what it computes is for its code to know."""
        return [Layer(self.name, (), (), self.parts, self.weights, self.inputs)]

    @property
    def weights(self) -> int:
        """How many of its numbers are weights; they come first."""
        return _count(self.parts, "weight")

    @property
    def parameters(self) -> int:
        """How many numbers a member has, buffers included."""
        return _count(self.parts, "weight", "bias", "buffer")


Layered: TypeAlias = Convolutional | Recurrent | Own


def parts_of(layers: Iterable[Layer]) -> tuple[Part, ...]:
    """Tensors of layers in a row, weights first, then biases, then buffers."""
    named = [
        part._replace(name=f"{place}.{part.name}")
        for place, layer in enumerate(layers)
        for part in layer.parts
    ]
    return tuple(
        part for kind in ("weight", "bias", "buffer") for part in named if part.kind == kind
    )


def _count(parts: Iterable[Part], *kinds: str) -> int:
    return sum(math.prod(part.size) for part in parts if part.kind in kinds)


def _spread(inputs: int, grid: Grid) -> Layer:
    """Flat features to (planes, *size); features beside the grid become planes of one value."""
    if grid.planes(inputs) == grid.channels:
        return Layer("Unflatten", (1, (grid.channels, *grid.size)))
    return Layer("Spread", tuple(grid), activations=inputs)


def _linear(inputs: int, outputs: int) -> Layer:
    parts = (Part("weight", (outputs, inputs), "weight", inputs),
             Part("bias", (outputs,), "bias", inputs))  # fmt: skip
    return Layer("Linear", (inputs, outputs), (), parts, inputs * outputs, outputs)


def _norm(rank: int, width: int, places: int) -> Layer:
    parts = (
        Part("weight", (width,), "bias", start=1.0),  # a gain: a penalty on it would mean nothing
        Part("bias", (width,), "bias"),
        Part("running_mean", (width,), "buffer"),
        Part("running_var", (width,), "buffer", start=1.0),
    )
    return Layer(f"BatchNorm{rank}d", (width,), (), parts, 0, 2 * width * places)


def _activation(name: str, width: int) -> Layer:
    return Layer(MODULES[name], activations=width)
