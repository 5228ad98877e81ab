"""How a verdict looks: the confirmation of a winner, and what the test rows say."""

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
    values = filter(None, (sentences.headline(found), sentences.luck(found)))
    facts.add_row(found["metric"], "; ".join(values))
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


def tested(view: View) -> RenderableType:
    """The network and the plain models on the test rows, and how often these were opened."""
    found, openings = _tested(view)
    metric = found["metric"]
    facts = Table.grid(padding=(0, 2))
    facts.add_row("study", f"{view.name} ({view.path})")
    facts.add_row("network", f"trial #{found['trial']}, as nntune refit makes it")
    facts.add_row("test", f"{found['rows']:,} rows, {_opened(openings)}")
    facts.add_row(metric, _interval(found["entries"][0]["metrics"][metric]) + " (95 %)")
    parts: list[RenderableType] = [facts, "", _entries(found), ""]
    parts += [Text(line) for line in sentences.of_the_test(found)]
    if found["confusion"]:
        parts += ["", confusion(found["confusion"])]
    return Group(*parts, *map(Text, _extras(found)))


def tested_json(view: View) -> dict[str, Any]:
    """The last test as values, and the moments of all."""
    found, openings = _tested(view)
    moments = [each["made_at"] for each in openings]
    return {
        "schema": found["schema"], "study": view.name, "db": str(view.path), **found,
        "opened": moments,
    }  # fmt: skip


def confusion(found: dict[str, Any]) -> Table:
    """How often each class was taken for each."""
    classes = found["classes"]
    table = grid("true", *(f"as {each}" for each in classes), right=[f"as {e}" for e in classes])
    for name, counts in zip(classes, found["counts"], strict=True):
        table.add_row(Text(name), *(str(count) for count in counts))
    return table


def _entries(found: dict[str, Any]) -> Table:
    names = list(found["entries"][0]["metrics"])
    table = grid("model", *names)
    for entry in found["entries"]:
        table.add_row(entry["label"], *(_interval(entry["metrics"][name]) for name in names))
    return table


def _interval(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    return f"{number(found['value'])} [{number(found['low'])}, {number(found['high'])}]"


def _opened(openings: list[dict[str, Any]]) -> str:
    first = openings[0]["made_at"][:10]
    if len(openings) == 1:
        return f"opened once, on {first}"
    return f"opened {len(openings)} times, first on {first}: later looks know what it told"


def _extras(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["at_threshold"]:
        at = found["at_threshold"]
        values = ", ".join(f"{name} {number(value)}" for name, value in at["metrics"].items())
        second = found["confusion"]["classes"][1]
        lines.append(
            f"{second!r} from a probability of {number(found['threshold'])} on, which the "
            f"validation rows chose for {at['chosen_for']}: {values}."
        )
    if found["calibration"]:
        lines.append(f"Expected calibration error {number(found['calibration']['ece'])}.")
    return ["", *lines] if lines else []


def _tested(view: View) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last test, and all openings."""
    openings = view.verdicts("test")
    if not openings:
        raise NotFoundError(f"study '{view.name}' is not tested; nntune test does it.")
    return openings[-1], openings
