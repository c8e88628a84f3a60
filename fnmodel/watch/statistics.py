"""Statistics of two histograms with the same bins: arrays of counts in, one number out.

Counts are arrays of shape (bins,), whole or weighted, not all zero. Nothing here knows of columns
or thresholds. Tail probabilities agree with SciPy's to ten digits (tests/test_watch_statistics.py).

Imports only the standard library and numpy.
"""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def psi(reference: Array, current: Array) -> Array:
    """Return the population stability index, over the last axis.

    A bin that one side lacks counts as half a row there, as it must count as something. Between
    samples of one distribution the index is about (bins - 1) · (1/N + 1/n), so a threshold that
    knows no size (0.1, 0.2) is noise for few rows and blind for many.
    """
    some = (reference > 0) | (current > 0)
    p, q = (np.where(some, np.maximum(counts, 0.5), 0.0) for counts in (reference, current))
    p, q = np.where(some, _shares(p), 1.0), np.where(some, _shares(q), 1.0)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def jensen_shannon(reference: Array, current: Array) -> float:
    """Return the Jensen-Shannon distance to base 2, between 0 and 1."""
    p, q = _shares(reference), _shares(current)
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return math.sqrt(max(divergence, 0.0))


def kolmogorov_smirnov(reference: Array, current: Array) -> float:
    """Return the largest distance between the two distribution functions at the edges of bins."""
    return float(np.abs(np.cumsum(_shares(reference) - _shares(current))).max())


def wasserstein(reference: Array, current: Array, edges: Array) -> float:
    """Return how far the mass has to move at least, in the unit of `edges`, shape (bins + 1,).

    Within a bin the mass is spread evenly.
    """
    # The distribution functions differ by a line in each bin, which may cross zero once.
    apart = np.concatenate([[0.0], np.cumsum(_shares(reference) - _shares(current))])
    left, right = np.abs(apart[:-1]), np.abs(apart[1:])
    total = left + right
    crossing = apart[:-1] * apart[1:] < 0
    with np.errstate(invalid="ignore", divide="ignore"):
        area = np.where(crossing, (left**2 + right**2) / (2 * total), total / 2)
    return float((area * np.diff(edges)).sum())


def chi_square(reference: Array, current: Array, *, least: float = 5.0) -> tuple[float, int]:
    """Return Pearson's statistic for two samples, and its degrees of freedom.

    Bins from which fewer than `least` rows are expected in the smaller sample are joined with
    the next, since the statistic is no chi-square otherwise.
    """
    both = np.stack([reference, current]).astype(np.float64)
    sizes = both.sum(axis=1)
    joined = _joined(both, least * sizes.sum() / sizes.min())
    expected = np.outer(sizes, joined.sum(axis=0)) / sizes.sum()
    return float(((joined - expected) ** 2 / expected).sum()), joined.shape[1] - 1


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Return the probability that a chi-square is at least `statistic`; 1 without freedom."""
    if freedom <= 0 or statistic <= 0:
        return 1.0
    return _gamma_tail(freedom / 2, statistic / 2)


def kolmogorov_tail(distance: float, reference: float, current: float) -> float:
    """Return the asymptotic probability of a distance between samples of two sizes.

    On bins the true one is smaller, since the distance is looked at in few places.
    """
    root = math.sqrt(reference * current / (reference + current))
    # Stephens' correction for small samples.
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.3:
        return 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(max(2 * math.fsum(terms), 0.0), 1.0)


def more_than_before(before: int, of: int, now: int, out_of: int) -> float:
    """Return Fisher's exact probability of `now` or more of `out_of` rows, one-sided.

    That is of a kind of which the reference has `before` of `of`, if both had the same share.
    """
    marked, total = before + now, of + out_of
    if not now:
        return 1.0
    most = min(marked, out_of)
    logs = np.array(
        [_choose(out_of, k) + _choose(of, marked - k) for k in _tail(now, most, marked - of)]
    )
    return min(1.0, float(np.exp(logs - _choose(total, marked)).sum()))


def normal_tail(z: float) -> float:
    """Return the probability that a standard normal is at least `z`."""
    return math.erfc(z / math.sqrt(2)) / 2


def area(scores: Array, hit: Array, miss: Array) -> float:
    """Return the area under the ROC curve of scores whose rows weigh as hits and as misses.

    All of shape (rows,); rows of one score are one step of the curve.
    """
    _, at = np.unique(scores, return_inverse=True)
    hits, misses = np.bincount(at, weights=hit), np.bincount(at, weights=miss)
    below = np.cumsum(misses) - misses / 2
    return float((below * hits).sum() / (hits.sum() * misses.sum()))


def holm(probabilities: Array) -> Array:
    """Return p-values adjusted by Holm: under alpha, the chance of one false alarm is under it."""
    order = np.argsort(probabilities, kind="stable")
    count = len(probabilities)
    stepped = np.maximum.accumulate(probabilities[order] * np.arange(count, 0, -1))
    return _back(order, np.minimum(stepped, 1.0))


def benjamini_hochberg(probabilities: Array) -> Array:
    """Return adjusted p-values: under alpha, false alarms are at most that share of alarms."""
    order = np.argsort(probabilities, kind="stable")
    count = len(probabilities)
    raised = probabilities[order] * count / np.arange(1, count + 1)
    return _back(order, np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0))


def _shares(counts: Array) -> Array:
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def _relative_entropy(p: Array, q: Array) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())


def _joined(both: Array, least: float) -> Array:
    """Join neighbouring columns until each has `least` rows in both samples together."""
    groups: list[Array] = []
    waiting = np.zeros(2)
    for column in both.T:
        waiting = waiting + column
        if waiting.sum() >= least:
            groups.append(waiting)
            waiting = np.zeros(2)
    if waiting.sum() > 0:
        if groups:
            groups[-1] = groups[-1] + waiting
        else:
            groups.append(waiting)
    return np.stack(groups, axis=1)


def _gamma_tail(a: float, x: float) -> float:
    """Return the upper regularized incomplete gamma function Q(a, x)."""
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1.0 / a
        at = a
        while term > total * 1e-16:
            at += 1
            term *= x / at
            total += term
        return 1.0 - front * total
    return front * _gamma_fraction(a, x)


def _gamma_fraction(a: float, x: float) -> float:
    """Return Q's continued fraction without its front, by Lentz's method."""
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    value = d
    for i in range(1, 10_000):
        factor = -i * (i - a)
        b += 2
        d = 1 / (factor * d + b or tiny)
        c = b + factor / c or tiny
        value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value


def _tail(now: int, most: int, least: int) -> range:
    return range(max(now, least), most + 1)


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _back(order: Array, values: Array) -> Array:
    result = np.empty_like(values)
    result[order] = values
    return result
