"""What workers fork from: it imports torch while the main process still reads the data."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def prepare() -> None:
    """Starts the process that workers fork from, if none lives; does not wait for its imports."""
    if METHOD != "forkserver":
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
