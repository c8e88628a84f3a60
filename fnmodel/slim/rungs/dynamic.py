"""Multiplies in int8: weights rounded once for each channel, inputs anew in each call.

The input's scale spans the whole batch, so that a row's answer depends a little on the rows
beside it; parity over several batch sizes judges whether that matters.
"""

from typing import Any

import numpy as np

from fnmodel.slim.rungs.embedding import shrink_tables
from fnmodel.slim.rungs.matmul import products
from fnmodel.slim.rungs.rung import Array, Feeds, NotApplicableError
from fnmodel.slim.rungs.weights import Rewrite, parse, require_opset, serialise

# Processors without VNNI add two products in 16 bits: 2 * 255 * 64 fits, 2 * 255 * 127 does not,
# and what they clip there other processors would not.
_LARGEST = 64
_OPSET = 11


def dynamic_int8(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with its matrix products in int8, and its tables in int8."""
    model = parse(onnx_bytes)
    require_opset(model, _OPSET)
    rewrite = Rewrite(model)
    for product in products(model):
        quantised, scale = _round(product.weight.astype(np.float32))
        weight = rewrite.tensor(f"{product.name}_int8", quantised)
        factor = rewrite.tensor(f"{product.name}_scale", scale)
        zero = rewrite.tensor(f"{product.name}_zero", np.zeros((), np.int8))
        rewrite.remove(product.name)
        for call in product.calls:
            seat = call.seat(rewrite)
            nodes = _nodes(rewrite, seat.source, seat.output, (weight, factor, zero))
            rewrite.instead(seat.index, [*seat.before, *nodes, *seat.after])
    if not rewrite.changes:
        raise NotApplicableError("no matrix product has large weights")
    rounded = rewrite.model()
    tables = shrink_tables(rounded)
    return serialise(rounded if tables is None else tables)


def _round(weight: Array) -> tuple[Array, Array]:
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest > 0, largest, 1) / np.float32(_LARGEST)
    rounded = np.clip(np.rint(weight / scale), -_LARGEST, _LARGEST)
    return rounded.astype(np.int8), scale.astype(np.float32)


def _nodes(rewrite: Rewrite, a: str, out: str, constants: tuple[str, str, str]) -> list[Any]:
    from onnx import TensorProto, helper

    weight, factor, zero = constants
    rounded, scale, shift, whole, wide, both = (
        rewrite.name(f"{out}_{part}") for part in "int8 scale zero int32 float factor".split()
    )
    return [
        helper.make_node("DynamicQuantizeLinear", [a], [rounded, scale, shift]),
        helper.make_node("MatMulInteger", [rounded, weight, shift, zero], [whole]),
        helper.make_node("Cast", [whole], [wide], to=TensorProto.FLOAT),
        helper.make_node("Mul", [scale, factor], [both]),
        helper.make_node("Mul", [wide, both], [out]),
    ]
