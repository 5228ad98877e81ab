"""ONNX: from columns to predictions in one graph, encoding included.

Every column that the network needs is an input of shape (rows, 1): numbers and categories that are
numbers as float64 (nan is missing), dates as float64 seconds since 1970 in UTC, words as strings
without blanks around them ('' is missing). What a convolutional or recurrent network reads is one
input, `images` (rows, channels, height, width) or `series` (rows, channels, steps), also float64.
Outputs are `label` (rows,) and `probabilities` (rows, classes), or `value` (rows,).
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from nntune.bundle import Bundle, Predictor
from nntune.data.encoding import DAY, Encoder, Feature
from nntune.data.roles import FALSE, TRUE
from nntune.errors import DataError, UsageError
from nntune.export import layered
from nntune.export.nodes import Graph, activated
from nntune.families import Grid, Own
from nntune.trials import AnyShape, Shape

OPSET, IR = 19, 9  # of 2023; since 19 strings can be compared


def onnx_model(bundle: Bundle) -> bytes:
    """The serialised model.

    Raises:
        UsageError: the onnx package is not installed, or the network is the user's own.
        DataError: the network reads a text, which no ONNX operator takes apart.
    """
    try:
        import onnx
    except ImportError:
        raise UsageError(
            "--format onnx needs the package onnx; pip install 'nntune[onnx]' brings it."
        ) from None
    encoder = Encoder.from_dict(bundle.encoder)
    kinds = bundle.exported_kinds
    grid = layered.grid_of(bundle.shapes)
    count = grid.channels * math.prod(grid.size) if grid else 0
    cells, rest = encoder.features[:count], encoder.features[count:]
    graph = Graph(feature.column for feature in rest)
    inputs, parts = _grid(graph, cells, grid) if grid else ([], [])
    inputs += [_input(feature, kinds[feature.column]) for feature in rest]
    encoded = [_encoded(graph, feature, kinds[feature.column]) for feature in rest]
    bins = [own.pop() for feature, own in zip(rest, encoded, strict=True) if feature.bins]
    parts += [*chain(*encoded), *bins]
    x = graph.add("Concat", *parts, axis=1)
    outputs = _predictions(graph, bundle, x)
    graph.prune([output.name for output in outputs])
    made = onnx.helper.make_graph(graph.nodes, "nntune", inputs, outputs, graph.constants)
    model = onnx.helper.make_model(
        made, ir_version=IR, opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name="nntune", producer_version=bundle.versions.get("nntune", ""),
    )  # fmt: skip
    facts = {"target": bundle.target, "task": bundle.task, "fingerprint": bundle.fingerprint}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _grid(graph: Graph, features: Sequence[Feature], grid: Grid) -> tuple[list[Any], list[str]]:
    """The input that is a grid, and its features."""
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    wish, size = layered.input_of(grid)
    name = graph.name(wish)
    value = make_tensor_value_info(name, TensorProto.DOUBLE, size)
    return [value], [layered.encoded(graph, features, grid, name)]


def _is_words(feature: Feature, kind: str) -> bool:
    return feature.role in ("categorical", "boolean") and kind == "string"


def _input(feature: Feature, kind: str) -> Any:
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    if feature.role == "text":
        raise DataError(
            f"column {feature.column!r} is text, which no ONNX operator takes apart; search again "
            f"with --ignore {feature.column}, or predict with the bundle itself."
        )
    dtype = TensorProto.STRING if _is_words(feature, kind) else TensorProto.DOUBLE
    return make_tensor_value_info(feature.column, dtype, ["rows", 1])


def _encoded(graph: Graph, feature: Feature, kind: str) -> list[str]:
    """Names of the features of a column, each (rows, some) float32; bins, if it has any, last."""
    match feature.role:
        case "numeric":
            return _numbers(graph, feature)
        case "boolean":
            return _truths(graph, feature, kind)
        case "date":
            return _dates(graph, feature)
        case _:
            return _categories(graph, feature, kind)


def _numbers(graph: Graph, feature: Feature) -> list[str]:
    gaps = graph.add("Not", graph.double("Less", graph.add("Abs", feature.column), np.inf))
    return _filled(graph, feature, gaps, graph.scaled(feature.column, feature.scales[0]))


def _filled(graph: Graph, feature: Feature, gaps: str, values: str) -> list[str]:
    filled = graph.add("Where", gaps, graph.constant(feature.median), values)
    found = [graph.single(filled)] + [graph.single(gaps)] * feature.missing
    return [*found, graph.single(_places(graph, feature, filled))] if feature.bins else found


def _places(graph: Graph, feature: Feature, values: str) -> str:
    """Places in bins, see `data.bins`."""
    edges = np.array(feature.edges)
    inside = graph.add("Sub", values, graph.constant(edges[None, :-1]))
    share = graph.add("Div", inside, graph.constant(np.diff(edges)[None]))
    return graph.add("Clip", share, graph.constant(0), graph.constant(1))


def _truths(graph: Graph, feature: Feature, kind: str) -> list[str]:
    if kind == "string":
        yes, no = (_one_of(graph, feature.column, words) for words in (TRUE, FALSE))
    else:
        yes, no = (graph.double("Equal", feature.column, number) for number in (1, 0))
    gaps = graph.add("Not", graph.add("Or", yes, no))
    return _filled(graph, feature, gaps, graph.cast(yes, np.float64))


def _one_of(graph: Graph, column: str, words: Iterable[str]) -> str:
    """Whether each cell is one of the words in small letters, in capitals or with one capital."""
    spelled = sorted({s for word in words for s in (word, word.upper(), word.capitalize())})
    equal = graph.single(graph.add("Equal", column, graph.constant([spelled], object)))
    any_equal = graph.add("ReduceMax", equal, graph.constant([1], np.int64), keepdims=1)
    return graph.add("Greater", any_equal, graph.constant(0, np.float32))


def _categories(graph: Graph, feature: Feature, kind: str) -> list[str]:
    if kind == "string":
        levels = graph.constant([feature.levels], object)
        gaps = graph.single(graph.add("Equal", feature.column, graph.constant("", object)))
    else:  # levels are numbers as words; a word among them would be a bundle that lies
        levels = graph.constant([[_number(level) for level in feature.levels]])
        gaps = graph.single(graph.add("IsNaN", feature.column))
    known = [graph.single(graph.add("Equal", feature.column, levels))] if feature.levels else []
    parts = list(known)
    if feature.rare:
        sums = [graph.add("ReduceMax", k, graph.constant([1], np.int64), keepdims=1) for k in known]
        rest = graph.constant(1, np.float32)
        for other in (*sums, gaps):
            rest = graph.add("Sub", rest, other)
        parts.append(rest)
    return parts + [gaps] * feature.missing


def _number(level: str) -> float:
    try:
        return float(level)
    except ValueError:
        return float("nan")  # equal to nothing


def _dates(graph: Graph, feature: Feature) -> list[str]:
    column = feature.column
    gaps = graph.add("IsNaN", column)
    found = date_parts(graph, graph.add("Where", gaps, graph.constant(0), column))
    parts = []
    for part, scale in zip(feature.parts, feature.scales, strict=True):
        scaled = graph.scaled(found[part], scale)
        parts.append(graph.single(graph.add("Where", gaps, graph.constant(0), scaled)))
    return parts + [graph.single(gaps)] * feature.missing


def date_parts(graph: Graph, seconds: str) -> dict[str, str]:
    """The parts of `encoding.date_parts` in arithmetic.

    References:
        Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    """

    def whole(value: str, number: float) -> str:
        return graph.add("Floor", graph.double("Div", value, number))

    def plus(value: str, *terms: tuple[float, str]) -> str:
        for factor, term in terms:
            value = graph.add("Add", value, graph.double("Mul", term, factor))
        return value

    days = whole(seconds, DAY)
    since = graph.double("Add", days, 719_468)  # 0000-03-01
    era = whole(since, 146_097)
    day = plus(since, (-146_097, era))  # of the era of 400 years
    leaps = plus(day, (-1, whole(day, 1460)), (1, whole(day, 36_524)), (-1, whole(day, 146_096)))
    year = whole(leaps, 365)
    day = plus(day, (-365, year), (-1, whole(year, 4)), (1, whole(year, 100)))  # from March on
    month = whole(graph.double("Add", graph.double("Mul", day, 5), 2), 153)
    late = graph.cast(graph.double("GreaterOrEqual", month, 10), np.float64)  # January, February
    month = plus(graph.double("Add", month, 3), (-12, late))
    year = plus(year, (400, era), (1, late))
    before = graph.double("Sub", year, 1)
    first = plus(
        graph.double("Sub", graph.double("Mul", before, 365), 719_162),
        (1, whole(before, 4)), (-1, whole(before, 100)), (1, whole(before, 400)),
    )  # fmt: skip
    thursday = graph.double("Add", days, 3)
    return {
        "time": graph.double("Div", seconds, DAY),
        "year": year,
        "month": month,
        "day of week": plus(thursday, (-7, whole(thursday, 7))),
        "day of year": graph.double("Add", graph.add("Sub", days, first), 1),
        "hour": graph.double("Div", plus(seconds, (-DAY, days)), 3600),
    }


def _predictions(graph: Graph, bundle: Bundle, x: str) -> list[Any]:
    """Adds the networks and what becomes of their outputs; returns the graph's outputs."""
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    logits = []
    for member, shape in enumerate(bundle.shapes):
        logits.append(graph.cast(_member(graph, bundle, member, shape, x), np.float64))
    if not bundle.classes:
        value = graph.double("Mul", _mean(graph, logits), bundle.target_scale)
        flat = graph.double("Add", value, bundle.target_mean)
        output = graph.name("value")
        graph.add("Reshape", flat, graph.constant([-1], np.int64), output=output)
        return [make_tensor_value_info(output, TensorProto.DOUBLE, ["rows"])]
    likely = _mean(graph, [graph.add("Softmax", each, axis=1) for each in logits])
    place = graph.add("ArgMax", likely, axis=1, keepdims=0)
    label, probabilities = graph.name("label"), graph.name("probabilities")
    labels = Predictor(bundle).classes_
    kind = {"i": "INT64", "f": "DOUBLE"}.get(labels.dtype.kind, "STRING")
    known = graph.constant(labels, object if kind == "STRING" else labels.dtype)
    graph.add("Gather", known, place, output=label)
    graph.add("Cast", likely, to=TensorProto.FLOAT, output=probabilities)
    return [
        make_tensor_value_info(label, getattr(TensorProto, kind), ["rows"]),
        make_tensor_value_info(probabilities, TensorProto.FLOAT, ["rows", len(labels)]),
    ]


