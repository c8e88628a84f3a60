"""Computes in float32 what the original computed in float64, from the first step to the last."""

from typing import Any

import numpy as np

from fnmodel.slim.rungs.rung import Feeds, NotApplicableError
from fnmodel.slim.rungs.weights import graphs, parse, refill, serialise


def float32(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with casts to float32 behind its inputs and back to float64 at its outputs.

    Raises:
        NotApplicableError: it has no constants in float64, or holds trees, whose splits would move.

    """
    from onnx import TensorProto

    model = parse(onnx_bytes)
    graph = model.graph
    if any(node.op_type.startswith("TreeEnsemble") for g in graphs(graph) for node in g.node):
        raise NotApplicableError("splits of trees would move")
    if not any(t.data_type == TensorProto.DOUBLE for t in graph.initializer):
        raise NotApplicableError("no constants in float64")
    for inner in graphs(graph):
        _narrow_constants(inner)
        if inner is not graph:
            _declare_float32(inner)
    before, after = _casts(graph)
    refill(graph, "node", [*before, *graph.node, *after])
    return serialise(model)


def _narrow_constants(graph: Any) -> None:
    from onnx import TensorProto

    graph.ClearField("value_info")
    for tensor in graph.initializer:
        _narrow(tensor)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.name in ("to", "dtype") and attribute.i == TensorProto.DOUBLE:
            attribute.i = TensorProto.FLOAT
        if attribute.HasField("t"):
            _narrow(attribute.t)


def _declare_float32(graph: Any) -> None:
    from onnx import TensorProto

    for value in filter(_is_double, (*graph.input, *graph.output)):
        value.type.tensor_type.elem_type = TensorProto.FLOAT


def _casts(graph: Any) -> tuple[list[Any], list[Any]]:
    """Return casts behind the inputs and before the outputs, and lead the graph through them."""
    from onnx import TensorProto, helper

    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    before, after = [], []
    for value in filter(_is_double, graph.input):
        name = _free(f"{value.name}_float32", taken)
        _rename_inputs(graph, str(value.name), name)
        before.append(helper.make_node("Cast", [value.name], [name], to=TensorProto.FLOAT))
    for value in filter(_is_double, graph.output):
        name = _free(f"{value.name}_float32", taken)
        _rename_inputs(graph, str(value.name), name)
        for node in graph.node:
            node.output[:] = [name if output == value.name else output for output in node.output]
        after.append(helper.make_node("Cast", [name], [value.name], to=TensorProto.DOUBLE))
    return before, after


def _is_double(value: Any) -> bool:
    from onnx import TensorProto

    return bool(value.type.tensor_type.elem_type == TensorProto.DOUBLE)


def _narrow(tensor: Any) -> None:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type == TensorProto.DOUBLE:
        with np.errstate(over="ignore"):
            array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _rename_inputs(graph: Any, old: str, new: str) -> None:
    for inner in graphs(graph):
        for node in inner.node:
            node.input[:] = [new if name == old else name for name in node.input]


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
