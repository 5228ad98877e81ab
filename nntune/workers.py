"""Where training runs: processes of one thread each, behind the concurrent.futures interface.

A process that imports torch while the main process reads the data is what the workers fork from
when the first call comes. They map the examples from files in a temporary folder, and end by
themselves when the main process is gone.
"""

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nntune.errors import UsageError
from nntune.trials import Problem, Product, Progress, Setting

if TYPE_CHECKING:
    from nntune.training import Examples

Result = TypeVar("Result")
_ARRAYS = ("x", "y", "x_valid", "y_valid")
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class Workers:
    """A pool of training processes; a context manager.

    Args:
        count: processes; 0 trains in this process, one call after the other.
        device: torch's name of the device, or auto.
    """

    def __init__(self, count: int, device: str = "cpu") -> None:
        self.count, self._device = count, device
        self._folder = Path(tempfile.mkdtemp(prefix="nntune-"))
        self._pool: ProcessPoolExecutor | None = None
        if count:
            _prepare()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def share(self, arrays: dict[str, np.ndarray]) -> None:
        """Hands the examples to all workers: x (N, D), y (N,), x_valid (V, D), y_valid (V,)."""
        for name in _ARRAYS:
            np.save(self._folder / f"{name}.npy", arrays[name])

    def use_device(self) -> None:
        """Settles what `auto` means here.

        Raises:
            UsageError: this machine or its torch lacks the device.
        """
        if self._device != "cpu":
            self._device = self.submit(_available, self._device).result()

    def fastest_product(self) -> Product:
        """Which library multiplies matrices fastest on a worker, measured there."""
        return self.submit(_fastest_product).result()

    def train(
        self,
        members: Sequence[Progress],
        setting: Setting,
        problem: Problem,
        until: int,
        deadline: float,
    ) -> "Future[list[Progress]]":
        """Trains one stack; see training.train."""
        return self.submit(
            _train, str(self._folder), self._device, members, setting, problem, until, deadline
        )

    def submit(self, task: Callable[..., Result], *arguments: Any) -> "Future[Result]":
        """A call in a worker."""
        if self.count:
            with suppress(BrokenExecutor):  # a worker died since the last call
                return self._started().submit(task, *arguments)
            self._pool = None
            return self._started().submit(task, *arguments)
        future: Future[Result] = Future()
        try:
            future.set_result(task(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Ends the processes, whatever they do, and removes the shared examples."""
        if self._pool is not None:
            _end(self._pool)
        if not self.count:
            _examples.cache_clear()  # this process lives on, and may search again
        shutil.rmtree(self._folder, ignore_errors=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context(_METHOD)
            self._pool = ProcessPoolExecutor(self.count, context, _begin, (str(self._folder),))
        return self._pool


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


def _end(pool: ProcessPoolExecutor) -> None:
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.terminate()
    # A process that ends in the middle of a result leaves the pool's thread reading until the last
    # writer is gone, and that is this process. Not to wait for the thread would leave it to race
    # with the end of the interpreter.
    results = getattr(pool, "_result_queue", None)
    if results is not None:
        results._writer.close()
    pool.shutdown(wait=True, cancel_futures=True)


def _prepare() -> None:
    """Starts the process that workers fork from, and does not wait for its imports."""
    if _METHOD != "forkserver":
        return
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.set_forkserver_preload(["nntune.training"])
    # What is blocked is inherited: Ctrl-C reaches all processes of a terminal, and only the main
    # one may act on it. The tracker comes first, for its start unblocks the signal.
    # So is standard error: what a worker has to say comes back with its result, and one that is
    # started while the main process ends would print a traceback over the user's terminal.
    with _silent_errors():
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _silent_errors() -> Iterator[None]:
    """Standard error leads nowhere, for this process and those that it starts meanwhile."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _begin(folder: str) -> None:
    """Prepares a new worker process."""
    import torch
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides when work ends
    torch.set_num_threads(1)
    threadpool_limits(1)
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()


def _end_with_parent(folder: str) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _available(device: str) -> str:
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


def _fastest_product() -> Product:
    from nntune.products import fastest

    return fastest()


@cache
def _examples(folder: str, device: str, problem: Problem) -> "Examples":
    import torch

    from nntune.training import Examples

    # Copy-on-write maps: all workers share the pages, and torch may call the memory its own.
    arrays = [np.load(Path(folder, f"{name}.npy"), mmap_mode="c") for name in _ARRAYS]
    x, y, x_valid, y_valid = (torch.from_numpy(array).to(device) for array in arrays)
    return Examples(x, y, x_valid, y_valid, problem.classes, problem.scale)


def _train(
    folder: str,
    device: str,
    members: Sequence[Progress],
    setting: Setting,
    problem: Problem,
    until: int,
    deadline: float,
) -> list[Progress]:
    from nntune.training import train

    return train(members, setting, _examples(folder, device, problem), until, deadline)
