"""Scripts that people write instead of nntune, each searching its default space, but for bins.

    python -m benchmarks.peers usual folder 0  # what benchmarks.time_to_quality starts

A folder holds `rows.npz`, the rows that nntune sees, encoded without bins, and `problem.json`. Each
better value is a line of JSON in `found-PROCESS.jsonl`: the moment, the value on the validation
rows, and the same network's on the test rows, which nothing is chosen by.
"""

import argparse
import json
import math
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.loops import lean_epochs, stock_epochs
from nntune.metrics import METRICS
from nntune.space import Space, build
from nntune.training import Examples
from nntune.trials import Problem

_PATIENCE = 20  # epochs: without it the scripts would lose on trainings that are long over


class Rows(NamedTuple):
    """What every contender is given."""

    examples: Examples
    x_test: torch.Tensor
    y_test: torch.Tensor
    problem: Problem
    metric: str

    @property
    def space(self) -> Space:
        return build({}, rows=self.problem.rows)

    def values(self, predict: Callable[[torch.Tensor], torch.Tensor]) -> tuple[float, float]:
        """The metric on validation and test rows of outputs (N, C)."""
        formula, scale = METRICS[self.metric].formula, self.examples.scale
        pairs = ((self.examples.x_valid, self.examples.y_valid), (self.x_test, self.y_test))
        valid, test = (float(formula(predict(x).T[None], y, scale)) for x, y in pairs)
        return valid, test


class Log:
    """Keeps the better values of one process, lower being better."""

    def __init__(self, folder: Path) -> None:
        self._path, self._best = folder / f"found-{os.getpid()}.jsonl", math.inf

    def add(self, valid: float, test: float) -> None:
        if valid < self._best:
            self._best = valid
            with self._path.open("a") as file:
                print(json.dumps((time.time(), valid, test)), file=file)


def read(folder: Path) -> Rows:
    problem, metric = json.loads((folder / "problem.json").read_text())
    arrays = {key: torch.from_numpy(each) for key, each in np.load(folder / "rows.npz").items()}
    x, y, x_valid, y_valid, x_test, y_test = arrays.values()
    known = Problem(*problem)
    examples = Examples(x, y, x_valid, y_valid, known.classes, known.scale)
    return Rows(examples, x_test, y_test, known, metric)


def write(rows: Rows, folder: Path) -> None:
    each = rows.examples
    arrays = (each.x, each.y, each.x_valid, each.y_valid, rows.x_test, rows.y_test)
    np.savez(folder / "rows.npz", *(array.numpy() for array in arrays))
    (folder / "problem.json").write_text(json.dumps((list(rows.problem), rows.metric)))


def usual(folder: Path, seed: int) -> None:
    """Optuna as its examples use it: TPE, median pruner, SQLite, a report an epoch."""
    from optuna.pruners import MedianPruner

    _optuna(folder, seed, MedianPruner(), stock_epochs)


def lean(folder: Path, seed: int) -> None:
    """Optuna as an expert would: Hyperband, batches cut from memory, fused Adam."""
    from optuna.pruners import HyperbandPruner

    pruner = HyperbandPruner(max_resource=int(read(folder).space["epochs"].choices[0]))
    _optuna(folder, seed, pruner, lean_epochs)


