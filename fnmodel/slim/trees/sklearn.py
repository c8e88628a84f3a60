"""Reads scikit-learn's trees, forests and boosting into an ensemble.

Trees, forests and GradientBoosting cast rows to float32; HistGradientBoosting compares float64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.slim.trees.ensemble import Ensemble, Link, Mode, Tree

Array = NDArray[Any]


def read(estimator: Any) -> Ensemble | None:
    """Return the trees of a fitted scikit-learn estimator, or None where it is no tree ensemble.

    The targets of a classifier are its classes, or one for two boosted classes; those of several
    outputs follow each other. The scores are probabilities for trees and forests, what
    `decision_function` gives for boosting, and the sum of depths for IsolationForest.

    None as well where GradientBoosting starts from an estimator of its own.
    """
    from sklearn import ensemble, tree

    kind = type(estimator)
    if kind in (
        tree.DecisionTreeClassifier, tree.DecisionTreeRegressor,
        tree.ExtraTreeClassifier, tree.ExtraTreeRegressor,
    ):  # fmt: skip
        return _average([estimator], estimator)
    if kind in (
        ensemble.RandomForestClassifier, ensemble.RandomForestRegressor,
        ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor,
    ):  # fmt: skip
        return _average(list(estimator.estimators_), estimator)
    if kind in (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor):
        return _boosting(estimator)
    if kind in (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor):
        return _histogram(estimator)
    if kind is ensemble.IsolationForest:
        return _isolation(estimator)
    if kind is ensemble.AdaBoostClassifier:
        return _votes(estimator)
    if kind in (ensemble.BaggingClassifier, ensemble.BaggingRegressor):
        return _bagging(estimator)
    return None


def categories(estimator: Any) -> dict[int, tuple[Any, ...]]:
    """Return the categories that HistGradientBoosting learned, by column, in the order of codes.

    Where they are numbers, the ensemble's members are these numbers; where they are text, the
    members are positions in this list.
    """
    encoder = getattr(estimator, "_preprocessor", None)
    if encoder is None:
        return {}
    learned = encoder.named_transformers_["encoder"].categories_
    columns = np.flatnonzero(estimator.is_categorical_)
    return {
        int(column): tuple(value for value in known.tolist() if not _missing(value))
        for column, known in zip(columns, learned, strict=True)
    }


def _missing(value: Any) -> bool:
    return value is None or value != value


def _tree(tree: Any, values: Array, target: int = 0, columns: Array | None = None) -> Tree:
    """Return a tree of scikit-learn's with the given leaf values, shape (nodes, K).

    `columns` gives the ensemble's column for each of the tree's, where it saw only some.
    """
    leaf = tree.children_left < 0
    feature = np.where(leaf, 0, tree.feature)
    feature = np.where(leaf, -1, feature if columns is None else np.asarray(columns)[feature])
    return Tree(
        feature=feature,
        mode=np.full(len(leaf), int(Mode.LEQ)),
        threshold=np.where(leaf, 0.0, tree.threshold),
        missing_true=(tree.missing_go_to_left != 0) & ~leaf,
        when_true=tree.children_left,
        when_false=tree.children_right,
        values=values,
        target=target,
    )


def _complete(tree: Tree) -> Tree:
    """Return a tree without a way for missing values, of a model that refuses them.

    The runtime then asks one question less at each split, some 7 % of its time.
    """
    return replace(tree, missing_true=np.zeros_like(tree.missing_true))


def _averaged(estimator: Any) -> Array:
    """Return what each node of a tree answers, shape (nodes, K), outputs side by side."""
    values: Array = estimator.tree_.value
    if not hasattr(estimator, "classes_"):
        return values[:, :, 0]
    counts = np.atleast_1d(estimator.n_classes_)
    parts = [values[:, output, :count] for output, count in enumerate(counts)]
    return np.concatenate(parts, axis=1)


def _average(members: Sequence[Any], estimator: Any) -> Ensemble:
    trees = tuple(_tree(member.tree_, _averaged(member)) for member in members)
    targets = trees[0].values.shape[1]
    return Ensemble(
        trees=trees,
        features=int(estimator.n_features_in_),
        targets=targets,
        compares="FP32",
        base=np.zeros(targets),
        divide=float(len(trees)),
    )


def _boosting(estimator: Any) -> Ensemble | None:
    later = rounds(estimator)
    start = estimator.init_
    dummy = type(start).__name__ in ("DummyClassifier", "DummyRegressor")
    if later is None or not (isinstance(start, str) or dummy):
        return None
    row = np.zeros((1, later.features), dtype=np.float32)
    base = np.asarray(estimator._raw_predict_init(row), dtype=np.float64)  # noqa: SLF001
    return replace(later, base=base.reshape(-1))


def rounds(estimator: Any) -> Ensemble | None:
    """Return GradientBoosting's trees without what they start from; None for other estimators."""
    from sklearn import ensemble

    if type(estimator) not in (
        ensemble.GradientBoostingClassifier,
        ensemble.GradientBoostingRegressor,
    ):
        return None
    found = link(estimator)
    if found is None:
        return None
    rate = estimator.learning_rate
    trees = tuple(
        _complete(_tree(member.tree_, rate * member.tree_.value[:, 0, :1], target))
        for stage in estimator.estimators_
        for target, member in enumerate(stage)
    )
    targets = estimator.estimators_.shape[1]
    return Ensemble(
        trees=trees,
        features=int(estimator.n_features_in_),
        targets=targets,
        compares="FP32",
        base=np.zeros(targets),
        link=found[0],
        scale=found[1],
    )


