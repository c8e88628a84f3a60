"""Writers of support vector machines in float64; ONNX Runtime's own operators are float32."""

from typing import Any

import numpy as np

from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.converters.emit import Emitter, Table, Writers

_LEAST = 1e-7


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import svm

    classifiers, regressors = [svm.SVC, svm.NuSVC], [svm.SVR, svm.NuSVR]
    return {
        "predict": {
            **dict.fromkeys(classifiers, _choose),
            **dict.fromkeys(regressors, _regress),
            svm.OneClassSVM: _one_class,
        },
        "decision_function": {
            **dict.fromkeys(classifiers, _decision),
            svm.OneClassSVM: _regress,
        },
        "predict_proba": dict.fromkeys(classifiers, _proba),
    }


def _kernel(e: Emitter, model: Any, table: Table) -> str:
    """Return the kernel between the rows and the support vectors, (rows, vectors)."""
    graph, x = e.graph, e.numbers(table, model)
    vectors = model.support_vectors_
    if hasattr(vectors, "toarray"):
        vectors = vectors.toarray()
    vectors = np.asarray(vectors, float)
    kind = model.kernel
    if kind not in ("linear", "poly", "rbf", "sigmoid"):
        e.refuse(model, f"its kernel is {kind if isinstance(kind, str) else 'a function'!r}")
    if kind == "rbf":
        # Around their middle, so that little is lost when squares are subtracted.
        middle = vectors.mean(axis=0)
        inner, centred = vectors - middle, graph.sub(x, middle)
        cross = graph.mul(graph.matmul(centred, inner.T), -2.0)
        own = graph.sum(graph.mul(centred, centred))
        square = graph.add(graph.add(cross, (inner**2).sum(axis=1)), own)
        return str(graph.op("Exp", graph.mul(graph.op("Max", square, 0.0), -float(model._gamma))))  # noqa: SLF001
    product = graph.matmul(x, vectors.T)
    if kind == "linear":
        return product
    bent = graph.add(graph.mul(product, float(model._gamma)), float(model.coef0))  # noqa: SLF001
    if kind == "sigmoid":
        return str(graph.op("Tanh", bent))
    return whole_power(graph, bent, int(model.degree))


def whole_power(graph: Graph, base: str, exponent: int) -> str:
    """Return base to a whole power of at least 0, by repeated squares as libsvm has it."""
    result = ""
    while exponent > 0:
        if exponent % 2:
            result = graph.mul(result, base) if result else base
        exponent //= 2
        if exponent:
            base = graph.mul(base, base)
    return result or graph.add(graph.mul(base, 0.0), 1.0)


def _pairs(e: Emitter, model: Any, table: Table) -> str:
    """Return libsvm's decision of each pair of classes, (rows, pairs); positive: the first."""
    dual = model._dual_coef_
    dual = np.asarray(dual.toarray() if hasattr(dual, "toarray") else dual, float)
    starts = np.r_[0, np.cumsum(model._n_support)]  # noqa: SLF001
    classes = len(model._n_support)  # noqa: SLF001
    columns = []
    for i in range(classes):
        for j in range(i + 1, classes):
            column = np.zeros(dual.shape[1])
            column[starts[i] : starts[i + 1]] = dual[j - 1, starts[i] : starts[i + 1]]
            column[starts[j] : starts[j + 1]] = dual[i, starts[j] : starts[j + 1]]
            columns.append(column)
    kernel = e.graph.matmul(_kernel(e, model, table), np.array(columns).T)
    return e.graph.add(kernel, np.asarray(model._intercept_, float))


def _decision(e: Emitter, model: Any, table: Table) -> str:
    graph, pairs = e.graph, _cached_pairs(e, model, table)
    classes = len(model.classes_)
    if classes == 2:
        return str(graph.op("Neg", pairs))
    if model.decision_function_shape != "ovr":
        return pairs
    first_wins = graph.op("GreaterOrEqual", pairs, 0.0)
    return one_against_rest(graph, graph.double(first_wins), str(graph.op("Neg", pairs)), classes)


def one_against_rest(graph: Graph, first_wins: str, confidence: str, classes: int) -> str:
    """Return one score a class from the votes and confidences of each pair, both (rows, pairs).

    Confidence is that of the second class of a pair.
    """
    to_first, to_second = _sides(classes)
    second_wins = graph.sub(1.0, first_wins)
    votes = graph.add(graph.matmul(first_wins, to_first), graph.matmul(second_wins, to_second))
    total = graph.matmul(confidence, to_second - to_first)
    bounded = graph.div(total, graph.mul(graph.add(graph.op("Abs", total), 1.0), 3.0))
    return graph.add(votes, bounded)


