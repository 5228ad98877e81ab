"""Numbers, spans of time and curves in few characters."""

import math
from collections.abc import Sequence
from typing import Any


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


def plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def finite(value: float) -> float | None:
    """The number, unless JSON has none like it."""
    return value if math.isfinite(value) else None


def sparkline(curve: Sequence[float], width: int = 60) -> str:
    """A curve in one line of text, one character an epoch or a few.

    >>> sparkline([1, 2, 3, 2, 1])
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
