"""Images, series and text: a search each, and its winner on test rows that no search has seen.

Every line is one `nntune search` of a few minutes and one refit on training and validation rows;
`core min` is the processor time of its trials, which is what to compare where others use the cores;
the seed is fixed, the test rows are the official ones where there are any. A goal is what is
published for networks of the kind, see docs/families.md. Of a text stands beside it what the best
linear model on the same terms has (docs/text.md), its strength chosen on the same validation rows.

    python -m benchmarks.families [NAME ...] [--minutes M] [--workers N] [--deal N]

An official split of a few series says little; `--deal N` deals those of both its files out anew, as
many of each class to each.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.datasets import FOLDER
from nntune import session
from nntune.bundle import Predictor
from nntune.bundle.evaluation import evaluate
from nntune.bundle.refit import Wanted, refit
from nntune.bundle.scoring import score
from nntune.data import Request
from nntune.data.learning import learning_of
from nntune.data.plan import Plan, plan_of
from nntune.data.table import Table
from nntune.study import View
from nntune.verdict.baselines import baselines, names_of, predictions


@dataclass(frozen=True)
class Goal:
    """A search, and what its winner should reach on the test rows.

    Attributes:
        source: file within the folder of the data.
        minutes: of the search.
        value: of the metric, at least; of rmse, at most.
        data: options of the data, as nntune.search has them.
        space: ranges.
        chosen_by: another metric that the search goes by.
        is_text: a linear model on the same terms is tested too.
        ensemble: at most so many of the best are averaged, see refit --ensemble.
        seeds: so many networks of each, see refit --seeds.
        confirm: as nntune.search has it; 0 leaves the whole time to the search.
        trials: at most so many.
    """

    source: str
    minutes: float
    value: float
    target: str | None = None
    metric: str = "accuracy"
    data: Mapping[str, object] = field(default_factory=dict)
    space: Mapping[str, object] = field(default_factory=dict)
    ensemble: int = 1
    seeds: int = 1
    chosen_by: str | None = None
    is_text: bool = False
    confirm: int | None = None
    trials: int | None = None


def _series(name: str, minutes: float, value: float, **space: object) -> Goal:
    # Of 36 to 67 training rows a fifth would be too few to choose by: folds use them all.
    data = {"series": True, "test": f"ship/{name}/{name}_test.csv", "cv": 5}
    source, ranges = f"ship/{name}/{name}_train.csv", {"model": "cnn", **space}
    return Goal(
        source, minutes, value, "label", data=data, space=ranges, ensemble=5, seeds=5,
        chosen_by="log_loss",
    )  # fmt: skip


def _long(name: str, minutes: float, value: float, trials: int, **space: object) -> Goal:
    """More steps than rows: few networks, as the FCN of Wang et al. 2017, trained to the end."""
    few = {"batch_size": "8,16", "lr": "1e-3:1e-2:log", "kernel": "7,9", **space}
    return replace(_series(name, minutes, value, **few), trials=trials, confirm=0)


def _text(source: str, value: float, target: str, **data: object) -> Goal:
    """A choice by log loss, which says more than a count of hits, judged by accuracy."""
    return Goal(source, 5, value, target, data=data, chosen_by="log_loss", is_text=True, ensemble=5)


GOALS = {
    "digits8x8": Goal(
        "ship/digits8x8/digits8x8.csv", 2, 0.985, "digit", data={"image": "8x8"},
        space={"model": "cnn", "augment": "none,shift", "epochs": 60}, seeds=5,
    ),
    "mnist_5k": Goal(
        "ship/mnist_5k/mnist_5k.npz", 5, 0.975,
        space={
            "model": "cnn", "blocks": "2,3", "channels": 16, "kernel": 3, "batch_size": "32,64",
            "lr": "1e-3:1e-2:log", "augment": "shift", "epochs": 20, "l2": 0,
        },
        chosen_by="log_loss", ensemble=3, trials=9, confirm=0,
    ),
    "mnist": Goal(
        "bench/mnist/mnist.npz", 10, 0.992,
        space={
            "model": "cnn", "blocks": "2,3", "channels": 16, "kernel": 3, "head": "64,128",
            "gather": "flatten", "augment": "shift", "batch_size": "64,128", "lr": "1e-3:1e-2:log",
            "epochs": 15, "l2": 0,
        },
        chosen_by="log_loss", confirm=0,
    ),
    "mnist1d": Goal(
        "bench/mnist1d/mnist1d_train.csv.gz", 5, 0.93, "label",
        data={"series": True, "test": "bench/mnist1d/mnist1d_test.csv.gz"},
        space={"model": "cnn", "augment": "none,shift", "epochs": 100},
    ),
    "gunpoint": _long("gunpoint", 5, 0.99, 12, channels=16),
    # What was best on eleven other small sets of series, see docs/families.md.
    "arrowhead": _series(
        "arrowhead", 8, 0.84, blocks=3, channels=32, kernel="7,9", lr="3e-4:3e-3:log", batch_size=8,
        epochs=150,
    ),
    "italy_power": _series("italy_power", 5, 0.96),
    "basic_motions": Goal("ship/basic_motions/basic_motions.npz", 1, 1.0),
    "sms_spam": _text("bench/sms_spam/sms_spam.csv", 0.985, "label"),
    "rt_polarity": _text("bench/rt_polarity/rt_polarity.csv.gz", 0.765, "sentiment"),
    "trec": _text(
        "bench/trec/trec_train.csv", 0.885, "coarse",
        test="bench/trec/trec_test.csv", ignore=("fine",), cv=5, case="kept",
    ),
    "books_pt": _text("bench/books_pt/books_pt.csv", 0.90, "sentimento"),
    "imdb_10k": _text("bench/imdb_10k/imdb_10k.csv.gz", 0.885, "sentiment"),
    "ag_news_7600": _text("bench/ag_news_7600/ag_news_7600.csv.gz", 0.88, "topic"),
    "vader_amazon": Goal(
        "ship/vader_amazon/vader_amazon.csv", 5, 1.17, "valence", "rmse", is_text=True, ensemble=5
    ),
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


def dealt(source: Path, test: Path, target: str, folder: Path, deal: int) -> tuple[Path, Path]:
    """The rows of both files as two other ones, with as many rows of each class as these have."""
    with source.open() as one, test.open() as other:
        (head, *first), (_, *second) = csv.reader(one), csv.reader(other)
    rows, place = np.array(first + second), head.index(target)
    draw, chosen = np.random.default_rng(deal), list[int]()
    for label in sorted(set(rows[:, place])):
        count = sum(row[place] == label for row in first)
        chosen += draw.permutation(np.flatnonzero(rows[:, place] == label))[:count].tolist()
    parts = rows[sorted(chosen)], np.delete(rows, chosen, 0)
    paths = folder / f"{deal}_{source.name}", folder / f"{deal}_{test.name}"
    for path, part in zip(paths, parts, strict=True):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([head, *part.tolist()])
    return paths


def searched(name: str, goal: Goal, folder: Path, workers: int, deal: int) -> tuple[View, Request]:
    """The study, and how its data were read."""
    source, options = FOLDER / goal.source, dict(goal.data)
    if name == "nyse":
        source, test = nyse_files(source, folder, int(str(options["lags"])))
        options["test"] = test
    elif "test" in options:
        options["test"] = FOLDER / str(options["test"])
        if deal:
            files = source, options["test"], str(goal.target)
            source, options["test"] = dealt(*files, folder, deal)
    view = session.search(
        source, goal.target, time=60 * goal.minutes, space=goal.space,
        metric=goal.chosen_by or goal.metric,
        db=folder / f"{name}.db", study=name, workers=workers, keep=max(3, goal.ensemble),
        confirm=goal.confirm, trials=goal.trials,
        **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return view, Request(**view.definition.data["request"])


def tested(view: View, request: Request, goal: Goal) -> float:
    """The metric of the winner, trained on training and validation rows, on the test rows."""
    bundle = refit(view, Wanted(ensemble=goal.ensemble, seeds=goal.seeds)).bundle
    if request.lags is not None:
        return evaluate(bundle, str(request.test)).metrics[goal.metric]
    plan, predictor = plan_of(request), Predictor(bundle)
    table, y = test_rows(plan)
    return score(bundle.task, predictor.values(table), y, [goal.metric])[goal.metric]


def test_rows(plan: Plan) -> tuple[Table, np.ndarray]:
    """The test rows, and what is true of them."""
    rows = plan.parts.test
    table = Table("test", {name: cells.take(rows) for name, cells in plan.test.columns.items()})
    return table, np.asarray(plan.target.values(table.columns[plan.target.name], "test"))


def linear(request: Request, goal: Goal) -> float:
    """The same of logistic regression, or ridge, of the strength that is best in validation."""
    plan = plan_of(request)
    searched, learnt = learning_of(plan, "train"), learning_of(plan, "train+valid")
    name = names_of(plan.target.task, searched.train.terms)[1]
    found = baselines(searched, goal.chosen_by or goal.metric, request.seed)
    params = next(each.params for each in found if each.name == name)
    table, y = test_rows(plan)
    values = predictions(name, params, learnt, learnt.encoder.transform(table), request.seed)
    return score(plan.target.task, values, y, [goal.metric])[goal.metric]


def main() -> None:
    """Prints a line for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GOALS))
    parser.add_argument("--minutes", type=float, help="of each search, instead of its own")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--deal", type=int, default=0, help="of an official split's rows, from 1 on"
    )
    arguments = parser.parse_args()
    print(
        f"{'data':14} {'goal':>6} {'test':>7}  {'valid':>7}  {'trials':>6} {'minutes':>7} "
        f"{'core min':>8}  winner"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or GOALS:
            goal = GOALS[name]
            if arguments.minutes:
                goal = replace(goal, minutes=arguments.minutes)
            started = time.monotonic()
            view, request = searched(name, goal, Path(folder), arguments.workers, arguments.deal)
            best = view.best()
            assert best is not None
            minutes = (time.monotonic() - started) / 60
            busy = sum(trial.seconds for trial in view.trials()) / 60
            value = tested(view, request, goal)
            is_good = goal.value >= value if goal.metric == "rmse" else value >= goal.value
            mark = "" if is_good else "  short of its goal"
            mark = f"{mark}  linear {linear(request, goal):.4f}" if goal.is_text else mark
            model = view.space.params(best.params).get("model", "mlp")
            print(
                f"{name:14} {goal.value:6.3f} {value:7.4f}  {best.value:7.4f}  "
                f"{len(view.trials()):6} {minutes:7.1f} {busy:8.1f}  {model} #{best.number}{mark}",
                flush=True,
            )


if __name__ == "__main__":
    main()
