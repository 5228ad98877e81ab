"""Where training runs: this process, processes of one thread each, or a cluster of machines.

All three are executors (see `Place`); the search neither knows nor cares which one it has. What
travels are plain values, so that any worker can go on with any stack.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self, TypeVar

import numpy as np

from nntune.trials import Problem, Product, Progress, Setting
from nntune.workers import tasks
from nntune.workers.place import Place
from nntune.workers.processes import Here, Processes
from nntune.workers.tasks import one_thread

__all__ = ["Place", "Workers", "one_thread"]
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

    def share(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Hands the examples to all workers: x (N, D), y (N,), x_valid (V, D), y_valid (V,).

        Those of a further fold are named x@1, y@1, ..., and scale@1 () is the unit of its target.
        """
        self._shared = self._place.put(arrays)

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
