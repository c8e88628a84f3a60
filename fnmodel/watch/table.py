"""Captured rows in, arrays out: which cell of the reference each value lies in, and what came out.

Rows stay rows here, which profiles cannot give: for models of several columns at once, and for
figures a row at a time. Nothing of it is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from fnmodel.arrays import objects
from fnmodel.histogram import Column, Numbers, as_floats, as_lengths, as_text
from fnmodel.model import Signature
from fnmodel.profile import Array, Profile
from fnmodel.watch.columns import REDACTED, answered, fitting
from fnmodel.watch.rows import Row
from fnmodel.watch.sample import histogram


@dataclass(frozen=True)
class Table:
    """Rows as columns, in order of time.

    `cells` has a cell for each feature, shape (rows, features), -1 where there is no value;
    `scores` class probabilities, shape (rows, classes), or None; `answers` labels or values, shape
    (rows,), NaN or None where a prediction could not be read; `weights` what each row stands for.
    """

    rows: tuple[Row, ...]
    names: tuple[str, ...]
    cells: Array
    answers: Array
    scores: Array | None
    weights: Array

    @cached_property
    def times(self) -> list[str]:
        """When each row was asked, ISO 8601."""
        return [row.time for row in self.rows]

    @cached_property
    def hours(self) -> Array:
        """The hour of each row, as text of shape (rows,)."""
        return np.array([row.hour for row in self.rows], dtype="U13")

    def take(self, chosen: Array) -> "Table":
        """Return some rows, by index or by a mask."""
        at = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return Table(
            tuple(self.rows[i] for i in at.tolist()),
            self.names,
            self.cells[at],
            self.answers[at],
            None if self.scores is None else self.scores[at],
            self.weights[at],
        )


def table(rows: Sequence[Row], reference: Profile, signature: Signature) -> Table:
    """Return rows as arrays; those whose prediction cannot be read are left out."""
    whole, tensors = answered(rows, signature)
    names = tuple(reference.features)
    cells = np.empty((len(whole), len(names)), dtype=np.int16)
    for at, name in enumerate(names):
        cells[:, at] = cells_of(reference.features[name], [row.features.get(name) for row in whole])
    answer = signature.label or signature.outputs[0].name
    scores = tensors[signature.scores] if signature.scores else None
    two = scores is not None and scores.ndim == 2 and scores.dtype.kind == "f"
    return Table(
        whole,
        names,
        cells,
        tensors[answer].reshape(len(whole), -1)[:, 0] if whole else np.empty(0),
        scores
        if two and scores is not None and scores.shape[1] == len(signature.classes)
        else None,
        np.array([1 / row.rate for row in whole]),
    )


def cells_of(column: Column, values: Sequence[object]) -> Array:
    """Return each value's cell, as `histogram` numbers them; -1 without a value."""
    found, _ = fitting(column.kind, values)
    kept = [None if value is REDACTED else value for value in found]
    if isinstance(column, Numbers):
        given = as_lengths(kept) if column.kind == "length" else as_floats(objects(kept))
        places = np.searchsorted(np.array(column.edges), given, side="right")
        if column.edges:
            places[given == column.edges[-1]] -= 1
        return np.asarray(np.where(np.isnan(given), -1, places))
    known = {text: at for at, text in enumerate(column.categories)}
    return np.array(
        [-1 if v is None or v == "" else known.get(as_text(v), len(known)) for v in kept],
        dtype=np.int16,
    )


def normal_scores(reference: Profile, cells: Array) -> Array:
    """Return each cell as a standard normal score, shape (rows, features); 0 without a value.

    A cell lies at the middle of its ranks in the reference, so that columns of any shape become
    comparable and bounded. Categories are in order of frequency.
    """
    normal = NormalDist()
    result = np.zeros(cells.shape)
    for at, column in enumerate(reference.features.values()):
        counts = histogram(column).counts + 0.5
        order = np.arange(len(counts)) if isinstance(column, Numbers) else np.argsort(-counts)
        middle = (np.cumsum(counts[order]) - counts[order] / 2) / counts.sum()
        scores = np.empty(len(counts))
        scores[order] = [normal.inv_cdf(share) for share in middle.tolist()]
        result[:, at] = np.append(scores, 0.0)[cells[:, at]]
    return result
