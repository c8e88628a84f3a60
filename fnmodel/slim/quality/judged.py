"""Rows with true answers that gates judge a model on, as callers would send them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError
from fnmodel.model import Feature, Signature
from fnmodel.slim import sample as samples
from fnmodel.slim import signature as signatures
from fnmodel.slim.quality.answers import is_missing

Array = NDArray[Any]

MOST = 10_000
"""More rows make no interval narrower that anyone would look at."""


@dataclass(frozen=True)
class Judged:
    """Labelled rows: `records`, their `truth` of shape (rows,), and every column by name.

    `left_out` counts rows of the file that no request could carry.
    """

    records: tuple[Mapping[str, Any], ...]
    truth: Array
    columns: Mapping[str, Array]
    left_out: int = 0


def read(path: Path, target: str | None, signature: Signature) -> Judged:
    """Read labelled rows of the features that callers send; at most 10,000, chosen by a fixed seed.

    Rows with infinite numbers are left out, and rows without a value that the model needs.

    Raises:
        SlimError: the file cannot be read, has no such columns, or no row that could be sent; or
            the model takes tensors, which no table holds.

    """
    features = signature.asked
    if not features:
        raise SlimError(
            f"{path.name} is a table, and this model takes tensors, so no gate can judge it there",
            hint="take `gates.sample` and `champion:` away",
        )
    if target is None:
        raise SlimError(
            f"the gates need to know which column of {path.name} holds the true answers",
            hint="name it with `target:` in fnmodel.yaml",
        )
    texts = [feature.name for feature in features if feature.datatype == "BYTES"]
    whole = samples.read(path, texts)
    names = [feature.name for feature in features]
    chosen = samples.select(whole, names=names, count=None, target=target, where=path.name)
    given = signatures.as_text(chosen, texts)
    columns = [_values(given[feature.name].tolist()) for feature in features]
    good = np.flatnonzero(_carried(columns, features))
    if not len(good):
        raise SlimError(f"{path.name} has no row that a request could carry")
    left_out = len(given) - len(good)
    if len(good) > MOST:
        good = np.sort(np.random.default_rng(0).choice(good, MOST, replace=False))
    rows = [[values[row] for values in columns] for row in good.tolist()]
    beside = whole.iloc[good]
    return Judged(
        tuple(dict(zip(names, row, strict=True)) for row in rows),
        beside[target].to_numpy(),
        {str(name): beside[name].to_numpy() for name in beside.columns},
        left_out,
    )


def _values(column: Sequence[Any]) -> list[Any]:
    """Return a column as JSON would carry it, None for a missing value."""
    plain = (value.item() if isinstance(value, np.generic) else value for value in column)
    return [None if is_missing(value) else value for value in plain]


def _carried(columns: Sequence[Sequence[Any]], features: Sequence[Feature]) -> Array:
    good = np.ones(len(columns[0]), dtype=bool)
    for values, feature in zip(columns, features, strict=True):
        good &= [
            feature.nullable if value is None else value not in (np.inf, -np.inf)
            for value in values
        ]
    return good
