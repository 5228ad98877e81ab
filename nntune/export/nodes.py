"""Nodes of an ONNX graph, put together one after the other."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from nntune.data.encoding import FAR, Scale

_TYPES = {np.dtype(np.float32): "FLOAT", np.dtype(np.float64): "DOUBLE", np.dtype("i8"): "INT64"}


class Graph:
    """Nodes in the order of their execution; every value of a node has a name of its own."""

    def __init__(self, columns: Iterable[str]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._taken = set(columns)

    def name(self, wish: str) -> str:
        """The name, or one like it that is not taken by a column or another value."""
        while wish in self._taken:
            wish += "_"
        self._taken.add(wish)
        return wish

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node more; returns the name of what it gives."""
        from onnx.helper import make_node

        output = output or self.name(f"{operator} {len(self.nodes)}")
        self.nodes.append(make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        """Returns the name of an array."""
        from onnx.numpy_helper import from_array

        name = self.name(f"constant {len(self.constants)}")
        self.constants.append(from_array(np.asarray(values, dtype), name))
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """The value in another type."""
        from onnx import TensorProto

        return self.add("Cast", value, to=getattr(TensorProto, _TYPES[np.dtype(dtype)]))

    def single(self, value: str) -> str:
        """As float32; true is 1."""
        return self.cast(value, np.float32)

    def double(self, operator: str, value: str, number: float) -> str:
        """One of float64 and a number."""
        return self.add(operator, value, self.constant(number))

    def scaled(self, value: str, scale: Scale) -> str:
        """Standardised and cut where the encoding cuts."""
        centered = self.double("Sub", value, scale.mean)
        ends = self.constant(-FAR), self.constant(FAR)
        return self.add("Clip", self.double("Div", centered, scale.sd), *ends)

    def prune(self, outputs: Iterable[str]) -> None:
        """Drops what no output needs, such as the parts of a date that never change."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = [each for each in self.constants if each.name in needed]


def activated(graph: Graph, activation: str, z: str) -> str:
    """What an activation makes of a value."""
    match activation:
        case "relu":
            return graph.add("Relu", z)
        case "tanh":
            return graph.add("Tanh", z)
        case "silu":
            return graph.add("Mul", z, graph.add("Sigmoid", z))
    half, root = graph.constant(0.5, np.float32), graph.constant(0.5**0.5, np.float32)
    error = graph.add("Erf", graph.add("Mul", z, root))
    share = graph.add("Mul", half, graph.add("Add", graph.constant(1, np.float32), error))
    return graph.add("Mul", z, share)
