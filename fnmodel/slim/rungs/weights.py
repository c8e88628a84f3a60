"""The constant tensors of an ONNX graph, the nodes that use them, and new forms in their place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnmodel.slim.rungs.rung import Array, NotApplicableError

FEW = 1024
"""Tensors of fewer elements stay as they are: they weigh nothing and round worst."""

MICROSOFT = "com.microsoft"

_WEIGHT_AT = {
    "MatMul": (1,), "Gemm": (1,), "Conv": (1,), "ConvTranspose": (1,),
    "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2), "Transpose": (0,),
}  # fmt: skip


@dataclass(frozen=True)
class Use:
    """A node that takes a tensor, its place in the graph, and at which of its inputs."""

    index: int
    node: Any
    position: int


def parse(onnx_bytes: bytes) -> Any:
    """Return the model as a new `onnx.ModelProto`."""
    import onnx

    return onnx.load_model_from_string(onnx_bytes)


def serialise(model: Any) -> bytes:
    """Return the model's bytes; equal models give equal bytes.

    Its tensors are sorted by name, and each operator set is declared once.
    """
    refill(model.graph, "initializer", sorted(model.graph.initializer, key=lambda t: str(t.name)))
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions[domain] = max(entry.version, versions.get(domain, 0))
    model.ClearField("opset_import")
    for domain, version in sorted(versions.items()):
        model.opset_import.add(domain=domain, version=version)
    onnx_bytes: bytes = model.SerializeToString(deterministic=True)
    return onnx_bytes


def refill(owner: Any, field: str, messages: Iterable[Any]) -> None:
    """Put copies of messages in the place of all that a repeated field holds."""
    copies = []
    for message in messages:
        copied = type(message)()
        copied.CopyFrom(message)
        copies.append(copied)
    owner.ClearField(field)
    getattr(owner, field).extend(copies)


def graphs(graph: Any) -> Iterator[Any]:
    """Yield the graph and every graph inside its nodes (branches and loop bodies)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                yield from graphs(inner)


def uses(graph: Any) -> dict[str, list[Use]]:
    """Return, by tensor name, the nodes of the outer graph that take it."""
    found: dict[str, list[Use]] = {}
    for index, node in enumerate(graph.node):
        for position, name in enumerate(node.input):
            if name:
                found.setdefault(name, []).append(Use(index, node, position))
    return found


def pinned(graph: Any) -> set[str]:
    """Return the names that must keep their tensor: graph outputs, and what inner graphs see."""
    names = {value.name for value in graph.output}
    for inner in graphs(graph):
        if inner is not graph:
            names.update(name for node in inner.node for name in node.input)
            names.update(value.name for value in inner.output)
    return names


def opset(model: Any) -> int:
    """Return the version of the default operator set."""
    return max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=1)


def require_opset(model: Any, version: int) -> None:
    """Return when the model's operators are new enough.

    Raises:
        NotApplicableError: they are older.

    """
    if opset(model) < version:
        raise NotApplicableError(f"needs opset {version}, the model has {opset(model)}")


def floats(model: Any) -> dict[str, Array]:
    """Return the large float32 and float64 constants by name, in the order of their names.

    Those with values that are not finite are left out.
    """
    import onnx
    from onnx import numpy_helper

    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    kept = pinned(model.graph)
    found = {}
    for tensor in sorted(model.graph.initializer, key=lambda tensor: str(tensor.name)):
        count = int(np.prod(tensor.dims)) if tensor.dims else 1
        if tensor.data_type in kinds and count >= FEW and tensor.name not in kept:
            array = numpy_helper.to_array(tensor)
            if np.isfinite(array).all():
                found[str(tensor.name)] = array
    return found


def onnx_type(dtype: np.dtype[Any]) -> int:
    """Return ONNX's number of a numpy dtype."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(dtype))


def summed_axes(used: Sequence[Use], array: Array) -> tuple[int, ...] | None:
    """Return the axes of a weight that its layers sum over; None where something else takes it.

    What is summed may share a scale: the rest are channels, each with a range of its own.
    """
    if array.ndim < 2 or not used:
        return None
    found: set[tuple[int, ...]] = set()
    for use in used:
        kind = use.node.op_type
        if use.position not in _WEIGHT_AT.get(kind, ()):
            return None
        if kind == "MatMul" or (kind == "Gemm" and not transposed(use.node, "transB")):
            found.add((array.ndim - 2,))
        elif kind == "Conv":
            found.add(tuple(range(1, array.ndim)))
        elif kind == "ConvTranspose":
            found.add((0, *range(2, array.ndim)))
        else:
            found.add((array.ndim - 1,))
    return found.pop() if len(found) == 1 else None


def transposed(node: Any, which: str) -> bool:
    """Whether a Gemm takes that operand transposed."""
    return any(attribute.name == which and attribute.i for attribute in node.attribute)


class Rewrite:
    """Collects new tensors and nodes, then makes a new model of them; names stay unique."""

    def __init__(self, model: Any) -> None:
        """Start from a model, which is not changed."""
        self._model = model
        self._taken = {
            name
            for graph in graphs(model.graph)
            for node in graph.node
            for name in (*node.input, *node.output)
        } | {tensor.name for tensor in model.graph.initializer}
        self._tensors: dict[str, Array] = {}
        self._removed: set[str] = set()
        self._first: list[Any] = []
        self._instead: dict[int, list[Any]] = {}

    def name(self, wanted: str) -> str:
        """Return a name that nothing has yet, and take it."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def tensor(self, wanted: str, array: Array) -> str:
        """Add a constant and return its name."""
        name = self.name(wanted)
        self._tensors[name] = array
        return name

    def remove(self, name: str) -> None:
        """Take a constant away."""
        self._removed.add(name)

    def first(self, nodes: Iterable[Any]) -> None:
        """Put nodes in front of all others."""
        self._first.extend(nodes)

    def instead(self, index: int, nodes: Sequence[Any]) -> None:
        """Put nodes in the place of the one at an index."""
        self._instead[index] = list(nodes)

    @property
    def changes(self) -> int:
        """How many constants were taken away so far."""
        return len(self._removed)

    def model(self, domains: Mapping[str, int] | None = None) -> Any:
        """Return the new model, with these operator sets added."""
        from onnx import numpy_helper

        changed = type(self._model)()
        changed.CopyFrom(self._model)
        graph, old = changed.graph, self._model.graph
        for field in ("node", "initializer", "value_info"):
            graph.ClearField(field)
        graph.initializer.extend(t for t in old.initializer if t.name not in self._removed)
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in self._tensors.items()
        )
        graph.node.extend(self._first)
        for index, node in enumerate(old.node):
            graph.node.extend(self._instead.get(index, [node]))
        for domain, version in (domains or {}).items():
            changed.opset_import.add(domain=domain, version=version)
        return changed
