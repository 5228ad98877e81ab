"""What a search takes, estimated before it starts: memory against a limit, and time."""

import math
import re
from collections.abc import Mapping
from typing import Any

from nntune.data import Dataset
from nntune.data.encoding import bytes_of
from nntune.errors import RefusedError, UsageError
from nntune.space import Space
from nntune.stacks import epoch_seconds, most_members, scores_bytes, shape_of, working_set
from nntune.trials import Problem

_LARGE, _SLOW = 200e6, 1.0  # bytes of encoded data and seconds an epoch that are worth a line
# Measured: a process that has loaded torch, and the main one with DuckDB and Optuna beside it.
_WORKER, _MAIN = 350e6, 450e6
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_WIDEST = ("hidden_layers", "units", "batch_size", "bins")


def size(text: str) -> float:
    """Bytes of a size such as 4GB.

    >>> size("4GB"), size("1.5g"), size("800M")
    (4000000000.0, 1500000000.0, 800000000.0)

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(\d+\.?\d*)([kmgt])b?", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise UsageError(f"--max-memory {text or repr(text)}: say how much, such as 800MB or 4GB.")
    return float(found[1]) * _UNITS[found[2]]


def seconds(flag: str, given: object) -> float:
    """A duration in seconds.

    >>> seconds("--time", 90), seconds("--time", "90s"), seconds("--time", "1.5h")
    (90.0, 90.0, 5400.0)

    Raises:
        UsageError: it is none.
    """
    text, units = str(given), {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        found = float(number) * units[unit]
    except ValueError:
        found = math.nan
    if 0 < found < 1e9:
        return found
    what = "a duration is above 0" if found <= 0 else "say how long"
    raise UsageError(f"{flag} {text or repr(text)}: {what}, such as 90s, 10m or 1.5h.")


def memory(dataset: Dataset, problem: Problem, space: Space, workers: int) -> float:
    """Bytes that a search takes at most, its processes together, within some 30 %.

    The encoded data are in the main process and in files that all workers map; each worker has the
    largest stack of the space beside them.
    """
    data = 2 * sum(
        bytes_of(split.x) + split.y.nbytes
        for fold in dataset.folds
        for split in (fold.train, fold.valid)
    )
    widest = _widest(space)
    shape, batch_size = shape_of(widest, problem), widest["batch_size"]
    members = most_members(shape, batch_size, problem)
    stack = members * (working_set(shape, batch_size, problem.filled) + 3 * scores_bytes(problem))
    return _MAIN + data + max(workers, 1) * (_WORKER + stack)


def _widest(space: Space) -> Mapping[str, Any]:
    """The configuration with the largest network and batch."""
    bounds = {each.name: each.bounds[1] for each in space.hyperparameters if each.name in _WIDEST}
    widest = dict(space.default) | {name: int(most) for name, most in bounds.items()}
    if any(
        each.name == "block_type" and "residual" in each.choices for each in space.hyperparameters
    ):
        widest["block_type"] = "residual"
    return widest


def refuse(taken: float, most: float) -> None:
    """Ends a search that would not fit before it starts.

    Raises:
        RefusedError: it would take more than is allowed.
    """
    if taken > most:
        raise RefusedError(
            f"this search takes about {_spelled(taken)} of memory and --max-memory allows "
            f"{_spelled(most)}; --subsample N, --bins 0, fewer --workers or a smaller --units or "
            "--batch-size take less."
        )


def _spelled(size: float) -> str:
    if size < 1e6:
        return "less than 1 MB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def notes(dataset: Dataset, problem: Problem, space: Space, workers: int) -> list[str]:
    """One line on memory and time where either is worth a thought before the search goes on."""
    encoded = sum(bytes_of(split.x) for split in (dataset.train, dataset.valid))
    epoch = epoch_seconds(space.default, problem)
    if encoded <= _LARGE and epoch <= _SLOW:
        return []
    long = f"{epoch:.2g}" if epoch < 10 else f"{epoch:,.0f}"
    return [
        f"the encoded data take {_spelled(encoded)} and the search up to "
        f"{_spelled(memory(dataset, problem, space, workers))}; an epoch of the default "
        f"configuration takes about {long} s on one core"
    ]
