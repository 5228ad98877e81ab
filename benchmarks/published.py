"""Published figures of tuned perceptrons beside what a plain search finds in the same minutes.

    python -m benchmarks.published [--data energy adult] [--time 5m] [--splits 5]

Each split deals rows anew, in the shares of the publication; the winner is refitted on all rows
that are not for the test. Publications used 20 splits of the small tables: five are the default
here, so a mean has twice their standard error. adult, hitters and MNIST have one.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import train_test_split

from benchmarks.datasets import FOLDER
from nntune import study
from nntune.bundle.evaluation import evaluate
from nntune.bundle.refit import Wanted, refit
from nntune.metrics import METRICS
from nntune.report import number


class Published(NamedTuple):
    """A figure to reach.

    Attributes:
        file: the table.
        target: its column; None where the file says it.
        metric: of the test rows.
        bound: a mean at least as good is wanted.
        share: of the rows for the test; 0 where the file has them.
        splits: at most so many are worth it.
        source: who published what.
    """

    file: str
    target: str | None
    metric: str
    bound: float
    share: float
    splits: int
    source: str


_GAL = "Gal & Ghahramani's code: grid search, 20 splits"
FIGURES = {
    "energy": Published("bench/energy/energy.csv", "heating_load", "rmse", 0.54, 0.1, 20, _GAL),
    "concrete": Published("bench/concrete/concrete.csv", "strength", "rmse", 4.82, 0.1, 20, _GAL),
    "kin8nm": Published("bench/kin8nm/kin8nm.csv.gz", "y", "rmse", 0.079, 0.1, 20, _GAL),
    "wine_quality_red": Published(
        "bench/wine_quality_red/wine_quality_red.csv", "quality", "rmse", 0.62, 0.1, 20, _GAL
    ),
    "protein": Published("bench/protein/protein.csv.gz", "RMSD", "rmse", 4.0, 0.1, 5, _GAL),
    "california_housing": Published(
        "bench/california_housing/california_housing.csv", "median_house_value", "rmse", 49_500,
        0.2, 5, "TabM's tuned perceptron, 21 minutes of an A100",
    ),
    "adult": Published(
        "bench/adult/adult.csv.gz", "income", "accuracy", 0.854, 0.2, 1, "TabM's tuned perceptron"
    ),
    "hitters": Published(
        "ship/hitters/hitters.csv", "Salary", "mae", 235, 1 / 3, 1, "ISLP's lab: 221.8 on its split"
    ),
    "mnist": Published(
        "bench/mnist/mnist.npz", None, "accuracy", 0.982, 0, 1, "ISLR's network with dropout"
    ),
}  # fmt: skip


def main() -> None:
    """Prints a line a search, then a row a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--time", default="5m")
    parser.add_argument("--splits", type=int, default=5)
    arguments = parser.parse_args()
    table = Table("data", "metric", "splits", "published", "test", "± sd", "reached")
    for name in arguments.data:
        figure, values = FIGURES[name], list[float]()
        for split in range(min(arguments.splits, figure.splits)):
            values.append(tested(figure, split, arguments.time))
            print(name, split, values[-1], flush=True)
        mean = statistics.mean(values)
        spread = number(statistics.stdev(values)) if len(values) > 1 else "-"
        is_reached = mean == figure.bound or METRICS[figure.metric].better(mean, figure.bound)
        table.add_row(
            name, figure.metric, str(len(values)), f"{figure.bound:g}", number(mean), spread,
            "yes" if is_reached else "no",
        )  # fmt: skip
    Console(width=120).print(table)


def tested(figure: Published, split: int, duration: str) -> float:
    """The refitted winner's value on the test rows of a split."""
    with tempfile.TemporaryDirectory() as folder:
        db, (source, test) = Path(folder, "study.db"), dealt(figure, split, Path(folder))
        command = [sys.executable, "-m", "nntune", "search", source, "--time", duration, "--quiet"]
        command += ["--db", str(db), "--seed", str(split)]
        command += ["--target", figure.target] if figure.target else []
        command += ["--test", test] if figure.share else []
        command += ["--metric", "mae"] if figure.metric == "mae" else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        bundle = refit(study.read(db), Wanted()).bundle
        return evaluate(bundle, test, figure.target or bundle.target).metrics[figure.metric]


def dealt(figure: Published, split: int, folder: Path) -> tuple[str, str]:
    """Files of the rows to search on and of the test rows."""
    path = FOLDER / figure.file
    if not figure.share:
        arrays, test = np.load(path), folder / "test.npz"
        np.savez(test, X=arrays["X_test"], y=arrays["y_test"])
        return str(path), str(test)
    rows = pd.read_csv(path, sep=None, engine="python", keep_default_na=False)
    rows = rows[rows[figure.target] != ""]
    # ISLP's split of hitters is this one with a seed of 1.
    parts = train_test_split(rows, test_size=figure.share, random_state=split + 1)
    files = folder / "train.csv", folder / "test.csv"
    for part, file in zip(parts, files, strict=True):
        part.to_csv(file, index=False)
    return str(files[0]), str(files[1])


if __name__ == "__main__":
    main()
