"""Where training runs: this process, processes of one thread each, or a cluster of machines.

All three are executors (see `Place`); the search neither knows nor cares which one it has. What
travels are plain values, so that any worker can go on with any stack.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from nntune.errors import UsageError
from nntune.trials import Problem, Product, Progress, Setting
from nntune.workers import tasks
from nntune.workers.place import Place
from nntune.workers.processes import Here, Processes, cores
from nntune.workers.tasks import one_thread

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Place", "Workers", "address_in", "check_dask", "cluster", "cores", "one_thread"]
Result = TypeVar("Result")


class Workers:
    """Who trains; a context manager.

    Args:
        where: so many processes; 0 trains in this process, one call after the other.
        device: torch's name of the device, or auto.
    """

    def __init__(self, where: int | Place, device: str = "cpu") -> None:
        self._device = device
        if isinstance(where, int):
            where = Processes(where) if where else Here()
        self._place: Place = where
        self._shared: tasks.Shared | None = None

    @property
    def count(self) -> int:
        """How many stacks train at once, at this moment; 0 trains in this process."""
        return self._place.count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def share(self, arrays: "Mapping[str, np.ndarray | csr_array]", terms: int = 0) -> None:
        """Hands the examples to all workers: x (N, D), y (N,), x_valid (V, D), y_valid (V,).

        Those of a further fold are named x@1, y@1, ..., and scale@1 () is the unit of its target.

        Args:
            arrays: by name.
            terms: the last so many columns of a sparse x stay sparse.
        """
        parts: dict[str, np.ndarray] = {}
        for name, array in arrays.items():
            parts |= tasks.parts_of(name, array, terms)
        self._shared = self._place.put(parts)

    def use_device(self) -> None:
        """Settles what `auto` means on a worker.

        Raises:
            UsageError: the machine or its torch lacks the device.
        """
        if self._device != "cpu":
            self._device = self.submit(tasks.available, self._device).result()

    def fastest_product(self) -> Product:
        """Which library multiplies matrices fastest on a worker, measured there."""
        return self.submit(tasks.fastest_product).result()

    def train(
        self,
        members: Sequence[Progress],
        setting: Setting,
        problem: Problem,
        until: int,
        deadline: float,
    ) -> "Future[list[Progress]]":
        """Trains one stack; see training.train."""
        assert self._shared is not None, "the examples are shared first"
        return self.submit(
            tasks.train, self._shared, self._device, members, setting, problem, until, deadline
        )

    def submit(self, task: Callable[..., Result], *arguments: Any) -> "Future[Result]":
        """A call in a worker."""
        return self._place.submit(task, *arguments)

    def renew(self) -> None:
        """Ends all calls, whatever they do; new workers, as good as new, take the next ones."""
        self._place.renew()

    def close(self) -> None:
        """Ends what runs, whatever it does, and removes the shared examples."""
        self._place.end()


def cluster(address: str) -> Place:
    """The workers of a Dask scheduler.

    Args:
        address: of the scheduler, or the file that it wrote it to.

    Raises:
        UsageError: Dask is not installed, or there is no address in the file.
        ClusterError: nothing answers there.
    """
    check_dask("--dask")
    from nntune.workers.cluster import Cluster

    return Cluster(address_in(address))


def address_in(text: str) -> str:
    """The address of a scheduler, also from the file that it wrote it to.

    >>> address_in("tcp://127.0.0.1:8786")
    'tcp://127.0.0.1:8786'

    Raises:
        UsageError: there is none in the file.
    """
    if not text.endswith(".json"):
        return text
    try:
        return str(json.loads(Path(text).read_text())["address"])
    except (OSError, ValueError, KeyError):
        raise UsageError(
            f"{text} names no scheduler; nntune scheduler --scheduler-file writes it."
        ) from None


def check_dask(what: str) -> None:
    """Raises UsageError if Dask is not there for `what`."""
    if find_spec("distributed") is None:
        raise UsageError(f"{what} needs Dask's scheduler: pip install 'nntune[dask]'.")
