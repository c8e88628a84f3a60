"""Puts an exported network in order, reads its tensors, and runs it.

Exporters write the source paths and stack traces of the user's code into the graph, and names that
differ from run to run; nothing of this is left.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import InputError, UnsupportedModelError
from fnmodel.model import Datatype, Tensor

Array = NDArray[Any]

HIGHEST_IR = 10


def clean(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return the model with our names on its inputs and outputs, and no traces of its origin.

    The names go by position. An output that is named like an input gets `_output` behind its name.
    """
    import onnx

    cleaned = onnx.ModelProto()
    cleaned.CopyFrom(model)
    graph = cleaned.graph
    _drop_initializer_inputs(graph)
    fresh = [name if name not in inputs else f"{name}_output" for name in outputs]
    _split_shared_outputs(graph, inputs)
    ours = dict(zip((v.name for v in graph.input), inputs, strict=True))
    ours |= dict(zip((v.name for v in graph.output), fresh, strict=True))
    _rename(graph, ours)
    _forget(cleaned)
    _number_axes(graph)
    graph.name = "model"
    cleaned.producer_name, cleaned.producer_version = "fnmodel", ""
    cleaned.model_version, cleaned.domain = 0, ""
    merge_opsets(cleaned)
    cleaned.ir_version = min(cleaned.ir_version, HIGHEST_IR)
    return cleaned


def graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs(inner)


def merge_opsets(model: Any) -> None:
    """Leave one entry a domain: some converters write several."""
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions[domain] = max(entry.version, versions.get(domain, 0))
    model.ClearField("opset_import")
    for domain, version in sorted(versions.items()):
        model.opset_import.add(domain=domain, version=version)


def tensors(values: Any, where: str) -> tuple[Tensor, ...]:
    """Return a graph's inputs or outputs as the Open Inference Protocol has them.

    Raises:
        UnsupportedModelError: one is no tensor, or of a type that the protocol has not.

    """
    return tuple(_tensor(value, where) for value in values)


def declare(values: Any, shapes: Sequence[Sequence[int]]) -> None:
    """Write the shapes of a graph's outputs, in place; exporters leave wrong ones."""
    for value, shape in zip(values, shapes, strict=True):
        dims = value.type.tensor_type.shape
        dims.ClearField("dim")
        for axis, size in enumerate(shape):
            dim = dims.dim.add()
            if size >= 0:
                dim.dim_value = size
            elif axis == 0:
                dim.dim_param = "axis0"


def run(opened: Any, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return a session's outputs by name.

    Raises:
        InputError: ONNX Runtime refuses the arrays, or fails on them.

    """
    names = [value.name for value in opened.get_outputs()]
    try:
        values = opened.run(names, dict(arrays))
    except Exception as error:
        raise InputError(f"ONNX Runtime fails: {first_line(error)}") from error
    return dict(zip(names, values, strict=True))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's words, or its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def datatype(element: int) -> Datatype | None:
    """Return the protocol's name of an ONNX element type, or None where it has none."""
    import onnx

    t = onnx.TensorProto
    known: dict[int, Datatype] = {
        t.BOOL: "BOOL", t.STRING: "BYTES",
        t.UINT8: "UINT8", t.UINT16: "UINT16", t.UINT32: "UINT32", t.UINT64: "UINT64",
        t.INT8: "INT8", t.INT16: "INT16", t.INT32: "INT32", t.INT64: "INT64",
        t.FLOAT16: "FP16", t.FLOAT: "FP32", t.DOUBLE: "FP64",
    }  # fmt: skip
    return known.get(element)


def _tensor(value: Any, where: str) -> Tensor:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedModelError(
            f"{where} {value.name!r} is a {(kind or 'value without a type').replace('_type', '')}, "
            "not a tensor",
            hint="export the model with tensors only",
        )
    tensor = value.type.tensor_type
    known = datatype(tensor.elem_type)
    if known is None:
        name = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise UnsupportedModelError(
            f"{where} {value.name!r} is of type {name}, which no request can carry",
            hint="cast it to a float32 inside the model",
        )
    shape = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in tensor.shape.dim
    )
    return Tensor(value.name, known, shape)


def _drop_initializer_inputs(graph: Any) -> None:
    """Take weights away from the inputs, where files before IR 4 list them."""
    weights = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def _split_shared_outputs(graph: Any, inputs: Sequence[str]) -> None:
    """Give each output a value of its own where it is an input, a weight, or given twice."""
    import onnx

    seen = {*(value.name for value in graph.input), *(t.name for t in graph.initializer), *inputs}
    for number, value in enumerate(graph.output):
        if value.name in seen:
            fresh = f"{value.name}/copy{number}"
            graph.node.append(onnx.helper.make_node("Identity", [value.name], [fresh]))
            value.name = fresh
        seen.add(value.name)


def _rename(graph: Any, ours: Mapping[str, str]) -> None:
    """Rename all values: the given ones as told, the others by number, in all inner graphs too."""
    taken = set(ours.values())
    names = {"": "", **ours}

    def fresh(name: str) -> str:
        if name not in names:
            number = len(names)
            while f"v{number}" in taken:
                number += 1
            names[name] = f"v{number}"
            taken.add(f"v{number}")
        return names[name]

    count = 0
    for part in graphs(graph):
        for value in (*part.input, *part.output, *part.initializer):
            value.name = fresh(value.name)
        for sparse in part.sparse_initializer:
            sparse.values.name = fresh(sparse.values.name)
        for node in part.node:
            node.name, count = f"n{count}", count + 1
            for side in (node.input, node.output):
                side[:] = [fresh(name) for name in side]
        part.ClearField("value_info")
        part.ClearField("quantization_annotation")


def _forget(model: Any) -> None:
    """Take away documentation and metadata."""
    model.ClearField("metadata_props")
    model.doc_string = ""
    for function in model.functions:
        function.ClearField("value_info")
    for scope in (part for outer in (model.graph, *model.functions) for part in graphs(outer)):
        scope.doc_string = ""
        scope.ClearField("metadata_props")
        for node in scope.node:
            node.doc_string = ""
            node.ClearField("metadata_props")
            node.ClearField("device_configurations")
            for attribute in node.attribute:
                attribute.doc_string = ""
    for scope in graphs(model.graph):
        for tensor in scope.initializer:
            tensor.doc_string = ""
            tensor.ClearField("metadata_props")
        for value in (*scope.input, *scope.output):
            value.doc_string = ""
            value.ClearField("metadata_props")


def _number_axes(graph: Any) -> None:
    """Name the open axes of inputs by number; those of outputs may be formulas, so they go."""
    names: dict[str, str] = {}
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.dim_param = names.setdefault(dim.dim_param, f"axis{len(names)}")
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                if dim.dim_param in names:
                    dim.dim_param = names[dim.dim_param]
                else:
                    dim.ClearField("dim_param")


def equal(a: Array, b: Array, *, absolute: float, relative: float) -> bool:
    """Whether two arrays have one shape and lie within a tolerance of each other's largest value.

    NaN equals NaN, an infinity itself; what is no float must be equal.
    """
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        return bool((a == b).all())
    finite = np.abs(b[np.isfinite(b)].astype(np.float64))
    allowed = absolute + relative * float(finite.max(initial=0.0))
    return bool(np.allclose(a, b, rtol=0.0, atol=allowed, equal_nan=True))
