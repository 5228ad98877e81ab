"""Trials trained per second: nntune's stacks beside the usual loops, in one run, one thread each.

    python -m benchmarks.throughput [--data digits8x8 phoneme] [--configurations 60] [--repeats 3]

Sixty configurations drawn from the default space train for ten epochs each. Contenders
alternate configuration by configuration, so that a change of the machine's speed hits all alike;
seconds are processor time, and of the repeats the median counts.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks import loops
from benchmarks.datasets import TABLES, path_of
from nntune.data import Request, load
from nntune.products import fastest, rates
from nntune.space import build
from nntune.stacks import shape_of, stacks
from nntune.tpe import sobol
from nntune.training import Examples, train
from nntune.trials import Problem, Progress, Setting

CONTENDERS: dict[str, Callable[..., float]] = {
    "stock": loops.stock,
    "lean": loops.lean,
    "sklearn": loops.sklearn,
}


def main() -> None:
    """Prints a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    chosen = ("digits8x8", "phoneme", "california_housing", "mnist_5k")
    parser.add_argument("--data", nargs="+", choices=TABLES, default=chosen)
    parser.add_argument("--configurations", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--skip", nargs="*", default=[], choices=[*CONTENDERS, "vmap"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    console = Console(width=130)
    measured = {name: f"{rate:.0f}" for name, rate in rates().items()}
    console.print(f"matrix product limit, GFLOP/s: {measured}; in use: {fastest()}")
    for name in arguments.data:
        if path := path_of(name):
            console.print(compare(name, str(path), arguments))


def compare(name: str, path: str, arguments: argparse.Namespace) -> Table:
    """All contenders on one data set."""
    examples, problem = examples_of(Request(path, TABLES[name].target))
    space = build({}, rows=problem.rows)
    drawn = sobol(space.distributions(), arguments.configurations, seed=0)
    configs = dict(enumerate(space.params(params) for params in drawn))
    seconds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    wall: dict[str, float] = defaultdict(float)
    members = [member_of(number, config) for number, config in configs.items()]
    common = (examples, problem, arguments.epochs)
    for _ in range(arguments.repeats):
        for stack in stacks(members, configs, problem, workers=1):
            own = {member.number: configs[member.number] for member in stack}
            setting = setting_of(configs[stack[0].number], problem)
            ours = partial(train, stack, setting, examples, arguments.epochs)
            runs = [("nntune", list(own), ours)]
            if "vmap" not in arguments.skip:
                theirs = partial(loops.vmap, list(own.values()))
                runs.append(("vmap", list(own), partial(theirs, *common)))
            for contender, loop in CONTENDERS.items():
                if contender not in arguments.skip:
                    runs += [(contender, [n], partial(loop, c, *common)) for n, c in own.items()]
            for contender, numbers, run in runs:
                cpu, clock = timed(run)
                wall[contender] += clock
                for number in numbers:
                    seconds[contender][number].append(cpu / len(numbers))
    medians = {
        contender: {n: statistics.median(found) for n, found in by_config.items()}
        for contender, by_config in seconds.items()
    }
    wall = {contender: total / arguments.repeats for contender, total in wall.items()}
    return drawn_table(name, medians, wall, configs, problem, arguments.epochs)


def drawn_table(
    name: str,
    medians: dict[str, dict[int, float]],
    wall: dict[str, float],
    configs: dict[int, dict[str, Any]],
    problem: Problem,
    epochs: int,
) -> Table:
    ours = medians["nntune"]
    steps = {n: epochs * -(-problem.rows // c["batch_size"]) for n, c in configs.items()}
    operations = {
        n: 6 * problem.rows * epochs * shape_of(c, problem).weights for n, c in configs.items()
    }
    limit = max(rates().values()) * 1e9
    table = Table(title=f"{name}: {len(configs)} configurations, {epochs} epochs, one core")
    for heading in (
        "contender", "CPU s", "wall s", "ratio of sums", "median ratio", "least", "most",
        "steps/s", "% of limit",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for contender, theirs in medians.items():
        ratio = [theirs[n] / ours[n] for n in ours]
        total = sum(theirs.values())
        table.add_row(
            contender,
            f"{total:.2f}",
            f"{wall[contender]:.2f}",
            f"{total / sum(ours.values()):.2f}",
            f"{statistics.median(ratio):.2f}",
            f"{min(ratio):.2f}",
            f"{max(ratio):.2f}",
            f"{sum(steps.values()) / total:.0f}",
            f"{100 * sum(operations.values()) / total / limit:.0f}",
        )
    return table


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Processor and wall seconds of a call."""
    cpu, clock = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - clock


def examples_of(request: Request) -> tuple[Examples, Problem]:
    """A table as the workers hold it."""
    dataset = load(request)
    arrays = (dataset.train.x, dataset.train.y, dataset.valid.x, dataset.valid.y)
    x, y, x_valid, y_valid = map(torch.from_numpy, arrays)
    classes = len(dataset.classes)
    examples = Examples(x, y, x_valid, y_valid, classes, dataset.target_scale)
    return examples, Problem(x.shape[1], len(x), classes, dataset.target_scale)


def member_of(number: int, config: dict[str, Any]) -> Progress:
    """A new trial that no patience stops."""
    keys = ("lr", "l1", "l2", "dropout")
    return Progress(number, **{key: float(config[key]) for key in keys}, epochs=10**6)


def setting_of(config: dict[str, Any], problem: Problem) -> Setting:
    """What a stack with this configuration shares."""
    return Setting(
        shape_of(config, problem), config["batch_size"], config["optimizer"],
        "log_loss" if problem.classes else "rmse", 10**6, 0, fastest(),
    )  # fmt: skip


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
