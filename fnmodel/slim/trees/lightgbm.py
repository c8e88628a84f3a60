"""Reads LightGBM models into an ensemble, from the text that the booster writes of itself.

The text gives thresholds and leaves with 17 digits, so they are the booster's own doubles.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.trees.ensemble import Ensemble, Link, Mode, Tree
from fnmodel.slim.trees.linear_leaves import LinearLeaves

Array = NDArray[Any]

_LINKS: Mapping[str, Link] = {
    "binary": "logistic",
    "cross_entropy": "logistic",
    "cross_entropy_lambda": "softplus",
    "custom": "identity",
    "fair": "identity",
    "gamma": "exp",
    "huber": "identity",
    "lambdarank": "identity",
    "mape": "identity",
    "multiclass": "softmax",
    "multiclassova": "logistic",
    "none": "identity",
    "poisson": "exp",
    "quantile": "identity",
    "rank_xendcg": "identity",
    "regression": "identity",
    "regression_l1": "identity",
    "tweedie": "exp",
}
# Values this near to 0 are 0 to LightGBM.
_ZERO = float(np.float32(1e-35))
# The bits of `decision_type`, and the kinds of missing values in its bits 2 and 3.
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_NOTHING_MISSING, _ZERO_MISSING = 0, 1
# Arguments of predict() that an estimator may carry along, and that change its answers.
_PREDICTS_OTHERWISE = (
    "num_iteration_predict",
    "pred_early_stop",
    "predict_contrib",
    "predict_leaf_index",
    "predict_raw_score",
    "start_iteration_predict",
)

_Section = Mapping[str, str]


def read(model: Any) -> Ensemble | None:
    """Return the trees of a LightGBM estimator or Booster, or None where it is neither.

    Both answer with the best iteration where training stopped early.

    Raises:
        UnsupportedModelError: its leaves are linear functions (see `linear`), or it answers in a
            way that is not known here.

    """
    found = _sections(model)
    if found is None:
        return None
    head, sections = found
    if _has_linear_leaves(sections):
        raise UnsupportedModelError(
            "LightGBM's linear_tree has a linear function in each leaf, which no tree ensemble has",
            hint="train without linear_tree",
        )
    outer = _outer(head, len(sections))
    trees = (_tree(section, i % outer.targets) for i, section in enumerate(sections))
    return _with_trees(outer, tuple(trees), sections)


def linear(model: Any) -> LinearLeaves | None:
    """Return the trees of a LightGBM model that was trained with `linear_tree`, else None."""
    found = _sections(model)
    if found is None or not _has_linear_leaves(found[1]):
        return None
    head, sections = found
    outer = _outer(head, len(sections))
    trees: list[Tree] = []
    leaves: list[tuple[float, float, list[int], list[float]]] = []
    for target, section in enumerate(sections):
        own = _leaves(section)
        numbers = range(len(leaves), len(leaves) + len(own))
        leaves += own
        trees.append(_tree({**section, "leaf_value": " ".join(map(str, numbers))}, target))
    width = max((len(columns) for _, _, columns, _ in leaves), default=0)
    index = Ensemble((), outer.features, len(trees), "FP64", np.zeros(len(trees)))
    return LinearLeaves(
        index=_with_trees(index, tuple(trees), sections),
        outer=outer,
        constant=np.array([constant for constant, _, _, _ in leaves]),
        plain=np.array([plain for _, plain, _, _ in leaves]),
        columns=np.array([c + [0] * (width - len(c)) for _, _, c, _ in leaves], dtype=np.int64),
        coefficients=np.array([c + [0.0] * (width - len(c)) for *_, c in leaves]),
        used=np.array([len(columns) for _, _, columns, _ in leaves]),
    )


def _sections(model: Any) -> tuple[_Section, list[_Section]] | None:
    """Return what the model's text says at its head, and of each tree."""
    library = sys.modules.get("lightgbm")
    if library is None or not isinstance(model, library.LGBMModel | library.Booster):
        return None
    booster = model
    if isinstance(model, library.LGBMModel):
        given = [name for name in _PREDICTS_OTHERWISE if model.get_params().get(name)]
        if given:
            raise UnsupportedModelError(
                f"this {type(model).__name__} carries {given[0]!r}, which changes what it predicts",
                hint=f"train it without {given[0]!r}",
            )
        booster = model.booster_
    text = booster.model_to_string().partition("\nend of trees")[0]
    head, *trees = text.split("\nTree=")
    return _pairs(head), [_pairs(tree) for tree in trees]


def _pairs(text: str) -> _Section:
    return dict(line.partition("=")[::2] for line in text.splitlines())


def _has_linear_leaves(sections: Sequence[_Section]) -> bool:
    return any(section.get("is_linear") == "1" for section in sections)


