"""Two trials of a study side by side."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from nntune.report.configuration import trial_values
from nntune.report.drawing import grid
from nntune.report.pairing import Paired, differences, in_words, paired, paired_json
from nntune.report.wording import finite, number, plain, sparklines
from nntune.study import Trial, View


class Sides(NamedTuple):
    """Two trials of one study, with what is needed to compare them."""

    view: View
    trials: tuple[Trial, Trial]
    curves: tuple[list[float], list[float]]
    paired: Paired | None


def sides(view: View, first: int, second: int) -> Sides:
    """Reads two trials.

    Raises:
        NotFoundError: there is no such trial.
    """
    return Sides(
        view,
        (view.trial(first), view.trial(second)),
        (view.curve(first), view.curve(second)),
        paired(view, first, view, second),
    )


def trials_compared(found: Sides) -> RenderableType:
    """Two trials in two columns: how they ended, what differs, their curves on one scale."""
    names = [f"#{trial.number}" for trial in found.trials]
    table = grid("", *names)
    table.add_row("state", *(_state(trial) for trial in found.trials))
    table.add_row(found.view.definition.metric, *(number(t.value) for t in found.trials))
    table.add_row("epoch", *(str(trial.epoch or "-") for trial in found.trials))
    common = _common(found)
    if common is not None:
        table.add_row(
            f"best by epoch {common}", *(number(best) for best in _best_until(found, common))
        )
    different, alike = differences(
        *(found.view.space.params(trial.params) for trial in found.trials)
    )
    table.add_section()
    for name, one, two in different:
        table.add_row(name, *("-" if each is None else plain(each) for each in (one, two)))
    lines = [f"alike: {', '.join(alike)}"] if alike else []
    lines.append(in_words(found.paired, names, found.view.definition.metric))
    drawn = sparklines(found.curves)
    curves = [f"{name}  {curve}" for name, curve in zip(_padded(names), drawn, strict=True)]
    heading = f"{found.view.definition.metric} after each epoch, on one scale"
    return Group(table, "", *map(Text, [*lines, "", heading, *curves]))


def trials_compared_json(found: Sides) -> dict[str, Any]:
    """The same as values."""
    different, alike = differences(
        *(found.view.space.params(trial.params) for trial in found.trials)
    )
    common = _common(found)
    return {
        "schema": "nntune.compared_trials/1",
        "study": found.view.name,
        "metric": found.view.definition.metric,
        "direction": found.view.direction,
        "trials": [
            {
                **trial_values(found.view.space, trial),
                "curve": [finite(value) for value in curve],
            }
            for trial, curve in zip(found.trials, found.curves, strict=True)
        ],
        "different": {name: [one, two] for name, one, two in different},
        "alike": alike,
        "common_epoch": common,
        "until_common_epoch": None if common is None else _best_until(found, common),
        "paired": paired_json(found.paired),
    }


def _state(trial: Trial) -> str:
    return f"{trial.state} ({trial.reason})" if trial.reason else trial.state


def _common(found: Sides) -> int | None:
    """The last epoch that both reached, if one went further."""
    lengths = [len(curve) for curve in found.curves]
    return min(lengths) if min(lengths) and lengths[0] != lengths[1] else None


def _best_until(found: Sides, epoch: int) -> list[float | None]:
    pick = max if found.view.direction == "maximize" else min
    return [pick(filter(math.isfinite, curve[:epoch]), default=None) for curve in found.curves]


def _padded(names: Sequence[str]) -> list[str]:
    return [name.ljust(max(map(len, names))) for name in names]