def _histogram(estimator: Any) -> Ensemble | None:
    found = link(estimator)
    if found is None:
        return None
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
    features = int(estimator.n_features_in_)
    columns = np.arange(features)
    codes: dict[int, tuple[float, ...]] = {}
    if estimator.is_categorical_ is not None:
        # The model sees its categories first.
        chosen = np.asarray(estimator.is_categorical_)
        columns = np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)])
        codes = {column: _numbers(known) for column, known in categories(estimator).items()}
    trees = tuple(
        _histogram_tree(predictor, target, columns, codes)
        for stage in estimator._predictors  # noqa: SLF001
        for target, predictor in enumerate(stage)
    )
    return Ensemble(
        trees=trees,
        features=features,
        targets=len(base),
        compares="FP64",
        base=base,
        link=found[0],
        scale=found[1],
    )


def _numbers(known: tuple[Any, ...]) -> tuple[float, ...]:
    if all(isinstance(value, int | float) for value in known):
        return tuple(float(value) for value in known)
    return tuple(float(code) for code in range(len(known)))


def _histogram_tree(
    predictor: Any, target: int, columns: Array, codes: dict[int, tuple[float, ...]]
) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"] != 0
    feature = np.where(leaf, -1, columns[np.where(leaf, 0, nodes["feature_idx"])])
    threshold = np.where(leaf, 0.0, nodes["num_threshold"])
    missing_left = (nodes["missing_go_to_left"] != 0) & ~leaf
    mode = np.full(len(leaf), int(Mode.LEQ))
    when_true, when_false = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    members: dict[int, tuple[float, ...]] = {}
    for node in np.flatnonzero((nodes["is_categorical"] != 0) & ~leaf):
        known = codes[int(feature[node])]
        left = _bits(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]], len(known))
        # What is missing or unknown goes where the node says; the members go the other way.
        away = ~left if missing_left[node] else left
        if missing_left[node]:
            when_true[node], when_false[node] = when_false[node], when_true[node]
        missing_left[node] = False
        if away.any():
            mode[node], threshold[node] = int(Mode.MEMBER), 0.0
            members[int(node)] = tuple(value for value, go in zip(known, away, strict=True) if go)
        else:
            mode[node], threshold[node] = int(Mode.LT), -np.inf
    return Tree(
        feature=feature,
        mode=mode,
        threshold=threshold,
        missing_true=missing_left,
        when_true=when_true,
        when_false=when_false,
        values=nodes["value"].astype(np.float64).reshape(-1, 1),
        target=target,
        members=members,
    )


def _bits(words: Array, count: int) -> Array:
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return bits[:count].astype(bool)


