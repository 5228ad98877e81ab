"""PyTorch's own form: the state of a plain nn.Sequential, from encoded rows to logits or values."""

from io import BytesIO

import numpy as np

from nntune.bundle import Bundle
from nntune.errors import UsageError
from nntune.trials import Shape

MODULES = {"relu": "ReLU", "tanh": "Tanh", "gelu": "GELU", "silu": "SiLU"}


def torch_state(bundle: Bundle) -> bytes:
    """A state_dict that torch.load reads with weights_only=True; see `sequential`.

    For regression the target's scale is part of the last layer: outputs are in its unit.

    Raises:
        UsageError: the bundle averages several networks.
    """
    import torch

    if len(bundle.shapes) > 1:
        raise UsageError(
            f"--format torch writes one network and this bundle averages {len(bundle.shapes)}; "
            "--format onnx holds them all, and nntune refit without --ensemble makes one."
        )
    state = {}
    for place, (weight, bias) in enumerate(bundle.layers()):
        if place == len(bundle.shape.hidden) and not bundle.classes:
            weight = np.float32(bundle.target_scale) * weight
            bias = (bundle.target_scale * bias.astype(np.float64) + bundle.target_mean).astype("f4")
        state[f"{2 * place}.weight"] = torch.tensor(weight)
        state[f"{2 * place}.bias"] = torch.tensor(bias)
    file = BytesIO()
    torch.save(state, file)
    return file.getvalue()


def sequential(shape: Shape) -> str:
    """The code that makes the network.

    >>> sequential(Shape(4, (8,), 3))
    'nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))'
    """
    layers = [f"nn.Linear({a}, {b})" for a, b in shape.layers]
    between = f", nn.{MODULES[shape.activation]}(), "
    return f"nn.Sequential({between.join(layers)})"
