"""How a study looks: tables for a terminal, and the same as values for --json."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from nntune.errors import NotFoundError
from nntune.space import Space, parse
from nntune.study import Summary, Trial, View

if TYPE_CHECKING:
    from nntune.data import Description

# Flags of a search that say what is learnt and how it is judged, not what is tried.
_OF_THE_DATA = (
    "-t", "--target", "--task", "--metric", "--ignore", "--categorical", "--numeric", "--valid",
    "--test", "--seed", "--patience",
)  # fmt: skip
_GAUGE = 24  # characters of the picture of a range


def draw(renderable: RenderableType) -> None:
    """Prints on standard output; a pipe gets long lines whole, without blanks at their ends."""
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        console.print(renderable, soft_wrap=True)
        return
    console.width = 200
    with console.capture() as capture:
        console.print(renderable, soft_wrap=True)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def number(value: float | None) -> str:
    """A value in four significant digits, large ones in whole.

    >>> number(0.123456), number(48211.3), number(1e-5), number(None)
    ('0.1235', '48211', '1e-05', '-')
    """
    if value is None:
        return "-"
    if 1000 <= abs(value) < 1e9:
        return f"{value:.0f}"
    return f"{value + 0.0:.4g}"  # no -0


def duration(seconds: float) -> str:
    """A time span as people say it.

    >>> duration(5.2), duration(200), duration(7300)
    ('5s', '3m 20s', '2h 1m')
    """
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    return f"{minutes // 60}h {minutes % 60}m"


def space_of(view: View) -> Space:
    """The search space of a study."""
    return Space(tuple(parse(name, text) for name, text in view.definition.space.items()))


def best(view: View) -> RenderableType:
    """The winner: its value, its configuration in its ranges, and what to do about an edge."""
    trial, space = _winner(view), space_of(view)
    params = space.params(trial.params)
    counts = view.counts()
    definition = view.definition
    running = counts.get("running", 0)
    done = sum(counts.values()) - running
    states = ", ".join(
        f"{counts[s]} {s}" for s in ("complete", "pruned", "failed") if counts.get(s)
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_row("study", f"{view.name} ({view.path}): {done} trials, {states}")
    facts.add_row("target", f"{definition.data['target']} ({definition.data['task']})")
    facts.add_row("best", f"trial #{trial.number}, epoch {trial.epoch} of {params['epochs']}")
    facts.add_row(definition.metric, f"{number(trial.value)} on {_validation(view)}")
    default = view.trial(0)
    if trial.number and default.value is not None:
        cut = f", {default.state} at {default.reason}" if default.state == "pruned" else ""
        facts.add_row("", f"{number(default.value)} with the default configuration (#0{cut})")
    notes = [Text(line) for line in (*_edges(space, params), *_caveats(view, running))]
    return Group(facts, "", _configuration(space, params), "", *notes, Text(_repeat(view, trial)))


def best_json(view: View) -> dict[str, Any]:
    """The winner as values."""
    trial = _winner(view)
    definition = view.definition
    return {
        "schema": "nntune.best/1",
        "study": view.name,
        "db": str(view.path),
        "metric": definition.metric,
        "direction": definition.direction,
        **_trial_values(view, trial),
        "trials": view.counts(),
        "seed": definition.seed,
        "edges": _edge_names(space_of(view), space_of(view).params(trial.params)),
        "command": definition.command,
        "repeat": _repeat_command(view, trial),
    }


def leaderboard(view: View, trials: Sequence[Trial]) -> RenderableType:
    """Trials in rows; hyperparameters that the study tunes in columns."""
    space = space_of(view)
    tuned = [each.name for each in space.hyperparameters if not each.fixed]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("#", "state", view.definition.metric, "epoch", *tuned, "why"):
        table.add_column(name, justify="left" if name in ("state", "why") else "right")
    for trial in trials:
        params = space.params(trial.params)
        table.add_row(
            str(trial.number),
            trial.state,
            number(trial.value),
            str(trial.epoch or "-"),
            *(_plain(params[name]) for name in tuned),
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
        "trials": [_trial_values(view, trial) for trial in trials],
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
    parts: list[RenderableType] = [facts, "", _configuration(space, params)]
    if curve:
        first, last = number(curve[0]), number(curve[-1])
        line = f"{first} {_sparkline(curve)} {last}"
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
        **_trial_values(view, trial),
        "bracket": trial.bracket + 1,
        "seconds": trial.seconds,
        "rungs": {str(epoch): _finite(value) for epoch, value in trial.rungs.items()},
        "curve": [_finite(value) for value in view.curve(trial.number)],
    }


def _finite(value: float) -> float | None:
    """The number, unless JSON has none like it."""
    return value if math.isfinite(value) else None


def studies(folder: Path, found: Sequence[Summary]) -> RenderableType:
    """The studies of a folder in rows."""
    if not found:
        return Text(f"There are no studies in {folder}; nntune search makes one.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("study", "trials", "metric", "best", "changed", "file"):
        table.add_column(name, justify="right" if name in ("trials", "best") else "left")
    for each in found:
        table.add_row(
            each.name,
            str(each.trials),
            each.metric,
            number(each.best),
            each.changed,
            str(each.path),
        )
    return table


def studies_json(found: Sequence[Summary]) -> dict[str, Any]:
    """The studies as values."""
    rows = [{**each._asdict(), "path": str(each.path)} for each in found]
    return {"schema": "nntune.studies/1", "studies": rows}


def _winner(view: View) -> Trial:
    trial = view.best()
    if trial is None:
        raise NotFoundError(f"study '{view.name}' has no trial with a value yet.")
    return trial


def _trial_values(view: View, trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state,
        "value": trial.value,
        "epoch": trial.epoch,
        "reason": trial.reason,
        "params": space_of(view).params(trial.params),
    }


def _validation(view: View) -> str:
    return f"{view.definition.data['counts']['valid']:,} validation rows"


def _configuration(space: Space, params: dict[str, Any]) -> Table:
    """Each value where it stands in its range."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("hyperparameter", "value", "", "range"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for each in space.hyperparameters:
        text = "fixed" if each.fixed else each.text
        place = each.position(params[each.name])
        table.add_row(each.name, _plain(params[each.name]), _gauge(place), text)
    return table


