"""ONNX of convolutional and recurrent networks, and of the image or series that they read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nntune.data.encoding import FAR, Feature
from nntune.export.nodes import Graph, activated
from nntune.families import Convolutional, Grid, Layer, Recurrent
from nntune.trials import AnyShape

Tensors = Mapping[str, np.ndarray]

# Torch has the gates of a cell in another order; `linear_before_reset` below is how torch's GRU
# resets.
_OPERATORS = {"gru": ("GRU", (1, 0, 2)), "lstm": ("LSTM", (0, 3, 1, 2))}


def grid_of(shapes: Sequence[AnyShape]) -> Grid | None:
    """The grid that networks of a bundle read."""
    grids = [shape.grid for shape in shapes if isinstance(shape, Convolutional | Recurrent)]
    return grids[0] if grids else None


def input_of(grid: Grid) -> tuple[str, list[str | int]]:
    """Name and size of the input that a grid is.

    >>> input_of(Grid(1, (28, 28)))
    ('images', ['rows', 1, 28, 28])
    """
    return "images" if len(grid.size) == 2 else "series", ["rows", grid.channels, *grid.size]


def encoded(graph: Graph, features: Sequence[Feature], grid: Grid, value: str) -> str:
    """The features of a grid (rows, features) float32, from its numbers (rows, channels, *size)."""
    flat = graph.add("Reshape", value, graph.constant([-1, len(features)], np.int64))
    gaps = graph.add("Not", graph.double("Less", graph.add("Abs", flat), np.inf))
    scales = [feature.scales[0] for feature in features]
    centered = graph.add("Sub", flat, graph.constant([scale.mean for scale in scales]))
    ratio = graph.add("Div", centered, graph.constant([scale.sd for scale in scales]))
    scaled = graph.add("Clip", ratio, graph.constant(-FAR), graph.constant(FAR))
    medians = graph.constant([feature.median for feature in features])
    filled = graph.single(graph.add("Where", gaps, medians, scaled))
    if not grid.has_gaps:
        return filled
    last = graph.constant([2], np.int64)
    pairs = [graph.add("Unsqueeze", each, last) for each in (filled, graph.single(gaps))]
    both = graph.add("Concat", *pairs, axis=2)
    return graph.add("Reshape", both, graph.constant([-1, grid.features], np.int64))


def network(
    graph: Graph, shape: Convolutional | Recurrent, tensors: Tensors, x: str
) -> str:  # (rows, outputs)
    """One member from encoded rows (rows, inputs) to its outputs."""
    for place, layer in enumerate(shape.layers):
        own = {part.name: tensors[f"{place}.{part.name}"] for part in layer.parts}
        match layer.name:
            case "Spread":
                x = _spread(graph, shape, x)
            case "States":
                x = _states(graph, shape, layer, own, x)
            case "Residual":
                x = _residual(graph, layer, own, x)
            case _:
                x = _plain(graph, layer, own, x)
    return x


def _plain(graph: Graph, layer: Layer, tensors: Tensors, x: str) -> str:
    """A layer that ONNX has too."""
    match layer.name.rstrip("12d"):
        case "Unflatten":
            size = graph.constant([-1, *layer.arguments[1]], np.int64)
            return graph.add("Reshape", x, size)
        case "Conv":
            return _conv(graph, tensors, x)
        case "BatchNorm":
            return _norm(graph, tensors, x)
        case "MaxPool":
            sides = [2] * int(layer.name[-2])
            return graph.add("MaxPool", x, kernel_shape=sides, strides=sides)
        case "AdaptiveAvgPool":
            return graph.add("GlobalAveragePool", x)
        case "Flatten":
            return graph.add("Flatten", x, axis=1)
        case "Dropout":
            return x
        case "Linear":
            return graph.add("Gemm", x, *_constants(graph, tensors), transB=1)
    return activated(graph, layer.name.lower(), x)


def _constants(graph: Graph, tensors: Tensors) -> list[str]:
    return [graph.constant(tensor, np.float32) for tensor in tensors.values()]


def _conv(graph: Graph, tensors: Tensors, x: str) -> str:
    """A convolution; of an even kernel, torch puts the odd place behind."""
    sides = [side - 1 for side in tensors["weight"].shape[2:]]
    pads = [*(side // 2 for side in sides), *(side - side // 2 for side in sides)]
    return graph.add("Conv", x, *_constants(graph, tensors), pads=pads)


def _norm(graph: Graph, tensors: Tensors, x: str) -> str:
    return graph.add("BatchNormalization", x, *_constants(graph, tensors), epsilon=1e-5)


def _residual(graph: Graph, layer: Layer, tensors: Tensors, x: str) -> str:
    """See nntune.autograd.modules.Residual."""
    *_, is_normed, activation = layer.arguments

    def part(name: str, x: str) -> str:
        x = _conv(graph, _within(tensors, f"{name}.conv."), x)
        return _norm(graph, _within(tensors, f"{name}.norm."), x) if is_normed else x

    h = part("second", activated(graph, activation.lower(), part("first", x)))
    return activated(graph, activation.lower(), graph.add("Add", h, part("shortcut", x)))


def _within(tensors: Tensors, prefix: str) -> Tensors:
    """Those whose names begin so, by what follows."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _spread(graph: Graph, shape: Convolutional | Recurrent, x: str) -> str:
    """See nntune.autograd.modules.Spread."""
    grid, rows = shape.grid, -1
    count, steps = grid.channels * math.prod(grid.size), math.prod(grid.size)
    planes = [cut(graph, x, 0, count)]
    if grid.has_gaps:
        pairs = graph.add(
            "Reshape", cut(graph, x, 0, 2 * count), graph.constant([rows, count, 2], np.int64)
        )
        values, gaps = (
            graph.add("Gather", pairs, graph.constant(place, np.int64), axis=2) for place in (0, 1)
        )
        one = graph.constant(1, np.float32)
        planes = [values, graph.add("Sub", one, cut(graph, gaps, 0, steps))]
    spread = [
        graph.add("Reshape", plane, graph.constant([rows, channels, *grid.size], np.int64))
        for plane, channels in zip(planes, (grid.channels, 1), strict=False)
    ]
    if beside := shape.inputs - grid.features:
        still = cut(graph, x, grid.features, shape.inputs)
        ones = [1] * len(grid.size)
        single = graph.add("Reshape", still, graph.constant([rows, beside, *ones], np.int64))
        everywhere = graph.constant(np.ones((1, 1, *grid.size)), np.float32)
        spread.append(graph.add("Mul", single, everywhere))
    return graph.add("Concat", *spread, axis=1)


