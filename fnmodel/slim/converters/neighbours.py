"""Writers of models that look at their nearest training rows, with exact distances."""

from typing import Any

import numpy as np

from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.converters.emit import Emitter, Table, Writers

# Each feature of a metric without a matrix product takes three nodes.
_MOST_FEATURES = 256
# More candidates than neighbours, so that rounding in the first look loses none.
_SPARE = 16


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import neighbors as n

    return {
        "predict": {
            n.KNeighborsClassifier: _choose,
            n.RadiusNeighborsClassifier: _choose,
            n.KNeighborsRegressor: _regress,
            n.RadiusNeighborsRegressor: _regress_radius,
            n.LocalOutlierFactor: _outlier,
        },
        "predict_proba": {
            n.KNeighborsClassifier: _votes,
            n.RadiusNeighborsClassifier: _votes_radius,
        },
        "decision_function": {n.LocalOutlierFactor: _density},
    }


def _power(e: Emitter, model: Any) -> float:
    """Return p of the Minkowski metric; 0 stands for the cosine.

    Raises:
        UnsupportedModelError: another metric.

    """
    named = {"euclidean": 2.0, "l2": 2.0, "manhattan": 1.0, "cityblock": 1.0, "l1": 1.0,
             "chebyshev": np.inf, "cosine": 0.0}  # fmt: skip
    metric = model.metric
    if metric == "minkowski" and not {*(model.metric_params or {})} - {"p"}:
        return float((model.metric_params or {}).get("p", model.p))
    if metric not in named or model.metric_params:
        e.refuse(model, f"its metric is {metric if isinstance(metric, str) else 'a function'!r}")
    return named[metric]


def _rows(e: Emitter, model: Any) -> Any:
    rows = model._fit_X  # noqa: SLF001
    if hasattr(rows, "toarray"):
        rows = rows.toarray()
    if not isinstance(rows, np.ndarray):
        e.refuse(model, "it was fitted on a graph of distances")
    return rows.astype(np.float64)


def all_distances(e: Emitter, model: Any, x: str, rows: Any, p: float) -> str:
    """Return distances to all rows, (rows, training rows); the p-th power where p is finite."""
    graph = e.graph
    if p == 0:
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = (rows / np.where(norm == 0, 1.0, norm)).T
        size = graph.op("Sqrt", graph.sum(graph.mul(x, x)))
        size = graph.where(graph.op("Equal", size, 0.0), 1.0, size)
        apart = graph.sub(1.0, graph.matmul(graph.div(x, size), unit))
        return str(graph.op("Min", graph.op("Max", apart, 0.0), 2.0))
    if rows.shape[1] > _MOST_FEATURES:
        e.refuse(model, f"its metric over {rows.shape[1]} features makes too large a graph")
    total = ""
    for at in range(rows.shape[1]):
        gap = graph.sub(graph.gather(x, np.array([at])), rows[:, at].reshape(1, -1))
        part = _raised(graph, gap, p)
        if not total:
            total = part
        else:
            total = str(graph.op("Max", total, part)) if np.isinf(p) else graph.add(total, part)
    return total


def _raised(graph: Graph, gap: str, p: float) -> str:
    if p == 2:
        return graph.mul(gap, gap)
    size = str(graph.op("Abs", gap))
    return size if p == 1 or np.isinf(p) else str(graph.op("Pow", size, p))


def _rooted(graph: Graph, power: str, p: float) -> str:
    if p == 2:
        return str(graph.op("Sqrt", power))
    return power if p in (0, 1) or np.isinf(p) else str(graph.op("Pow", power, 1.0 / p))


def nearest(e: Emitter, model: Any, table: Table) -> tuple[str, str]:
    """Return distances and training row numbers of the neighbours, each (rows, neighbours)."""
    graph, x, p = e.graph, e.numbers(table, model), _power(e, model)
    rows = _rows(e, model)
    count = int(getattr(model, "n_neighbors_", model.n_neighbors))
    if p != 2:
        apart = all_distances(e, model, x, rows, p)
        near, index = _smallest(graph, apart, count)
        return _rooted(graph, near, p), index
    middle = rows.mean(axis=0)
    inner, centred = rows - middle, graph.sub(x, middle)
    rough = graph.sub((inner**2).sum(axis=1), graph.mul(graph.matmul(centred, inner.T), 2.0))
    candidates = min(len(rows), count + _SPARE)
    _, found = _smallest(graph, rough, candidates)
    _, order = _smallest(graph, graph.double(found), candidates)
    found = graph.op("GatherElements", found, order, axis=1)  # equally near: the first row first
    points = graph.gather(rows, found, axis=0)
    gap = graph.sub(graph.op("Unsqueeze", x, np.array([1])), points)
    exact = graph.sum(graph.mul(gap, gap), axis=2, keep=False)
    near, order = _smallest(graph, exact, count)
    return str(graph.op("Sqrt", near)), str(graph.op("GatherElements", found, order, axis=1))


def _smallest(graph: Graph, values: str, count: int) -> tuple[str, str]:
    near, index = graph.op(
        "TopK", values, np.array([count]), outputs=2, axis=1, largest=0, sorted=1
    )
    return near, index


