"""Writers of models that are a product with coefficients, and a link."""

from typing import Any

import numpy as np

from fnmodel.slim.converters.emit import Emitter, Table, Writers


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import discriminant_analysis as lda
    from sklearn import linear_model as lm
    from sklearn import svm
    from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression

    plain = [
        lm.LinearRegression, lm.Ridge, lm.RidgeCV, lm.Lasso, lm.LassoCV, lm.ElasticNet,
        lm.ElasticNetCV, lm.Lars, lm.LarsCV, lm.LassoLars, lm.LassoLarsCV, lm.LassoLarsIC,
        lm.OrthogonalMatchingPursuit, lm.OrthogonalMatchingPursuitCV, lm.BayesianRidge,
        lm.ARDRegression, lm.HuberRegressor, lm.QuantileRegressor, lm.TheilSenRegressor,
        lm.SGDRegressor, lm.MultiTaskLasso, lm.MultiTaskLassoCV, lm.MultiTaskElasticNet,
        lm.MultiTaskElasticNetCV, svm.LinearSVR, *_if_there(lm, "PassiveAggressiveRegressor"),
    ]  # fmt: skip
    glm = [lm.PoissonRegressor, lm.GammaRegressor, lm.TweedieRegressor]
    ovr = [
        lm.SGDClassifier, lm.Perceptron, lm.RidgeClassifier, lm.RidgeClassifierCV, svm.LinearSVC,
        lm.LogisticRegression, lm.LogisticRegressionCV, lda.LinearDiscriminantAnalysis,
        *_if_there(lm, "PassiveAggressiveClassifier"),
    ]  # fmt: skip
    pls = [PLSRegression, PLSCanonical, CCA]
    return {
        "predict": {
            **dict.fromkeys(plain, _regress),
            **dict.fromkeys(glm, _generalised),
            **dict.fromkeys(ovr, _choose),
            **dict.fromkeys(pls, _pls),
            lda.QuadraticDiscriminantAnalysis: _qda_choose,
            lm.RANSACRegressor: lambda e, model, t: e.predict(model.estimator_, t),
            lm.SGDOneClassSVM: _one_class,
        },
        "decision_function": {
            **dict.fromkeys(ovr, decision),
            lda.QuadraticDiscriminantAnalysis: _qda_decision,
            lm.SGDOneClassSVM: _one_class_score,
        },
        "predict_proba": {
            lm.LogisticRegression: _logistic,
            lm.LogisticRegressionCV: _logistic,
            lm.SGDClassifier: _sgd,
            lda.LinearDiscriminantAnalysis: _logistic,
            lda.QuadraticDiscriminantAnalysis: _qda_proba,
        },
        "transform": {
            **dict.fromkeys(pls, _pls_transform),
            PLSSVD: _plssvd_transform,
            lda.LinearDiscriminantAnalysis: _lda_transform,
        },
    }


def _if_there(module: Any, name: str) -> list[Any]:
    return [getattr(module, name)] if hasattr(module, name) else []


def product(e: Emitter, table: Table, model: Any, coefficients: Any, intercept: Any) -> str:
    """Write `x @ coefficients.T + intercept`, shape (rows, targets)."""
    if hasattr(coefficients, "toarray"):
        coefficients = coefficients.toarray()
    matrix = np.atleast_2d(np.asarray(coefficients, dtype=np.float64)).T
    shift = np.asarray(intercept, dtype=np.float64).reshape(1, -1)
    return e.graph.add(e.graph.matmul(e.numbers(table, model), matrix), shift)


def _regress(e: Emitter, model: Any, table: Table) -> str:
    return product(e, table, model, model.coef_, model.intercept_)


def _generalised(e: Emitter, model: Any, table: Table) -> str:
    raw = _regress(e, model, table)
    link = type(model._base_loss.link).__name__ if hasattr(model, "_base_loss") else "LogLink"  # noqa: SLF001
    if link == "IdentityLink":
        return raw
    if link != "LogLink":
        e.refuse(model, f"its link is a {link}")
    return str(e.graph.op("Exp", raw))


def decision(e: Emitter, model: Any, table: Table) -> str:
    """Write a linear decision function, (rows, 1) for two classes."""
    return product(e, table, model, model.coef_, model.intercept_)


