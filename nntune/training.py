"""Training a stack: epochs of minibatch gradient descent, early stopping, best snapshots.

Where the rows are dealt out to folds, a member is a network a fold, all trained in step, and its
curve is the mean over the folds; without folds that is a mean of one.

A trial's curve does not depend on who shares its stack, nor on where its training was cut and
continued: initial weights and noise are keyed by (study seed, trial number), the order of
examples by (study seed, epoch), and every operation treats members apart.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from nntune import autograd, deferred, networks
from nntune.autograd import Differentiated, Draws
from nntune.families import Own
from nntune.metrics import METRICS, log_loss, mean_squared_error
from nntune.networks import Dropout, Perceptrons, member_buffer
from nntune.optimizers import Optimizer, Rates
from nntune.terms import State, Terms
from nntune.trials import AnyShape, Progress, Setting, Shape

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Rows scored at once: their activations stay in the second-level cache for common widths.
_SCORED_ROWS = 512
# From so many training rows, in batches of a quarter, batch normalisation has its statistics.
_NORMED_ROWS = 1024
# What is scored and kept is an average of the weights over about the last hundred steps (Polyak &
# Juditsky 1992): a value then owes less to the luck of the last batches. On concrete and digits the
# test error of high learning rates fell by 3 to 14 % at an unchanged validation error.
_AVERAGING = 0.99
# Target numbers gathered at once, for many steps: a thousand classes stay at 4 MB.
_TARGETS = 1 << 20
_ARRAYS = ("parameters", "first", "second", "average", "best")  # of a member's progress


class Examples(NamedTuple):
    """What training may see, on its device: never the test rows."""

    x: torch.Tensor  # (N, D) float32
    y: torch.Tensor  # (N,) int64 class, or float32 standardised target
    x_valid: torch.Tensor  # (V, D) float32
    y_valid: torch.Tensor  # (V,)
    classes: int  # 0 for regression
    scale: float  # unit of a regression target; 1 for classes
    others: tuple["Examples", ...] = ()  # the other folds
    terms: "csr_array | None" = None  # (N, V) float32 sparse inputs beside x
    terms_valid: "csr_array | None" = None  # (V, V)

    @property
    def outputs(self) -> int:
        return self.classes or 1

    @property
    def folds(self) -> tuple["Examples", ...]:
        """All folds, its own first."""
        return (self, *self.others)


def train(
    members: Sequence[Progress],
    setting: Setting,
    examples: Examples,
    until: int,
    deadline: float = math.inf,
) -> list[Progress]:
    """Trains members of one shape together until an epoch, or until each has an outcome.

    Args:
        members: any mix of new and continued trials of equal `epoch`.
        setting: of all members.
        examples: on the device to train on.
        until: the epoch to reach.
        deadline: on time.monotonic(); past it the members keep their last whole epoch.

    Returns:
        The members in the order given.
    """
    if time.monotonic() >= deadline:  # nothing is built for an epoch that would not be trained
        return [member._replace(outcome="time") for member in members]
    done = {member.number: member for member in members}
    active = [member for member in members if not member.outcome and member.epoch < until]
    # Decaying moments of idle units end in denormal numbers, many times slower to add.
    torch.set_flush_denormal(True)
    try:
        # A diverging member is found by its loss; numpy would warn of its overflow.
        with _gradients(setting.shape), np.errstate(all="ignore"):
            while active:
                for member in _train_stack(active, setting, examples, until, deadline):
                    done[member.number] = member
                active = [done[m.number] for m in active]
                active = [m for m in active if not m.outcome and m.epoch < until]
    finally:
        torch.set_flush_denormal(False)  # torch's default, which this process may be used to
    return [done[member.number] for member in members]


@contextmanager
def _gradients(shape: AnyShape) -> Iterator[None]:
    """What surrounds training: tensors without history, and this process's random numbers kept."""
    if isinstance(shape, Shape):  # its gradients are written out
        with torch.inference_mode():
            yield
        return
    deferred.complete()  # who knows what the user's code asks of torch
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        yield


