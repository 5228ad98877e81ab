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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nntune.optimizers import BETA1, BETA2, EPSILON, MOMENTUM, Rates
from nntune.trials import Shape

if TYPE_CHECKING:  # a tenth of what workers import, and tables have none
    from scipy.sparse import csr_array

Floats = NDArray[np.float32]

# A row of a table is a whole number of the steps that a kernel takes: what it does with a last few
# numbers may round differently, and which these are would depend on the stack.
_ALIGNED = 32
# Bytes of the table that are changed at once: they stay in the cache until they are put back.
_BLOCK = 1 << 20
# The running average is kept as a difference, divided by how much of its start is left. Below this
# single precision would run out.
_LEAST_LEFT = 1e-20


class Batch(NamedTuple):
    """Rows of the sparse inputs, with the terms that occur in them renumbered."""

    rows: "csr_array"  # (B, U)
    terms: NDArray[np.intp]  # (U,) ascending


class State(NamedTuple):
    """What training keeps of each weight, as one row a member: views of (M, V * H)."""

    parameters: Sequence[Floats]
    first: Sequence[Floats]
    second: Sequence[Floats]
    average: Sequence[Floats]
    best: Sequence[Floats]


class Terms:
    """Weights of the terms of all members: of one term those to M * H units stand in a row.

    Of a term the parameters, first and second moments and lags of the average are four such rows
    of one table, side by side: what a step costs is mostly fetching them from all over memory.

    Args:
        inputs: (N, V) of all training rows.
        shape: of every member.
        rates: of the members.
        optimizer: adam or sgd.
        batch_size: rows of a whole batch.
        state: of each member.
    """

    def __init__(
        self, inputs: "csr_array", shape: Shape, rates: Rates, optimizer: str, batch_size: int,
        state: State,
    ) -> None:  # fmt: skip
        self._inputs, self._adam = inputs, optimizer == "adam"
        self._members, self._units = len(rates.lr), shape.layers[0][1]
        self._width = -(-self._members * self._units // _ALIGNED) * _ALIGNED
        self._table = np.zeros((4 * shape.terms, self._width), np.float32)
        planes = self._table.reshape(-1, 4, self._width).swapaxes(0, 1)
        self._parameters, self._first, self._second, self._lag = planes
        self._average, self._best = np.zeros((2, shape.terms, self._width), np.float32)
        tables = (self._parameters, self._first, self._second, self._average, self._best)
        for table, rows in zip(tables, state, strict=True):
            for member, row in enumerate(rows):
                table[:, self._of(member)] = row.reshape(shape.terms, self._units)
        np.subtract(self._average, self._parameters, out=self._lag)
        self._left = 1.0
        self._lr, self._l1, self._l2 = (self._columns(each) for each in rates)
        self._has_l1, self._has_l2 = bool(self._l1.any()), bool(self._l2.any())
        share = occurrence(
            np.bincount(inputs.indices, minlength=shape.terms), inputs.shape[0], batch_size
        )
        self._weight = torch.from_numpy(1 / share.astype(np.float32))[:, None]  # (V, 1)
        self._place = np.empty(shape.terms, inputs.indices.dtype)  # of a term in the batch
        self._now = np.empty((0, self._width), np.float32)  # parameters of the batch's terms
        rows = max(_BLOCK // (4 * self._table[0].nbytes), 1)
        self._block = np.empty((4 * rows, self._width), np.float32)
        self._spare = torch.empty(rows, self._width)
        self._count = torch.zeros(())

    def _of(self, member: int) -> slice:
        return slice(member * self._units, (member + 1) * self._units)

    def _columns(self, values: list[float]) -> torch.Tensor:  # (W,)
        columns = torch.zeros(self._width)
        columns[: self._members * self._units] = torch.tensor(values).repeat_interleave(self._units)
        return columns

    def read(self, rows: NDArray[np.intp]) -> None:
        """Takes up a batch, and the parameters of its terms."""
        self._batch = _renumbered(self._inputs[rows], self._place)
        count = len(self._batch.terms)
        if count > len(self._now):
            self._now = np.empty((min(2 * count, len(self._place)), self._width), np.float32)
        np.take(self._table, 4 * self._batch.terms, 0, out=self._now[:count], mode="clip")

    def forward(self, out: torch.Tensor) -> None:
        """Writes what the batch's terms add to the first layer, (M, H, B)."""
        self._write(self._batch.rows @ self._now[: len(self._batch.terms)], out)

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
        self._count.fill_(step)
        places = 4 * self._batch.terms + np.arange(4)[:, None]  # (4, U) in the table
        rows = len(self._spare)
        for start in range(0, len(gradients), rows):
            block = slice(start, start + rows)
            self._change(self._batch.terms[block], places[:, block], gradients[block])
        self._pass(weight)

    def _change(
        self, terms: NDArray[np.intp], places: NDArray[np.intp], gradients: torch.Tensor
    ) -> None:
        """Takes the step of a block of terms; `gradients` is overwritten."""
        block = self._block[: places.size].reshape(4, -1, self._width)
        np.take(self._table, places, 0, out=block, mode="clip")
        parameters, first, second, lag = torch.from_numpy(block)
        change = self._spare[: len(terms)]
        self._penalise(gradients, parameters, terms)
        if self._adam:
            change.zero_()
            torch._fused_adam_(
                [change], [gradients], [first], [second], [], [self._count],
                lr=1.0, beta1=BETA1, beta2=BETA2, weight_decay=0.0, eps=EPSILON,
                amsgrad=False, maximize=False,
            )  # fmt: skip
        else:
            torch.neg(first.mul_(MOMENTUM).add_(gradients), out=change)
        parameters.addcmul_(change, self._lr)
        lag.addcmul_(change, self._lr, value=-1 / self._left)
        self._table[places] = block

    def _penalise(
        self, gradients: torch.Tensor, parameters: torch.Tensor, terms: NDArray[np.intp]
    ) -> None:
        weight, spare = self._weight[torch.from_numpy(terms)], self._spare[: len(terms)]
        if self._has_l2:
            gradients.addcmul_(torch.mul(parameters, self._l2, out=spare), weight, value=2)
        if self._has_l1:
            gradients.addcmul_(torch.sign(parameters, out=spare).mul_(self._l1), weight)

    def _pass(self, weight: float) -> None:
        """One step more of the running average, whose difference shrinks for all terms alike."""
        self._left *= 1 - weight
        if self._left < _LEAST_LEFT:
            self._lag *= np.float32(self._left)
            self._left = 1.0

    def end_epoch(self) -> None:
        """Brings the running average up to the last step, a block at a time for the cache."""
        rows = len(self._spare)
        for start in range(0, len(self._lag), rows):
            block = slice(start, start + rows)
            now, lag, average = self._parameters[block], self._lag[block], self._average[block]
            np.multiply(lag, np.float32(self._left), out=average)
            average += now
            np.subtract(average, now, out=lag)
        self._left = 1.0

    def score(self, rows: "csr_array", out: torch.Tensor) -> None:
        """Writes what the averaged weights add to the first layer for any rows, (M, H, B)."""
        self._write(rows @ self._average, out)

    def keep(self, member: int) -> None:
        """Notes a member's average as its best."""
        self._best[:, self._of(member)] = self._average[:, self._of(member)]

    def member(self, place: int) -> list[Floats]:
        """Parameters, first, second, average and best of a member, as views (V, H)."""
        tables = (self._parameters, self._first, self._second, self._average, self._best)
        return [table[:, self._of(place)] for table in tables]


def _renumbered(rows: "csr_array", place: NDArray[np.integer]) -> Batch:
    """A batch with the terms that occur numbered from 0; `place` is (V,) scratch."""
    from scipy.sparse import csr_array

    occurs = np.zeros(len(place), bool)
    occurs[rows.indices] = True
    terms = np.flatnonzero(occurs)
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
