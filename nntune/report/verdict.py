"""How a verdict looks: the confirmation of a winner."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nntune.errors import NotFoundError
from nntune.report.drawing import grid
from nntune.study import View
from nntune.verdict import sentences
from nntune.wording import number, plain


def confirmation(view: View) -> RenderableType:
    """The candidates from fresh seeds, the winner's value, and the plain models beside it."""
    found = _confirmed(view)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("study", f"{view.name} ({view.path})")
    facts.add_row("winner", f"trial #{found['winner']}, trained to epoch {_epoch(found)}")
    facts.add_row(found["metric"], f"{sentences.headline(found)}; {sentences.luck(found)}")
    lines = [*sentences.against(found), CAVEAT]
    return Group(facts, "", _candidates(found), "", baselines(found), "", *map(Text, lines))


CAVEAT = (
    "All on the validation rows, which chose configuration, epoch and penalties: fresh seeds take "
    "the luck of seeds out of a value, nntune test that of rows."
)


def confirmation_json(view: View) -> dict[str, Any]:
    """The last confirmation as values."""
    found = _confirmed(view)
    return {"schema": found["schema"], "study": view.name, "db": str(view.path), **found}


def baselines(found: dict[str, Any]) -> Table:
    """The network and the plain models, the best first."""
    table = grid("model", found["metric"], "network is better by", "", "", right=[found["metric"]])
    rows = [
        (found["confirmed"]["mean"], ["network", number(found["confirmed"]["mean"]), "", "", ""])
    ]
    for each in found["baselines"]:
        se = f"± {number(each['se'])}" if each["se"] is not None else ""
        params = ", ".join(f"{key} {plain(value)}" for key, value in each["params"].items())
        cells = [each["label"], number(each["value"]), number(each["difference"]), se, params]
        rows.append((each["value"], cells))
    rows.sort(key=lambda row: row[0], reverse=found["direction"] == "maximize")
    for _, cells in rows:
        table.add_row(*cells)
    return table


def _candidates(found: dict[str, Any]) -> Table:
    heads = ("#", "searched", "mean", "sd", "failed")
    table = grid(*heads, right=heads)
    for each in found["candidates"]:
        failed = str(each["failed"] or "")
        values = (number(each[key]) for key in ("searched", "mean", "sd"))
        table.add_row(str(each["trial"]), *values, failed)
    return table


def _epoch(found: dict[str, Any]) -> int:
    return int(found["confirmed"]["epoch"])


def _confirmed(view: View) -> dict[str, Any]:
    found = view.confirmation()
    if found is None:
        raise NotFoundError(f"study '{view.name}' is not confirmed; nntune confirm does it.")
    return found
