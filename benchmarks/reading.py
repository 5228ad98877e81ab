"""How long questions about a large study take, whole processes, in processor seconds.

    python -m benchmarks.reading [--trials 10000] [--runs 5]

The study is made up as in `benchmarks.bookkeeping`. Limits are half a second for best, trials and
compare, and ten for report; `import typer, rich` is what any command takes. Ends with 1 beyond a
limit.
"""

import argparse
import compileall
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

import nntune
from benchmarks.bookkeeping import ours

NNTUNE = [sys.executable, "-m", "nntune"]
ANSWERS = {
    "import typer, rich": ([sys.executable, "-c", "import typer, rich.console, rich.table"], 0.5),
    "best": ([*NNTUNE, "best", "--db", "ours.db"], 0.5),
    "trials": ([*NNTUNE, "trials", "--db", "ours.db"], 0.5),
    "trials --top 10000": ([*NNTUNE, "trials", "--db", "ours.db", "--top", "10000"], 0.5),
    "trials --json": ([*NNTUNE, "trials", "--db", "ours.db", "--json"], 0.5),
    "compare": ([*NNTUNE, "compare", "12", "30", "--db", "ours.db"], 0.5),
    "report": ([*NNTUNE, "report", "--db", "ours.db", "--force"], 10.0),
}  # fmt: skip


def processor_seconds(command: list[str], folder: str) -> float:
    """User and system time of a command that has to succeed."""
    before = os.times()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    table = Table("", "least s", "most s", "limit", title=f"{arguments.trials:,} trials")
    missed = []
    with TemporaryDirectory() as folder:
        ours(Path(folder, "ours.db"), arguments.trials)
        compileall.compile_dir(nntune.__path__[0], quiet=1)  # as an installed package is
        for name, (command, limit) in ANSWERS.items():
            taken = [processor_seconds(command, folder) for _ in range(arguments.runs)]
            table.add_row(
                name,
                f"{min(taken):.2f}",
                f"{max(taken):.2f}",
                f"{limit:g}",
            )
            missed += [name] * (min(taken) > limit)
    Console().print(table)
    if missed:
        sys.exit(f"beyond the limit: {', '.join(missed)}")


if __name__ == "__main__":
    main()
