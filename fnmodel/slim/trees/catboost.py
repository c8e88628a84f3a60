"""Reads CatBoost models into an ensemble, from the JSON that the model exports of itself."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.trees.ensemble import Ensemble, Link, Mode, Tree

Array = NDArray[Any]

PROBABILITIES: Mapping[str, Link] = {
    "CrossEntropy": "logistic",
    "Focal": "logistic",
    "Logloss": "logistic",
    "MultiClass": "softmax",
    "MultiClassOneVsAll": "logistic",
    "MultiCrossEntropy": "logistic",
    "MultiLogloss": "logistic",
}
"""The losses of classifiers, and what makes probabilities of their scores."""

# What a regressor's predict() exponentiates.
_EXPONENTS = ("Poisson", "Tweedie")


def read(model: Any, content: Mapping[str, Any] | None = None) -> Ensemble | None:
    """Return the trees of a CatBoost model, or None where it is none.

    `content` is what the model exports, where that is at hand.

    The ensemble answers with probabilities where the model was trained to classify, else with
    what an estimator's `predict` gives.

    Raises:
        UnsupportedModelError: it looks at categories, texts or embeddings, or answers in a way
            that is not known here.

    """
    library = sys.modules.get("catboost")
    if library is None or not isinstance(model, library.CatBoost):
        return None
    content = content or exported(model)
    if content["features_info"].get("categorical_features"):
        raise UnsupportedModelError(
            "this CatBoost model looks up categories, which a tree ensemble alone does not do",
            hint="give a sample that holds its categories as text",
        )
    return ensemble(content, model, conditions(content), len(columns(content)))


def exported(model: Any) -> dict[str, Any]:
    """Return the model's own JSON.

    Raises:
        UnsupportedModelError: it looks at texts or embeddings, which have no place in it.

    """
    for kind, columns_of in (
        ("texts", model.get_text_feature_indices),
        ("embeddings", model.get_embedding_feature_indices),
    ):
        if columns_of():
            raise UnsupportedModelError(
                f"this CatBoost model looks at {kind}, which it turns into numbers in ways that "
                "its export leaves out",
                hint="turn them into numbers in front of the model, and train it on these",
            )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.json")
        model.save_model(str(path), format="json")
        content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def loss(content: Mapping[str, Any]) -> str:
    """Return the name of the loss that the model was trained for."""
    name: str = content["model_info"]["params"]["loss_function"]["type"]
    return name


def threshold(model: Any) -> float:
    """Return the probability above which a model of two classes chooses the second one."""
    return float(dict(model.get_metadata()).get("binclass_probability_threshold", 0.5))


def columns(content: Mapping[str, Any]) -> list[str]:
    """Return the kind of each input column: `float` or `categorical`."""
    information = content["features_info"]
    found = {
        int(feature["flat_feature_index"]): kind.partition("_")[0]
        for kind in ("float_features", "categorical_features")
        for feature in information.get(kind, ())
    }
    return [found.get(i, "float") for i in range(max(found, default=-1) + 1)]


Condition = tuple[int, float, bool]
"""A column, the border that it must exceed, and whether a missing value counts as exceeding."""


def conditions(content: Mapping[str, Any]) -> list[Condition]:
    """Return the conditions on numbers, by the `split_index` that trees name them by."""
    found: list[Condition] = []
    for feature in content["features_info"].get("float_features", ()):
        missing = feature.get("nan_value_treatment") == "AsTrue"
        column = int(feature["flat_feature_index"])
        found += [(column, border, missing) for border in feature.get("borders") or ()]
    return found


def ensemble(
    content: Mapping[str, Any], model: Any, found: Sequence[Condition], features: int
) -> Ensemble:
    """Return the trees over these conditions.

    Raises:
        UnsupportedModelError: it answers in a way that is not known here.

    """
    factor, bias = content["scale_and_bias"]
    base = np.array(bias, dtype=np.float64)
    if "oblivious_trees" in content:
        trees = [_symmetric(tree, found, len(base), factor) for tree in content["oblivious_trees"]]
    else:
        trees = [_grown(tree, found, len(base), factor) for tree in content["trees"]]
    return Ensemble(
        trees=tuple(trees),
        features=features,
        targets=len(base),
        compares="FP32",
        base=base,
        link=_link(loss(content), model),
    )


def _link(name: str, model: Any) -> Link:
    if name in PROBABILITIES:
        return PROBABILITIES[name]
    if name == "RMSEWithUncertainty":
        raise UnsupportedModelError(
            "CatBoost's RMSEWithUncertainty answers with a mean and a variance",
            hint="train with RMSE",
        )
    # Others than this estimator answer with raw scores.
    regressor = type(model).__name__ == "CatBoostRegressor"
    return "exp" if regressor and name in _EXPONENTS else "identity"


def _symmetric(
    tree: Mapping[str, Any], found: Sequence[Condition], targets: int, factor: float
) -> Tree:
    """Return a tree whose levels each ask one question; answer i is bit i of the leaf's number."""
    splits = tree.get("splits") or []
    values = np.array(tree["leaf_values"], dtype=np.float64).reshape(-1, targets) * factor

    def grow(level: int, leaf: int) -> Any:
        if level < 0:
            return values[leaf]
        condition = found[splits[level]["split_index"]]
        return condition, grow(level - 1, leaf), grow(level - 1, leaf | 1 << level)

    return _tree(grow(len(splits) - 1, 0), targets)


def _grown(
    tree: Mapping[str, Any], found: Sequence[Condition], targets: int, factor: float
) -> Tree:
    def grow(node: Mapping[str, Any]) -> Any:
        if "split" not in node:
            return np.array(node["value"], dtype=np.float64).reshape(targets) * factor
        return found[node["split"]["split_index"]], grow(node["left"]), grow(node["right"])

    return _tree(grow(tree), targets)


def _tree(root: Any, targets: int) -> Tree:
    """Return nested `(condition, when false, when true)` with leaves of values as arrays.

    Questions whose answer is known from above are left out.
    """
    feature: list[int] = []
    threshold: list[float] = []
    missing_true: list[bool] = []
    when_true: list[int] = []
    when_false: list[int] = []
    values: list[Array] = []

    def add(node: Any, known: dict[int, tuple[float, float]]) -> int:
        while isinstance(node, tuple):
            column, border, missing = node[0]
            low, high = known.get(column, (-np.inf, np.inf))
            # Known to exceed `low` and not `high`; what is missing follows one of them, always.
            if border <= low:
                node = node[2]
            elif border >= high:
                node = node[1]
            else:
                break
        at = len(feature)
        leaf = not isinstance(node, tuple)
        column, border, missing = (-1, 0.0, False) if leaf else node[0]
        feature.append(column)
        threshold.append(border)
        missing_true.append(missing)
        values.append(node if leaf else np.zeros(targets))
        when_true.append(-1)
        when_false.append(-1)
        if not leaf:
            low, high = known.get(column, (-np.inf, np.inf))
            when_false[at] = add(node[1], {**known, column: (low, border)})
            when_true[at] = add(node[2], {**known, column: (border, high)})
        return at

    add(root, {})
    return Tree(
        feature=np.array(feature),
        mode=np.full(len(feature), int(Mode.GT)),
        threshold=np.array(threshold, dtype=np.float32).astype(np.float64),
        missing_true=np.array(missing_true),
        when_true=np.array(when_true),
        when_false=np.array(when_false),
        values=np.stack(values),
    )
