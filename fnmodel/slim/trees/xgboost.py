"""Reads XGBoost models into an ensemble, from the JSON that the booster writes of itself."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.trees.ensemble import Ensemble, Link, Mode, Tree

Array = NDArray[Any]

_LINKS: Mapping[str, Link] = {
    "binary:hinge": "step",
    "binary:logistic": "logistic",
    "binary:logitraw": "identity",
    "count:poisson": "exp",
    "multi:softmax": "softmax",
    "multi:softprob": "softmax",
    "rank:map": "identity",
    "rank:ndcg": "identity",
    "rank:pairwise": "identity",
    "reg:absoluteerror": "identity",
    "reg:expectileerror": "identity",
    "reg:gamma": "exp",
    "reg:linear": "identity",
    "reg:logistic": "logistic",
    "reg:pseudohubererror": "identity",
    "reg:quantileerror": "identity",
    "reg:squarederror": "identity",
    "reg:squaredlogerror": "identity",
    "reg:tweedie": "exp",
    "survival:aft": "exp",
    "survival:cox": "exp",
}


def read(model: Any) -> Ensemble | None:
    """Return the trees of an XGBoost estimator or Booster, or None where it is neither.

    An estimator that stopped early answers with its best iteration, a Booster with all.

    Raises:
        UnsupportedModelError: it answers in a way that is not known here.

    """
    library = sys.modules.get("xgboost")
    if library is None or not isinstance(model, library.XGBModel | library.Booster):
        return None
    estimator = isinstance(model, library.XGBModel)
    booster = model.get_booster() if estimator else model
    told = learner(booster)
    name = told["objective"]["name"]
    if name not in _LINKS:
        raise UnsupportedModelError(
            f"XGBoost's objective {name!r} answers in a way that fnmodel does not know",
            hint=f"train with one of {', '.join(sorted(_LINKS))}",
        )
    shape = told["learner_model_param"]
    features = int(shape["num_feature"])
    count = targets(told)
    missing = float(model.missing) if estimator and model.missing is not None else np.nan
    ensemble = Ensemble(
        trees=(),
        features=features,
        targets=count,
        compares="FP32",
        base=_base(shape["base_score"], name, count),
        link=_LINKS[name],
        absent={} if np.isnan(missing) else _absent(missing, features),
    )
    kind = told["gradient_booster"]["name"]
    if kind == "gblinear":
        weights = np.array(told["gradient_booster"]["model"]["weights"], dtype=np.float32)
        table = weights.reshape(features + 1, count).astype(np.float64)
        # What it starts from depends on its version; a row without any value shows it.
        nothing = library.DMatrix(
            np.full((1, features), np.nan, dtype=np.float32),
            feature_names=booster.feature_names,
            feature_types=booster.feature_types,
        )
        base = booster.predict(nothing, output_margin=True).astype(np.float64).reshape(count)
        return replace(ensemble, base=base, weights=table[:-1])
    best = getattr(model, "best_iteration", None) if estimator else None
    trees = tuple(_trees(told["gradient_booster"], best))
    coded = {int(f) for tree in trees for f in tree.feature[tree.mode == Mode.MEMBER]}
    return replace(ensemble, trees=trees, codes=dict.fromkeys(sorted(coded), "floor"))


def learner(model: Any) -> dict[str, Any]:
    """Return what the JSON of an estimator or Booster says of its learner."""
    booster = model if type(model).__name__ == "Booster" else model.get_booster()
    told: dict[str, Any] = json.loads(booster.save_raw("json"))["learner"]
    return told


def targets(told: Mapping[str, Any]) -> int:
    """Return how many numbers a learner answers with."""
    shape = told["learner_model_param"]
    return max(int(shape["num_class"]), int(shape.get("num_target", "1")), 1)


def _base(text: str, objective: str, targets: int) -> Array:
    """Return the raw scores that the sums start from; the booster keeps them as answers."""
    scores = np.array(json.loads(text), dtype=np.float32).reshape(-1)
    with np.errstate(divide="ignore"):
        if _LINKS[objective] == "logistic":
            scores = -np.log(np.float32(1) / scores - np.float32(1))
        elif _LINKS[objective] == "exp":
            scores = np.log(scores)
    return np.broadcast_to(scores.astype(np.float64), targets).copy()


def _absent(missing: float, features: int) -> dict[int, tuple[float, float]]:
    value = float(np.float32(missing))
    return dict.fromkeys(range(features), (value, value))


def _trees(gradient_booster: Mapping[str, Any], best: int | None) -> Iterator[Tree]:
    dart = gradient_booster["name"] == "dart"
    model = gradient_booster["gbtree"]["model"] if dart else gradient_booster["model"]
    stop = len(model["trees"]) if best is None else model["iteration_indptr"][best + 1]
    factors = gradient_booster["weight_drop"] if dart else [1.0] * stop
    several = model["tree_info"]
    for tree, target, factor in zip(model["trees"][:stop], several, factors, strict=False):
        yield _tree(tree, target, np.float32(factor))


def _tree(tree: Mapping[str, Any], target: int, factor: np.float32) -> Tree:
    """Return one tree without the nodes that pruning has cut off."""
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    kept = _reached(left, right)
    number = np.full(len(left), -1)
    number[kept] = np.arange(len(kept))
    leaf = left[kept] < 0
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    size = int(tree["tree_param"]["size_leaf_vector"])
    if size > 1:
        # A leaf of several targets has the row of its values where others have a right child.
        rows = np.array(tree["leaf_weights"], dtype=np.float32).reshape(-1, size)
        values = np.zeros((len(kept), size), dtype=np.float32)
        values[leaf] = rows[right[kept][leaf]]
    else:
        values = np.where(leaf, conditions[kept], np.float32(0)).reshape(-1, 1)
    when_true, when_false = np.where(leaf, -1, number[left[kept]]), number[right[kept]]
    when_false = np.where(leaf, -1, when_false)
    default_left = np.array(tree["default_left"], dtype=bool)[kept] & ~leaf
    feature = np.where(leaf, -1, np.array(tree["split_indices"])[kept])
    mode = np.full(len(kept), int(Mode.LT))
    threshold = np.where(leaf, 0.0, conditions[kept].astype(np.float64))
    members: dict[int, tuple[float, ...]] = {}
    for node, categories in _categories(tree):
        at = int(number[node])
        if at < 0:
            continue
        # The chosen categories go right, so right is the true branch here.
        when_true[at], when_false[at] = when_false[at], when_true[at]
        default_left[at] = not default_left[at]
        if categories:
            mode[at], threshold[at], members[at] = Mode.MEMBER, 0.0, categories
        else:
            threshold[at] = -np.inf
    return Tree(
        feature=feature,
        mode=mode,
        threshold=threshold,
        missing_true=default_left,
        when_true=when_true,
        when_false=when_false,
        values=(values * factor).astype(np.float64),
        target=target if size <= 1 else 0,
        members=members,
    )


def _reached(left: Array, right: Array) -> Array:
    """Return the nodes that hang together with the root, which comes first."""
    order = [0]
    for node in order:
        if left[node] >= 0:
            order += [int(left[node]), int(right[node])]
    return np.array(order)


def _categories(tree: Mapping[str, Any]) -> Iterator[tuple[int, tuple[float, ...]]]:
    parts = (tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"])
    for node, start, size in zip(*parts, strict=True):
        yield node, tuple(float(c) for c in tree["categories"][start : start + size])
