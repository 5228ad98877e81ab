"""What a trial can be: a multilayer perceptron, as one member of a stack.

Dimension key: M members, P parameters of a member, B rows of a batch, D inputs, H units of a
hidden layer, C outputs. Activations are feature-major, (M, H, B): the bias gradient and the
softmax then run along contiguous memory, 5 to 20 times as fast as with the classes last.

The gradient is written out by hand; the tests hold it to autograd. Buffers are made once and
every step repeats the same prepared calls on them.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch._ops import OpOverload

from nntune.products import Call, bind, bind_sum
from nntune.trials import Product, Shape


def initial(shape: Shape, seed: int, number: int) -> np.ndarray:  # (P,) float32
    """Initial parameters of a trial, fixed by (study seed, trial number).

    Uniform within 1/sqrt(inputs) for weights and biases, as torch.nn.Linear draws them. All sparse
    inputs together count as `_TERMS_COUNT`: a row has few of them, and their squares add up to 1.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, 0, number]))
    few = _TERMS_COUNT if shape.terms else 0
    sizes = [(a, b, a if layer else a + few) for layer, (a, b) in enumerate(shape.dense.layers)]
    parts = [generator.uniform(-1, 1, shape.sparse_weights) / max(sizes[0][2], 1) ** 0.5]
    parts += [generator.uniform(-1, 1, a * b) / inputs**0.5 for a, b, inputs in sizes]
    parts += [generator.uniform(-1, 1, b) / inputs**0.5 for _, b, inputs in sizes]
    return np.concatenate(parts).astype(np.float32)


