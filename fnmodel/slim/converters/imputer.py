"""A converter for SimpleImputer on numbers: exact in float64, with its indicator columns.

skl2onnx's own writes the ai.onnx.ml Imputer, which ONNX Runtime has in float32 only, and leaves
`add_indicator` out.
"""

from typing import Any

import numpy as np


def converters() -> dict[type, Any]:
    """Return the converter by its class."""
    from sklearn.impute import SimpleImputer

    return {SimpleImputer: (output_shape, convert)}


def output_shape(operator: Any) -> None:
    """Declare the output: the kept columns in the input's type, then the indicators."""
    from skl2onnx.common.data_types import StringTensorType

    imputer = operator.raw_operator
    kind = type(operator.inputs[0].type)
    if kind is StringTensorType:
        operator.outputs[0].type = kind([None, len(imputer.statistics_)])
        return
    indicators = len(imputer.indicator_.features_) if imputer.add_indicator else 0
    operator.outputs[0].type = kind([None, len(_kept(imputer)) + indicators])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write `Where(IsNaN(x), statistics, x)`, or `Equal` for another missing value."""
    from onnx import TensorProto
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from skl2onnx.operator_converters.common import concatenate_variables
    from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer

    imputer = operator.raw_operator
    if not isinstance(operator.inputs[0].type, DoubleTensorType | FloatTensorType):
        convert_sklearn_imputer(scope, operator, container)
        return
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    number = TensorProto.DOUBLE if double else TensorProto.FLOAT

    def name(hint: str) -> str:
        unique: str = scope.get_unique_variable_name(hint)
        return unique

    def constant(hint: str, kind: int, values: Any) -> str:
        unique = name(hint)
        container.add_initializer(unique, kind, list(values.shape), values.tolist())
        return unique

    def node(kind: str, inputs: list[str], hint: str, version: int, **attributes: Any) -> str:
        unique = name(hint)
        container.add_node(kind, inputs, unique, op_version=version, **attributes)
        return unique

    values = concatenate_variables(scope, operator.inputs, container)
    if isinstance(imputer.missing_values, float) and np.isnan(imputer.missing_values):
        holes = node("IsNaN", [values], "holes", 13)
    else:
        marker = constant("marker", number, np.array([imputer.missing_values], dtype=float))
        holes = node("Equal", [values, marker], "holes", 13)
    kept, kept_holes = values, holes
    keep = _kept(imputer)
    if len(keep) < len(imputer.statistics_):
        index = constant("kept", TensorProto.INT64, keep)
        kept = node("Gather", [values, index], "kept_values", 13, axis=1)
        kept_holes = node("Gather", [holes, index], "kept_holes", 13, axis=1)
    fill = np.nan_to_num(imputer.statistics_.astype(float)[keep])
    filling = constant("statistics", number, fill.reshape(1, -1))
    filled = node("Where", [kept_holes, filling, kept], "imputed", 16)
    if imputer.add_indicator:
        index = constant("indicated", TensorProto.INT64, np.asarray(imputer.indicator_.features_))
        shown = node("Gather", [holes, index], "indicated_holes", 13, axis=1)
        flags = node("Cast", [shown], "indicators", 13, to=number)
        filled = node("Concat", [filled, flags], "imputed_and_indicators", 13, axis=1)
    container.add_node("Identity", [filled], operator.outputs[0].full_name, op_version=13)


def _kept(imputer: Any) -> Any:
    """Return the columns that the imputer keeps; it drops those that were always missing."""
    statistics = imputer.statistics_.astype(float)
    if imputer.keep_empty_features:
        return np.arange(len(statistics))
    return np.flatnonzero(~np.isnan(statistics))
