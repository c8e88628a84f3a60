"""What columns of rows look like, as counts on fixed bins: small, exact to add up, without rows.

A model directory holds `reference.json`, the profile of its training sample and of its answers to
it. `Profile.empty_like(reference)` has the same bins and no rows; live rows are counted into it,
and profiles of hours, versions or machines add up exactly: every count is an integer, and so are
the sums, in units of the column's own spread.

The JSON::

    {"version": 1, "rows": 10000,
     "features": {"age":  {"kind": "number", "edges": [16.5, 25.5, ...], "counts": [512, ...],
                           "low": 0, "high": 0, "missing": 12, "infinite": 0,
                           "origin": 38.0, "unit": 0.0001220703125,
                           "sum": -73, "squares": 1099511, "minimum": 17, "maximum": 90},
                  "city": {"kind": "category", "categories": ["Bonn", ...], "counts": [80, ...],
                           "other": 9, "missing": 0},
                  "note": {"kind": "length", ... as a number, of the text's characters}},
     "outputs":  {"label": ..., "probability:yes": ..., "margin": ...}}

Bin i holds edges[i] <= x < edges[i+1], the last one its upper edge too; `low` and `high` count what
lies outside, infinities among them, and `infinite` counts these once more. `sum` is that of
q = round((x - origin) / unit) over finite x, `squares` that of q squared. Missing are None, NaN and
the empty text. `other` counts every category that is not listed.

No value of a single row can be read from a reference: a bin or a category has at least five rows of
the sample behind it (or the whole column has fewer), rarer categories are among `other`, and edges,
smallest and largest are rounded outward to three digits of the range.

Imports only the standard library and numpy, because the image counts with it.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fnmodel.errors import InputError, SlimError
from fnmodel.histogram import Categories, Column, Numbers
from fnmodel.model import Signature

Array = np.ndarray[Any, np.dtype[Any]]

REFERENCE = "reference.json"
VERSION = 1


@dataclass(frozen=True)
class Profile:
    """The columns of `rows` rows: features by name, and what the model answered to them.

    Profiles of the same bins form a commutative monoid under `+`, with `empty_like` as its zero.
    """

    features: Mapping[str, Column]
    outputs: Mapping[str, Column]
    rows: int = 0

    @staticmethod
    def empty_like(reference: "Profile") -> "Profile":
        """Return a profile with the reference's bins and no rows."""
        return Profile(
            {name: column.empty() for name, column in reference.features.items()},
            {name: column.empty() for name, column in reference.outputs.items()},
        )

    def count(
        self, columns: Mapping[str, Array], answers: Mapping[str, Array] | None = None
    ) -> "Profile":
        """Return this profile and more rows.

        `columns` holds features, `answers` what `answer_columns` gives, both as arrays of shape
        (n,). A column that is absent counts as missing, one that the profile lacks is not counted.

        Raises:
            InputError: columns differ in length, or a value is of another type; names the column.

        """
        given = {**columns, **(answers or {})}
        lengths = {len(column) for column in given.values()}
        if len(lengths) > 1:
            raise InputError(f"columns of one profile have different lengths: {sorted(lengths)}")
        rows = lengths.pop() if lengths else 0
        return Profile(
            _counted(self.features, columns, rows),
            _counted(self.outputs, answers, rows) if answers is not None else self.outputs,
            self.rows + rows,
        )

    def __add__(self, other: "Profile") -> "Profile":
        return Profile(
            _joined(self.features, other.features),
            _joined(self.outputs, other.outputs),
            self.rows + other.rows,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as the module says."""
        return {
            "version": VERSION,
            "rows": self.rows,
            "features": {name: column.to_json() for name, column in self.features.items()},
            "outputs": {name: column.to_json() for name, column in self.outputs.items()},
        }

    @staticmethod
    def from_json(data: Any) -> "Profile":
        """Read what `to_json` returned.

        Raises:
            SlimError: it is of another version, or not a profile.

        """
        version = data.get("version") if isinstance(data, Mapping) else None
        if version != VERSION:
            raise SlimError(
                f"{REFERENCE} has version {version!r}, this fnmodel reads {VERSION}", hint=_AGAIN
            )
        try:
            return Profile(_columns(data["features"]), _columns(data["outputs"]), int(data["rows"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SlimError(f"{REFERENCE} is not a profile: {error!r}", hint=_AGAIN) from error

    def to_bytes(self) -> bytes:
        """Return the file's content; the same profile gives the same bytes."""
        data = self.to_json()
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return f"{text}\n".encode()


_AGAIN = "run `fnmodel slim` again"


def read_reference(folder: Path) -> Profile:
    """Read `reference.json` of a model directory.

    Raises:
        SlimError: it is missing, is not JSON, or is not a profile.

    """
    path = folder / REFERENCE
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SlimError(f"{path}: {error}", hint=_AGAIN) from error
    return Profile.from_json(data)


def reference_digest(folder: Path) -> str:
    """Return the digest of a model directory's `reference.json`: windows of one digest add up.

    Raises:
        SlimError: it is missing.

    """
    try:
        return hashlib.sha256((folder / REFERENCE).read_bytes()).hexdigest()
    except OSError as error:
        raise SlimError(f"{folder / REFERENCE}: {error}", hint=_AGAIN) from error


def answer_columns(signature: Signature, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Turn a model's output tensors into columns of shape (rows,), as a profile counts them.

    A classifier's are `label`, `probability:CLASS` for each class (of two only the second, of
    more than ten none), `margin`, by how much the best class leads, and, of three and more,
    `confidence`, the best class's probability. Other outputs go by their names, `NAME:0` and on
    where they have several values a row, `NAME:norm` where they have more than ten; a regressor's
    only one is `value`.
    """
    if signature.label is None:
        columns: dict[str, Array] = {}
        for tensor in signature.outputs:
            name = "value" if signature.one_value else tensor.name
            columns |= _flat(name, outputs[tensor.name])
        return columns
    columns = {"label": outputs[signature.label].reshape(-1)}
    if signature.scores is None:
        return columns
    scores = outputs[signature.scores]
    scores = scores.reshape(len(scores), math.prod(scores.shape[1:]))
    width = scores.shape[1]
    if width == len(signature.classes) and 2 <= width <= _MOST_VALUES:
        for at in range(1 if width == 2 else 0, width):
            columns[f"probability:{signature.classes[at]}"] = scores[:, at]
    if width == 1:
        columns["score"] = scores[:, 0]
    else:
        best = np.partition(scores, width - 2, axis=1)
        columns["margin"] = best[:, -1] - best[:, -2]
        if width > 2:
            columns["confidence"] = best[:, -1]
    return columns


# More scores or values a row than this are summed up, so that a profile stays small.
_MOST_VALUES = 10


def _flat(name: str, array: Array) -> dict[str, Array]:
    rows = array.reshape(len(array), math.prod(array.shape[1:]))
    width = rows.shape[1]
    if width == 1:
        return {name: rows[:, 0]}
    if width <= _MOST_VALUES:
        return {f"{name}:{at}": rows[:, at] for at in range(width)}
    if rows.dtype.kind not in "biuf":
        return {}
    wide = rows.astype(np.float64)
    return {f"{name}:norm": np.sqrt(np.einsum("ij,ij->i", wide, wide))}


def _counted(
    known: Mapping[str, Column], columns: Mapping[str, Array], rows: int
) -> dict[str, Column]:
    result: dict[str, Column] = {}
    for name, column in known.items():
        if name not in columns:
            result[name] = replace(column, missing=column.missing + rows)
            continue
        try:
            result[name] = column.count(columns[name])
        except InputError as error:
            raise InputError(f"column {name!r}: {error.message}") from error
    return result


def _joined(one: Mapping[str, Column], other: Mapping[str, Column]) -> dict[str, Column]:
    if one.keys() != other.keys():
        message = f"profiles of different columns do not add up: {set(one) ^ set(other)}"
        raise ValueError(message)
    result: dict[str, Column] = {}
    for name, column in one.items():
        match column, other[name]:
            case (Numbers() as a, Numbers() as b):
                result[name] = a + b
            case (Categories() as c, Categories() as d):
                result[name] = c + d
            case _:
                message = f"profiles of different kinds of {name!r} do not add up"
                raise ValueError(message)
    return result


def _columns(data: Mapping[str, Any]) -> dict[str, Column]:
    return {
        name: Categories.from_json(column)
        if column["kind"] == "category"
        else Numbers.from_json(column)
        for name, column in data.items()
    }
