"""The perceptron's forward pass in NumPy: importing torch would take longer than most predictions.

Held to torch by a test, within 1e-5.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nntune.trials import AnyShape, Shape

Values = NDArray[np.floating[Any]]

_BLOCK = 1 << 14  # rows whose activations stay small


def layers(flat: Values, shape: Shape) -> list[tuple[Values, Values]]:
    """Weight (outputs, inputs) and bias (outputs,) of each layer, as views of (P,)."""
    pairs, weight, bias = [], 0, shape.weights
    for a, b in shape.layers:
        pairs.append((flat[weight : weight + a * b].reshape(b, a), flat[bias : bias + b]))
        weight, bias = weight + a * b, bias + b
    return pairs


def outputs(network: Sequence[tuple[Values, Values]], shape: Shape, x: Values) -> Values:  # (N, C)
    """What the network says of encoded rows: logits of classes, or the standardised target.

    Args:
        network: its layers.
        shape: of the network; says the activation.
        x: (N, D); its precision and that of the layers is the result's.
    """
    activate = _ACTIVATIONS[shape.activation]
    result = np.empty((len(x), shape.outputs), x.dtype)
    with np.errstate(all="ignore"):  # what is not finite is refused by the caller
        for start in range(0, len(x), _BLOCK):
            h = x[start : start + _BLOCK]
            for place, (weight, bias) in enumerate(network):
                h = h @ weight.T
                h += bias
                if place < len(shape.hidden):
                    h = activate(h)
            result[start : start + _BLOCK] = h
    return result


def network_outputs(shape: AnyShape, flat: NDArray[np.float32], x: NDArray[np.float32]) -> Values:
    """The same of a network of any family by its flat parameters (P,); others need torch."""
    if isinstance(shape, Shape):
        return outputs(layers(flat, shape), shape, x)
    from nntune import autograd

    return autograd.outputs(shape, flat, x)


def probabilities(logits: Values) -> NDArray[np.float64]:  # (N, C)
    """Softmax of each row."""
    with np.errstate(all="ignore"):
        exponents = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        return np.asarray(exponents / exponents.sum(1, keepdims=True))


def _relu(z: Values) -> Values:
    return np.maximum(z, 0, out=z)


def _tanh(z: Values) -> Values:
    return np.tanh(z, out=z)


def _gelu(z: Values) -> Values:
    from scipy.special import erf

    return np.asarray(z * (0.5 * (1 + erf(z * 0.5**0.5))), z.dtype)


def _silu(z: Values) -> Values:
    return np.asarray(z / (1 + np.exp(-z)), z.dtype)


_ACTIVATIONS: dict[str, Callable[[Values], Values]] = {
    "relu": _relu,
    "tanh": _tanh,
    "gelu": _gelu,
    "silu": _silu,
}
