"""One thread, as the workers have, and small examples made in code."""

import numpy as np
import pytest
import torch

from nntune.training import Examples

torch.set_num_threads(1)


def made(rows: int, valid: int, inputs: int, classes: int) -> Examples:
    """Examples of a noisy rule that a small network can learn."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows + valid, inputs)).astype(np.float32)
    score = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.1 * generator.normal(size=len(x))
    if classes:
        y = np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))
    else:
        y = ((score - score.mean()) / score.std()).astype(np.float32)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    return Examples(x[:rows], y[:rows], x[rows:], y[rows:], classes, 1.0)


@pytest.fixture
def three_classes() -> Examples:
    return made(150, 60, 6, 3)


@pytest.fixture
def regression() -> Examples:
    return made(150, 60, 6, 0)


@pytest.fixture
def folds() -> Examples:
    """Three folds of unlike sizes; each has a third of the rows to validate on."""
    whole = made(210, 1, 6, 3)
    parts = [
        Examples(*(torch.cat([a[:low], a[high:]]) for a in (whole.x, whole.y)),
                 whole.x[low:high], whole.y[low:high], 3, 1.0)
        for low, high in ((0, 70), (70, 145), (145, 210))
    ]  # fmt: skip
    return parts[0]._replace(others=tuple(parts[1:]))
