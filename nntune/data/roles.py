"""What each column is, decided on training rows: a number, a category, a date, a text, an id."""

import re
from dataclasses import dataclass

import numpy as np

from nntune.data.table import (
    Cells,
    Dates,
    Numbers,
    Rows,
    Strings,
    date_format,
    exact,
    has_wholes,
    labels,
    level_numbers,
    number_style,
)

TRUE = frozenset({"true", "t", "yes", "y", "on", "1", "1.0"})
FALSE = frozenset({"false", "f", "no", "n", "off", "0", "0.0"})
# A column of strings in which this share of the cells are numbers is a column of numbers.
MOSTLY = 0.95
ORDERS = "orders the rows"
MIXED = "words among numbers, read as categories"
ID_NAME = re.compile(
    r"(.*[^a-z])?(id|ids|no|nr|num|number|idx|index|key|uuid|guid|pid|order|row|rownames?|rowid)"
    r"([^a-z].*)?|unnamed.*",
    re.IGNORECASE,
)
TIME_NAME = re.compile(r"t|(.*[^a-z])?(time|date|year|month|week|day|hour|step)([^a-z].*)?", re.I)


@dataclass(frozen=True)
class Column:
    """One line of `nntune data`.

    Args:
        role: numeric, categorical, boolean, date, text, id, constant, ignored or target.
        missing: cells without a value, in all rows that were read.
        distinct: different values among the others.
        note: a few words, or nothing.
        width: encoded features made of it.
    """

    name: str
    role: str
    missing: int
    distinct: int
    note: str
    width: int


@dataclass(frozen=True)
class Role:
    """A role with what it takes to read the column: how numbers are written, or the date format."""

    name: str
    note: str = ""
    style: str = "point"


def role_of(name: str, cells: Cells, rows: Rows) -> Role:
    """Role of a feature, from its training rows and where these stand in the file."""
    if isinstance(cells, Dates):
        return Role("date", style="iso") if _values(cells) > 1 else Role("constant", _lone(cells))
    if isinstance(cells, Strings):
        return _string_role(name, cells, rows)
    return _number_role(name, cells, rows)


def _values(cells: Cells) -> int:
    """Different values, 2 at most, a missing one counting as one."""
    if isinstance(cells, Strings):
        return int(np.count_nonzero(cells.counts())) + bool((cells.codes < 0).any())
    there = exact(cells)
    values = 0 if len(there) == 0 else 1 + bool(there.min() < there.max())
    return min(2, (len(there) < len(cells)) + values)


def _lone(cells: Cells) -> str:
    missing = (
        cells.codes < 0 if isinstance(cells, Strings) else np.isnan(cells.values.astype(float))
    )
    return "empty in the training rows" if missing.all() else "one value in the training rows"


def _number_role(name: str, cells: Numbers, rows: Rows, style: str = "point") -> Role:
    if _values(cells) < 2:
        return Role("constant", _lone(cells))
    there = exact(cells)
    if np.isin(there, (0.0, 1.0)).all():
        return Role("boolean")
    if len(there) == len(cells) and _is_id(name, there, rows):
        return Role("id", "a different whole number in each training row: dropped")
    if not has_wholes(cells):
        return Role("numeric", style=style)
    rounded = distinct(Numbers(cells.values.astype(np.float64)))
    if rounded == distinct(cells):
        return Role("numeric")
    what = f"{distinct(cells):,} whole numbers, {rounded:,} when rounded to 16 digits"
    return Role("numeric" if rounded > 1 else "constant", f"{what}; --categorical tells all apart")


def _is_id(name: str, values: np.ndarray, rows: Rows) -> bool:
    floats = values.astype(np.float64)
    if len(values) < 10 or not np.isfinite(floats).all() or (floats % 1).any():
        return False
    values = values if values.dtype.itemsize == 8 else floats  # small ones would wrap round
    if _running(values, rows):
        return not TIME_NAME.fullmatch(name)
    return bool(ID_NAME.fullmatch(spaced(name))) and len(np.unique(values)) == len(values)


def _running(values: np.ndarray, rows: Rows) -> bool:
    """Whether the value grows by one from row to row of the file."""
    return bool((values - values[0] == rows - rows[0]).all())


