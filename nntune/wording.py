"""How numbers and names are written in tables and sentences."""

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


# U+2400 and on are pictures of the control characters; line ends and tabs are let through.
_PICTURES = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)


def harmless(text: str) -> str:
    r"""Text of which no character does anything to a terminal, whoever gave the names in it.

    >>> harmless("a\x1b[2Jb")
    'a␛[2Jb'
    """
    return text if text.isprintable() else text.translate(_PICTURES)


def plain(value: Any) -> str:
    """A hyperparameter's value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
