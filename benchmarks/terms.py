"""A stack on sparse inputs beside the same stack on dense ones: processor time of a step.

    python -m benchmarks.terms [--text rt_polarity | --words 100] [--terms 50000] [--rows 10000]

The table is one of benchmarks.families, of whose texts runs of one and two words count, or its
words are drawn as in a language (Zipf's law). A dense table of this size takes gigabytes, so the
dense stack trains on its first rows: what a step costs does not depend on how many there are. Peak
memory is that of a process which makes the sparse table and trains on it.
"""

import argparse
import math
import multiprocessing
import resource
import sys
import time
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from benchmarks.datasets import FOLDER
from benchmarks.families import GOALS
from nntune.data import Request
from nntune.data.learning import load
from nntune.training import Examples, train
from nntune.trials import Progress, Setting, Shape

BATCH = 64


class Size(NamedTuple):
    """Of the table and the stack."""

    text: str  # whose terms these are; drawn if empty
    terms: int
    rows: int
    words: int  # drawn of a row; it has fewer terms, for some are drawn twice
    members: int
    units: int


def table(size: Size) -> csr_array:
    """Rows of weights whose squares add up to 1, (rows, terms) float32."""
    if size.text:
        goal = GOALS[size.text]
        source = str(FOLDER / goal.source)
        request = Request(source, goal.target, characters="0", vocabulary=size.terms)
        learnt = load(request, "all").train
        terms = csr_array(learnt.x[: size.rows, -learnt.terms :], dtype=np.float32)
        return terms[np.diff(terms.indptr) > 0]
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, size.terms + 1)
    words = rng.choice(size.terms, (size.rows, size.words), p=chances / chances.sum())
    starts = np.arange(size.rows + 1) * size.words
    counts = csr_array(
        (np.ones(words.size, np.float32), words.ravel(), starts), shape=(size.rows, size.terms)
    )
    counts.sum_duplicates()
    counts.data = 1 + np.log(counts.data)
    norms = np.sqrt(counts.multiply(counts).sum(1))
    counts.data /= np.repeat(norms, np.diff(counts.indptr)).astype(np.float32)
    return csr_array(counts, dtype=np.float32)


def examples_of(x: csr_array, rows: int, *, is_sparse: bool) -> Examples:
    """The first rows, the last tenth of them to validate on."""
    valid = max(rows // 10, 1)
    parts = x[: rows - valid], x[rows - valid : rows]
    labels = [torch.from_numpy(part.indices[part.indptr[:-1]] % 2).long() for part in parts]
    if is_sparse:
        empty = [torch.empty(part.shape[0], 0) for part in parts]
        return Examples(
            empty[0], labels[0], empty[1], labels[1], 2, 1.0, terms=parts[0], terms_valid=parts[1]
        )
    dense = [torch.from_numpy(part.toarray()) for part in parts]
    return Examples(dense[0], labels[0], dense[1], labels[1], 2, 1.0)


def seconds(size: Size, x: csr_array, rows: int, epochs: int, *, is_sparse: bool) -> float:
    """Processor time of a step, validation included.

    It is the difference of a longer and a shorter training, so that what a training costs at its
    begin and end counts for neither side, however few rows the dense one has.
    """
    examples = examples_of(x, rows, is_sparse=is_sparse)
    terms = x.shape[1]
    shape = Shape(terms, (size.units,), 2, terms=terms if is_sparse else 0)
    setting = Setting(shape, BATCH, "adam", "log_loss", 100, 0)
    members = [Progress(n, 1e-2, 0.0, 1e-5, 0.2, 100) for n in range(size.members)]
    begun = train(members, setting, examples, 1)  # initial weights are drawn once in a training
    taken = []
    for until in (1 + epochs, 1 + 3 * epochs):
        started = time.process_time()
        train(begun, setting, examples, until)
        taken.append(time.process_time() - started)
    return (taken[1] - taken[0]) / (2 * epochs * math.ceil(len(examples.y) / BATCH))


def sparse_seconds(size: Size) -> tuple[float, float, tuple[int, int], float]:
    """Of a step; the peak of this process in bytes; rows and terms; the terms that a row has."""
    torch.set_num_threads(1)
    x = table(size)
    found = seconds(size, x, x.shape[0], 2, is_sparse=True)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return found, peak, x.shape, x.nnz / x.shape[0]


def dense_seconds(size: Size) -> float:
    """Of a step of the same stack on dense inputs."""
    torch.set_num_threads(1)
    rows = min(size.rows, 6 * BATCH)
    return seconds(size, table(size._replace(rows=rows)), rows, 2, is_sparse=False)


def main() -> None:
    """Prints one line: both times, their ratio, peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    texts = [name for name, goal in GOALS.items() if goal.is_text]
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--text", default="", choices=texts)
    source.add_argument("--words", type=int, default=100)
    for name, value in {
        "terms": 50_000, "rows": 10_000, "members": 8, "units": 32
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    size = Size(**vars(parser.parse_args()))
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        sparse, peak, (rows, terms), filled = pool.apply(sparse_seconds, (size,))
        dense = pool.apply(dense_seconds, (size,))
    print(
        f"{size.text or f'{size.words} words a row'}: {rows:,} rows with {filled:.0f} of {terms:,} "
        f"terms, {size.members} networks of {size.units} units: {1e3 * sparse:.1f} ms a step, "
        f"{1e3 * dense:.0f} ms dense, {dense / sparse:.0f} times; peak {peak / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
