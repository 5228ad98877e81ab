"""Trials as marks of a picture: which are drawn, where, and what is said of each."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from nntune.errors import NotFoundError
from nntune.report.figure import Series
from nntune.report.wording import number
from nntune.study import Listed, View

_MOST_POINTS = 400


def valued(view: View) -> list[Listed]:
    """Ended trials with a finite value, the best first."""
    found = [t for t in view.listed() if t.value is not None and math.isfinite(t.value)]
    if not found:
        raise NotFoundError(f"study '{view.name}' has no trial with a value yet.")
    return found


def values(trials: Sequence[Listed]) -> list[float]:
    return [trial.value for trial in trials if trial.value is not None]


def placed(place: Callable[[Any], float | None], trials: Sequence[Listed]) -> list[float | None]:
    return [place(trial.value) for trial in trials]


def note(view: View, trial: Listed) -> str:
    why = f" ({trial.reason})" if trial.reason else ""
    return f"#{trial.number}: {number(trial.value)} {view.definition.metric}, {trial.state}{why}"


def drawn_of(shown: Sequence[Any], all_of_them: Sequence[Any]) -> str:
    few = len(shown) < len(all_of_them)
    return f" Of {len(all_of_them):,} trials {len(shown)} are drawn." if few else ""


def thinned(view: View, trials: Sequence[Listed]) -> list[Listed]:
    """At most so many that a picture stays small: every n-th, and the best."""
    step = math.ceil(len(trials) / _MOST_POINTS)
    picked = list(trials[::step]) if step > 1 else list(trials)
    best = min(trials, key=lambda t: (-1 if view.direction == "maximize" else 1) * (t.value or 0))
    return picked if best in picked else [best, *picked]


def by_state(
    view: View, trials: Sequence[Listed], x: Sequence[float | None], y: Sequence[float | None]
) -> list[Series]:
    """Points of pruned trials, then of complete ones, so that these lie on top."""
    found = []
    tones: tuple[tuple[str, Any], ...] = (("pruned", "pruned"), ("complete", "complete"))
    for state, tone in tones:
        marks = [
            (a, b, note(view, t))
            for t, a, b in zip(trials, x, y, strict=True)
            if t.state == state and a is not None and b is not None
        ]
        if marks:
            found.append(Series("points", state, tone, *zip(*marks, strict=True)))
    return found


def labelled(series: Sequence[Series]) -> tuple[Series, ...]:
    """The same with each label once, so that a legend is short."""
    seen: set[str] = set()
    found = []
    for each in series:
        found.append(each._replace(label="" if each.label in seen else each.label))
        seen.add(each.label)
    return tuple(found)
