"""Pictures over the ranges of hyperparameters: slices, parallel coordinates, two together."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from nntune.errors import NotFoundError, UsageError, did_you_mean
from nntune.report.figure import (
    Axis,
    Chart,
    Figure,
    Grid,
    Series,
    Tone,
    of_choices,
    of_hyperparameter,
    of_numbers,
)
from nntune.report.importance import importances
from nntune.report.marks import by_state, drawn_of, labelled, note, placed, thinned, valued, values
from nntune.report.tuned import ranges, tuned
from nntune.report.wording import number, plain
from nntune.space import Hyperparameter
from nntune.study import Listed, View

_MOST_LINES = 60
_SLICES = 8  # of a range


class Slices(NamedTuple):
    """Parts of a hyperparameter's range, from the low end to the high one, and that of a value."""

    names: tuple[str, ...]
    part: Callable[[Any], int]


def slices(view: View, names: Sequence[str] = ()) -> Figure:
    """For each hyperparameter: every trial, and the best of each part of its range."""
    trials = valued(view)
    y = of_numbers(view.definition.metric, values(trials), may_be_log=True)
    shown = thinned(view, trials)
    params = {trial.number: view.space.params(trial.params) for trial in trials}
    panels, rows = [], []
    for each in _chosen(view, trials, names):
        scale = of_hyperparameter(each)
        at = {n: scale.place(found.get(each.name)) for n, found in params.items()}
        best = _best_of_slices(
            each, [(t, params[t.number][each.name]) for t in trials if at[t.number] is not None]
        )
        points = by_state(view, shown, [at[t.number] for t in shown], placed(y.place, shown))
        line = Series(
            "line", "best of each slice", "best",
            tuple(at[t.number] or 0.0 for t, _, _ in best),
            tuple(y.place(t.value) or 0.0 for t, _, _ in best),
            tuple(note(view, t) for t, _, _ in best),
        )  # fmt: skip
        panels.append(Chart(each.name, scale.axis, y.axis, (*points, *[line] * bool(best))))
        rows += [(each.name, where, count, t.number, number(t.value)) for t, where, count in best]
    return Figure(
        "slice", "Isolation: the best trial of each slice",
        "A point is a trial. The line joins the best trial of each part of a hyperparameter's "
        "range, whatever the others are: where it is flat, the hyperparameter does not matter.",
        tuple(panels),
        ("hyperparameter", "slice", "trials", "best trial", view.definition.metric), tuple(rows),
    )  # fmt: skip


