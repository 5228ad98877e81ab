"""What a search says of its cost before it starts."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

SEARCH = [sys.executable, "-m", "nntune", "search", "made.npz", "--trials", "1", "--time", "3s"]


def said(folder: Path, rows: int, *flags: str) -> str:
    """Standard error of a short search on made-up numbers."""
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    np.savez(folder / "made.npz", X=x, y=(x[:, 0] > 0).astype(np.int64))
    run = subprocess.run(
        [*SEARCH, "--epochs", "1", *flags], cwd=folder, capture_output=True, text=True, check=False
    )
    return run.stderr


def test_a_search_of_long_epochs_says_what_they_cost_before_it_starts(tmp_path: Path) -> None:
    lines = said(tmp_path, 40_000, "--batch-size", "1", "--bins", "0").splitlines()
    place = next(place for place, line in enumerate(lines) if "an epoch of the default" in line)
    assert "the encoded data take less than 1 MB" in lines[place]
    assert re.search(r" about (\d\.\d|\d{2,}) s on one core$", lines[place])
    assert "new" in lines[place + 1]


def test_a_small_search_says_nothing_of_its_cost(tmp_path: Path) -> None:
    assert "an epoch of the default" not in said(tmp_path, 300)
