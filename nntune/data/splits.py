"""Which rows train, validate and test: 64/16/20, by the seed alone, by class where there are some.

Small tables have no rows to spare for one validation split: there the rows that are not for the
test are dealt to folds, and each fold validates once. Groups of rows stay together in both.

The order of rows comes from raw PCG64 output, which NumPy promises never to change; its
shuffles carry no such promise, and a split must outlive an upgrade.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nntune.data.table import Rows

Integers = NDArray[np.int64]
VALID, TEST = 0.16, 0.20
# Of the rows left when a file gives the test (or the validation) rows.
VALID_ALONE = TEST_ALONE = 0.20


@dataclass(frozen=True)
class Parts:
    """Row numbers of each split, ascending; disjoint."""

    train: Rows
    valid: Rows
    test: Rows


@dataclass(frozen=True)
class Fold:
    """Row numbers of one rotation of training and validation, ascending; disjoint."""

    train: Rows
    valid: Rows


def _order(rows: Rows, seed: int) -> Rows:
    keys = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(len(rows))
    return rows[np.argsort(keys, kind="stable")]


def _sizes(count: int, shares: tuple[float, float]) -> tuple[int, int]:
    """Rows for validation and test: none where the share is none, else at least one."""
    valid, test = (max(1, round(share * count)) if share else 0 for share in shares)
    return valid, test


def shares(valid_given: bool, test_given: bool) -> tuple[float, float]:
    """Shares of the source for validation and test, where files may give either.

    >>> shares(False, False), shares(False, True), shares(True, True)
    ((0.16, 0.2), (0.2, 0.0), (0.0, 0.0))
    """
    if valid_given or test_given:
        return 0.0 if valid_given else VALID_ALONE, 0.0 if test_given else TEST_ALONE
    return VALID, TEST


def split(rows: Rows, classes: Integers | None, seed: int, of: tuple[float, float]) -> Parts:
    """Deal rows out by the seed, class by class where `classes` (N,) says of which each is."""
    train, valid, test = [], [], []
    for place, stratum in enumerate(_strata(rows, classes)):
        mixed = _order(stratum, seed * 1_000_003 + place)
        first, second = _sizes(len(mixed), of)
        valid.append(mixed[:first])
        test.append(mixed[first : first + second])
        train.append(mixed[first + second :])
    return Parts(*(np.sort(np.concatenate(part)) for part in (train, valid, test)))


def thinned(rows: Rows, classes: Integers | None, seed: int, share: float) -> Rows:
    """A share of the rows, ascending, by the seed alone: of each class, and at least one of it."""
    kept = [
        _order(stratum, seed * 1_000_003 + 900_000 + place)[: max(1, round(share * len(stratum)))]
        for place, stratum in enumerate(_strata(rows, classes))
    ]
    return np.sort(np.concatenate(kept))


def folds(rows: Rows, classes: Integers | None, seed: int, count: int) -> tuple[Fold, ...]:
    """Deal rows to folds of equal size, class by class: the rest of each class goes on."""
    dealt = np.concatenate(
        [
            _order(stratum, seed * 1_000_003 + 500_000 + place)
            for place, stratum in enumerate(_strata(rows, classes))
        ]
    )
    return tuple(_fold(rows, dealt[place::count]) for place in range(count))


def group_split(
    rows: Rows, groups: Integers, classes: Integers | None, seed: int,
    of: tuple[float, float],
) -> Parts:  # fmt: skip
    """As `split`, but all rows of a group, (N,) codes, go the same way."""
    valid, test = of
    parts = _dealt_groups(groups, classes, seed, (1 - valid - test, valid, test))
    return Parts(*(rows[parts == place] for place in range(3)))


def group_folds(
    rows: Rows, groups: Integers, classes: Integers | None, seed: int, count: int
) -> tuple[Fold, ...]:
    """As `folds`, but all rows of a group are in one fold."""
    parts = _dealt_groups(groups, classes, seed + 500_000, (1 / count,) * count)
    return tuple(_fold(rows, rows[parts == place]) for place in range(count))


def _strata(rows: Rows, classes: Integers | None) -> list[Rows]:
    return [rows] if classes is None else [rows[classes == c] for c in np.unique(classes)]


def _fold(rows: Rows, valid: Rows) -> Fold:
    return Fold(np.setdiff1d(rows, valid), np.sort(valid))


def _dealt_groups(
    groups: Integers, classes: Integers | None, seed: int, of: tuple[float, ...]
) -> Integers:  # (N,)
    """The part of each row: groups go, the largest first, where they are missed most.

    Missed most is where the squared distance from the wanted rows of each class falls most, and of
    such parts the one with the fewest rows, as in scikit-learn's StratifiedGroupKFold, whose
    shuffles carry no promise.
    """
    names, codes = np.unique(groups, return_inverse=True)
    kinds = np.zeros(len(groups), np.int64) if classes is None else classes
    counts = np.zeros((len(names), int(kinds.max()) + 1))
    np.add.at(counts, (codes, kinds), 1)
    totals = np.maximum(counts.sum(0), 1)
    missed = np.outer(of, totals)  # (parts, classes)
    sizes = np.zeros(len(of))
    mixed = _order(np.arange(len(names)), seed)
    part_of = np.zeros(len(names), np.int64)
    for group in mixed[np.argsort(-counts[mixed].sum(1), kind="stable")]:
        gains = ((missed**2 - (missed - counts[group]) ** 2) / totals).sum(1)
        gains[np.array(of) == 0] = -np.inf
        part = part_of[group] = np.lexsort((sizes, -np.round(gains, 9)))[0]
        missed[part] -= counts[group]
        sizes[part] += counts[group].sum()
    return part_of[codes]
