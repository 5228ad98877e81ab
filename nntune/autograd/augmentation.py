"""Training examples moved, mirrored or cut anew at every step; the labels stay true.

All members of a study that augment alike see the same changes: comparisons are less noisy.
"""

import numpy as np
import torch
from torch.nn import functional

from nntune.families import Convolutional, Layered

# Shares of a side: how far an example is moved, and how little of it is left at least.
_SHIFT, _CROP = 0.1, 0.8


def augmented(x: torch.Tensor, shape: Layered, key: tuple[int, int]) -> torch.Tensor:  # (B, D)
    """The examples as the shape's `augment` changes them, fixed by (study seed, step)."""
    if not isinstance(shape, Convolutional) or shape.augment == "none":
        return x
    kind, grid = shape.augment, shape.grid
    generator = np.random.default_rng(np.random.SeedSequence([key[0], 4, key[1]]))
    height, width = grid.size if len(grid.size) == 2 else (1, *grid.size)
    # Where series have gaps, (value, missing) of a step move together.
    pairs = x[:, : grid.features].view(len(x), grid.channels, height, width, 1 + grid.has_gaps)
    image = pairs.movedim(4, 2).flatten(1, 2)  # (B, channels, H, W), or twice the channels
    moves = torch.from_numpy(_moves(kind, len(x), (height, width), generator)).to(x.device)
    places = functional.affine_grid(moves, list(image.shape), align_corners=False)
    moved = functional.grid_sample(image, places, padding_mode="border", align_corners=False)
    moved = moved.reshape(len(x), grid.channels, -1, height, width).movedim(2, 4).flatten(1)
    return torch.cat([moved, x[:, grid.features :]], 1)


def _moves(
    kind: str, rows: int, size: tuple[int, int], generator: np.random.Generator
) -> (
    np.ndarray
):  # (B, 2, 3) float32: from places of the result to places of the example, in [-1, 1]
    moves = np.zeros((rows, 2, 3), np.float32)
    scale = generator.uniform(_CROP, 1, rows) if kind == "crop" else np.ones(rows)
    for axis, side in enumerate((size[1], size[0])):
        moves[:, axis, axis] = scale
        if kind == "shift":  # whole pixels, so that nothing is blurred
            most = max(1, round(_SHIFT * side)) if side > 1 else 0
            moves[:, axis, 2] = generator.integers(-most, most + 1, rows) * (2 / side)
        elif kind == "crop":
            moves[:, axis, 2] = generator.uniform(-1, 1, rows) * (1 - scale)
    if kind == "flip":
        moves[:, 0, 0] = generator.choice([-1, 1], rows)
    return moves