def member_buffer(members: int, *size: int, device: torch.device | None = None) -> torch.Tensor:
    """An uninitialised (M, *size) float32 buffer in which every member begins on a cache line.

    Some libraries multiply in another order where operands are not aligned: without this a
    member's bits would depend on its place in the stack.
    """
    count = math.prod(size)
    flat = torch.empty(members, -(-count // _ALIGNED) * _ALIGNED, device=device)
    return flat[:, :count].view(members, *size)


def views(flat: torch.Tensor, shape: Shape) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight (M, outputs, inputs) and bias (M, outputs, 1) of each layer, as views of (M, P)."""
    members = flat.shape[0]
    pairs, weight, bias = [], 0, shape.weights
    for a, b in shape.layers:
        pairs.append(
            (
                flat[:, weight : weight + a * b].view(members, b, a),
                flat[:, bias : bias + b].view(members, b, 1),
            )
        )
        weight, bias = weight + a * b, bias + b
    return pairs


Array: TypeAlias = torch.Tensor | np.ndarray
_ALIGNED = 16  # float32 numbers in 64 bytes
_TERMS_COUNT = 100


class Activation(NamedTuple):
    """A nonlinearity as calls bound to buffers: forward(z, h) and backward(dh, z), in place.

    Where `inplace`, forward overwrites z with its result and backward needs only that. Where
    `zero_is_dropped`, backward passes nothing through a result of 0, dropped units included.
    """

    inplace: bool
    zero_is_dropped: bool
    forward: Callable[[torch.Tensor, torch.Tensor], Call]
    backward: Callable[[torch.Tensor, torch.Tensor], Call]


def _bind_gradient(operation: OpOverload, *more: object) -> Callable[..., Call]:
    # `_op` is the operation itself, without a Python call around it.
    return lambda dh, z: partial(operation._op, dh, z, *more, grad_input=dh)


_aten = torch.ops.aten
ACTIVATIONS = {
    "relu": Activation(
        True, True, lambda z, h: z.relu_, _bind_gradient(_aten.threshold_backward.grad_input, 0)
    ),
    "tanh": Activation(
        True, False, lambda z, h: z.tanh_, _bind_gradient(_aten.tanh_backward.grad_input)
    ),
    "gelu": Activation(
        False,
        False,
        lambda z, h: partial(_aten.gelu.out, z, out=h),
        _bind_gradient(_aten.gelu_backward.grad_input),
    ),
    "silu": Activation(
        False,
        False,
        lambda z, h: partial(_aten.silu.out, z, out=h),
        _bind_gradient(_aten.silu_backward.grad_input),
    ),
}


class Perceptrons:
    """A stack of perceptrons of one shape on batches of one size, as prepared calls.

    Args:
        shape: of every member.
        parameters: (M, P) float32; read in place, so a step on it is seen here.
        rows: B, of every batch.
        product: the library that multiplies matrices.
        gradients: (M, P) to train; None to score only.
        noise: dropout of the hidden layers while training; None for no dropout.
        more: whether something is added to the first layer; see the attribute.

    Attributes:
        inputs: (B, D) to be filled.
        outputs: (M, C, B) logits, or the standardised prediction.
        error: (M, C, B) to be filled with the gradient at the outputs.
        more: (M, H, B) to be filled with what sparse inputs add to the first layer; else empty.
        first_error: (M, H, B) gradient at the first layer, before its activation.
    """

    def __init__(
        self,
        shape: Shape,
        parameters: torch.Tensor,
        rows: int,
        product: Product,
        gradients: torch.Tensor | None = None,
        noise: "Dropout | None" = None,
        *,
        more: bool = False,
    ) -> None:
        members, device = parameters.shape[0], parameters.device
        self._empty = partial(member_buffer, members, device=device)
        self._product, self._rows, self._noise = product, rows, noise
        self.inputs = torch.empty(rows, shape.inputs, device=device)  # (B, D)
        self.outputs = self._empty(shape.outputs, rows)  # (M, C, B)
        self.error = self.first_error = self._empty(shape.outputs, rows)
        self.more = self._empty(shape.layers[0][1] if more else 0, rows)
        self._activation = ACTIVATIONS[shape.activation]
        self._masks = list(noise.masks(0, rows)) if noise else []  # those of the step
        self._weights = views(parameters, shape)
        self._forward: list[Call] = []
        self._backward: list[Call] = []
        hidden = self._build_forward(shape)
        if gradients is not None:
            self._build_backward(views(gradients, shape), hidden, noise)

    def _build_forward(self, shape: Shape) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Fills the forward calls; returns z and h of each hidden layer."""
        hidden: list[tuple[torch.Tensor, torch.Tensor]] = []
        h = self.inputs.t()[None]  # (1, D, B): one batch serves all members
        for layer, width in enumerate(shape.hidden):
            z = self._empty(width, self._rows)
            self._linear(layer, h, z)
            h = self._activate(layer, z)
            hidden.append((z, h))
        self._linear(len(hidden), h, self.outputs)
        return hidden

    def _linear(self, layer: int, h: torch.Tensor, z: torch.Tensor) -> None:
        weight, bias = self._weights[layer]
        self._forward.append(bind(self._product, weight, h, z))
        self._forward.append(partial(z.add_, bias))
        if layer == 0 and self.more.shape[1]:
            self._forward.append(partial(z.add_, self.more))

    def _activate(self, layer: int, z: torch.Tensor) -> torch.Tensor:
        kind = self._activation
        in_z = kind.inplace and (kind.zero_is_dropped or not self._masks)
        h = z if in_z else self._empty(*z.shape[1:])
        self._forward.append(kind.forward(z, h))
        if self._masks:
            self._forward.append(self._bind_drop(layer, z if kind.inplace else h, h))
        return h

    def _bind_drop(self, layer: int, source: torch.Tensor, out: torch.Tensor) -> Call:
        """The call that multiplies by the mask that a layer has in the step."""
        multiply: Callable[..., object] = torch.mul
        operands: tuple[Array, Array] = source, out
        if out.device.type == "cpu":  # a call of numpy costs half a microsecond less
            multiply, operands = np.multiply, (source.numpy(), out.numpy())
        (a, b), masks = operands, self._masks  # without a cycle: who is done is freed at once
        return lambda: multiply(a, masks[layer], out=b)

    def _build_backward(
        self,
        gradients: list[tuple[torch.Tensor, torch.Tensor]],
        hidden: list[tuple[torch.Tensor, torch.Tensor]],
        noise: "Dropout | None",
    ) -> None:
        calls, dz = self._backward, self.error  # (M, C, B)
        widest = max((z.shape[1] for z, _ in hidden), default=0)
        spare = [self._empty(widest * self._rows) for _ in range(2)]  # one is read, one written
        for layer in reversed(range(len(gradients))):
            h = hidden[layer - 1][1] if layer else self.inputs.t()[None]
            weight_gradient, bias_gradient = gradients[layer]
            calls.append(bind_sum(self._product, dz, bias_gradient))
            calls.append(bind(self._product, dz, h.transpose(1, 2), weight_gradient))
            if layer:
                z = hidden[layer - 1][0]
                dh = spare[layer % 2][:, : z[0].numel()].view(z.shape)
                weight = self._weights[layer][0].transpose(1, 2)
                calls.append(bind(self._product, weight, dz, dh))
                if noise is not None:
                    # Where zeros mark what was dropped, the scale alone saves reading the mask.
                    if self._activation.zero_is_dropped:
                        calls.append(partial(dh.mul_, noise.scale))
                    else:
                        calls.append(self._bind_drop(layer - 1, dh, dh))
                calls.append(self._activation.backward(dh, z))
                dz = dh
        self.first_error = dz

    def begin(self, step: int) -> None:
        """Settles the noise of a step, counted from the first of the training."""
        if self._noise is not None:
            self._masks[:] = self._noise.draw(step, self._rows)

    def forward(self) -> None:
        """From `inputs` to `outputs`: logits, or the standardised prediction."""
        for call in self._forward:
            call()

    def backward(self) -> None:
        """From `error`, the gradient at the outputs, to the gradients of the parameters."""
        for call in self._backward:
            call()


# One must be this much faster before it replaces the other: on libraries of equal speed the choice,
# and with it the last bits of a study, should not follow the noise of the clock.
_ADVANTAGE = 1.15


def fastest_product() -> Product:
    """The product to use on this CPU, by a measurement of some hundredths of a second.

    There are processors on which a step takes numpy half as long as torch with 32 units and three
    times as long with 256: small and large networks are asked apart.
    """
    if _gain(Shape(64, (32, 32), 10), rows=64, members=8) < _ADVANTAGE:
        return "torch"
    is_slow = _gain(Shape(64, (256, 256), 10), rows=256, members=1) < 1 / _ADVANTAGE
    return "mixed" if is_slow else "numpy"


def _gain(shape: Shape, rows: int, members: int) -> float:
    """How many times as fast as with torch's products a step is with numpy's."""
    seconds: dict[Product, float] = {"torch": math.inf, "numpy": math.inf}
    parameters, gradients = torch.full((2, members, shape.parameters), 0.1)
    networks = {p: Perceptrons(shape, parameters, rows, p, gradients) for p in seconds}
    for _ in range(5):
        for product, network in networks.items():
            network.inputs.fill_(0.1)
            network.error.fill_(0.1)
            start = time.perf_counter()
            network.forward()
            network.backward()
            seconds[product] = min(seconds[product], time.perf_counter() - start)
    return seconds["torch"] / seconds["numpy"]


# splitmix64 (Steele, Lea & Flood 2014): the increment, and each round's shift and multiplier.
_WEYL = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 0))
# Noise for several steps is drawn at once up to this size, so that small networks do not pay
# eleven calls a step for a few hundred bytes. With its masks, four times as large, it stays in the
# second-level cache.
_NOISE_BYTES = 1 << 16


