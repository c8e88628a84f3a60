"""Writers of XGBoost, LightGBM and CatBoost estimators, and of boosters that take callers' frames.

Labels are what each framework compares: float32 probabilities (XGBoost), float64 probabilities
(LightGBM), raw scores (CatBoost).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from fnmodel.model import MISSING_TEXT
from fnmodel.slim.converters.emit import Block, Emitter, Table, Writers
from fnmodel.slim.readers.served import Served, ServedClassifier
from fnmodel.slim.trees import catboost, categories, lightgbm, linear_leaves, single, write, xgboost
from fnmodel.slim.trees.categories import Categorical
from fnmodel.slim.trees.cityhash import category
from fnmodel.slim.trees.ensemble import Ensemble
from fnmodel.slim.trees.linear_leaves import LinearLeaves

_FLOAT = 1
# No category's hash, for it needs more than 32 bits.
_UNSEEN = 1 << 40

_CLASSES = {
    "xgboost": (
        ("XGBClassifier", "XGBRFClassifier"),
        ("XGBRegressor", "XGBRFRegressor", "XGBRanker"),
    ),
    "lightgbm": (("LGBMClassifier",), ("LGBMRegressor", "LGBMRanker")),
    "catboost": (("CatBoostClassifier",), ("CatBoostRegressor", "CatBoostRanker")),
}


def writers() -> Writers:
    """Return the writers by method and class, of the frameworks that are imported by now.

    A model of another one cannot be in memory.
    """
    classifiers: list[type] = [ServedClassifier]
    others: list[type] = [Served]
    for name, (classifying, answering) in _CLASSES.items():
        module = sys.modules.get(name)
        if module is not None:
            classifiers += [getattr(module, kind) for kind in classifying]
            others += [getattr(module, kind) for kind in answering]
    scoring = [kind for kind in classifiers if hasattr(kind, "decision_function")]
    return {
        "predict": {**dict.fromkeys(classifiers, _label), **dict.fromkeys(others, _value)},
        "predict_proba": dict.fromkeys(classifiers, _chances),
        "decision_function": dict.fromkeys(scoring, _scores),
    }


@dataclass(frozen=True)
class _Read:
    """A booster's trees, and whether it gives one label a row."""

    trees: Ensemble | LinearLeaves | Categorical
    one_label: bool


@dataclass(frozen=True)
class _Scored:
    """The scores, `raw`, float64 of shape (rows, targets), and what becomes of them."""

    ensemble: Ensemble
    raw: str
    one_label: bool


def _scores(e: Emitter, model: Any, table: Table) -> str:
    scored = _scored(e, model, table)
    _check_classes(e, model, scored)
    return scored.raw


def _value(e: Emitter, model: Any, table: Table) -> str:
    return _answers(e, model, _scored(e, model, table))


def _chances(e: Emitter, model: Any, table: Table) -> str:
    scored = _scored(e, model, table)
    _check_classes(e, model, scored)
    answers = _answers(e, model, scored)
    return e.two(answers) if scored.ensemble.targets == 1 else answers


def _answers(e: Emitter, model: Any, scored: _Scored) -> str:
    """Return what the link makes of the scores, with XGBoost's digits."""
    answers = write.answers(e.graph, scored.ensemble, scored.raw)
    if _root(_inner(model)) != "xgboost":
        return answers
    return e.graph.double(e.graph.op("Cast", answers, to=_FLOAT))


def _label(e: Emitter, model: Any, table: Table) -> str:
    """Return the position of the class, or 0 and 1 for each of several labels."""
    graph, scored = e.graph, _scored(e, model, table)
    _check_classes(e, model, scored)
    inner, chooses = _inner(model), scored.one_label and scored.ensemble.targets > 1
    if _root(inner) == "catboost":
        if chooses:
            return graph.argmax(scored.raw)
        share = catboost.threshold(inner)
        return _above(e, scored, scored.raw, log(share / (1 - share)))
    chances = _answers(e, model, scored)
    return graph.argmax(chances) if chooses else _above(e, scored, chances, 0.5)


def _above(e: Emitter, scored: _Scored, values: str, border: float) -> str:
    flags = e.graph.integer(e.graph.op("Greater", values, border))
    return e.graph.reshape(flags, -1) if scored.one_label else flags


def _check_classes(e: Emitter, model: Any, scored: _Scored) -> None:
    """Return where the model's answers are one for each class, or one for the second of two.

    Raises:
        UnsupportedModelError: they are not.

    """
    inner, targets = _inner(model), scored.ensemble.targets
    if callable(getattr(inner, "objective_", None)):
        e.refuse(inner, "a classifier with an objective of its own gives scores, no probabilities")
    if not scored.one_label:
        return
    count = len(model.classes_)
    if count < 2:
        e.refuse(inner, "it was trained on a single class")
    if targets != count and not (targets == 1 and count == 2):
        e.refuse(inner, f"it gives {targets} scores for {count} classes")


def _inner(model: Any) -> Any:
    return model.estimator_ if isinstance(model, Served) else model


def _root(model: Any) -> str:
    return type(model).__module__.partition(".")[0]


def _scored(e: Emitter, model: Any, table: Table) -> _Scored:
    def call() -> _Scored:
        read = _read(_inner(model))
        match read.trees:
            case Categorical() as trees:
                prepared = _hashed(e, model, trees, table)
                ensemble = trees.ensemble
                raw = write.scores(e.graph, ensemble, prepared)
            case LinearLeaves() as trees:
                ensemble = trees.outer
                raw = linear_leaves.scores(e.graph, trees, _coded(e, model, table, ensemble))
            case trees:
                ensemble = _with_gaps(e, model, table, trees)
                sums = single.scores if _adds_in_single(model, ensemble) else write.scores
                raw = sums(e.graph, ensemble, _coded(e, model, table, ensemble))
        return _Scored(ensemble, raw, read.one_label)

    scored: _Scored = e.once("boosted", model, table, call)
    return scored


