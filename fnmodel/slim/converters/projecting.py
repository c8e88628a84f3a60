"""Writers of decompositions, kernels and clusterings: rows in other coordinates."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fnmodel.slim.converters.emit import Emitter, Table, Writers
from fnmodel.slim.converters.linear import signs
from fnmodel.slim.converters.neighbours import all_distances
from fnmodel.slim.converters.vectors import whole_power

# What the second of two classes has over the first.
_SECOND = np.array([[-1.0], [1.0]])


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import cluster as c
    from sklearn import decomposition as d
    from sklearn import kernel_approximation as ka
    from sklearn import random_projection as rp
    from sklearn.covariance import EllipticEnvelope
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.neighbors import NearestCentroid

    centres = [c.KMeans, c.MiniBatchKMeans]
    solvers = [
        d.NMF, d.MiniBatchNMF, d.DictionaryLearning, d.MiniBatchDictionaryLearning, d.SparsePCA,
        d.MiniBatchSparsePCA, d.SparseCoder, d.LatentDirichletAllocation,
    ]  # fmt: skip
    return {
        "transform": {
            d.PCA: _components,
            d.IncrementalPCA: _components,
            d.TruncatedSVD: _svd,
            d.FastICA: _independent,
            d.FactorAnalysis: _factors,
            d.KernelPCA: _kernel_components,
            ka.Nystroem: _nystroem,
            ka.RBFSampler: _sampler,
            ka.SkewedChi2Sampler: _skewed,
            **dict.fromkeys(solvers, _solved),
            rp.GaussianRandomProjection: _random,
            rp.SparseRandomProjection: _random,
            **dict.fromkeys(centres, _to_centres),
            c.BisectingKMeans: _to_centres,
            c.Birch: _to_subclusters,
            c.FeatureAgglomeration: _agglomerated,
        },
        "inverse_transform": {d.PCA: _components_back},
        "predict": {
            **dict.fromkeys(centres, _nearest_centre),
            c.MeanShift: _nearest_centre,
            c.AffinityPropagation: _nearest_centre,
            c.BisectingKMeans: _bisected,
            c.Birch: _nearest_subcluster,
            NearestCentroid: _nearest_class,
            KernelRidge: _kernel_ridge,
            EllipticEnvelope: lambda e, model, t: signs(e, e.decision(model, t)),
        },
        "decision_function": {EllipticEnvelope: _ellipse, NearestCentroid: _class_decision},
        "predict_proba": {NearestCentroid: _class_proba},
    }


def _components(e: Emitter, step: Any, table: Table) -> Table:
    graph, x = e.graph, e.numbers(table, step)
    turned = graph.matmul(x, step.components_.T)
    mean = step.mean_.reshape(1, -1) @ step.components_.T if step.mean_ is not None else 0.0
    turned = graph.sub(turned, mean)
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        turned = graph.div(turned, np.maximum(scale, np.finfo(scale.dtype).eps))
    return Table.numbers(turned, len(step.components_))


def _components_back(e: Emitter, step: Any, table: Table) -> Table:
    scale = np.sqrt(step.explained_variance_[:, np.newaxis]) if step.whiten else 1.0
    back = e.graph.matmul(e.numbers(table, step), scale * step.components_)
    return Table.numbers(e.graph.add(back, step.mean_), step.components_.shape[1])


def _svd(e: Emitter, step: Any, table: Table) -> Table:
    turned = e.graph.matmul(e.numbers(table, step), step.components_.T)
    return Table.numbers(turned, len(step.components_))


def _independent(e: Emitter, step: Any, table: Table) -> Table:
    x = e.numbers(table, step)
    if step.whiten:
        x = e.graph.sub(x, step.mean_)
    return Table.numbers(e.graph.matmul(x, step.components_.T), len(step.components_))


def _factors(e: Emitter, step: Any, table: Table) -> Table:
    weights = step.components_ / step.noise_variance_
    covariance = np.linalg.inv(np.eye(len(weights)) + weights @ step.components_.T)
    centred = e.graph.sub(e.numbers(table, step), step.mean_)
    turned = e.graph.matmul(e.graph.matmul(centred, weights.T), covariance)
    return Table.numbers(turned, len(weights))


def kernel(e: Emitter, step: Any, x: str, rows: Any, kind: Any, given: Mapping[str, Any]) -> str:
    """Write a kernel of sklearn.metrics.pairwise between rows and training rows."""
    graph = e.graph
    rows = np.asarray(rows, float)
    gamma = given.get("gamma")
    gamma = 1.0 / rows.shape[1] if gamma is None else float(gamma)
    if kind == "rbf":
        middle = rows.mean(axis=0)
        square = squares(e, graph.sub(x, middle), rows - middle)
        return str(graph.op("Exp", graph.mul(square, -gamma)))
    product = graph.matmul(x, rows.T)
    shift = given.get("coef0")
    bent = graph.add(graph.mul(product, gamma), 1.0 if shift is None else float(shift))
    match kind:
        case "linear":
            return product
        case "sigmoid":
            return str(graph.op("Tanh", bent))
        case "poly" | "polynomial":
            degree = given.get("degree")
            degree = 3 if degree is None else degree
            if degree == int(degree):
                return whole_power(graph, bent, int(degree))
            return str(graph.op("Pow", bent, float(degree)))
        case "laplacian":
            return str(graph.op("Exp", graph.mul(all_distances(e, step, x, rows, 1.0), -gamma)))
        case "cosine":
            norm = np.linalg.norm(rows, axis=1, keepdims=True)
            unit = rows / np.where(norm == 0, 1.0, norm)
            size = graph.op("Sqrt", graph.sum(graph.mul(x, x)))
            size = graph.where(graph.op("Equal", size, 0.0), 1.0, size)
            return graph.matmul(graph.div(x, size), unit.T)
        case _:
            raise e.refusal(
                step, f"its kernel is {kind if isinstance(kind, str) else 'a function'!r}"
            )


def squares(e: Emitter, x: str, rows: Any) -> str:
    """Return squared distances from x to rows, (rows, training rows), at least 0."""
    graph = e.graph
    cross = graph.mul(graph.matmul(x, rows.T), -2.0)
    own = graph.sum(graph.mul(x, x))
    square = graph.add(graph.add(cross, (rows**2).sum(axis=1)), own)
    return str(graph.op("Max", square, 0.0))


def _kernel_components(e: Emitter, step: Any, table: Table) -> Table:
    graph, x = e.graph, e.numbers(table, step)
    given = {"gamma": step.gamma_, "degree": step.degree, "coef0": step.coef0}
    values = kernel(e, step, x, step.X_fit_, step.kernel, given)
    centre = step._centerer  # noqa: SLF001
    own = graph.div(graph.sum(values), float(len(centre.K_fit_rows_)))
    values = graph.add(graph.sub(graph.sub(values, centre.K_fit_rows_), own),
                       float(centre.K_fit_all_))  # fmt: skip
    scaled = np.zeros_like(step.eigenvectors_)
    used = np.flatnonzero(step.eigenvalues_)
    scaled[:, used] = step.eigenvectors_[:, used] / np.sqrt(step.eigenvalues_[used])
    return Table.numbers(graph.matmul(values, scaled), scaled.shape[1])


def _nystroem(e: Emitter, step: Any, table: Table) -> Table:
    given = {"gamma": step.gamma, "degree": step.degree, "coef0": step.coef0}
    if step.kernel_params:
        given |= dict(step.kernel_params)
    x = e.numbers(table, step)
    values = kernel(e, step, x, step.components_, step.kernel, given)
    turned = e.graph.matmul(values, step.normalization_.T)
    return Table.numbers(turned, len(step.normalization_))


def _kernel_ridge(e: Emitter, model: Any, table: Table) -> str:
    given = {"gamma": model.gamma, "degree": model.degree, "coef0": model.coef0}
    x = e.numbers(table, model)
    values = kernel(e, model, x, model.X_fit_, model.kernel, given)
    return e.graph.matmul(values, np.asarray(model.dual_coef_).reshape(len(model.X_fit_), -1))


def _sampler(e: Emitter, step: Any, table: Table) -> Table:
    graph = e.graph
    raw = graph.add(graph.matmul(e.numbers(table, step), step.random_weights_), step.random_offset_)
    scaled = graph.mul(graph.op("Cos", raw), float((2.0 / step.n_components) ** 0.5))
    return Table.numbers(scaled, step.random_weights_.shape[1])


def _skewed(e: Emitter, step: Any, table: Table) -> Table:
    graph = e.graph
    logarithm = graph.op("Log", graph.add(e.numbers(table, step), float(step.skewedness)))
    raw = graph.add(graph.matmul(logarithm, step.random_weights_), step.random_offset_)
    scaled = graph.mul(graph.op("Cos", raw), float(np.sqrt(2.0) / np.sqrt(step.n_components)))
    return Table.numbers(scaled, step.random_weights_.shape[1])


def _solved(e: Emitter, step: Any, table: Table) -> Table:
    del table
    e.refuse(step, "it solves an optimisation problem for each row")


def _random(e: Emitter, step: Any, table: Table) -> Table:
    matrix = step.components_
    matrix = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, float)
    return Table.numbers(e.graph.matmul(e.numbers(table, step), matrix.T), len(matrix))


def _agglomerated(e: Emitter, step: Any, table: Table) -> Table:
    if step.pooling_func is not np.mean:
        e.refuse(step, "its pooling_func is a Python function")
    member = step.labels_.reshape(-1, 1) == np.unique(step.labels_).reshape(1, -1)
    summed = e.graph.matmul(e.numbers(table, step), member.astype(float))
    return Table.numbers(e.graph.div(summed, member.sum(axis=0).astype(float)), member.shape[1])


def _distances(e: Emitter, model: Any, table: Table, centres: Any) -> str:
    centres = np.asarray(centres, float)
    middle = centres.mean(axis=0)
    return squares(e, e.graph.sub(e.numbers(table, model), middle), centres - middle)


def _to_centres(e: Emitter, model: Any, table: Table) -> Table:
    square = _distances(e, model, table, model.cluster_centers_)
    return Table.numbers(str(e.graph.op("Sqrt", square)), len(model.cluster_centers_))


def _nearest_centre(e: Emitter, model: Any, table: Table) -> str:
    if not len(model.cluster_centers_):
        e.refuse(model, "it found no cluster")
    return e.graph.argmin(_distances(e, model, table, model.cluster_centers_))


def _to_subclusters(e: Emitter, model: Any, table: Table) -> Table:
    square = _distances(e, model, table, model.subcluster_centers_)
    return Table.numbers(str(e.graph.op("Sqrt", square)), len(model.subcluster_centers_))


def _nearest_subcluster(e: Emitter, model: Any, table: Table) -> str:
    nearest = e.graph.argmin(_distances(e, model, table, model.subcluster_centers_))
    return e.graph.gather(np.asarray(model.subcluster_labels_, dtype=np.int64), nearest, axis=0)


def _bisected(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    mean = getattr(model, "_X_mean", 0.0)
    x = e.numbers(table, model)

    def go(node: Any) -> str:
        if node.left is None:
            return graph.value(np.array([node.label]))
        pair = np.vstack((node.left.center, node.right.center)) + mean
        middle = pair.mean(axis=0)
        square = squares(e, graph.sub(x, middle), pair - middle)
        left = graph.op("Equal", graph.argmin(square), 0)
        return graph.where(left, go(node.left), go(node.right))

    return go(model._bisecting_tree)  # noqa: SLF001


def _class_scores(e: Emitter, model: Any, table: Table) -> str:
    """Return the discriminant score of each class."""
    graph, spread = e.graph, np.asarray(model.within_class_std_dev_, float)
    spread = np.where(spread == 0, 1.0, spread)
    x, centres = graph.div(e.numbers(table, model), spread), model.centroids_ / spread
    power = _power(e, model)
    apart = all_distances(e, model, x, centres, power)
    square = apart if power != 1 else graph.mul(apart, apart)
    return graph.add(graph.op("Neg", square), 2.0 * np.log(model.class_prior_))


def _power(e: Emitter, model: Any) -> float:
    if model.metric not in ("euclidean", "manhattan"):
        e.refuse(model, f"its metric is {model.metric!r}")
    return 2.0 if model.metric == "euclidean" else 1.0


def _class_decision(e: Emitter, model: Any, table: Table) -> str:
    scores = _class_scores(e, model, table)
    return e.graph.matmul(scores, _SECOND) if len(model.classes_) == 2 else scores


def _class_proba(e: Emitter, model: Any, table: Table) -> str:
    return e.softmax(_class_scores(e, model, table))


def _nearest_class(e: Emitter, model: Any, table: Table) -> str:
    if not np.isclose(model.class_prior_, 1 / len(model.classes_)).all():
        return e.graph.argmax(_class_scores(e, model, table))
    x = e.numbers(table, model)
    return e.graph.argmin(all_distances(e, model, x, model.centroids_, _power(e, model)))


def _ellipse(e: Emitter, model: Any, table: Table) -> str:
    graph = e.graph
    gap = graph.sub(e.numbers(table, model), model.location_)
    square = graph.sum(graph.mul(graph.matmul(gap, model.get_precision()), gap))
    root = graph.op("Sqrt", graph.op("Max", square, 0.0))
    return graph.sub(graph.op("Neg", graph.mul(root, root)), float(model.offset_))