def spaced(name: str) -> str:
    """Words of a name set apart.

    >>> spaced("customerId")
    'customer_Id'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)


def present(cells: Strings) -> tuple[list[str], np.ndarray]:
    """Levels that occur, and how often."""
    counts = cells.counts()
    places = np.flatnonzero(counts)
    return [cells.levels[i] for i in places], counts[places]


def _string_role(name: str, cells: Strings, rows: Rows) -> Role:
    if _values(cells) < 2:
        return Role("constant", _lone(cells))
    levels, counts = present(cells)
    style = number_style(levels)
    values, junk = level_numbers(levels, style)
    read = ~np.isnan(values)
    if counts[read].sum() >= MOSTLY * counts[read | junk].sum() > 0:
        numbers = Numbers(np.append(_spread(cells, values), np.nan)[cells.codes])
        return _mixed(_number_role(name, numbers, rows, style), levels, counts, junk)
    if {level.lower() for level in levels} <= TRUE | FALSE:
        return Role("boolean")
    pattern = date_format([s for s, bad in zip(levels, junk, strict=True) if bad])
    if pattern:
        return Role("date", style=pattern)
    role = _word_role(levels, counts, len(cells))
    mixed = role.name in ("categorical", "id") and counts[read].sum() > 0.5 * counts.sum()
    return Role("categorical", MIXED) if mixed else role


def _spread(cells: Strings, values: np.ndarray) -> np.ndarray:
    """Values of the levels that occur, at the places of all levels."""
    out = np.full(len(cells.levels), np.nan)
    out[np.flatnonzero(cells.counts())] = values
    return out


def _mixed(role: Role, levels: list[str], counts: np.ndarray, junk: np.ndarray) -> Role:
    """The role with its note, where some cells are words among numbers."""
    if role.name not in ("numeric", "boolean") or not junk.any():
        return role
    words = ", ".join(repr(levels[i]) for i in np.flatnonzero(junk)[:3])
    return Role(
        "numeric",
        f"{counts[junk].sum()} training cells are no numbers ({words}): missing",
        role.style,
    )


def fewest_rows(rows: int) -> int:
    """Rows a category needs in training: seen less often, it says too little for own weights.

    >>> fewest_rows(30), fewest_rows(200), fewest_rows(100_000)
    (2, 4, 5)
    """
    return min(5, max(2, rows // 50))


def _word_role(levels: list[str], counts: np.ndarray, rows: int) -> Role:
    """Category, text or id, from how long the strings are and how seldom one repeats."""
    filled = int(counts.sum())
    seldom = len(levels) > max(20, 0.2 * filled)
    words = float(np.average([s.count(" ") + 1 for s in levels], weights=counts))
    length = float(np.average([len(s) for s in levels], weights=counts))
    unique = len(levels) == filled >= 20
    if unique and words < 1.5:
        return Role("id", "a different string in each training row: dropped")
    if seldom and filled >= 0.05 * rows and (words >= 3 or length >= 30):
        return Role("text")
    if unique:
        return Role("id", "a different string in each training row: dropped")
    if filled == rows and counts.max() < fewest_rows(rows):
        return Role("id", "hardly a value repeats: dropped")
    return Role("categorical")


def forced(cells: Cells, role: str) -> Role:
    """The role the user asked for: 'categorical', 'numeric' or 'text'."""
    if role != "numeric" or not isinstance(cells, Strings):
        return Role(role, "as asked")
    levels, counts = present(cells)
    style = number_style(levels)
    _, junk = level_numbers(levels, style)
    lost = int(counts[junk].sum())
    return Role(
        "numeric", f"as asked; {lost} training cells are no numbers" if lost else "as asked", style
    )


def distinct(cells: Cells) -> int:
    """Different values, the missing one not counted."""
    if isinstance(cells, Strings):
        return int(np.count_nonzero(cells.counts()))
    values = np.sort(exact(cells))
    return int(np.count_nonzero(values[1:] != values[:-1])) + (len(values) > 0)


def missing(cells: Cells) -> int:
    """Cells without a value."""
    if isinstance(cells, Strings):
        return int(np.count_nonzero(cells.codes < 0))
    return int(np.isnan(cells.values).sum()) if cells.values.dtype.kind == "f" else 0


def near_labels(cells: Cells) -> list[tuple[str, ...]]:
    """Groups of levels that differ in case, blanks or a last dot only.

    >>> from nntune.data.table import strings
    >>> near_labels(strings(["yes", "Yes", "no", "no."]))
    [('Yes', 'yes'), ('no', 'no.')]
    """
    groups: dict[str, list[str]] = {}
    for level in present(labels(cells))[0]:
        groups.setdefault(" ".join(level.lower().split()).rstrip(". "), []).append(level)
    return [tuple(group) for group in groups.values() if len(group) > 1]
