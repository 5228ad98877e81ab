"""Seconds to a value: nntune beside the scripts of benchmarks.peers, on the same rows.

    python -m benchmarks.time_to_quality [--data phoneme adult] [--seeds 0] [--time 60 120]

All start from nothing, one after the other, with two processes each; the clock runs from the start
of the process. nntune gets the first time, with its confirmation in it, and the others the second
one, after which they are killed. Each sees the same training and validation rows; the value
is that of the validation rows, lower being better, and the test value is that of the same network,
not trained again with more rows. What nntune answers in the end is its confirmed winner, whose test
value stands beside that of its best validation value. Scripts read standardised numbers and a
feature for each category, nntune the table, of whose numbers it may also make bins.

    --log FILE       appends every better value as a line of JSON
    --from FILE      prints what such a log says, without searching
    --picture FILE   draws the curves
"""

import argparse
import json
import math
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.datasets import TABLES, path_of
from benchmarks.peers import SCRIPTS, Rows, write
from benchmarks.quality import QUALITY, answered, retrained
from benchmarks.throughput import examples_of
from nntune import study
from nntune.data import Request, load_test
from nntune.report import number

_LABELS = {
    "nntune": "nntune",
    "usual": "Optuna, usual script",
    "lean": "Optuna, lean script",
    "random": "scikit-learn, random search",
    "halving": "scikit-learn, halving",
}
_MOMENTS = (5, 10, 20, 30, 60, 120)  # seconds at which values are printed
_POLL = 0.1  # seconds between looks at nntune's study


class Found(NamedTuple):
    """A value that was better than those before it."""

    at: float  # seconds since the start of the process
    valid: float
    test: float  # nan where it was not asked for


class Run(NamedTuple):
    """What one contender found on one data set with one seed."""

    data: str
    seed: int
    contender: str
    found: list[Found]
    answer: float = math.nan  # test value of what nntune names as its winner in the end

    def until(self, seconds: float) -> Found:
        """The best one by then."""
        return min(
            (each for each in self.found if each.at <= seconds),
            key=lambda each: each.valid,
            default=Found(math.inf, math.inf, math.nan),
        )

    def reached(self, valid: float) -> float:
        """When a value was as good; infinite if it never was."""
        return min((each.at for each in self.found if each.valid <= valid), default=math.inf)


def main() -> None:
    """Prints curves and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=TABLES, default=QUALITY)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--time", type=int, nargs=2, default=[60, 120])
    parser.add_argument("--peers", nargs="*", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--from", type=Path, dest="earlier")
    arguments = parser.parse_args()
    runs = list(remembered(arguments.earlier) if arguments.earlier else searched(arguments))
    console = Console(width=130)
    console.print(curves(runs), *summaries(runs, *arguments.time), sep="\n")
    if arguments.picture:
        picture(runs, arguments.picture)


def remembered(path: Path) -> Iterator[Run]:
    for line in path.read_text().splitlines():
        data, seed, contender, found, *answer = json.loads(line)
        yield Run(data, seed, contender, [Found(*each) for each in found], *answer)


def searched(arguments: argparse.Namespace) -> Iterator[Run]:
    torch.set_num_threads(1)
    for name in arguments.data:
        if not (path := path_of(name)):
            continue
        for seed in arguments.seeds:
            request = Request(str(path), TABLES[name].target, seed=seed)
            ours, later = arguments.time
            runs = [Run(name, seed, "nntune", *nntune(request, ours))]
            for peer in arguments.peers:
                runs.append(Run(name, seed, peer, script(peer, request, later)))
            for run in runs:
                last = [*run.until(math.inf), run.answer]
                told = last if math.isfinite(run.answer) else last[:-1]  # scripts name no winner
                print(name, seed, run.contender, *map(number, told), flush=True)
                if arguments.log:
                    with arguments.log.open("a") as file:
                        print(json.dumps(run), file=file)
                yield run


def nntune(request: Request, seconds: int) -> tuple[list[Found], float]:
    """The command line as a user types it, watched from outside; the test value of its answer."""
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder, "study.db")
        target = ["-t", request.target] if request.target else []
        command = [
            sys.executable, "-m", "nntune", "search", request.source, *target, "--quiet",
            "--time", f"{seconds}s", "--seed", str(request.seed), "--db", str(db),
        ]  # fmt: skip
        start, seen = time.time(), list[tuple[float, float, int, int]]()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                time.sleep(_POLL)
                seen += [(time.time() - start, *each) for each in best_rung(db)]
        assert process.returncode == 0
        view, found = study.read(db), list[Found]()
        for at, valid, trial, rung in seen:
            if found and valid >= found[-1].valid:
                continue
            curve = view.curve(trial)[:rung]
            reached = view.trial(trial)._replace(value=valid, epoch=curve.index(min(curve)) + 1)
            found.append(Found(at, valid, retrained(view, reached, request).test))
        return found, answered(view, request).test


def best_rung(db: Path) -> Iterable[tuple[float, int, int]]:
    """The best value of any trial, ended or not, its number, and the epoch at which it was told."""
    if not db.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
            return connection.execute(
                "SELECT intermediate_value, number, step FROM trial_intermediate_values "
                "JOIN trials USING (trial_id) WHERE intermediate_value_type = 'FINITE' "
                "ORDER BY 1 LIMIT 1"
            ).fetchall()
    except sqlite3.OperationalError:  # its tables are being made
        return []


def script(peer: str, request: Request, seconds: int) -> list[Found]:
    """A script, killed when its time is over."""
    request = replace(request, bins=0)
    examples, problem = examples_of(request)
    test = load_test(request)
    rows = Rows(
        examples, torch.from_numpy(test.x), torch.from_numpy(test.y), problem,
        "log_loss" if problem.classes else "rmse",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write(rows, Path(folder))
        command = [sys.executable, "-m", "benchmarks.peers", peer, folder, str(request.seed)]
        start = time.time()
        process = subprocess.Popen(command, start_new_session=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            raise RuntimeError(f"{peer} ended by itself with {process.returncode}")
        lines = [
            json.loads(line)
            for path in Path(folder).glob("found-*.jsonl")
            for line in path.read_text().splitlines()
        ]
    found = list[Found]()
    for at, valid, tested in sorted(lines):
        if not found or valid < found[-1].valid:
            found.append(Found(at - start, valid, tested))
    return found


def curves(runs: list[Run]) -> Table:
    """The best value of each contender at some moments, and the same network's test value."""
    table = Table("data", "contender", title="value (test value) after so many seconds, means")
    last = max(each.at for run in runs for each in run.found)
    moments = [second for second in _MOMENTS if second <= 2 * last]
    for second in moments:
        table.add_column(f"{second} s", justify="right")
    for (name, contender), own in grouped(runs):
        bests = [[run.until(second) for run in own] for second in moments]
        cells = (
            f"{number(statistics.mean(each.valid for each in best))} "
            f"({number(statistics.mean(each.test for each in best))})"
            if all(math.isfinite(each.valid) for each in best)
            else ""
            for best in bests
        )
        table.add_row(name if contender == "nntune" else "", _LABELS[contender], *cells)
    return table