def _train_stack(
    members: Sequence[Progress], setting: Setting, examples: Examples, until: int, deadline: float
) -> list[Progress]:
    """Epochs of one stack until a member has an outcome: the others then go on in a smaller one."""
    started, began = time.process_time(), time.monotonic()
    ends = began + setting.trial_time - min(member.elapsed for member in members)
    stack = Folds(members, setting, examples)
    while stack.epoch < until:
        if not stack.train_epoch(min(deadline, ends)):
            stack.expire("time" if time.monotonic() >= deadline else "time limit")
            break
        stack.score_epoch()
        stack.limit(setting.trial_time - (time.monotonic() - began))
        if any(member.outcome for member in stack.members):
            break
    share = (time.process_time() - started) / len(members)
    elapsed = time.monotonic() - began
    return [
        member._replace(seconds=member.seconds + share, elapsed=member.elapsed + elapsed)
        for member in stack.unstack()
    ]


class Folds:
    """Members trained on each fold in step, a stack a fold, and their progress."""

    def __init__(self, members: Sequence[Progress], setting: Setting, examples: Examples) -> None:
        self.members = list(members)
        self.epoch = members[0].epoch
        self._patience, self._metric = setting.patience, METRICS[setting.metric]
        count = len(examples.folds)
        self._stacks = [
            Stack(
                [_of_fold(member, fold, count) for member in members],
                setting._replace(seed=fold_seed(setting.seed, fold)),
                each,
            )
            for fold, each in enumerate(examples.folds)
        ]

    def train_epoch(self, deadline: float) -> bool:
        """An epoch of every fold; False if time ran out."""
        if not all(stack.train_epoch(deadline) for stack in self._stacks):
            return False
        self.epoch += 1
        return True

    def score_epoch(self) -> None:
        """Brings every member's progress up to the epoch: means over the folds."""
        scores = [stack.score() for stack in self._stacks]
        for place in range(len(self.members)):
            value, loss = (
                sum(fold[which][place] for fold in scores) / len(scores) for which in (0, 1)
            )
            self._advance(place, value, loss)

    def _advance(self, place: int, value: float, loss: float) -> None:
        member = self.members[place]
        member = member._replace(epoch=self.epoch, curve=(*member.curve, value))
        better = self._metric.better(value, member.value) or (
            value == member.value and loss < member.loss
        )
        if not math.isfinite(loss) or not math.isfinite(value):
            member = member._replace(outcome="diverged")
        elif better or not member.best_epoch:
            member = member._replace(value=value, loss=loss, best_epoch=self.epoch)
            for stack in self._stacks:
                stack.keep(place)
        if not member.outcome:
            if self.epoch - member.best_epoch >= self._patience:
                member = member._replace(outcome="early stop")
            elif self.epoch >= member.epochs:
                member = member._replace(outcome="epochs")
        self.members[place] = member

    def expire(self, outcome: str) -> None:
        """Marks every member as out of time."""
        self.members = [member._replace(outcome=outcome) for member in self.members]

    def limit(self, before: float) -> None:
        """Ends members that had been in training for longer than so many seconds before this."""
        self.members = [
            member if member.outcome or member.elapsed <= before
            else member._replace(outcome="time limit")
            for member in self.members
        ]  # fmt: skip

    def unstack(self) -> list[Progress]:
        """The members with their arrays; only the best snapshot of those that have ended."""
        folds = [stack.unstack() for stack in self._stacks]
        result = []
        for member, *parts in zip(self.members, *folds, strict=True):
            kept = ("best",) if member.outcome else _ARRAYS
            arrays: dict[str, Any] = dict.fromkeys(_ARRAYS)
            for name in kept:
                rows = [getattr(part, name) for part in parts]
                arrays[name] = np.concatenate(rows) if len(rows) > 1 else rows[0]
            result.append(member._replace(**arrays))
        return result


