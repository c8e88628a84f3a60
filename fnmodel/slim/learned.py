"""What the fitted steps of an estimator have learned of the caller's own columns."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fnmodel.slim.trees import sklearn as trees

_ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")


def learned_none(model: Any, names: tuple[str, ...]) -> set[str]:
    """Return the features whose missing text the model knows as None, not as NaN."""
    found: set[str] = set()
    for step, inner in looking(model, names):
        if type(step).__name__ == "SimpleImputer" and step.missing_values is None:
            found |= set(inner)
        found |= {
            name
            for name, known in categories(step, inner)
            if any(v is None for v in known) and not any(v != v for v in known)
        }
    return found


def branches(transformer: Any) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield name, fitted step and column names of a ColumnTransformer that was fitted on names."""
    known = list(transformer.feature_names_in_)
    for name, step, _ in transformer.transformers_:
        indices = transformer._transformer_to_input_indices[name]  # noqa: SLF001
        yield name, step, [str(known[i]) for i in indices]


_INSIDE = ("estimator_", "best_estimator_", "regressor_", "estimators_", "transformer_list")


def looking(step: Any, names: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield every step that sees the caller's own columns, with their names."""
    if not names or step is None or isinstance(step, str):
        return
    if hasattr(step, "transformers_") and hasattr(step, "feature_names_in_"):
        for _, branch, inner in branches(step):
            yield from looking(branch, tuple(inner))
        return
    if hasattr(step, "steps"):
        for _, inner_step in step.steps:
            if inner_step is None or isinstance(inner_step, str):
                continue
            yield from looking(inner_step, names)
            if not _keeps_values(inner_step, names):
                return
        return
    yield step, names
    for part in _parts(step):
        yield from looking(part, names)


def _parts(step: Any) -> Iterator[Any]:
    """Yield the fitted estimators that a wrapper hands its columns to."""
    for calibrated in getattr(step, "calibrated_classifiers_", ()):
        yield calibrated.estimator
    if type(step).__name__ == "FrozenEstimator":
        yield step.estimator
    if hasattr(step, "estimators_features_"):
        return
    for name in _INSIDE:
        value = getattr(step, name, None)
        for part in value if isinstance(value, list | tuple) else [value]:
            inner = part[1] if isinstance(part, tuple) else part
            if hasattr(inner, "fit"):
                yield inner


def _keeps_values(step: Any, names: tuple[str, ...]) -> bool:
    """Whether a step hands the same columns on, with holes filled at most."""
    kind = type(step).__name__
    if kind == "FunctionTransformer":
        return step.func is None
    if kind != "SimpleImputer" or step.add_indicator:
        return False
    return len(step.get_feature_names_out()) == len(names)


def categories(step: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the names that a step encodes, each with the categories it has learned."""
    if type(step).__name__ in _ENCODERS and len(getattr(step, "categories_", ())) == len(names):
        yield from zip(names, step.categories_, strict=True)
    for column, known in trees.categories(step).items():
        if column < len(names):
            yield names[column], np.array(known, dtype=object)
