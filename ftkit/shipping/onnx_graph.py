"""An ONNX graph, written operation by operation: `OnnxGraph`.

What stands before and after a model in an exported file is written with it. torch's exporter would
take sizes of images as fixed where numbers are computed from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 20, 10
"""Versions of ONNX's operations and of its files: those that torch's exporter writes by default."""
UINT8, FLOAT, INT64, DOUBLE, BOOL = (
    TensorProto.UINT8,
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.DOUBLE,
    TensorProto.BOOL,
)


class OnnxGraph:
    """Nodes in the order in which they are written; each value is known by its name."""

    def __init__(self, prefix: str) -> None:
        """Take what all names begin with, so that those of several graphs are apart."""
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: dict[tuple[Any, ...], Any] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Return the name of what an operation of ONNX gives for these values."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Return the names of the results of an operation that has several."""
        names = [f"{self.prefix}{kind}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def named(self, value: str, name: str) -> str:
        """Give a value a name of its own, as inputs and outputs have."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        return name

    def constant(self, value: Any, dtype: Any) -> str:
        """Return the name of a constant."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            name = f"{self.prefix}constant_{len(self.constants)}"
            self.constants[key] = numpy_helper.from_array(array, name)
        return self.constants[key].name

    def ints(self, *values: int) -> str:
        """Return the name of a vector of whole numbers."""
        return self.constant(values, np.int64)

    def number(self, value: int) -> str:
        """Return the name of a whole number without axes."""
        return self.constant(value, np.int64)

    def cast(self, value: str, to: int) -> str:
        """Return a value in another type."""
        return self.op("Cast", value, to=to)

    def size(self, value: str, axis: int) -> str:
        """Return how long an axis of a value is, as a number without axes."""
        shape = self.op("Shape", value, start=axis, end=axis + 1)
        return self.op("Squeeze", shape, self.ints(0))

    def reshaped(self, value: str, *shape: int) -> str:
        """Return a value in another shape; -1 stands for what is left, 0 for what it has there."""
        return self.op("Reshape", value, self.ints(*shape))

    def part(self, value: str, start: str, end: str, axis: int) -> str:
        """Return what lies on an axis from a place to another, given as vectors of one number."""
        return self.op("Slice", value, start, end, self.ints(axis))

    def inner(self, outputs: Sequence[str]) -> Any:
        """Return the graph as a branch of another one: without inputs, types found by ONNX."""
        return self._graph([], [onnx.ValueInfoProto(name=name) for name in outputs])

    def model(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.ModelProto:
        """Return the graph as a model.

        Args:
            inputs: as `value` makes them, outputs too.
        """
        opsets = [helper.make_opsetid("", OPSET)]
        graph = self._graph(list(inputs), list(outputs))
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR)

    def _graph(self, inputs: list[Any], outputs: list[Any]) -> Any:
        used = set(_inputs_of(self.nodes))
        constants = [one for one in self.constants.values() if one.name in used]
        name = self.prefix.strip("/") or "graph"
        return helper.make_graph(self.nodes, name, inputs, outputs, initializer=constants)


def _inputs_of(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield the names of all values that nodes read, also in their branches."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from _inputs_of(attribute.g.node)


def value(name: str, dtype: int, *shape: int | str) -> Any:
    """Return how an input or output is described; an axis of any length has a name."""
    return helper.make_tensor_value_info(name, dtype, shape)
