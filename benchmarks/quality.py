"""What a search finds: its best network's validation and test values beside untuned models.

    python -m benchmarks.quality [--data energy concrete] [--time 60s] [--seeds 3]

Every model sees the same training rows of the same split, nntune's trials with or without bins. The
search sees the validation rows too, to choose; the test rows are read once, after it. The winner's
network is trained again from its number, which gives the weights it had in the search.
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.datasets import TABLES, path_of
from benchmarks.throughput import examples_of
from nntune import study
from nntune.data import Request, load, load_test
from nntune.metrics import METRICS
from nntune.networks import Perceptrons
from nntune.report import number
from nntune.stacks import shape_of
from nntune.study import Trial, View
from nntune.training import train
from nntune.trials import Progress, Setting

QUALITY = (
    "digits8x8", "phoneme", "credit_g", "adult", "concrete", "energy", "kin8nm",
    "california_housing",
)  # fmt: skip
PEERS = ("linear", "default MLP", "boosting")


class Scores(NamedTuple):
    """Values of one model on one split; accuracy is nan for regression."""

    valid: float
    test: float
    accuracy: float


def main() -> None:
    """Prints a row for each data set: means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=TABLES, default=QUALITY)
    parser.add_argument("--time", default="60s")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title=f"nntune search --time {arguments.time}, means of {arguments.seeds} seeds")
    headings = ("data", "metric", "model", "valid", "test", "± sd", "test accuracy", "trials")
    for heading in headings:
        left = heading in ("data", "metric", "model")
        table.add_column(heading, justify="left" if left else "right")
    wins = 0
    for name in arguments.data:
        if path := path_of(name):
            wins += add_rows(table, name, path, arguments)
    console = Console(width=120)
    console.print(table)
    console.print(f"nntune's test value beats the default MLP's on {wins} of {len(arguments.data)}")


def add_rows(table: Table, name: str, path: Path, arguments: argparse.Namespace) -> bool:
    """Fills in one data set; whether nntune's mean beats the default network's."""
    found: dict[str, list[Scores]] = defaultdict(list)
    trials = []
    for seed in range(arguments.seeds):
        request = Request(str(path), TABLES[name].target, seed=seed)
        scores, metric, count = searched(request, arguments.time)
        trials.append(count)
        found["nntune"].append(scores)
        for peer in PEERS:
            found[peer].append(untuned(peer, request, metric, seed))
        done = {model: number(each[-1].test) for model, each in found.items()}
        print(name, seed, done, flush=True)
    means = {model: statistics.mean(s.test for s in each) for model, each in found.items()}
    for model, each in found.items():
        spread = statistics.stdev(s.test for s in each) if len(each) > 1 else math.nan
        table.add_row(
            name if model == "nntune" else "",
            metric if model == "nntune" else "",
            model,
            number(statistics.mean(s.valid for s in each)),
            number(means[model]),
            number(spread),
            number(statistics.mean(s.accuracy for s in each)),
            f"{statistics.mean(trials):.0f}" if model == "nntune" else "",
        )
    table.add_section()
    return METRICS[metric].better(means["nntune"], means["default MLP"])


def searched(request: Request, duration: str) -> tuple[Scores, str, int]:
    """Runs the command line as a user would, then opens the test rows."""
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder, "study.db")
        target = ["-t", request.target] if request.target else []
        command = [
            sys.executable, "-m", "nntune", "search", request.source, *target,
            "--time", duration, "--seed", str(request.seed), "--db", str(db), "--quiet",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        view = study.read(db)
        best = view.best()
        assert best is not None
        metric = view.definition.metric
        count = sum(view.counts().values())
    return retrained(view, best, request), metric, count


def retrained(view: View, trial: Trial, request: Request) -> Scores:
    """Values of a trial's best network, which is trained again: to the bit what the search had."""
    assert trial.epoch is not None
    trained, test = _again(view, trial, request, trial.epoch)
    assert trained.best is not None
    assert trained.value == trial.value, (trained.value, trial.value)
    return Scores(trained.value, *test(trained.best))


def answered(view: View, request: Request) -> Scores:
    """Values of the network that `nntune best` names: the confirmed winner's after that epoch.

    It learns from the training rows alone, where `nntune refit` would add the validation rows.
    """
    trial, confirmation = view.judged()
    assert trial is not None
    if confirmation is None:
        return retrained(view, trial, request)
    trained, test = _again(view, trial, request, confirmation["confirmed"]["epoch"])
    assert trained.average is not None
    return Scores(trained.curve[-1], *test(trained.average))


def _again(
    view: View, trial: Trial, request: Request, until: int
) -> tuple[Progress, Callable[[np.ndarray], tuple[float, float]]]:
    """A trial trained again until an epoch, and what tests weights of it: metric, accuracy."""
    params, definition = view.space.params(trial.params), view.definition
    metric, product = definition.metric, definition.training["product"]
    examples, problem = examples_of(request)
    setting = Setting(
        shape_of(params, problem), params["batch_size"], params["optimizer"], metric, 10**6,
        definition.seed, product,
    )  # fmt: skip
    keys = ("lr", "l1", "l2", "dropout")
    member = Progress(trial.number, **{k: params[k] for k in keys}, epochs=until + 1)
    # One epoch more than it is trained for: what has ended keeps no average.
    split = load_test(request)

    def test(weights: np.ndarray) -> tuple[float, float]:
        network = Perceptrons(setting.shape, torch.from_numpy(weights)[None], len(split.x), product)
        network.inputs.copy_(torch.from_numpy(split.x[:, : setting.shape.inputs]))
        network.forward()
        return scored(network.outputs, torch.from_numpy(split.y), metric, examples.scale)

    return train([member], setting, examples, until)[0], test


def scored(
    outputs: torch.Tensor, y: torch.Tensor, metric: str, scale: float
) -> tuple[float, float]:
    """The metric, and accuracy where there are classes, of outputs (1, C, N)."""
    value = METRICS[metric].formula(outputs, y, scale).item()
    classes = metric not in ("rmse", "mae", "r2")
    return value, METRICS["accuracy"].formula(outputs, y, 1).item() if classes else math.nan


def untuned(peer: str, request: Request, metric: str, seed: int) -> Scores:
    """A scikit-learn model with its defaults on the same rows, without bins."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    request = replace(request, bins=0)
    dataset, test = load(request), load_test(request)
    if dataset.classes:
        model = {
            "linear": LogisticRegression(max_iter=1000),
            "default MLP": MLPClassifier(random_state=seed),
            "boosting": HistGradientBoostingClassifier(random_state=seed),
        }[peer]
    else:
        model = {
            "linear": Ridge(),
            "default MLP": MLPRegressor(random_state=seed),
            "boosting": HistGradientBoostingRegressor(random_state=seed),
        }[peer]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the default network does not converge in 200 epochs
        model.fit(dataset.train.x, dataset.train.y)
    values = []
    for split in (dataset.valid, test):
        if dataset.classes:
            with np.errstate(divide="ignore"):
                outputs = np.log(np.clip(model.predict_proba(split.x), 1e-15, 1)).T
        else:
            outputs = model.predict(split.x)[None]
        tensor = torch.from_numpy(outputs.copy())[None]
        values.append(scored(tensor, torch.from_numpy(split.y), metric, dataset.target_scale))
    return Scores(values[0][0], values[1][0], values[1][1])


if __name__ == "__main__":
    main()
