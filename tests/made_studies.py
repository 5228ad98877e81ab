"""Studies made in an instant, for tests of reports; values depend on the learning rate."""

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from nntune.space import Space, build
from nntune.study import Definition, Outcome, View, Writer, open_writer, read

RUNGS = (3, 9, 27)
SPACE = build(
    {
        "hidden_layers": "1:3", "units": "16,64", "dropout": "0:0.5", "l2": "0,1e-6:1e-2:log",
        "batch_size": "32", "epochs": "30", "lr": "1e-4:1e-1:log", "activation": "relu,tanh",
    }
)  # fmt: skip
SPLITS = {"read": 344, "dropped": 0, "train": 220, "valid": 55, "test": 69}
CLASSES = {"binary": ["no", "yes"], "multiclass": ["a", "b", "c"], "regression": []}


def make(
    path: Path,
    trials: int = 40,
    task: str = "multiclass",
    space: Space = SPACE,
    seed: int = 0,
    **data: Any,
) -> View:
    """A study of so many trials in brackets of eight; trial 7 diverged, the last one is running."""
    metric, direction = ("rmse" if task == "regression" else "log_loss"), "minimize"
    told: dict[str, Any] = {
        "source": "table.csv", "target": "y", "task": task, "classes": CLASSES[task],
        "features": 5, "counts": SPLITS, "fingerprint": "5f3a",
    }  # fmt: skip
    definition = Definition(
        told | data, {each.name: each.text for each in space.hyperparameters}, metric, direction,
        seed, "tpe", "halving",
        {"width": 8, "eta": 3, "rungs": list(RUNGS), "patience": 20, "product": "torch"},
        {"nntune": "0.1.0", "torch": "2.6"}, "nntune search table.csv --target y",
    )  # fmt: skip
    with open_writer(path, path.stem, definition) as writer:
        _fill(writer, space, 0, _draws(space, trials, random.Random(seed)), running=1)
    return read(path)


def updated(view: View, space: Space, trials: int = 0) -> View:
    """The study as --update-space leaves it, with so many trials more."""
    ranges = {each.name: each.text for each in space.hyperparameters}
    other, before = replace(view.definition, space=ranges), sum(view.counts().values())
    with open_writer(view.path, view.name, other, update_space=True) as writer:
        _fill(writer, space, before, _draws(space, trials, random.Random(before)))
    return read(view.path, view.name)


def _fill(
    writer: Writer, space: Space, before: int, drawn: list[dict[str, Any]], running: int = 0
) -> None:
    distributions = space.distributions()
    for first in range(0, len(drawn), 8):
        asked = [*enumerate(drawn[first : first + 8], before + first)]
        kept = [(n, space.optuna_params(params)) for n, params in asked]
        bracket = (before + first) // 8
        writer.begin(bracket, [(n, p, {k: distributions[k] for k in p}) for n, p in kept])
        ended = before + len(drawn) - running
        writer.report([_outcome(n, p) for n, p in asked if n < ended])


def _draws(space: Space, trials: int, luck: random.Random) -> list[dict[str, Any]]:
    found = []
    for _ in range(trials):
        params = {each.name: _draw(each, luck) for each in space.hyperparameters}
        found.append({each.name: params[each.name] for each in space.of(params.get("model"))})
    return found


def _draw(each: Any, luck: random.Random) -> Any:
    if each.choices:
        return luck.choice(each.choices)
    if each.zero and luck.random() < 0.5:
        return 0.0
    if each.log:
        return math.exp(luck.uniform(math.log(each.low), math.log(each.high)))
    value = luck.uniform(each.low, each.high)
    return round(value) if each.name == "hidden_layers" else value


def _outcome(number: int, params: dict[str, Any]) -> Outcome:
    if number == 7:
        return Outcome(7, "failed", None, None, None, {}, {}, "diverged at epoch 1", 0.1, [])
    luck = random.Random(number)
    miss = abs(math.log10(params["lr"]) + 2.3)
    state, epochs = ("complete", 30) if number % 8 in (0, 3) else ("pruned", RUNGS[number % 2])
    pace = 2 + 3 * miss
    curve = [
        0.1 + 0.3 * miss + math.exp(-e / pace) + 0.02 * luck.random() for e in range(1, epochs + 1)
    ]
    best = min(curve)
    rungs = {rung: min(curve[:rung]) for rung in (*RUNGS, 30) if rung <= epochs}
    reason = "epochs" if state == "complete" else f"rung {epochs}"
    return Outcome(
        number, state, best, best, curve.index(best) + 1, rungs, rungs, reason, 0.5, curve
    )


def confirmation(view: View, trials: int = 2, shift: float = 0.05) -> dict[str, Any]:
    """Values of the best trials on five seeds; each better than the next by 0.01 on each seed."""
    best = [trial for trial in view.trials(top=trials)]
    noise = [0.0, 0.01, -0.01, 0.02, -0.02]
    candidates = []
    for place, trial in enumerate(best):
        assert trial.value is not None
        mean = trial.value + shift + 0.01 * place
        candidates.append(
            {
                "trial": trial.number, "searched": trial.value,
                "values": [mean + each * (1 + place) for each in noise], "mean": mean, "sd": 0.0158,
                "epochs": [9] * 5, "failed": 0,
            }
        )  # fmt: skip
    return {
        "schema": "nntune.confirmation/1", "metric": view.definition.metric,
        "direction": view.direction, "seeds": [1, 2, 3, 4, 5], "rows": "valid",
        "candidates": candidates, "winner": best[0].number, "luck": shift,
        "confirmed": {
            "seeds": [6, 7, 8, 9, 10], "epoch": 9, "mean": candidates[0]["mean"], "sd": 0.0158,
            "values": candidates[0]["values"], "failed": 0, "se_rows": 0.03,
        },
        "baselines": [
            {"name": "constant", "label": "majority", "params": {}, "value": 1.1,
             "seconds": 0.01, "difference": 0.7, "se": 0.05},
            {"name": "linear", "label": "logistic regression", "params": {"C": 1.0}, "value": 0.3,
             "seconds": 0.2, "difference": 0.05, "se": 0.04},
        ],
    }  # fmt: skip


def add_verdict(view: View, kind: str, content: dict[str, Any]) -> None:
    with open_writer(view.path, view.name, view.definition) as writer:
        writer.add_verdict(kind, content)
