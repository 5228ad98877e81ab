"""What validating on folds gains on small tables: test values of the refitted winner, seed by seed.

    python -m benchmarks.folds [--data energy hitters] [--time 60s] [--seeds 0 1 2] [--cv 0 5]

With the same seconds an arm with folds tries fewer configurations; --trials gives all arms the
same number instead. Test rows are the same for all arms of a seed, and are read once, by the
refitted winner.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.datasets import TABLES, path_of
from nntune import study
from nntune.bundle.predictor import Predictor
from nntune.bundle.refit import Wanted, refit
from nntune.bundle.scoring import score
from nntune.data.table import Table as Rows
from nntune.report import number
from nntune.retraining import plan_again

SMALL = ("penguins", "hitters", "energy", "credit_g", "concrete", "digits8x8")


def main() -> None:
    """Prints a line a search, then means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=TABLES, default=SMALL)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--time", default="60s")
    budget.add_argument("--trials", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cv", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    table = Table("data", "metric", "folds", "searched", "test", "± sd", "trials")
    for name in arguments.data:
        found = defaultdict(list)
        for seed in arguments.seeds if path_of(name) else ():
            for cv in arguments.cv:
                found[cv].append(searched(name, seed, cv, arguments))
                print(name, seed, cv, *found[cv][-1], flush=True)
        for cv, runs in found.items():
            values, tests, trials = zip(*(run[1:] for run in runs), strict=True)
            spread = statistics.stdev(tests) if len(tests) > 1 else 0.0
            figures = map(number, (*map(statistics.mean, (values, tests)), spread))
            table.add_row(name, runs[0][0], str(cv), *figures, f"{statistics.mean(trials):.0f}")
    Console(width=100).print(table)


def searched(
    name: str, seed: int, cv: int, arguments: argparse.Namespace
) -> tuple[str, float, float, int]:
    """Metric, searched value, test value and trials of one search."""
    path, target = path_of(name), TABLES[name].target
    budget = (
        ("--time", arguments.time)
        if arguments.trials is None
        else ("--trials", str(arguments.trials))
    )
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder, "study.db")
        command = [
            sys.executable, "-m", "nntune", "search", str(path), "-t", str(target), "--cv", str(cv),
            *budget, "--seed", str(seed), "--db", str(db), "--quiet",
            "--workers", str(arguments.workers),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        view = study.read(db)
        best, metric = view.best(), view.definition.metric
        assert best is not None
        assert best.value is not None
        predictor = Predictor(refit(view, Wanted()).bundle)
        plan, count = plan_again(view), sum(view.counts().values())
    cells = plan.test.columns[plan.target.name].take(plan.parts.test)
    rows = {column: each.take(plan.parts.test) for column, each in plan.test.columns.items()}
    test = Rows(plan.test.name, rows)
    y = np.asarray(plan.target.values(cells, plan.test.name))
    value = score(plan.target.task, predictor.values(test), y, [metric])[metric]
    return metric, best.value, value, count


if __name__ == "__main__":
    main()
