"""What a careful reader of the table would say before anyone pays for a search.

Works on a sample of the training rows: a warning needs no more than a few thousand.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nntune.data.encoding import Encoder, truths
from nntune.data.grids import grid_columns
from nntune.data.roles import (
    ID_NAME,
    MIXED,
    ORDERS,
    TIME_NAME,
    Role,
    distinct,
    near_labels,
    present,
    spaced,
)
from nntune.data.table import (
    MISSING,
    Cells,
    Floats,
    Rows,
    Strings,
    Table,
    date_format,
    has_wholes,
    labels,
    moments,
    numbers,
    unclear_date,
)
from nntune.data.target import Target, listed

SAMPLE = 2000
# |rank correlation| beyond which a column is the target in other words.
SAME = 0.999


class Doubt(NamedTuple):
    """A sentence about the data, and the name of its kind."""

    name: str  # 'labels', 'imbalanced', 'leak', 'cells', 'duplicates', 'order' or 'groups'
    sentence: str


def doubts(
    table: Table, rows: Rows, target: Target, y: Floats, roles: dict[str, Role], encoder: Encoder
) -> list[Doubt]:
    """What to say about the training rows; `y` has the class index or number of each."""
    sample = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.intp)
    rows, y = rows[sample], y[sample]
    kinds: list[tuple[str, Iterator[str]]] = []
    if target.classes:
        kinds += [("labels", _label_warnings(table.columns[target.name], target))]
        kinds += [("imbalanced", _imbalances(target, y))]
    kinds += [
        ("leak", _leaks(table, rows, target, y, roles, encoder)),
        ("cells", _cell_warnings(table, rows, roles)),
        ("cells", unclear_dates(table, roles)),
        ("duplicates", _duplicates(table)),
        ("order", _order_warnings(table, rows, roles)),
        ("groups", _group_warnings(table, rows, roles)),
    ]
    return [Doubt(name, sentence) for name, sentences in kinds for sentence in sentences]


def _leaks(
    table: Table, rows: Rows, target: Target, y: Floats, roles: dict[str, Role], encoder: Encoder
) -> Iterator[str]:
    steps = set(grid_columns(table))  # nobody leaves out a part of an image or a series
    telling = [
        name
        for name, role in roles.items()
        if role.name in ("numeric", "boolean", "categorical", "date")
        and name not in steps
        and _tells(table.columns[name].take(rows), role, target, y)
    ]
    if len(telling) == 1:
        yield (
            f"column {telling[0]} gives {target.name} away; "
            "--ignore it if it is not known beforehand"
        )
    elif telling:
        yield (
            f"each of the columns {listed(telling)} gives {target.name} away; "
            "--ignore those that are not known beforehand"
        )
    if telling or target.classes or encoder.terms or steps:
        return
    if _is_sum(encoder.plain.transform(table, rows), y):
        yield (
            f"columns added up give {target.name} almost exactly; "
            "--ignore those that are not known beforehand"
        )


def _label_warnings(cells: Cells, target: Target) -> Iterator[str]:
    for group in near_labels(cells):
        spellings = " and ".join(repr(label) for label in group)
        yield f"{spellings} are different classes of {target.name}; merge them if they are the same"
    gaps = [c for c in target.classes if c.lower() in ("na", "n/a", "nan", "null", "none", "?")]
    for name in gaps:
        yield f"{name!r} counts as a class of {target.name}; empty its cells if it means no value"


def _imbalances(target: Target, y: Floats) -> Iterator[str]:
    shares = np.bincount(y.astype(np.int64), minlength=len(target.classes)) / len(y)
    if shares.min() < 0.3 / len(shares):
        least = target.classes[int(shares.argmin())]
        others = "balanced_accuracy or auc" if len(shares) == 2 else "balanced_accuracy"
        yield (
            f"only {shares.min():.1%} of the training rows are {least!r}: "
            f"accuracy says little here; look at {others}"
        )


def _tells(cells: Cells, role: Role, target: Target, y: Floats) -> bool:
    """Whether the value of one column says what the target is."""
    if target.classes and role.name in ("categorical", "boolean"):
        return _determines(labels(cells).codes, y)
    if role.name == "categorical":
        return _ranks_alike(_level_means(labels(cells), y), y)
    values = _numbers(cells, role)
    if target.classes and _determines(values, y):
        return True
    return len(target.classes) <= 2 and _ranks_alike(values, y)


def _numbers(cells: Cells, role: Role) -> Floats:
    if role.name == "date":
        return moments(cells, role.style)
    return truths(cells) if role.name == "boolean" else numbers(cells, role.style)


def _level_means(words: Strings, y: Floats) -> Floats:
    """Mean target of each row's category; of the rare ones it would be the target itself."""
    codes = words.codes + 1
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=y) / np.maximum(counts, 1)
    return np.where(counts[codes] >= 5, means[codes], np.nan)


