"""Writers of models around models: calibrated, thresholded, voting, stacked, chained, many."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fnmodel.slim.converters.emit import Block, Emitter, Method, Table, Writers
from fnmodel.slim.converters.piping import applied
from fnmodel.slim.converters.scaling import clip, interpolate
from fnmodel.slim.converters.vectors import one_against_rest


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import calibration, compose, dummy, ensemble, isotonic, multiclass, multioutput
    from sklearn import model_selection as ms
    from sklearn.frozen import FrozenEstimator
    from sklearn.semi_supervised import SelfTrainingClassifier

    constant = multiclass._ConstantPredictor  # noqa: SLF001
    inside = {
        FrozenEstimator: "estimator",
        SelfTrainingClassifier: "estimator_",
        ms.GridSearchCV: "best_estimator_",
        ms.RandomizedSearchCV: "best_estimator_",
    }
    many: dict[Method, dict[type, Any]] = {
        method: {kind: _delegate(method, name) for kind, name in inside.items()}
        for method in ("predict", "predict_proba", "decision_function", "transform")
    }
    whole: dict[Method, dict[type, Any]] = {
        "predict": {
            calibration.CalibratedClassifierCV: _favourite,
            ms.FixedThresholdClassifier: _fixed,
            ms.TunedThresholdClassifierCV: _tuned,
            compose.TransformedTargetRegressor: _transformed_target,
            isotonic.IsotonicRegression: _isotonic,
            ensemble.VotingClassifier: _vote,
            ensemble.VotingRegressor: _vote_value,
            ensemble.StackingClassifier: _stacked("predict"),
            ensemble.StackingRegressor: _stacked("predict"),
            ensemble.AdaBoostRegressor: _weighted_median,
            multiclass.OneVsRestClassifier: _one_vs_rest,
            multiclass.OneVsOneClassifier: _one_vs_one,
            multiclass.OutputCodeClassifier: _output_code,
            multioutput.MultiOutputRegressor: _each_value,
            multioutput.MultiOutputClassifier: _each_label,
            multioutput.ClassifierChain: _chain("predict"),
            multioutput.RegressorChain: _chain("predict"),
            dummy.DummyClassifier: _dummy_label,
            dummy.DummyRegressor: _dummy_value,
            constant: lambda e, model, table: _repeated(
                e, table, np.asarray(model.y_, int), flat=True
            ),
        },
        "predict_proba": {
            calibration.CalibratedClassifierCV: _calibrated,
            ms.FixedThresholdClassifier: _delegate("predict_proba", "estimator_"),
            ms.TunedThresholdClassifierCV: _delegate("predict_proba", "estimator_"),
            ensemble.VotingClassifier: _vote_proba,
            ensemble.StackingClassifier: _stacked("predict_proba"),
            multiclass.OneVsRestClassifier: _one_vs_rest_proba,
            multioutput.MultiOutputClassifier: lambda e, model, table: tuple(
                e.proba(member, table) for member in model.estimators_
            ),
            multioutput.ClassifierChain: _chain("predict_proba"),
            dummy.DummyClassifier: _dummy_proba,
            constant: lambda e, model, table: _repeated(
                e, table, np.hstack([1.0 - model.y_, model.y_]).astype(float)
            ),
        },
        "decision_function": {
            ms.FixedThresholdClassifier: _delegate("decision_function", "estimator_"),
            ms.TunedThresholdClassifierCV: _delegate("decision_function", "estimator_"),
            ensemble.StackingClassifier: _stacked("decision_function"),
            multiclass.OneVsRestClassifier: _one_vs_rest_scores,
            multiclass.OneVsOneClassifier: _one_vs_one_scores,
            multioutput.ClassifierChain: _chain("decision_function"),
            constant: lambda e, model, table: _repeated(e, table, np.asarray(model.y_, float)),
        },
        "transform": {
            isotonic.IsotonicRegression: lambda e, model, table: Table.numbers(
                _isotonic(e, model, table), 1
            ),
            ensemble.VotingClassifier: _vote_transform,
            ensemble.VotingRegressor: lambda e, model, table: Table.numbers(
                e.graph.concat([e.predict(m, table) for m in model.estimators_]),
                len(model.estimators_),
            ),
            ensemble.StackingClassifier: _first_layer,
            ensemble.StackingRegressor: _first_layer,
        },
    }
    return {method: {**many[method], **whole[method]} for method in many}


def _delegate(method: Method, name: str) -> Callable[[Emitter, Any, Table], Any]:
    return lambda e, model, table: e.write(method, getattr(model, name), table)


def _favourite(e: Emitter, model: Any, table: Table) -> str:
    return e.graph.argmax(e.proba(model, table))


def _repeated(e: Emitter, table: Table, row: Any, *, flat: bool = False) -> str:
    """Return the same row for each row of a table; `flat` for shape (rows,)."""
    graph = e.graph
    count = graph.op("Shape", table.blocks[0].name, start=0, end=1)
    row = np.asarray(row).reshape(-1)
    if flat:
        return str(graph.op("Expand", row[:1], count))
    shape = graph.op("Concat", count, np.array([len(row)]), axis=0)
    return str(graph.op("Expand", row.reshape(1, -1), shape))


# Calibration and thresholds.


def _calibrated(e: Emitter, model: Any, table: Table) -> str:
    total = ""
    for member in model.calibrated_classifiers_:
        part = _calibrated_member(e, model, member, table)
        total = e.graph.add(total, part) if total else part
    return e.graph.div(total, float(len(model.calibrated_classifiers_)))


def _calibrated_member(e: Emitter, model: Any, member: Any, table: Table) -> str:
    graph, inner, classes = e.graph, member.estimator, len(member.classes)
    by_score = hasattr(inner, "decision_function")
    if by_score:
        scores = e.decision(inner, table)
    else:
        scores = e.proba(inner, table)
        if len(inner.classes_) == 2:
            scores = graph.gather(scores, np.array([1]))
    if member.method == "temperature":
        return _tempered(e, member, scores, classes, by_score=by_score)
    if member.method not in ("sigmoid", "isotonic"):
        e.refuse(model, f"its method is {member.method!r}")
    known = np.searchsorted(member.classes, inner.classes_)
    columns = [""] * classes
    for at, (position, calibrator) in enumerate(zip(known, member.calibrators, strict=False)):
        column = graph.gather(scores, np.array([at]))
        chance = _calibrate(e, member.method, calibrator, column)
        columns[int(position) + (1 if classes == 2 else 0)] = chance
    if classes == 2:
        return _capped(e, e.two(columns[1]))
    empty = graph.mul(graph.gather(scores, np.array([0])), 0.0)
    whole = graph.concat([column or empty for column in columns])
    return _capped(e, e.normalised(whole))


def _calibrate(e: Emitter, method: str, calibrator: Any, scores: str) -> str:
    if method == "isotonic":
        return _isotonic_curve(e, calibrator, scores)
    raw = e.graph.add(e.graph.mul(scores, float(calibrator.a_)), float(calibrator.b_))
    return e.graph.sigmoid(e.graph.op("Neg", raw))


def _capped(e: Emitter, chances: str) -> str:
    """Return probabilities with those that rounding lifts above 1 back at 1."""
    return str(e.graph.op("Min", chances, 1.0))


def _tempered(e: Emitter, member: Any, scores: str, classes: int, *, by_score: bool) -> str:
    graph, beta = e.graph, float(member.calibrators[0].beta_)
    if classes == 2:
        if by_score:
            logits = graph.concat([graph.op("Neg", scores), scores])
        else:
            logits = str(graph.op("Log", graph.add(e.two(scores), 1e-12)))
    elif by_score:
        # It tells probabilities from scores by their values, over the whole batch.
        outside = graph.op("Or", graph.op("Less", scores, 0.0), graph.op("Greater", scores, 1.0))
        apart = graph.op("Abs", graph.sub(graph.sum(scores), 1.0))
        odd = graph.op("Or", outside, graph.op("Greater", apart, 1e-5))
        raw = graph.op("Greater", graph.op("ReduceMax", graph.integer(odd), keepdims=0), 0)
        logits = graph.where(
            raw, scores, graph.op("Log", graph.add(graph.op("Abs", scores), 1e-12))
        )
    else:
        logits = str(graph.op("Log", graph.add(scores, 1e-12)))
    return _capped(e, e.softmax(graph.mul(logits, beta)))


def _isotonic_curve(e: Emitter, curve: Any, x: str) -> str:
    points, values = np.asarray(curve.X_thresholds_, float), np.asarray(curve.y_thresholds_, float)
    if curve.out_of_bounds == "raise":
        e.refuse(curve, "out_of_bounds='raise' refuses numbers beyond its range, ONNX cannot")
    if curve.X_thresholds_.dtype == np.float32:
        x = e.graph.double(e.graph.op("Cast", x, to=1))
    low, high = float(curve.X_min_), float(curve.X_max_)
    inside = clip(e.graph, x, low, high)
    value = interpolate(e.graph, inside, points, values)
    if curve.out_of_bounds == "nan":
        outside = e.graph.op("Or", e.graph.op("Less", x, low), e.graph.op("Greater", x, high))
        value = e.graph.where(outside, np.nan, value)
    return value


def _isotonic(e: Emitter, model: Any, table: Table) -> str:
    return _isotonic_curve(e, model, e.numbers(table, model))


def _threshold(
    e: Emitter, model: Any, inner: Any, methods: list[str], pos_label: Any, table: Table
) -> tuple[str, str]:
    """Return the score of the positive class, (rows, 1), and the method that gave it."""
    graph = e.graph
    method = next(name for name in methods if hasattr(inner, name))
    positive = 1 if pos_label is None else int(np.flatnonzero(model.classes_ == pos_label)[0])
    if method == "predict_proba":
        return graph.gather(e.proba(inner, table), np.array([positive])), method
    score = e.decision(inner, table)
    return (score if positive == 1 else str(graph.op("Neg", score))), method


def _labelled(e: Emitter, model: Any, score: str, limit: float, pos_label: Any) -> str:
    graph = e.graph
    above = graph.reshape(graph.integer(graph.op("GreaterOrEqual", score, limit)), -1)
    positive = 1 if pos_label is None else int(np.flatnonzero(model.classes_ == pos_label)[0])
    return graph.gather(np.array([1 - positive, positive]), above, axis=0)


def _fixed(e: Emitter, model: Any, table: Table) -> str:
    inner = getattr(model, "estimator_", model.estimator)
    methods = model._get_response_method()  # noqa: SLF001
    methods = [methods] if isinstance(methods, str) else list(methods)
    score, method = _threshold(e, model, inner, methods, model.pos_label, table)
    limit = model.threshold
    if limit == "auto":
        limit = 0.5 if method == "predict_proba" else 0.0
    return _labelled(e, model, score, float(limit), model.pos_label)


def _tuned(e: Emitter, model: Any, table: Table) -> str:
    pos_label = model._curve_scorer._get_pos_label()  # noqa: SLF001
    methods = model._get_response_method()  # noqa: SLF001
    methods = [methods] if isinstance(methods, str) else list(methods)
    score, _ = _threshold(e, model, model.estimator_, methods, pos_label, table)
    return _labelled(e, model, score, float(model.best_threshold_), pos_label)


def _transformed_target(e: Emitter, model: Any, table: Table) -> str:
    from sklearn.preprocessing import FunctionTransformer

    guess, turned = e.predict(model.regressor_, table), model.transformer_
    if type(turned) is FunctionTransformer:
        if turned.inverse_func is None:
            return guess
        if turned.inv_kw_args:
            e.refuse(model, "its inverse_func takes arguments")
        return applied(e, model, turned.inverse_func, guess)
    width = getattr(turned, "n_features_in_", 1)
    back: Table = e.write("inverse_transform", turned, Table.numbers(guess, width))
    return e.numbers(back, model)


# Votes and stacks.


def _used(model: Any) -> list[tuple[Any, float]]:
    weights = getattr(model, "_weights_not_none", None)
    if weights is None:
        weights = [1.0] * len(model.estimators_)
    return list(zip(model.estimators_, (float(w) for w in weights), strict=True))


def _average(e: Emitter, parts: list[tuple[str, float]]) -> str:
    total = ""
    for part, weight in parts:
        weighted = part if weight == 1.0 else e.graph.mul(part, weight)
        total = e.graph.add(total, weighted) if total else weighted
    return e.graph.div(total, sum(weight for _, weight in parts))


def _vote_proba(e: Emitter, model: Any, table: Table) -> str:
    return _average(e, [(e.proba(member, table), weight) for member, weight in _used(model)])


def _member_position(e: Emitter, member: Any, table: Table) -> str:
    """Return what a member says, as its own label; its classes are positions of the whole's."""
    own = np.asarray(member.classes_, dtype=np.int64)
    return e.graph.gather(own, e.predict(member, table), axis=0)


