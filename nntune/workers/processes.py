"""Training on one machine: in the calling process, or in processes of one thread each.

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
import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from itertools import count
from multiprocessing import util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nntune.ahead import METHOD, prepare
from nntune.errors import removed
from nntune.workers.place import Place
from nntune.workers.tasks import Folder, Shared, examples_of

Result = TypeVar("Result")
_STARTS, _PAUSE = 5, 0.1  # tries to start a worker, and seconds between them
_PATIENCE = 5.0  # seconds for a pool's thread to end after its processes
_CLOSING = threading.Lock()  # a descriptor that is closed twice may be another one by then


class _OnThisMachine(Place):
    """Keeps arrays as files in a folder of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nntune-"))
        self._numbers = count()

    def put(self, arrays: Mapping[str, np.ndarray]) -> Shared:
        folder = Folder(str(self._folder / str(next(self._numbers))))
        folder.put(arrays)
        return folder

    def end(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class Here(_OnThisMachine):
    """The calling process: a call is done when `submit` returns."""

    @property
    def count(self) -> int:
        return 0

    def submit(
        self, task: Callable[..., Result], /, *arguments: Any, **named: Any
    ) -> "Future[Result]":
        future: Future[Result] = Future()
        try:
            future.set_result(task(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future

    def end(self) -> None:
        examples_of.cache_clear()  # this process lives on, and may search again
        super().end()


class Processes(_OnThisMachine):
    """A pool of processes; one that broke is replaced at the next call."""

    def __init__(self, processes: int) -> None:
        super().__init__()
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        prepare()

    @property
    def count(self) -> int:
        return self._processes

    def submit(
        self, task: Callable[..., Result], /, *arguments: Any, **named: Any
    ) -> "Future[Result]":
        """Submits a call.

        Raises:
            DataError: the temporary folder is gone, and with it the way to new processes.
        """
        try:
            for _ in range(_STARTS):
                try:
                    return self._started().submit(task, *arguments, **named)
                except BrokenExecutor:  # a worker died since the last call
                    self.renew()
                except (EOFError, ConnectionError):  # so did what the workers fork from
                    self.renew()
                    time.sleep(_PAUSE)  # until the system knows of it
            return self._started().submit(task, *arguments, **named)
        except FileNotFoundError:
            raise removed(tempfile.gettempdir()) from None

    def renew(self) -> None:
        if self._pool is not None:
            _end(self._pool)
            self._pool = None

    def end(self) -> None:
        self.renew()
        if METHOD == "forkserver":  # whose folder multiprocessing will want to remove
            with suppress(OSError):
                os.makedirs(util.get_temp_dir(), exist_ok=True)
        super().end()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            prepare()
            context = multiprocessing.get_context(METHOD)
            arguments = (self._processes, context, _begin, (str(self._folder),))
            self._pool = ProcessPoolExecutor(*arguments)
            threading.Thread(target=_watch, args=(self._pool,), daemon=True).start()
        return self._pool


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end(pool: ProcessPoolExecutor) -> None:
    _kill(pool)
    # The thread learns of the deaths by itself, and then drops a call that is too large for the
    # pipe. One that hears of the shutdown first waits for that call's reader for ever, as CPython
    # before 3.11.5 always does (gh-94777): this process holds the reading end open. Not to wait for
    # the thread would leave it to race with the end of the interpreter.
    thread = _thread(pool)
    if thread is not None:
        thread.join(_PATIENCE)
        if thread.is_alive():
            pool._call_queue._reader.close()  # type: ignore[attr-defined]
    pool.shutdown(wait=True, cancel_futures=True)


def _watch(pool: ProcessPoolExecutor) -> None:
    """Kills the workers of a pool that does not notice that one has died.

    It died in the middle of a result, whose rest the pool's thread would await for ever.
    """
    while getattr(pool, "_processes", None) is not None:  # until it is shut down
        thread = _thread(pool)
        if thread is None:  # no call yet
            time.sleep(_PATIENCE)
            continue
        thread.join(_PATIENCE)
        if not thread.is_alive():
            return
        if wait([process.sentinel for process in _processes(pool)], 0):
            thread.join(_PATIENCE)
            _kill(pool)
            return


def _kill(pool: ProcessPoolExecutor) -> None:
    """Kills the workers, and lets the pool's thread see the end of what they were sending.

    That is once no writer is left, and this process is one.
    """
    for process in _processes(pool):
        process.kill()  # one that is stopped would not hear of anything milder
    with _CLOSING:
        results = getattr(pool, "_result_queue", None)
        if results is not None and not results._writer.closed:
            results._writer.close()


def _processes(pool: ProcessPoolExecutor) -> list[BaseProcess]:
    return list((getattr(pool, "_processes", None) or {}).values())


def _thread(pool: ProcessPoolExecutor) -> threading.Thread | None:
    thread: threading.Thread | None = getattr(pool, "_executor_manager_thread", None)
    # The pool names its thread before it starts it, and only then may it be waited for.
    return thread if thread is not None and thread.ident is not None else None


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
