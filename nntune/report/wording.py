"""Numbers, spans of time and curves in few characters."""

import math
from collections.abc import Mapping, Sequence

from nntune.wording import number, plain

__all__ = ["duration", "finite", "number", "plain", "sparkline", "states"]


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


def states(counts: Mapping[str, int]) -> str:
    """How many trials are in each state, those that ended.

    >>> states({"complete": 5, "pruned": 27, "failed": 0})
    '5 complete, 27 pruned'
    """
    named = ("complete", "pruned", "failed")
    return ", ".join(f"{counts[state]} {state}" for state in named if counts.get(state))


def finite(value: float) -> float | None:
    """The number, unless JSON has none like it."""
    return value if math.isfinite(value) else None


def sparkline(curve: Sequence[float]) -> str:
    """A curve in one line of text, one character an epoch or a few.

    >>> sparkline([1, 2, 3, 2, 1])
    '▁▄█▄▁'
    """
    return sparklines([curve])[0]


def sparklines(curves: Sequence[Sequence[float]], width: int = 60) -> list[str]:
    """Curves in a line of text each, on one scale and with as many epochs to a character.

    >>> sparklines([[1, 2, 3], [3]])
    ['▁▄█', '█']
    """
    longest = max(map(len, curves))
    columns = min(width, longest)
    values = [value for curve in curves for value in curve if math.isfinite(value)]
    low, span = min(values, default=0.0), (max(values, default=0.0) - min(values, default=0.0)) or 1

    def mark(value: float) -> str:
        return "▁▂▃▄▅▆▇█"[int((value - low) / span * 7)] if math.isfinite(value) else "x"

    places = [column * longest // columns for column in range(columns)]
    return ["".join(mark(curve[p]) for p in places if p < len(curve)) for curve in curves]
