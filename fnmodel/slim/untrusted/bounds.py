"""Checks the indices inside a loaded model that compiled code follows without looking."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError

_MOST_OBJECTS = 5_000_000


def check_indices(model: Any) -> None:
    """Refuse trees whose children or features lie outside, or that lead back to themselves.

    scikit-learn's own trees only ever lead forward.

    Raises:
        SlimError: a tree does.

    """
    for owner, part in _parts(model):
        kind = type(part)
        home = f"{kind.__module__}.{kind.__qualname__}"
        if home == "sklearn.tree._tree.Tree":
            _check_tree(part)
        elif home == "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor":
            _check_predictor(part, owner)


def _parts(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every object that can be reached, with the last one above it that has features."""
    seen: set[int] = set()
    left = [(model, model)]
    while left and len(seen) < _MOST_OBJECTS:
        owner, value = left.pop()
        if value is None or isinstance(value, str | int | float | bytes | bool | np.generic | type):
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield owner, value
        if isinstance(value, dict):
            left.extend((owner, item) for item in value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            left.extend((owner, item) for item in value)
        elif isinstance(value, np.ndarray):
            if value.dtype == object:
                left.extend((owner, item) for item in value.flat)
        else:
            inner = getattr(value, "__dict__", None)
            if isinstance(inner, dict):
                owner = value if "_n_features" in inner or "n_features_in_" in inner else owner
                left.extend((owner, item) for item in inner.values())


def _check_tree(tree: Any) -> None:
    count = int(tree.node_count)
    index = np.arange(count)
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    leaf = left == -1
    _require(count > 0 and len(left) == count)
    _require(bool(np.all(right[leaf] == -1)))
    for child in (left, right):
        _forward(child[~leaf], index[~leaf], count)
    inner = feature[~leaf]
    _require(bool(np.all((inner >= 0) & (inner < int(tree.n_features)))))


def _check_predictor(predictor: Any, owner: Any) -> None:
    nodes = predictor.nodes
    _require(isinstance(nodes, np.ndarray) and nodes.ndim == 1 and len(nodes) > 0)
    inner = nodes["is_leaf"] == 0
    index = np.arange(len(nodes))
    for name in ("left", "right"):
        _forward(nodes[name][inner].astype(np.int64), index[inner], len(nodes))
    features = getattr(owner, "_n_features", None) or getattr(owner, "n_features_in_", None)
    feature = nodes["feature_idx"][inner]
    _require(bool(np.all(feature >= 0)))
    _require(not isinstance(features, int) or bool(np.all(feature < features)))
    sets = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    for name in ("binned_left_cat_bitsets", "raw_left_cat_bitsets"):
        bits = getattr(predictor, name, None)
        _require(isinstance(bits, np.ndarray) and bool(np.all(sets < len(bits))))


def _forward(child: NDArray[Any], index: NDArray[Any], count: int) -> None:
    _require(bool(np.all((child > index) & (child < count))))


def _require(condition: bool) -> None:
    if not condition:
        raise SlimError(
            "a tree of the model leads outside itself",
            hint="the file is damaged or made to do harm; do not use it",
        )