def _vote(e: Emitter, model: Any, table: Table) -> str:
    if model.voting == "soft":
        return e.graph.argmax(e.proba(model, table))
    graph, classes = e.graph, np.arange(len(model.classes_)).reshape(1, -1)
    total = ""
    for member, weight in _used(model):
        says = graph.reshape(_member_position(e, member, table), -1, 1)
        part = graph.mul(graph.double(graph.op("Equal", says, classes)), weight)
        total = graph.add(total, part) if total else part
    return graph.argmax(total)


def _vote_value(e: Emitter, model: Any, table: Table) -> str:
    return _average(e, [(e.predict(member, table), weight) for member, weight in _used(model)])


def _vote_transform(e: Emitter, model: Any, table: Table) -> Table:
    graph = e.graph
    if model.voting == "hard":
        parts = [
            graph.double(graph.reshape(_member_position(e, m, table), -1, 1))
            for m in model.estimators_
        ]
        return Table.numbers(graph.concat(parts), len(parts))
    if not model.flatten_transform:
        e.refuse(model, "flatten_transform=False has three axes")
    parts = [e.proba(member, table) for member in model.estimators_]
    return Table.numbers(graph.concat(parts), len(parts) * len(model.classes_))


def _first_layer(e: Emitter, model: Any, table: Table) -> Table:
    graph = e.graph
    parts, width = [], 0
    kept = [m for m in model.estimators_ if not isinstance(m, str)]
    binary = hasattr(model, "classes_") and len(model.classes_) == 2
    for member, method in zip(kept, model.stack_method_, strict=True):
        if method == "predict":
            if len(getattr(member, "classes_", ())):  # CatBoost's regressors have none, in a list
                part = graph.double(graph.reshape(_member_position(e, member, table), -1, 1))
                count = 1
            else:
                part, count = e.predict(member, table), _targets(member)
        elif method == "predict_proba":
            part, count = e.proba(member, table), len(member.classes_)
            if not isinstance(part, str):
                e.refuse(model, "its members have several outputs")
            if binary:
                part, count = graph.gather(part, np.array([1])), 1
        else:
            part = e.decision(member, table)
            count = 1 if len(member.classes_) == 2 else len(member.classes_)
        parts.append(part)
        width += count
    meta = Table.numbers(graph.concat(parts), width)
    return e.beside([meta, Table(table.blocks)]) if model.passthrough else meta


