"""Which trials share a stack, and what training it costs.

How trials are dealt changes how long a search takes and nothing else: a member equals itself
in any stack.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from nntune.families import FAMILIES, Convolutional, Recurrent
from nntune.own import shape_of_own
from nntune.trials import AnyShape, Problem, Progress, Shape, hidden_widths, terms_of

# Measured with 1 to 32 members of eight shapes: a member gets cheaper until the stack touches
# about 6 MB, where it leaves the caches, and 20 to 80 % cheaper the smaller its network is.
_STACK_BYTES = 6 << 20
_LARGEST_STACK = 32
# Outputs of all members on all validation rows lie side by side, and a loss makes copies of them.
_SCORES_BYTES = 64 << 20

# Seconds, measured on one core of a 2.6 GHz server; only their ratios matter.
_CALL, _OPERATION, _PARAMETER, _ACTIVATION = 2e-6, 1 / 8e10, 28 / 2e10, 2e-9
_DERIVED = 4e-9  # an activation whose gradient torch derives
# Weights of sparse inputs are gathered, changed and put back: parameter, moments and average.
_TOUCHED, _SPARSE_CALLS, _TABLES = 8e-9, 150, 6
_TABLE_BYTES = 512 << 20  # of the sparse inputs' weights of a stack
UNSURE = 2.0  # the factor within which durations are estimated


def shape_of(params: Mapping[str, Any], problem: Problem) -> AnyShape:
    """The network that a configuration describes."""
    outputs, grid = problem.classes or 1, problem.grid
    family = params.get("model", "mlp")
    inputs = problem.inputs if params.get("bins") else problem.inputs - problem.bins
    if family == "mlp":
        hidden = hidden_widths(params["hidden_layers"], params["units"], params["shape"])
        return Shape(inputs, hidden, outputs, params["activation"], problem.terms)
    if family not in FAMILIES:
        return shape_of_own(family, params, inputs, outputs, grid)
    assert grid is not None
    if family == "rnn":
        layers, units, states = params["rnn_layers"], params["rnn_units"], params["states"]
        return Recurrent(inputs, grid, params["cell"], layers, units, states, outputs)
    named = ("blocks", "block_type", "channels", "kernel", "norm", "pool", "gather", "head")
    own: dict[str, Any] = {name: params[name] for name in (*named, "activation", "augment")}
    return Convolutional(inputs=inputs, grid=grid, outputs=outputs, **own)


def stacks(
    members: Sequence[Progress],
    configurations: Mapping[int, Mapping[str, Any]],
    problem: Problem,
    workers: int,
) -> list[list[Progress]]:
    """Members dealt to stacks, those that take longest first, so that no worker ends far behind.

    Members of one shape, batch size, optimizer and epoch share a stack as far as its working set
    stays in the caches; a few members that would leave workers idle are dealt out to them.
    """
    groups: dict[tuple[Any, ...], list[Progress]] = defaultdict(list)
    for member in members:
        params = configurations[member.number]
        key = (shape_of(params, problem), params["batch_size"], params["optimizer"], member.epoch)
        groups[key].append(member)
    dealt = []
    for (shape, batch_size, _, _), group in groups.items():
        most = most_members(shape, batch_size, problem)
        count = math.ceil(len(group) / most)
        if len(groups) < workers:
            count = max(count, min(math.ceil(workers / len(groups)), len(group)))
        for part in (group[place::count] for place in range(count)):
            cost = step_seconds(shape, batch_size, len(part), problem.filled) / batch_size
            dealt.append((cost, part))
    dealt.sort(key=lambda pair: (-pair[0], pair[1][0].number))
    return [part for _, part in dealt]


def epoch_seconds(params: Mapping[str, Any], problem: Problem, members: int = 1) -> float:
    """Estimated duration of an epoch of a stack on one core, within a factor of two."""
    steps: int = problem.folds * math.ceil(problem.rows / params["batch_size"])
    shape = shape_of(params, problem)
    return steps * step_seconds(shape, params["batch_size"], members, problem.filled)


def most_members(shape: AnyShape, batch_size: int, problem: Problem) -> int:
    """How many members of a shape may share a stack: one at least."""
    most = min(
        _LARGEST_STACK,
        _STACK_BYTES // working_set(shape, batch_size, problem.filled),
        _SCORES_BYTES // max(scores_bytes(problem), 1),
    )
    if terms_of(shape):
        most = min(most, _TABLE_BYTES // (_TABLES * 4 * shape.parameters))
    return max(1, most)


def scores_bytes(problem: Problem) -> int:
    """Bytes of a member's outputs on the validation rows, about a quarter of the training rows.

    >>> scores_bytes(Problem(64, 6_400_000, 2)) >> 20
    12
    """
    return problem.rows * max(problem.classes, 1)


def working_set(shape: AnyShape, batch_size: int, filled: float = 0.0) -> int:
    """Bytes of a member that a training step touches: parameters, moments and activations.

    >>> working_set(Shape(64, (128, 128), 10), 128) >> 10
    792

    Args:
        shape: of the member.
        batch_size: rows of a step.
        filled: sparse inputs that a row has.
    """
    touched = _touched(shape, batch_size, filled)
    own = shape.dense.parameters if isinstance(shape, Shape) else shape.parameters
    return 4 * (4 * own + _TABLES * touched + 3 * batch_size * _activations(shape))


def _touched(shape: AnyShape, batch_size: int, filled: float) -> int:
    """Weights of sparse inputs that occur in a batch: about half of its words are new to it."""
    if not isinstance(shape, Shape) or not shape.terms:
        return 0
    return min(shape.terms, round(batch_size * filled / 2)) * shape.layers[0][1]


def step_seconds(shape: AnyShape, batch_size: int, members: int = 1, filled: float = 0.0) -> float:
    """Estimated duration of a training step of a stack on one core, within a factor of two.

    Args:
        shape: of each member.
        batch_size: rows of the step.
        members: of the stack.
        filled: sparse inputs that a row has.
    """
    if isinstance(shape, Shape) and shape.terms:
        units = batch_size * filled * shape.layers[0][1]
        sparse = 4 * units * _OPERATION + _touched(shape, batch_size, filled) * _TOUCHED
        rest = step_seconds(shape.dense, batch_size, members)
        return _SPARSE_CALLS * _CALL + members * sparse + rest
    if isinstance(shape, Shape):
        calls, operations = 12 + 10 * len(shape.hidden), shape.weights
        own = batch_size * sum(shape.hidden) * _ACTIVATION
    else:
        calls, operations = 30, sum(layer.operations for layer in shape.layers)
        calls += 30 * len(shape.layers) * members
        own = batch_size * (2 * operations * _OPERATION + _activations(shape) * _DERIVED)
    own += 6 * batch_size * operations * _OPERATION + shape.parameters * _PARAMETER
    return calls * _CALL + members * own


def _activations(shape: AnyShape) -> int:
    """Numbers that a row leaves behind in the layers of a network."""
    if isinstance(shape, Shape):
        return sum(shape.hidden)
    return sum(layer.activations for layer in shape.layers)
