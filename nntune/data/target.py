"""The column to predict: which one, which task it makes, and its values as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.request import Request
from nntune.data.table import (
    Cells,
    Dates,
    Floats,
    Numbers,
    Rows,
    Strings,
    Table,
    date_format,
    exact,
    has_wholes,
    labels,
    level_numbers,
    number_style,
    numbers,
)
from nntune.errors import DataError, UsageError, did_you_mean

MOST_CLASSES = 1000
MOST_NUMBER_CLASSES = 20
MOST_LEVELS_MEANT = 64  # more different numbers are a quantity beyond doubt
FEWEST_ROWS = 10
_DATES = "column {} of {} holds dates; nntune predicts classes and numbers"
LARGEST = 1e30  # what networks compute with ends at 3e38


def listed(names: list[str], most: int = 12) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def column_named(table: Table, word: str) -> str:
    """The column the user means: its name, or its position where there is no header.

    Raises:
        DataError: there is none; the nearest names are said.
    """
    names = list(table.columns)
    if word in names:
        return word
    # By position in the file: with images and lags columns stand in another order.
    if table.headerless and word.isdigit() and (name := f"column{int(word)}") in names:
        return name
    same = [name for name in names if name.lower() == word.lower()]
    hint = f" Did you mean {same[0]!r}?" if same else did_you_mean(word, names)
    raise DataError(f"{table.name} has no column {word!r}; it has {listed(names)}.{hint}")


def target_name(table: Table, request: Request) -> str:
    """Name of the target, from the request or from the source itself."""
    if request.target is not None:
        return column_named(table, request.target)
    if table.target is None:
        names = listed(list(table.columns))
        raise UsageError(f"say which column of {table.name} to predict with -t; it has {names}")
    return table.target


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Args:
        task: 'binary', 'multiclass' or 'regression'.
        classes: names in the order of their indices; () for regression.
        note: how the task was found.
        style: how numbers are written, for regression.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    note: str
    style: str

    def values(self, cells: Cells, source: str) -> NDArray[Any]:
        """(N,) class indices as int64, or numbers as float64.

        Raises:
            DataError: a class that the training data does not have.
        """
        if self.task == "regression":
            return numbers(cells, self.style)
        words = labels(cells)
        known = {name: i for i, name in enumerate(self.classes)}
        used = np.flatnonzero(words.counts())
        new = [words.levels[i] for i in used if words.levels[i] not in known]
        if new:
            raise DataError(
                f"{source}: class {new[0]!r} of column {self.name} is not in the training data"
            )
        places = np.array([known.get(level, -1) for level in words.levels] + [-1], np.int64)
        return places[words.codes]


def present_rows(cells: Cells) -> Rows:
    """Rows that have a target; in a column of numbers, words for "missing" have none."""
    if isinstance(cells, Strings) and not _spells_numbers(cells):
        return np.flatnonzero(cells.codes >= 0)
    return np.flatnonzero(~np.isnan(numbers(cells, _style(cells))))


def _style(cells: Cells) -> str:
    return number_style(cells.levels) if isinstance(cells, Strings) else "point"


def _spells_numbers(cells: Strings) -> bool:
    values, junk = level_numbers(cells.levels, number_style(cells.levels))
    return bool(not junk.any() and not np.isnan(values).all())


def target_of(table: Table, name: str, rows: Rows, task: str) -> Target:
    """Find the task and the classes in the cells that have a value, in these rows of the table.

    Raises:
        DataError: too few rows, one value only, values that are too large, or no fit to the task
            asked for.
    """
    cells, source = table.columns[name].take(rows), table.name
    if len(cells) < FEWEST_ROWS:
        raise DataError(
            f"{source} has {len(cells)} row{'s' * (len(cells) != 1)} with a target; "
            f"{FEWEST_ROWS} are the least"
        )
    if isinstance(cells, Dates):
        raise DataError(_DATES.format(name, source))
    note = "as asked"
    if task == "auto" and table.files:
        task, note = "classes", "names of sub-folders"
    style = _style(cells)
    numeric = not isinstance(cells, Strings) or _spells_numbers(cells)
    if not numeric and task in ("auto", "regression"):
        _refuse_stray_words(name, labels(cells), source)
    values = numbers(cells, style) if numeric else np.empty(0)
    if (endless := np.isinf(values)).any():
        raise DataError(
            f"column {name} of {source} is infinite in row {rows[endless.argmax()] + 1:,} of the "
            "data; the target must be finite"
        )
    if len(values) and (largest := values[np.nanargmax(np.abs(values))]) and abs(largest) > LARGEST:
        raise DataError(
            f"column {name} of {source} holds {largest:g}; a target is at most {LARGEST:g} in size"
        )
    if task == "auto":
        task, note = _task(exact(cells) if isinstance(cells, Numbers) else values, numeric)
    if task == "regression":
        return _regression(name, cells, values, note, source)
    return _classes(name, labels(cells), task, note, source)


def _refuse_stray_words(name: str, words: Strings, source: str) -> None:
    """Many numbers and a few words are no classes but a mistake in the file."""
    words = words.packed()
    values, junk = level_numbers(words.levels, number_style(words.levels))
    if np.count_nonzero(~np.isnan(values)) > max(20, len(words.levels) / 2):
        stray = listed([repr(words.levels[i]) for i in np.flatnonzero(junk)], 3)
        raise DataError(
            f"column {name} of {source} has words among its numbers ({stray}); empty those cells"
        )


def _regression(name: str, cells: Cells, values: Floats, note: str, source: str) -> Target:
    if len(values) == 0:
        raise DataError(f"column {name} of {source} holds words; regression needs numbers")
    if values.min() == values.max() and has_wholes(cells) and len(np.unique(exact(cells))) > 1:
        raise DataError(
            f"column {name} of {source} is {values[0]:g} in every row but for digits that a number "
            "has no room for; subtract what is common to all, or --task multiclass tells them apart"
        )
    if values.min() == values.max():
        raise DataError(
            f"column {name} of {source} is {values[0]:g} in every row; there is nothing to learn"
        )
    return Target(name, "regression", (), note, _style(cells))


def _classes(name: str, words: Strings, task: str, note: str, source: str) -> Target:
    counts = words.counts()
    places = sorted(np.flatnonzero(counts), key=lambda i: _class_key(words.levels[i]))
    names = tuple(words.levels[i] for i in places)
    if len(names) == 1:
        raise DataError(
            f"column {name} of {source} is {names[0]!r} in every row; there is nothing to learn"
        )
    if len(names) > MOST_CLASSES or (len(names) > 20 and len(names) > len(words) / 2):
        _refuse_dates(name, names, source)
        raise DataError(
            f"column {name} of {source} has {len(names)} different values in {len(words)} rows; "
            "these are no classes: choose another target, or a column of numbers"
        )
    if task == "binary" and len(names) != 2:
        raise DataError(f"column {name} of {source} has {len(names)} classes; a binary task has 2")
    kind = (
        task if task in ("binary", "multiclass") else "binary" if len(names) == 2 else "multiclass"
    )
    return Target(name, kind, names, note, "point")


def _refuse_dates(name: str, values: Sequence[str], source: str) -> None:
    """What is too much for classes may be dates as text."""
    if date_format(values):
        raise DataError(_DATES.format(name, source))


def _class_key(label: str) -> tuple[float, str]:
    """Numbers by size, then words."""
    try:
        return float(label), ""
    except ValueError:
        return float("inf"), label


def _task(values: Floats, numeric: bool) -> tuple[str, str]:
    """Task of a target, and why.

    Words are classes, and so are two numbers. Whole numbers are classes if they name things:
    they start at -1, 0 or 1, go to 20 at most, and are either all about as frequent, or three,
    or not spread like a quantity, which has one peak and thins out to its sides.
    """
    if not numeric:
        return "classes", "words"
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 2:
        return "classes", "two values"
    whole = not (distinct % 1).any()
    low, high = float(distinct[0]), float(distinct[-1])
    span = high - low + 1
    if not whole or low not in (-1.0, 0.0, 1.0) or span > MOST_NUMBER_CLASSES or counts.min() < 5:
        return "regression", _why_quantity(distinct, counts) if whole else "numbers"
    spread = np.zeros(int(span))
    spread[(distinct - low).astype(int)] = counts
    if spread.min() >= 0.5 * spread.max() or span == 3 or not _one_peak(spread):
        return (
            "classes",
            "whole numbers that name classes; --task regression reads them as a quantity",
        )
    return (
        "regression",
        "whole numbers spread like a quantity; --task multiclass reads them as classes",
    )


def _why_quantity(distinct: NDArray[Any], counts: NDArray[np.intp]) -> str:
    """Why whole numbers are no classes, where somebody might mean them as such."""
    low, high = distinct[0], distinct[-1]
    if len(distinct) > MOST_LEVELS_MEANT or counts.min() < 2:
        return "numbers"
    if low not in (-1, 0, 1):
        why = f"from {low:g} on"
    elif high - low >= MOST_NUMBER_CLASSES:
        why = f"up to {high:g}"
    else:
        why = "of which some are rare"
    return f"whole numbers {why}, read as a quantity; --task multiclass reads them as classes"


def _one_peak(counts: Floats) -> bool:
    """Whether counts rise to one peak and fall from it."""
    steps = np.sign(np.diff(counts))
    falls = np.flatnonzero(steps < 0)
    return len(falls) == 0 or not (steps[falls[0] :] > 0).any()


def refuse_small_classes(target: Target, counts: NDArray[np.intp], source: str, least: int) -> None:
    """Every class needs a row in each split.

    Raises:
        DataError: the classes are dates, or one has fewer rows than that; the sentence names it.
    """
    few = [f"{n!r} has {c}" for n, c in zip(target.classes, counts, strict=True) if c < least]
    if few:
        _refuse_dates(target.name, target.classes, source)
        raise DataError(
            f"{source}: classes of column {target.name} need at least {least} rows each, and "
            f"{listed(few, 3)}; drop those rows or merge the classes"
        )
