"""How close the answers of a rounded model must stay: a measure for the ladder's judge."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fnmodel.slim.rungs.rung import Array

_VECTOR = 16  # from this many numbers in a row on, it is their direction that counts


@dataclass(frozen=True)
class Closeness:
    """What rounding may change.

    `cosine` is the least cosine between a row's answers before and after, where an answer is a
    vector (an embedding); its length may change by `spread`, a share. Elsewhere `spread` is the
    largest difference, as a share of the range that the original's answers to all rows take.
    """

    cosine: float = 0.999
    spread: float = 0.01


def close(expected: Mapping[str, Array], actual: Mapping[str, Array], limit: Closeness) -> bool:
    """Whether all floating answers, with the rows along axis 0, are as close as that.

    NaN and infinities must stay what they are. Answers of other types are not looked at: a label
    either is the same or counts as changed.
    """
    for name, before in expected.items():
        after = actual[name]
        if before.shape != after.shape:
            return False
        if before.dtype.kind == "f" and before.size and not _close(before, after, limit):
            return False
    return True


def _close(before: Array, after: Array, limit: Closeness) -> bool:
    finite = np.isfinite(before)
    if not np.array_equal(finite, np.isfinite(after)):
        return False
    if not np.array_equal(before[~finite], after[~finite], equal_nan=True):
        return False
    a = np.where(finite, before, 0).astype(np.float64).reshape(len(before), -1)
    b = np.where(finite, after, 0).astype(np.float64).reshape(len(before), -1)
    if a.shape[1] >= _VECTOR:
        long, longer = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        aligned = (a * b).sum(axis=1) >= limit.cosine * long * longer
        return bool((aligned & (np.abs(longer - long) <= limit.spread * long)).all())
    spread = float(a.max() - a.min())
    return bool(np.abs(a - b).max() <= limit.spread * spread)
