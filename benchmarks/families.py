"""Images and series: a search each, and its winner on test rows that no search has seen.

Every line is one `nntune search` of a few minutes and one refit on training and validation rows;
the seed is fixed, the test rows are the official ones where there are any. A goal is what is
published for networks of the kind, see docs/families.md.

    python -m benchmarks.families [NAME ...] [--minutes M] [--workers N]
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.datasets import FOLDER
from nntune import session
from nntune.bundle import Predictor
from nntune.bundle.evaluation import evaluate
from nntune.bundle.refit import Wanted, refit
from nntune.bundle.scoring import score
from nntune.data import Request
from nntune.data.plan import plan_of
from nntune.data.table import Table
from nntune.study import View


@dataclass(frozen=True)
class Goal:
    """A search, and what its winner should reach on the test rows.

    Attributes:
        source: file within the folder of the data.
        minutes: of the search.
        value: of the metric, at least.
        data: options of the data, as nntune.search has them.
        space: ranges.
        ensemble: so many of the best are averaged, if that is better on validation rows.
    """

    source: str
    minutes: float
    value: float
    target: str | None = None
    metric: str = "accuracy"
    data: Mapping[str, object] = field(default_factory=dict)
    space: Mapping[str, object] = field(default_factory=dict)
    ensemble: int = 1


def _series(name: str, minutes: float, value: float, **more: object) -> Goal:
    space = {"model": "cnn", "pool": "none,max", "gather": "mean,flatten", **more}
    data = {"series": True, "test": f"ship/{name}/{name}_test.csv"}
    source = f"ship/{name}/{name}_train.csv"
    return Goal(source, minutes, value, "label", data=data, space=space)


GOALS = {
    "digits8x8": Goal(
        "ship/digits8x8/digits8x8.csv", 2, 0.985, "digit", data={"image": "8x8"},
        space={"model": "cnn", "augment": "none,shift", "epochs": 60},
    ),
    "mnist_5k": Goal(
        "ship/mnist_5k/mnist_5k.npz", 5, 0.975,
        space={"model": "cnn", "channels": "16,32", "augment": "none,shift", "epochs": 30},
    ),
    "mnist": Goal(
        "bench/mnist/mnist.npz", 10, 0.992,
        space={
            "model": "cnn", "blocks": "2,3", "channels": 16, "head": "64,128", "epochs": 15,
            "gather": "flatten", "augment": "shift", "batch_size": "64,128", "lr": "1e-3:1e-2:log",
        },
    ),
    "mnist1d": Goal(
        "bench/mnist1d/mnist1d_train.csv.gz", 5, 0.93, "label",
        data={"series": True, "test": "bench/mnist1d/mnist1d_test.csv.gz"},
        space={"model": "cnn", "augment": "none,shift", "epochs": 100},
    ),
    "gunpoint": _series("gunpoint", 2, 0.99),
    "arrowhead": _series("arrowhead", 2, 0.84),
    "italy_power": _series("italy_power", 2, 0.96),
    "basic_motions": Goal("ship/basic_motions/basic_motions.npz", 1, 1.0),
    "nyse": Goal(
        "ship/nyse/nyse.csv", 2, 0.46, "log_volume", "r2",
        data={"time_col": "date", "lags": 5}, space={"model": "mlp,rnn"}, ensemble=5,
    ),
}  # fmt: skip


def nyse_files(source: Path, folder: Path, lags: int) -> tuple[Path, Path]:
    """The book's split: days before 1980 train, later ones test, with the days before them."""
    with source.open() as file:
        head, *rows = csv.reader(file)
    training = [row[:-1] for row in rows if row[-1] == "TRUE"]
    test = training[-lags:] + [row[:-1] for row in rows if row[-1] == "FALSE"]
    paths = folder / "nyse_train.csv", folder / "nyse_test.csv"
    for path, part in zip(paths, (training, test), strict=True):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([head[:-1], *part])
    return paths


def searched(name: str, goal: Goal, folder: Path, workers: int) -> tuple[View, Request]:
    """The study, and how its data were read."""
    source, options = FOLDER / goal.source, dict(goal.data)
    if name == "nyse":
        source, test = nyse_files(source, folder, int(str(options["lags"])))
        options["test"] = test
    elif "test" in options:
        options["test"] = FOLDER / str(options["test"])
    view = session.search(
        source, goal.target, time=60 * goal.minutes, space=goal.space, metric=goal.metric,
        db=folder / f"{name}.db", study=name, workers=workers, keep=max(3, goal.ensemble),
        **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return view, Request(**view.definition.data["request"])


def tested(view: View, request: Request, goal: Goal) -> float:
    """The metric of the winner, trained on training and validation rows, on the test rows."""
    bundle = refit(view, Wanted(ensemble=goal.ensemble)).bundle
    if request.lags is not None:
        return evaluate(bundle, str(request.test)).metrics[goal.metric]
    plan, predictor = plan_of(request), Predictor(bundle)
    rows = plan.parts.test
    table = Table("test", {name: cells.take(rows) for name, cells in plan.test.columns.items()})
    values = predictor.values(table)
    y = plan.target.values(table.columns[plan.target.name], "test")
    return score(bundle.task, values, np.asarray(y), [goal.metric])[goal.metric]


def main() -> None:
    """Prints a line for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GOALS))
    parser.add_argument("--minutes", type=float, help="of each search, instead of its own")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    print(
        f"{'data':14} {'goal':>6} {'test':>7}  {'valid':>7}  {'trials':>6} {'minutes':>7}  winner"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or GOALS:
            goal = GOALS[name]
            if arguments.minutes:
                goal = Goal(**{**vars(goal), "minutes": arguments.minutes})
            started = time.monotonic()
            view, request = searched(name, goal, Path(folder), arguments.workers)
            best = view.best()
            assert best is not None
            minutes = (time.monotonic() - started) / 60
            value = tested(view, request, goal)
            mark = "" if value >= goal.value else "  below its goal"
            model = view.space.params(best.params).get("model", "mlp")
            print(
                f"{name:14} {goal.value:6.3f} {value:7.4f}  {best.value:7.4f}  "
                f"{len(view.trials()):6} {minutes:7.1f}  {model} #{best.number}{mark}",
                flush=True,
            )


if __name__ == "__main__":
    main()
