"""A fitted scikit-learn estimator goes in; an ONNX graph and its signature come out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fnmodel.errors import UnsupportedModelError
from fnmodel.model import Datatype, Feature, Signature, Tensor
from fnmodel.slim import graph
from fnmodel.slim.converters import table
from fnmodel.slim.original import Original
from fnmodel.slim.repair import repaired
from fnmodel.slim.signature import Column
from fnmodel.slim.source import walk

OPSET = 18
ML_OPSET = 3
INPUT = "input"
_CAST = "fnmodel_cast"


@dataclass(frozen=True)
class Precision:
    """In which floats a graph computes: its number inputs, and whether the last step is float32."""

    number: Datatype
    cast: bool

    def __str__(self) -> str:
        if self.cast:
            return "float64, last step float32"
        return "float64" if self.number == "FP64" else "float32"


@dataclass(frozen=True)
class Converted:
    """A serialised ONNX model, its signature and its opset."""

    onnx: bytes
    signature: Signature
    opset: int
    precision: Precision


def precisions(model: Any) -> tuple[Precision, ...]:
    """Return the precisions to try, the most faithful first.

    scikit-learn prepares in float64 and casts to float32 only inside its trees. A scaler in
    float32 lands on the other side of a split; a tree that compares in float64 does so too, and
    skl2onnx does not come back from the thresholds of one that was trained with missing values.
    """
    single, double = Precision("FP32", cast=False), Precision("FP64", cast=False)
    trees = any(
        hasattr(estimator, "tree_") or hasattr(estimator, "_predictors")
        for _, estimator in walk(model)
    )
    wide = () if trees else (double,)
    if hasattr(model, "steps") and len(model.steps) > 1:
        return Precision("FP64", cast=True), *wide, single
    return *wide, single


def convert(original: Original, columns: Sequence[Column], precision: Precision) -> Converted:
    """Convert a model at one precision.

    Raises:
        UnsupportedModelError: a step has no converter; names it.

    """
    stacked = _stacks(original.model, columns)
    slots = [f"c{i}" for i in range(1 if stacked else len(columns))]
    names = dict(zip((c.name for c in columns), slots, strict=True)) if not stacked else {}
    model = repaired(original, names)
    if precision.cast:
        model = _cast_last(model)
    kinds = [column.feature(precision.number).datatype for column in columns]
    width = len(columns) if stacked else 1
    initial = [(slot, _tensor_type(kind, width)) for slot, kind in zip(slots, kinds, strict=False)]
    proto = _call_skl2onnx(model, initial)
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    proto = graph.send_missing_left(proto, final)
    ours = {slots[0]: INPUT} if stacked else {slot: name for name, slot in names.items()}
    wanted = [name for name, _ in original.answers]
    boolean = bool(original.classes) and all(isinstance(c, bool) for c in original.classes)
    proto = graph.tidy(proto, ours, wanted, boolean=boolean)
    features = [column.feature(precision.number) for column in columns]
    signature = _signature(original, proto, features, stacked=stacked)
    opset = next(entry.version for entry in proto.opset_import if entry.domain == "")
    return Converted(proto.SerializeToString(deterministic=True), signature, opset, precision)


def _stacks(model: Any, columns: Sequence[Column]) -> bool:
    if len({column.kind for column in columns}) > 1:
        return False
    return not any(
        hasattr(estimator, "transformers_") and hasattr(estimator, "feature_names_in_")
        for _, estimator in walk(model)
    )


def _cast_last(model: Any) -> Any:
    """Return the pipeline with everything in float64 up to its last step, which gets float32."""
    import numpy as np
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    for _, transformer in list(walk(model)):
        if hasattr(transformer, "transformers_"):
            # Encoders write float32; side by side with numbers they must be float64 too.
            transformer.transformers_ = [
                (name, _then(step, CastTransformer(dtype=np.float64)), columns)
                for name, step, columns in transformer.transformers_
            ]
    steps = list(model.steps)
    return Pipeline([*steps[:-1], (_CAST, CastTransformer(dtype=np.float32)), steps[-1]])


def _then(step: Any, cast: Any) -> Any:
    from sklearn.pipeline import Pipeline

    if isinstance(step, str):
        return step
    steps = step.steps if isinstance(step, Pipeline) else [("step", step)]
    return Pipeline([*steps, (_CAST, cast)])


def _call_skl2onnx(model: Any, initial: list[tuple[str, Any]]) -> Any:
    from skl2onnx import convert_sklearn

    final = model.steps[-1][1] if hasattr(model, "steps") else model
    custom = table.custom()

    def call(options: Mapping[str, bool]) -> Any:
        return convert_sklearn(
            model,
            "model",
            initial,
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
            options={id(final): dict(options)} if options else None,
            custom_conversion_functions={kind: pair[1] for kind, pair in custom.items()},
            custom_shape_calculators={kind: pair[0] for kind, pair in custom.items()},
        )

    options: Mapping[str, bool] = {}
    if type(final).__name__ == "LinearSVC":
        options = {"raw_scores": True}
    elif hasattr(final, "classes_"):
        options = {"zipmap": False}
    try:
        try:
            return call(options)
        except NameError:  # this converter has no such option, so it writes no ZipMap either
            return call({})
    except Exception as error:
        # Converters raise whatever comes: NotImplementedError, RuntimeError, AttributeError ….
        raise _unsupported(model, error) from error


def _unsupported(model: Any, error: Exception) -> UnsupportedModelError:
    text = str(error)
    kind = re.search(r"<class '[\w.]*?(\w+)'>|type: (?:Sklearn)?(\w+)|(\w+) is not supported", text)
    wanted = next((group for group in kind.groups() if group), "") if kind else ""
    for name, estimator in walk(model):
        if type(estimator).__name__ == wanted:
            where = f"step {name!r} ({wanted})"
            break
    else:
        where = f"the {type(model).__name__}"
    first = text.strip().splitlines()[0][:200] if text.strip() else type(error).__name__
    return UnsupportedModelError(
        f"{where} has no converter to ONNX: {first}",
        hint="replace that step, or move it out of the model and in front of it",
    )


def _tensor_type(kind: Datatype, width: int) -> Any:
    from skl2onnx.common import data_types as t

    kinds = {
        "BYTES": t.StringTensorType,
        "INT64": t.Int64TensorType,
        "FP32": t.FloatTensorType,
        "FP64": t.DoubleTensorType,
    }
    return kinds[kind]([None, width])


def _signature(
    original: Original, proto: Any, features: Sequence[Feature], *, stacked: bool
) -> Signature:
    inputs = tuple(_tensor(value, first=-1) for value in proto.graph.input)
    outputs = tuple(_tensor(value, first=-1) for value in proto.graph.output)
    if not stacked:
        # A step may ignore a column; the graph then has no input for it.
        by_name = {feature.name: feature for feature in features}
        features = [by_name[tensor.name] for tensor in inputs]
    else:
        inputs = (replace(inputs[0], shape=(-1, len(features))),)
    label = outputs[0].name if original.task == "classification" else None
    scores = outputs[1].name if label and len(outputs) > 1 else None
    return Signature(
        task=original.task,
        inputs=inputs,
        outputs=outputs,
        features=tuple(features),
        classes=original.classes,
        label=label,
        scores=scores,
    )


def _tensor(value: Any, *, first: int) -> Tensor:
    import onnx

    names: dict[int, Datatype] = {
        onnx.TensorProto.FLOAT: "FP32",
        onnx.TensorProto.DOUBLE: "FP64",
        onnx.TensorProto.INT64: "INT64",
        onnx.TensorProto.INT32: "INT32",
        onnx.TensorProto.BOOL: "BOOL",
        onnx.TensorProto.STRING: "BYTES",
    }
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return Tensor(value.name, names[tensor.elem_type], (first, *shape[1:]))
