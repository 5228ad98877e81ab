"""Networks whose gradients torch derives: as members of a stack, on the stack's flat buffers.

Every member is a torch module of its own. Its tensors are views of its row of the parameters and
their gradients views of its row of the gradients, so that the optimizer, the averages and the
snapshots of a stack see no difference to a perceptron. Members run one after the other: a
convolution of all members at once took 0.65 to 1.1 times as long here, but the rounding of such a
kernel depends on the company.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from nntune.autograd.augmentation import augmented
from nntune.autograd.modules import module_of
from nntune.families import Layered, Own, Part
from nntune.networks import member_buffer
from nntune.own import first_numbers


def initial(shape: Layered, seed: int, number: int) -> np.ndarray:  # (P,) float32
    """Initial parameters of a trial, fixed by (study seed, trial number); ranges as torch has."""
    if isinstance(shape, Own):
        return first_numbers(shape, seed, number)
    generator = np.random.default_rng(np.random.SeedSequence([seed, 0, number]))
    return np.concatenate([_drawn(part, generator) for part in shape.parts])


def _drawn(part: Part, generator: np.random.Generator) -> np.ndarray:
    count = math.prod(part.size)
    if not part.fan:
        return np.full(count, part.start, np.float32)
    bound = float(part.fan**-0.5)
    return generator.uniform(-bound, bound, count).astype(np.float32)


class Draws(NamedTuple):
    """What is random in a training: the study's seed, and of each member its own."""

    seed: int
    keys: Sequence[int]  # one a member
    rates: Sequence[float]  # of dropout, one a member


class Differentiated:
    """A stack of modules of one shape on batches of one size.

    Args:
        shape: of every member.
        parameters: (M, P) float32; read in place, so a step on it is seen here.
        rows: B, of every batch.
        gradients: (M, P) to train; None to score only.
        draws: to train.
    """

    def __init__(
        self,
        shape: Layered,
        parameters: torch.Tensor,
        rows: int,
        gradients: torch.Tensor | None = None,
        draws: Draws | None = None,
    ) -> None:
        members, device = parameters.shape[0], parameters.device
        self._shape, self._draws, self._gradients = shape, draws, gradients
        self.inputs = torch.empty(rows, shape.inputs, device=device)  # (B, D)
        self.outputs = member_buffer(members, shape.outputs, rows, device=device)  # (M, C, B)
        self.error = member_buffer(members, shape.outputs, rows, device=device)
        self._results: list[torch.Tensor] = []
        self._step = 0
        rates = draws.rates if draws else [0.0] * members
        self._modules = [
            _bound(shape, row, rate, None if gradients is None else gradients[place])
            for place, (row, rate) in enumerate(zip(parameters, rates, strict=True))
        ]
        self._norms = [[] if draws else _norms(module) for module in self._modules]

    @property
    def normalises(self) -> bool:
        """Whether there is batch normalisation, whose statistics `settle` sets."""
        return any(self._norms)

    def settle(self, batches: Sequence[torch.Tensor]) -> None:
        """Sets the means and variances of batch normalisation to those of these rows.

        An average of those that batches had while the weights changed fits no weights, averaged
        ones least of all (Izmailov et al. 2018, arXiv:1803.05407, section 3.2; Wu & Johnson 2021,
        arXiv:2105.07576).

        Args:
            batches: (B, D) each, of training rows, about alike in size.
        """
        for module, norms in zip(self._modules, self._norms, strict=True):
            usual = [norm.momentum for norm in norms]
            for place, rows in enumerate(batches, 1):
                for norm in norms:
                    norm.train().momentum = 1 / place  # a mean over batches
                with torch.no_grad():
                    module(rows)
            for norm, momentum in zip(norms, usual, strict=True):
                norm.eval().momentum = momentum

    def begin(self, step: int) -> None:
        """Settles the noise of a step, counted from the first of the training."""
        self._step = step

    def forward(self) -> None:
        """From `inputs` to `outputs`: logits, or the standardised prediction."""
        if self._draws is None:
            with torch.no_grad():
                for place, module in enumerate(self._modules):
                    self.outputs[place].copy_(module(self.inputs).t())
            return
        x = augmented(self.inputs, self._shape, (self._draws.seed, self._step))
        self._results = []
        for place, (module, key) in enumerate(zip(self._modules, self._draws.keys, strict=True)):
            torch.default_generator.manual_seed((key + self._step) & (2**63 - 1))
            with torch.enable_grad():
                result = module(x)
            self._results.append(result)
            self.outputs[place].copy_(result.detach().t())

    def backward(self) -> None:
        """From `error`, the gradient at the outputs, to the gradients of the parameters."""
        assert self._gradients is not None
        self._gradients.zero_()
        for result, error in zip(self._results, self.error, strict=True):
            torch.autograd.backward(result, error.t())
        self._results = []


def _bound(
    shape: Layered, row: torch.Tensor, rate: float, gradients: torch.Tensor | None
) -> torch.nn.Module:
    """A module whose tensors are views of a member's flat parameters (P,) and gradients (P,)."""
    module = module_of(shape, rate)
    place, names = 0, _names(module)
    if isinstance(shape, Own):
        module.to(row.device)  # what is no part of the row, such as whole numbers
    for part in shape.parts:
        count = math.prod(part.size)
        # Views share a count of changes with the whole row, and a buffer that is updated would
        # seem to change the weights; `data` counts for itself.
        tensor = row[place : place + count].view(part.size).data
        if part.kind != "buffer":
            tensor = torch.nn.Parameter(tensor, requires_grad=gradients is not None)
            if gradients is not None:
                tensor.grad = gradients[place : place + count].view(part.size)
        for owner, name in names[part.name]:
            if part.kind == "buffer" and name in owner._parameters:  # the user's code froze it
                tensor = torch.nn.Parameter(tensor, requires_grad=False)
            setattr(owner, name, tensor)
        place += count
    return module.train(gradients is not None)


def _norms(module: torch.nn.Module) -> list[_BatchNorm]:
    """Its batch normalisations, but for those that the user's code keeps as they are."""
    was = module.training
    module.train()
    found = [
        each
        for each in module.modules()
        if isinstance(each, _BatchNorm) and each.training and each.running_mean is not None
    ]
    module.train(was)
    return found


def _names(module: torch.nn.Module) -> dict[str, list[tuple[torch.nn.Module, str]]]:
    """Where each tensor stands in a module: in several places if it is shared."""
    first: dict[int, str] = {}
    found: dict[str, list[tuple[torch.nn.Module, str]]] = {}
    tensors = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in tensors:
        path, _, last = name.rpartition(".")
        known = first.setdefault(id(tensor), name).removeprefix("network.")
        found.setdefault(known, []).append((module.get_submodule(path), last))
    return found


def outputs(shape: Layered, flat: np.ndarray, x: np.ndarray) -> np.ndarray:  # (N, C)
    """What a network says of encoded rows: logits of classes, or the standardised target.

    Args:
        shape: of the network.
        flat: (P,) its parameters.
        x: (N, D) float32.
    """
    module = _bound(shape, torch.from_numpy(np.array(flat, np.float32)), 0.0, None)
    with torch.no_grad():
        blocks = torch.split(torch.from_numpy(np.ascontiguousarray(x)), _ROWS)
        parts = [module(rows) for rows in blocks]
    return torch.cat(parts).numpy() if parts else np.empty((0, shape.outputs), np.float32)


_ROWS = 256  # predicted at once
