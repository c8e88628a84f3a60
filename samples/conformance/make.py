"""Writes four small ONNX models that show what a server does with the inference protocol.

`add_sub.onnx` and `add_i64.onnx` add and subtract numbers, `ident_s.onnx` gives texts back, and
`clf.onnx` has probabilities with labels. They are written beside this file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
LABELS = ("setosa", "versicolor", "virginica")
# One row a class, with the sepals and petals that speak for it.
WEIGHTS = [[0.4, 1.4, -2.2, -1.0], [0.5, -1.6, 0.5, -1.4], [-1.7, -1.5, 2.4, 2.5]]
INTERCEPTS = [0.3, 1.0, -1.2]


def add_sub(kind: int) -> onnx.ModelProto:
    """Return a model of two inputs of 16 numbers a row, which it adds and subtracts."""
    given = [_tensor(name, kind, 16) for name in ("INPUT0", "INPUT1")]
    made = [_tensor(name, kind, 16) for name in ("OUTPUT0", "OUTPUT1")]
    nodes = [
        helper.make_node(operator, ["INPUT0", "INPUT1"], [output])
        for operator, output in (("Add", "OUTPUT0"), ("Sub", "OUTPUT1"))
    ]
    return _model(nodes, given, made)


def identity() -> onnx.ModelProto:
    """Return a model that gives a list of texts back."""
    node = helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])
    return _model(
        [node], [_tensor("INPUT0", TensorProto.STRING)], [_tensor("OUTPUT0", TensorProto.STRING)]
    )


def classifier() -> onnx.ModelProto:
    """Return a model of irises: 4 measures a row in, 3 probabilities out.

    The last node names them, as converters of classifiers write it; `slim` takes it away and keeps
    the labels.
    """
    nodes = [
        helper.make_node("Gemm", ["INPUT0", "weights", "intercepts"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node(
            "ZipMap",
            ["probabilities"],
            ["named"],
            domain="ai.onnx.ml",
            classlabels_strings=LABELS,
        ),
    ]
    weights = {"weights": np.float32(WEIGHTS), "intercepts": np.float32(INTERCEPTS)}
    named = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    made = helper.make_value_info("named", helper.make_sequence_type_proto(named))
    return _model(nodes, [_tensor("INPUT0", TensorProto.FLOAT, 4)], [made], weights)


def models() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Make each model, with its name."""
    yield "add_sub", add_sub(TensorProto.FLOAT)
    yield "add_i64", add_sub(TensorProto.INT64)
    yield "ident_s", identity()
    yield "clf", classifier()


def _tensor(name: str, kind: int, *width: int) -> Any:
    return helper.make_tensor_value_info(name, kind, ["N", *width])


def _model(
    nodes: Sequence[Any], given: Sequence[Any], made: Sequence[Any], weights: Any = None
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "conformance", given, made, initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="fnmodel")
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    for name, model in models():
        onnx.save(model, HERE / f"{name}.onnx")
        print(f"wrote {name}.onnx")
