"""Sparse inputs: the part of a stack's first layer that reads them, for all members at once.

Dimension key: M members, H units of the first layer, V terms (sparse inputs), B rows of a batch,
U terms that occur in a batch, W columns of a table.

A text has some hundred of twenty thousand terms, so a step reads and changes the weights of the
terms in its batch and no others: the moments of a term's weights stand still while it does not
occur, as in torch.optim.SparseAdam, which a test holds this to. A penalty acts in the steps in
which a term occurs, divided by the share of such steps: over an epoch it is as strong as on any
other weight.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nntune.optimizers import BETA1, BETA2, EPSILON, MOMENTUM, Rates
from nntune.trials import Shape

Floats = NDArray[np.float32]

# A row of a table is a whole number of cache lines: what a kernel does with a last few numbers
# may round differently, and which these are would depend on the stack.
_ALIGNED = 16
# The running average is kept as a difference, divided by how much of its start is left. Below this
# single precision would run out.
_LEAST_LEFT = 1e-20


class Batch(NamedTuple):
    """Rows of the sparse inputs, with the terms that occur in them renumbered."""

    rows: csr_array  # (B, U)
    terms: NDArray[np.intp]  # (U,) ascending


class State(NamedTuple):
    """What training keeps of each weight, as one row a member: views of (M, V * H)."""

    parameters: Sequence[Floats]
    first: Sequence[Floats]
    second: Sequence[Floats]
    average: Sequence[Floats]
    best: Sequence[Floats]


class Terms:
    """Weights of the terms of all members, (V, W): a row has those of one term to M * H units.

    Args:
        inputs: (N, V) of all training rows.
        shape: of every member.
        rates: of the members.
        optimizer: adam or sgd.
        batch_size: rows of a whole batch.
        state: of each member.
    """

    def __init__(
        self, inputs: csr_array, shape: Shape, rates: Rates, optimizer: str, batch_size: int,
        state: State,
    ) -> None:  # fmt: skip
        self._inputs, self._adam = inputs, optimizer == "adam"
        self._members, self._units = len(rates.lr), shape.layers[0][1]
        self._width = -(-self._members * self._units // _ALIGNED) * _ALIGNED
        tables = [self._table(rows, shape.terms) for rows in state]
        self._parameters, self._first, self._second, self._average, self._best = tables
        self._lag, self._left = self._average - self._parameters, 1.0
        self._lr, self._l1, self._l2 = (self._columns(each) for each in rates)
        share = occurrence(
            np.bincount(inputs.indices, minlength=shape.terms), inputs.shape[0], batch_size
        )
        self._weight = torch.from_numpy(1 / share.astype(np.float32))[:, None]  # (V, 1)
        self._place = np.empty(shape.terms, inputs.indices.dtype)  # of a term in the batch
        self._spare = [np.empty((0, self._width), np.float32) for _ in range(6)]
        self._count = torch.zeros(())

    def _table(self, rows: Sequence[Floats], terms: int) -> Floats:
        table = np.zeros((terms, self._width), np.float32)
        for member, row in enumerate(rows):
            table[:, self._of(member)] = row.reshape(terms, self._units)
        return table

    def _of(self, member: int) -> slice:
        return slice(member * self._units, (member + 1) * self._units)

    def _columns(self, values: list[float]) -> torch.Tensor:  # (W,)
        columns = torch.zeros(self._width)
        columns[: self._members * self._units] = torch.tensor(values).repeat_interleave(self._units)
        return columns

    def read(self, rows: NDArray[np.intp]) -> None:
        """Takes up a batch, and the weights of its terms."""
        self._batch = _renumbered(self._inputs[rows], self._place)
        count = len(self._batch.terms)
        if count > len(self._spare[0]):
            size = min(2 * count, len(self._place))
            self._spare = [np.empty((size, self._width), np.float32) for _ in self._spare]
        self._now = [each[:count] for each in self._spare]
        sources = (self._parameters, self._first, self._second, self._lag)
        for table, part in zip(sources, self._now, strict=False):
            np.take(table, self._batch.terms, 0, out=part, mode="clip")

    def forward(self, out: torch.Tensor) -> None:
        """Writes what the batch's terms add to the first layer, (M, H, B)."""
        self._write(self._batch.rows @ self._now[0], out)

    def _write(self, product: Floats, out: torch.Tensor) -> None:
        used = torch.from_numpy(product)[:, : self._members * self._units]
        out.copy_(used.view(-1, self._members, self._units).permute(1, 2, 0))

    def update(self, error: torch.Tensor, step: int, weight: float) -> None:
        """Changes the weights of the batch's terms.

        Args:
            error: (M, H, B) gradient at the first layer.
            step: counted from the first of the training.
            weight: of the new parameters in the running average.
        """
        wide = torch.zeros(error.shape[2], self._width)
        used = wide[:, : self._members * self._units].view(-1, self._members, self._units)
        used.copy_(error.permute(2, 0, 1))
        gradients = torch.from_numpy(self._batch.rows.T @ wide.numpy())  # (U, W)
        parameters, first, second, lag, change, spare = map(torch.from_numpy, self._now)
        self._penalise(gradients, parameters, spare)
        if self._adam:
            change.zero_()
            self._count.fill_(step)
            torch._fused_adam_(
                [change], [gradients], [first], [second], [], [self._count],
                lr=1.0, beta1=BETA1, beta2=BETA2, weight_decay=0.0, eps=EPSILON,
                amsgrad=False, maximize=False,
            )  # fmt: skip
            change.mul_(self._lr)
        else:
            first.mul_(MOMENTUM).add_(gradients)
            torch.mul(first, -self._lr, out=change)
        parameters.add_(change)
        lag.sub_(change.mul_(1 / self._left))
        for table, part in zip(
            (self._parameters, self._first, self._second, self._lag), self._now, strict=False
        ):
            table[self._batch.terms] = part
        self._pass(weight)

    def _penalise(
        self, gradients: torch.Tensor, parameters: torch.Tensor, spare: torch.Tensor
    ) -> None:
        if not self._l1.any() and not self._l2.any():
            return
        weight = self._weight[torch.from_numpy(self._batch.terms)]
        if self._l2.any():
            torch.mul(parameters, 2 * self._l2, out=spare)
            gradients.add_(spare.mul_(weight))
        if self._l1.any():
            torch.sign(parameters, out=spare)
            gradients.add_(spare.mul_(self._l1).mul_(weight))

    def _pass(self, weight: float) -> None:
        """One step more of the running average, whose difference shrinks for all terms alike."""
        self._left *= 1 - weight
        if self._left < _LEAST_LEFT:
            self._lag *= np.float32(self._left)
            self._left = 1.0

    def end_epoch(self) -> None:
        """Brings the running average up to the last step."""
        np.multiply(self._lag, np.float32(self._left), out=self._average)
        self._average += self._parameters
        np.subtract(self._average, self._parameters, out=self._lag)
        self._left = 1.0

    def score(self, rows: csr_array, out: torch.Tensor) -> None:
        """Writes what the averaged weights add to the first layer for any rows, (M, H, B)."""
        self._write(rows @ self._average, out)

    def keep(self, member: int) -> None:
        """Notes a member's average as its best."""
        self._best[:, self._of(member)] = self._average[:, self._of(member)]

    def member(self, place: int) -> list[Floats]:
        """Parameters, first, second, average and best of a member, as views (V, H)."""
        tables = (self._parameters, self._first, self._second, self._average, self._best)
        return [table[:, self._of(place)] for table in tables]