def _choose(e: Emitter, model: Any, table: Table) -> str:
    scores = e.decision(model, table)
    binarizer = getattr(model, "_label_binarizer", None)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        return e.graph.integer(e.graph.op("Greater", scores, 0.0))
    return e.first(scores, max(len(model.classes_), 2))


def _logistic(e: Emitter, model: Any, table: Table) -> str:
    scores = e.decision(model, table)
    if len(model.classes_) <= 2:
        return e.two(e.graph.sigmoid(scores))
    if getattr(model, "multi_class", "auto") == "ovr":
        return e.normalised(e.graph.sigmoid(scores))
    return e.softmax(scores)


def _sgd(e: Emitter, model: Any, table: Table) -> str:
    graph, scores = e.graph, e.decision(model, table)
    if model.loss == "log_loss":
        chances = graph.sigmoid(scores)
    elif model.loss == "modified_huber":
        clipped = graph.op("Min", graph.op("Max", scores, -1.0), 1.0)
        chances = graph.div(graph.add(clipped, 1.0), 2.0)
    else:
        e.refuse(model, f"loss={model.loss!r} has no probabilities")
    return e.two(chances) if len(model.classes_) == 2 else e.normalised(chances)


def _qda_scores(e: Emitter, model: Any, table: Table) -> str:
    graph, x = e.graph, e.numbers(table, model)
    norms = []
    for mean, rotation, scaling in zip(
        model.means_, model.rotations_, model.scalings_, strict=True
    ):
        turned = graph.matmul(graph.sub(x, mean), rotation * scaling ** (-0.5))
        norms.append(graph.sum(graph.mul(turned, turned)))
    spread = np.array([np.sum(np.log(s)) for s in model.scalings_])
    scores = graph.mul(graph.add(graph.concat(norms), spread), -0.5)
    return graph.add(scores, np.log(model.priors_))


def _qda_decision(e: Emitter, model: Any, table: Table) -> str:
    scores = _qda_scores(e, model, table)
    if len(model.classes_) != 2:
        return scores
    return e.graph.matmul(scores, np.array([[-1.0], [1.0]]))


def _qda_choose(e: Emitter, model: Any, table: Table) -> str:
    return e.graph.argmax(_qda_scores(e, model, table))


def _qda_proba(e: Emitter, model: Any, table: Table) -> str:
    return e.softmax(_qda_scores(e, model, table))


def _lda_transform(e: Emitter, model: Any, table: Table) -> Table:
    if model.solver == "lsqr":
        e.refuse(model, "solver='lsqr' has no transform")
    x = e.numbers(table, model)
    if model.solver == "svd":
        x = e.graph.sub(x, model.xbar_)
    count = min(model._max_components, model.scalings_.shape[1])  # noqa: SLF001
    return Table.numbers(e.graph.matmul(x, model.scalings_[:, :count]), count)


def _one_class_score(e: Emitter, model: Any, table: Table) -> str:
    raw = e.graph.matmul(e.numbers(table, model), np.asarray(model.coef_, float).reshape(-1, 1))
    return e.graph.sub(raw, np.asarray(model.offset_, float).reshape(1, 1))


def _one_class(e: Emitter, model: Any, table: Table) -> str:
    return signs(e, e.decision(model, table))


def signs(e: Emitter, score: str) -> str:
    """Return 1 where a score of shape (rows, 1) is at least 0, else -1, shape (rows,)."""
    inside = e.graph.integer(e.graph.op("GreaterOrEqual", score, 0.0))
    return e.graph.reshape(e.graph.sub(e.graph.mul(inside, 2), 1), -1)


def _pls(e: Emitter, model: Any, table: Table) -> str:
    centred = e.graph.sub(e.numbers(table, model), model._x_mean)  # noqa: SLF001
    return e.graph.add(e.graph.matmul(centred, model.coef_.T), model.intercept_)


def _pls_transform(e: Emitter, model: Any, table: Table) -> Table:
    scaled = e.graph.div(e.graph.sub(e.numbers(table, model), model._x_mean), model._x_std)  # noqa: SLF001
    rotations = model.x_rotations_
    return Table.numbers(e.graph.matmul(scaled, rotations), rotations.shape[1])


def _plssvd_transform(e: Emitter, model: Any, table: Table) -> Table:
    scaled = e.graph.div(e.graph.sub(e.numbers(table, model), model._x_mean), model._x_std)  # noqa: SLF001
    weights = model.x_weights_
    return Table.numbers(e.graph.matmul(scaled, weights), weights.shape[1])