def _optuna(folder: Path, seed: int, pruner: Any, loop: Callable[..., Any]) -> None:
    import optuna
    from sqlalchemy.exc import OperationalError

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows, log = read(folder), Log(folder)
    space = rows.space
    create = partial(
        optuna.create_study, study_name="study", storage=f"sqlite:///{folder}/optuna.db",
        load_if_exists=True, sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner,
    )  # fmt: skip
    try:
        study = create()
    except OperationalError:  # the other process has made the tables at the same moment
        time.sleep(1)
        study = create()

    def objective(trial: optuna.Trial) -> float:
        config, best, since = space.suggest(trial), math.inf, 0
        networks = loop(config, rows.examples, rows.problem)
        for epoch, network in enumerate(islice(networks, int(config["epochs"]))):
            network.eval()
            with torch.no_grad():
                valid, test = rows.values(network)
            network.train()
            if not math.isfinite(valid):
                raise optuna.TrialPruned
            log.add(valid, test)
            best, since = (valid, 0) if valid < best else (best, since + 1)
            trial.report(valid, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            if since == _PATIENCE:
                break
        return best

    study.optimize(objective)


def random(folder: Path, seed: int) -> None:
    """scikit-learn's RandomizedSearchCV over its own network."""
    from sklearn.model_selection import RandomizedSearchCV

    estimator, ranges, common = _sklearn(folder, seed)
    RandomizedSearchCV(estimator, ranges, n_iter=10_000, random_state=seed, **common[0]).fit(
        *common[1]
    )


def halving(folder: Path, seed: int) -> None:
    """scikit-learn's HalvingRandomSearchCV over its own network, epochs the resource, in rounds."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV

    estimator, ranges, common = _sklearn(folder, seed)
    epochs = estimator.max_iter
    while True:
        HalvingRandomSearchCV(
            estimator, ranges, n_candidates=32, resource="max_iter", random_state=seed,
            min_resources=max(1, epochs // 27), max_resources=epochs, **common[0],
        ).fit(*common[1])  # fmt: skip
        seed += 1000


def _sklearn(folder: Path, seed: int) -> tuple[Any, dict[str, Any], Any]:
    """The network, its ranges, and what both searches are given: options, and X with y."""
    from scipy.stats import loguniform
    from sklearn.model_selection import PredefinedSplit
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    rows = read(folder)
    space, each = rows.space, rows.examples
    kind = MLPClassifier if rows.problem.classes else MLPRegressor
    layers, units = space["hidden_layers"], space["units"].choices
    ranges = {
        "hidden_layer_sizes": [
            (width,) * depth
            for depth in range(int(layers.low), int(layers.high) + 1)
            for width in units
        ],
        "alpha": loguniform(space["l2"].low, space["l2"].high),
        "batch_size": list(space["batch_size"].choices),
        "learning_rate_init": loguniform(space["lr"].low, space["lr"].high),
    }
    x, y = torch.cat((each.x, each.x_valid)).numpy(), torch.cat((each.y, each.y_valid)).numpy()
    fold = np.repeat((-1, 0), (len(each.x), len(each.x_valid)))
    options = {
        "scoring": Scorer(folder), "n_jobs": 2, "refit": False, "cv": PredefinedSplit(fold),
        "error_score": math.nan,
    }  # fmt: skip
    network = kind(max_iter=int(space["epochs"].choices[0]), random_state=seed)
    return network, ranges, (options, (x, y))


@cache
def _kept(folder: Path) -> tuple[Rows, Log]:
    """Read once in each of scikit-learn's processes."""
    return read(folder), Log(folder)


class Scorer:
    """Scores a fitted network on the validation rows, and keeps what it finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, estimator: Any, x: Any, y: Any) -> float:
        rows, log = _kept(self.folder)

        def predict(x: torch.Tensor) -> torch.Tensor:
            if rows.problem.classes:
                found = np.log(np.clip(estimator.predict_proba(x.numpy()), 1e-15, 1))
            else:
                found = estimator.predict(x.numpy())[:, None]
            return torch.from_numpy(found)

        valid, test = rows.values(predict)
        log.add(valid, test)
        return -valid


SCRIPTS = {"usual": usual, "lean": lean, "random": random, "halving": halving}
PROCESSES = {"usual": 2, "lean": 2, "random": 1, "halving": 1}  # scikit-learn's start their own


def main() -> None:
    """Runs a script in as many processes as it is usual to start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("script", choices=SCRIPTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"  # of scikit-learn's processes
    script, count = SCRIPTS[arguments.script], PROCESSES[arguments.script]
    for process in range(1, count):
        context = multiprocessing.get_context("spawn")
        seed = arguments.seed + 100 * process
        context.Process(target=script, args=(arguments.folder, seed), daemon=True).start()
    script(arguments.folder, arguments.seed)


if __name__ == "__main__":
    from benchmarks import peers  # what scikit-learn sends to its processes has to have a home

    peers.main()
