"""A search of any family that is killed and run again ends as if it had never been killed.

Beside test_resume, which kills a search of perceptrons at many more moments.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from test_models import facts
from test_texts import reviews

from nntune import study

OWN = Path(__file__).parent / "data" / "own.py"
PATIENCE = 180  # seconds after which something hangs


class Search(NamedTuple):
    """A table with a command that searches on it."""

    source: str
    flags: tuple[str, ...]
    trials: int
    families: set[str]


def series(folder: Path) -> Search:
    """Series for all families, the user's own among them."""
    x = np.random.default_rng(0).normal(size=(80, 2, 16)).astype(np.float32)
    np.savez(folder / "s.npz", X=x, y=(x[:, 0].mean(1) > x[:, 1].mean(1)).astype(int))
    own = f"{OWN}:Steps"
    flags = (
        *("--model", f"mlp,cnn,rnn,{own}", "--set", "act=relu,tanh", "--epochs", "6"),
        *("--channels", "4", "--blocks", "1,2", "--rnn-units", "4", "--units", "8"),
    )
    return Search(str(folder / "s.npz"), flags, 16, {"mlp", "cnn", "rnn", own})


def images(folder: Path) -> Search:
    """Images, moved anew at every step."""
    x = np.random.default_rng(0).normal(size=(80, 8, 8)).astype(np.float32)
    np.savez(folder / "i.npz", X=x, y=(x[:, :4].mean((1, 2)) > x[:, 4:].mean((1, 2))).astype(int))
    flags = ("--model", "cnn,rnn", "--augment", "shift,crop", "--channels", "4", "--epochs", "6")
    return Search(str(folder / "i.npz"), (*flags, "--rnn-units", "4"), 12, {"cnn", "rnn"})


def texts(folder: Path) -> Search:
    """Sparse inputs."""
    return Search(reviews(folder), ("-t", "nota", "--epochs", "60"), 24, {"mlp"})


def started(search: Search, database: Path, workers: int) -> subprocess.Popen[str]:
    words = ["search", search.source, *search.flags, "--trials", str(search.trials)]
    more = ["--db", str(database), "--workers", str(workers), "--confirm", "0", "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "nntune", *words, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def killed(search: Search, database: Path, events: int) -> None:
    """A search that is killed with trials begun, after it wrote so many transactions more."""
    process = started(search, database, 2)
    while not study.read(database).trials() and process.poll() is None:
        time.sleep(0.005)
    log = database.with_name(f"{database.name}-wal")
    seen: set[int] = set()
    while len(seen) < events and process.poll() is None:
        seen |= {log.stat().st_mtime_ns} if log.exists() else set()
        time.sleep(0.002)
    process.kill()
    _, messages = process.communicate(timeout=PATIENCE)
    assert (process.returncode, messages) == (-signal.SIGKILL, "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("table", [series, images, texts])
def test_a_killed_search_of_any_family_ends_as_if_undisturbed(table, tmp_path: Path) -> None:
    search = table(tmp_path)
    whole, cut = tmp_path / "whole.db", tmp_path / "cut.db"
    process = started(search, whole, 2)
    assert (process.communicate(timeout=PATIENCE)[1], process.returncode) == ("", 0)
    view = study.read(whole)
    models = {str(view.space.params(t.params).get("model", "mlp")) for t in view.trials()}
    assert models == search.families

    study.open_writer(cut, view.name, view.definition).close()
    killed(search, cut, 0)
    assert study.read(cut).counts()["running"] > 0
    killed(search, cut, 2)
    process = started(search, cut, 1)
    assert (process.communicate(timeout=PATIENCE)[1], process.returncode) == ("", 0)

    assert facts(study.read(cut)) == facts(view)
