"""An ensemble goes in; nodes of a graph around ai.onnx.ml 5's TreeEnsemble come out.

Sums run in the order of the trees, in float64, so that they are the original's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.trees import operator, prepare
from fnmodel.slim.trees.ensemble import Ensemble, Number, Tree
from fnmodel.slim.trees.shrink import narrow, truncate

__all__ = ["ML_OPSET", "answers", "model", "narrow", "scores", "truncate"]

Array = NDArray[Any]

ML_OPSET = 5

# Larger nodes load more slowly, and their numbers take a third byte; each further one costs 5 us.
_LEAVES = 1 << 15
# The table layout holds one row of the table for each tree and row at once.
_TREES = 128
# Loading goes down a tree by recursion, and some 20,000 splits overflow the stack.
_DEPTH = 2000
_FLOAT, _DOUBLE, _INT32 = 1, 11, 6


def scores(graph: Graph, ensemble: Ensemble, values: str, number: Number = "FP64") -> str:
    """Write the sums of the trees, divided and with the base added.

    `values` has shape (rows, features) and the datatype `number`; the result has shape
    (rows, targets) and float64.

    Raises:
        UnsupportedModelError: a category is no whole number, or a tree is too deep.

    """
    graph.ml_opset = ML_OPSET
    if any(_depth(tree) > _DEPTH for tree in ensemble.trees):
        raise UnsupportedModelError(
            f"a tree is more than {_DEPTH} splits deep, which ONNX Runtime may not load",
            hint="train with max_depth",
        )
    plan = _plan(ensemble)
    prepared = prepare.prepared(graph, ensemble, values, number)
    if not plan.single:
        prepared = graph.double(prepared) if ensemble.compares == "FP32" else prepared
    sums = [_group(graph, plan, group, prepared) for group in _groups(plan)]
    total = sums[0]
    for more in sums[1:]:
        total = graph.add(total, more)
    if plan.layout == "second":
        total = graph.concat([graph.sub(float(ensemble.divide), total), total])
    if ensemble.weights is not None:
        total = graph.add(total, _linear(graph, ensemble, prepared, plan))
    if ensemble.divide != 1.0:
        total = graph.div(total, float(ensemble.divide))
    if np.any(ensemble.base != 0) and not plan.starts_from_base:
        total = graph.add(total, ensemble.base.reshape(1, -1).astype(np.float64))
    return total


def answers(graph: Graph, ensemble: Ensemble, raw: str) -> str:
    """Write what the link makes of the scores; shape (rows, targets), float64."""
    if ensemble.scale != 1.0:
        raw = graph.mul(raw, ensemble.scale)
    match ensemble.link:
        case "identity":
            return raw
        case "logistic":
            return str(graph.op("Sigmoid", raw))
        case "softmax":
            shifted = graph.op("Exp", graph.sub(raw, graph.largest(raw)))
            return graph.div(shifted, graph.sum(shifted))
        case "exp":
            return str(graph.op("Exp", raw))
        case "softplus":
            return str(graph.op("Log", graph.add(1.0, graph.op("Exp", raw))))
        case "signed_square":
            return graph.mul(raw, graph.op("Abs", raw))
        case "step":
            return graph.double(graph.op("Greater", raw, 0.0))


def model(ensemble: Ensemble, number: Number = "FP64") -> bytes:
    """Return a model of `input`, (rows, features), and `value`, (rows, targets) in float64.

    Raises:
        UnsupportedModelError: a category is no whole number.

    """
    import onnx
    from onnx import helper

    graph = Graph()
    result = answers(graph, ensemble, scores(graph, ensemble, "input", number))
    graph.nodes.append(helper.make_node("Identity", [result], ["value"]))
    kinds = {"FP32": _FLOAT, "FP64": _DOUBLE, "INT64": 7, "BOOL": 9}
    proto = graph.proto(
        [helper.make_tensor_value_info("input", kinds[number], [None, ensemble.features])],
        [helper.make_tensor_value_info("value", _DOUBLE, [None, ensemble.targets])],
        opset=18,
        ir=10,
    )
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _depth(tree: Tree) -> int:
    """Return the most splits from the root to a leaf; a loop counts as too deep."""
    depth, level = 0, np.array([0])
    while len(level := level[tree.feature[level] >= 0]) and depth <= _DEPTH:
        level = np.concatenate([tree.when_true[level], tree.when_false[level]])
        depth += 1
    return depth


@dataclass(frozen=True)
class _Plan:
    """How leaves are laid out.

    `sum`: a leaf adds its value to its target. `second`: the trees vote for one of two classes,
    and only the second one's votes are counted. `table`: tree i gives target i the number of a
    row of `table`, and these rows are summed; a leaf can hold only one number.
    """

    layout: Literal["sum", "second", "table"]
    trees: tuple[Tree, ...]
    weights: tuple[Array, ...]
    targets: int
    single: bool
    starts_from_base: bool
    table: Array | None = None


def _plan(ensemble: Ensemble) -> _Plan:
    trees = ensemble.trees
    wide = {tree.values.shape[1] for tree in trees} - {1}
    if wide and (wide != {ensemble.targets} or any(tree.target for tree in trees)):
        trees = tuple(part for tree in trees for part in _split(tree))
        wide = set()
    if not wide:
        return _sum_plan(ensemble, trees)
    rows = np.concatenate([tree.values[tree.feature < 0] for tree in trees])
    votes = ensemble.targets == 2 and np.isin(rows, (0.0, 1.0)).all()
    counted = ensemble.divide == len(trees) and not np.any(ensemble.base)
    if votes and counted and (rows.sum(axis=1) == 1).all() and len(trees) > 1:
        weights = tuple(tree.values[:, 1] for tree in trees)
        single = _fits_single(ensemble, len(trees))
        return _Plan("second", trees, weights, 1, single, starts_from_base=False)
    table, index = np.unique(rows, axis=0, return_inverse=True)
    stops = np.cumsum([0, *(int((tree.feature < 0).sum()) for tree in trees)])
    numbers = []
    for tree, (start, stop) in zip(trees, pairwise(stops.tolist()), strict=True):
        number = np.zeros(len(tree.feature))
        number[tree.feature < 0] = index.reshape(-1)[start:stop]
        numbers.append(number)
    single = _fits_single(ensemble, len(table))
    return _Plan("table", trees, tuple(numbers), 0, single, starts_from_base=False, table=table)


def _sum_plan(ensemble: Ensemble, trees: tuple[Tree, ...]) -> _Plan:
    starts = ensemble.divide == 1.0 and (bool(np.any(ensemble.base)) or not trees)
    if starts or not trees:
        base = ensemble.base if starts else np.zeros(ensemble.targets)
        trees = (*(_leaf(float(value), target) for target, value in enumerate(base)), *trees)
    weights = tuple(tree.values[:, 0] for tree in trees)
    largest = sum(float(np.abs(w).max()) for w in weights)
    whole = all(np.array_equal(w, np.round(w)) for w in weights)
    single = whole and _fits_single(ensemble, largest)
    return _Plan("sum", trees, weights, ensemble.targets, single, starts_from_base=starts)


def _fits_single(ensemble: Ensemble, largest: float) -> bool:
    """Whether float32 nodes answer the same as float64 ones: whole numbers up to `largest`."""
    if ensemble.compares == "FP64" or largest >= 1 << 24:
        return False
    return all(operator.floored(tree) is not None for tree in ensemble.trees)


def _split(tree: Tree) -> Iterator[Tree]:
    for k in range(tree.values.shape[1]):
        yield replace(tree, values=tree.values[:, k : k + 1], target=tree.target + k)


def _leaf(value: float, target: int) -> Tree:
    no, one = np.array([-1]), np.array([0])
    return Tree(no, one, np.zeros(1), one == 1, no, no, np.array([[value]]), target)


def _groups(plan: _Plan) -> Iterator[range]:
    start, leaves = 0, 0
    for i, tree in enumerate(plan.trees):
        more = int((tree.feature < 0).sum())
        full = plan.layout == "table" and i - start >= _TREES
        if i > start and (full or leaves + more > _LEAVES):
            yield range(start, i)
            start, leaves = i, 0
        leaves += more
    yield range(start, len(plan.trees))


def _group(graph: Graph, plan: _Plan, group: range, values: str) -> str:
    trees = [plan.trees[i] for i in group]
    weights = [plan.weights[i] for i in group]
    table = plan.layout == "table"
    targets = list(range(len(trees))) if table else [tree.target for tree in trees]
    if plan.layout == "second":
        targets = [0] * len(trees)
    width = len(trees) if table else plan.targets
    output = str(graph.op("TreeEnsemble", values, domain="ai.onnx.ml"))
    graph.nodes[-1].attribute.extend(
        operator.attributes(trees, weights, targets, width, plan.single)
    )
    if plan.table is None:
        return graph.double(output) if plan.single else output
    index = graph.op("Cast", output, to=_INT32)
    if len(trees) == 1:
        return graph.gather(plan.table, graph.reshape(index, -1), axis=0)
    return graph.sum(graph.gather(plan.table, index, axis=0), keep=False)


def _linear(graph: Graph, ensemble: Ensemble, values: str, plan: _Plan) -> str:
    assert ensemble.weights is not None
    double = graph.double(values) if plan.single else values
    known = graph.where(graph.op("IsNaN", double), 0.0, double)
    return graph.matmul(known, ensemble.weights.astype(np.float64))
