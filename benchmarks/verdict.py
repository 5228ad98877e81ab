"""What a verdict is worth: a simulated truth, and eight data sets.

    python -m benchmarks.verdict truth [--studies 50]
    python -m benchmarks.verdict data [--data energy wage] [--trials 64]

The first makes studies in which all configurations are equally good, so that a search can only find
luck, and compares what it says with what new seeds and new rows say. The second runs the command
line as a user would, on real tables, and prints rows for docs/verdict.md.
"""

import argparse
import json
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


def main() -> None:
    """Prints one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("truth", "data"))
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--data", nargs="+", choices=TABLES, default=VERDICTS)
    parser.add_argument("--trials", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.what == "truth":
        simulate(arguments.studies)
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
    lines = [",".join(f"{value:.6g}" for value in row) for row in np.column_stack([x, y])]
    path.write_text("\n".join(["a,b,c,d,e,y", *lines]))


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


def row(name: str, path: Path, trials: int) -> str:
    """One line of the table of data sets, from what the commands print."""
    with tempfile.TemporaryDirectory() as folder:
        db = str(Path(folder, "study.db"))
        target = ["-t", TABLES[name].target] if TABLES[name].target else []
        _run("search", str(path), *target, "--trials", str(trials), "--db", db, "--quiet")
        best = json.loads(_run("best", "--db", db, "--json"))
        test = json.loads(_run("test", "--db", db, "--json"))
    found, metric = best["confirmed"], best["metric"]
    kinds = [("ridge", "lasso", "logistic_l1", "logistic_l2"), ("boosting",)]
    own = test["entries"][0]["metrics"][metric]
    cells = [
        name, metric, f"{number(found['confirmed']['mean'])} ± {number(found['confirmed']['sd'])}",
        number(found["luck"]),
        *(_beside([each for each in found["baselines"] if each["name"] in names])
          for names in kinds),
        f"{number(own['value'])} [{number(own['low'])}, {number(own['high'])}]",
        *(_tested(test, names, metric) for names in kinds),
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
    low, high = each["difference"]["low"], each["difference"]["high"]
    mark = "+" if low > 0 else "-" if high < 0 else "="
    return f"{number(each['metrics'][metric]['value'])} ({mark})"


def _run(*words: str) -> str:
    command = [sys.executable, "-m", "nntune", *words]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main()
