"""PyTorch's own form: the state of an nn.Sequential, from encoded rows to logits or values."""

import inspect
from collections.abc import Mapping
from io import BytesIO

import numpy as np

from nntune.bundle import Bundle
from nntune.errors import UsageError
from nntune.families import MODULES, OURS, Layered, Own
from nntune.trials import AnyShape, Shape, terms_of


def torch_state(bundle: Bundle) -> bytes:
    """A state_dict that torch.load reads with weights_only=True; see `sequential`.

    For regression the target's scale is part of the last layer: outputs are in its unit. A network
    of the user's own keeps its names, and its outputs are standardised.

    Raises:
        UsageError: the bundle averages several networks.
    """
    if len(bundle.shapes) > 1:
        raise UsageError(
            f"--format torch writes one network and this bundle averages {len(bundle.shapes)}; "
            "--format onnx holds them all, and nntune refit without --ensemble and --seeds makes "
            "one."
        )
    shape = bundle.shape
    if isinstance(shape, Own):
        return _saved(bundle.tensors())
    stride = 2 if isinstance(shape, Shape) else 1  # activations stand between a perceptron's layers
    tensors = bundle.tensors()
    if terms_of(shape):  # in torch they are inputs like the others, after them
        terms = tensors.pop("terms")
        tensors["0.weight"] = np.concatenate([tensors["0.weight"], terms.T], 1)
    state = {_numbered(name, stride): tensor for name, tensor in tensors.items()}
    if not bundle.classes:
        last = max(int(name.split(".")[0]) for name in state)
        weight, bias = f"{last}.weight", f"{last}.bias"
        state[weight] = np.float32(bundle.target_scale) * state[weight]
        shifted = bundle.target_scale * state[bias].astype(np.float64) + bundle.target_mean
        state[bias] = shifted.astype(np.float32)
    return _saved(state)


def _saved(state: Mapping[str, np.ndarray]) -> bytes:
    import torch

    file = BytesIO()
    torch.save({name: torch.tensor(each) for name, each in state.items()}, file)
    return file.getvalue()


def _numbered(name: str, stride: int) -> str:
    """A tensor's name in the sequence.

    >>> _numbered("1.weight", 2), _numbered("1.cell.bias_hh_l0", 1)
    ('2.weight', '1.cell.bias_hh_l0')
    """
    layer, _, rest = name.partition(".")
    return f"{stride * int(layer)}.{rest}"


def sequential(shape: AnyShape) -> str:
    """The code that makes the network; `own_classes` has those that are not torch's.

    >>> sequential(Shape(4, (8,), 3))
    'nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))'
    """
    if isinstance(shape, Own):
        given = {"inputs": shape.inputs, "outputs": shape.outputs, "size": shape.size}
        if shape.given is not None:
            given = {name: given[name] for name in shape.given}
        named = [f"{name}={value!r}" for name, value in (*given.items(), *shape.arguments)]
        unsure = "; leave out what it does not take" * (shape.given is None)
        return f"{shape.name}({', '.join(named)})  # of {shape.file}{unsure}"
    if not isinstance(shape, Shape):
        return f"nn.Sequential({', '.join(layers_of(shape))})"
    layers = [f"nn.Linear({a}, {b})" for a, b in shape.layers]
    between = f", nn.{MODULES[shape.activation]}(), "
    return f"nn.Sequential({between.join(layers)})"


def layers_of(shape: Layered, dropout: float = 0.0) -> list[str]:
    """The code of each layer.

    >>> from nntune.families import Grid, Recurrent
    >>> layers_of(Recurrent(8, Grid(1, (8,)), "gru", 1, 4, "last", 2))[-2:]
    ['nn.Dropout(0.0)', 'nn.Linear(4, 2)']
    """
    found = []
    for layer in shape.layers:
        arguments = [*map(repr, layer.arguments), *(f"{k}={v!r}" for k, v in layer.options)]
        if layer.name == "Dropout":
            arguments = [repr(dropout)]
        home = "" if layer.name in OURS else "nn."
        found.append(f"{home}{layer.name}({', '.join(arguments)})")
    return found


def own_classes(shape: AnyShape) -> str:
    """The code of the layers that torch does not have; none for most networks."""
    if isinstance(shape, Shape | Own):
        return ""
    from nntune.autograd import modules

    named = dict.fromkeys(layer.name for layer in shape.layers if layer.name in OURS)
    return "\n\n".join(inspect.getsource(getattr(modules, name)) for name in named)
