"""Builds an ONNX graph node by node: values in, the name of the result out."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Operand = str | float | int | bool | Array
"""A value of the graph by its name, or numbers that become a constant of it."""


class Graph:
    """Nodes and constants in the order they were asked for.

    Floats become float64 and integers int64, so that what is built computes as numpy does.
    Equal constants are kept once. No name of its own is one of `taken`.
    """

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self.nodes: list[Any] = []
        self._taken = taken
        self.constants: dict[tuple[str, tuple[int, ...], bytes], tuple[str, Array]] = {}
        self.ml_opset = 3
        self._count = 0

    def name(self) -> str:
        """Return a name that nothing in the graph has yet."""
        self._count += 1
        while f"v{self._count}" in self._taken:
            self._count += 1
        return f"v{self._count}"

    def op(
        self, kind: str, *operands: Operand, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        """Add a node; return its output's name, or a tuple of names when it has several."""
        from onnx import helper

        names = [self.name() for _ in range(outputs)]
        inputs = [self.value(operand) for operand in operands]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def value(self, operand: Operand) -> str:
        """Return the name of a value, made a constant if it is numbers."""
        if isinstance(operand, str):
            return operand
        array = np.asarray(operand)
        if array.dtype.kind == "f":
            array = array.astype(np.float64)
        elif array.dtype.kind in "iu":
            array = array.astype(np.int64)
        return self.constant(array)

    def constant(self, array: Array) -> str:
        """Return the name of a constant of exactly this array; text is an array of objects."""
        if array.dtype.kind in "OU":
            content = repr(array.tolist()).encode()
        else:
            array = np.ascontiguousarray(array).reshape(array.shape)
            content = array.tobytes()
        key = (array.dtype.kind + str(array.dtype.itemsize), array.shape, content)
        if key not in self.constants:
            self.constants[key] = (self.name(), array)
        return self.constants[key][0]

    def proto(self, inputs: list[Any], outputs: list[Any], opset: int, ir: int) -> Any:
        """Return the model, without what its outputs do not need.

        `inputs` and `outputs` are value infos; inputs that nothing reads are left out.
        """
        from onnx import helper, numpy_helper

        nodes, needed = _needed(self.nodes, {value.name for value in outputs})
        tensors = [
            _strings(name, array)
            if array.dtype.kind in "OU"
            else numpy_helper.from_array(array, name)
            for name, array in self.constants.values()
            if name in needed
        ]
        inputs = [value for value in inputs if value.name in needed]
        for number, node in enumerate(nodes):
            node.name = node.name or f"n{number}"
        graph = helper.make_graph(nodes, "model", inputs, outputs, tensors)
        domains = {"": opset, "ai.onnx.ml": self.ml_opset}
        domains |= {node.domain: 1 for node in nodes if node.domain not in domains}
        opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir)

    def loop(self, most: int, start: str, step: Callable[["Graph", str], tuple[str, str]]) -> str:
        """Repeat `step` from the float64 value `start`, at most so often.

        `step` takes a graph and the value, and returns the next value and what still moves; it may
        use what this graph holds already. It ends when nothing moves.
        """
        from onnx import helper

        before, outer = self.name(), self.nodes
        self.nodes = []
        after, moving = step(self, before)
        flags = self.op("ReduceMax", self.op("Cast", moving, to=6), keepdims=0)
        go_on, index, asked = self.boolean(flags), self.name(), self.name()
        infos = helper.make_tensor_value_info
        body = helper.make_graph(
            self.nodes,
            "step",
            [infos(index, 7, []), infos(asked, 9, []), infos(before, 11, None)],
            [infos(go_on, 9, []), infos(after, 11, None)],
        )
        self.nodes = outer
        limit, always = np.array(most, dtype=np.int64), np.array(True)
        return str(self.op("Loop", limit, always, start, body=body))

    # What numpy writes with operators.

    def add(self, a: Operand, b: Operand) -> str:
        """Return a + b."""
        return str(self.op("Add", a, b))

    def sub(self, a: Operand, b: Operand) -> str:
        """Return a - b."""
        return str(self.op("Sub", a, b))

    def mul(self, a: Operand, b: Operand) -> str:
        """Return a * b."""
        return str(self.op("Mul", a, b))

    def div(self, a: Operand, b: Operand) -> str:
        """Return a / b."""
        return str(self.op("Div", a, b))

    def matmul(self, a: Operand, b: Operand) -> str:
        """Return a @ b."""
        return str(self.op("MatMul", a, b))

    def where(self, test: Operand, yes: Operand, no: Operand) -> str:
        """Return `yes` where `test` holds, else `no`."""
        return str(self.op("Where", test, yes, no))

    def concat(self, parts: list[str], axis: int = 1) -> str:
        """Join along an axis; one part stays as it is."""
        return parts[0] if len(parts) == 1 else str(self.op("Concat", *parts, axis=axis))

    def gather(self, values: Operand, index: Operand, axis: int = 1) -> str:
        """Return the entries of `values` at `index` along an axis."""
        return str(self.op("Gather", values, index, axis=axis))

    def reshape(self, values: Operand, *shape: int) -> str:
        """Return the values in another shape; -1 is what is left, 0 keeps the axis."""
        return str(self.op("Reshape", values, np.array(shape, dtype=np.int64)))

    def sum(self, values: Operand, axis: int = 1, *, keep: bool = True) -> str:
        """Return the sum along an axis."""
        return str(self.op("ReduceSum", values, np.array([axis]), keepdims=int(keep)))

    def largest(self, values: Operand, axis: int = 1, *, keep: bool = True) -> str:
        """Return the largest value along an axis."""
        return str(self.op("ReduceMax", values, np.array([axis]), keepdims=int(keep)))

    def smallest(self, values: Operand, axis: int = 1, *, keep: bool = True) -> str:
        """Return the smallest value along an axis."""
        return str(self.op("ReduceMin", values, np.array([axis]), keepdims=int(keep)))

    def argmax(self, values: Operand, axis: int = 1, *, keep: bool = False) -> str:
        """Return the position of the first largest value, as numpy does."""
        return str(self.op("ArgMax", values, axis=axis, keepdims=int(keep)))

    def argmin(self, values: Operand, axis: int = 1, *, keep: bool = False) -> str:
        """Return the position of the first smallest value, as numpy does."""
        return str(self.op("ArgMin", values, axis=axis, keepdims=int(keep)))

    def sigmoid(self, values: Operand) -> str:
        """Return 1 / (1 + exp(-values)), exact for large negative values too.

        ONNX Runtime's own loses all digits of what is less than 1e-16.
        """
        small = self.op("Exp", self.op("Neg", self.op("Abs", values)))
        above = self.where(self.op("GreaterOrEqual", values, 0.0), 1.0, small)
        return self.div(above, self.add(small, 1.0))

    def double(self, values: Operand) -> str:
        """Return the values as float64."""
        return str(self.op("Cast", values, to=11))

    def integer(self, values: Operand) -> str:
        """Return the values as int64, cut towards zero."""
        return str(self.op("Cast", values, to=7))

    def boolean(self, values: Operand) -> str:
        """Return whether each value is not 0."""
        return str(self.op("Cast", values, to=9))


def _needed(nodes: list[Any], outputs: set[str]) -> tuple[list[Any], set[str]]:
    """Return the nodes that the outputs need, in order, and the names that these read."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_reads(node))
    return kept[::-1], needed


def _reads(node: Any) -> set[str]:
    """Return what a node reads, and what its subgraphs read from outside."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            inner = attribute.g
            names |= {value.name for value in inner.output}
            for inside in inner.node:
                names |= _reads(inside)
    return names


def _strings(name: str, array: Array) -> Any:
    from onnx import TensorProto

    texts = [str(text).encode() for text in array.reshape(-1)]
    return TensorProto(name=name, data_type=8, dims=array.shape, string_data=texts)
