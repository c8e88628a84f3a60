"""Captured rows in, columns out, as profiles count them.

A field that a row lacks is missing. A value that was hashed or replaced says nothing of the world
and is not counted at all, so a column's total may be less than the rows. A value of another type
than the reference's is counted as missing, and told apart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fnmodel.arrays import objects
from fnmodel.histogram import Column, as_text
from fnmodel.model import Signature
from fnmodel.profile import Array, Profile, answer_columns
from fnmodel.watch.rows import Row

_HASHED = re.compile(r"h:[0-9a-f]{32}").fullmatch
_LEFT_OUT = re.compile(r"<(\d+) characters>").fullmatch
_REPLACED = re.compile(r"<[a-z-]+>").fullmatch
"""What capture writes in the place of a value, of a long text, of a number that looks secret."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The profile of some rows; `invalid` has the values of a wrong type by feature."""

    profile: Profile
    invalid: Mapping[str, int]


def count(rows: Sequence[Row], reference: Profile, signature: Signature) -> Counted:
    """Count rows on the reference's bins."""
    features: dict[str, Column] = {}
    invalid: dict[str, int] = {}
    for name, column in reference.features.items():
        values, wrong = fitting(column.kind, (row.features.get(name) for row in rows))
        there = [value for value in values if value is not REDACTED]
        features[name] = _private(column.empty().count(objects(there)))
        if wrong:
            invalid[name] = wrong
    answers = answer_columns(signature, answered(rows, signature)[1])
    outputs = {
        name: _private(column.empty().count(objects(answers[name].tolist())))
        if name in answers
        else column.empty()
        for name, column in reference.outputs.items()
    }
    return Counted(Profile(features, outputs, len(rows)), invalid)


def answered(rows: Sequence[Row], signature: Signature) -> tuple[tuple[Row, ...], dict[str, Array]]:
    """Return the rows whose prediction can be read, and the output tensors that these were.

    The dialects name them otherwise: `probabilities` by class, or the output's own name.
    """
    names = [tensor.name for tensor in signature.outputs]
    found = [(row, _tensors(row.prediction, signature)) for row in rows]
    whole = [(row, made) for row, made in found if len(made) == len(names)]
    tensors = {name: _tensor([made[name] for _, made in whole]) for name in names}
    return tuple(row for row, _ in whole), tensors


def _tensors(prediction: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    made = {t.name: prediction[t.name] for t in signature.outputs if t.name in prediction}
    if signature.label is not None and "label" in prediction:
        made[signature.label] = prediction["label"]
    shares = prediction.get("probabilities")
    if signature.scores is not None and isinstance(shares, Mapping):
        made[signature.scores] = [shares.get(str(name)) for name in signature.classes]
    if signature.one_value and "value" in prediction:
        made[signature.outputs[0].name] = prediction["value"]
    return made


def _tensor(values: list[Any]) -> Array:
    """Return values as a tensor: of floats where they are numbers, missing ones NaN."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return objects(values)


def fitting(kind: str, values: Iterable[Any]) -> tuple[list[Any], int]:
    """Return values of the column's type, and how many were of another.

    None stands for those of another type, REDACTED for those that were hashed or replaced.
    """
    types = _TYPES[kind]
    kept = [REDACTED if isinstance(v, str) and _redacted(v, kind) else v for v in values]
    wrong = sum(not (value is REDACTED or isinstance(value, types)) for value in kept)
    kept = [value if value is REDACTED or isinstance(value, types) else None for value in kept]
    return ([_whole(text) for text in kept] if kind == "length" else kept), wrong


REDACTED = object()
_TYPES: Mapping[str, tuple[type, ...]] = {
    "number": (int, float, type(None)),
    "length": (str, type(None)),
    "category": (str, int, float, type(None)),
}


def _whole(text: Any) -> Any:
    """Return a text as long as the one that capture left out."""
    long = _LEFT_OUT(text) if isinstance(text, str) else None
    return " " * int(long[1]) if long else text


def _redacted(text: str, kind: str) -> bool:
    """Whether capture put this in the place of the value; a category `<email>` is another one."""
    return bool(_HASHED(text) or (kind == "number" and _REPLACED(text)))


def _private(column: Column) -> Column:
    """Return the column without its smallest and largest value, which are some person's."""
    return column if column.kind == "category" else replace(column, minimum=None, maximum=None)


def texts(values: Array) -> Array:
    """Return labels as text, as labels of any type are compared."""
    return np.array([as_text(value) for value in values.tolist()], dtype=object)
