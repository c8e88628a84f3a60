"""The output tensors of a chunk in, the columns of its predictions out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from fnmodel.arrays import Array, objects
from fnmodel.model import Signature


def column_names(signature: Signature) -> list[str]:
    """Return the columns of a prediction: label and probability_<class>, value, or the outputs."""
    if signature.label is not None:
        scores = signature.classes if signature.scores is not None else ()
        return ["label", *(f"probability_{name}" for name in scores)]
    if signature.one_value:
        return ["value"]
    return [tensor.name for tensor in signature.outputs]


def columns(signature: Signature, outputs: Mapping[str, Array]) -> list[Array]:
    """Return the columns that `column_names` names, each of shape (rows,).

    An output of more dimensions than rows becomes texts of JSON.
    """
    if signature.label is not None:
        labels = outputs[signature.label].reshape(-1)
        if signature.scores is None:
            return [labels]
        return [labels, *outputs[signature.scores].T]
    if signature.one_value:
        tensor = outputs[signature.outputs[0].name]
        return [tensor.reshape(-1) if math.prod(tensor.shape[1:]) == 1 else _column(tensor)]
    return [_column(outputs[tensor.name]) for tensor in signature.outputs]


def json_column(predictions: Sequence[Any]) -> list[Array]:
    """Return what the project's own `postprocess` answered as one column of JSON."""
    option = orjson.OPT_SERIALIZE_NUMPY
    return [objects([orjson.dumps(one, option=option).decode() for one in predictions])]


def plain(column: Array) -> list[Any]:
    """Return a column's values as JSON has them: None for NaN and infinities."""
    if column.dtype.kind != "f" or bool(np.isfinite(column).all()):
        values: list[Any] = column.tolist()
        return values
    return [value if math.isfinite(value) else None for value in column.tolist()]


def _column(tensor: Array) -> Array:
    if tensor.ndim == 1:
        return tensor
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        known = tensor.astype(object)
        known[~np.isfinite(tensor)] = None
        tensor = known
    return objects([orjson.dumps(row).decode() for row in tensor.tolist()])