class Stack:
    """Buffers of members that train as one network on one fold."""

    def __init__(self, members: Sequence[Progress], setting: Setting, examples: Examples) -> None:
        self._members = list(members)
        self.epoch = members[0].epoch
        device = examples.x.device
        shape, cut = _dense(setting.shape)
        self._setting, self._examples = setting, _without_bins(examples, shape.inputs)
        arrays = _arrays(members, setting)
        dense = ([row[cut:] for row in rows] for rows in arrays)
        self._parameters, self._first, self._second, self._average, self._best = (
            _stacked(rows, device) for rows in dense
        )
        self._gradients = _zeros(len(members), shape, device)
        self._rows = min(setting.batch_size, len(examples.x))
        # A row by itself has no spread, and the user's code may normalise by that of a batch.
        is_left_over = isinstance(setting.shape, Own) and len(examples.x) % self._rows == 1
        self._used = len(examples.x) - is_left_over  # rows of an epoch
        self._steps = math.ceil(self._used / self._rows)
        rates = Rates([m.lr for m in members], [m.l1 for m in members], [m.l2 for m in members])
        self._terms = None
        if examples.terms is not None and isinstance(setting.shape, Shape):
            state = State(*([row[:cut] for row in rows] for rows in arrays))
            self._terms = Terms(
                examples.terms, setting.shape, rates, setting.optimizer, self._rows, state
            )
        self._optimizer = Optimizer(
            setting.optimizer, rates, self._parameters, self._gradients,
            (self._first, self._second), shape.weights, self.epoch * self._steps,
        )  # fmt: skip
        self._noise = self._make_noise(members, device)
        self._networks: dict[int, Perceptrons | Differentiated] = {}
        self._target_steps = max(1, _TARGETS // (examples.outputs * self._rows))
        x = self._examples.x  # numpy gathers faster, but would copy all of a view first
        self._take = x.numpy().take if x.is_cpu and x.is_contiguous() else None
        self._onehot = torch.eye(examples.outputs, device=device)
        # Gradient of mean cross-entropy by the logits, or of mean squared error by the prediction,
        # as a multiple of what was predicted less the target.
        self._slope = 1 if examples.classes else 2
        self._scorer = self._make_scorer(min(_SCORED_ROWS, len(examples.x_valid)))
        self._normed = self._make_normed()
        self._scores = torch.empty(
            len(members), examples.outputs, len(examples.x_valid), device=device
        )

    def _make_noise(
        self, members: Sequence[Progress], device: torch.device
    ) -> Dropout | Draws | None:
        shape, seed = self._setting.shape, self._setting.seed
        rates = [m.dropout for m in members]
        words = [np.random.SeedSequence([seed, 2, m.number]).generate_state(1, np.uint64)
                 for m in members]  # fmt: skip
        keys = np.concatenate(words).view(np.int64)
        if not isinstance(shape, Shape):
            return Draws(seed, keys.tolist(), rates)
        if not any(rates) or not shape.hidden:
            return None
        return Dropout(np.array(rates), keys, shape.hidden, self._rows, device)

    def train_epoch(self, deadline: float) -> bool:
        """One pass over the training rows in the epoch's order; False if time ran out."""
        order = _order(self._setting.seed, self.epoch, self._examples.x)[: self._used]
        step = self.epoch * self._steps
        for block in torch.split(order, self._rows * self._target_steps):
            batches = zip(torch.split(block, self._rows), self._pulls(block), strict=True)
            for step, (rows, pulls) in enumerate(batches, step):  # noqa: B020
                if time.monotonic() >= deadline:
                    return False
                self._step(rows, pulls, step)
            step += 1
        self.epoch += 1
        return True

    def _gather(self, rows: torch.Tensor, inputs: torch.Tensor) -> None:
        if self._take is not None:
            self._take(rows.numpy(), 0, inputs.numpy(), "clip")
        else:
            torch.index_select(self._examples.x, 0, rows, out=inputs)

    def _pulls(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the targets add to the gradient, some batches at once, each (C, B)."""
        y = self._examples.y.index_select(0, rows)
        columns = self._onehot.index_select(1, y) if self._examples.classes else y[None]
        last = (len(rows) - 1) % self._rows + 1
        columns[:, :-last] *= -self._slope / self._rows
        columns[:, -last:] *= -self._slope / last
        return torch.split(columns, self._rows, 1)

    def _step(self, rows: torch.Tensor, pulls: torch.Tensor, step: int) -> None:
        count = pulls.shape[1]
        network = self._networks.get(count) or self._make_network(count)
        self._gather(rows, network.inputs)
        network.begin(step)
        if self._terms and isinstance(network, Perceptrons):
            self._terms.read(rows.numpy())
            self._terms.forward(network.more)
        network.forward()
        predicted = network.outputs
        if self._examples.classes:
            predicted = torch.softmax(network.outputs, 1, out=network.error)
        torch.add(pulls, predicted, alpha=self._slope / count, out=network.error)
        network.backward()
        self._optimizer.step()
        # Shorter at first: the average begins with the first step, not with the initial weights.
        weight = max(1 - _AVERAGING, 9 / (9 + step))
        self._average.lerp_(self._parameters, weight)
        if self._terms and isinstance(network, Perceptrons):
            self._terms.update(network.first_error, step + 1, weight)

    def _make_network(self, rows: int) -> Perceptrons | Differentiated:
        shape, noise = self._setting.shape, self._noise
        network: Perceptrons | Differentiated
        if isinstance(shape, Shape):
            assert not isinstance(noise, Draws)
            network = Perceptrons(
                shape.dense, self._parameters, rows, self._setting.product, self._gradients,
                noise, more=self._terms is not None,
            )  # fmt: skip
        else:
            assert isinstance(noise, Draws)
            network = Differentiated(shape, self._parameters, rows, self._gradients, noise)
        self._networks[rows] = network
        return network

    def _make_scorer(self, rows: int) -> Perceptrons | Differentiated:
        shape = self._setting.shape
        if isinstance(shape, Shape):
            more = self._terms is not None
            product = self._setting.product
            return Perceptrons(shape.dense, self._average, rows, product, more=more)
        return Differentiated(shape, self._average, rows)

    def _make_normed(self) -> Sequence[torch.Tensor]:
        """Batches of training rows that the seed draws; none where nothing is normalised."""
        if not isinstance(self._scorer, Differentiated) or not self._scorer.normalises:
            return ()
        x = self._examples.x
        draw = np.random.default_rng(np.random.SeedSequence([self._setting.seed, 3]))
        rows = torch.from_numpy(draw.permutation(len(x))[:_NORMED_ROWS]).to(x.device)
        count = max(1, round(4 * len(rows) / _NORMED_ROWS))
        return [x.index_select(0, part) for part in torch.tensor_split(rows, count)]

    def score(self) -> tuple[list[float], list[float]]:
        """Value and loss of each member on the validation rows."""
        examples, scorer = self._examples, self._scorer
        total, rows = len(examples.x_valid), len(scorer.inputs)
        if self._terms:
            self._terms.end_epoch()
        if isinstance(scorer, Differentiated):
            scorer.settle(self._normed)
        for start in range(0, total, rows):
            start = min(start, total - rows)  # the last rows are scored in a full batch too
            scorer.inputs.copy_(examples.x_valid[start : start + rows])
            if self._terms and isinstance(scorer, Perceptrons) and examples.terms_valid is not None:
                self._terms.score(examples.terms_valid[start : start + rows], scorer.more)
            scorer.forward()
            self._scores[:, :, start : start + rows].copy_(scorer.outputs)
        loss_of = log_loss if examples.classes else mean_squared_error
        losses = loss_of(self._scores, examples.y_valid).tolist()
        metric = METRICS[self._setting.metric]
        values = metric.formula(self._scores, examples.y_valid, examples.scale).tolist()
        return values, losses

    def keep(self, place: int) -> None:
        """The member's averaged parameters are its best so far."""
        self._best[place].copy_(self._average[place])
        if self._terms:
            self._terms.keep(place)

    def unstack(self) -> list[Progress]:
        """The members with their arrays of the fold."""
        buffers = (self._parameters, self._first, self._second, self._average, self._best)
        arrays = [buffer.cpu().numpy() for buffer in buffers]
        result = []
        for place, member in enumerate(self._members):
            sparse = self._terms.member(place) if self._terms else [_NO_TERMS] * len(arrays)
            rows = [_row(*both) for both in zip(sparse, (a[place] for a in arrays), strict=True)]
            own: dict[str, Any] = dict(zip(_ARRAYS, rows, strict=True))
            result.append(member._replace(**own))
        return result


_NO_TERMS = np.empty((0, 0), np.float32)


def _row(sparse: np.ndarray, dense: np.ndarray) -> np.ndarray:  # (P,)
    """A member's numbers in one row: those of the sparse inputs, then the others."""
    row = np.empty(sparse.size + dense.size, np.float32)
    row[: sparse.size].reshape(sparse.shape)[:] = sparse
    row[sparse.size :] = dense
    return row


def fold_seed(seed: int, fold: int) -> int:
    """Seed of a fold's training: the networks of a member begin and move differently.

    >>> fold_seed(7, 0), fold_seed(7, 1) != fold_seed(7, 2)
    (7, True)
    """
    if not fold:
        return seed
    return int(np.random.SeedSequence([seed, 5, fold]).generate_state(1, np.uint64)[0])


def _of_fold(member: Progress, fold: int, folds: int) -> Progress:
    """The member with its arrays of one fold, which lie one after the other."""
    if member.parameters is None or folds == 1:
        return member
    parts: dict[str, Any] = {name: np.split(getattr(member, name), folds)[fold] for name in _ARRAYS}
    return member._replace(**parts)


def _without_bins(examples: Examples, inputs: int) -> Examples:
    """The first inputs, where a network has no more."""
    if inputs == examples.x.shape[1]:
        return examples
    return examples._replace(x=examples.x[:, :inputs], x_valid=examples.x_valid[:, :inputs])


def _dense(shape: AnyShape) -> tuple[AnyShape, int]:
    """The network without its sparse inputs, and how many weights these have."""
    if isinstance(shape, Shape):
        return shape.dense, shape.sparse_weights
    return shape, 0


def _initial(shape: AnyShape, seed: int, number: int) -> np.ndarray:
    if isinstance(shape, Shape):
        return networks.initial(shape, seed, number)
    return autograd.initial(shape, seed, number)


def _arrays(members: Sequence[Progress], setting: Setting) -> list[list[np.ndarray]]:
    """Parameters, first, second, average and best of each member: as they are, or new."""
    if all(member.parameters is None for member in members):
        new = [_initial(setting.shape, setting.seed, member.number) for member in members]
        zeros = [np.zeros(len(row), np.float32) for row in new]
        return [new, zeros, zeros, zeros, zeros]
    kept = [(m.parameters, m.first, m.second, m.average, m.best) for m in members]
    return [[row for row in rows if row is not None] for rows in zip(*kept, strict=True)]


def _stacked(rows: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    stacked = member_buffer(len(rows), len(rows[0]), device=device)
    for place, row in enumerate(rows):
        stacked[place].copy_(torch.from_numpy(row))
    return stacked


def _zeros(members: int, shape: AnyShape, device: torch.device) -> torch.Tensor:
    return member_buffer(members, shape.parameters, device=device).zero_()


def _order(seed: int, epoch: int, x: torch.Tensor) -> torch.Tensor:
    """The order of examples in an epoch, shared by all trials of a study: less noisy comparison."""
    generator = np.random.default_rng(np.random.SeedSequence([seed, 1, epoch]))
    return torch.from_numpy(generator.permutation(len(x))).to(x.device)
