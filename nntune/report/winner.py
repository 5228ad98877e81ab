"""The best trial of a study: what `nntune best` says, and a search when it ends."""

import shlex
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nntune.errors import NotFoundError
from nntune.report.configuration import configuration, edge_names, trial_values
from nntune.report.wording import number, states
from nntune.space import explicit, flag_of
from nntune.study import Trial, View
from nntune.verdict import sentences
from nntune.verdict.findings import findings

# Flags of a search that say what is learnt and how it is judged, not what is tried.
_OF_THE_DATA = (
    "-t", "--target", "--task", "--metric", "--ignore", "--categorical", "--numeric", "--text",
    "--ngrams", "--characters", "--vocabulary", "--case", "--valid", "--test", "--cv",
    "--group-col", "--image", "--time-col", "--lags", "--subsample", "--seed", "--patience",
)  # fmt: skip


def best(view: View) -> RenderableType:
    """The winner: its value, what it is worth, its configuration in its ranges, what to do."""
    trial, found = judged(view)
    params = view.space.params(trial.params)
    counts = view.counts()
    definition = view.definition
    running = counts["running"]
    done = sum(counts.values()) - running
    facts = Table.grid(padding=(0, 2))
    trials = f"{done} trial{'s' * (done != 1)}, {states(counts)}"
    facts.add_row("study", f"{view.name} ({view.path}): {trials}")
    facts.add_row("target", f"{definition.data['target']} ({definition.data['task']})")
    if found is None:
        facts.add_row("best", f"trial #{trial.number}, epoch {trial.epoch} of {params['epochs']}")
        facts.add_row(definition.metric, f"{number(trial.value)} on {_validation(view)}")
    else:
        epoch = found["confirmed"]["epoch"]
        facts.add_row("best", f"trial #{trial.number}, epoch {epoch} of {params['epochs']}")
        headline = f"{sentences.headline(found)}, on {_validation(view)}"
        facts.add_row(definition.metric, headline)
        if luck := sentences.luck(found):
            facts.add_row("", luck)
    default = view.trial(0)
    if trial.number and default.value is not None:
        cut = f", {default.state} at {default.reason}" if default.state == "pruned" else ""
        where = " in the search" * (found is not None)  # of one seed, below a mean over fresh ones
        value = f"{number(default.value)}{where}"
        facts.add_row("", f"{value} with the default configuration (#0{cut})")
    noted = [f"{each.name}: {each.sentence}" for each in findings(view)]
    words = [Text(line) for line in (sentences.against(found) if found else [])]
    notes = [Text(line) for line in (*noted, *_caveats(counts, found))]
    parts: list[RenderableType] = [
        facts,
        "",
        *words,
        *([""] if words else []),
        configuration(view.space, params),
        "",
    ]
    return Group(*parts, *notes, Text(_repeat(view, trial)))


def best_json(view: View) -> dict[str, Any]:
    """The winner as values."""
    trial, found = judged(view)
    definition = view.definition
    return {
        "schema": "nntune.best/1",
        "study": view.name,
        "db": str(view.path),
        "metric": definition.metric,
        "direction": definition.direction,
        **trial_values(view.space, trial),
        "trials": view.counts(),
        "stopped": view.stopped,
        "seed": definition.seed,
        "confirmed": found and _confirmed(found),
        "findings": [each._asdict() for each in findings(view)],
        "edges": edge_names(view.space, view.space.params(trial.params)),
        "command": definition.command,
        "repeat": repeat_command(view, trial),
    }


def _confirmed(found: dict[str, Any]) -> dict[str, Any]:
    kept = ("confirmed", "luck", "baselines")
    return {"winner": found["winner"], **{key: found[key] for key in kept}}


def winner(view: View) -> Trial:
    return judged(view)[0]


def judged(view: View) -> tuple[Trial, dict[str, Any] | None]:
    """The winner, and its confirmation if there is one.

    Raises:
        NotFoundError: no trial has a value yet.
    """
    trial, found = view.judged()
    if trial is None:
        raise NotFoundError(f"study '{view.name}' has no trial with a value yet.")
    return trial, found


def _validation(view: View) -> str:
    rows = f"{view.validated:,} validation rows"
    return f"{rows}, the mean of {view.folds} folds" if view.folds > 1 else rows


def _caveats(counts: dict[str, int], found: dict[str, Any] | None) -> list[str]:
    running, values = counts["running"], counts["complete"] + counts["pruned"]
    lines = [
        f"This is the best of {values} noisy values, so a new sample will score worse; "
        "nntune confirm says how much."
    ] * (values > 1 and found is None)
    if running:
        lines.append(
            "1 trial is unfinished; the search's command goes on with it."
            if running == 1
            else f"{running} trials are unfinished; the search's command goes on with them."
        )
    return lines


def _repeat(view: View, trial: Trial) -> str:
    other = ", from other initial weights" * (trial.number > 0)  # it is trial 0 of its own study
    return f"this configuration trained anew{other}:\n  {repeat_command(view, trial)}"


def repeat_command(view: View, trial: Trial) -> str:
    """The command that trains just this configuration, as a study of its own."""
    words = ["nntune", "search", view.definition.data["source"]]
    given = shlex.split(view.definition.command)
    for place, word in enumerate(given):
        flag, _, value = word.partition("=")
        if flag in _OF_THE_DATA:
            words += [flag, value or (given[place + 1] if place + 1 < len(given) else "")]
    words += [word for word in given if word == "--series"]
    words += ["--study", f"{view.name}-{trial.number}", "--trials", "1"]
    for name, chosen in explicit(view.space.params(trial.params)).items():
        words += flag_of(name, str(chosen))
    return shlex.join(words)