def _targets(member: Any) -> int:
    row = np.zeros((1, member.n_features_in_))
    names = getattr(member, "feature_names_in_", None)
    if names is not None:
        return 1
    return int(np.asarray(member.predict(row)).reshape(1, -1).shape[1])


def _stacked(method: Method) -> Callable[[Emitter, Any, Table], Any]:
    def write(e: Emitter, model: Any, table: Table) -> Any:
        if isinstance(getattr(model, "_label_encoder", None), list):
            e.refuse(model, "it has several outputs")
        meta = _first_layer(e, model, table)
        final = model.final_estimator_
        value = e.write(method, final, meta)
        if method == "predict" and hasattr(model, "classes_"):
            own = np.asarray(final.classes_, dtype=np.int64)
            return e.graph.gather(own, value, axis=0)
        return value

    return write


def _weighted_median(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    members = model.estimators_
    guesses = graph.concat([e.predict(member, table) for member in members])
    weights = np.asarray(model.estimator_weights_[: len(members)], float)
    count = np.array([len(members)])
    ordered, index = graph.op("TopK", guesses, count, outputs=2, axis=1, largest=0, sorted=1)
    heap = graph.op("CumSum", graph.gather(weights, index, axis=0), np.array(1))
    half = graph.mul(graph.gather(heap, np.array([len(members) - 1])), 0.5)
    reached = graph.integer(graph.op("GreaterOrEqual", heap, half))
    at = graph.argmax(reached, keep=True)
    return str(graph.op("GatherElements", ordered, at, axis=1))


# One model a class, a pair, or an output.


def _binary_score(e: Emitter, member: Any, table: Table) -> str:
    """Return what scikit-learn compares binary members by, (rows, 1)."""
    from sklearn.base import is_regressor

    if is_regressor(member):
        return e.predict(member, table)
    if hasattr(member, "decision_function"):
        return e.decision(member, table)
    return e.graph.gather(e.proba(member, table), np.array([1]))


def _limit(member: Any) -> float:
    """Return from where on a binary member says yes."""
    from sklearn.base import is_classifier

    return 0.0 if hasattr(member, "decision_function") and is_classifier(member) else 0.5


def _one_vs_rest_scores(e: Emitter, model: Any, table: Table) -> str:
    return e.graph.concat([e.decision(member, table) for member in model.estimators_])


def _one_vs_rest(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    scores = graph.concat([_binary_score(e, member, table) for member in model.estimators_])
    if model.label_binarizer_.y_type_ == "multiclass":
        return graph.argmax(scores)
    yes = graph.integer(graph.op("Greater", scores, _limit(model.estimators_[0])))
    return yes if model.multilabel_ else graph.reshape(yes, -1)


def _one_vs_rest_proba(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    parts = [graph.gather(e.proba(m, table), np.array([1])) for m in model.estimators_]
    if len(parts) == 1 and not model.multilabel_:
        return e.two(parts[0])
    chances = graph.concat(parts)
    if model.multilabel_:
        return chances
    total = graph.sum(chances)
    # A row of zeros stays one.
    return graph.div(chances, graph.where(graph.op("Equal", total, 0.0), 1.0, total))


def _one_vs_one_scores(e: Emitter, model: Any, table: Table) -> str:
    if model.pairwise_indices_ is not None:
        e.refuse(model, "its members take a matrix of kernels")
    graph, classes = e.graph, len(model.classes_)
    says = [graph.reshape(e.predict(m, table), -1, 1) for m in model.estimators_]
    second = graph.double(graph.concat(says))
    confidence = graph.concat([_binary_score(e, m, table) for m in model.estimators_])
    scores = one_against_rest(graph, graph.sub(1.0, second), confidence, classes)
    return graph.gather(scores, np.array([1])) if classes == 2 else scores


def _one_vs_one(e: Emitter, model: Any, table: Table) -> str:
    scores = e.decision(model, table)
    if len(model.classes_) == 2:
        limit = _limit(model.estimators_[0])
        return e.graph.reshape(e.graph.integer(e.graph.op("Greater", scores, limit)), -1)
    return e.graph.argmax(scores)


def _output_code(e: Emitter, model: Any, table: Table) -> str:
    graph, code = e.graph, np.asarray(model.code_book_, float)
    scores = graph.concat([_binary_score(e, member, table) for member in model.estimators_])
    wide = graph.op("Unsqueeze", scores, np.array([1]))
    gap = graph.sub(wide, code[np.newaxis])
    return graph.argmin(graph.sum(graph.mul(gap, gap), axis=2, keep=False))


def _each_value(e: Emitter, model: Any, table: Table) -> str:
    return e.graph.concat([e.predict(member, table) for member in model.estimators_])


def _each_label(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    return graph.concat([graph.reshape(e.predict(m, table), -1, 1) for m in model.estimators_])


def _chain(method: Method) -> Callable[[Emitter, Any, Table], Any]:
    def write(e: Emitter, model: Any, table: Table) -> str:
        graph = e.graph
        told: list[str] = []
        answers: list[str] = []
        start = Block(e.numbers(table, model), "number", table.width, (None,) * table.width)
        for member in model.estimators_:
            seen = Table((start, *(Block.numbers(name, 1) for name in told)))
            told.append(_response(e, member, getattr(model, "chain_method_", "predict"), seen))
            answers.append(_response(e, member, method, seen))
        back = np.argsort(np.asarray(model.order_))
        return graph.gather(graph.concat(answers), back)

    return write


def _response(e: Emitter, member: Any, method: Method, table: Table) -> str:
    """Return one column of float64: the positive class's where there are two."""
    graph = e.graph
    if method == "predict":
        value = e.predict(member, table)
        if len(getattr(member, "classes_", ())):
            known = np.asarray(member.classes_, float)
            return graph.reshape(graph.gather(known, value, axis=0), -1, 1)
        return value
    if method == "predict_proba":
        return graph.gather(e.proba(member, table), np.array([len(member.classes_) - 1]))
    return e.decision(member, table)


# Models that know one answer.


def _dummy_value(e: Emitter, model: Any, table: Table) -> str:
    return _repeated(e, table, np.asarray(model.constant_, float))


def _dummy_shares(e: Emitter, model: Any) -> Any:
    if model.n_outputs_ != 1:
        e.refuse(model, "it has several outputs")
    classes, prior = len(model.classes_), np.asarray(model.class_prior_, float)
    match model._strategy:  # noqa: SLF001
        case "prior":
            return prior
        case "most_frequent":
            return np.eye(classes)[prior.argmax()]
        case "constant":
            constant = np.asarray(model.constant).reshape(-1)[0]
            return (model.classes_ == constant).astype(float)
        case strategy:
            raise e.refusal(model, f"strategy={strategy!r} draws at random")


def _dummy_proba(e: Emitter, model: Any, table: Table) -> str:
    return _repeated(e, table, _dummy_shares(e, model))


def _dummy_label(e: Emitter, model: Any, table: Table) -> str:
    return _repeated(e, table, np.array([_dummy_shares(e, model).argmax()]), flat=True)
