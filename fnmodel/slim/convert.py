"""A fitted scikit-learn estimator goes in; an ONNX graph and its signature come out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fnmodel.engine import open_session
from fnmodel.errors import UnsupportedModelError
from fnmodel.model import Datatype, Feature, Signature, Tensor
from fnmodel.slim.converters import table
from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.converters.emit import Block, Emitter, Kind, Table
from fnmodel.slim.original import Answer, Original, final_step, is_multilabel
from fnmodel.slim.signature import Column, stacks
from fnmodel.slim.source import walk
from fnmodel.slim.subject import Candidate, Converted

OPSET = 18
IR = 10
INPUT = "input"
HOW = "float64"

_TYPES: Mapping[str, Datatype] = {"text": "BYTES", "code": "INT64", "number": "FP64"}
_ONNX = {"FP64": 11, "INT64": 7, "BYTES": 8, "BOOL": 9}


def candidates(original: Original, columns: Sequence[Column]) -> tuple[Candidate, ...]:
    """Return the ways to convert a model, the most faithful first.

    There is one: every step in float64, as scikit-learn computes it.
    """
    return (Candidate(HOW, lambda: convert(original, columns)),)


def convert(original: Original, columns: Sequence[Column]) -> Converted:
    """Write a model as a graph that computes in float64.

    Raises:
        UnsupportedModelError: a step has no counterpart in ONNX; names it.

    """
    import onnx
    from onnx import helper

    stacked = stacks(original.model, columns)
    inputs, given = _inputs(columns, stacked=stacked)
    outputs = _names(original, {tensor.name for tensor in inputs})
    taken = frozenset({*(tensor.name for tensor in inputs), *outputs})
    emitter = Emitter(
        table.writers(),
        Graph(taken),
        names={id(estimator): name for name, estimator in walk(original.model)},
    )
    made = []
    for answer, name in zip(original.outputs, outputs, strict=True):
        value, datatype, shape = _output(emitter, original, answer, given)
        emitter.graph.nodes.append(helper.make_node("Identity", [value], [name]))
        made.append(Tensor(name, datatype, shape))
    proto = emitter.graph.proto(
        [_info(tensor) for tensor in inputs], [_info(tensor) for tensor in made], OPSET, IR
    )
    if any(-1 in tensor.shape[1:] for tensor in made):
        made = _measured(proto, made)
    onnx.checker.check_model(proto)
    read = {value.name for value in proto.graph.input}
    features = [_feature(column, emitter.closed) for column in columns]
    if not stacked:
        # A step may ignore a column; the graph then has no input for it.
        features = [feature for feature in features if feature.name in read]
        inputs = tuple(tensor for tensor in inputs if tensor.name in read)
    elif not read:
        inputs = ()
    if not inputs:
        raise UnsupportedModelError(
            f"the {type(original.model).__name__} answers without looking at any feature",
            hint="such a model needs no endpoint",
        )
    label = made[0].name if original.task == "classification" else None
    return Converted(
        onnx=proto.SerializeToString(deterministic=True),
        signature=Signature(
            task=original.task,
            inputs=inputs,
            outputs=tuple(made),
            features=tuple(features),
            classes=original.classes,
            label=label,
            scores=made[1].name if label and len(made) > 1 else None,
        ),
        how=HOW,
    )


def _inputs(columns: Sequence[Column], *, stacked: bool) -> tuple[tuple[Tensor, ...], Table]:
    """Return the graph's inputs, and the table that they make."""
    names = tuple(column.name for column in columns)
    if stacked:
        kind = columns[0].kind
        tensor = Tensor(INPUT, _TYPES[kind], (-1, len(columns)))
        return (tensor,), Table((Block(INPUT, kind, len(columns), names),), names)
    tensors = tuple(Tensor(c.name, _TYPES[c.kind], (-1, 1)) for c in columns)
    blocks = tuple(Block(c.name, c.kind, 1, (c.name,)) for c in columns)
    return tensors, Table(blocks, names)


def _names(original: Original, taken: set[str]) -> list[str]:
    """Return the outputs' names; a feature may have the one that an output would get."""
    return [a.name if a.name not in taken else f"{a.name}_output" for a in original.outputs]