def _sides(classes: int) -> tuple[Any, Any]:
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    first, second = np.zeros((2, len(pairs), classes))
    for at, (i, j) in enumerate(pairs):
        first[at, i] = second[at, j] = 1.0
    return first, second


def _choose(e: Emitter, model: Any, table: Table) -> str:
    graph, classes = e.graph, len(model.classes_)
    if model.break_ties and classes > 2:
        return graph.argmax(e.decision(model, table))
    wins = graph.double(graph.op("Greater", _cached_pairs(e, model, table), 0.0))
    to_first, to_second = _sides(classes)
    losses = graph.sub(1.0, wins)
    return graph.argmax(graph.add(graph.matmul(wins, to_first), graph.matmul(losses, to_second)))


def _cached_pairs(e: Emitter, model: Any, table: Table) -> str:
    return str(e.once("pairs", model, table, lambda: _pairs(e, model, table)))


def _regress(e: Emitter, model: Any, table: Table) -> str:
    dual = model._dual_coef_
    dual = np.asarray(dual.toarray() if hasattr(dual, "toarray") else dual, float)
    value = e.graph.matmul(_kernel(e, model, table), dual.T)
    return e.graph.add(value, np.asarray(model._intercept_, float))


def _one_class(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    inside = graph.integer(graph.op("Greater", e.decision(model, table), 0.0))
    return graph.reshape(graph.sub(graph.mul(inside, 2), 1), -1)


def _proba(e: Emitter, model: Any, table: Table) -> str:
    graph, classes = e.graph, len(model.classes_)
    pairs = _cached_pairs(e, model, table)
    slope, shift = (np.asarray(v, float).reshape(1, -1) for v in (model._probA, model._probB))  # noqa: SLF001
    raw = graph.sigmoid(graph.op("Neg", graph.add(graph.mul(pairs, slope), shift)))
    chance = graph.op("Min", graph.op("Max", raw, _LEAST), 1 - _LEAST)
    return _coupled(graph, chance, classes)


def _coupled(graph: Graph, chance: str, classes: int) -> str:
    """Couple the chances of pairs into those of classes, step by step as libsvm does.

    `chance`, (rows, pairs), is that of the first class of each pair.
    """
    both = graph.concat([chance, graph.sub(1.0, chance)])
    # r[i][j] is the chance of i against j, laid out as (rows, classes, classes).
    place = np.zeros((classes, classes), dtype=np.int64)
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    for at, (i, j) in enumerate(pairs):
        place[i, j], place[j, i] = at, at + len(pairs)
    rows = graph.reshape(graph.gather(both, place.reshape(-1)), -1, classes, classes)
    off = 1.0 - np.eye(classes)
    turned = graph.op("Transpose", rows, perm=[0, 2, 1])
    cross = graph.mul(graph.op("Neg", graph.mul(rows, turned)), off)
    squares = graph.mul(graph.mul(turned, turned), off)
    diagonal = graph.mul(graph.sum(squares, axis=2), np.eye(classes))
    matrix = graph.add(cross, diagonal)
    start = graph.add(graph.mul(graph.gather(both, np.zeros(classes, dtype=np.int64)), 0.0),
                      1.0 / classes)  # fmt: skip
    return graph.loop(max(100, classes), start, lambda g, p: _step(g, p, matrix, classes))


def _step(graph: Graph, p: str, matrix: str, classes: int) -> tuple[str, str]:
    """Return the next chances and whether any row still moves."""
    slopes = graph.reshape(
        graph.matmul(matrix, graph.op("Unsqueeze", p, np.array([2]))), -1, classes
    )
    value = graph.sum(graph.mul(p, slopes))
    error = graph.largest(graph.op("Abs", graph.sub(slopes, value)))
    moves = graph.op("GreaterOrEqual", error, 0.005 / classes)
    q, level = p, value
    for at in range(classes):
        row = graph.reshape(graph.gather(matrix, np.array([at]), axis=1), -1, classes)
        own = graph.gather(row, np.array([at]))
        slope = graph.gather(slopes, np.array([at]))
        change = graph.div(graph.sub(level, slope), own)
        grown = graph.add(change, 1.0)
        q = graph.div(graph.add(q, graph.mul(change, np.eye(classes)[[at]])), grown)
        level = graph.add(level, graph.mul(
            change, graph.add(graph.mul(change, own), graph.mul(slope, 2.0))
        ))  # fmt: skip
        level = graph.div(graph.div(level, grown), grown)
        slopes = graph.div(graph.add(slopes, graph.mul(change, row)), grown)
    return graph.where(moves, q, p), moves
