"""Writers of naive Bayes, mixtures, and models that compare with centres."""

from typing import Any

import numpy as np

from fnmodel.slim.converters.emit import Emitter, Table, Writers


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import mixture
    from sklearn import naive_bayes as nb

    likelihoods = {
        nb.GaussianNB: _gaussian,
        nb.MultinomialNB: _multinomial,
        nb.ComplementNB: _complement,
        nb.BernoulliNB: _bernoulli,
        nb.CategoricalNB: _categorical,
        mixture.GaussianMixture: _mixture,
        mixture.BayesianGaussianMixture: _bayesian_mixture,
    }

    def scores(e: Emitter, model: Any, table: Table) -> str:
        write = likelihoods[type(model)]
        return str(e.once("joint", model, table, lambda: write(e, model, table)))

    def choose(e: Emitter, model: Any, table: Table) -> str:
        return e.graph.argmax(scores(e, model, table))

    def chances(e: Emitter, model: Any, table: Table) -> str:
        graph, joint = e.graph, scores(e, model, table)
        most = graph.largest(joint)
        shifted = graph.op("Exp", graph.sub(joint, most))
        total = graph.add(graph.op("Log", graph.sum(shifted)), most)
        return str(graph.op("Exp", graph.sub(joint, total)))

    return {
        "predict": dict.fromkeys(likelihoods, choose),
        "predict_proba": dict.fromkeys(likelihoods, chances),
    }


def _gaussian(e: Emitter, model: Any, table: Table) -> str:
    graph, x = e.graph, e.numbers(table, model)
    parts = []
    for mean, variance, prior in zip(model.theta_, model.var_, model.class_prior_, strict=True):
        gap = graph.sub(x, mean)
        square = graph.sum(graph.div(graph.mul(gap, gap), variance))
        level = float(np.log(prior) - 0.5 * np.sum(np.log(2.0 * np.pi * variance)))
        parts.append(graph.add(graph.mul(square, -0.5), level))
    return graph.concat(parts)


def _multinomial(e: Emitter, model: Any, table: Table) -> str:
    product = e.graph.matmul(e.numbers(table, model), model.feature_log_prob_.T)
    return e.graph.add(product, model.class_log_prior_)


def _complement(e: Emitter, model: Any, table: Table) -> str:
    product = e.graph.matmul(e.numbers(table, model), model.feature_log_prob_.T)
    return product if len(model.classes_) > 1 else e.graph.add(product, model.class_log_prior_)


def _bernoulli(e: Emitter, model: Any, table: Table) -> str:
    x = e.numbers(table, model)
    if model.binarize is not None:
        x = e.graph.double(e.graph.op("Greater", x, float(model.binarize)))
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    product = e.graph.matmul(x, (model.feature_log_prob_ - absent).T)
    return e.graph.add(product, model.class_log_prior_ + absent.sum(axis=1))


def _categorical(e: Emitter, model: Any, table: Table) -> str:
    graph, total = e.graph, ""
    for block, known in zip(e.columns(table), model.feature_log_prob_, strict=True):
        e.close(model, block, list(range(known.shape[1])))
        index = graph.reshape(graph.integer(e.numbers(Table((block,)), model)), -1)
        part = graph.gather(known.T, index, axis=0)
        total = graph.add(total, part) if total else part
    return graph.add(total, model.class_log_prior_)


def _log_gaussian(e: Emitter, model: Any, table: Table) -> str:
    """Return the log density of each component, (rows, components)."""
    from sklearn.mixture._gaussian_mixture import _compute_log_det_cholesky

    graph, x = e.graph, e.numbers(table, model)
    means, roots, kind = model.means_, model.precisions_cholesky_, model.covariance_type
    features = means.shape[1]
    parts = []
    for at, mean in enumerate(means):
        match kind:
            case "full":
                root = roots[at]
            case "tied":
                root = roots
            case "diag":
                root = np.diag(roots[at])
            case _:
                root = np.eye(features) * roots[at]
        gap = graph.sub(graph.matmul(x, root), mean @ root)
        parts.append(graph.sum(graph.mul(gap, gap)))
    level = -0.5 * features * np.log(2 * np.pi)
    spread = level + np.asarray(_compute_log_det_cholesky(roots, kind, features)) * np.ones(
        len(means)
    )
    return graph.add(graph.mul(graph.concat(parts), -0.5), spread.reshape(1, -1))


def _mixture(e: Emitter, model: Any, table: Table) -> str:
    return e.graph.add(_log_gaussian(e, model, table), np.log(model.weights_))


def _bayesian_mixture(e: Emitter, model: Any, table: Table) -> str:
    from scipy.special import digamma

    features, freedom = model.means_.shape[1], np.asarray(model.degrees_of_freedom_)
    spread = features * np.log(2.0) + np.sum(
        digamma(0.5 * (freedom - np.arange(features)[:, np.newaxis])), 0
    )
    level = -0.5 * features * np.log(freedom)
    level = level + 0.5 * (spread - features / model.mean_precision_)
    return e.graph.add(
        _log_gaussian(e, model, table),
        level + model._estimate_log_weights(),  # noqa: SLF001
    )
