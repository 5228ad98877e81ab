"""What a report says, in the order a reader asks: how good, on what, found how, and again how."""

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from nntune.errors import NotFoundError, UsageError
from nntune.report.figure import Figure
from nntune.report.figures import curves, history, importance
from nntune.report.judged import judged
from nntune.report.ranges import contour, parallel, slices
from nntune.report.tuned import ranges, tuned
from nntune.report.winner import repeat_command, winner
from nntune.report.wording import number, plain, states
from nntune.space import Hyperparameter
from nntune.study import View
from nntune.verdict import sentences

_LONGEST = 100  # rows of the leaderboard


class Row(NamedTuple):
    """Cells as text; `mark` is 'winner', 'baseline' or nothing."""

    cells: tuple[str, ...]
    mark: str = ""


class Tabled(NamedTuple):
    """A table that can be sorted."""

    label: str
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[Row, ...]


class Section(NamedTuple):
    """A part of the page under a heading."""

    title: str
    lines: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    table: Tabled | None = None
    figures: tuple[Figure, ...] = ()
    commands: tuple[str, ...] = ()


class Line(NamedTuple):
    """A sentence of the headline; `mark` is 'good', 'bad' or nothing."""

    text: str
    mark: str = ""


class Headline(NamedTuple):
    """The value, what it is and what to think of it."""

    what: str
    value: str
    spread: str
    about: str
    lines: tuple[Line, ...]


def headline(view: View) -> Headline:
    """The confirmed value if there is one, else the search's, which flatters."""
    best, metric = winner(view), view.definition.metric
    rows = view.validated
    confirmation, test = view.confirmation(), _last(view, "test")
    lines = [_tested(test, best.number)] if test else []
    if confirmation is None:
        counts = view.counts()
        if (count := counts["complete"] + counts["pruned"]) > 1:
            said = f"The best of {count:,} noisy values: a new sample will score worse."
            lines.append(Line(said))
        lines.append(Line("nntune confirm trains the best few again, from fresh seeds."))
        return Headline(
            f"{metric} of the search, on {rows:,} validation rows", number(best.value), "",
            f"trial #{best.number}, epoch {best.epoch}", tuple(lines),
        )  # fmt: skip
    found = confirmation["confirmed"]
    lines += [
        Line(f"{text[0].upper()}{text[1:]}.") for text in [sentences.luck(confirmation)] if text
    ]
    lines += [Line(text) for text in sentences.against(confirmation)]
    return Headline(
        f"{metric}, confirmed on {rows:,} validation rows", number(found["mean"]),
        number(found["sd"]) if found["sd"] is not None else "",
        f"trial #{confirmation['winner']}, mean of {len(found['values'])} fresh seeds",
        tuple(lines),
    )  # fmt: skip


def sections(view: View) -> list[Section]:
    """All of them; one that this study has nothing for is left out."""
    confirmation, test = view.confirmation(), _last(view, "test")
    found = [
        _winner(view),
        Section("Leaderboard", _of_leaderboard(view), table=_leaderboard(view, confirmation)),
        _test(test) if test else None,
        Section("How the search went", figures=(history(view), curves(view))),
        _what_matters(view),
        Section("Data", facts=_data(view)),
        _again(view),
    ]
    return [section for section in found if section is not None]


def tabled(
    label: str, headings: Sequence[str], rows: Sequence[Sequence[Any]], marks: Sequence[str] = ()
) -> Tabled:
    """Cells as text, and which columns are numbers."""
    texts = [tuple(plain(cell) for cell in row) for row in rows]
    numeric = tuple(all(_is_number(row[at]) for row in texts) for at in range(len(headings)))
    marked = zip_longest(texts, marks, fillvalue="")
    return Tabled(label, tuple(headings), numeric, tuple(Row(tuple(c), m) for c, m in marked))


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "").removeprefix("#").split(" ")[0] or "0")
    except ValueError:
        return text == "-"
    return True


def _last(view: View, kind: str) -> dict[str, Any] | None:
    found = view.verdicts(kind)
    return found[-1] if found else None


def _tested(test: dict[str, Any], winner: int) -> Line:
    network = test["entries"][0]["metrics"][test["metric"]]
    again = "" if test["opening"] == 1 else f", at opening {test['opening']}: no longer unseen"
    other = f" for trial #{test['trial']}, which was the winner then" * (test["trial"] != winner)
    return Line(
        f"On {test['rows']:,} test rows {number(network['value'])} "
        f"(95%: {_interval(network)}){other}{again}."
    )


def _interval(found: dict[str, Any]) -> str:
    return f"{number(found['low'])} to {number(found['high'])}"


def _winner(view: View) -> Section:
    trial = winner(view)
    params = view.space.params(trial.params)
    names = [name for name in tuned(view.space, [trial]) if name in params]
    rows = []
    for each in ranges(view, names):
        value, then = params[each.name], view.space[each.name]
        text = each.text.replace(",", ", ") + f"; now {then.text}" * then.fixed
        rows.append((each.name, plain(value), _stands(each, value), text))
    fixed = ", ".join(f"{n} {plain(v)}" for n, v in params.items() if n not in names)
    return Section(
        f"Configuration of trial #{trial.number}",
        lines=(f"Fixed: {fixed}.",) if fixed else (),
        table=tabled("Configuration", ("hyperparameter", "value", "stands", "range"), rows),
    )


def _stands(each: Hyperparameter, value: Any) -> str:
    """Where in its range, in words."""
    if each.beyond(value):
        return "outside of it"
    if edge := each.edge(value):
        return f"at the {edge} end"
    place = each.position(value)
    return "" if place is None else f"{place:.0%} of the way"


