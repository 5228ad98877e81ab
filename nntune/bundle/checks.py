"""What a bundle's header may say: every value is checked before it is used.

The file may come from a stranger, or half of it from a broken disk: whatever it holds, the answer
is a DataError of one sentence.
"""

import json
import math
import sys
from itertools import pairwise
from pathlib import PurePath
from typing import Any, NoReturn

from nntune.data.encoding import DATE_PARTS, FAR, TEXT_PARTS
from nntune.data.table import DATE_FORMATS, TIME_FORMATS
from nntune.data.texts import CASES, LONGEST
from nntune.errors import DataError
from nntune.families import FAMILIES, OWN, Convolutional, Grid, Own, Part, Recurrent
from nntune.own import GIVEN
from nntune.trials import AnyShape, Shape, terms_of

TASKS = ("binary", "multiclass", "regression")
ACTIVATIONS = ("relu", "tanh", "gelu", "silu")
KINDS = ("number", "whole", "string", "date")
_MOST_MEMBERS, _MOST_LAYERS, _MOST_UNITS, _MOST_INPUTS = 1000, 100, 65536, 1 << 24
_DATES = {"iso", *(date + time for date in DATE_FORMATS for time in TIME_FORMATS)}
_STYLES = {
    "numeric": {"point", "comma", "thousands"},
    "boolean": {"point"},
    "categorical": {"point"},
    "date": _DATES,
    "text": {"point"},
}


class _Wrong(Exception):
    """A value of the header that cannot be."""


def parsed(text: bytes, name: str) -> dict[str, Any]:
    """A JSON object of plain text and finite numbers."""
    try:
        values = json.loads(text, parse_constant=_refused)
        _check_plain(values)
    except (ValueError, RecursionError):
        raise DataError(f"{name} is no bundle of nntune, or a damaged one.") from None
    if not isinstance(values, dict):
        raise DataError(f"{name} is no bundle of nntune, or a damaged one.")
    return values


def _check_plain(values: Any) -> None:
    """Refuse texts that no file can hold (lone surrogates) and numbers that overflowed."""
    stack = [values]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            stack += value
        elif isinstance(value, str):
            value.encode()
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(value)


def _refused(constant: str) -> NoReturn:
    raise ValueError(constant)


def described(shape: AnyShape) -> dict[str, Any]:
    """A shape in plain values; `shapes` reads it back."""
    if isinstance(shape, Shape):
        return {**shape._asdict(), "hidden": list(shape.hidden)}
    family = {Convolutional: "cnn", Recurrent: "rnn", Own: OWN}[type(shape)]
    values = {**shape._asdict(), "family": family, "grid": plain(shape.grid)}
    if isinstance(shape, Own):  # where the code lay is nobody's business
        values |= {"file": PurePath(shape.file).name, "arguments": dict(shape.arguments)}
        values["parts"] = [[part.name, list(part.size), part.kind] for part in shape.parts]
    return values


def plain(grid: Grid | None) -> dict[str, Any] | None:
    """A grid in plain values; `grid_of` reads it back."""
    return grid and {**grid._asdict(), "size": list(grid.size)}


def shapes(facts: dict[str, Any], name: str) -> tuple[AnyShape, ...]:
    """The shape of each member."""
    try:
        found = tuple(_shape(each) for each in _listed(facts, "shapes"))
        _hold(1 <= len(found) <= _MOST_MEMBERS, "shapes")
        _hold(len({(s.outputs, terms_of(s)) for s in found}) == 1, "shapes")
    except (_Wrong, KeyError) as error:
        raise _damaged(name, error) from None
    return found


def _shape(values: Any) -> AnyShape:
    _hold(isinstance(values, dict), "shapes")
    family = _one_of(values.get("family", "mlp"), (*FAMILIES, OWN))
    if family == OWN:
        return _own(values)
    if family != "mlp":
        shape = _convolutional(values) if family == "cnn" else _recurrent(values)
        _hold(shape.grid.features <= shape.inputs, "grid")
        return shape
    hidden = tuple(_whole(width, 1, _MOST_UNITS) for width in _listed(values, "hidden"))
    _hold(len(hidden) <= _MOST_LAYERS, "hidden")
    inputs = _whole(values["inputs"], 1, _MOST_INPUTS)
    return Shape(
        inputs,
        hidden,
        _whole(values["outputs"], 1, _MOST_UNITS),
        _one_of(values["activation"], ACTIVATIONS),
        _whole(values.get("terms", 0), 0, inputs),
    )


def _convolutional(values: dict[str, Any]) -> Convolutional:
    return Convolutional(
        _whole(values["inputs"], 1, _MOST_INPUTS),
        _grid(values["grid"]),
        _whole(values["blocks"], 1, 12),
        _whole(values["channels"], 1, 1024),
        _whole(values["kernel"], 1, 101),
        _one_of(values["norm"], ("batch", "none")),
        _one_of(values["pool"], ("max", "none")),
        _one_of(values["gather"], ("flatten", "mean")),
        _whole(values["head"], 0, _MOST_UNITS),
        _whole(values["outputs"], 1, _MOST_UNITS),
        _one_of(values["activation"], ACTIVATIONS),
        _one_of(values["augment"], ("none", "shift", "flip", "crop")),
        _one_of(values.get("block_type", "plain"), ("plain", "residual")),
    )


