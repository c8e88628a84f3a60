"""Finds the matrix products with constant weights, whether written as MatMul or as Gemm."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fnmodel.slim.rungs.rung import Array
from fnmodel.slim.rungs.weights import Rewrite, Use, floats, transposed, uses


@dataclass(frozen=True)
class Seat:
    """Where other nodes may take the place of a product: float32 at `source`, float32 to `output`.

    `before` and `after` go around them.
    """

    index: int
    source: str
    output: str
    before: tuple[Any, ...]
    after: tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """One node that multiplies by the weights, and the float it computes in."""

    index: int
    node: Any
    dtype: np.dtype[Any]

    def seat(self, rewrite: Rewrite) -> Seat:
        """Return the place of the product alone: casts of a float64 graph and a sum stay around."""
        from onnx import TensorProto, helper

        before, after = [], []
        source, output = str(self.node.input[0]), str(self.node.output[0])
        wide = self.dtype == np.float64
        bias = self.node.input[2] if len(self.node.input) > 2 else ""
        product = rewrite.name(f"{output}_product") if wide or bias else output
        summed = product
        if wide:
            narrow = rewrite.name(f"{output}_in")
            before.append(helper.make_node("Cast", [source], [narrow], to=TensorProto.FLOAT))
            source = narrow
            summed = rewrite.name(f"{output}_wide") if bias else output
            after.append(helper.make_node("Cast", [product], [summed], to=TensorProto.DOUBLE))
        if bias:
            after.append(helper.make_node("Add", [summed, bias], [output]))
        return Seat(self.index, source, product, tuple(before), tuple(after))


@dataclass(frozen=True)
class Product:
    """A weight, shape (K, N), by the name of its tensor, and the nodes that multiply by it."""

    name: str
    weight: Array
    calls: tuple[Call, ...]


def products(model: Any) -> list[Product]:
    """Return the products whose weight nothing else uses, in the order of their names."""
    used, found = uses(model.graph), []
    for name, array in floats(model).items():
        users = used.get(name, [])
        if array.ndim != 2 or not users or not all(_multiplies(use) for use in users):
            continue
        turned = {use.node.op_type == "Gemm" and transposed(use.node, "transB") for use in users}
        if len(turned) == 1:
            weight = np.ascontiguousarray(array.T) if turned.pop() else array
            calls = tuple(Call(use.index, use.node, array.dtype) for use in users)
            found.append(Product(name, weight, calls))
    return found


def _multiplies(use: Use) -> bool:
    node = use.node
    if use.position != 1:
        return False
    if node.op_type == "MatMul":
        return True
    factors = {a.name: a.f for a in node.attribute if a.name in ("alpha", "beta")}
    plain = all(factor == 1.0 for factor in factors.values())
    return node.op_type == "Gemm" and plain and not transposed(node, "transA")
