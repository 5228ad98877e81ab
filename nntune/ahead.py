"""What workers fork from: it imports torch while the main process still reads the data."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def prepare() -> None:
    """Starts the process that workers fork from, if none lives; does not wait for its imports."""
    if METHOD != "forkserver":
        return
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.set_forkserver_preload(["nntune.workers.loaded"])
    # What is blocked is inherited: Ctrl-C reaches all processes of a terminal, and only the main
    # one may act on it. The tracker comes first, for its start unblocks the signal.
    # So is where output goes: what a worker has to say comes back with its result, one that is
    # started while the main process ends would print a traceback over the user's terminal, and
    # who reads a pipe from a command that was refused would wait for torch to be imported.
    with _silent():
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _silent() -> Iterator[None]:
    """Standard output and error lead nowhere, for this process and those it starts meanwhile."""
    nowhere, kept = os.open(os.devnull, os.O_WRONLY), dict[int, int]()
    for number in (1, 2):
        with suppress(OSError):  # it is closed
            kept[number] = os.dup(number)
            os.dup2(nowhere, number)
    try:
        yield
    finally:
        for number, place in kept.items():
            os.dup2(place, number)
            os.close(place)
        os.close(nowhere)
