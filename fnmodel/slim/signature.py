"""Finds a model's features in the model and its sample."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnmodel.errors import SlimError
from fnmodel.model import Datatype, Feature
from fnmodel.slim.converters.emit import Kind
from fnmodel.slim.original import Original
from fnmodel.slim.source import walk
from fnmodel.slim.trees import sklearn as trees

_ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")


@dataclass(frozen=True)
class Column:
    """One feature before its datatype is chosen.

    A *code* is a whole number that an encoder looks up, so it must not become a fraction.
    """

    name: str
    kind: Kind
    integral: bool
    nullable: bool
    categories: tuple[str, ...] = ()

    def feature(self, number: Datatype) -> Feature:
        """Return the feature, with `number` as the datatype of numbers."""
        datatypes: dict[Kind, Datatype] = {"text": "BYTES", "code": "INT64", "number": number}
        return Feature(
            self.name, datatypes[self.kind], self.integral, self.nullable, self.categories
        )


def columns(
    frame: Any, encoded: Mapping[str, Any], nullable: frozenset[str] = frozenset()
) -> tuple[Column, ...]:
    """Return one column for each feature of a frame.

    `encoded` gives the known categories of the columns that an encoder looks up.

    Raises:
        SlimError: a column holds dates or other values that no tensor has.

    """
    return tuple(
        _column(name, frame[name], encoded.get(name), name in nullable) for name in frame.columns
    )


def text_columns(encoded: Mapping[str, Any]) -> list[str]:
    """Return the columns whose known categories are text."""
    return [name for name, known in encoded.items() if _has_text(known)]


def as_text(frame: Any, names: list[str]) -> Any:
    """Return the frame with the named columns as text, because the model was trained on text."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    wrong = [n for n in names if is_numeric_dtype(frame[n]) or is_bool_dtype(frame[n])]
    texts = {n: frame[n].map(str, na_action="ignore").astype(object) for n in wrong}
    return frame.assign(**texts) if texts else frame


def encoded_columns(original: Original) -> dict[str, Any]:
    """Return the categories that encoders learned, by feature name."""
    found: dict[str, Any] = {}
    for step, names in _looking(original.model, original.names):
        for name, known in _categories(step, names):
            if name not in found or (_has_text(known) and not _has_text(found[name])):
                found[name] = known
    return found


def learned_none(model: Any, names: tuple[str, ...]) -> set[str]:
    """Return the features whose missing text the model knows as None, not as NaN."""
    found: set[str] = set()
    for step, inner in _looking(model, names):
        if type(step).__name__ == "SimpleImputer" and step.missing_values is None:
            found |= set(inner)
        found |= {
            name
            for name, known in _categories(step, inner)
            if any(v is None for v in known) and not any(v != v for v in known)
        }
    return found


def stacks(model: Any, columns: Sequence[Column]) -> bool:
    """Whether one input can hold all columns side by side."""
    if len({column.kind for column in columns}) != 1:
        return False
    return not any(
        hasattr(estimator, "transformers_") and hasattr(estimator, "feature_names_in_")
        for _, estimator in walk(model)
    )


def used_columns(original: Original) -> tuple[str, ...]:
    """Return the feature names that the model looks at, in its order.

    A ColumnTransformer may drop columns; callers need not send these.
    """
    transformer = original.model
    while hasattr(transformer, "steps"):
        steps = [s for _, s in transformer.steps if s is not None and not isinstance(s, str)]
        if not steps:
            break
        transformer = steps[0]
    if not original.names or not hasattr(transformer, "transformers_"):
        return original.names
    used = {
        name
        for _, step, names in branches(transformer)
        if not (isinstance(step, str) and step == "drop")
        for name in names
    }
    return tuple(name for name in original.names if name in used)


def branches(transformer: Any) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield name, fitted step and column names of a ColumnTransformer that was fitted on names."""
    known = list(transformer.feature_names_in_)
    for name, step, _ in transformer.transformers_:
        indices = transformer._transformer_to_input_indices[name]  # noqa: SLF001
        yield name, step, [str(known[i]) for i in indices]


_INSIDE = ("estimator_", "best_estimator_", "regressor_", "estimators_", "transformer_list")


def _looking(step: Any, names: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield every step that sees the caller's own columns, with their names."""
    if not names or step is None or isinstance(step, str):
        return
    if hasattr(step, "transformers_") and hasattr(step, "feature_names_in_"):
        for _, branch, inner in branches(step):
            yield from _looking(branch, tuple(inner))
        return
    if hasattr(step, "steps"):
        for _, inner_step in step.steps:
            if inner_step is None or isinstance(inner_step, str):
                continue
            yield from _looking(inner_step, names)
            if not _keeps_values(inner_step, names):
                return
        return
    yield step, names
    for part in _parts(step):
        yield from _looking(part, names)


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


def _categories(step: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if type(step).__name__ in _ENCODERS and len(getattr(step, "categories_", ())) == len(names):
        yield from zip(names, step.categories_, strict=True)
    for column, known in trees.categories(step).items():
        if column < len(names):
            yield names[column], np.array(known, dtype=object)


def _column(name: str, values: Any, known: Any, nullable: bool) -> Column:
    from pandas.api import types

    present = values.dropna()
    categories = tuple(str(v) for v in known if not _missing(v)) if _has_text(known) else ()
    if _has_text(known) or not (
        types.is_numeric_dtype(values) or types.is_bool_dtype(values) or present.empty
    ):
        if not all(isinstance(value, str) for value in present):
            odd = next(value for value in present if not isinstance(value, str))
            raise SlimError(
                f"column {name!r} of the sample holds a {type(odd).__name__}; features are "
                "numbers, booleans or strings",
                hint="turn dates and other objects into numbers before training",
            )
        return Column(name, "text", integral=False, nullable=nullable, categories=categories)
    if types.is_complex_dtype(values):
        raise SlimError(f"column {name!r} of the sample holds complex numbers")
    whole = types.is_integer_dtype(values) or types.is_bool_dtype(values)
    holes = len(present) < len(values)
    if known is not None and whole and not holes:
        return Column(name, "code", integral=True, nullable=False)
    # A missing value turns a column of integers into floats.
    integral = whole or (holes and bool(len(present)) and bool((present % 1 == 0).all()))
    return Column(name, "number", integral=integral, nullable=nullable)


def _has_text(categories: Any) -> bool:
    return categories is not None and any(isinstance(value, str) for value in categories)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and bool(np.isnan(value)))