def link(estimator: Any) -> tuple[Link, float] | None:
    """Return the link and its scale, or None for a loss that is not scikit-learn's own."""
    links: dict[str, tuple[Link, float]] = {
        "IdentityLink": ("identity", 1.0),
        "LogLink": ("exp", 1.0),
        "LogitLink": ("logistic", 1.0),
        "HalfLogitLink": ("logistic", 2.0),
        "MultinomialLogit": ("softmax", 1.0),
    }
    return links.get(type(estimator._loss.link).__name__)  # noqa: SLF001


def _isolation(estimator: Any) -> Ensemble:
    trees = tuple(
        _tree(member.tree_, (lengths + average - 1.0).reshape(-1, 1), columns=columns)
        for member, columns, lengths, average in zip(
            estimator.estimators_,
            estimator.estimators_features_,
            estimator._decision_path_lengths,  # noqa: SLF001
            estimator._average_path_length_per_tree,  # noqa: SLF001
            strict=True,
        )
    )
    return Ensemble(trees, int(estimator.n_features_in_), 1, "FP32", np.zeros(1))


def _votes(estimator: Any) -> Ensemble | None:
    """Return AdaBoost's weighted votes; for two classes those of the second one."""
    count = int(estimator.n_classes_)
    if count == 1 or not _are_trees(estimator.estimators_):
        return None
    trees = []
    for member, weight in zip(estimator.estimators_, estimator.estimator_weights_, strict=False):
        favourite = member.classes_[np.argmax(_averaged(member), axis=1)]
        agrees = favourite.reshape(-1, 1) == estimator.classes_.reshape(1, -1)
        votes = np.where(agrees, weight, -1 / (count - 1) * weight)
        trees.append(_tree(member.tree_, votes[:, 1:] if count == 2 else votes))
    targets = 1 if count == 2 else count
    return Ensemble(
        trees=tuple(trees),
        features=int(estimator.n_features_in_),
        targets=targets,
        compares="FP32",
        base=np.zeros(targets),
        divide=float(estimator.estimator_weights_.sum()),
    )


def _bagging(estimator: Any) -> Ensemble | None:
    if not _are_trees(estimator.estimators_):
        return None
    trees = tuple(_bagged(estimator))
    targets = trees[0].values.shape[1]
    return Ensemble(
        trees=trees,
        features=int(estimator.n_features_in_),
        targets=targets,
        compares="FP32",
        base=np.zeros(targets),
        divide=float(len(trees)),
    )


def _bagged(estimator: Any) -> Iterator[Tree]:
    classes = len(estimator.classes_) if hasattr(estimator, "classes_") else 0
    for member, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        values = _averaged(member)
        if classes and values.shape[1] != classes:
            # Its classes are positions among the bagging's; its sample may have lacked some.
            wide = np.zeros((len(values), classes))
            wide[:, np.asarray(member.classes_, dtype=np.int64)] = values
            values = wide
        yield _tree(member.tree_, values, columns=columns)


def _are_trees(members: Sequence[Any]) -> bool:
    from sklearn import tree

    kinds = (
        tree.DecisionTreeClassifier, tree.DecisionTreeRegressor,
        tree.ExtraTreeClassifier, tree.ExtraTreeRegressor,
    )  # fmt: skip
    return all(type(m) in kinds and getattr(m, "n_outputs_", 1) == 1 for m in members)


def leaves(embedding: Any, known: Sequence[Array]) -> Ensemble:
    """Return RandomTreesEmbedding's trees, of which tree i answers target i with a column.

    `known` gives the node numbers of each tree's leaves, in the order of their columns.
    """
    trees: list[Tree] = []
    start = 0
    for target, (member, own) in enumerate(zip(embedding.estimators_, known, strict=True)):
        column = np.full((member.tree_.node_count, 1), -1.0)
        column[np.asarray(own, dtype=np.int64), 0] = start + np.arange(len(own))
        trees.append(_tree(member.tree_, column, target))
        start += len(own)
    features = int(embedding.n_features_in_)
    return Ensemble(tuple(trees), features, len(trees), "FP32", np.zeros(len(trees)))
