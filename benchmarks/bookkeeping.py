"""Ask, tell and storage of a trial with training taken out, beside Optuna's own; and start-up.

    python -m benchmarks.bookkeeping [--trials 1000 10000] [--optuna 20] [--starts 7]

A search runs on results that are made up in an instant; its last brackets before each number of
trials are timed. Optuna has its defaults, TPESampler, MedianPruner and SQLite, with a report after
each epoch, in a study that holds as many trials with the same curves. Curves are those of a
network that improves at a rate and to a floor which depend on the learning rate; drawing them is
not counted. Processor seconds tell more than wall seconds where other programs run.

Start-up is the time from the start of `nntune search sklearn:digits --trials 1 --epochs 1` to the
line that reports the trial, against that of `python -c "import torch"`; the two alternate.
"""

import argparse
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from nntune.search import Plan, Search
from nntune.space import Space, build
from nntune.stops import Budget
from nntune.study import Definition, Trial, Writer, open_writer, read
from nntune.trials import Problem, Progress, Setting
from nntune.workers import Workers

PROBLEM = Problem(64, 1437, 10)  # the size of sklearn:digits
BRACKETS = 4  # timed at each size

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Seconds = dict[str, np.ndarray]  # part to (wall, processor) seconds


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--optuna", type=int, default=20, help="trials timed with Optuna")
    parser.add_argument("--starts", type=int, default=7, help="starts timed of each program")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table(
        "at trials", "", "ms a trial", "processor ms", "ask", "report", "other",
        title=f"Bookkeeping; nntune over {BRACKETS * Plan().width} trials",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ours.db")
        for trials in sorted(arguments.trials):
            table.add_row(f"{trials:,}", "nntune", *shown(ours(path, trials), BRACKETS * 32))
            if trials == min(arguments.trials) and arguments.optuna:
                theirs = optunas(path, Path(folder, "optuna.db"), arguments.optuna)
                table.add_row(f"{trials:,}", "Optuna", *shown(theirs, arguments.optuna))
    Console().print(table)
    if arguments.starts:
        Console().print(starts(arguments.starts))


def shown(seconds: Seconds, trials: int) -> list[str]:
    """Milliseconds a trial: wall, processor, then the parts in wall time."""
    rest = seconds["all"] - seconds["ask"] - seconds["report"]
    whole = [f"{1e3 * each / trials:.2f}" for each in seconds["all"]]
    parts = (seconds["ask"], seconds["report"], rest)
    return whole + [f"{1e3 * part[0] / trials:.2f}" for part in parts]


class Clock:
    """Wall and processor seconds spent in calls, by name."""

    def __init__(self) -> None:
        self.seconds: Seconds = defaultdict(lambda: np.zeros(2))

    def timed(self, name: str, call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """The same call with its time taken; `name` with a minus is time that does not count."""

        def run(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
            began = np.array([time.perf_counter(), time.process_time()])
            try:
                return call(*arguments, **named)
            finally:
                spent = np.array([time.perf_counter(), time.process_time()]) - began
                if name.startswith("-"):
                    self.seconds["all"] -= spent
                else:
                    self.seconds[name] += spent

        return run


def curve(number: int, params: dict[str, Any], epochs: int) -> tuple[float, ...]:
    """Made-up losses of a trial, epoch after epoch, falling to a floor."""
    noise = random.Random(number)
    miss = abs(math.log10(params["lr"]) + 2.7) + noise.random()
    floor, pace = 0.1 + 0.2 * miss, 2 + 4 * miss
    return tuple(
        floor + math.exp(-epoch / pace) + 0.02 * noise.random() for epoch in range(1, epochs + 1)
    )


class Instant(Workers):
    """Workers that make results up."""

    def __init__(self, space: Space, path: Path, clock: Clock) -> None:
        super().__init__(0)
        self._space, self._params = space, dict[int, dict[str, Any]]()
        self._made = clock.timed("-made up", self._results)

    def __enter__(self) -> "Instant":
        return self

    def begun(self, trials: Sequence[tuple[int, dict[str, Any], Any]]) -> None:
        """Remember what the trials are."""
        self._params |= {number: self._space.params(params) for number, params, _ in trials}

    def train(
        self,
        members: Sequence[Progress],
        setting: Setting,
        problem: Problem,
        until: int,
        deadline: float,
    ) -> "Future[list[Progress]]":
        future: Future[list[Progress]] = Future()
        future.set_result(self._made(members, until, setting.patience))
        return future

    def _results(self, members: Sequence[Progress], until: int, patience: int) -> list[Progress]:
        return [self._result(member, until, patience) for member in members]

    def _result(self, member: Progress, until: int, patience: int) -> Progress:
        epoch = min(until, member.epochs)
        values = curve(member.number, self._params[member.number], epoch)
        best = int(np.argmin(values))
        outcome = "epochs" if epoch == member.epochs else ""
        if epoch - best > patience:
            outcome = "early stop"
        return member._replace(
            epoch=epoch, outcome=outcome, value=values[best], loss=values[best],
            best_epoch=best + 1, curve=values, seconds=member.seconds + 1e-3,
        )  # fmt: skip


def definition(space: Space) -> Definition:
    return Definition(
        data={
            "source": "made up",
            "target": "y",
            "task": "multiclass",
            "fingerprint": "made up",
            "counts": {"train": PROBLEM.rows, "valid": 360},
        },
        space={each.name: each.text for each in space.hyperparameters},
        metric="log_loss",
        direction="minimize",
        seed=0,
        sampler="tpe",
        pruner="halving",
        training={**Plan()._asdict(), "rungs": list(Plan().rungs), "product": "torch"},
        versions={},
        command="",
    )


def ours(path: Path, trials: int) -> Seconds:
    """Time of the last brackets of a search, which goes on from what the file holds."""
    space = build({}, rows=PROBLEM.rows)
    clock = Clock()
    with (
        open_writer(path, "ours", definition(space)) as writer,
        Instant(space, path, clock) as workers,
    ):
        watch(writer, workers, clock)
        search = Search(writer, space, PROBLEM, workers)
        search._propose = clock.timed("ask", search._propose)  # type: ignore[assignment]
        drain(search, trials - BRACKETS * Plan().width)
        clock.seconds.clear()
        clock.timed("all", drain)(search, trials)
    return clock.seconds


def watch(writer: Writer, workers: Instant, clock: Clock) -> None:
    """Times what the writer stores, and tells the workers what was asked."""
    begin = clock.timed("ask", writer.begin)

    def begun(bracket: int, trials: Sequence[tuple[int, dict[str, Any], Any]]) -> None:
        clock.timed("-made up", workers.begun)(trials)
        begin(bracket, trials)

    writer.begin = begun  # type: ignore[method-assign]
    writer.report = clock.timed("report", writer.report)  # type: ignore[method-assign]


def drain(search: Search, trials: int) -> None:
    for _ in search.run(Budget(trials)):
        pass


def optunas(made: Path, path: Path, trials: int) -> Seconds:
    """Time of some more trials of Optuna in a study that holds all trials of ours."""
    space = build({}, rows=PROBLEM.rows)
    view = read(made)
    study = optuna.create_study(
        storage=f"sqlite:///{path}",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(),
    )
    prefill(study, space, [(trial, view.curve(trial.number)) for trial in view.trials()])
    clock = Clock()
    draw = clock.timed("-made up", curve)
    ask = clock.timed("ask", partial(asked, study, space))
    tell = clock.timed("report", study.tell)

    def run() -> None:
        for _ in range(trials):
            trial, params = ask()
            report, prune = (clock.timed("report", c) for c in (trial.report, trial.should_prune))
            state, values = TrialState.COMPLETE, draw(trial.number, params, params["epochs"])
            for epoch, value in enumerate(values, 1):
                report(value, epoch)
                if prune():
                    state = TrialState.PRUNED
                    break
            tell(trial, value if state == TrialState.COMPLETE else None, state=state)

    clock.timed("all", run)()
    return clock.seconds


def asked(study: optuna.Study, space: Space) -> tuple[optuna.Trial, dict[str, Any]]:
    trial = study.ask()
    return trial, space.suggest(trial)


def starts(repeats: int) -> Table:
    """Seconds to import torch and to the end of a search's first epoch, alternating."""
    torch, ours = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        torch.append(time.perf_counter() - began)
        ours.append(first_epoch())
    table = Table("start-up", "median s", "least s", "ratio of medians")
    middle = [statistics.median(each) for each in (torch, ours)]
    table.add_row("import torch", f"{middle[0]:.2f}", f"{min(torch):.2f}", "1.00")
    ratio = f"{middle[1] / middle[0]:.2f}"
    table.add_row("first epoch of digits", f"{middle[1]:.2f}", f"{min(ours):.2f}", ratio)
    return table


def first_epoch() -> float:
    """Seconds from the start of a search to the report of its first epoch."""
    command = [sys.executable, "-m", "nntune", "search", "sklearn:digits", "--trials", "1"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--epochs", "1"], cwd=folder, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("bracket"))
        seconds = time.perf_counter() - began
        process.communicate()
    return seconds


def prefill(
    study: optuna.Study, space: Space, trials: Sequence[tuple[Trial, Sequence[float]]]
) -> None:
    distributions = space.distributions()
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    study.add_trials(
        optuna.trial.create_trial(
            state=states[trial.state],
            value=trial.value,
            params=trial.params,
            distributions={name: distributions[name] for name in trial.params},
            intermediate_values=dict(enumerate(values, 1)),
        )
        for trial, values in sorted(trials)
    )


if __name__ == "__main__":
    main()