def _measured(proto: Any, outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs with the widths that they have for one row."""
    session = open_session(proto.SerializeToString(), threads=1)
    fill = {8: "", 7: 0, 11: 0.0}
    row = {
        value.name: np.full(
            (1, value.type.tensor_type.shape.dim[1].dim_value),
            fill[value.type.tensor_type.elem_type],
            dtype=object if value.type.tensor_type.elem_type == 8 else None,
        )
        for value in proto.graph.input
    }
    shapes = [answer.shape for answer in session.run([t.name for t in outputs], row)]
    measured = [
        replace(tensor, shape=(-1, *shape[1:]))
        for tensor, shape in zip(outputs, shapes, strict=True)
    ]
    for value, tensor in zip(proto.graph.output, measured, strict=True):
        value.CopyFrom(_info(tensor))
    return measured


def _info(tensor: Tensor) -> Any:
    from onnx import helper

    shape = [None if size == -1 else size for size in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, _ONNX[tensor.datatype], shape)


def _feature(column: Column, closed: Mapping[str, Sequence[Any]]) -> Feature:
    feature = column.feature("FP64")
    if column.name not in closed:
        return feature
    known = tuple(value for value in closed[column.name] if value is not None)
    return replace(feature, categories=known, closed=True)


def _output(
    e: Emitter, original: Original, answer: Answer, given: Table
) -> tuple[str, Datatype, tuple[int, ...]]:
    """Write one output; return its value, datatype and shape."""
    model = original.model
    if answer.method == "transform":
        return _transformed(e, model, e.transform(model, given))
    if answer.method == "predict_proba":
        chances = e.proba(model, given)
        if answer.part is not None:
            return chances[answer.part], "FP64", (-1, len(model.classes_[answer.part]))
        return chances, "FP64", (-1, len(original.classes) or -1)
    if answer.method == "decision_function":
        return e.graph.reshape(e.decision(model, given), -1), "FP64", (-1,)
    value = e.predict(model, given)
    if original.task == "classification":
        return _label(e, model.classes_, value)
    if answer.name == "labels":
        return _labels(e, model, value)
    if answer.name == "value":
        return value, "FP64", (-1, -1)
    return value, "INT64", (-1,)


def _transformed(e: Emitter, model: Any, made: Table) -> tuple[str, Datatype, tuple[int, ...]]:
    kinds: set[Kind] = {block.kind for block in made.blocks}
    if kinds == {"text"}:
        text = e.graph.concat([block.name for block in made.blocks])
        return text, "BYTES", (-1, made.width)
    return e.numbers(made, model), "FP64", (-1, made.width)


def _label(e: Emitter, classes: Any, index: str) -> tuple[str, Datatype, tuple[int, ...]]:
    known, datatype = _plain_classes(e, classes)
    value = e.graph.gather(known, e.graph.reshape(index, -1), axis=0)
    return value, datatype, (-1,)


def _plain_classes(e: Emitter, classes: Any) -> tuple[str, Datatype]:
    """Return the classes as a constant, whole numbers as int64, and its datatype."""
    classes = np.asarray(classes)
    if classes.dtype.kind == "b" or (
        classes.dtype == object and all(isinstance(c, bool) for c in classes)
    ):
        return e.graph.constant(classes.astype(bool)), "BOOL"
    if classes.dtype.kind in "USO":
        return e.graph.constant(classes.astype(object)), "BYTES"
    if classes.dtype.kind == "f" and not (classes == np.round(classes)).all():
        return e.graph.constant(classes.astype(np.float64)), "FP64"
    return e.graph.constant(classes.astype(np.int64)), "INT64"


def _labels(e: Emitter, model: Any, value: str) -> tuple[str, Datatype, tuple[int, ...]]:
    """Write the labels of a model with several outputs, (rows, outputs)."""
    classes = getattr(model, "classes_", None)
    if type(final_step(model)).__name__ == "ClassifierChain":
        return e.graph.integer(value), "INT64", (-1, len(final_step(model).estimators_))
    if is_multilabel(model) or not isinstance(classes, list):
        return value, "INT64", (-1, len(classes) if classes is not None else -1)
    parts, kinds = [], set()
    for number, known in enumerate(classes):
        column = e.graph.gather(value, np.array([number]))
        constant, datatype = _plain_classes(e, known)
        kinds.add(datatype)
        parts.append(e.graph.gather(constant, column, axis=0))
        parts[-1] = e.graph.reshape(parts[-1], -1, 1)
    if len(kinds) > 1:
        e.refuse(model, "its outputs have labels of several types")
    return e.graph.concat(parts), kinds.pop(), (-1, len(parts))