def _member(graph: Graph, bundle: Bundle, member: int, shape: AnyShape, x: str) -> str:
    """One network from encoded rows to its outputs."""
    if isinstance(shape, Own):
        raise UsageError(
            f"--format onnx knows no code of {shape.file}; --format torch has its weights, and "
            "torch.onnx.export writes the module."
        )
    if isinstance(shape, Shape):
        if shape.inputs < max(each.inputs for each in bundle.shapes):  # it has no bins
            x = layered.cut(graph, x, 0, shape.inputs)
        return _network(graph, shape, bundle.layers(member), x)
    return layered.network(graph, shape, bundle.tensors(member), x)


def _mean(graph: Graph, values: Sequence[str]) -> str:
    if len(values) == 1:
        return values[0]
    return graph.double("Div", graph.add("Sum", *values), len(values))


def _network(graph: Graph, shape: Shape, layers: Sequence[tuple[Any, Any]], x: str) -> str:
    """A perceptron from encoded rows to its outputs."""
    for place, (weight, bias) in enumerate(layers):
        operands = graph.constant(weight, np.float32), graph.constant(bias, np.float32)
        x = graph.add("Gemm", x, *operands, transB=1)
        if place < len(shape.hidden):
            x = activated(graph, shape.activation, x)
    return x
