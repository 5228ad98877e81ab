"""Trials in rows, and one trial whole."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nntune.report.configuration import configuration, trial_values
from nntune.report.drawing import listing
from nntune.report.tuned import tuned
from nntune.report.wording import finite, number, plain, sparkline
from nntune.study import Listed, Trial, View


def leaderboard(view: View, trials: Sequence[Listed], more: int = 0) -> RenderableType:
    """Trials in rows; hyperparameters in columns; a last line says how many more there are."""
    space = view.space
    params = [space.params(trial.params) for trial in trials]
    columns = {
        "#": [str(trial.number) for trial in trials],
        "state": [trial.state for trial in trials],
        view.definition.metric: [number(trial.value) for trial in trials],
        "epoch": [str(trial.epoch or "-") for trial in trials],
        **{
            name: [plain(each[name]) if name in each else "" for each in params]
            for name in tuned(space, trials)
        },
        "why": [trial.reason for trial in trials],
    }
    found = listing(columns, left=["state", "why"])
    last = f"\n{more:,} more; --top {len(trials) + more} lists all"
    return found._replace(lines=found.lines + last) if more else found


def trials_json(view: View, trials: Sequence[Listed]) -> dict[str, Any]:
    """The leaderboard as values."""
    definition, space = view.definition, view.space
    return {
        "schema": "nntune.trials/1",
        "study": view.name,
        "metric": definition.metric,
        "direction": definition.direction,
        "trials": [trial_values(space, trial) for trial in trials],
    }


def trial(view: View, trial: Trial) -> RenderableType:
    """One trial whole."""
    space = view.space
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
        **trial_values(view.space, trial),
        "bracket": trial.bracket + 1,
        "seconds": trial.seconds,
        "rungs": {str(epoch): finite(value) for epoch, value in trial.rungs.items()},
        "curve": [finite(value) for value in view.curve(trial.number)],
    }
