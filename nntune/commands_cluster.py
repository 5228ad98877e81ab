"""The commands that make a cluster of machines: Dask's own, set up for training."""

import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from nntune.errors import ClusterError, UsageError

_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
_OPEN = (
    "nntune: whoever reaches this scheduler can run any program as you; outside a network of your "
    "own give it --tls-ca-file, --tls-cert and --tls-key.\n"
)
# Dask would serve its state on all interfaces, even without a dashboard.
_QUIET = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


# What Dask does beside the work, in the same process: a sample of every thread each 10 ms and more
# took half as much processor time as training small networks.
_SPARING = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
}


def register(app: typer.Typer) -> None:
    app.command(context_settings=_PASSED_ON)(worker)
    app.command(context_settings=_PASSED_ON)(scheduler)


def worker(
    context: typer.Context,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", show_default=False,
            help="Of the scheduler, tcp://HOST:8786, or the file that it wrote.",
        ),
    ],
    workers: Annotated[
        int | None,
        typer.Option("-j", "--workers", min=1, show_default=False, help="Processes; one a core."),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            "--memory-limit", metavar="SIZE",
            help="Such as 4GB; a process that takes more is started anew.",
        ),
    ] = "auto",
) -> None:  # fmt: skip
    """Train for the searches of a scheduler, from now on.

    Further options go to dask worker, such as --tls-ca-file, --lifetime and --host.
    """
    from nntune.workers import address_in, cores

    if address.startswith("-"):  # one of Dask's options came first
        raise UsageError("say first where the scheduler is, as in nntune worker tcp://HOST:8786.")
    where = address_in(address)
    words = [where, "--host", _own_address(where), "--nthreads", "1"]
    words += ["--nworkers", str(workers or cores()), "--memory-limit", memory]
    words += ["--death-timeout", "60", "--preload", "nntune.training"]
    _dask("worker", [*words, *_QUIET, *context.args])


def scheduler(
    context: typer.Context,
    host: Annotated[
        str,
        typer.Option("--host", help="Where it listens; 0.0.0.0 is everywhere."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes one that is free.")
    ] = 8786,
    file: Annotated[
        Path | None,
        typer.Option(
            "--scheduler-file", metavar="FILE", show_default=False,
            help="Where to write the address, for workers and searches.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Start the scheduler that searches and workers meet at.

    Further options go to dask scheduler, such as --tls-ca-file.
    """
    secured = any(word.startswith("--tls-ca-file") for word in context.args)
    if host not in ("127.0.0.1", "localhost", "::1") and not secured:
        sys.stderr.write(_OPEN)
    words = ["--host", host, "--port", str(port)]
    words += ["--scheduler-file", str(file)] if file else []
    _dask("scheduler", [*words, *_QUIET, *context.args])


def _own_address(address: str) -> str:
    """Of this machine, on the way to the scheduler: a worker listens there and nowhere else.

    >>> _own_address("tcp://127.0.0.1:8786")
    '127.0.0.1'

    Raises:
        ClusterError: the scheduler's name is not known.
    """
    host = urlsplit(address if "//" in address else f"tcp://{address}").hostname or address
    try:
        family = socket.getaddrinfo(host, 1)[0][0]
        with socket.socket(family, socket.SOCK_DGRAM) as route:
            route.connect((host, 1))  # sends nothing, and settles the way
            return str(route.getsockname()[0])
    except OSError as error:
        raise ClusterError(f"there is no way to {address}: {error.strerror}.") from None


def _dask(command: str, words: list[str]) -> None:
    from nntune.workers import check_dask

    check_dask(f"nntune {command}")
    for name, value in _SPARING.items():  # read when Dask is loaded, here and by its children
        os.environ.setdefault(name, value)
    run = import_module(f"distributed.cli.dask_{command}").main
    run.main(words, prog_name=f"nntune {command}")