def _determines(values: NDArray[Any], y: Floats) -> bool:
    """Whether rows with one value have one class, where values are seen five times on average."""
    order = np.lexsort((y, values))
    new = values[order][1:] != values[order][:-1]
    distinct = 1 + np.count_nonzero(new)
    mixed = (~new & (y[order][1:] != y[order][:-1])).any()
    return bool(1 < distinct <= len(y) / 5 and not mixed)


def _ranks_alike(values: Floats, y: Floats) -> bool:
    """Whether the order of the values is the order of the target, or its reverse."""
    known = np.isfinite(values)
    if known.sum() < max(10, len(y) // 2):
        return False
    a, b = _ranks(values[known]), _ranks(y[known])
    if a.std() == 0 or b.std() == 0:
        return False
    if len(np.unique(b)) == 2:
        return _parted(values[known], y[known])
    return abs(float(np.corrcoef(a, b)[0, 1])) > SAME


def _parted(values: Floats, y: Floats) -> bool:
    """Whether one threshold parts two classes."""
    low, high = values[y == y.min()], values[y == y.max()]
    return bool(low.max() < high.min() or high.max() < low.min())


def _ranks(values: Floats) -> Floats:
    """Mean rank of each value among all."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[places]


def _is_sum(x: NDArray[np.float32], y: Floats) -> bool:
    """Whether a linear model of few features leaves less than 1e-6 of the variance."""
    if x.shape[1] > 200 or len(x) < 3 * x.shape[1]:
        return False
    full = np.column_stack([x.astype(np.float64), np.ones(len(x))])
    fit, *_ = np.linalg.lstsq(full, y, rcond=None)
    return bool(np.var(y - full @ fit) < 1e-6 * np.var(y))


def _cell_warnings(table: Table, rows: Rows, roles: dict[str, Role]) -> Iterator[str]:
    endless = [
        n for n, r in roles.items() if r.name == "numeric" and _infinite(table.columns[n], r)
    ]
    if endless:
        yield f"infinite values in {listed(endless)} count as missing"
    for name, role in roles.items():
        if role.name == "numeric" and "no numbers" in role.note:
            yield f"column {name}: {role.note}; --categorical {name} keeps them as categories"
        if role.note == MIXED:
            yield f"column {name} holds {role.note}; --numeric {name} takes the words for missing"


def unclear_dates(table: Table, roles: dict[str, Role]) -> Iterator[str]:
    """How columns of dates are read whose days may as well be months."""
    for name, role in roles.items():
        cells = table.columns[name]
        if isinstance(cells, Strings) and (role.name == "date" or role.note == ORDERS):
            dates = [level for level in present(cells)[0] if level.lower() not in MISSING]
            pattern = role.style if role.name == "date" else date_format(dates)
            if example := unclear_date(dates, pattern or ""):
                yield f"column {name}: {example}"


def _duplicates(table: Table) -> Iterator[str]:
    same = _repeated(table)
    if same > max(5, 0.02 * table.rows):
        yield (
            f"{same:,} rows repeat an earlier row ({same / table.rows:.0%}): "
            "copies may stand in two splits"
        )


def copies(
    first: tuple[Table, Rows], other: tuple[Table, Rows], what: str, target: Target,
    roles: dict[str, Role],
) -> Iterator[Doubt]:  # fmt: skip
    """Whether rows of another file, for validation or test, are among those that are learnt from.

    As often as rows of the first table repeat each other they may well be alike in two files.
    """
    learnt, judged = (_row_hashes(*each, target, roles) for each in (first, other))
    count = int(np.isin(judged, learnt).sum())
    natural = 1 - len(np.unique(learnt)) / len(learnt)
    if count > max(5, (0.02 + 2 * natural) * len(judged)):
        yield Doubt(
            "duplicates",
            f"{count:,} of the {len(judged):,} {what} rows of {other[0].name} are rows of "
            f"{first[0].name} too: a value on rows that were learnt says nothing of new ones",
        )


def _row_hashes(
    table: Table, rows: Rows, target: Target, roles: dict[str, Role]
) -> NDArray[np.uint64]:
    """A 64-bit hash of each row's target and features, the same for the same cells in any file."""
    hashes = np.zeros(len(rows), np.uint64)
    for name, role in roles.items():
        cells = table.columns[name].take(rows) if name in table.columns else None
        if cells is None or role.name in ("id", "constant", "ignored"):
            continue
        if role.name == "target":
            bits = _bits(target.values(cells, table.name))
        elif role.name in ("numeric", "boolean", "date"):
            bits = _bits(_numbers(cells, role))
        else:
            words = labels(cells)
            digests = (blake2b(level.encode(), digest_size=8).digest() for level in words.levels)
            bits = np.frombuffer(b"".join([*digests, bytes(8)]), np.uint64)[words.codes]
        hashes = _mixed(hashes, bits)
    return hashes


def _infinite(cells: Cells, role: Role) -> bool:
    return bool(np.isinf(numbers(cells, role.style)).any())


def _repeated(table: Table) -> int:
    """Rows that equal an earlier one in every column, by a 64-bit hash."""
    hashes = np.zeros(table.rows, np.uint64)
    for cells in table.columns.values():
        cells = labels(cells) if has_wholes(cells) else cells
        part = cells.codes if isinstance(cells, Strings) else cells.values
        hashes = _mixed(hashes, _bits(part))
    return table.rows - len(np.unique(hashes))


def _bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Numbers as words: -0 is 0, and a missing one is a missing one."""
    numbers = np.asarray(values, np.float64) + 0.0
    return np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)


def _mixed(hashes: NDArray[np.uint64], bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    hashes = (hashes ^ (bits ^ (bits >> np.uint64(29)))) * np.uint64(0xBF58476D1CE4E5B9)
    return hashes ^ (hashes >> np.uint64(32))


def _order_warnings(table: Table, rows: Rows, roles: dict[str, Role]) -> Iterator[str]:
    for name, role in roles.items():
        if role.name == "date" or (role.name == "numeric" and TIME_NAME.fullmatch(spaced(name))):
            values = _numbers(table.columns[name].take(rows), role)
            known = values[np.isfinite(values)]
            if len(np.unique(known)) > 1 and (np.diff(known) >= 0).all():
                yield (
                    f"rows are in order of {name}: a random split may be too optimistic; "
                    f"--time-col {name} tests on the latest rows"
                )
                return


def _group_warnings(table: Table, rows: Rows, roles: dict[str, Role]) -> Iterator[str]:
    for name, role in roles.items():
        if role.name == "numeric" and _names_groups(name, table.columns[name].take(rows)):
            yield (
                f"column {name} looks like the id of a group whose rows stand in several splits; "
                f"--group-col {name} keeps them together"
            )
            return


def _names_groups(name: str, cells: Cells) -> bool:
    entity = spaced(name).lower().rstrip("#").strip(" _")
    if entity not in ("subject", "patient", "user", "customer") and not (
        ID_NAME.fullmatch(spaced(name)) and entity.endswith("id")
    ):
        return False
    values = numbers(cells)
    return not (values % 1).any() and distinct(cells) * 2 <= len(values)
