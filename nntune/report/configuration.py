"""A configuration where it stands in its search space."""

from typing import Any, Literal

from rich.table import Table

from nntune.report.drawing import grid
from nntune.report.wording import plain
from nntune.space import Hyperparameter, Space, Value
from nntune.study import Listed, Trial

_GAUGE = 24  # characters of the picture of a range


def trial_values(space: Space, trial: Trial | Listed) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state,
        "value": trial.value,
        "epoch": trial.epoch,
        "reason": trial.reason,
        "params": space.params(trial.params),
    }


def configuration(space: Space, params: dict[str, Any]) -> Table:
    """Each value where it stands in its range."""
    table = grid("hyperparameter", "value", "", "range", right=["value"])
    for each in space.of(params.get("model")):
        is_fixed = each.fixed and params[each.name] == each.choices[0]  # it may have had a range
        text = "fixed" if is_fixed else each.text
        table.add_row(each.name, plain(params[each.name]), _gauge(each, params[each.name]), text)
    return table


def _gauge(each: Hyperparameter, value: Value) -> str:
    if side := each.beyond(value):
        rest = "·" * (_GAUGE - 1)
        return f"<{rest}" if side == "low" else f"{rest}>"
    position = each.position(value)
    if position is None:
        return ""
    place = round(position * (_GAUGE - 1))
    return "·" * place + "●" + "·" * (_GAUGE - 1 - place)


def edge_names(space: Space, params: dict[str, Any]) -> dict[str, Literal["low", "high"]]:
    found = {each.name: each.edge(params[each.name]) for each in space.of(params.get("model"))}
    return {name: edge for name, edge in found.items() if edge}
