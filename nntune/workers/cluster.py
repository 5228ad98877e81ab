"""Training on many machines: Dask's scheduler and workers, with this process as their client.

Workers join and leave at any time. A stack's state travels with the call and comes back with its
result, so a stack whose worker is gone starts from the last rung again, on another one.
"""

import logging
import pickle
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import dask
import numpy as np
from distributed import Client, KilledWorker, Reschedule, Worker, WorkerPlugin, get_worker
from distributed import Future as Remote

from nntune import __version__
from nntune.errors import ClusterError, UsageError
from nntune.workers.place import Place
from nntune.workers.tasks import Shared, examples_of

Result = TypeVar("Result")
_PATIENCE = 10  # seconds in which a scheduler has to answer
_RETRIES = 3  # of a call that raised; the deaths of workers are counted by the scheduler
_PREFIX = "nntune-"  # of plugins: nntune-CLIENT/UUID


class Elsewhere(NamedTuple):
    """Arrays that a plugin holds in the memory of every worker.

    Attributes:
        plugin: its name.
        epoch: when the main process's monotonic clock began, in seconds since 1970.
    """

    plugin: str
    epoch: float

    def arrays(self) -> Mapping[str, np.ndarray]:
        return _held(self.plugin).arrays

    def here(self, deadline: float) -> float:
        return deadline + self.epoch - _epoch()


class _Arrays(WorkerPlugin):
    """Goes to each worker once, when it joins, and stays until the main process has gone."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays, self.versions = dict(arrays), _versions()

    def setup(self, worker: Worker) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        if self.versions != _versions():
            raise ClusterError(_mismatch(worker.address, self.versions, _versions()))
        torch.set_num_threads(1)
        threadpool_limits(1)

    def teardown(self, worker: Worker) -> None:
        examples_of.cache_clear()


class Cluster(Place):
    """The workers of a Dask scheduler.

    Args:
        address: of the scheduler, tcp://HOST:PORT or tls://HOST:PORT; certificates are those of
            Dask's configuration.

    Raises:
        UsageError: it cannot be an address, or there are no certificates for it.
        ClusterError: nothing answers there.
    """

    def __init__(self, address: str) -> None:
        _check(address)
        self._address = address
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # one sentence, and it is ours
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})
        with self._answering(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions; those that matter are compared below
            self._client = Client(address, timeout=_PATIENCE, set_as_default=False)
        self._plugins: list[str] = []
        self._running: dict[Any, Remote[Any]] = {}  # by key; what is not referred to is dropped

    @property
    def count(self) -> int:
        with self._answering():
            return sum(self._client.nthreads().values())

    def put(self, arrays: Mapping[str, np.ndarray]) -> Shared:
        """Raises ClusterError if a worker has other versions of what trains."""
        name = f"{_PREFIX}{self._client.id}/{uuid4()}"
        with self._answering():
            self._forget(self._client.run_on_scheduler(_left_behind))
            self._client.register_plugin(_Arrays(arrays), name)
            self._forget(self._plugins)
        self._plugins = [name]
        return Elsewhere(name, _epoch())

    def submit(
        self, task: Callable[..., Result], /, *arguments: Any, **named: Any
    ) -> "Future[Result]":
        future: Future[Result] = Future()
        # As bytes, for Dask would look through all arguments for tasks of its own.
        call = pickle.dumps((task, arguments, named))
        plugin = self._plugins[-1] if self._plugins else None
        with self._answering():
            remote = self._client.submit(_called, call, plugin, pure=False, retries=_RETRIES)
        self._running[remote.key] = remote
        future.set_running_or_notify_cancel()
        remote.add_done_callback(partial(self._pass_on, future))
        return future

    def renew(self) -> None:
        """Ends the calls of this search, and starts the workers anew that have one of them.

        Waits for a worker if none is left: that nobody answers is then no trial's fault.
        """
        calls, self._running = self._running, {}
        with self._answering():
            processing = self._client.processing()
            busy = [worker for worker, keys in processing.items() if calls.keys() & set(keys)]
            self._client.cancel(list(calls.values()), force=True)
            if busy:
                with suppress(ValueError):  # a worker without a nanny stays as it is
                    self._client.restart_workers(busy, _PATIENCE, raise_for_error=False)
            self._client.wait_for_workers(1)

    def end(self) -> None:
        # Whatever has become of the scheduler, this process has done its part.
        with suppress(Exception):
            self._client.cancel(list(self._running.values()), force=True)
            self._forget(self._plugins)
        self._client.close(timeout=1)

    def _pass_on(self, future: "Future[Result]", remote: Remote[Any]) -> None:
        """Fetches a result at once: it would be lost, and made again, if its worker ended."""
        try:
            with self._answering():
                future.set_result(remote.result())
        except KilledWorker as error:
            future.set_exception(BrokenExecutor(str(error)))
        except ClusterError as error:
            is_mine = remote.key in self._running
            future.set_exception(error if is_mine else BrokenExecutor("the call was ended"))
        except Exception as error:
            future.set_exception(error)
        finally:
            self._running.pop(remote.key, None)
            remote.release()

    def _forget(self, plugins: list[str]) -> None:
        for name in plugins:
            with suppress(ValueError):  # another main process was faster
                self._client.unregister_worker_plugin(name)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError, CancelledError) as error:
            raise ClusterError(
                f"no scheduler answers at {self._address}; start one with `nntune scheduler`. "
                "Whatever a search has finished is kept, and the same command goes on from there."
            ) from error


def _check(address: str) -> None:
    if not re.fullmatch(r"(\w+://)?\S+:\d+", address):
        raise UsageError(
            f"--dask {address}: say where the scheduler is, as in tcp://HOST:8786, or the file "
            "that it wrote."
        )
    if address.startswith("tls://") and not dask.config.get("distributed.comm.tls.ca-file", None):
        raise UsageError(
            f"--dask {address}: Dask's configuration names no certificates; "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE and more do, see docs/cluster.md."
        )


def _called(call: bytes, plugin: str | None) -> Any:
    """Runs in a worker; one of other versions, which joined later, leaves instead."""
    if plugin is not None and _held(plugin).versions != _versions():
        worker = get_worker()
        worker.loop.add_callback(partial(worker.close, reason="other versions than the search"))
        raise Reschedule
    task, arguments, named = pickle.loads(call)
    return task(*arguments, **named)


def _held(plugin: str) -> _Arrays:
    held = get_worker().plugins[plugin]
    assert isinstance(held, _Arrays)
    return held


def _left_behind(dask_scheduler: Any) -> list[str]:
    """Plugins of main processes that were killed; runs in the scheduler."""
    names = [name for name in dask_scheduler.worker_plugins if name.startswith(_PREFIX)]
    clients = dask_scheduler.clients
    return [name for name in names if name.removeprefix(_PREFIX).split("/")[0] not in clients]


def _epoch() -> float:
    return time.time() - time.monotonic()


def _versions() -> dict[str, str]:
    """What has to be the same everywhere for results to be."""
    python = ".".join(platform.python_version_tuple()[:2])
    libraries = {name: version(name) for name in ("torch", "numpy")}
    return {"nntune": __version__, "python": python, **libraries}


def _mismatch(address: str, wanted: Mapping[str, str], there: Mapping[str, str]) -> str:
    differing = [name for name in wanted if wanted[name] != there[name]]
    return (
        f"the worker at {address} has {_listed(there, differing)}, and the search has "
        f"{_listed(wanted, differing)}; install the same versions everywhere."
    )


def _listed(versions: Mapping[str, str], names: list[str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in names)