def picture(runs: list[Run], path: Path) -> None:
    """Steps over time, a panel for each data set and a line for each search."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(run.data for run in runs))
    rows = math.ceil(len(names) / 2)
    figure = Figure(figsize=(11, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False)
    for name, axes in zip(names, panels.flat, strict=False):
        axes.set(title=name, xlabel="seconds", ylabel="best validation value", xscale="log")
        worst = math.inf
        for index, contender in enumerate(_LABELS):
            for run in (r for r in runs if (r.data, r.contender) == (name, contender)):
                x, y = [each.at for each in run.found], [each.valid for each in run.found]
                label = _LABELS[contender] if run.seed == runs[0].seed else None
                axes.step(x, y, where="post", color=f"C{index}", label=label)
                worst = min(worst, y[0])
        axes.set_ylim(top=worst)
    panels.flat[0].legend()
    figure.savefig(path)


def grouped(runs: list[Run]) -> Iterator[tuple[tuple[str, str], list[Run]]]:
    """The runs of each contender on each data set."""
    keys = dict.fromkeys((run.data, run.contender) for run in runs)
    for key in keys:
        yield key, [run for run in runs if (run.data, run.contender) == key]


def summaries(runs: list[Run], ours: int, later: int) -> Iterator[Table]:
    """How soon nntune is where each script ends, and their test values.

    A value that nntune does not reach in its time counts as reached in all of the scripts' time.
    """
    by = {(run.data, run.seed, run.contender): run for run in runs}
    peers = [peer for peer in SCRIPTS if any(run.contender == peer for run in runs)]
    table = Table(
        title=f"seconds to the value that a script has after {later} s: its own / nntune's"
    )
    values = Table(
        title=f"test values: nntune's after {ours} s, scripts' after {later} s; mean ± sd"
    )
    for each in (table, values):
        each.add_column("data")
    values.add_column("nntune's answer", justify="right")
    values.add_column("its best value", justify="right")
    for peer in peers:
        table.add_column(_LABELS[peer], justify="right")
        values.add_column(_LABELS[peer], justify="right")
    ratios: dict[str, list[float]] = {peer: [] for peer in peers}
    for name in dict.fromkeys(run.data for run in runs):
        seeds = [seed for data, seed, contender in by if data == name and contender == "nntune"]
        row, tests = [name], [name]
        own = [by[name, seed, "nntune"] for seed in seeds]
        tests.append(_spread([run.answer for run in own]))
        tests.append(_spread([run.until(ours).test for run in own]))
        for peer in peers:
            pairs = []
            for seed in seeds:
                last = by[name, seed, peer].until(later)
                reached = by[name, seed, "nntune"].reached(last.valid)
                pairs.append((last.at, min(reached, later)))
            theirs, mine = (statistics.geometric_mean(side) for side in zip(*pairs, strict=True))
            ratios[peer].append(theirs / mine)
            missed = sum(at == later for _, at in pairs)
            note = f" ({missed} of {len(pairs)} not reached)" if missed else ""
            row.append(f"{theirs:.0f} / {mine:.1f} = {theirs / mine:.1f}{note}")
            tests.append(_spread([by[name, seed, peer].until(later).test for seed in seeds]))
        table.add_row(*row)
        values.add_row(*tests)
    table.add_section()
    means = map(statistics.geometric_mean, ratios.values())
    table.add_row("geometric mean", *(f"{mean:.1f}" for mean in means))
    yield table
    yield values


def _spread(values: list[float]) -> str:
    spread = f" ± {number(statistics.stdev(values))}" if len(values) > 1 else ""
    return number(statistics.mean(values)) + spread


if __name__ == "__main__":
    main()
