"""The pictures of a search: how it went, what trained how, and where good values lie."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from nntune.report.figure import Bars, Chart, Figure, Series, of_numbers
from nntune.report.importance import importances
from nntune.report.marks import by_state, drawn_of, labelled, placed, thinned, valued, values
from nntune.report.ranges import contour, parallel, slices
from nntune.report.wording import number, states
from nntune.study import Listed, View

_MOST_CURVES, _MOST_VERTICES = 24, 120


def history(view: View) -> Figure:
    """Each trial's value in their order, and the best so far."""
    trials = sorted(valued(view), key=lambda trial: trial.number)
    better = max if view.direction == "maximize" else min
    so_far = list(accumulate(values(trials), better))
    y = of_numbers(view.definition.metric, so_far + values(trials), may_be_log=True)
    x = of_numbers("trial", [trial.number for trial in trials])
    shown = thinned(view, trials)
    points = by_state(view, shown, [float(t.number) for t in shown], placed(y.place, shown))
    across, up = _steps([float(t.number) for t in trials], [y.place(v) or 0.0 for v in so_far])
    led = [(t, best) for t, best in zip(trials, so_far, strict=True) if t.value == best]
    return Figure(
        "history", "Values in the order of trials",
        f"Each point is a trial, the line the best so far: {number(so_far[-1])} after "
        f"{len(trials):,} trials with a value.{drawn_of(shown, trials)}",
        (Chart("", x.axis, y.axis, (*points, Series("line", "best so far", "best", across, up))),),
        ("trial that led", "state", view.definition.metric),
        tuple((t.number, t.state, number(t.value)) for t, _ in led),
    )  # fmt: skip


def curves(view: View) -> Figure:
    """Learning curves of the best and of some others, with where and why they end."""
    trials = valued(view)
    ended = [t for t in trials if t.state == "complete"][: _MOST_CURVES // 2]
    cut = [t for t in trials if t.state == "pruned"]
    picked = ended + cut[:: max(1, math.ceil(2 * len(cut) / _MOST_CURVES))]
    best = trials[0]
    if best not in picked:
        picked.append(best)
    drawn = {trial.number: view.curve(trial.number) for trial in picked}
    values = [value for curve in drawn.values() for value in curve]
    y = of_numbers(view.definition.metric, values, may_be_log=True)
    longest = max(map(len, drawn.values()))
    x = of_numbers("epoch", [1, longest], may_be_log=True)
    series: list[Series] = []
    for trial in sorted(picked, key=lambda t: (t is best, t.state == "complete")):
        series += _curve(trial, drawn[trial.number], x.place, y.place, leads=trial is best)
    rungs = [x.place(rung) for rung in view.definition.training.get("rungs", [])]
    rows = tuple(
        (t.number, t.state, t.reason, len(drawn[t.number]), t.epoch, number(t.value))
        for t in picked
    )
    return Figure(
        "curves", "Learning curves",
        f"{view.definition.metric} on the validation rows after each epoch, of {len(picked)} of "
        f"{len(trials)} trials: the best (#{best.number}, thick), the best complete ones, and some "
        "that were cut, which end in a cross. A dot is where a training ended by itself, upright "
        "lines are the rungs at which brackets are cut.",
        (Chart("", x.axis, y.axis, labelled(series), tuple(r for r in rungs if r is not None)),),
        ("trial", "state", "why it ended", "epochs", "best epoch", view.definition.metric), rows,
    )  # fmt: skip


def importance(view: View, evaluator: str = "ped-anova") -> Figure:
    """How much each hyperparameter matters."""
    found = importances(view, evaluator)
    said = [
        f"{entry.share:.2f}" + ("" if entry.told else ", no more than chance")
        for entry in found.entries
    ]
    what = {
        "ped-anova": "Importance for being among the best third (PED-ANOVA)",
        "fanova": "Share of the spread of values that each explains (fANOVA)",
    }
    chance = " The mark is what shuffled values reach too." if found.entries[0].chance else ""
    return Figure(
        "importance", "Importance of hyperparameters",
        f"{what[evaluator]}, from {states(found.trials)}.{chance}",
        (Bars("", tuple(e.name for e in found.entries), tuple(e.share for e in found.entries),
              tuple(e.chance for e in found.entries), tuple(said)),),
        ("hyperparameter", "importance", "reached by chance", "says more than chance"),
        tuple((e.name, f"{e.share:.3f}", "-" if e.chance is None else f"{e.chance:.3f}",
               "yes" if e.told else "no") for e in found.entries),
    )  # fmt: skip


def _steps(x: Sequence[float], y: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Corners of a line that keeps its height until it changes.

    >>> _steps([0, 1, 2, 3], [5, 5, 4, 4])
    ((0, 2, 2, 3), (5, 5, 4, 4))
    """
    corners = [(x[0], y[0])]
    for a, b in zip(x, y, strict=True):
        if b != corners[-1][1]:
            corners += [(a, corners[-1][1]), (a, b)]
    corners.append((x[-1], y[-1]))
    return tuple(a for a, _ in corners), tuple(b for _, b in corners)


def _curve(
    trial: Listed, curve: Sequence[float], across: Callable[[Any], float | None],
    up: Callable[[Any], float | None], *, leads: bool,
) -> list[Series]:  # fmt: skip
    step = math.ceil(len(curve) / _MOST_VERTICES)
    epochs = sorted({*range(1, len(curve) + 1, step), len(curve), trial.epoch or 1})
    places = [(across(e), up(curve[e - 1])) for e in epochs if e <= len(curve)]
    known = [(a, b) for a, b in places if a is not None and b is not None]
    if not known:
        return []
    tone: Any = "best" if leads else "complete" if trial.state == "complete" else "faint"
    x, y = zip(*known, strict=True)
    note = (f"#{trial.number}, {trial.state} ({trial.reason}), best {number(trial.value)} at epoch "
            f"{trial.epoch}",)  # fmt: skip
    label = f"the best, #{trial.number}" if leads else trial.state
    cut = trial.state == "pruned"
    end = Series("points", "cut" if cut else "ended by itself", "cut" if cut else "end",
                 x[-1:], y[-1:], note)  # fmt: skip
    return [Series("line", label, tone, x, y, note), end]


FIGURES: dict[str, Callable[..., Figure]] = {
    "history": history,
    "curves": curves,
    "slice": slices,
    "parallel": parallel,
    "importance": importance,
    "contour": contour,
}
OVER_RANGES = ("slice", "parallel", "contour")  # these take names of hyperparameters
