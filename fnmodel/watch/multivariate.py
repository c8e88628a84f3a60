"""Rows of before and of now in; whether a classifier can tell them apart out.

A correlation that broke leaves each column as it was, and no test of single columns sees it. A
linear classifier on the columns' normal scores, their squares and their products does: it learns on
one half of the rows to tell before from now, and is tested on the other. What it reaches there (the
area under its ROC curve) has a known distribution if nothing changed, so the p-value is honest.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fnmodel.profile import Array
from fnmodel.watch import statistics

_MOST_PRODUCTS = 20
"""Columns of which products are formed: those with the most to tell on the first half."""
_MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Separation:
    """How well before and now are told apart: `auc` 0.5 is not at all.

    `terms` are what tells them apart, most first: a column, a column's spread, or a pair.
    """

    auc: float
    p: float
    terms: tuple[tuple[str, float], ...]
    rows: tuple[int, int]


def separate(
    before: Array, now: Array, names: tuple[str, ...], *, seed: int = 0, ridge: float = 1.0
) -> Separation | None:
    """Try to tell rows apart by their normal scores, shape (rows, columns); None of too few rows.

    More than 20,000 rows of a side are thinned out evenly at random.
    """
    random = np.random.default_rng(seed)
    sides = [_thinned(side, random) for side in (before, now)]
    if min(map(len, sides)) < 100 or not names:
        return None
    learn, test = [], []
    for side in sides:
        order = random.permutation(len(side))
        learn.append(side[order[: len(side) // 2]])
        test.append(side[order[len(side) // 2 :]])
    chosen = _telling(learn[0], learn[1])
    labels, terms = _terms(names, chosen)
    first, second = (_expanded(side, terms) for side in learn)
    center, scale = np.vstack([first, second]).mean(axis=0), np.vstack([first, second]).std(axis=0)
    scale[scale == 0] = 1.0
    weights = _discriminant((first - center) / scale, (second - center) / scale, ridge)
    scored = [((_expanded(side, terms) - center) / scale) @ weights for side in test]
    auc, p = _rank_test(scored[0], scored[1])
    gap = ((second - first.mean(axis=0)).mean(axis=0) / scale) * weights
    best = np.argsort(-gap)[:5]
    shares = gap / max(np.abs(gap).sum(), 1e-12)
    told = tuple((labels[i], float(shares[i])) for i in best.tolist() if shares[i] > 0.05)
    return Separation(auc, p, told, (len(before), len(now)))


def _thinned(side: Array, random: np.random.Generator) -> Array:
    if len(side) <= _MOST_ROWS:
        return side
    return side[random.choice(len(side), _MOST_ROWS, replace=False)]


def _telling(before: Array, now: Array) -> list[int]:
    """Return the columns whose products changed most, as many as may be multiplied."""
    width = before.shape[1]
    if width <= _MOST_PRODUCTS:
        return list(range(width))
    change = np.abs(before.T @ before / len(before) - now.T @ now / len(now))
    return sorted(np.argsort(-change.max(axis=0))[:_MOST_PRODUCTS].tolist())


def _terms(
    names: tuple[str, ...], chosen: list[int]
) -> tuple[list[str], list[tuple[int, int | None]]]:
    """Return what each term is called and which columns it multiplies."""
    terms: list[tuple[int, int | None]] = [(i, None) for i in range(len(names))]
    terms += [(i, i) for i in range(len(names))]
    terms += list(combinations(chosen, 2))
    labels = [
        names[i]
        if j is None
        else f"spread of {names[i]}"
        if i == j
        else f"{names[i]} with {names[j]}"
        for i, j in terms
    ]
    return labels, terms


def _expanded(side: Array, terms: list[tuple[int, int | None]]) -> Array:
    return np.stack([side[:, i] if j is None else side[:, i] * side[:, j] for i, j in terms], 1)


def _discriminant(first: Array, second: Array, ridge: float) -> Array:
    """Return Fisher's linear discriminant, shrunk; it points from the first to the second."""
    spread = np.cov(first, rowvar=False) + np.cov(second, rowvar=False)
    width = first.shape[1]
    size = width / min(len(first), len(second)) * ridge
    shrunk = spread + (0.05 + size) * np.eye(width)
    return np.asarray(np.linalg.solve(shrunk, second.mean(axis=0) - first.mean(axis=0)))


def _rank_test(first: Array, second: Array) -> tuple[float, float]:
    """Return the area under the ROC curve, and Mann and Whitney's one-sided p-value."""
    n, m = len(first), len(second)
    values, at, counts = np.unique(
        np.concatenate([first, second]), return_inverse=True, return_counts=True
    )
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[at]
    auc = (ranks[n:].sum() - m * (m + 1) / 2) / (n * m)
    ties = (counts.astype(np.float64) ** 3 - counts).sum() / ((n + m) * (n + m - 1))
    spread = math.sqrt((n + m + 1 - ties) / (12 * n * m)) if len(values) > 1 else 1.0
    return float(auc), statistics.normal_tail((auc - 0.5) / spread)