def _renumbered(rows: csr_array, place: NDArray[np.integer]) -> Batch:
    """A batch with the terms that occur numbered from 0; `place` is (V,) scratch."""
    place[:] = 0
    place[rows.indices] = 1
    terms = np.flatnonzero(place)
    place[terms] = np.arange(len(terms), dtype=place.dtype)
    few = csr_array(
        (rows.data, place[rows.indices], rows.indptr), shape=(rows.shape[0], len(terms))
    )
    return Batch(few, terms)


def occurrence(counts: NDArray[np.integer], rows: int, batch_size: int) -> NDArray[np.float64]:
    """The share of an epoch's steps in which each term is expected; 1 for one that never occurs.

    >>> occurrence(np.array([1, 2]), 4, 2)
    array([0.5       , 0.83333333])

    Args:
        counts: (V,) training rows in which a term occurs.
        rows: N, of training.
        batch_size: of a whole batch; the last of an epoch may be smaller.
    """
    from scipy.special import gammaln

    whole, rest = divmod(rows, batch_size)
    absent = np.zeros(len(counts))
    for steps, size in ((whole, batch_size), (1, rest)):
        if steps and size:
            room = rows - counts - size + 1  # hypergeometric: all of the batch are other rows
            ways = gammaln(rows - counts + 1) + gammaln(rows - size + 1) - gammaln(rows + 1)
            odds = np.exp(ways - gammaln(np.maximum(room, 1)))
            absent += steps * np.where(room > 0, odds, 0.0)
    share = 1 - absent / (whole + bool(rest))
    return np.where(counts > 0, share, 1.0)
