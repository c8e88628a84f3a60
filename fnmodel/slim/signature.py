"""Finds a model's features in the model and its sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnmodel.errors import SlimError
from fnmodel.model import Datatype, Feature
from fnmodel.slim.converters.emit import Kind
from fnmodel.slim.learned import branches, categories, looking
from fnmodel.slim.original import Original
from fnmodel.slim.source import walk


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
    for step, names in looking(original.model, original.names):
        for name, known in categories(step, names):
            if name not in found or (_has_text(known) and not _has_text(found[name])):
                found[name] = known
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