def _recurrent(values: dict[str, Any]) -> Recurrent:
    return Recurrent(
        _whole(values["inputs"], 1, _MOST_INPUTS),
        _grid(values["grid"]),
        _one_of(values["cell"], ("gru", "lstm")),
        _whole(values["depth"], 1, 8),
        _whole(values["units"], 1, 4096),
        _one_of(values["states"], ("last", "mean", "max")),
        _whole(values["outputs"], 1, _MOST_UNITS),
    )


def _own(values: dict[str, Any]) -> Own:
    arguments = values["arguments"]
    _hold(isinstance(arguments, dict), "arguments")
    _hold(all(isinstance(v, int | float | str) for v in arguments.values()), "arguments")
    return Own(
        _whole(values["inputs"], 1, _MOST_INPUTS),
        grid_of(values["grid"]),
        _text(values["file"]),
        _text(values["name"]),
        tuple(arguments.items()),
        _whole(values["outputs"], 1, _MOST_UNITS),
        _parts(_listed(values, "parts")),
        _text(values.get("digest", "")),
        None if values.get("given") is None else _given(_listed(values, "given")),
    )


def _given(values: list[Any]) -> tuple[str, ...]:
    return tuple(_one_of(name, GIVEN) for name in values)


def _parts(values: list[Any]) -> tuple[Part, ...]:
    parts = []
    for value in values:
        _hold(isinstance(value, list) and len(value) == 3 and isinstance(value[1], list), "parts")
        size = tuple(_whole(side, 0, _MOST_INPUTS) for side in value[1])
        _hold(len(size) <= 8, "parts")
        parts.append(Part(_name(value[0]), size, _one_of(value[2], ("weight", "bias", "buffer"))))
    _hold(len({part.name for part in parts}) == len(parts), "parts")
    return tuple(parts)


def grid_of(values: Any) -> Grid | None:
    """The grid of plain values; None of None."""
    return None if values is None else _grid(values)


def _grid(values: Any) -> Grid:
    _hold(isinstance(values, dict), "grid")
    size = tuple(_whole(side, 1, _MOST_INPUTS) for side in _listed(values, "size"))
    _hold(len(size) in (1, 2) and isinstance(values["has_gaps"], bool), "grid")
    return Grid(_whole(values["channels"], 1, _MOST_INPUTS), size, values["has_gaps"])


def facts(values: dict[str, Any], found: tuple[AnyShape, ...], name: str) -> dict[str, Any]:
    """The fields of a Bundle but for shapes and parameters."""
    try:
        classes = tuple(_text(label) for label in _listed(values, "classes"))
        task = _one_of(values["task"], TASKS)
        _hold(found[0].outputs == (len(classes) or 1), "classes")
        _hold((len(classes) >= 2) == (task != "regression"), "classes")
        _hold((len(classes) == 2) == (task == "binary"), "classes")
        _hold(len(set(classes)) == len(classes), "classes")
        checked = {
            "task": task,
            "target": _text(values["target"]),
            "classes": classes,
            "target_mean": _number(values["target_mean"]),
            "target_scale": _number(values["target_scale"]),
            "encoder": _encoder(values["encoder"], found),
            "columns": _columns(values, values["encoder"]),
            "trials": tuple(_whole(each, 0, 1 << 62) for each in _listed(values, "trials")),
            "seed": _whole(values["seed"], 0, 1 << 64),
            "fingerprint": _text(values["fingerprint"]),
            "command": _text(values["command"]),
        }
        for key in ("metrics", "versions", "params", "data"):
            _hold(isinstance(values[key], dict), key)
            checked[key] = values[key]
        grid_of(values["data"].get("grid"))
        _hold(all(isinstance(v, str) for v in values["versions"].values()), "versions")
    except (_Wrong, KeyError) as error:
        raise _damaged(name, error) from None
    return checked


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(f"{name} is damaged: {error.args[0]} is missing or not what it should be.")


def _hold(is_right: bool, what: str) -> None:
    if not is_right:
        raise _Wrong(what)


def _listed(values: dict[str, Any], key: str) -> list[Any]:
    found = values[key]
    _hold(isinstance(found, list), key)
    return list(found)


def _text(value: Any) -> str:
    _hold(isinstance(value, str), "a text")
    return str(value)


def _name(value: Any) -> str:
    """A text that goes into a query."""
    _hold(isinstance(value, str) and "\0" not in value, "a name")
    return str(value)


def _one_of(value: Any, allowed: tuple[str, ...] | set[str]) -> str:
    _hold(isinstance(value, str) and value in allowed, f"one of {', '.join(sorted(allowed)[:5])}")
    return str(value)