def _weights(e: Emitter, model: Any, distance: str) -> str | None:
    graph = e.graph
    if model.weights in (None, "uniform"):
        return None
    if model.weights != "distance":
        e.refuse(model, "its weights are a Python function")
    zero = graph.op("Equal", distance, 0.0)
    exact = graph.double(zero)
    any_zero = graph.op("Greater", graph.largest(exact), 0.0)
    return graph.where(any_zero, exact, graph.div(1.0, graph.where(zero, 1.0, distance)))


def _outputs(model: Any) -> list[Any]:
    """Return for each output its classes as one row of 0 and 1 for each training row."""
    labels = np.asarray(model._y)  # noqa: SLF001
    if labels.ndim == 2 and model.outputs_2d_:
        return [np.eye(len(known))[labels[:, k]] for k, known in enumerate(model.classes_)]
    return [np.eye(len(model.classes_))[labels.reshape(-1)]]


def _votes(e: Emitter, model: Any, table: Table) -> Any:
    graph = e.graph
    distance, index = nearest(e, model, table)
    weights = _weights(e, model, distance)
    chances = []
    for known in _outputs(model):
        votes = graph.gather(known, index, axis=0)
        if weights is not None:
            votes = graph.mul(votes, graph.op("Unsqueeze", weights, np.array([2])))
        total = graph.sum(votes, axis=1, keep=False)
        chances.append(graph.div(total, graph.sum(total)))
    return tuple(chances) if model.outputs_2d_ else chances[0]


def _choose(e: Emitter, model: Any, table: Table) -> str:
    chances = e.proba(model, table)
    if not isinstance(chances, tuple):
        return e.graph.argmax(chances)
    return e.graph.concat([e.graph.argmax(chance, keep=True) for chance in chances])


def _regress(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    distance, index = nearest(e, model, table)
    weights = _weights(e, model, distance)
    targets = np.asarray(model._y, float).reshape(len(model._y), -1)  # noqa: SLF001
    values = graph.gather(targets, index, axis=0)
    if weights is None:
        count = float(model.n_neighbors)
        return graph.div(graph.sum(values, axis=1, keep=False), count)
    wide = graph.op("Unsqueeze", weights, np.array([2]))
    total = graph.sum(graph.mul(values, wide), axis=1, keep=False)
    return graph.div(total, graph.sum(weights))


def _within(e: Emitter, model: Any, table: Table) -> tuple[str, str]:
    """Return the weight of each training row, and how many are within the radius."""
    graph, p = e.graph, _power(e, model)
    apart = all_distances(e, model, e.numbers(table, model), _rows(e, model), p)
    radius = float(model.radius)
    limit = radius if p in (0, 1) or np.isinf(p) else radius**p
    inside = graph.double(graph.op("LessOrEqual", apart, limit))
    weights = _weights(e, model, _rooted(graph, apart, p))
    count = graph.sum(inside)
    return (inside if weights is None else graph.mul(inside, weights)), count


def _votes_radius(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    if model.outputs_2d_:
        e.refuse(model, "it has several outputs")
    weights, count = _within(e, model, table)
    outlier = model.outlier_label_
    if outlier is None:
        e.refuse(
            model, "rows without a neighbour are an error in the original; give it outlier_label"
        )
    known = np.flatnonzero(model.classes_ == np.asarray(outlier).reshape(-1)[0])
    if len(known) != 1:
        e.refuse(model, "its outlier_label is none of the classes")
    votes = graph.matmul(weights, _outputs(model)[0])
    alone = graph.op("Equal", count, 0.0)
    votes = graph.where(alone, np.eye(len(model.classes_))[known], votes)
    return graph.div(votes, graph.sum(votes))


def _regress_radius(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    weights, count = _within(e, model, table)
    targets = np.asarray(model._y, float).reshape(len(model._y), -1)  # noqa: SLF001
    value = graph.div(graph.matmul(weights, targets), graph.sum(weights))
    return graph.where(graph.op("Equal", count, 0.0), np.nan, value)


def _density(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    if not model.novelty:
        e.refuse(model, "novelty=False scores its training rows only")
    distance, index = nearest(e, model, table)
    count = model.n_neighbors_
    reach = model._distances_fit_X_[:, count - 1]
    farther = graph.op("Max", distance, graph.gather(reach, index, axis=0))
    spread = graph.op("ReduceMean", farther, np.array([1]), keepdims=1)
    density = graph.div(1.0, graph.add(spread, 1e-10))
    ratio = graph.div(graph.gather(model._lrd, index, axis=0), density)  # noqa: SLF001
    mean = graph.op("ReduceMean", ratio, np.array([1]), keepdims=1)
    return graph.sub(graph.op("Neg", mean), float(model.offset_))


def _outlier(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    inside = graph.integer(graph.op("GreaterOrEqual", e.decision(model, table), 0.0))
    return graph.reshape(graph.sub(graph.mul(inside, 2), 1), -1)


def squared_gaps(graph: Graph, values: str, known: str, rows: Any, present: Any) -> str:
    """Return the sum of squared differences over the features that both have, at least 0.

    `values` and `rows` hold 0 where a feature is missing; `known` and `present` are 1 where not.
    """
    middle = rows.sum(axis=0) / np.maximum(present.sum(axis=0), 1.0)
    inner = (rows - middle) * present
    centred = graph.mul(graph.sub(values, middle), known)
    cross = graph.mul(graph.matmul(centred, inner.T), -2.0)
    own = graph.matmul(graph.mul(centred, centred), present.T)
    other = graph.matmul(known, (inner**2).T)
    return str(graph.op("Max", graph.add(graph.add(own, cross), other), 0.0))
