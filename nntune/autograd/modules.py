"""From the description of a network to its torch module."""

import math
from typing import Any

import torch
from torch import nn

from nntune.families import OURS, Convolutional, Layer, Layered, Own
from nntune.own import made_by, seeded, staying


def module_of(shape: Layered, dropout: float = 0.0) -> nn.Module:
    """The module of a shape; its tensors are not made yet, but for those of the user's own."""
    if isinstance(shape, Own):
        with seeded(0):  # what it draws is written over
            return Framed(shape, made_by(shape))
    with torch.device("meta"):
        layers = [_made(layer, dropout) for layer in shape.layers]
    is_image = isinstance(shape, Convolutional) and len(shape.grid.size) == 2
    return ChannelsLast(*layers) if is_image else nn.Sequential(*layers)


class ChannelsLast(nn.Sequential):
    """Layers that keep the channels of a pixel together: a step takes 0.6 to 0.8 times as long."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x = layer(x)
            if x.ndim == 4:
                x = x.contiguous(memory_format=torch.channels_last)
        return x


class Framed(nn.Module):
    """The user's network between flat features (B, D) and outputs (B, C)."""

    def __init__(self, shape: Own, network: nn.Module) -> None:
        super().__init__()
        self.spread, self.network, self.outputs = _made(shape.spread, 0.0), network, shape.outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The code may change what it gets in place, and the other members get the same rows.
        with staying():
            found: torch.Tensor = self.network(self.spread(x).clone())
        return found.reshape(len(x), self.outputs)


def _made(layer: Layer, dropout: float) -> nn.Module:
    if layer.name == "Dropout":
        return nn.Dropout(dropout)
    kind = globals()[layer.name] if layer.name in OURS else getattr(nn, layer.name)
    made: nn.Module = kind(*layer.arguments, **dict(layer.options))
    return made


class Spread(nn.Module):
    """Flat features to (B, planes, *size).

    Beside the channels of the grid one plane says which steps there are, where series have gaps,
    and every feature that is no part of the grid is a plane of one value.
    """

    def __init__(self, channels: int, size: tuple[int, ...], gaps: bool) -> None:
        super().__init__()
        self.channels, self.size, self.gaps = channels, size, gaps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = self.channels * math.prod(self.size)
        grid, beside = x[:, : count * (1 + self.gaps)], x[:, count * (1 + self.gaps) :]
        planes = [grid]
        if self.gaps:  # (value, missing) of every step
            pairs = grid.reshape(len(x), count, 2)
            planes = [pairs[:, :, 0], 1 - pairs[:, : math.prod(self.size), 1]]
        still = beside.view(*beside.shape, *(1 for _ in self.size)).expand(-1, -1, *self.size)
        return torch.cat([*(p.reshape(len(x), -1, *self.size) for p in planes), still], 1)


class States(nn.Module):
    """A recurrent network over (B, channels, *size), and what its states (B, T, H) come to.

    An image is read row by row. Where series have gaps, the plane behind their channels says
    which steps there are.
    """

    def __init__(
        self, cell: str, channels: int, units: int, depth: int, states: str, there: int
    ) -> None:
        super().__init__()
        kind: Any = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.cell = kind(channels, units, depth, batch_first=True)
        self.states, self.there = states, there

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = x.movedim(2, 1).flatten(2)  # (B, T, channels)
        states, _ = self.cell(steps)
        if self.there < 0:
            return self._gathered(states)
        return self._gathered_there(states, steps[:, :, self.there, None] > 0.5)

    def _gathered(self, states: torch.Tensor) -> torch.Tensor:
        if self.states == "last":
            return states[:, -1]
        return states.mean(1) if self.states == "mean" else states.amax(1)

    def _gathered_there(self, states: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        counts = there.sum(1).clamp(min=1)  # (B, 1)
        if self.states == "last":
            return states[torch.arange(len(states)), counts[:, 0] - 1]
        if self.states == "mean":
            return (states * there).sum(1) / counts
        return states.masked_fill(~there, -1.0).amax(1)


class Residual(nn.Module):
    """Two convolutions with a shortcut around them (He et al. 2016, arXiv:1512.03385).

    The shortcut is a convolution of one place, as in the ResNet of Wang et al. 2017 for series
    (arXiv:1611.06455); all three have their normalisation, if any.
    """

    def __init__(
        self, rank: int, before: int, width: int, kernel: int, is_normed: bool, activation: str
    ) -> None:
        super().__init__()
        conv, norm = (getattr(nn, f"{name}{rank}d") for name in ("Conv", "BatchNorm"))

        def part(channels: int, places: int) -> nn.Sequential:
            made = nn.Sequential()
            options = {"padding": "same", "bias": not is_normed}
            made.add_module("conv", conv(channels, width, places, **options))
            if is_normed:
                made.add_module("norm", norm(width))
            return made

        self.first, self.second = part(before, kernel), part(width, kernel)
        self.shortcut, self.activation = part(before, 1), getattr(nn, activation)()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.second(self.activation(self.first(x)))
        found: torch.Tensor = self.activation(h + self.shortcut(x))
        return found
