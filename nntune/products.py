"""Matrix products of the installed libraries behind one prepared call.

A training step repeats the same products on the same buffers, so a product is bound to its
operands once, as views, and called without arguments in the step.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from nntune.trials import Product

Call = Callable[[], object]

# Multiplications up to which `mixed` is numpy: those of 128 units by 128 units for 128 rows.
_SMALL = 1 << 21


def bind(product: Product, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Call:
    """The call that writes a @ b to out, for operands (M, i, k), (M, k, j) and (M, i, j).

    An operand with M = 1 serves all members. Every member's product is one BLAS call whose
    shape does not depend on M: that keeps a member's bits independent of its stack.
    """
    members, rows, columns = out.shape
    is_small = rows * columns * a.shape[2] <= _SMALL
    by_numpy = product == "numpy" or (product == "mixed" and is_small)
    if by_numpy and out.device.type == "cpu":
        return partial(np.matmul, a.numpy(), b.numpy(), out.numpy())
    return partial(_bmm, a.expand(members, -1, -1), b.expand(members, -1, -1), out)


def bind_sum(product: Product, a: torch.Tensor, out: torch.Tensor) -> Call:
    """The call that writes the sums of the rows of a, (M, i, j), to out, (M, i, 1)."""
    if product == "torch" or out.device.type != "cpu":
        return partial(torch.sum, a, 2, keepdim=True, out=out)
    ones = torch.ones(a.shape[2], 1)  # on a cache line, as all operands
    return partial(np.matmul, a.numpy(), ones.numpy(), out.numpy())


def _bmm(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    # Members one by one on the CPU: a batched kernel may choose its blocking by the batch.
    if out.device.type != "cpu":
        torch.bmm(a, b, out=out)
        return
    for left, right, result in zip(a.unbind(), b.unbind(), out.unbind(), strict=True):
        torch.mm(left, right, out=result)
