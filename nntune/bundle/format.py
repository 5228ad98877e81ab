"""The file of a bundle: written as a whole or not at all, and believed in nothing when read."""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune import outputs
from nntune.bundle import checks
from nntune.bundle.forward import layers
from nntune.errors import DataError, NotFoundError
from nntune.trials import AnyShape, Shape

VERSION = 1  # of the file's format
_KEY = "nntune"  # in the header's metadata: everything but the weights, as JSON
_LARGEST_HEADER = 16 << 20  # bytes of JSON that are looked at; parsed, up to 20 times as much
_LARGEST = 4 << 30  # bytes of weights

Parameters = NDArray[np.float32]


@dataclass(frozen=True)
class Bundle:
    """A network, or a few that are averaged, with all that it takes to predict from a table.

    Attributes:
        parameters: (P,) of each member: its shape's parts, one after the other.
        shapes: of each member.
        task: 'binary', 'multiclass' or 'regression'.
        target: name of the predicted column.
        classes: labels in the order of the outputs; () for regression.
        target_mean: for regression, an output p means p * target_scale + target_mean.
        target_scale: see target_mean; 1 for classes.
        encoder: of the columns, see data.Encoder.to_dict.
        columns: of the training table, in order: name, role, and kind, as it was read, see
            data.fitting.kind_of.
        metrics: how it was judged: metric, value, epoch, and the rows that it learnt from.
        versions: library to version, at the time of training.
        fingerprint: of the data that the study was made on.
        params: configuration of the first member.
        trials: number of each member's trial.
        seed: of the study.
        command: that made the bundle.
        data: where the table came from and how it was read: the fields of data.Request,
            and the grid that its examples form, if they do.
    """

    parameters: tuple[Parameters, ...]
    shapes: tuple[AnyShape, ...]
    task: str
    target: str
    classes: tuple[str, ...]
    target_mean: float
    target_scale: float
    encoder: dict[str, Any]
    columns: tuple[dict[str, str], ...]
    metrics: dict[str, Any]
    versions: dict[str, str]
    fingerprint: str
    params: dict[str, Any]
    trials: tuple[int, ...]
    seed: int
    command: str
    data: dict[str, Any]

    @property
    def shape(self) -> AnyShape:
        """Of the first member; the only one, unless it is an ensemble."""
        return self.shapes[0]

    @property
    def exported_kinds(self) -> dict[str, str]:
        """How other programs read each column: large whole numbers as texts, to keep all digits."""
        kinds = {column["name"]: column["kind"] for column in self.columns}
        return {name: "string" if kind == "whole" else kind for name, kind in kinds.items()}

    def layers(self, member: int = 0) -> list[tuple[Parameters, Parameters]]:
        """Weight (outputs, inputs) and bias (outputs,) of each layer of a perceptron, as views."""
        shape = self.shapes[member]
        assert isinstance(shape, Shape)
        return layers(self.parameters[member], shape)

    def tensors(self, member: int = 0) -> dict[str, Parameters]:
        """Every tensor of a member by its name, as views."""
        return tensors(self.parameters[member], self.shapes[member])


def tensors(flat: Parameters, shape: AnyShape) -> dict[str, Parameters]:
    """The parts of flat parameters (P,) by their names, as views."""
    found, place = {}, 0
    for part in shape.parts:
        count = math.prod(part.size)
        found[part.name] = flat[place : place + count].reshape(part.size)
        place += count
    return found


