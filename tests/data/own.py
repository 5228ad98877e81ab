"""Networks as a user of nntune would write them, right and wrong ones."""

import sys

import torch
from torch import nn


class Net(nn.Module):
    """Two layers with what they can have: shared weights, a running mean, dropout, a count."""

    def __init__(self, inputs: int, outputs: int, width: int = 8, rate: float = 0.1) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(inputs, width), nn.BatchNorm1d(width)
        self.middle, self.drop = nn.Linear(width, width), nn.Dropout(rate)
        self.again = self.middle
        self.last = nn.Linear(width, outputs)
        self.register_buffer("places", torch.arange(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.first(x.flatten(1))).relu()
        h = self.again(self.drop(self.middle(h).relu())).relu()
        return self.last(h[:, self.places])


class Still(Net):
    """Keeps the statistics of its normalisation as they are."""

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.norm.eval()
        return self


class Steps(nn.Module):
    """Says with its first layer what form of examples it was given."""

    def __init__(self, size: tuple[int, ...], outputs: int, act: str = "relu") -> None:
        super().__init__()
        self.mix = nn.Conv1d(size[0], 4, 3, padding=1)
        self.act, self.last = getattr(torch, act), nn.Linear(4, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.act(self.mix(x)).mean(2))


class Needs(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.only = nn.Linear(inputs, outputs + width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.only(x.flatten(1))


class Heads(nn.Module):
    """Cannot be made where the width is no multiple of the heads."""

    def __init__(self, inputs: int, outputs: int, heads: int = 2, width: int = 6) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)[:, None]
        return self.last(self.attention(h, h, h, need_weights=False)[0][:, 0])


class Frozen(nn.Module):
    """Has a weight that is not trained."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 4), nn.Linear(4, outputs)
        self.first.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).tanh())


class Masked(nn.Module):
    """Has a buffer that is not finite."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 4), nn.Linear(4, outputs)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, 0.0, -torch.inf]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last((self.first(x) + self.mask).softmax(1))


class InPlace(nn.Module):
    """Changes the batch that it gets."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.last = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x *= 2
        return self.last(x)


def fails(inputs: int) -> nn.Module:
    raise ValueError(f"no network\nfor {inputs}")


def wrong() -> int:
    return 3


class Lazy(nn.Module):
    """Knows its sizes after the first batch."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.norm, self.last = nn.LazyBatchNorm1d(), nn.LazyLinear(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(x))


class Empty(nn.Module):
    """Has nothing to learn."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3]


class Exits(nn.Module):
    """Ends the program, in training only or always."""

    def __init__(self, inputs: int, outputs: int, always: int = 0) -> None:
        super().__init__()
        self.last, self.always = nn.Linear(inputs, outputs), always

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training or self.always:
            sys.exit(3)
        return self.last(x)


class NaN(nn.Module):
    """Gives no numbers."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.last = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x) * torch.nan
