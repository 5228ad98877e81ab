"""What a verdict is worth: a simulated truth, the word "beats", and eight data sets.

    python -m benchmarks.verdict truth [--studies 50]
    python -m benchmarks.verdict words [--studies 50]
    python -m benchmarks.verdict data [--data energy wage] [--trials 64]

The first makes studies in which all configurations are equally good, so that a search can only find
luck, and compares what it says with what new seeds and new rows say. The second makes tables on
which a linear model is as good as anything, and tables with a little more to find, and counts how
often the network's lead on validation rows passes a number of standard errors, and what 5,000 new
rows say of it. The third runs the command line as a user would, on real tables, and prints rows for
docs/verdict.md.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nntune
from benchmarks.datasets import TABLES, path_of
from nntune.bundle import forward
from nntune.data import load, load_test
from nntune.retraining import Retrainer, request_of
from nntune.study import View
from nntune.verdict.replicas import Replicas, replica_seed
from nntune.wording import number
from nntune.workers import Workers

VERDICTS = (
    "hitters", "wage", "default", "kin8nm", "energy", "concrete", "phoneme", "digits8x8",
)  # fmt: skip
# Penalties too weak to be felt are all that is tuned: every configuration is as good as any other.
ALIKE = {
    "l2": "1e-12:1e-11:log", "dropout": 0, "lr": 0.02, "units": 16, "hidden_layers": 1,
    "batch_size": 64, "epochs": 15,
}  # fmt: skip
_REPLICAS = 10  # that the truth is a mean of
KINDS = (("ridge", "lasso", "logistic_l1", "logistic_l2"), ("boosting",))
BARS = (1.0, 2.0, 3.0, 4.0)  # standard errors
CURVATURES = (0.0, 0.3)


def main() -> None:
    """Prints one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("truth", "words", "data"))
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--data", nargs="+", choices=TABLES, default=VERDICTS)
    parser.add_argument("--trials", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.what == "truth":
        simulate(arguments.studies)
        return
    if arguments.what == "words":
        count_words(arguments.studies, arguments.trials)
        return
    for name in arguments.data:
        if path := path_of(name):
            print(row(name, path, arguments.trials), flush=True)


def simulate(studies: int) -> None:
    """Prints how far each value is from the truth on average, and the standard error of that."""
    found = [_study(number) for number in range(studies)]
    print("| value | minus truth of seeds | minus truth of seeds and rows |")
    print("|---|---|---|")
    for name in ("searched", "best epoch of each replica", "mean that ranked", "confirmed"):
        cells = [_bias([each[name] - each[truth] for each in found]) for truth in ("seeds", "rows")]
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    truths = [statistics.mean(each[truth] for each in found) for truth in ("seeds", "rows")]
    print(f"rmse of new seeds: {truths[0]:.4f} on the validation rows, {truths[1]:.4f} on new rows")


def _bias(gaps: Sequence[float]) -> str:
    mean, se = statistics.mean(gaps), statistics.stdev(gaps) / len(gaps) ** 0.5
    return f"{mean:+.4f} ± {se:.4f} ({abs(mean) / se:.1f} standard errors)"


def _study(seed: int) -> dict[str, float]:
    """One study on rows of its own; its new rows are a file of test rows."""
    with tempfile.TemporaryDirectory() as folder:
        draws = np.random.default_rng(seed)
        path, new = Path(folder, "alike.csv"), Path(folder, "new.csv")
        _write(path, draws, 250)
        _write(new, draws, 5000)
        view = nntune.search(
            path, "y", test=new, trials=32, space=ALIKE, seed=seed, db=Path(folder, "s.db")
        )
        content = view.confirmation()
        best = view.best()
        assert content is not None
        assert best is not None
        assert best.value is not None
        ranked = content["candidates"][0]
        return {
            "searched": best.value,
            "mean that ranked": ranked["mean"],
            "confirmed": content["confirmed"]["mean"],
            **_truth(view, content),
        }


def _write(path: Path, draws: np.random.Generator, rows: int) -> None:
    x = draws.normal(size=(rows, 5))
    y = x[:, 0] + np.sin(2 * x[:, 1]) + 0.5 * x[:, 2] * x[:, 3] + draws.normal(size=rows)
    _save(path, np.column_stack([x, y]), "abcdey")


def _save(path: Path, table: NDArray[Any], names: str) -> None:
    lines = [",".join(f"{value:.6g}" for value in row) for row in table]
    path.write_text("\n".join([",".join(names), *lines]))


def _truth(view: View, content: dict[str, Any]) -> dict[str, float]:
    """The winner from ten more seeds: on the validation rows, and on rows never seen."""
    request = request_of(view)
    dataset, test = load(request), load_test(request)
    trial, epoch = view.trial(content["winner"]), content["confirmed"]["epoch"]
    seeds = [replica_seed(view.definition.seed, 1000 + place) for place in range(_REPLICAS)]
    with Workers(0) as workers:
        retrainer = Retrainer(view, workers)
        longest = int(ALIKE["epochs"])
        replicas = Replicas(retrainer, dataset, [trial])
        whole = replicas.train({trial.number: longest}, seeds)
        found = replicas.train({trial.number: epoch}, seeds)
        shape = retrainer.shape(trial, dataset)
    errors = []
    for each in found.values():
        assert each.parameters is not None
        outputs: NDArray[Any] = forward.network_outputs(shape, each.parameters, test.x)
        errors.append(np.sqrt(((outputs[:, 0] - test.y) ** 2).mean()) * dataset.target_scale)
    return {
        "seeds": statistics.mean(each.curve[-1] for each in found.values()),
        "rows": float(np.mean(errors)),
        "best epoch of each replica": statistics.mean(min(each.curve) for each in whole.values()),
    }


def count_words(studies: int, trials: int) -> None:
    """Prints how often a lead on validation rows passes a bar, and is one on new rows."""
    heads = [f"beyond {bar:g}, of these better / worse on new rows" for bar in BARS]
    print(f"| truth | studies | better / worse on new rows | {' | '.join(heads)} |")
    print("|---" * (3 + len(BARS)) + "|")
    for curvature in CURVATURES:
        found = [_lead(seed, curvature, trials) for seed in range(studies)]
        cells = [_signs([sign for lead, sign in found if lead > bar]) for bar in (-math.inf, *BARS)]
        counts = [f"{sum(lead > bar for lead, _ in found)}, {cell}" for bar, cell in
                  zip(BARS, cells[1:], strict=True)]  # fmt: skip
        name = f"linear + {curvature:g} curved" if curvature else "linear"
        print(f"| {name} | {studies} | {cells[0]} | {' | '.join(counts)} |", flush=True)


def _signs(signs: Sequence[int]) -> str:
    return f"{signs.count(1)} / {signs.count(-1)}"


def _lead(seed: int, curvature: float, trials: int) -> tuple[float, int]:
    """The lead over the best linear model in standard errors; what new rows say: 1, 0 or -1."""
    with tempfile.TemporaryDirectory() as folder:
        draws = np.random.default_rng(seed)
        weights = draws.normal(size=8)
        path, new = Path(folder, "table.csv"), Path(folder, "new.csv")
        for file, rows in ((path, 250), (new, 5000)):
            x = draws.normal(size=(rows, 8))
            curved = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
            y = x @ weights / 8**0.5 + curvature * curved + draws.normal(size=rows)
            _save(file, np.column_stack([x, y]), "abcdefghy")
        best, test = _told(path, trials, Path(folder, "study.db"), "-t", "y", "--test", str(new),
                           "--seed", str(seed), "--workers", "1")  # fmt: skip
    linear = [each for each in best["confirmed"]["baselines"] if each["name"] in KINDS[0]]
    ahead = min(linear, key=lambda each: float(each["difference"]))
    entry = next(each for each in test["entries"] if each["name"] == ahead["name"])
    return ahead["difference"] / ahead["se"], _sign(entry["difference"])


def _sign(difference: dict[str, float]) -> int:
    """Whether the 95 % interval says better (1), worse (-1) or neither."""
    return (difference["low"] > 0) - (difference["high"] < 0)


def row(name: str, path: Path, trials: int) -> str:
    """One line of the table of data sets, from what the commands print."""
    with tempfile.TemporaryDirectory() as folder:
        target = ["-t", TABLES[name].target] if TABLES[name].target else []
        best, test = _told(path, trials, Path(folder, "study.db"), *target)
    found, metric = best["confirmed"], best["metric"]
    own = test["entries"][0]["metrics"][metric]
    cells = [
        name, metric, f"{number(found['confirmed']['mean'])} ± {number(found['confirmed']['sd'])}",
        number(found["luck"]),
        *(_beside([each for each in found["baselines"] if each["name"] in names])
          for names in KINDS),
        f"{number(own['value'])} [{number(own['low'])}, {number(own['high'])}]",
        *(_tested(test, names, metric) for names in KINDS),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _beside(models: list[dict[str, Any]]) -> str:
    """The best of some baselines: its value, and the network's lead in standard errors."""
    each = min(models, key=lambda model: model["difference"])
    return f"{number(each['value'])} ({each['difference'] / each['se']:+.1f})"


def _tested(test: dict[str, Any], names: Sequence[str], metric: str) -> str:
    each = min(
        (entry for entry in test["entries"] if entry["name"] in names),
        key=lambda entry: float(entry["difference"]["value"]),
    )
    return f"{number(each['metrics'][metric]['value'])} ({'=+-'[_sign(each['difference'])]})"


def _told(
    path: Path, trials: int, db: Path, *options: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `best` and `test` say after a search."""
    _run("search", str(path), *options, "--trials", str(trials), "--db", str(db), "--quiet")
    best = json.loads(_run("best", "--db", str(db), "--json"))
    return best, json.loads(_run("test", "--db", str(db), "--json"))


def _run(*words: str) -> str:
    command = [sys.executable, "-m", "nntune", *words]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main()