def write(path: "str | Path", bundle: Bundle, *, force: bool = False) -> None:
    """Writes the file, whole or not at all.

    Args:
        path: conventionally ending in .nnt.
        bundle: what to keep.
        force: take the place of a file that is there.

    Raises:
        RefusedError: there is a file already.
        UsageError: it is a folder, or lies in none.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    outputs.check_free(path, force=force)
    outputs.put(path, _serialized(bundle), force=force)


def _serialized(bundle: Bundle) -> bytes:
    from safetensors.numpy import save

    kept = {
        f"members.{member}.{name}": np.ascontiguousarray(tensor, "<f4")
        for member in range(len(bundle.parameters))
        for name, tensor in bundle.tensors(member).items()
    }
    facts = {
        "sha256": "",  # comes first, so that its place is found in the text
        "version": VERSION,
        "shapes": [checks.described(shape) for shape in bundle.shapes],
        "task": bundle.task,
        "target": bundle.target,
        "classes": list(bundle.classes),
        "target_mean": bundle.target_mean,
        "target_scale": bundle.target_scale,
        "encoder": bundle.encoder,
        "columns": list(bundle.columns),
        "metrics": bundle.metrics,
        "versions": bundle.versions,
        "fingerprint": bundle.fingerprint,
        "params": bundle.params,
        "trials": list(bundle.trials),
        "seed": bundle.seed,
        "command": bundle.command,
        "data": bundle.data,
    }
    unsigned = json.dumps(facts, allow_nan=False)
    text = unsigned.replace('""', f'"{_digest(bundle.parameters, unsigned)}"', 1)
    if len(text) > _LARGEST_HEADER // 2:  # quoting it once more makes it longer
        raise DataError(
            f"the encoding takes {len(text) >> 20} MB, half of which is the most that a bundle "
            "holds; fewer columns or a smaller --vocabulary make it smaller."
        )
    checks.facts(checks.parsed(text.encode(), "the bundle"), bundle.shapes, "the bundle")
    return save(kept, {_KEY: text})


def _digest(parameters: tuple[Parameters, ...], unsigned: str = "") -> str:
    """Of the weights and the text of the facts, which does not hold the digest itself."""
    hashed = hashlib.sha256()
    for flat in parameters:
        hashed.update(np.ascontiguousarray(flat, "<f4").data)
    hashed.update(unsigned.encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()


def _is_as_written(signed: object, text: str, parameters: tuple[Parameters, ...]) -> bool:
    """Whether the digest is that of the weights and the text; in earlier files, of the weights."""
    if not isinstance(signed, str):
        return False
    return signed in (_digest(parameters, text.replace(signed, "", 1)), _digest(parameters))


def read(path: "str | Path") -> Bundle:
    """A bundle from its file, checked in every part.

    Beside the weights, memory stays below half a gigabyte, whatever the file holds.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is no bundle, or a damaged or newer one.
    """
    path = Path(path)
    try:
        text, names = _header(path)
        facts = _facts(text, path)
        shapes = checks.shapes(facts, path.name)
        parameters = _parameters(path, names, shapes)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}; nntune refit makes a bundle.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    fields = checks.facts(facts, shapes, path.name)
    if not _is_as_written(facts.get("sha256"), text, parameters):
        raise DataError(f"{path.name} is damaged: its weights or its header were changed.")
    return Bundle(parameters=parameters, shapes=shapes, **fields)


def _header(path: Path) -> tuple[str, set[str]]:
    """What the file says of itself, as JSON, and the names of its tensors."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a bundle.")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= size - 8 or size - 8 - length > _LARGEST:
            raise DataError(f"{path.name} is no bundle of nntune, or a part of one.")
        if length > _LARGEST_HEADER:
            raise DataError(
                f"{path.name}: its header takes {length >> 20} MB, and {_LARGEST_HEADER >> 20} MB "
                "is the most that a bundle has."
            )
        values = checks.parsed(file.read(length), path.name)
    described = values.get("__metadata__")
    text = described.get(_KEY) if isinstance(described, dict) else None
    if not isinstance(text, str):
        raise DataError(f"{path.name} is no bundle of nntune; nntune refit makes one.")
    return text, values.keys() - {"__metadata__"}


def _facts(text: str, path: Path) -> dict[str, Any]:
    """What the file says of itself, of a version that is known."""
    facts = checks.parsed(text.encode("utf-8", "surrogatepass"), path.name)
    version = facts.get("version")
    if isinstance(version, int) and version > VERSION:
        raise DataError(
            f"{path.name} was written by a newer nntune (format {version}; this one reads up to "
            f"{VERSION}); upgrade nntune."
        )
    if version != VERSION or isinstance(version, bool):
        raise DataError(f"{path.name} is damaged: it has no version of its format.")
    return facts


def _parameters(
    path: Path, names: set[str], shapes: tuple[AnyShape, ...]
) -> tuple[Parameters, ...]:
    """The weights, exactly those that the shapes call for."""
    from safetensors import SafetensorError, safe_open

    wanted = {
        f"members.{member}.{part.name}": list(part.size)
        for member, shape in enumerate(shapes)
        for part in shape.parts
    }
    total = sum(4 * math.prod(size) for size in wanted.values())
    if names != wanted.keys() or total > path.stat().st_size:
        raise DataError(f"{path.name} is damaged: its weights are not those of its layers.")
    try:
        with safe_open(path, "numpy") as file:
            for name, size in wanted.items():
                part = file.get_slice(name)
                if part.get_dtype() != "F32" or part.get_shape() != size:
                    raise DataError(f"{path.name} is damaged: tensor {name} is not {size} of F32.")
            found = {name: file.get_tensor(name).ravel() for name in wanted}
    except SafetensorError as error:
        raise DataError(f"{path.name} is damaged: {error}.") from None
    members = tuple(
        np.concatenate([found[f"members.{member}.{part.name}"] for part in shape.parts])
        for member, shape in enumerate(shapes)
    )
    if not all(np.isfinite(flat).all() for flat in members):
        raise DataError(f"{path.name} is damaged: it has weights that are no finite numbers.")
    return members
