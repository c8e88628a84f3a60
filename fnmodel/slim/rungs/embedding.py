"""Stores tables that rows are looked up in as int8, with one scale a row."""

from typing import Any

import numpy as np

from fnmodel.slim.rungs.rung import Array, Feeds, NotApplicableError
from fnmodel.slim.rungs.weights import (
    Rewrite,
    Use,
    floats,
    onnx_type,
    parse,
    require_opset,
    serialise,
    summed_axes,
    uses,
)

_LARGEST = 127
CAST = 9
"""The opset from which Cast knows all the types that weights are stored in."""


def int8_tables(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with those tables in int8 that no layer multiplies by, and nothing else.

    Raises:
        NotApplicableError: there is no such table.

    """
    model = parse(onnx_bytes)
    require_opset(model, CAST)
    shrunk = shrink_tables(model, tied=False)
    if shrunk is None:
        raise NotApplicableError("no large table that rows are looked up in")
    return serialise(shrunk)


def quantise(array: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Round to int8 with a scale for each slice along `axes`; return both, the axes kept at 1."""
    largest = np.abs(array).max(axis=axes, keepdims=True)
    scale = np.where(largest > 0, largest, 1) / array.dtype.type(_LARGEST)
    rounded = np.clip(np.rint(array / scale), -_LARGEST, _LARGEST)
    return rounded.astype(np.int8), scale.astype(array.dtype)


def shrink_tables(model: Any, *, tied: bool = True) -> Any | None:
    """Return the model with its looked-up tables in int8, or None where it has none.

    Only the rows that a prediction looks up are widened, so that the table stays small in memory,
    too. A layer that multiplies by the same table gets it widened while the model is loaded, unless
    such `tied` tables are left out.
    """
    from onnx import helper

    used, rewrite = uses(model.graph), Rewrite(model)
    for name, array in floats(model).items():
        users = [use for use in used.get(name, []) if _looks_up_rows(use)]
        others = [use for use in used.get(name, []) if not _looks_up_rows(use)]
        if array.ndim != 2 or not users or (others and not tied):
            continue
        if others and summed_axes(others, array) != (1,):
            continue
        quantised, scale = quantise(array, (1,))
        table = rewrite.tensor(f"{name}_int8", quantised)
        scales = rewrite.tensor(f"{name}_scale", scale)
        rewrite.remove(name)
        if others:
            whole = rewrite.name(f"{name}_wide")
            rewrite.first(
                [
                    helper.make_node("Cast", [table], [whole], to=onnx_type(array.dtype)),
                    helper.make_node("Mul", [whole, scales], [name]),
                ]
            )
        for use in users:
            index, output = use.node.input[1], use.node.output[0]
            row, factor = rewrite.name(f"{output}_int8"), rewrite.name(f"{output}_scale")
            wide = rewrite.name(f"{output}_wide")
            rewrite.instead(
                use.index,
                [
                    helper.make_node("Gather", [table, index], [row], axis=0),
                    helper.make_node("Gather", [scales, index], [factor], axis=0),
                    helper.make_node("Cast", [row], [wide], to=onnx_type(array.dtype)),
                    helper.make_node("Mul", [wide, factor], [output]),
                ],
            )
    return rewrite.model() if rewrite.changes else None


def _looks_up_rows(use: Use) -> bool:
    axis = next((a.i for a in use.node.attribute if a.name == "axis"), 0)
    return use.node.op_type == "Gather" and use.position == 0 and axis == 0