def _read(inner: Any) -> _Read:
    match _root(inner):
        case "xgboost":
            told = xgboost.learner(inner)
            several = int(told["learner_model_param"].get("num_target", "1")) > 1
            return _Read(_there(xgboost.read(inner)), one_label=not several)
        case "lightgbm":
            return _Read(lightgbm.linear(inner) or _there(lightgbm.read(inner)), one_label=True)
        case _:
            content = catboost.exported(inner)
            trees = categories.read(inner, content) or _there(catboost.read(inner, content))
            several = catboost.loss(content) in ("MultiLogloss", "MultiCrossEntropy")
            return _Read(trees, one_label=not several)


def _adds_in_single(model: Any, ensemble: Ensemble) -> bool:
    return _root(_inner(model)) == "xgboost" and single.fits(ensemble)


def _with_gaps(e: Emitter, model: Any, table: Table, ensemble: Ensemble) -> Ensemble:
    """Return the ensemble that takes zeros for missing, as XGBoost does in a sparse matrix."""
    inner = _inner(model)
    if _root(inner) != "xgboost" or table.blocks not in e.sparse:
        return ensemble
    if ensemble.absent:
        e.refuse(inner, f"it takes zeros and {inner.missing} for missing in a sparse matrix")
    return replace(ensemble, absent=dict.fromkeys(range(ensemble.features), (0.0, 0.0)))


def _there(ensemble: Ensemble | None) -> Ensemble:
    assert ensemble is not None
    return ensemble


# Columns.


def _coded(e: Emitter, model: Any, table: Table, ensemble: Ensemble) -> str:
    """Return the columns as float64, categories as their codes: -1 unseen, NaN missing."""
    if table.width != ensemble.features:
        reason = f"it was trained on {ensemble.features} columns, and {table.width} come"
        e.refuse(_inner(model), reason)
    if not isinstance(model, Served) or not model.known:
        return e.numbers(table, _inner(model))
    parts = []
    for i, block in enumerate(e.columns(table)):
        if i in model.known:
            if model.closed:
                e.close(model.estimator_, block, model.known[i])
            parts.append(_codes(e, block, model.known[i]))
        else:
            parts.append(e.numbers(Table((block,)), _inner(model)))
    return e.graph.concat(parts)


def _codes(e: Emitter, block: Block, known: Sequence[Any]) -> str:
    graph = e.graph
    if block.kind == "text":
        texts = [*(str(value) for value in known), MISSING_TEXT]
        codes = [*(float(i) for i in range(len(known))), float("nan")]
        found = graph.op(
            "LabelEncoder", block.name, domain="ai.onnx.ml",
            keys_strings=texts, values_floats=codes, default_float=-1.0,
        )  # fmt: skip
        return graph.double(found)
    value = e.numbers(Table((block,)))
    same = graph.op("Equal", value, np.array([known], dtype=np.float64))
    place = graph.argmax(graph.op("Cast", same, to=_FLOAT), keep=True)
    found = graph.boolean(graph.largest(graph.op("Cast", same, to=_FLOAT)))
    code = graph.where(found, graph.double(place), -1.0)
    return graph.where(graph.op("IsNaN", value), float("nan"), code)


def _hashed(e: Emitter, model: Any, read: Categorical, table: Table) -> str:
    """Return the columns that a CatBoost model with categories looks at."""
    if not isinstance(model, Served):
        e.refuse(model, "it looks up categories behind other steps")
    graph = e.graph
    if table.width != len(read.kinds):
        e.refuse(model.estimator_, f"it was trained on {len(read.kinds)} columns")
    blocks = e.columns(table)
    floats = [b for b, kind in zip(blocks, read.kinds, strict=True) if kind == "float"]
    like = e.numbers(Table((floats[0],)), model.estimator_) if floats else ""
    nothing = graph.mul(graph.double(graph.op("IsNaN", like)), 0.0) if floats else ""
    if not floats:
        rows = graph.op("Shape", blocks[0].name, start=0, end=1)
        shape = graph.concat([rows, graph.value(np.array([1]))], axis=0)
        nothing = graph.op("Expand", graph.value(np.zeros((1, 1))), shape)
    numbers = [
        e.numbers(Table((block,)), model.estimator_) if kind == "float" else nothing
        for block, kind in zip(blocks, read.kinds, strict=True)
    ]
    made = {i: _hashes(e, model, read, i, blocks[i]) for i in read.columns()}
    return categories.prepared(graph, read, graph.concat(numbers), made.__getitem__)


def _hashes(e: Emitter, model: Served, read: Categorical, column: int, block: Block) -> str:
    """Return the hashes of a column of categories, int64 of shape (rows, 1).

    Where training saw other categories than are known here, no other ones are let in.
    """
    known = model.known.get(column, ())
    hashes = [category(str(value)) for value in known]
    matters = read.known(column)
    if matters is None or not matters <= set(hashes):
        e.close(model.estimator_, block, known)
    if block.kind == "text":
        return str(
            e.graph.op(
                "LabelEncoder",
                block.name,
                domain="ai.onnx.ml",
                keys_strings=[str(value) for value in known],
                values_int64s=hashes,
                default_int64=_UNSEEN,
            )
        )
    value = e.graph.integer(block.name) if block.kind == "number" else block.name
    return str(
        e.graph.op(
            "LabelEncoder",
            value,
            domain="ai.onnx.ml",
            keys_int64s=[int(value) for value in known],
            values_int64s=hashes,
            default_int64=_UNSEEN,
        )
    )
