"""The table as read: columns of numbers, strings or dates, and how strings become numbers.

Strings are dictionary codes, so that a million rows of ten words hold ten strings.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from nntune.families import Grid

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

# Whole numbers from here on have more digits than float64, or nearly so.
LARGE = 1e15
# What people write for "no value" among numbers; among strings only an empty cell is missing.
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-", "--", ".", "#n/a", "<na>"})
WHOLE = re.compile(r"[+-]?[0-9]{1,400}")

DATE_FORMATS = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
)
TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


@dataclass(frozen=True)
class Numbers:
    """Numbers; a missing one is nan.

    Args:
        values: as numbers.
        wholes: the same as integers, where some have more digits than float64; 0 for a missing one.
    """

    values: NDArray[Any]  # (N,)
    wholes: NDArray[Any] | None = None  # (N,) of integers of NumPy or Python

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows) -> "Numbers":
        return Numbers(self.values[rows], None if self.wholes is None else self.wholes[rows])


@dataclass(frozen=True)
class Strings:
    """Strings as codes into sorted levels; a missing one is -1."""

    codes: NDArray[np.int32]  # (N,)
    levels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Rows) -> "Strings":
        return Strings(self.codes[rows], self.levels)

    def packed(self) -> "Strings":
        """The same cells without the levels that do not occur."""
        used = np.flatnonzero(self.counts())
        if len(used) == len(self.levels):
            return self
        places = np.full(len(self.levels) + 1, -1, np.int32)
        places[used] = np.arange(len(used), dtype=np.int32)
        return Strings(places[self.codes], tuple(self.levels[i] for i in used))

    def counts(self) -> NDArray[np.intp]:  # (levels,)
        """How often each level occurs."""
        return np.bincount(self.codes + 1, minlength=len(self.levels) + 1)[1:]


@dataclass(frozen=True)
class Dates:
    """Moments in seconds since 1970 (UTC); a missing one is nan."""

    values: Floats  # (N,)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows) -> "Dates":
        return Dates(self.values[rows])


Cells = Numbers | Strings | Dates


@dataclass(frozen=True)
class Table:
    """Columns of one length.

    Args:
        name: how messages call the source.
        target: the column that the source itself says is to be predicted.
        test: rows that the source itself keeps apart.
        headerless: the columns were named by position.
        notes: what reading noticed, in sentences.
        nested: columns that were left out, as they hold lists, structures or bytes.
        grid: how the columns beside the target form images or series, if they do.
        files: path of each row's picture within its folder, if the source is one.
    """

    name: str
    columns: dict[str, Cells]
    target: str | None = None
    test: "Table | None" = None
    headerless: bool = False
    notes: tuple[str, ...] = field(default=())
    nested: tuple[str, ...] = ()
    grid: Grid | None = None
    files: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def strings(values: Sequence[str | None]) -> Strings:
    """Strings from plain values; None and '' are missing.

    >>> strings(["b", None, "a", "b"])
    Strings(codes=array([ 1, -1,  0,  1], dtype=int32), levels=('a', 'b'))
    """
    levels = sorted({v for v in values if v})
    places = {level: i for i, level in enumerate(levels)}
    codes = np.fromiter((places.get(v or "", -1) for v in values), np.int32, len(values))
    return Strings(codes, tuple(levels))


def spelled(value: float) -> str:
    """A number as its label.

    >>> spelled(3.0), spelled(0.25)
    ('3', '0.25')
    """
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def are_large(values: NDArray[Any]) -> bool:
    """Whether numbers are all whole, and some so large that float64 may merge them."""
    if values.dtype.itemsize < 8 or not ((values >= LARGE) | (values <= -LARGE)).any():
        return False
    known = values[~np.isnan(values)]
    return values.dtype.kind != "f" or bool((known == np.trunc(known)).all())


def numbers_of(values: NDArray[Any]) -> Numbers:
    """An array of numbers."""
    return Numbers(values, values if values.dtype.kind != "f" and are_large(values) else None)


def as_written(cells: Numbers, texts: NDArray[Any]) -> Numbers:
    """Large numbers with the integers that their texts spell, if all of them do.

    >>> as_written(Numbers(np.array([9e17, np.nan])), np.array(["900000000000000001", "?"])).wholes
    array([900000000000000001,                  0])
    """
    there = np.flatnonzero(~np.isnan(cells.values))
    if not all(WHOLE.fullmatch(texts[row]) for row in there):
        return cells
    wholes = np.zeros(len(cells), object)
    wholes[there] = [int(texts[row]) for row in there]
    try:
        return Numbers(cells.values, wholes.astype(np.int64))
    except OverflowError:
        return Numbers(cells.values, wholes)


def has_wholes(cells: Cells) -> TypeGuard[Numbers]:
    """Whether these are large whole numbers with all their digits."""
    return isinstance(cells, Numbers) and cells.wholes is not None


def exact(cells: Numbers | Dates) -> NDArray[Any]:
    """The values that are there, with all their digits."""
    wholes = cells.wholes if isinstance(cells, Numbers) else None
    return (cells.values if wholes is None else wholes)[~np.isnan(cells.values)]


def labels(cells: Cells) -> Strings:
    """Any column as categories; levels are in code point order."""
    if isinstance(cells, Strings):
        return cells
    distinct, places = np.unique(exact(cells), return_inverse=True)
    names = [str(v) if has_wholes(cells) else spelled(v) for v in distinct]
    order = sorted(range(len(names)), key=names.__getitem__)
    ranks = np.empty(len(names), np.int32)
    ranks[order] = np.arange(len(names), dtype=np.int32)
    codes = np.full(len(cells), -1, np.int32)
    codes[~np.isnan(cells.values)] = ranks[places]
    return Strings(codes, tuple(names[i] for i in order))


def number_style(levels: Sequence[str]) -> str:
    """How numbers are written: 'point', 'comma' (3,14 or 1.234,5) or 'thousands' (1,234.5).

    >>> number_style(["1,5", "2"]), number_style(["1,234", "n/a, ask"]), number_style(["1.5"])
    ('comma', 'thousands', 'point')
    """
    written = re.compile(r"[+-]?[\d.,]+([eE][+-]?\d+)?")
    marked = [s for s in levels if "," in s and written.fullmatch(s)]
    if not marked:
        return "point"
    if any("." in s for s in marked):
        return (
            "thousands" if all(s.rfind(".") > s.rfind(",") for s in marked if "." in s) else "comma"
        )
    grouped = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
    return "thousands" if all(grouped.fullmatch(s) for s in marked) else "comma"


# A number with points between its thousands, where the comma is decimal; 0.123 and 12.5 are none.
GROUPED = r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+"


def _number(text: str, style: str) -> float:
    if (style != "point" and "," in text) or (style == "comma" and re.fullmatch(GROUPED, text)):
        mark, group = (",", ".") if style == "comma" else (".", ",")
        text = text.replace(group, "").replace(mark, ".")
    # Python takes 1_000 for a number; in a table it is a name.
    return float("x" if "_" in text else text)


def level_numbers(levels: Sequence[str], style: str) -> tuple[Floats, NDArray[np.bool_]]:
    """Numbers that the levels spell, nan where they spell none, and which are not numbers at all.

    >>> level_numbers(["1,5", "NA", "abc", "1.234"], "comma")
    (array([   1.5,    nan,    nan, 1234. ]), array([False, False,  True, False]))
    """
    values = np.full(len(levels), np.nan)
    junk = np.zeros(len(levels), np.bool_)
    for i, text in enumerate(levels):
        if text.lower() in MISSING:
            continue
        try:
            values[i] = _number(text, style)
        except ValueError:
            junk[i] = True
    return values, junk


def numbers(cells: Cells, style: str = "point") -> Floats:  # (N,)
    """Any column as numbers; what is none is nan."""
    if isinstance(cells, Strings):
        cells = cells.packed()
        values, _ = level_numbers(cells.levels, style)
        return np.append(values, np.nan)[cells.codes]
    return np.asarray(cells.values, np.float64)


def date_format(levels: Sequence[str]) -> str | None:
    """The first format that reads every level ('iso' is tried first), or None.

    Day before month where both would do: most of the world writes so.

    >>> date_format(["2020-01-31"]), date_format(["12/31/2020"]), date_format(["monday"])
    ('iso', '%m/%d/%Y', None)
    """
    if not levels or not all(any(c.isdigit() for c in s) for s in levels[:20]):
        return None
    formats = ["iso", *(d + t for d in DATE_FORMATS for t in TIME_FORMATS)]
    return next((f for f in formats if _reads(f, levels)), None)


def unclear_date(levels: Sequence[str], pattern: str) -> str | None:
    """What to say of dates that the format reads, if with the month first it would read them too.

    >>> unclear_date(["03/04/2020", "05/05/2020"], "%d/%m/%Y")
    '03/04/2020 is read as 3 April 2020; if it is March 4, write such dates as 2020-03-04'
    >>> unclear_date(["03/04/2020", "31/05/2020"], "%d/%m/%Y")
    """
    other = pattern.replace("%d/%m", "%m/%d").replace("%d-%m", "%m-%d")
    if other == pattern or not _reads(other, levels):
        return None
    for text in levels:
        if _reads(pattern, [text]) and moment(text, pattern) != moment(text, other):
            read, meant = (datetime.strptime(text, each) for each in (pattern, other))
            return (
                f"{text} is read as {read.day} {read:%B %Y}; if it is {meant:%B} {meant.day}, "
                f"write such dates as {meant:%Y-%m-%d}"
            )
    return None


def _reads(pattern: str, levels: Sequence[str]) -> bool:
    return all(moment(s, pattern) == moment(s, pattern) for s in levels)


def moment(text: str, pattern: str) -> float:
    """Seconds since 1970 (UTC) of a date, nan if it is none in this format."""
    try:
        when = (
            datetime.fromisoformat(text) if pattern == "iso" else datetime.strptime(text, pattern)
        )
    except ValueError:
        return float("nan")
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def moments(cells: Cells, pattern: str) -> Floats:  # (N,) seconds since 1970
    """Any column as dates; what is none is nan."""
    if isinstance(cells, Strings):
        cells = cells.packed()
        values = np.array([moment(s, pattern) for s in cells.levels], np.float64)
        return np.append(values, np.nan)[cells.codes]
    return np.asarray(cells.values, np.float64)
