"""Stores the weights of matrix products in 8 or 4 bits, with one scale for each block of 32.

ONNX Runtime's MatMulNBits multiplies them as they are: it rounds each row of its input by blocks
as well, so that a row's answer does not depend on the rows beside it.
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
"""

from typing import Any, Literal

import numpy as np

from fnmodel.slim.rungs.embedding import shrink_tables
from fnmodel.slim.rungs.matmul import products
from fnmodel.slim.rungs.rung import Array, Feeds, NotApplicableError
from fnmodel.slim.rungs.weights import MICROSOFT, Rewrite, parse, require_opset, serialise

BLOCK = 32
_MULTIPLY_AS_INT8 = 4
_OPSET = 13


def eight_bit(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with 8-bit weights in its matrix products, and its tables in int8."""
    return _build(onnx_bytes, 8)


def four_bit(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with 4-bit weights in its matrix products, and its tables in int8."""
    return _build(onnx_bytes, 4)


def _build(onnx_bytes: bytes, bits: Literal[4, 8]) -> bytes:
    model = parse(onnx_bytes)
    require_opset(model, _OPSET)
    rewrite = Rewrite(model)
    for product in products(model):
        weight = product.weight.astype(np.float32)
        packed, scales, zeros = pack(weight, bits)
        names = [
            rewrite.tensor(f"{product.name}_q{bits}", packed),
            rewrite.tensor(f"{product.name}_scale", scales),
        ]
        if zeros is not None:
            names.append(rewrite.tensor(f"{product.name}_zero", zeros))
        rewrite.remove(product.name)
        for call in product.calls:
            seat = call.seat(rewrite)
            node = _node([seat.source, *names], seat.output, weight, bits)
            rewrite.instead(seat.index, [*seat.before, node, *seat.after])
    if not rewrite.changes:
        raise NotApplicableError("no matrix product has large weights")
    rounded = rewrite.model({MICROSOFT: 1})
    tables = shrink_tables(rounded)
    return serialise(rounded if tables is None else tables)


def _node(inputs: list[str], output: str, weight: Array, bits: int) -> Any:
    from onnx import helper

    return helper.make_node(
        "MatMulNBits",
        inputs,
        [output],
        domain=MICROSOFT,
        K=weight.shape[0],
        N=weight.shape[1],
        bits=bits,
        block_size=BLOCK,
        accuracy_level=_MULTIPLY_AS_INT8,
    )


def pack(weight: Array, bits: Literal[4, 8]) -> tuple[Array, Array, Array | None]:
    """Return a (K, N) float32 matrix as MatMulNBits takes it: packed, scales, zero points.

    Shapes: (N, blocks, 32 * bits / 8), (N, blocks), and in 4 bits (N, ceil(blocks / 2)) for the
    zero points; in 8 bits the zero point is 128 everywhere and need not be stored.
    """
    inner, outer = weight.shape
    blocks = -(-inner // BLOCK)
    padded = np.zeros((blocks * BLOCK, outer), np.float32)
    padded[:inner] = weight
    cells = padded.T.reshape(outer, blocks, BLOCK)
    if bits == 8:
        largest = np.abs(cells).max(axis=2, keepdims=True)
        scale = np.where(largest > 0, largest, 1) / np.float32(127)
        stored = (np.clip(np.rint(cells / scale), -127, 127) + 128).astype(np.uint8)
        return stored, scale[..., 0].astype(np.float32), None
    low = np.minimum(cells.min(axis=2, keepdims=True), 0)
    high = np.maximum(cells.max(axis=2, keepdims=True), 0)
    scale = np.where(high > low, high - low, 1) / np.float32(15)
    zero = np.clip(np.rint(-low / scale), 0, 15)
    nibbles = np.clip(np.rint(cells / scale) + zero, 0, 15).astype(np.uint8)
    zeros = np.zeros((outer, blocks + blocks % 2), np.uint8)
    zeros[:, :blocks] = zero[..., 0].astype(np.uint8)
    return _pairs(nibbles), scale[..., 0].astype(np.float32), _pairs(zeros)


def _pairs(nibbles: Array) -> Array:
    """Put two values of 4 bits into a byte along the last axis, the first one low."""
    pairs: Array = nibbles[..., 0::2] | (nibbles[..., 1::2] << 4)
    return pairs
