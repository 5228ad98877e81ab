"""A picture as plain values, before it is drawn in a terminal, on a page or by matplotlib.

Coordinates are those of the axes: what is logarithmic is a logarithm already, words are numbered.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from nntune.report.wording import number
from nntune.space import Hyperparameter

Tone: TypeAlias = Literal["best", "complete", "pruned", "faint", "cut", "end"]
_GAP = 0.1  # of a log range, between its low end and the zero beside it


class Axis(NamedTuple):
    """One direction of a chart: its ends, and what stands at which places."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


class Scale(NamedTuple):
    """An axis, and where a value lies on it; None for one that has no place."""

    axis: Axis
    place: Callable[[Any], float | None]


class Series(NamedTuple):
    """Marks of one kind.

    Attributes:
        notes: what is said of each mark; one for all of them, or none.
    """

    kind: Literal["points", "line"]
    label: str  # for the legend; empty for none
    tone: Tone
    x: tuple[float, ...]
    y: tuple[float, ...]
    notes: tuple[str, ...] = ()


class Chart(NamedTuple):
    """Series over two axes; `rules` are upright lines, `texts` stand at (x, y)."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    rules: tuple[float, ...] = ()
    texts: tuple[tuple[float, float, str], ...] = ()


class Grid(NamedTuple):
    """Cells with a text and a shade from 0 to 1; None leaves one empty."""

    title: str
    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    shades: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]


class Bars(NamedTuple):
    """Lengths from 0 to 1, with a mark beside each, such as what chance would reach."""

    title: str
    names: tuple[str, ...]
    lengths: tuple[float, ...]
    marks: tuple[float | None, ...]
    texts: tuple[str, ...]


class Figure(NamedTuple):
    """Panels that belong together, what they show in words, and the table behind them."""

    name: str
    title: str
    caption: str
    panels: tuple[Chart | Grid | Bars, ...]
    headings: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def of_numbers(label: str, values: Sequence[float], *, may_be_log: bool = False) -> Scale:
    """A scale that holds all values; logarithmic if they are positive and differ thirtyfold."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    if may_be_log and low > 0 and high / low > 30:
        axis = Axis(label, math.log10(low), math.log10(high), _decades(low, high))
        return Scale(_with_room(axis), _logarithm)
    return Scale(_with_room(Axis(label, low, high, _round_numbers(low, high))), _finite)


def of_choices(label: str, names: Sequence[str]) -> Scale:
    """A scale of words, in their order."""
    ticks = tuple((float(place), name) for place, name in enumerate(names))
    places = dict(zip(names, map(float, range(len(names))), strict=True))
    return Scale(Axis(label, -0.5, len(names) - 0.5, ticks), places.get)


def of_hyperparameter(each: Hyperparameter) -> Scale:
    """The scale of its range, in which values of earlier ranges may have no place."""
    scale = _of_range(each)
    return scale._replace(place=lambda value: scale.place(value) if each.contains(value) else None)


def _of_range(each: Hyperparameter) -> Scale:
    """A zero beside a log range stands a little apart."""
    if each.choices:
        scale = of_choices(each.name, [str(choice) for choice in each.choices])
        return scale._replace(place=lambda value: scale.place(str(value)))
    if not each.log:
        axis = Axis(each.name, each.low, each.high, _round_numbers(each.low, each.high))
        return Scale(_with_room(axis), _finite)
    low, high = math.log10(each.low), math.log10(each.high)
    ticks = _decades(each.low, each.high)
    if not each.zero:
        return Scale(_with_room(Axis(each.name, low, high, ticks)), _logarithm)
    zero = low - _GAP * (high - low)
    axis = _with_room(Axis(each.name, zero, high, ((zero, "0"), *ticks)))
    return Scale(axis, lambda value: zero if value == 0 else _logarithm(value))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _logarithm(value: float | None) -> float | None:
    return math.log10(value) if value is not None and 0 < value < math.inf else None


def _with_room(axis: Axis) -> Axis:
    """Ends moved out a little, so that marks at an end are whole."""
    room = 0.04 * (axis.high - axis.low) or abs(axis.low) * 0.1 or 0.5
    return axis._replace(low=axis.low - room, high=axis.high + room)


def _round_numbers(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Some four to seven places that read well.

    >>> [text for _, text in _round_numbers(0, 0.5)]
    ['0', '0.1', '0.2', '0.3', '0.4', '0.5']
    """
    if high <= low:
        return ((low, number(low)),)
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple((k * step, number(k * step)) for k in range(first, last + 1))


def _decades(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Powers of ten, with twos and fives where there are few; the ends where there are none.

    >>> [text for _, text in _decades(3e-4, 3e-2)]
    ['5e-4', '1e-3', '2e-3', '5e-3', '1e-2', '2e-2']
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first < 4 else (1,)
    stride = max(1, (last - first) // 6)
    found = [(f, power) for power in range(first, last + 1, stride) for f in factors]
    inside = [(f * 10.0**power, f, power) for f, power in found]
    ticks = tuple(
        (math.log10(value), f"{f}e{power}" if abs(power) > 2 or low < 1e-2 else f"{value:g}")
        for value, f, power in inside
        if low * 0.999 <= value <= high * 1.001
    )
    return ticks or tuple((math.log10(end), number(end)) for end in (low, high))
