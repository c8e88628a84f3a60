"""Mends, on a copy, what the converters are known to get wrong; refuses what cannot be mended."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.original import Original
from fnmodel.slim.signature import branches
from fnmodel.slim.source import walk

_TEXT = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
_CALIBRATION_PASSES_WRONG_SCORES = ("Pipeline", "LGBMClassifier")


def refuse(model: Any) -> None:
    """Refuse models whose conversion is silently wrong in rows that a sample may not contain.

    Raises:
        UnsupportedModelError: names the step and the reason.

    """
    for name, estimator in walk(model):
        reason = _reason(estimator)
        if reason:
            raise UnsupportedModelError(
                f"step {name!r} ({type(estimator).__name__}): {reason}",
                hint="replace that step, or move it out of the model and in front of it",
            )


def notes(model: Any) -> tuple[str, ...]:
    """Return the known causes of differences that this model may show on every row."""
    causes = ((name, _cause(estimator)) for name, estimator in walk(model))
    return tuple(dict.fromkeys(f"step {name!r}: {cause}" for name, cause in causes if cause))


def repaired(original: Original, inputs: Mapping[str, str]) -> Any:
    """Return a copy of the model that converts as it predicts.

    `inputs` gives the name of each feature's ONNX input; column transformers look columns up by it.
    """
    model = copy.deepcopy(original.model)
    for _, estimator in walk(model):
        match type(estimator).__name__:
            case "VotingClassifier":
                # Only the shape of transform() differs, which nobody serves.
                estimator.flatten_transform = False
            case "OneHotEncoder" | "OrdinalEncoder" | "TargetEncoder" if _is_fitted(estimator):
                hole = _Hole("nan") if type(estimator).__name__ == "OrdinalEncoder" else ""
                estimator.categories_ = [_known(values, hole) for values in estimator.categories_]
            case "KBinsDiscretizer" if estimator.encode == "onehot":
                estimator.encode = "onehot-dense"  # ONNX has no sparse columns
            case "SimpleImputer" if _imputes_text(estimator):
                # A missing text arrives in ONNX as the empty string.
                estimator.missing_values = ""
            case "ColumnTransformer" if hasattr(estimator, "feature_names_in_"):
                known = {str(name) for name in estimator.feature_names_in_}
                if known <= set(original.names):
                    _look_up(estimator, inputs)
    return model


def _reason(estimator: Any) -> str | None:
    kind = type(estimator).__name__
    if kind in _TEXT:
        return "text is split into words differently in ONNX"
    if kind.startswith("HistGradientBoosting") and np.any(
        getattr(estimator, "is_categorical_", None)
    ):
        return "skl2onnx ignores its categorical splits"
    if kind == "SimpleImputer" and estimator.add_indicator and _imputes_text(estimator):
        return "add_indicator on text has no converter"
    if kind == "CalibratedClassifierCV":
        for inner in getattr(estimator, "calibrated_classifiers_", ()):
            base = type(inner.estimator).__name__
            if base in _CALIBRATION_PASSES_WRONG_SCORES:
                return f"skl2onnx calibrates the wrong scores when it wraps a {base}"
    return None


class _Hole(float):
    """A missing category: NaN to the converter, which looks for it, and written as ""."""

    def __str__(self) -> str:
        return ""


def _is_fitted(encoder: Any) -> bool:
    # A column transformer keeps the unfitted encoders that it was made of.
    return hasattr(encoder, "categories_")


def _cause(estimator: Any) -> str | None:
    kind = type(estimator).__name__
    if kind.startswith("KNeighbors") and estimator.weights == "distance":
        return "skl2onnx gives all neighbours the same weight, whatever their distance"
    if kind == "TunedThresholdClassifierCV":
        return "skl2onnx leaves the tuned threshold out"
    if kind == "OrdinalEncoder" and _is_fitted(estimator):
        numbers = (v for known in estimator.categories_ for v in known if isinstance(v, float))
        if any(map(np.isnan, numbers)) and np.isnan(estimator.encoded_missing_value):
            return "a missing text is NaN in scikit-learn; give encoded_missing_value a number"
    return None


def _imputes_text(imputer: Any) -> bool:
    statistics = getattr(imputer, "statistics_", np.empty(0))
    return any(isinstance(value, str) for value in statistics)


def _known(values: Any, hole: Any) -> Any:
    if values.dtype.kind == "b":
        return values.astype(np.int64)
    if values.dtype == object and any(isinstance(value, str) for value in values):
        return np.array([v if isinstance(v, str) else hole for v in values], dtype=object)
    return values


def _look_up(transformer: Any, inputs: Mapping[str, str]) -> None:
    transformer.transformers_ = [
        (name, step, [inputs[column] for column in columns])
        for name, step, columns in branches(transformer)
        if not (isinstance(step, str) and step == "drop")
    ]
