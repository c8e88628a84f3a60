"""Compares the original's answers with the ONNX model's. Pure: arrays in, a comparison out."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.model import Tolerance

Array = NDArray[Any]
Answers = Mapping[str, Array]

# Rounding moves a score by up to the measured difference, so twice that can swap two classes;
# the rest is a margin.
_TIE_FACTOR = 10.0
_LENGTHS = 0.01


@dataclass(frozen=True)
class Comparison:
    """How two sets of answers to the same rows differ.

    `share` is each row's use of the tolerance, shape (rows,); above 1 the row is out of it.
    `flips` marks the rows whose label differs without a tie, `tied` those with one. `cosine` is the
    least one between two vectors, where directions were compared.
    """

    max_abs: float
    mean_abs: float
    max_rel: float
    share: Array
    flips: Array
    tied: Array
    cosine: float = 1.0

    def passes(self, label_flips: int) -> bool:
        """Whether all scores are within tolerance, and no more labels differ than allowed."""
        return bool((self.share <= 1).all()) and int(self.flips.sum()) <= label_flips

    def worst(self, count: int) -> list[int]:
        """Return the positions of the rows that differ most, flipped labels first."""
        order = np.lexsort((-self.share, ~self.flips))[:count]
        return [int(i) for i in order if self.flips[i] or self.share[i] > 0 or self.tied[i]]


def compare(
    original: Answers,
    onnx: Answers,
    tolerance: Tolerance,
    margin: Array | None,
    directions: Mapping[str, float] = MappingProxyType({}),
) -> Comparison:
    """Compare answers by output name, row by row.

    Numbers with a fraction count against the tolerance, everything else must be equal. `margin`,
    shape (rows,), is how far the original's two best classes lie apart; a label that differs
    where this is no more than rounding explains is a tie. `directions` gives, for outputs of
    vectors out of tolerance, the least cosine that will do; lengths may differ by 1 %.
    """
    rows = len(next(iter(original.values())))
    share = np.zeros(rows)
    max_abs = max_rel = 0.0
    means = [0.0]
    least = 1.0
    differs = np.zeros(rows, dtype=bool)
    for name, expected in original.items():
        actual = onnx[name]
        if expected.shape != actual.shape:
            share[:] = np.inf
            max_abs = sys.float_info.max
        elif expected.dtype.kind == "f":
            far = distance(expected, actual)
            allowed = tolerance.absolute + tolerance.relative * np.abs(
                np.nan_to_num(expected.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
            )
            used = _by_row(_ratio(far, allowed))
            if name in directions:
                turned, aligned = _turned(expected, actual, directions[name])
                used, least = np.minimum(used, turned), min(least, aligned)
            share = np.maximum(share, used)
            max_abs = max(max_abs, float(far.max(initial=0.0)))
            means.append(float(np.minimum(far, sys.float_info.max / max(far.size, 1)).sum()))
            means[-1] /= max(far.size, 1)
            size = np.abs(expected)
            counted = np.isfinite(size) & (size > tolerance.absolute)
            max_rel = max(max_rel, float((far[counted] / size[counted]).max(initial=0.0)))
        else:
            differs |= _by_row(expected != actual).astype(bool)
    near = np.zeros(rows, dtype=bool)
    if margin is not None:
        scored = any(array.dtype.kind == "f" for array in original.values())
        limit = min(_TIE_FACTOR * max_abs, tolerance.absolute) if scored else tolerance.absolute
        near = margin <= limit
    return Comparison(
        max_abs=min(max_abs, sys.float_info.max),
        mean_abs=max(means),
        max_rel=min(max_rel, sys.float_info.max),
        share=share,
        flips=differs & ~near,
        tied=differs & near,
        cosine=least,
    )


def distance(expected: Array, actual: Array) -> Array:
    """Return |a - b| in float64; equal NaN or infinities are 0 apart, others infinitely far."""
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        far = np.abs(a - b)
    return np.where(same, 0.0, np.nan_to_num(far, nan=sys.float_info.max))


def best_two_margin(scores: Array) -> Array:
    """Return how far the two best classes lie apart, shape (rows,).

    Scores are of shape (rows, C) or (rows,). One score a row is a binary decision function, and
    the margin is its distance from 0.
    """
    if scores.ndim == 1 or scores.shape[1] == 1:
        return np.abs(scores.reshape(-1))
    best = np.sort(scores, axis=1)
    margin: Array = best[:, -1] - best[:, -2]
    return margin


def _turned(expected: Array, actual: Array, limit: float) -> tuple[Array, float]:
    """Return each row's use of what the cosine allows, infinite for other lengths; and the least.

    Both arrays are of shape (rows, length).
    """
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    long, longer = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.nan_to_num((a * b).sum(axis=1) / (long * longer), nan=-1.0)
    used = _ratio(np.maximum(1 - cosine, 0.0), np.full(len(a), max(1 - limit, 0.0)))
    same_length = np.abs(longer - long) <= _LENGTHS * long
    return np.where(same_length, used, np.inf), float(cosine.min(initial=1.0))


def _ratio(far: Array, allowed: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = far / allowed
    return np.where(far == 0, 0.0, np.nan_to_num(ratio, nan=np.inf, posinf=np.inf))


def _by_row(values: Array) -> Array:
    if not len(values):
        return np.zeros(0, dtype=values.dtype)
    largest: Array = values.reshape(len(values), -1).max(axis=1)
    return largest