class Dropout:
    """Inverted dropout (Srivastava et al. 2014) of a stack, each member with its own rate.

    A byte of noise a unit and row is compared with the rate, so rates are multiples of 1/256.
    Noise is a hash of (study seed, trial number, step, place): a member sees the same noise
    in any stack, from any step on and on any device.

    Args:
        rates: (M,) in [0, 1).
        keys: (M,) int64, one a trial.
        widths: of the hidden layers.
        rows: of the largest batch.
    """

    def __init__(
        self, rates: np.ndarray, keys: np.ndarray, widths: tuple[int, ...], rows: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._members, self._widths, self._device = len(rates), widths, device
        self._lanes = -(-sum(widths) * rows // 8)  # words of 8 bytes a step and member
        self._ahead = max(1, _NOISE_BYTES // (8 * self._lanes * self._members))
        threshold = np.minimum(np.rint(rates * 256), 255)
        self._threshold = torch.from_numpy(threshold.astype(np.uint8)).to(device)[:, None]
        scale = (256 / (256 - threshold)).astype(np.float32)
        self.scale = torch.from_numpy(scale).to(device)[:, None, None]  # (M, 1, 1) of survivors
        words = self._ahead * self._lanes
        place = np.arange(words, dtype=np.uint64) * np.uint64(_WEYL)
        self._place = torch.from_numpy(place.view(np.int64)).to(device)[None]
        self._keys = torch.from_numpy(keys).to(device)[:, None]
        self._noise = torch.empty(self._members, words, dtype=torch.int64, device=device)
        self._shifted = torch.empty_like(self._noise)
        self._drawn = -1  # which block of steps the noise is for
        self._multipliers = member_buffer(len(rates), 8 * words, device=device)
        self._masks: dict[tuple[int, int], list[Array]] = {}

    def masks(self, place: int, rows: int) -> list[Array]:
        """The multipliers of a step by its place in the block, without a meaning until it is drawn.

        Returns:
            (M, H, rows) of each hidden layer; of numpy on the CPU.
        """
        found = self._masks.get((place, rows))
        if found is None:
            start = 8 * self._lanes * place
            found = self._masks[place, rows] = []
            for width in self._widths:
                flat = self._multipliers[:, start : start + width * rows]
                mask = flat.view(self._members, width, rows)
                found.append(mask.numpy() if self._device.type == "cpu" else mask)
                start += width * rows
        return found

    def draw(self, step: int, rows: int) -> list[Array]:
        """The masks of `rows` for the step, counted from the first of the training; till the next.

        Returns:
            as `masks`.
        """
        block, place = divmod(step, self._ahead)
        if block != self._drawn:
            self._fill(block)
        return self.masks(place, rows)

    def _fill(self, block: int) -> None:
        start = self._keys + _signed(block * self._ahead * self._lanes * _WEYL)
        if self._device.type == "cpu":  # numpy multiplies int64 two to four times as fast
            _hash_numpy(self._place, start, self._noise, self._shifted)
        else:
            _hash_torch(self._place, start, self._noise, self._shifted)
        torch.ge(self._noise.view(torch.uint8), self._threshold, out=self._multipliers)
        self._multipliers.mul_(self.scale[:, 0])
        self._drawn = block


def _hash_numpy(
    place: torch.Tensor, start: torch.Tensor, noise: torch.Tensor, shifted: torch.Tensor
) -> None:
    z, t = noise.numpy().view(np.uint64), shifted.numpy().view(np.uint64)
    np.add(place.numpy(), start.numpy(), out=z.view(np.int64))
    for shift, multiplier in _MIX:
        np.right_shift(z, shift, out=t)
        np.bitwise_xor(z, t, out=z)
        if multiplier:
            np.multiply(z, np.uint64(multiplier), out=z)


def _hash_torch(
    place: torch.Tensor, start: torch.Tensor, noise: torch.Tensor, shifted: torch.Tensor
) -> None:
    torch.add(place, start, out=noise)
    for shift, multiplier in _MIX:
        torch.bitwise_right_shift(noise, shift, out=shifted)
        shifted.bitwise_and_((1 << (64 - shift)) - 1)  # torch shifts the sign in
        noise.bitwise_xor_(shifted)
        if multiplier:
            noise.mul_(_signed(multiplier))


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned word."""
    word &= 2**64 - 1
    return word - 2**64 if word >= 2**63 else word
