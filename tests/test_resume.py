"""A search that is killed and run again ends as if it had never been killed.

All searches share the definition of the undisturbed one, for it holds what was measured when the
study was made: the library that multiplies matrices.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nntune import study

PENGUINS = Path(__file__).parent / "data" / "penguins.csv"
SEARCH = [
    sys.executable,
    "-m",
    "nntune",
    "search",
    str(PENGUINS),
    "-t",
    "species",
    "--confirm",
    "0",
]
TRIALS, KILLS = 64, 20
DATABASE = Path("studies", "penguins.db")
PATIENCE = 180  # seconds after which something hangs

Facts = list[tuple[object, ...]]


def started(folder: Path, *flags: str) -> subprocess.Popen[str]:
    """A search in a folder; all its processes carry the folder's name in their environment."""
    return subprocess.Popen(
        [*SEARCH, "--trials", str(TRIALS), *flags],
        cwd=folder,
        env={**os.environ, "NNTUNE_TEST": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what was said on standard error."""
    _, messages = process.communicate(timeout=PATIENCE)
    return process.returncode, messages


def facts(folder: Path) -> Facts:
    """All that is known of the trials but when and how long they were trained."""
    view = study.read(folder / DATABASE)
    return [
        (
            *(t.number, t.state, t.params, t.distributions_json, t.value, t.epoch, t.rungs),
            *(t.reason, t.bracket, t.loss, t.losses, view.curve(t.number)),
            view.weights(t.number),
        )
        for t in sorted(view.trials())
    ]


def trials_begun(folder: Path) -> int:
    return len(study.read(folder / DATABASE).trials())


def trials_ended(folder: Path) -> int:
    counts = study.read(folder / DATABASE).counts()
    return sum(counts.values()) - counts["running"]


def wait_for_events(folder: Path, process: subprocess.Popen[str], count: int) -> None:
    """Returns when a search wrote so many transactions, or came to its end."""
    log = folder / f"{DATABASE}-wal"
    seen: set[int] = set()
    while len(seen) < count and process.poll() is None:
        if log.exists():
            seen.add(log.stat().st_mtime_ns)
        time.sleep(0.002)


def wait_until_it_listens(process: subprocess.Popen[str]) -> None:
    """Returns when nntune has its own handler of SIGTERM; what came before is Python's start."""
    caught = 0
    while not caught & 1 << (signal.SIGTERM - 1):
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        time.sleep(0.002)


def left_alive(folder: Path) -> list[str]:
    """Processes of searches in the folder."""
    mark = f"NNTUNE_TEST={folder}".encode()
    alive = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (place / "environ").read_bytes().split(b"\0"):
                alive.append((place / "cmdline").read_text())
        except OSError:  # it ended meanwhile
            continue
    return alive


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that two workers searched while nothing happened to them."""
    folder = tmp_path_factory.mktemp("finished")
    assert ended(started(folder, "--workers", "2", "--quiet")) == (0, "")
    assert trials_begun(folder) == TRIALS
    return folder


@pytest.fixture(scope="module")
def undisturbed(finished: Path) -> Facts:
    """What a search finds when nothing happens to it."""
    return facts(finished)


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder to search in; at the end no process of the search may be alive."""
    definition = study.read(finished / DATABASE).definition
    study.open_writer(tmp_path / DATABASE, "penguins", definition).close()
    yield tmp_path
    until = time.monotonic() + 10
    while left_alive(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert left_alive(tmp_path) == []


def test_a_finished_search_does_nothing_the_second_time(finished: Path) -> None:
    before = study.read(finished / DATABASE).trials()
    code, messages = ended(started(finished))
    assert code == 0
    assert f"{TRIALS} of {TRIALS} trials done" in messages
    assert "bracket" not in messages
    assert study.read(finished / DATABASE).trials() == before


def test_one_worker_finds_what_two_workers_find(folder: Path, undisturbed: Facts) -> None:
    assert ended(started(folder, "--workers", "1", "--quiet")) == (0, "")
    assert facts(folder) == undisturbed


def test_a_search_killed_at_twenty_moments_ends_as_if_undisturbed(
    folder: Path, undisturbed: Facts
) -> None:
    moments, brackets = random.Random(20), set()
    for kill in range(KILLS):
        process = started(folder, "--workers", "2")
        if kill % 3 == 0:  # while it starts
            time.sleep(moments.uniform(0, 1))
        else:  # a bracket is some ten events; the last one shall not come to its end
            last = trials_begun(folder) == TRIALS
            wait_for_events(folder, process, moments.randrange(1, 4 if last else 20))
            time.sleep(moments.uniform(0, 0.05))
        process.kill()
        code, messages = ended(process)
        assert (code, "Traceback" in messages) == (-signal.SIGKILL, False)
        brackets.add(trials_begun(folder))
        with closing(sqlite3.connect(folder / DATABASE)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert brackets >= {32, 64}
    code, messages = ended(started(folder, "--workers", "2"))
    assert code == 0
    assert f"resumed after {TRIALS} trials" in messages
    assert facts(folder) == undisturbed


def test_a_search_that_is_interrupted_then_terminated_keeps_what_is_finished(
    folder: Path, undisturbed: Facts
) -> None:
    kept = "all finished trials are kept, the same command goes on from here.\n"
    for number, code, word in (
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
    ):
        before = trials_ended(folder)
        process = started(folder, "--workers", "2", "--quiet")
        while trials_ended(folder) == before and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, number)  # as a terminal does
        assert ended(process) == (code, f"nntune: {word}; {kept}")
        finished = [trial for trial in facts(folder) if trial[1] != "running"]
        assert len(finished) > before
        known = [trial[:-1] for trial in undisturbed]  # whose weights stay is known at the end
        assert all(trial[:-1] in known for trial in finished)
        assert sorted(p.name for p in (folder / "studies").iterdir()) == ["penguins.db"]
    assert ended(started(folder, "--quiet")) == (0, "")
    assert facts(folder) == undisturbed


def test_a_sleep_a_lock_and_a_closed_terminal_change_nothing(
    folder: Path, undisturbed: Facts
) -> None:
    process = started(folder, "--workers", "2", "--quiet")
    wait_for_events(folder, process, 1)
    os.killpg(process.pid, signal.SIGSTOP)  # as a laptop does that sleeps
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGCONT)
    path = folder / "studies" / "penguins.db"
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(0.5)
        other.execute("ROLLBACK")
    os.killpg(process.pid, signal.SIGHUP)
    assert ended(process)[0] in (-signal.SIGHUP, 0)
    assert ended(started(folder, "--quiet")) == (0, "")
    assert facts(folder) == undisturbed


def test_a_terminated_start_says_so(folder: Path) -> None:
    process = started(folder)
    wait_until_it_listens(process)
    os.killpg(process.pid, signal.SIGTERM)
    code, messages = ended(process)
    assert code == 143
    assert "terminated; " in messages
    assert "interrupted" not in messages


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.6, 1.2])
def test_an_interrupted_start_leaves_no_traceback(folder: Path, delay: float) -> None:
    process = started(folder)
    wait_until_it_listens(process)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    code, messages = ended(process)
    assert code == 130
    assert "Traceback" not in messages


def test_a_second_search_on_a_study_is_refused_while_the_first_runs(folder: Path) -> None:
    first = started(folder, "--quiet")
    wait_for_events(folder, first, 1)
    code, messages = ended(started(folder, "--quiet"))
    assert (code, messages) == (
        5,
        f"nntune: studies/penguins.db is in use by another nntune search (process {first.pid}); "
        "wait for it or use --study NAME with another --db.\n",
    )
    first.terminate()
    assert ended(first)[0] == 143
