"""The perceptron's forward pass in NumPy: importing torch would take longer than most predictions.

Held to torch by a test, within 1e-5.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nntune.trials import AnyShape, Shape

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Values = NDArray[np.floating[Any]]

_BLOCK = 1 << 14  # rows whose activations stay small


def layers(flat: Values, shape: Shape) -> list[tuple[Values, Values]]:
    """Weight (outputs, inputs) and bias (outputs,) of each layer, as views of (P,).

    The first weight is a copy where there are sparse inputs, whose weights stand in another order.
    """
    pairs, weight, bias = [], shape.sparse_weights, shape.weights
    for a, b in shape.dense.layers:
        pairs.append((flat[weight : weight + a * b].reshape(b, a), flat[bias : bias + b]))
        weight, bias = weight + a * b, bias + b
    if shape.terms:
        first, bias_of_first = pairs[0]
        table = flat[: shape.sparse_weights].reshape(shape.terms, -1)
        pairs[0] = np.concatenate([first, table.T], 1), bias_of_first
    return pairs


def outputs(
    network: Sequence[tuple[Values, Values]], shape: Shape, x: "Values | csr_array"
) -> Values:  # (N, C)
    """What the network says of encoded rows: logits of classes, or the standardised target.

    Args:
        network: its layers.
        shape: of the network; says the activation.
        x: (N, D), dense or sparse; its precision and that of the layers is the result's.
    """
    activate = _ACTIVATIONS[shape.activation]
    count = x.shape[0]
    result = np.empty((count, shape.outputs), x.dtype)
    with np.errstate(all="ignore"):  # what is not finite is refused by the caller
        for start in range(0, count, _BLOCK):
            h = x[start : start + _BLOCK]
            for place, (weight, bias) in enumerate(network):
                h = h @ weight.T
                h += bias
                if place < len(shape.hidden):
                    h = activate(h)
            result[start : start + _BLOCK] = h
    return result


def network_outputs(
    shape: AnyShape, flat: NDArray[np.float32], x: "NDArray[np.float32] | csr_array"
) -> Values:
    """The same of a network of any family by its flat parameters (P,); others need torch.

    Args:
        shape: of the network.
        flat: its parameters.
        x: (N, D); bins that the network does without are its last columns.
    """
    x = x[:, : shape.inputs] if shape.inputs < x.shape[1] else x
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
