"""Numbers as places in bins, so that a first layer bends where the data do.

Beside a number itself stands its place in each of some bins with as many training values each: 0
before the bin, 1 after it, inside the share of the way. This is the piecewise linear encoding of
Gorishniy, Rubachev & Babenko (2022, arXiv:2203.05556), with quantiles as edges.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nntune.data.table import Floats

USUAL = 16
# Tables of more columns, or more numbers in their bins (256 MB), get none unless asked for.
_MOST_COLUMNS, _MOST_NUMBERS = 32, 1 << 26


def usual(columns: int, rows: int) -> int:
    """Bins of each of so many numeric columns, in a table of so many rows; 0 where they are many.

    >>> usual(8, 1000), usual(64, 1000), usual(8, 1_000_000)
    (16, 0, 0)
    """
    is_small = columns <= _MOST_COLUMNS and columns * USUAL * rows <= _MOST_NUMBERS
    return USUAL * is_small


def edges_of(values: Floats, count: int) -> tuple[float, ...]:
    """Edges of at most so many bins; none for values of fewer than three kinds."""
    if not count or not len(values):
        return ()
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1), method="inverted_cdf"))
    return tuple(edges.tolist()) if len(edges) > 2 else ()


def fill(values: Floats, edges: tuple[float, ...], out: NDArray[np.float32]) -> None:
    """Places of values (N,) in the bins between edges into `out`, (N, bins)."""
    for place, (low, high) in enumerate(pairwise(edges)):
        out[:, place] = np.clip((values - low) / (high - low), 0, 1)
