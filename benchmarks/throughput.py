"""Trials trained per second: nntune's stacks beside the usual loops, in one run, one thread each.

    python -m benchmarks.throughput [--data digits8x8 phoneme] [--configurations 60] [--repeats 3]

Sixty configurations drawn from the default space train for ten epochs each. Contenders
alternate configuration by configuration, so that a change of the machine's speed hits all alike;
seconds are processor time, and of the repeats the median counts. Then the list with one
worker and with two, and those of at most 64 units again, each as a stack of 16.
"""

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks import loops
from benchmarks.datasets import TABLES, path_of
from nntune.data import Request, load
from nntune.networks import fastest_product
from nntune.products import bind
from nntune.retraining import problem_of
from nntune.space import build
from nntune.stacks import shape_of, stacks
from nntune.tpe import sobol
from nntune.training import Examples, Stack, train
from nntune.trials import Problem, Progress, Setting, Shape
from nntune.workers import Workers

_product = cache(fastest_product)  # measured once, not for every stack
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
    parser.add_argument("--shapes", action="store_true", help="stacks of 16 and parts of a step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    console = Console(width=130)
    if arguments.shapes:
        for name in arguments.data[:1]:
            if path := path_of(name):
                examples, problem = examples_of(Request(str(path), TABLES[name].target, bins=0))
                console.print(by_shape(name, examples, problem, arguments))
                console.print(by_part(name, examples, problem))
        return
    measured = {name: f"{rate:.0f}" for name, rate in rates().items()}
    console.print(f"matrix product limit, GFLOP/s: {measured}; in use: {_product()}")
    for name in arguments.data:
        if path := path_of(name):
            console.print(compare(name, str(path), arguments))
            console.print(scaling(str(path), TABLES[name].target, arguments))
            if "stock" not in arguments.skip:
                console.print(small(str(path), TABLES[name].target, arguments))


def compare(name: str, path: str, arguments: argparse.Namespace) -> Table:
    """All contenders on one data set."""
    examples, problem = examples_of(Request(path, TABLES[name].target, bins=0))
    configs = drawn(arguments.configurations, problem)
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


def scaling(path: str, target: str | None, arguments: argparse.Namespace) -> str:
    """Wall time of the whole list with one worker and with two, alternating."""
    dataset = load(Request(path, target, bins=0))
    train_rows, valid = dataset.train, dataset.valid
    arrays = {"x": train_rows.x, "y": train_rows.y, "x_valid": valid.x, "y_valid": valid.y}
    problem = problem_of(dataset)
    configs = drawn(arguments.configurations, problem)
    members = [member_of(number, config) for number, config in configs.items()]
    walls: dict[int, list[float]] = defaultdict(list)
    with Workers(1) as one, Workers(2) as two:
        for workers in (one, two):
            workers.share(arrays)
            for future in [workers.submit(fastest_product) for _ in range(8)]:
                future.result()  # all processes are there
        for _ in range(arguments.repeats):
            for workers in (one, two):
                start = time.perf_counter()
                futures = []
                for stack in stacks(members, configs, problem, workers.count):
                    setting = setting_of(configs[stack[0].number], problem)
                    futures.append(
                        workers.train(stack, setting, problem, arguments.epochs, math.inf)
                    )
                for future in futures:
                    future.result()
                walls[workers.count].append(time.perf_counter() - start)
    first, second = (statistics.median(walls[count]) for count in (1, 2))
    return f"wall: 1 worker {first:.2f} s, 2 workers {second:.2f} s, ratio {first / second:.2f}"


def small(path: str, target: str | None, arguments: argparse.Namespace) -> str:
    """The configurations of at most 64 units, each as a stack of 16, beside the stock loop."""
    examples, problem = examples_of(Request(path, target, bins=0))
    epochs = max(1, arguments.epochs // 5)
    ratios = []
    for config in drawn(arguments.configurations, problem).values():
        if config["units"] > 64:
            continue
        stack = [member_of(number, config) for number in range(16)]
        runs = (
            partial(train, stack, setting_of(config, problem), examples, epochs),
            partial(loops.stock, config, examples, problem, epochs),
        )
        found = [[timed(run)[0] for run in runs] for _ in range(arguments.repeats)]
        ours, stock = (statistics.median(column) for column in zip(*found, strict=True))
        ratios.append(16 * stock / ours)
    if not ratios:
        return "no configuration of at most 64 units"
    return (
        f"stacks of 16, the {len(ratios)} of at most 64 units: stock/ours median "
        f"{statistics.median(ratios):.1f}, least {min(ratios):.1f}, most {max(ratios):.1f}"
    )


def by_shape(
    name: str, examples: Examples, problem: Problem, arguments: argparse.Namespace
) -> Table:
    """Stacks of equal networks beside the loops, and beside the limit of their own products."""
    table = Table(title=f"{name}: stacks of one shape, dropout 0.2, one core")
    for heading in (
        "network", "batch", "members", "µs a member-step", "GFLOP/s", "% of limit", "stock/ours",
        "lean/ours",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for layers, units, batch_size, members in (
        (1, 16, 32, 16), (2, 32, 64, 16), (2, 64, 32, 16), (2, 64, 128, 16), (3, 64, 64, 16),
        (2, 128, 256, 8), (3, 128, 256, 4), (2, 256, 256, 2), (4, 256, 256, 1),
    ):  # fmt: skip
        config = {
            "hidden_layers": layers, "units": units, "shape": "flat", "dropout": 0.2, "l1": 0.0,
            "l2": 1e-5, "batch_size": batch_size, "lr": 1e-3, "activation": "relu",
            "optimizer": "adam",
        }  # fmt: skip
        setting = setting_of(config, problem)
        stack = [member_of(number, config) for number in range(members)]
        runs = [
            partial(train, stack, setting, examples, arguments.epochs),
            partial(loops.stock, config, examples, problem, arguments.epochs),
            partial(loops.lean, config, examples, problem, arguments.epochs),
        ]
        found = [[timed(run)[0] for run in runs] for _ in range(arguments.repeats)]
        ours, stock, lean = (statistics.median(column) for column in zip(*found, strict=True))
        ours /= members
        limit = max(rates(units, batch_size, members).values()) * 1e9
        operations = arguments.epochs * 6 * problem.rows * setting.shape.weights
        steps = arguments.epochs * math.ceil(problem.rows / batch_size)
        table.add_row(
            "-".join(map(str, (problem.inputs, *setting.shape.hidden, setting.shape.outputs))),
            str(batch_size), str(members), f"{ours / steps * 1e6:.0f}",
            f"{operations / ours / 1e9:.0f}", f"{100 * operations / ours / limit:.0f}",
            f"{stock / ours:.1f}", f"{lean / ours:.1f}",
        )  # fmt: skip
    return table


def by_part(name: str, examples: Examples, problem: Problem) -> Table:
    """Where the time of a step goes: each kind of prepared call, timed on its own."""
    table = Table(title=f"{name}: parts of a step, µs, dropout 0.2, l2")
    kinds = ("products", "other calls of the network", "noise", "optimizer", "loss", "whole step")
    for heading in ("network", "batch", "members", *kinds):
        table.add_column(heading, justify="right")
    for layers, units, batch_size, members in ((2, 32, 64, 16), (2, 64, 128, 8), (3, 128, 256, 1)):
        setting = Setting(
            Shape(problem.inputs, (units,) * layers, problem.classes or 1), batch_size, "adam",
            "log_loss" if problem.classes else "rmse", 10**6, 0, _product(),
        )  # fmt: skip
        stack_members = [
            Progress(n, lr=1e-3, l1=0.0, l2=1e-5, dropout=0.2, epochs=10**6) for n in range(members)
        ]
        with torch.inference_mode():
            parts = step_parts(Stack(stack_members, setting, examples))
        network = "-".join(map(str, (problem.inputs, *setting.shape.hidden)))
        cells = (f"{parts[kind] * 1e6:.0f}" for kind in kinds)
        table.add_row(network, str(batch_size), str(members), *cells)
    return table


def step_parts(stack: Stack) -> dict[str, float]:
    """Seconds of each part of one step, the least of many."""
    stack.train_epoch(math.inf)
    rows = next(iter(stack._networks))
    network, order = stack._networks[rows], torch.arange(rows)
    pulls = stack._pulls(order)[0]
    parts: dict[str, float] = defaultdict(float)
    for call in (*network._forward, *network._backward):
        is_product = "_bmm" in repr(call) or (
            getattr(call, "func", None) is np.matmul and call.args[1].shape[-1] > 1
        )
        parts["products" if is_product else "other calls of the network"] += least(call)
    if stack._noise is not None:
        ahead = stack._noise._ahead
        parts["noise"] = least(partial(stack._noise.draw, 0, rows))
        parts["noise"] += least(partial(stack._noise._fill, 0)) / ahead
    parts["optimizer"] = least(stack._optimizer.step)
    error = network.error
    parts["loss"] = least(partial(torch.softmax, network.outputs, 1, out=error)) + least(
        partial(torch.add, pulls, error, alpha=1 / rows, out=error)
    )
    parts["whole step"] = least(partial(stack._step, order, pulls, 0))
    return parts


def least(call: Callable[[], object], repeats: int = 200) -> float:
    """Processor seconds of a call, the least over groups of ten."""
    best = math.inf
    for _ in range(repeats // 10):
        start = time.process_time()
        for _ in range(10):
            call()
        best = min(best, (time.process_time() - start) / 10)
    return best


def rates(
    units: int = 64, rows: int = 128, members: int = 4, repeats: int = 10
) -> dict[str, float]:
    """Measured rate of each product in GFLOP/s on this machine now, float32.

    A repeat multiplies as a step does for a layer: forward, for the weights and for its inputs.
    """
    weights = torch.full((members, units, units), 0.5)
    inputs, outputs = torch.full((2, members, units, rows), 0.5)
    operations = 3 * 2 * members * units * units * rows
    found = {}
    for product in ("numpy", "torch"):
        calls = (
            bind(product, weights, inputs, torch.empty_like(outputs)),
            bind(product, outputs, inputs.mT, torch.empty_like(weights)),
            bind(product, weights.mT, outputs, torch.empty_like(inputs)),
        )
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            for call in calls:
                call()
            best = min(best, time.perf_counter() - start)
        found[product] = operations / best / 1e9
    return found


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
    examples = Examples(x, y, x_valid, y_valid, len(dataset.classes), dataset.target_scale)
    return examples, problem_of(dataset)


def drawn(count: int, problem: Problem) -> dict[int, dict[str, Any]]:
    """So many configurations of the default space, by number."""
    space = build({}, rows=problem.rows)
    points = sobol(space.distributions(), count, seed=0)
    return dict(enumerate(map(space.params, points)))


def member_of(number: int, config: dict[str, Any]) -> Progress:
    """A new trial that no patience stops."""
    keys = ("lr", "l1", "l2", "dropout")
    return Progress(number, **{key: float(config[key]) for key in keys}, epochs=10**6)


def setting_of(config: dict[str, Any], problem: Problem) -> Setting:
    """What a stack with this configuration shares."""
    return Setting(
        shape_of(config, problem), config["batch_size"], config["optimizer"],
        "log_loss" if problem.classes else "rmse", 10**6, 0, _product(),
    )  # fmt: skip


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
