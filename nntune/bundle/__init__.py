"""A tuned network as one file of plain data, and what it predicts.

A bundle is a safetensors file: weights as tensors, everything else as JSON in its header. Opening
one runs none of its content. Importing this package costs nothing, and predicting needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from nntune.bundle.format import Bundle as Bundle
    from nntune.bundle.format import read as read
    from nntune.bundle.format import write as write
    from nntune.bundle.predictor import Predictor as Predictor

_HOMES = {
    "Bundle": "format",
    "Predictor": "predictor",
    "read": "format",
    "write": "format",
}


def load(path: "str | Path", network: str | None = None) -> "Predictor":
    """The network of a bundle, ready to predict.

    Args:
        path: of the bundle.
        network: 'FILE.py:NAME' lets this code run, which a bundle of a network of one's own needs.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is no bundle, or a damaged or newer one.
        UsageError: it needs a network that was not named, or cannot be made.
        RefusedError: the code is not that of the bundle.
    """
    from nntune.bundle.format import read
    from nntune.bundle.predictor import Predictor
    from nntune.own import name_network

    if network is not None:
        name_network(network)
    return Predictor(read(path))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nntune.bundle' has no attribute {name!r}")
    return getattr(import_module(f"nntune.bundle.{_HOMES[name]}"), name)
