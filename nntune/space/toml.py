"""Space files, and what stands for one in Python."""

import math
import tomllib
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from nntune.errors import UsageError, did_you_mean
from nntune.families import PREFIX
from nntune.space.grammar import MistakeError
from nntune.space.hyperparameter import written
from nntune.space.rules import RULES, unknown


def parse_toml(text: str, source: str) -> dict[str, str]:
    """Hyperparameter names and ranges of a TOML file, the ranges as the grammar writes them.

    A value is a range in quotes, a number, a list (choices) or a table such as
    `{ low = 1e-4, high = 1e-1, log = true }`, with `step` or `zero = true` where they fit.
    Hyperparameters of the user's own network stand in a table `[net]`.

    Raises:
        UsageError: not TOML, or a name or a key of a table is unknown.
    """
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not valid TOML: {error}") from None
    return _texts(entries, source)


def texts_of(space: object) -> dict[str, str]:
    """Hyperparameter names and ranges of what Python gives as a search space.

    >>> texts_of({"units": [64, 128], "lr": {"low": 1e-4, "high": 0.1, "log": True}})
    {'units': '64,128', 'lr': '1e-4:0.1:log'}

    Args:
        space: name to value, each as `parse_toml` has it; the path of a TOML file; or None.

    Raises:
        UsageError: it is something else, or a name or a key of a table is unknown.
    """
    if isinstance(space, str | Path):
        return parse_toml(read(Path(space)), str(space))
    if space is None or isinstance(space, Mapping):
        return _texts(space or {}, "space")
    raise UsageError(
        f"space is of type {type(space).__name__}; give hyperparameters and their ranges, such as "
        '{"lr": "1e-4:1e-1:log", "units": [64, 128]}, or the path of a TOML file.'
    )


def _texts(given: Mapping[Any, Any], source: str) -> dict[str, str]:
    entries = dict(given)
    own = entries.pop("net", {})
    if not isinstance(own, Mapping):
        raise UsageError(f"{source}: net is a table; write [net] and below it NAME = RANGE.")
    entries |= {f"{PREFIX}{name}": entry for name, entry in own.items()}
    for name in entries:
        if name not in RULES and not str(name).startswith(PREFIX):
            unknown(str(name), source)
    try:
        return {name: _toml_text(name, entry) for name, entry in entries.items()}
    except MistakeError as mistake:
        raise UsageError(f"{source}: {mistake}") from None


def _toml_text(name: str, entry: object) -> str:
    match entry:
        case bool():
            raise MistakeError(f"{name} is true or false; write a range in quotes, or a number")
        case str():
            return entry
        case Real():  # 1.0 of the user's own network is no whole number
            number = int(entry) if isinstance(entry, Integral) else float(entry)
            is_plain = math.isfinite(number) and not name.startswith(PREFIX)
            return written(number) if is_plain else str(number)
        case list() | tuple():
            return ",".join(_toml_text(name, each) for each in entry)
        case Mapping():
            return _toml_table(name, entry)
    kind = type(entry).__name__
    raise MistakeError(f"{name} is of type {kind}; write a range in quotes, a number or a list")


def _toml_table(name: str, entry: Mapping[str, Any]) -> str:
    keys = ("low", "high", "log", "step", "zero")
    for key in entry:
        if key not in keys:
            hint = did_you_mean(key, keys)
            raise MistakeError(
                f"{name} has no key '{key}'; there are {', '.join(keys)}{'.' * bool(hint)}{hint}"
            )
    for key in ("low", "high"):
        if key not in entry:
            raise MistakeError(f"{name} has no key '{key}'; write {{ low = ..., high = ... }}")
    parts = [
        _toml_text(f"{name}.{key}", entry[key]) for key in ("low", "high", "step") if key in entry
    ]
    if entry.get("log"):
        parts.append("log")
    return "0," * bool(entry.get("zero")) + ":".join(parts)


def read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"there is no space file {file}; `nntune space > {file}` writes one"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not a text file in UTF-8; a space file is TOML") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read as a space file: {error.strerror}") from None
