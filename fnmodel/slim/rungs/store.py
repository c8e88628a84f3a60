"""Stores weights in a narrower type and widens them again while the model is loaded.

ONNX Runtime folds the widening into constants when it opens the model, so that a prediction
computes with the same operators, and takes as long, as before.
"""

import math
from typing import Any

import numpy as np

from fnmodel.slim.rungs.embedding import CAST, quantise, shrink_tables
from fnmodel.slim.rungs.rung import Array, Feeds, NotApplicableError
from fnmodel.slim.rungs.weights import (
    Rewrite,
    floats,
    onnx_type,
    parse,
    require_opset,
    serialise,
    summed_axes,
    uses,
)

_BLOCK = 64
_FEWEST = 8  # with fewer weights to a scale, the scales weigh as much as the weights


def single(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with its float64 weights stored as float32."""
    return _narrow(onnx_bytes, (np.float64,), np.float32)


def half(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with its floating weights stored as float16."""
    return _narrow(onnx_bytes, (np.float32, np.float64), np.float16)


def int8(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with the weights of its layers as int8, and its tables, too.

    One scale serves 64 weights that are summed into one channel, or the whole channel where that
    does not divide. Only weights are rounded, never what flows between the layers.
    """
    from onnx import helper

    model = parse(onnx_bytes)
    require_opset(model, CAST)
    used, rewrite = uses(model.graph), Rewrite(model)
    for name, array in floats(model).items():
        axes = summed_axes(used.get(name, []), array)
        if axes is None or math.prod(array.shape[axis] for axis in axes) < _FEWEST:
            continue
        blocks = _blocks(array, axes)
        quantised, scale = quantise(blocks, axes if blocks is array else (axes[0] + 1,))
        stored = rewrite.tensor(f"{name}_int8", quantised)
        factor = rewrite.tensor(f"{name}_scale", scale)
        wide = rewrite.name(f"{name}_wide")
        product = name if blocks is array else rewrite.name(f"{name}_blocks")
        rewrite.remove(name)
        rewrite.first(
            [
                helper.make_node("Cast", [stored], [wide], to=onnx_type(array.dtype)),
                helper.make_node("Mul", [wide, factor], [product]),
            ]
        )
        if blocks is not array:
            shape = rewrite.tensor(f"{name}_shape", np.array(array.shape, np.int64))
            rewrite.first([helper.make_node("Reshape", [product, shape], [name])])
    layers = rewrite.model() if rewrite.changes else None
    tables = shrink_tables(model if layers is None else layers)
    if layers is None and tables is None:
        raise NotApplicableError("no layer has large weights")
    return serialise(layers if tables is None else tables)


def _blocks(array: Array, axes: tuple[int, ...]) -> Array:
    """Return the weights with their summed axis cut into blocks, or as they are."""
    (axis, *others), shape = axes, array.shape
    if others or shape[axis] <= _BLOCK or shape[axis] % _BLOCK:
        return array
    return array.reshape(*shape[:axis], shape[axis] // _BLOCK, _BLOCK, *shape[axis + 1 :])


def _narrow(
    onnx_bytes: bytes, kinds: tuple[type[np.floating[Any]], ...], to: type[np.floating[Any]]
) -> bytes:
    from onnx import helper

    model = parse(onnx_bytes)
    require_opset(model, CAST)
    rewrite = Rewrite(model)
    for name, array in floats(model).items():
        if array.dtype.type not in kinds or np.abs(array).max() > np.finfo(to).max:
            continue
        stored = rewrite.tensor(f"{name}_{to.__name__}", array.astype(to))
        rewrite.remove(name)
        rewrite.first([helper.make_node("Cast", [stored], [name], to=onnx_type(array.dtype))])
    if not rewrite.changes:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise NotApplicableError(f"no large weights in {names}")
    return serialise(rewrite.model())