def _of_leaderboard(view: View) -> tuple[str, ...]:
    counts = view.counts()
    said = f"{states(counts)}."
    if sum(counts.values()) > _LONGEST:
        said += f" The best {_LONGEST} are listed; nntune trials {view.name} lists all."
    return (said,)


def _leaderboard(view: View, confirmation: dict[str, Any] | None) -> Tabled:
    """Candidates, by the seeds that ranked them, among the baselines; then the other trials."""
    known = {c["trial"]: c for c in confirmation["candidates"]} if confirmation else {}
    sign = -1 if view.direction == "maximize" else 1
    ranked: list[tuple[float, Row]] = []
    trials = view.listed(top=_LONGEST)
    names = tuned(view.space, trials)
    for trial in trials:
        params = view.space.params(trial.params)
        found = known.get(trial.number, {"mean": None, "sd": None})
        cells = [f"#{trial.number}", trial.state, number(trial.value),
                 *[_spread(found["mean"], found["sd"])] * bool(known), str(trial.epoch or "-"),
                 *(plain(params.get(name, "-")) for name in names), trial.reason]  # fmt: skip
        mark = "winner" if confirmation and trial.number == confirmation["winner"] else ""
        place = math.inf if found["mean"] is None else sign * found["mean"]
        ranked.append((place, Row(tuple(cells), mark)))
    for baseline in confirmation["baselines"] if confirmation else ():
        chosen = ", ".join(f"{name} {plain(value)}" for name, value in baseline["params"].items())
        value = number(baseline["value"])
        empty = ["-"] * (1 + len(names))
        cells = [baseline["label"], "baseline", "-", value, *empty, chosen]
        ranked.append((sign * baseline["value"], Row(tuple(cells), "baseline")))
    again = ["from fresh seeds"] * bool(known)
    headings = ["trial", "state", view.definition.metric, *again, "epoch", *names, "end"]
    rows = [row for _, row in sorted(ranked, key=lambda each: each[0])]
    return tabled("Leaderboard", headings, [r.cells for r in rows], [r.mark for r in rows])


def _spread(mean: float | None, sd: float | None) -> str:
    return number(mean) + ("" if mean is None or sd is None else f" ± {number(sd)}")


def _test(test: dict[str, Any]) -> Section:
    """Values with their intervals, of the network and of the baselines, and pictures."""
    names = list(test["entries"][0]["metrics"])
    rows = [
        (entry["label"], *(_with_interval(entry["metrics"].get(name)) for name in names))
        for entry in test["entries"]
    ]
    lines = [
        f"Trial #{test['trial']} on {test['rows']:,} rows that neither search nor confirmation has "
        f"seen; opening number {test['opening']}. In brackets: 95% intervals by the bootstrap."
    ]
    if test.get("at_threshold"):
        found = test["at_threshold"]
        scores = ", ".join(f"{name} {number(value)}" for name, value in found["metrics"].items())
        lines.append(
            f"{test['confusion']['classes'][1]!r} from a probability of "
            f"{number(test['threshold'])} on, chosen for {found['chosen_for']} on validation rows: "
            f"{scores}."
        )
    return Section(
        "Test", tuple(lines), table=tabled("Test", ("", *names), rows), figures=tuple(judged(test))
    )


def _with_interval(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{number(found['value'])} ({_interval(found)})"


def _what_matters(view: View) -> Section:
    """Pictures over hyperparameters; of a study that is too small for one, the reason."""
    lines: list[str] = []
    figures: list[Figure] = []

    def add(draw: Callable[..., Figure], *names: Sequence[str]) -> None:
        try:
            figures.append(draw(view, *names))
        except (NotFoundError, UsageError) as reason:
            lines.append(f"{str(reason)[0].upper()}{str(reason)[1:]}")

    add(importance)
    if figures and len(figures[0].rows) > 1:
        add(contour, [row[0] for row in figures[0].rows[:2]])
    add(slices)
    add(parallel)
    return Section("What matters", tuple(dict.fromkeys(lines)), figures=tuple(figures))


def _data(view: View) -> tuple[tuple[str, str], ...]:
    data = view.definition.data
    counts = data["counts"]
    named = [name for name in ("train", "valid", "test") if name in counts]
    rows = ", ".join(f"{counts[name]:,} {name}" for name in named)
    better = "higher" if view.direction == "maximize" else "lower"
    classes = ", ".join(map(str, data.get("classes") or ()))
    has_past = bool(data.get("request", {}).get("lags"))
    lacking = "rows without a target" + " or its whole past" * has_past
    facts = {
        "file": data["source"], "target": f"{data['target']} ({data['task']})",
        "classes": classes, "rows": rows, "features": str(data.get("features", "")),
        "folds": f"{view.folds}, of the rows of train and valid" if view.folds > 1 else "",
        "dropped": f"{counts['dropped']:,} {lacking}" if counts.get("dropped") else "",
        "metric": f"{view.definition.metric}, {better} is better",
        "fingerprint": str(data.get("fingerprint", "")),
    }  # fmt: skip
    return tuple((name, fact) for name, fact in facts.items() if fact)


def _again(view: View) -> Section:
    definition = view.definition
    facts = {
        "seed": str(definition.seed), "sampler": definition.sampler, "pruner": definition.pruner,
        "rungs": ", ".join(map(str, definition.training.get("rungs", []))) + " epochs",
        **definition.versions,
        "study": str(view.path),
    }  # fmt: skip
    return Section(
        "Environment, and how to repeat it",
        ("The search, and the best configuration trained anew:",),
        tuple(facts.items()),
        commands=(definition.command, repeat_command(view, winner(view))),
    )
