"""Writes the sums of an ensemble whose original adds its leaves up in float32, one after another.

XGBoost starts from the base score and adds tree by tree; so does the runtime, in one thread.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.trees import operator, prepare, write
from fnmodel.slim.trees.ensemble import Ensemble, Number, Tree

Array = NDArray[Any]

# So many nodes make no tree that is too deep to load.
_NODES = 4000


def fits(ensemble: Ensemble) -> bool:
    """Whether float32 says all that the ensemble says, one number a leaf."""
    return (
        ensemble.compares == "FP32"
        and bool(ensemble.trees)
        and ensemble.divide == 1.0
        and ensemble.weights is None
        and {tree.target for tree in ensemble.trees} == set(range(ensemble.targets))
        and all(tree.values.shape[1] == 1 and _is_single(tree) for tree in ensemble.trees)
    )


def scores(graph: Graph, ensemble: Ensemble, values: str, number: Number = "FP64") -> str:
    """Write the sums of the trees and the base; (rows, targets), float64 with float32's digits.

    `values` has shape (rows, features) and the datatype `number`.

    Raises:
        UnsupportedModelError: a category is no whole number.

    """
    graph.ml_opset = write.ML_OPSET
    prepared = prepare.prepared(graph, ensemble, values, number)
    trees = list(_from_base(ensemble))
    output = str(graph.op("TreeEnsemble", prepared, domain="ai.onnx.ml"))
    graph.nodes[-1].attribute.extend(
        operator.attributes(
            trees,
            [tree.values[:, 0] for tree in trees],
            [tree.target for tree in trees],
            ensemble.targets,
            single=True,
        )
    )
    return graph.double(output)


def _from_base(ensemble: Ensemble) -> Iterator[Tree]:
    """Yield the trees, each target's first one with the base added to its leaves."""
    begun: set[int] = set()
    base = ensemble.base.astype(np.float32)
    for tree in ensemble.trees:
        if tree.target in begun:
            yield tree
            continue
        begun.add(tree.target)
        yield replace(tree, values=base[tree.target] + tree.values.astype(np.float32))


def _is_single(tree: Tree) -> bool:
    if len(tree.feature) > _NODES:
        return False
    same = np.array_equal(tree.values.astype(np.float32).astype(np.float64), tree.values)
    return same and operator.floored(tree) is not None
