"""Matrix products of the installed libraries behind one prepared call, and the choice among them.

A training step repeats the same products on the same buffers, so a product is bound to its
operands once, as views, and called without arguments in the step.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from nntune.trials import Product

Call = Callable[[], object]

# numpy must be this much faster before it replaces torch: on libraries of equal speed the
# choice should not follow the noise of the clock.
ADVANTAGE = 1.15


def bind(product: Product, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Call:
    """The call that writes a @ b to out, for operands (M, i, k), (M, k, j) and (M, i, j).

    An operand with M = 1 serves all members. Every member's product is one BLAS call whose
    shape does not depend on M: that keeps a member's bits independent of its stack.
    """
    if product == "numpy" and out.device.type == "cpu":
        return partial(np.matmul, a.numpy(), b.numpy(), out=out.numpy())
    members = out.shape[0]
    return partial(_bmm, a.expand(members, -1, -1), b.expand(members, -1, -1), out)


def _bmm(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    # Members one by one on the CPU: a batched kernel may choose its blocking by the batch.
    if out.device.type != "cpu":
        torch.bmm(a, b, out=out)
        return
    for left, right, result in zip(a.unbind(), b.unbind(), out.unbind(), strict=True):
        torch.mm(left, right, out=result)


def rates(
    units: int = 64, rows: int = 128, members: int = 4, repeats: int = 20
) -> dict[str, float]:
    """Measured rate of each product in GFLOP/s on this machine now, one float32 layer a member."""
    a = torch.full((members, units, units), 0.5)
    b = torch.full((members, units, rows), 0.5)
    out = torch.empty(members, units, rows)
    operations = 2 * members * units * units * rows
    found = {}
    for product in ("numpy", "torch"):
        call = bind(product, a, b, out)
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
        found[product] = operations / best / 1e9
    return found


def fastest() -> Product:
    """The product to use on this CPU, by a measurement of a few milliseconds."""
    measured = rates()
    return "numpy" if measured["numpy"] > ADVANTAGE * measured["torch"] else "torch"
