"""Which rows train, validate and test: 64/16/20, by the seed alone, by class where there are some.

The order of rows comes from raw PCG64 output, which NumPy promises never to change; its
shuffles carry no such promise, and a split must outlive an upgrade.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nntune.data.table import Rows

VALID, TEST = 0.16, 0.20
# Of the rows left when a file gives the test (or the validation) rows.
VALID_ALONE = TEST_ALONE = 0.20


@dataclass(frozen=True)
class Parts:
    """Row numbers of each split, ascending; disjoint."""

    train: Rows
    valid: Rows
    test: Rows


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


def split(
    rows: Rows, classes: NDArray[np.int64] | None, seed: int, of: tuple[float, float]
) -> Parts:
    """Deal rows out by the seed, class by class where `classes` (N,) says of which each is."""
    strata = [rows] if classes is None else [rows[classes == c] for c in np.unique(classes)]
    train, valid, test = [], [], []
    for place, stratum in enumerate(strata):
        mixed = _order(stratum, seed * 1_000_003 + place)
        first, second = _sizes(len(mixed), of)
        valid.append(mixed[:first])
        test.append(mixed[first : first + second])
        train.append(mixed[first + second :])
    return Parts(*(np.sort(np.concatenate(part)) for part in (train, valid, test)))
