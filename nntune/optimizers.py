"""Adam and gradient descent with momentum for a stack, each member with its own rate.

The penalties are part of the gradient: `l1 * sum|w| + l2 * sum w^2` is added to the mean loss,
over weights only; biases are free.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

BETA1, BETA2, EPSILON, MOMENTUM = 0.9, 0.999, 1e-8, 0.9
# From here on one fused pass over a member's weights, penalty included, beats a separate
# penalty for all members at once (4 against 27 microseconds at 269,000 weights).
_FUSED_PENALTY = 16_384


class Rates(NamedTuple):
    """Hyperparameters of the update, one of each a member."""

    lr: list[float]
    l1: list[float]
    l2: list[float]


class Optimizer:
    """Updates parameters (M, P) in place from gradients (M, P).

    Args:
        name: adam (Kingma & Ba 2015, arXiv:1412.6980) or sgd (momentum 0.9 as torch.optim.SGD).
        weights: how many of a member's parameters, the first ones, are weights.
        first, second: (M, P) moments, zero at the start; sgd uses the first only.
        steps: taken before, to correct Adam's bias.
    """

    def __init__(
        self,
        name: str,
        rates: Rates,
        parameters: torch.Tensor,
        gradients: torch.Tensor,
        moments: tuple[torch.Tensor, torch.Tensor],
        weights: int,
        steps: int,
    ) -> None:
        self._rates, self._steps, self._weights = rates, steps, weights
        self._parameters, self._gradients = parameters, gradients
        self._first, self._second = moments
        columns = torch.tensor(rates, device=parameters.device)[:, :, None]  # (3, M, 1)
        self._lr, self._l1, self._l2 = columns[0], columns[1], 2 * columns[2]
        self._penalised = parameters[:, :weights]
        self._penalised_gradients = gradients[:, :weights]
        self._scratch = torch.empty_like(parameters)
        self._has_l1, self._has_l2 = any(rates.l1), any(rates.l2)
        fused = name == "adam" and parameters.device.type == "cpu"
        self._decay_in_step = fused and weights >= _FUSED_PENALTY
        self._update = self._sgd if name == "sgd" else self._fused if fused else self._adam
        if fused:
            self._count = torch.tensor(float(steps))
            self._calls = [call for place in range(len(rates.lr)) for call in self._bind(place)]

    def step(self) -> None:
        """One update from the gradients as they stand, which it changes."""
        self._steps += 1
        if self._has_l2 and not self._decay_in_step:
            self._penalised_gradients.addcmul_(self._penalised, self._l2)
        if self._has_l1:
            sign = self._scratch[:, : self._weights]
            torch.sign(self._penalised, out=sign)
            self._penalised_gradients.addcmul_(sign, self._l1)
        self._update()

    def _sgd(self) -> None:
        self._first.mul_(MOMENTUM).add_(self._gradients)
        self._parameters.addcmul_(self._first, self._lr, value=-1)

    def _adam(self) -> None:
        self._first.lerp_(self._gradients, 1 - BETA1)
        self._second.mul_(BETA2).addcmul_(self._gradients, self._gradients, value=1 - BETA2)
        scale = self._scratch
        torch.sqrt(self._second, out=scale)
        scale.mul_((1 - BETA2**self._steps) ** -0.5).add_(EPSILON)
        torch.div(self._first, scale, out=scale)
        self._parameters.addcmul_(scale, self._lr, value=-1 / (1 - BETA1**self._steps))

    def _bind(self, member: int) -> list[Callable[[], object]]:
        """A member's fused calls: one, or weights and biases apart where the penalty is in it."""
        rows = [
            buffer[member]
            for buffer in (self._parameters, self._gradients, self._first, self._second)
        ]
        cut = self._weights if self._decay_in_step else 0
        parts = [(slice(cut, None), 0.0)]
        if cut:
            parts.append((slice(cut), 2 * self._rates.l2[member]))
        return [
            partial(
                torch._fused_adam_,  # the kernel behind torch.optim.Adam(fused=True)
                *([row[part]] for row in rows), [], [self._count],
                lr=self._rates.lr[member], beta1=BETA1, beta2=BETA2, weight_decay=decay,
                eps=EPSILON, amsgrad=False, maximize=False,
            )
            for part, decay in parts
        ]  # fmt: skip

    def _fused(self) -> None:
        self._count.fill_(self._steps)
        for call in self._calls:
            call()
