"""Space files."""

import math
import tomllib
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
    own = entries.pop("net", {})
    if not isinstance(own, dict):
        raise UsageError(f"{source}: net is a table; write [net] and below it NAME = RANGE.")
    entries |= {f"{PREFIX}{name}": entry for name, entry in own.items()}
    for name in entries:
        if name not in RULES and not name.startswith(PREFIX):
            unknown(name, source)
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
        case int() | float():  # 1.0 of the user's own network is no whole number
            is_plain = math.isfinite(entry) and not name.startswith(PREFIX)
            return written(entry) if is_plain else str(entry)
        case list():
            return ",".join(_toml_text(name, each) for each in entry)
        case dict():
            return _toml_table(name, entry)
    raise MistakeError(f"{name} is a date or time; write a range in quotes, or a number")


def _toml_table(name: str, entry: dict[str, Any]) -> str:
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
