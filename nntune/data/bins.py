"""Numbers as places in bins, so that a first layer bends where the data do.

Beside a number itself stands its place in each of some bins with as many training values each: 0
before the bin, 1 after it, inside the share of the way. This is the piecewise linear encoding of
Gorishniy, Rubachev & Babenko (2022, arXiv:2203.05556), with quantiles as edges.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.data.table import Floats

USUAL = 16
# Tables of more columns, or more numbers in their bins (256 MB), get none unless asked for.
_MOST_COLUMNS, _MOST_NUMBERS = 32, 1 << 26


def usual(columns: int, rows: int) -> int:
    """Bins of each of so many numeric columns, in so many rows; 0 where either are many.

    >>> usual(8, 1000), usual(64, 1000), usual(8, 1_000_000), usual(0, 1000)
    (16, 0, 0, 0)
    """
    is_small = 0 < columns <= _MOST_COLUMNS and columns * USUAL * rows <= _MOST_NUMBERS
    return USUAL * is_small


def edges_of(values: Floats, count: int) -> tuple[float, ...]:
    """Edges of at most so many bins; none where values leave fewer than two."""
    if not count or not len(values):
        return ()
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1), method="inverted_cdf"))
    return tuple(edges.tolist()) if len(edges) > 2 else ()


def fill(values: Floats, edges: Sequence[float], out: NDArray[np.floating[Any]]) -> None:
    """Places of values (N,) in the bins between edges into `out`, (N, bins)."""
    for place, (low, high) in enumerate(pairwise(edges)):
        out[:, place] = np.clip((values - low) / (high - low), 0, 1)
