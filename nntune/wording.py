"""How numbers are written in tables and sentences."""

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


def plain(value: Any) -> str:
    """A hyperparameter's value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