def _whole(value: Any, least: int, most: int) -> int:
    _hold(isinstance(value, int) and not isinstance(value, bool), "a whole number")
    _hold(least <= value <= most, "a whole number")
    return int(value)


def _number(value: Any, most: float = 1e300) -> float:
    _hold(isinstance(value, int | float) and not isinstance(value, bool), "a number")
    _hold(abs(value) <= most, "a number")
    return float(value)


def _columns(values: dict[str, Any], encoder: dict[str, Any]) -> tuple[dict[str, str], ...]:
    columns = _listed(values, "columns")
    for column in columns:
        _hold(isinstance(column, dict), "columns")
        _hold({"name", "role", "kind"} <= column.keys(), "columns")
        for value in column.values():
            _name(value)
        _one_of(column["kind"], KINDS)
    names = [column["name"] for column in columns]
    _hold(len(set(names)) == len(names), "columns")
    _hold({feature["column"] for feature in encoder["features"]} <= set(names), "columns")
    return tuple(columns)


def _encoder(values: Any, shapes: tuple[AnyShape, ...]) -> dict[str, Any]:
    _hold(isinstance(values, dict), "encoder")
    features = _listed(values, "features")
    for feature in features:
        _hold(isinstance(feature, dict), "encoder")
        _check_feature(feature)
    columns = [feature["column"] for feature in features]
    _hold(len(set(columns)) == len(columns), "encoder")
    plain = sum(len(feature["names"]) for feature in features)
    bins = sum(max(len(feature.get("edges", ())) - 1, 0) for feature in features)
    terms = sum(len(v["terms"]) for f in features for v in f.get("vocabularies", []))
    _hold(terms == terms_of(shapes[0]) and not (terms and bins), "encoder")
    inputs = {shape.inputs for shape in shapes}  # of several networks some may have no bins
    _hold(max(inputs) == plain + bins + terms and inputs <= {plain + terms, max(inputs)}, "encoder")
    return {"features": features}


_FIELDS = {
    "column", "role", "style", "names", "scales", "median", "levels", "rare", "missing", "parts",
    "vocabularies", "edges",
}  # fmt: skip


def _check_feature(feature: dict[str, Any]) -> None:
    _hold(feature.keys() | {"vocabularies", "edges"} == _FIELDS, "encoder")
    _name(feature["column"])
    role = _one_of(feature["role"], set(_STYLES))
    _one_of(feature["style"], _STYLES[role])
    _hold(abs(_number(feature["median"])) <= FAR, "encoder")
    _hold(isinstance(feature["rare"], bool) and isinstance(feature["missing"], bool), "encoder")
    for key in ("names", "levels", "parts"):
        each = [_name(value) for value in _listed(feature, key)]
        _hold(key == "names" or len(set(each)) == len(each), "encoder")
    for scale in _listed(feature, "scales"):
        _hold(isinstance(scale, dict) and scale.keys() == {"mean", "sd"}, "encoder")
        _number(scale["mean"], most=sys.float_info.max)
        _hold(_number(scale["sd"], most=sys.float_info.max) > 0, "encoder")
    vocabularies = _listed({"vocabularies": [], **feature}, "vocabularies")
    _hold(role == "text" or not vocabularies, "encoder")
    for vocabulary in vocabularies:
        _check_vocabulary(vocabulary)
    edges = [_number(edge) for edge in _listed({"edges": [], **feature}, "edges")]
    _hold(all(low < high for low, high in pairwise(edges)) and len(edges) != 1, "encoder")
    _hold(role == "numeric" or not edges, "encoder")
    _check_width(feature, role)


def _check_vocabulary(values: Any) -> None:
    _hold(isinstance(values, dict) and values.keys() == {"span", "terms", "idf"}, "vocabulary")
    span = values["span"]
    _hold(isinstance(span, dict), "vocabulary")
    _hold(span.keys() - {"case"} == {"kind", "low", "high"}, "vocabulary")  # older ones lack it
    _one_of(span.get("case", CASES[0]), set(CASES))
    longest = LONGEST[_one_of(span["kind"], set(LONGEST))]
    _whole(span["high"], _whole(span["low"], 1, longest), longest)
    terms = [_text(term) for term in _listed(values, "terms")]
    weights = [_number(weight) for weight in _listed(values, "idf")]
    _hold(len(set(terms)) == len(terms) == len(weights), "vocabulary")


def _check_width(feature: dict[str, Any], role: str) -> None:
    """As many names and scales as the role writes features."""
    parts, scales, missing = feature["parts"], len(feature["scales"]), feature["missing"]
    known = {"date": DATE_PARTS, "text": TEXT_PARTS}.get(role, ())
    _hold(set(parts) <= set(known), "encoder")
    match role:
        case "categorical":
            width = len(feature["levels"]) + feature["rare"]
        case "numeric" | "boolean":
            width = 1
            _hold(scales == (role == "numeric"), "encoder")
        case _:
            width = len(parts)
            _hold(scales == width, "encoder")
    _hold(len(feature["names"]) == width + missing, "encoder")