def parallel(view: View, names: Sequence[str] = ()) -> Figure:
    """Configurations as lines across all hyperparameters, the best tenth marked."""
    trials = valued(view)
    chosen = _chosen(view, trials, names)
    leading = max(1, len(trials) // 10)
    step = max(1, math.ceil((len(trials) - leading) / _MOST_LINES))
    shown = [*trials[:leading][:_MOST_LINES], *trials[leading::step]]
    best = {trial.number for trial in trials[:leading]}
    scales = [of_hyperparameter(each) for each in chosen]
    x = of_choices("", [each.name for each in chosen]).axis
    series = []
    for trial in reversed(shown):
        params = view.space.params(trial.params)
        places = [
            (float(n), s.axis, s.place(params.get(s.axis.label))) for n, s in enumerate(scales)
        ]
        line = [(n, _share(axis, place)) for n, axis, place in places if place is not None]
        tone: Tone = "best" if trial.number in best else "faint"
        label = "best tenth" if tone == "best" else "others"
        if not line:  # of a family that has none of them, or drawn from earlier ranges
            continue
        across, up = zip(*line, strict=True)
        series.append(Series("line", label, tone, across, up, (note(view, trial),)))
    texts = []
    for place, scale in enumerate(scales):
        for end in (scale.axis.ticks[0], scale.axis.ticks[-1]):
            texts.append((float(place), _share(scale.axis, end[0]), end[1]))
    rows = [
        (
            t.number,
            number(t.value),
            *(plain(view.space.params(t.params).get(h.name, "-")) for h in chosen),
        )
        for t in trials[:leading][:50]
    ]
    return Figure(
        "parallel", "Configurations of the best tenth",
        f"Each line is a trial, each upright a hyperparameter from the low end of its range to the "
        f"high one; the best {leading} of {len(trials)} trials stand out."
        f"{drawn_of(series, trials)}",
        (Chart("", x, Axis("", -0.08, 1.08, ()), labelled(series),
               tuple(float(p) for p in range(len(chosen))), tuple(texts)),),
        ("trial", view.definition.metric, *(each.name for each in chosen)), tuple(rows),
    )  # fmt: skip


def contour(view: View, names: Sequence[str] = ()) -> Figure:
    """The best value of each cell of two hyperparameters: those named, or the most important."""
    trials = valued(view)
    across, down = _two(view, trials, names)
    (columns, column), (rows, row) = _slices(across), _slices(down)
    best: dict[tuple[int, int], Listed] = {}
    for trial in trials:  # the best first
        params = view.space.params(trial.params)
        if all(each.contains(params.get(each.name)) for each in (across, down)):
            best.setdefault((row(params[down.name]), column(params[across.name])), trial)
    ranked = list(best)
    shade = {cell: 1 - place / max(1, len(ranked) - 1) for place, cell in enumerate(ranked)}
    cells = [[(r, c) for c in range(len(columns))] for r in range(len(rows))]
    return Figure(
        "contour", f"{across.name} and {down.name} together",
        "Each cell has the best value of the trials in it, the stronger its colour the better; "
        "empty cells were not tried.",
        (Grid("", across.name, down.name, tuple(columns), tuple(reversed(list(rows))),
              tuple(tuple(shade.get(cell) for cell in line) for line in reversed(cells)),
              tuple(tuple(number(best[c].value) if c in best else "" for c in line)
                    for line in reversed(cells))),),
        (across.name, down.name, "best trial", view.definition.metric),
        tuple((columns[c], rows[r], best[r, c].number, number(best[r, c].value))
              for r, c in ranked),
    )  # fmt: skip


def _chosen(view: View, trials: Sequence[Listed], names: Sequence[str]) -> list[Hyperparameter]:
    """Those named, or all that are tuned or were."""
    known = tuned(view.space, trials)
    for name in names:
        if name not in known:
            raise UsageError(
                f"--param {name}: study '{view.name}' tunes {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
    if not known:
        raise NotFoundError(f"study '{view.name}' tunes nothing; every hyperparameter is fixed.")
    return ranges(view, names or known)


def _two(view: View, trials: Sequence[Listed], names: Sequence[str]) -> list[Hyperparameter]:
    chosen = _chosen(view, trials, names)
    if not names and len(chosen) > 1:
        ranks = [entry.name for entry in importances(view).entries]
        chosen = sorted(chosen, key=lambda each: ranks.index(each.name))[:2]
    if len(chosen) != 2:
        raise UsageError(
            "contour needs two hyperparameters: --param lr --param units, for example."
        )
    return chosen


def _share(axis: Axis, place: float) -> float:
    return (place - axis.low) / (axis.high - axis.low)


def _slices(each: Hyperparameter) -> Slices:
    """Each choice or whole number if there are few, else eight parts; a zero is one of its own."""
    scale = of_hyperparameter(each)
    if each.choices:
        return Slices(tuple(map(str, each.choices)), each.choices.index)
    whole = isinstance(each.low, int) and not each.log
    if whole and each.high - each.low < _SLICES:
        numbers = range(int(each.low), int(each.high) + 1)
        return Slices(tuple(map(str, numbers)), lambda value: int(value - each.low))
    low, high = scale.place(each.low) or 0.0, scale.place(each.high) or 0.0
    ends = [low + (high - low) * part / _SLICES for part in range(_SLICES + 1)]
    shown = [_brief(10**end if each.log else end) for end in ends]
    names = tuple(f"{a} to {b}" for a, b in pairwise(shown))
    zeros = int(each.zero)

    def part(value: Any) -> int:
        if each.zero and value == 0:
            return 0
        share = ((scale.place(value) or 0.0) - low) / (high - low)
        return zeros + min(_SLICES - 1, int(share * _SLICES))

    return Slices(("0",) * zeros + names, part)


def _brief(value: float) -> str:
    """Two digits.

    >>> _brief(0.00053351), _brief(0.0625), _brief(0.0)
    ('5.3e-4', '0.062', '0')
    """
    if 0 < abs(value) < 0.01:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.2g}"


def _best_of_slices(
    each: Hyperparameter, trials: Sequence[tuple[Listed, Any]]
) -> list[tuple[Listed, str, int]]:
    """(best trial, slice, trials in it), from the low end to the high one; `trials` best first."""
    found: dict[int, tuple[Listed, int]] = {}
    names, part = _slices(each)
    for trial, value in trials:
        best, count = found.get(part(value), (trial, 0))
        found[part(value)] = (best, count + 1)
    return [(found[p][0], names[p], found[p][1]) for p in sorted(found)]
