"""Trials in rows, and one trial whole."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nntune.report.configuration import configuration, space_of, trial_values
from nntune.report.drawing import grid
from nntune.report.wording import finite, number, plain, sparkline
from nntune.study import Trial, View


def leaderboard(view: View, trials: Sequence[Trial]) -> RenderableType:
    """Trials in rows; hyperparameters that the study tunes in columns."""
    space = space_of(view)
    tuned = [each.name for each in space.hyperparameters if not each.fixed]
    numbers = ("#", view.definition.metric, "epoch", *tuned)
    table = grid("#", "state", *numbers[1:], "why", right=numbers)
    for trial in trials:
        params = space.params(trial.params)
        table.add_row(
            str(trial.number),
            trial.state,
            number(trial.value),
            str(trial.epoch or "-"),
            *(plain(params[name]) for name in tuned),
            trial.reason,
        )
    return table


def trials_json(view: View, trials: Sequence[Trial]) -> dict[str, Any]:
    """The leaderboard as values."""
    definition = view.definition
    return {
        "schema": "nntune.trials/1",
        "study": view.name,
        "metric": definition.metric,
        "direction": definition.direction,
        "trials": [trial_values(view, trial) for trial in trials],
    }


def trial(view: View, trial: Trial) -> RenderableType:
    """One trial whole."""
    space = space_of(view)
    params = space.params(trial.params)
    facts = Table.grid(padding=(0, 2))
    ended = f": {trial.reason}" if trial.reason else ""
    facts.add_row("trial", f"#{trial.number} of {view.name}, {trial.state}{ended}")
    facts.add_row(view.definition.metric, f"{number(trial.value)} at epoch {trial.epoch or '-'}")
    facts.add_row("bracket", str(trial.bracket + 1))
    facts.add_row("training", f"{trial.seconds:.3g} s of processor time")
    curve = view.curve(trial.number)
    parts: list[RenderableType] = [facts, "", configuration(space, params)]
    if curve:
        first, last = number(curve[0]), number(curve[-1])
        line = f"{first} {sparkline(curve)} {last}"
        parts += [
            "",
            Text(f"{view.definition.metric} after each of {len(curve)} epochs"),
            Text(line),
        ]
    return Group(*parts)


def trial_json(view: View, trial: Trial) -> dict[str, Any]:
    """One trial as values, its curve included."""
    return {
        "schema": "nntune.trial/1",
        "study": view.name,
        "metric": view.definition.metric,
        **trial_values(view, trial),
        "bracket": trial.bracket + 1,
        "seconds": trial.seconds,
        "rungs": {str(epoch): finite(value) for epoch, value in trial.rungs.items()},
        "curve": [finite(value) for value in view.curve(trial.number)],
    }
