"""What a worker is asked to do. It makes the examples of arrays that were brought to it, once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from nntune.errors import DataError, UsageError, removed
from nntune.failures import contained
from nntune.trials import Problem, Product, Progress, Setting

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from nntune.training import Examples


class Shared(Protocol):
    """Arrays as a call knows them: it travels with each, and it can be a key."""

    def __hash__(self) -> int: ...

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays by name, where the call runs."""

    def here(self, deadline: float) -> float:
        """A moment on the main process's time.monotonic(), on that of where the call runs."""


class Folder(NamedTuple):
    """Arrays as files, one each."""

    path: str

    def put(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the arrays.

        Raises:
            DataError: there is no room for them.
        """
        try:
            Path(self.path).mkdir()
            for name, array in arrays.items():
                np.save(Path(self.path, f"{name}.npy"), array)
        except OSError as error:  # NumPy gives no reason where the disk is full
            raise DataError(
                f"the encoded data cannot be written to {self.path}: "
                f"{error.strerror or 'the disk is full'}; TMPDIR names another place."
            ) from None

    def arrays(self) -> Mapping[str, np.ndarray]:
        # Copy-on-write maps: all workers share the pages, and torch may call the memory its own.
        files = list(Path(self.path).glob("*.npy"))
        if not files:
            raise removed(self.path)
        return {file.stem: np.load(file, mmap_mode="c", allow_pickle=False) for file in files}

    def here(self, deadline: float) -> float:
        return deadline


def train(
    shared: Shared,
    device: str,
    members: Sequence[Progress],
    setting: Setting,
    problem: Problem,
    until: int,
    deadline: float,
) -> list[Progress]:
    """Trains one stack; see training.train."""

    def trained(part: Sequence[Progress]) -> list[Progress]:
        from nntune import training

        examples = examples_of(shared, device, problem)
        return training.train(part, setting, examples, until, shared.here(deadline))

    return contained(trained, members)


@cache
def examples_of(shared: Shared, device: str, problem: Problem) -> "Examples":
    import torch

    from nntune.training import Examples

    arrays = shared.arrays()

    def fold(mark: str, scale: float) -> Examples:
        names = ("x", "y", "x_valid", "y_valid")
        x, y, x_valid, y_valid = (torch.from_numpy(arrays[n + mark]).to(device) for n in names)
        terms, terms_valid = (
            terms_of(name + mark, arrays, problem.terms) for name in ("x", "x_valid")
        )
        return Examples(
            x, y, x_valid, y_valid, problem.classes, scale, terms=terms, terms_valid=terms_valid
        )

    marks = [f"@{place}" for place in range(1, problem.folds)]
    others = tuple(fold(mark, float(arrays[f"scale{mark}"])) for mark in marks)
    return fold("", problem.scale)._replace(others=others)


_PARTS = ("data", "indices", "indptr")


def parts_of(name: str, array: "np.ndarray | csr_array", terms: int) -> dict[str, np.ndarray]:
    """An array as plain ones: of a sparse one its first columns, and the parts of the rest.

    Args:
        name: of the array, which those of the parts begin with.
        array: (N, D).
        terms: the last so many columns stay sparse.
    """
    if isinstance(array, np.ndarray):
        return {name: array}
    first = array.shape[1] - terms
    rest = array[:, first:]
    dense = np.ascontiguousarray(array[:, :first].toarray())
    return {name: dense, **{f"{name}.{part}": getattr(rest, part) for part in _PARTS}}


def terms_of(name: str, arrays: Mapping[str, np.ndarray], terms: int) -> "csr_array | None":
    """What `parts_of` left sparse, or None."""
    if not terms:
        return None
    from scipy.sparse import csr_array

    parts = tuple(arrays[f"{name}.{part}"] for part in _PARTS)
    return csr_array(parts, shape=(len(arrays[name]), terms))


def available(device: str) -> str:
    """What a device's name means where the call runs.

    Raises:
        UsageError: it is not there.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next((name for name, is_there in there.items() if is_there), "cpu")
    if not there[device]:
        raise UsageError(
            f"--device {device}: torch {torch.__version__} finds no such device here; "
            "cpu and auto work everywhere."
        )
    return device


def fastest_product() -> Product:
    from nntune import networks

    return networks.fastest_product()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for this process's matrices, as workers have, for as long as it trains."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
