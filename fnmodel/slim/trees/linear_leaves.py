"""Trees whose leaves are linear functions of the features, and a graph that answers like them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.trees import write
from fnmodel.slim.trees.ensemble import Ensemble, Number

Array = NDArray[Any]


@dataclass(frozen=True)
class LinearLeaves:
    """An ensemble of T trees that says which of L leaves a row falls into, and these leaves.

    `index` has T targets and no link: tree i answers target i with the number of its leaf, counted
    over all trees. Leaf l adds `constant[l]` and the sum of `coefficients[l] * x[columns[l]]`,
    both of shape (L, m) and filled up with zeros, to the target `i % targets`; where one of its
    first `used[l]` columns is missing, it adds `plain[l]` instead. `outer` has no trees: its
    `divide`, `base`, `scale` and `link` apply to the sums.
    """

    index: Ensemble
    outer: Ensemble
    constant: Array
    plain: Array
    columns: Array
    coefficients: Array
    used: Array


# Each row looks at all columns of as many leaves at once.
_TREES_AT_ONCE = 64


def scores(graph: Graph, leaves: LinearLeaves, values: str, number: Number = "FP64") -> str:
    """Write the sums of the leaves' answers; (rows, targets), float64.

    `values` has shape (rows, features) and the datatype `number`.
    """
    found = graph.integer(write.scores(graph, leaves.index, values, number))
    x = values if number == "FP64" else graph.double(values)
    trees, targets = leaves.index.targets, leaves.outer.targets
    parts = [
        _answers(
            graph, leaves, x, graph.gather(found, np.arange(at, min(at + _TREES_AT_ONCE, trees)))
        )
        for at in range(0, trees, _TREES_AT_ONCE)
    ]
    each = graph.reshape(graph.concat(parts), 0, trees // targets, targets)
    total = graph.sum(each, keep=False)
    return total if leaves.outer.divide == 1.0 else graph.div(total, leaves.outer.divide)


def _answers(graph: Graph, leaves: LinearLeaves, x: str, found: str) -> str:
    """Return what the leaves of these numbers, (rows, trees), answer; the same shape."""

    def of(table: Array) -> str:
        return graph.gather(graph.value(table), found, axis=0)

    constant, width = of(leaves.constant), leaves.columns.shape[1]
    if width == 0:
        return constant
    # From (rows, trees, width) to (rows, trees * width) and back: a row's values by their columns.
    shape = graph.op("Shape", of(leaves.columns))
    flat = graph.reshape(of(leaves.columns), 0, -1)
    picked = graph.op("Reshape", graph.op("GatherElements", x, flat, axis=1), shape)
    counted = of(np.arange(width) < leaves.used[:, None])
    holes = graph.op("And", graph.op("IsNaN", picked), counted)
    terms = graph.where(counted, graph.mul(of(leaves.coefficients), picked), 0.0)
    whole = graph.add(constant, graph.sum(terms, axis=2, keep=False))
    missing = graph.boolean(graph.largest(graph.op("Cast", holes, to=6), axis=2, keep=False))
    return graph.where(missing, of(leaves.plain), whole)