def _gauge(position: float | None) -> str:
    if position is None:
        return ""
    place = round(position * (_GAUGE - 1))
    return "·" * place + "●" + "·" * (_GAUGE - 1 - place)


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _edge_names(space: Space, params: dict[str, Any]) -> dict[str, Literal["low", "high"]]:
    found = {each.name: each.edge(params[each.name]) for each in space.hyperparameters}
    return {name: edge for name, edge in found.items() if edge}


def _edges(space: Space, params: dict[str, Any]) -> list[str]:
    lines = []
    for name, edge in _edge_names(space, params).items():
        # Optuna keeps the choices of a parameter for good; a range may grow within a study.
        how = "in a new study (--study NAME)" if space[name].choices else "with --update-space"
        lines.append(
            f"edge: {name} {_plain(params[name])} lies at the {edge} end of {space[name].text}; "
            f"--{name.replace('_', '-')} {space[name].widened(edge)} looks further, {how}."
        )
    return lines


def _caveats(view: View, running: int) -> list[str]:
    counts = view.counts()
    values = counts.get("complete", 0) + counts.get("pruned", 0)
    lines = [
        f"This is the best of {values} noisy values, so a new sample will score a little worse."
    ] * (values > 1)
    rows = view.definition.data["counts"]["valid"]
    if rows < 50:
        lines.append(f"It rests on {rows} validation rows: small differences mean nothing.")
    if running:
        lines.append(f"{running} trials are unfinished; the search's command goes on with them.")
    return lines


def _repeat(view: View, trial: Trial) -> str:
    command = _repeat_command(view, trial)
    return f"this configuration trained anew, from other initial weights:\n  {command}"


def _repeat_command(view: View, trial: Trial) -> str:
    """The command that trains just this configuration, as a study of its own."""
    words = ["nntune", "search", view.definition.data["source"]]
    given = shlex.split(view.definition.command)
    for place, word in enumerate(given):
        flag, _, value = word.partition("=")
        if flag in _OF_THE_DATA:
            words += [flag, value or (given[place + 1] if place + 1 < len(given) else "")]
    words += ["--study", f"{view.name}-{trial.number}", "--trials", "1"]
    for name, chosen in space_of(view).params(trial.params).items():
        words += [f"--{name.replace('_', '-')}", str(chosen)]
    return shlex.join(words)


def _sparkline(curve: Sequence[float], width: int = 60) -> str:
    """A curve in one line of text, one character an epoch or a few.

    >>> _sparkline([1, 2, 3, 2, 1])
    '▁▄█▄▁'
    """
    picked = [
        curve[i * len(curve) // min(width, len(curve))] for i in range(min(width, len(curve)))
    ]
    finite = [value for value in picked if math.isfinite(value)]
    if not finite:
        return "x" * len(picked)
    low, span = min(finite), (max(finite) - min(finite)) or 1
    marks = "▁▂▃▄▅▆▇█"
    return "".join(marks[int((v - low) / span * 7)] if math.isfinite(v) else "x" for v in picked)


def data(description: "Description") -> RenderableType:
    """What was understood of a data file."""
    return Text(description.text(), no_wrap=True)


def data_json(description: "Description") -> dict[str, Any]:
    """What was understood of a data file, as values."""
    return {"schema": "nntune.data/1", **description.values()}