def cut(graph: Graph, x: str, begin: int, end: int) -> str:
    """Some columns of (rows, columns)."""
    ends = (graph.constant([place], np.int64) for place in (begin, end, 1))
    return graph.add("Slice", x, *ends)


def _states(
    graph: Graph, shape: Convolutional | Recurrent, layer: Layer, tensors: Tensors, x: str
) -> str:
    """See nntune.autograd.modules.States; time comes first here."""
    cell, channels, units, depth, states, there = layer.arguments
    order = [2, 0, 1] if len(shape.grid.size) == 1 else [2, 0, 1, 3]
    steps = graph.add("Transpose", x, perm=order)
    if len(order) == 4:
        size = graph.constant([shape.grid.size[0], -1, channels], np.int64)
        steps = graph.add("Reshape", steps, size)
    h = steps  # (T, B, channels)
    for place in range(depth):
        h = _cell(graph, cell, units, [tensors[f"cell.{n}_l{place}"] for n in _TENSORS], h)
    mask = None
    if there >= 0:
        plane = graph.add("Gather", steps, graph.constant([there], np.int64), axis=2)
        mask = graph.add("Greater", plane, graph.constant(0.5, np.float32))  # (T, B, 1)
    return _gathered(graph, h, states, mask, shape.grid.size[0])


_TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _cell(
    graph: Graph, cell: str, units: int, tensors: Sequence[np.ndarray], x: str
) -> str:  # (T, B, units)
    operator, order = _OPERATORS[cell]
    gates = [np.concatenate([np.split(each, len(order))[n] for n in order]) for each in tensors]
    weights = [graph.constant(each[None], np.float32) for each in gates[:2]]
    bias = graph.constant(np.concatenate(gates[2:])[None], np.float32)
    more: dict[str, Any] = {"linear_before_reset": 1} if cell == "gru" else {}
    found = graph.add(operator, x, *weights, bias, hidden_size=units, **more)
    return graph.add("Squeeze", found, graph.constant([1], np.int64))


def _gathered(graph: Graph, h: str, states: str, mask: str | None, steps: int) -> str:
    """What states (T, B, units) come to, (B, units); `mask` says which steps there are."""
    first = graph.constant([0], np.int64)

    def total(value: str) -> str:
        return graph.add("ReduceSum", value, first, keepdims=0)

    if mask is None:
        match states:
            case "last":
                return graph.add("Gather", h, graph.constant(steps - 1, np.int64), axis=0)
            case "mean":
                return graph.add("ReduceMean", h, first, keepdims=0)
        return graph.add("ReduceMax", h, first, keepdims=0)
    if states == "max":
        kept = graph.add("Where", mask, h, graph.constant(-1, np.float32))
        return graph.add("ReduceMax", kept, first, keepdims=0)
    counts = graph.add("Max", total(graph.single(mask)), graph.constant(1, np.float32))  # (B, 1)
    if states == "mean":
        return graph.add("Div", total(graph.add("Mul", h, graph.single(mask))), counts)
    places: Any = np.arange(1, steps + 1)[:, None, None]
    is_last = graph.add("Equal", graph.constant(places, np.float32), counts)
    return total(graph.add("Mul", h, graph.single(is_last)))