def _outer(head: _Section, trees: int) -> Ensemble:
    """Return the ensemble without its trees: what becomes of their sums."""
    name, *options = head.get("objective", "none").split()
    if name not in _LINKS:
        raise UnsupportedModelError(
            f"LightGBM's objective {name!r} answers in a way that fnmodel does not know",
            hint=f"train with one of {', '.join(sorted(_LINKS))}",
        )
    settings = dict(option.partition(":")[::2] for option in options)
    targets = int(head["num_tree_per_iteration"])
    return Ensemble(
        trees=(),
        features=int(head["max_feature_idx"]) + 1,
        targets=targets,
        compares="FP64",
        base=np.zeros(targets),
        divide=trees // targets if "average_output" in head else 1.0,
        link="signed_square" if "sqrt" in settings else _LINKS[name],
        scale=float(settings.get("sigmoid", 1.0)),
    )


def _with_trees(outer: Ensemble, trees: tuple[Tree, ...], sections: Sequence[_Section]) -> Ensemble:
    zeros: set[int] = set()
    others: set[int] = set()
    coded: set[int] = set()
    for section in sections:
        kinds = _numbers(section, "decision_type", int)
        for feature, kind in zip(_numbers(section, "split_feature", int), kinds, strict=True):
            if kind & _CATEGORICAL:
                coded.add(int(feature))
            else:
                (zeros if (kind >> 2) & 3 == _ZERO_MISSING else others).add(int(feature))
    if zeros & others:
        raise UnsupportedModelError(
            f"feature {min(zeros & others)} counts zero as missing in some trees and not in others",
            hint="continue training with the zero_as_missing that it was begun with",
        )
    return replace(
        outer,
        trees=trees,
        absent=dict.fromkeys(sorted(zeros), (-_ZERO, _ZERO)),
        codes=dict.fromkeys(sorted(coded), "truncate"),
    )


def _tree(section: _Section, target: int) -> Tree:
    """Return one tree: its splits first, then its leaves."""
    values = _numbers(section, "leaf_value", float)
    splits = len(values) - 1
    kind = _numbers(section, "decision_type", int)
    threshold = _numbers(section, "threshold", float)
    categorical = (kind & _CATEGORICAL) > 0
    missing = (kind >> 2) & 3
    # Where training saw nothing missing, NaN counts as 0.
    left_when_missing = np.where(
        missing == _NOTHING_MISSING, threshold >= 0, (kind & _DEFAULT_LEFT) > 0
    )
    members = {
        int(node): _members(section, int(threshold[node])) for node in np.flatnonzero(categorical)
    }
    empty = [node for node, codes in members.items() if not codes]
    mode = np.where(categorical, int(Mode.MEMBER), int(Mode.LEQ))
    limit = np.where(categorical, 0.0, _beside_zero(threshold))
    # No code at all goes left, nor does a number.
    mode[empty], limit[empty] = int(Mode.LT), -np.inf
    leaves = np.zeros(splits + 1)
    column = np.concatenate([np.zeros(splits), values]).reshape(-1, 1)

    def children(key: str) -> Array:
        numbers = _numbers(section, key, int)
        return np.where(numbers < 0, splits + ~numbers, numbers)

    def padded(array: Array, fill: float) -> Array:
        return np.concatenate([array, np.full(leaves.shape, fill)]).astype(array.dtype)

    return Tree(
        feature=padded(_numbers(section, "split_feature", int), -1),
        mode=padded(mode, int(Mode.LEQ)),
        threshold=padded(limit, 0.0),
        missing_true=padded(left_when_missing & ~categorical, fill=False),
        when_true=padded(children("left_child"), -1),
        when_false=padded(children("right_child"), -1),
        values=column,
        target=target,
        members={node: codes for node, codes in members.items() if codes},
    )


def _beside_zero(threshold: Array) -> Array:
    """Return thresholds that leave all values which LightGBM takes for 0 on the side of 0."""
    below = np.nextafter(-_ZERO, -np.inf)
    raised = np.where((threshold >= 0) & (threshold < _ZERO), _ZERO, threshold)
    return np.where((raised < 0) & (raised >= -_ZERO), below, raised)


def _members(section: _Section, split: int) -> tuple[float, ...]:
    """Return the codes that a categorical split sends left, from its bits."""
    bounds = _numbers(section, "cat_boundaries", int)
    words = _numbers(section, "cat_threshold", int)[bounds[split] : bounds[split + 1]]
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return tuple(float(code) for code in np.flatnonzero(bits))


def _leaves(section: _Section) -> list[tuple[float, float, list[int], list[float]]]:
    """Return constant, plain answer, columns and coefficients of each leaf."""
    plain = _numbers(section, "leaf_value", float).tolist()
    if section.get("is_linear") != "1":
        return [(value, value, [], []) for value in plain]
    constant = _numbers(section, "leaf_const", float).tolist()
    counts = _numbers(section, "num_features", int)
    stops = np.cumsum(counts)
    columns = _numbers(section, "leaf_features", int)
    coefficients = _numbers(section, "leaf_coeff", float)
    return [
        (constant[i], plain[i], columns[a:b].tolist(), coefficients[a:b].tolist())
        for i, (a, b) in enumerate(zip(stops - counts, stops, strict=True))
    ]


def _numbers(section: _Section, key: str, kind: type) -> Array:
    return np.array(section.get(key, "").split(), dtype=np.float64 if kind is float else np.int64)
