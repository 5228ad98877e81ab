"""Searches whose workers are those of a scheduler: processes of their own, all on loopback."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy
import pytest

import nntune
from nntune import study
from nntune.cli import main
from nntune.study import View
from nntune.workers import Workers, cluster

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are stopped by signals")
Client = pytest.importorskip("distributed", reason="nntune[dask] is not installed").Client
PENGUINS = Path(__file__).parent / "data" / "penguins.csv"
SPACE = {"units": "8,16", "hidden_layers": "1:2", "batch_size": "16,32", "epochs": "27"}
PATIENCE = 60  # seconds after which something hangs


@contextmanager
def started(*words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """One of our commands as a process, which is ended if it does not end by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nntune", *words],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill() if words[0] == "scheduler" else process.terminate()
        process.communicate(timeout=PATIENCE)


def wait_until(holds: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def address_in(file: Path) -> str:
    wait_until(lambda: file.exists() and file.read_text().endswith("}"))
    return str(json.loads(file.read_text())["address"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A scheduler with one worker, until the test that kills it."""
    file = folder / "scheduler.json"
    with started("scheduler", "--port", "0", "--scheduler-file", str(file)):
        where = address_in(file)
        with started("worker", str(file), "-j", "1", "--no-nanny"):
            yield where


@pytest.fixture(scope="module")
def local(folder: Path) -> View:
    """What this process finds."""
    return nntune.search(PENGUINS, "species", trials=32, space=SPACE, db=folder / "local.db")


@pytest.fixture
def path(local: View, tmp_path: Path) -> Path:
    """A study that multiplies as the local one does: which library is faster, is a measurement."""
    study.open_writer(tmp_path / "s.db", "penguins", local.definition).close()
    return tmp_path / "s.db"


def facts(view: View) -> list[tuple[object, ...]]:
    """All that is known of the trials but when and how long they were trained."""
    return [
        (
            *(t.number, t.state, t.params, t.value, t.epoch, t.rungs, t.reason, t.loss, t.losses),
            *(view.curve(t.number), view.weights(t.number)),
        )
        for t in sorted(view.trials())
    ]


def trials_begun(path: Path) -> int:
    return len(study.read(path).trials())


def test_a_killed_search_is_gone_on_with_and_leaves_no_data_behind(
    address: str, local: View, path: Path
) -> None:
    flags = [word for name, text in SPACE.items() for word in (f"--{name.replace('_', '-')}", text)]
    words = [str(PENGUINS), "-t", "species", "-n", "32", "--db", str(path), "--dask", address]
    with started("search", *words, *flags) as process:
        wait_until(lambda: trials_begun(path))
        process.kill()
    found = nntune.search(PENGUINS, "species", trials=32, space=SPACE, db=path, dask=address)
    assert facts(found) == facts(local)
    with Client(address) as client:
        left = client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.worker_plugins])
    assert [name for name in left if "nntune" in name] == []


def test_calls_can_be_ended_and_others_take_their_place(address: str) -> None:
    with Workers(cluster(address)) as workers:
        hung = workers.submit(time.sleep, 1)
        workers.renew()
        assert isinstance(hung.exception(PATIENCE), BrokenExecutor)
        assert workers.submit(divmod, 7, 2).result(PATIENCE) == (3, 1)
        assert isinstance(workers.submit(divmod, 7, 0).exception(PATIENCE), ZeroDivisionError)


def test_a_worker_of_other_versions_is_named(address: str, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "numpy-0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n")
    words = [str(PENGUINS), "-t", "species", "--db", str(path), "--dask", address]
    with started(
        "search", *words, PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    ) as p:
        _, message = p.communicate(timeout=PATIENCE)
    assert (p.returncode, re.sub(r"tcp://[\d.:]+", "WORKER", message)) == (
        6,
        f"nntune: the worker at WORKER has numpy {numpy.__version__}, and the search "
        "has numpy 0.1; install the same versions everywhere.\n",
    )


def test_a_worker_killed_in_its_work_and_one_that_comes_later_change_nothing(
    address: str, local: View, path: Path
) -> None:
    done = threading.Event()

    def disturb() -> None:
        wait_until(lambda: trials_begun(path))
        os.kill(first, signal.SIGSTOP)  # in the middle of a stack, or before the next one
        with started("worker", address, "-j", "1", "--no-nanny"):
            wait_until(lambda: workers.count == 2)
            os.kill(first, signal.SIGKILL)
            done.wait(PATIENCE)

    with Workers(cluster(address)) as workers:
        wait_until(lambda: workers.count)
        first = workers.submit(os.getpid).result()
        hand = threading.Thread(target=disturb)
        hand.start()
        found = nntune.search(PENGUINS, "species", trials=32, space=SPACE, db=path, dask=address)
        done.set()
        hand.join()
    assert facts(found) == facts(local)


def test_a_search_waits_for_workers_and_ends_when_the_scheduler_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    with started("scheduler", "--port", "0", "--scheduler-file", str(file)) as scheduler:
        where = address_in(file)
        words = [
            str(PENGUINS),
            "-t",
            "species",
            "--db",
            str(tmp_path / "s.db"),
            "--dask",
            str(file),
        ]
        with started("search", *words) as search:
            assert search.stderr is not None
            assert search.stderr.readline() == (
                f"{file} has no worker yet; `nntune worker {file}` starts one, on any machine\n"
            )
            scheduler.kill()
            _, message = search.communicate(timeout=PATIENCE)
    assert (search.returncode, message) == (
        6,
        f"nntune: no scheduler answers at {where}; start one with `nntune scheduler`. Whatever a "
        "search has finished is kept, and the same command goes on from there.\n",
    )


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Exit code and standard error of a command in this process."""
    with pytest.raises(SystemExit) as end:
        main(words)
    return end.value.code, capsys.readouterr().err


def test_mistakes_about_addresses_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(["worker", "--no-nanny"], capsys) == (
        2, "nntune: say first where the scheduler is, as in nntune worker tcp://HOST:8786.\n",
    )  # fmt: skip
    nowhere = str(tmp_path / "no.json")
    assert said(["worker", nowhere], capsys) == (
        2, f"nntune: {nowhere} names no scheduler; nntune scheduler --scheduler-file writes it.\n",
    )  # fmt: skip
    assert said(["search", str(PENGUINS), "--dask", nowhere], capsys) == (
        2, f"nntune: {nowhere} names no scheduler; nntune scheduler --scheduler-file writes it.\n",
    )  # fmt: skip
    assert said(["search", str(PENGUINS), "--dask", "here"], capsys) == (
        2,
        "nntune: --dask here: say where the scheduler is, as in tcp://HOST:8786, or the file that "
        "it wrote.\n",
    )
    assert said(["search", str(PENGUINS), "--dask", "tls://h:1"], capsys) == (
        2,
        "nntune: --dask tls://h:1: Dask's configuration names no certificates; "
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE and more do, see docs/cluster.md.\n",
    )
    assert said(["search", str(PENGUINS), "--dask", "tcp://h:1", "-j", "2"], capsys) == (
        2, "nntune: --dask and --workers: choose one; who trains is the scheduler's matter.\n",
    )  # fmt: skip


def test_an_open_scheduler_says_what_that_means(capsys: pytest.CaptureFixture[str]) -> None:
    open_to_all = ["scheduler", "--host", "0.0.0.0", "--version"]  # which ends at once
    assert said(open_to_all, capsys) == (
        0,
        "nntune: whoever reaches this scheduler can run any program as you; outside a network of "
        "your own give it --tls-ca-file, --tls-cert and --tls-key.\n",
    )
    assert said([*open_to_all, "--tls-ca-file", "ca.pem"], capsys) == (0, "")
    assert said(["scheduler", "--version"], capsys) == (0, "")
