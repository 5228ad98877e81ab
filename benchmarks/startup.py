"""How long questions take to answer, beside what loading the terminal's libraries takes.

`python -m benchmarks.startup [--runs N]` times `nntune --help`, `best` and `trials` on a small
study and a bare `import typer, rich`, in turns, and prints medians and their ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

LIMIT = 3.0
PENGUINS = Path(__file__).parents[1] / "studies" / "penguins.csv"
NNTUNE = [sys.executable, "-m", "nntune"]
BARE = "import typer, rich"
COMMANDS = {
    BARE: [sys.executable, "-c", BARE],
    "nntune --help": [*NNTUNE, "--help"],
    "nntune best": [*NNTUNE, "best"],
    "nntune trials": [*NNTUNE, "trials"],
}


def seconds(command: list[str], folder: str) -> float:
    """Wall-clock time of a command that has to succeed; it keeps its bytecode, as usual."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measured(runs: int) -> dict[str, float]:
    """Median of each command, which take turns so that all see the same machine."""
    with TemporaryDirectory() as folder:
        search = [*NNTUNE, "search", str(PENGUINS), "-t", "species", "--trials", "32", "--quiet"]
        seconds(search, folder)
        for command in COMMANDS.values():
            seconds(command, folder)
        found: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(runs):
            for name, command in COMMANDS.items():
                found[name].append(seconds(command, folder))
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    medians = measured(parser.parse_args().runs)
    for name, median in medians.items():
        print(f"{name:20} {median * 1000:6.0f} ms  {median / medians[BARE]:5.2f}")
    if max(medians.values()) > LIMIT * medians[BARE]:
        sys.exit(f"slower than {LIMIT} times {BARE}")


if __name__ == "__main__":
    main()
