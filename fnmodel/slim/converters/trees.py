"""Writers of scikit-learn's trees, forests, boosting and bagging, by ai.onnx.ml 5's TreeEnsemble.

Labels come from what scikit-learn takes them from: averaged trees from probabilities, boosting
from raw scores, the first maximum in both.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.slim.converters.emit import Emitter, Table, Writers
from fnmodel.slim.trees import sklearn as trees
from fnmodel.slim.trees import write
from fnmodel.slim.trees.ensemble import Ensemble

Array = NDArray[Any]

_FLOAT = 1


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import ensemble as en
    from sklearn import tree as tr

    averaging = [
        tr.DecisionTreeClassifier, tr.ExtraTreeClassifier,
        en.RandomForestClassifier, en.ExtraTreesClassifier,
    ]  # fmt: skip
    regressors = [
        tr.DecisionTreeRegressor, tr.ExtraTreeRegressor,
        en.RandomForestRegressor, en.ExtraTreesRegressor,
        en.GradientBoostingRegressor, en.HistGradientBoostingRegressor,
    ]  # fmt: skip
    boosting = [en.GradientBoostingClassifier, en.HistGradientBoostingClassifier]
    return {
        "predict": {
            **dict.fromkeys(averaging, _favourite),
            **dict.fromkeys(regressors, _answer),
            en.GradientBoostingClassifier: _boosted(tie=1),
            en.HistGradientBoostingClassifier: _boosted(tie=0),
            en.AdaBoostClassifier: _boosted(tie=0),
            en.BaggingClassifier: _favourite,
            en.BaggingRegressor: _bagged,
            en.IsolationForest: _isolated,
        },
        "predict_proba": {
            **dict.fromkeys(averaging, _shares),
            **dict.fromkeys(boosting, _linked),
            en.AdaBoostClassifier: _ada_proba,
            en.BaggingClassifier: _bagged,
        },
        "decision_function": {
            **dict.fromkeys(boosting, _raw),
            en.AdaBoostClassifier: _ada_decision,
            en.IsolationForest: _isolation,
        },
        "transform": {en.RandomTreesEmbedding: _embedded},
    }


# What the methods give.


def _ensemble(e: Emitter, model: Any) -> Ensemble:
    ensemble = trees.read(model) or trees.rounds(model)
    if ensemble is None:
        e.refuse(model, "its loss is not one of scikit-learn's")
    return ensemble


def _start(e: Emitter, model: Any, values: str) -> str:
    """Return the scores that GradientBoosting starts from when `init` is an estimator."""
    graph, init = e.graph, model.init_
    # Boosting hands on what it casts to float32 for its trees.
    table = Table.numbers(graph.double(graph.op("Cast", values, to=_FLOAT)), model.n_features_in_)
    if not hasattr(model, "classes_"):
        return e.predict(init, table)
    if not hasattr(init, "predict_proba"):
        e.refuse(model, "its init has no predict_proba")
    least = float(np.finfo(np.float64).eps)
    shares = graph.op("Min", graph.op("Max", e.proba(init, table), least), 1 - least)
    if len(model.classes_) > 2:
        logs = graph.op("Log", shares)
        return graph.sub(logs, graph.div(graph.sum(logs), float(len(model.classes_))))
    second = graph.gather(shares, np.array([1]))
    odds = graph.op("Log", graph.div(second, graph.sub(1.0, second)))
    _, scale = trees.link(model) or ("logistic", 1.0)
    return graph.mul(odds, 1 / scale)


def _raw(e: Emitter, model: Any, table: Table) -> str:
    """Return the scores, (rows, targets)."""

    def scores() -> str:
        values = _values(e, model, table)
        if trees.read(model) is None and (later := trees.rounds(model)) is not None:
            return e.graph.add(_start(e, model, values), write.scores(e.graph, later, values))
        return write.scores(e.graph, _ensemble(e, model), values)

    return str(e.once("trees", model, table, scores))


def _values(e: Emitter, model: Any, table: Table) -> str:
    """Return the columns as float64; text categories as their codes, -1 for unknown ones."""
    if all(block.kind != "text" for block in table.blocks):
        return e.numbers(table, model)
    known = trees.categories(model)
    parts = []
    for column, block in enumerate(e.columns(table)):
        if block.kind == "text" and known.get(column):
            codes = e.graph.op(
                "LabelEncoder",
                block.name,
                domain="ai.onnx.ml",
                keys_strings=[str(category) for category in known[column]],
                values_int64s=list(range(len(known[column]))),
                default_int64=-1,
            )
            parts.append(e.graph.double(codes))
        else:
            parts.append(e.numbers(Table((block,)), model))
    return e.graph.concat(parts)


def _answer(e: Emitter, model: Any, table: Table) -> str:
    return write.answers(e.graph, _ensemble(e, model), _raw(e, model, table))


def _linked(e: Emitter, model: Any, table: Table) -> str:
    answer = _answer(e, model, table)
    return e.two(answer) if len(model.classes_) == 2 else answer


def _shares(e: Emitter, model: Any, table: Table) -> Any:
    """Return the probabilities of the classes, for several outputs one value each."""
    raw = _raw(e, model, table)
    if model.n_outputs_ == 1:
        return raw
    stops = np.cumsum([0, *model.n_classes_])
    return tuple(
        e.graph.gather(raw, np.arange(start, stop)) for start, stop in pairwise(stops.tolist())
    )


def _favourite(e: Emitter, model: Any, table: Table) -> str:
    shares = e.proba(model, table)
    if isinstance(shares, str):
        return e.graph.argmax(shares)
    return e.graph.concat([e.graph.argmax(share, keep=True) for share in shares])


def _boosted(tie: int) -> Callable[[Emitter, Any, Table], str]:
    """Return a writer of labels; of two classes, `tie` is the one at the score 0."""
    comparison = "GreaterOrEqual" if tie else "Greater"

    def label(e: Emitter, model: Any, table: Table) -> str:
        scores = e.decision(model, table)
        if len(model.classes_) > 2:
            return e.graph.argmax(scores)
        positive = e.graph.op(comparison, scores, 0.0)
        return e.graph.reshape(e.graph.integer(positive), -1)

    return label


# AdaBoost and bagging, of trees in one node, of others side by side.


def _ada_decision(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    count = len(model.classes_)
    if count == 1:
        # All rows alike: one column of zeros.
        first = graph.gather(e.numbers(table, model), np.array([0]))
        return graph.where(graph.op("IsNaN", first), 0.0, graph.where(True, 0.0, first))
    if trees.read(model) is not None:
        votes = _raw(e, model, table)
        return graph.mul(votes, 2.0) if count == 2 else votes
    total = ""
    for member, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        own = np.searchsorted(model.classes_, member.classes_)
        chosen = graph.gather(own, e.predict(member, table), axis=0)
        agrees = graph.op("Equal", graph.reshape(chosen, -1, 1), np.arange(count).reshape(1, -1))
        vote = graph.where(agrees, float(weight), float(-1 / (count - 1) * weight))
        total = graph.add(total, vote) if total else vote
    votes = graph.div(total, float(model.estimator_weights_.sum()))
    if count > 2:
        return votes
    return graph.mul(graph.gather(votes, np.array([1])), 2.0)


def _ada_proba(e: Emitter, model: Any, table: Table) -> str:
    decision = e.decision(model, table)
    count = len(model.classes_)
    if count <= 2:
        half = e.graph.mul(decision, 0.5)
        both = e.graph.concat([e.graph.op("Neg", half), half])
        return e.softmax(both if count == 2 else decision)
    return e.softmax(e.graph.div(decision, float(count - 1)))


def _bagged(e: Emitter, model: Any, table: Table) -> str:
    if trees.read(model) is not None:
        return _raw(e, model, table)
    classes = len(model.classes_) if hasattr(model, "classes_") else 0
    total = ""
    for member, columns in zip(model.estimators_, model.estimators_features_, strict=True):
        every = np.array_equal(columns, np.arange(table.width))
        seen = table if every else e.select(table, columns)
        part = _member_shares(e, member, seen, classes) if classes else e.predict(member, seen)
        total = e.graph.add(total, part) if total else part
    return e.graph.div(total, float(len(model.estimators_)))


def _member_shares(e: Emitter, member: Any, table: Table, classes: int) -> str:
    """Return what one member of a bagging gives to each class; its own are positions."""
    graph, own = e.graph, np.asarray(member.classes_, dtype=np.int64)
    if hasattr(member, "predict_proba"):
        shares = str(e.proba(member, table))
        if len(own) == classes:
            return shares
        spread = np.zeros((len(own), classes))
        spread[np.arange(len(own)), own] = 1.0
        return graph.matmul(shares, spread)
    chosen = graph.gather(own, e.predict(member, table), axis=0)
    every = np.arange(classes).reshape(1, -1)
    return graph.double(graph.op("Equal", graph.reshape(chosen, -1, 1), every))


# Isolation.


def _isolation(e: Emitter, model: Any, table: Table) -> str:
    """Return what decision_function gives, (rows, 1)."""
    depths = graph_depths = _raw(e, model, table)
    graph = e.graph
    longest = _longest(model)
    if longest:
        exponent = graph.op("Neg", graph.div(depths, longest))
    else:
        exponent = graph.sub(graph.mul(graph_depths, 0.0), 1.0)
    score = graph.op("Neg", graph.op("Pow", 2.0, exponent))
    return graph.sub(score, float(model.offset_))


def _isolated(e: Emitter, model: Any, table: Table) -> str:
    """Return -1 for outliers, else 1.

    The offset often is the score of a training row, so the sums of depths are compared: they are
    exact, while the score's last digit depends on the machine.
    """
    depths = _raw(e, model, table)
    outside = e.graph.op("Less", depths, _cut(model))
    return e.graph.reshape(e.graph.where(outside, np.array(-1), np.array(1)), -1)


def _longest(model: Any) -> float:
    from sklearn.ensemble._iforest import _average_path_length

    average = _average_path_length([model._max_samples])  # noqa: SLF001
    return float(len(model.estimators_) * average[0])


def _cut(model: Any) -> float:
    """Return the least sum of depths that scikit-learn takes for an inlier's."""
    longest = _longest(model)

    def inside(depth: float) -> bool:
        depths = np.full(1, depth)
        shares = np.ones(1) if not longest else np.divide(depths, longest)
        return bool((-(2 ** (-shares)) - model.offset_ >= 0)[0])

    # Sums of depths are positive, and positive doubles are ordered as their bits are.
    low, high = 0, int(np.float64(1e300).view(np.int64))
    if inside(0.0):
        return -1.0
    if not inside(1e300):
        return float(np.inf)
    while high - low > 1:
        middle = (low + high) // 2
        if inside(float(np.int64(middle).view(np.float64))):
            high = middle
        else:
            low = middle
    return float(np.int64(high).view(np.float64))


# Leaves as columns.


def _embedded(e: Emitter, model: Any, table: Table) -> Table:
    """Return a column for each leaf, 1 where a row falls into it."""
    graph = e.graph
    known = model.one_hot_encoder_.categories_
    starts = np.cumsum([0, *(len(leaves) for leaves in known)])
    ensemble = trees.leaves(model, known)
    column = graph.integer(write.scores(graph, ensemble, e.numbers(table, model)))
    every = np.arange(int(starts[-1])).reshape(1, -1)
    parts = [
        graph.op("Equal", graph.gather(column, np.array([i])), every[:, start:stop])
        for i, (start, stop) in enumerate(pairwise(starts.tolist()))
    ]
    return Table.numbers(graph.double(graph.concat(parts)), int(starts[-1]))
