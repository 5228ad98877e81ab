"""Two studies side by side: what differs in what they are, and in what they found."""

from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from nntune.errors import NotFoundError
from nntune.report.configuration import trial_values
from nntune.report.drawing import grid
from nntune.report.pairing import (
    Paired,
    differences,
    in_words,
    paired,
    paired_json,
    same_rows,
)
from nntune.report.wording import number, plain, states
from nntune.space import flag_of
from nntune.study import Trial, View

_OF_THE_DATA = ("source", "target", "task", "classes", "features", "fingerprint")
_WIDEST = 40  # characters of a value that is shown


class Standing(NamedTuple):
    """A study as it is compared with another."""

    view: View
    best: Trial
    counts: dict[str, int]
    confirmed: dict[str, Any] | None  # its winner, on seeds that chose nothing


def standing(view: View) -> Standing:
    """Reads a study.

    Raises:
        NotFoundError: no trial has a value yet.
    """
    best = view.winner()
    if best is None:
        raise NotFoundError(f"study '{view.name}' has no trial with a value yet.")
    found = view.confirmation()
    confirmed = {"trial": found["winner"], **found["confirmed"]} if found else None
    return Standing(view, best, view.counts(), confirmed)


def studies_compared(one: Standing, two: Standing) -> RenderableType:
    """Two studies in two columns: what differs in their definitions, and their winners."""
    names = [one.view.name, two.view.name]
    table = grid("", *names)
    for name, left, right in _definitions_differ(one, two):
        table.add_row(name, _shown(left), _shown(right))
    table.add_section()
    both = (one, two)
    table.add_row("trials", *(states(each.counts) for each in both))
    table.add_row("best trial", *(f"#{each.best.number}" for each in both))
    table.add_row("value", *(_value(each) for each in both))
    if one.confirmed or two.confirmed:
        table.add_row("confirmed", *(_confirmed(each) for each in both))
    different, alike = differences(*(each.view.space.params(each.best.params) for each in both))
    for name, left, right in different:
        table.add_row(name, _shown(left), _shown(right))
    lines = [f"alike in the winners: {', '.join(alike)}"] if alike else []
    metric = one.view.definition.metric
    lines.append(_comparable(one, two) or in_words(_winners_paired(one, two), names, metric))
    return Group(table, "", *map(Text, lines))


def studies_compared_json(one: Standing, two: Standing) -> dict[str, Any]:
    """The same as values."""
    different, alike = differences(*(s.view.space.params(s.best.params) for s in (one, two)))
    return {
        "schema": "nntune.compared_studies/1",
        "studies": [
            {
                "study": each.view.name,
                "metric": each.view.definition.metric,
                "direction": each.view.direction,
                "trials": each.counts,
                "best": trial_values(each.view.space, each.best),
                "confirmed": each.confirmed,
            }
            for each in (one, two)
        ],
        "definitions": {name: [left, right] for name, left, right in _definitions_differ(one, two)},
        "different": {name: [left, right] for name, left, right in different},
        "alike": alike,
        "comparable": not _comparable(one, two),
        "paired": paired_json(_winners_paired(one, two)),
    }


def _definitions_differ(one: Standing, two: Standing) -> list[tuple[str, Any, Any]]:
    return differences(_facts(one.view), _facts(two.view))[0]


def _facts(view: View) -> dict[str, Any]:
    """What makes a study, in the words of the command line."""
    definition = view.definition
    data = {name: definition.data.get(name) for name in _OF_THE_DATA}
    data |= {name: count for name, count in definition.data.get("counts", {}).items()}
    ranges = {
        " ".join(flag_of(name, "")).rstrip("= "): text for name, text in definition.space.items()
    }
    search = {name: getattr(definition, name) for name in ("metric", "seed", "sampler", "pruner")}
    training = {**definition.training, "first bracket": definition.first}
    training.pop("first", None)  # which older studies lack
    return data | search | training | ranges | definition.versions


def _comparable(one: Standing, two: Standing) -> str:
    """Why two values cannot be compared; nothing if they can."""
    if one.view.definition.metric != two.view.definition.metric:
        return "The metrics differ, so the values cannot be compared."
    if not same_rows(one.view, two.view):
        return "The rows differ, so the values belong to different validation rows."
    return ""


def _winners_paired(one: Standing, two: Standing) -> Paired | None:
    first, second = (
        each.confirmed["trial"] if each.confirmed else each.best.number for each in (one, two)
    )
    return paired(one.view, first, two.view, second)


def _value(each: Standing) -> str:
    return f"{number(each.best.value)} {each.view.definition.metric}"


def _confirmed(each: Standing) -> str:
    found = each.confirmed
    if found is None:
        return "-"
    spread = "" if found["sd"] is None else f" ± {number(found['sd'])}"
    return f"{number(found['mean'])}{spread} (#{found['trial']})"


def _shown(value: Any) -> str:
    if value is None:  # one of them does not have it
        return "-"
    text = ", ".join(map(str, value)) if isinstance(value, list) else plain(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
