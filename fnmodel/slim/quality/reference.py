"""Makes the reference profile: bins that fit the training sample, and its counts on them.

Bins hold about equal shares of the sample, since that is where a drift test sees most. A value
that many rows share gets a bin of its own. Edges lie between values, at the shortest decimal there
is, so that a live value that went through float32 or JSON falls into the bin of its training twin,
and so that no edge is a person's value.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import InputError
from fnmodel.histogram import Categories, Column, Numbers, as_floats, as_lengths, tally
from fnmodel.model import Feature, Signature
from fnmodel.profile import Profile, answer_columns

Array = NDArray[Any]

BINS = 20
LEAST = 5
"""Rows of the sample behind each bin and each category; fewer would point at people."""

_MOST_CATEGORIES = 30
_LONGEST = 64
# A column whose listed categories cover less than this is free text.
_COVERED = 0.5
# An edge may move by this share of a bin's rows to become a rounder number.
_LEEWAY = 10
_FINEST = -300


def build(
    columns: Mapping[str, Array], outputs: Mapping[str, Array], signature: Signature
) -> Profile:
    """Return the profile of a sample and of the model's answers to it.

    `columns` holds the sample's features by name, shape (n,); missing values are None, NaN or "".
    `outputs` are the model's output tensors for these rows. A model without features has a profile
    of its answers alone. The same input gives the same profile.

    Raises:
        InputError: a column holds values of another type than its feature.

    """
    features = {feature.name: feature for feature in signature.features}
    answers = answer_columns(signature, outputs)
    given = {name: columns[name] for name in features if name in columns}
    empty = Profile(
        {name: _feature_bins(features[name], np.asarray(column)) for name, column in given.items()},
        {name: _answer_bins(name, np.asarray(column)) for name, column in answers.items()},
    )
    counted = empty.count(given, answers)
    return Profile(
        {name: _without_people(column) for name, column in counted.features.items()},
        {name: _without_people(column) for name, column in counted.outputs.items()},
        counted.rows,
    )


def number_bins(
    values: Array, *, integral: bool = False, bounds: tuple[float, float] | None = None
) -> Numbers:
    """Return bins for a column of float64, shape (n,); NaN and infinities are left out.

    `integral` puts edges halfway between whole numbers, `bounds` replace the outer edges.
    """
    ordered = np.sort(values[np.isfinite(values)])
    if not len(ordered):
        return Numbers((), 0.0, 1.0)
    low, high = bounds or _outer(float(ordered[0]), float(ordered[-1]), integral=integral)
    cuts = [_cut(ordered, at, leeway, integral=integral) for at, leeway in _starts(ordered)]
    edges = (low, *sorted({cut for cut in cuts if low < cut < high}), high)
    origin, unit = _scale(ordered, integral=integral)
    return _merged(Numbers(edges, origin, unit), ordered)


def category_bins(values: Any) -> Categories:
    """Return the categories that enough rows share, sorted, the thirty most frequent at most."""
    shared = {
        text: count
        for text, count in tally(values).items()
        if text is not None and count >= LEAST and len(text) <= _LONGEST
    }
    kept = sorted(shared, key=lambda text: (-shared[text], text))[:_MOST_CATEGORIES]
    return Categories(tuple(sorted(kept)))


def _feature_bins(feature: Feature, column: Array) -> Column:
    if feature.datatype != "BYTES":
        integral = feature.integral or column.dtype.kind in "iub"
        return number_bins(_numbers(feature.name, column), integral=integral)
    categories = category_bins(column)
    counted = categories.count(column)
    covered = sum(counted.counts) >= _COVERED * (counted.total - counted.missing)
    if feature.categories or covered:
        return categories
    bins = number_bins(_numbers(feature.name, column, as_lengths), integral=True)
    return replace(bins, kind="length")


def _answer_bins(name: str, column: Array) -> Column:
    if name == "label" or column.dtype.kind not in "biuf":
        return category_bins(column)
    # Rounding leaves a probability a little outside.
    bounds = (-1e-06, 1.000001) if name.startswith("probability:") else None
    integral = column.dtype.kind in "iub"
    return number_bins(_numbers(name, column), integral=integral, bounds=bounds)


def _numbers(name: str, column: Array, read: Callable[[Any], Array] = as_floats) -> Array:
    try:
        return read(column)
    except InputError as error:
        raise InputError(f"column {name!r}: {error.message}") from error


def _starts(ordered: Array) -> list[tuple[int, int]]:
    """Return the rows at which a bin begins, and by how many rows each may move."""
    rows = len(ordered)
    bins = max(1, min(BINS, rows // LEAST))
    quantiles = np.unique(ordered[np.arange(1, bins) * rows // bins])
    first = np.searchsorted(ordered, quantiles, side="left")
    last = np.searchsorted(ordered, quantiles, side="right")
    heavy = last - first >= max(LEAST, rows // (2 * bins))
    leeway = rows // (bins * _LEEWAY)
    starts = {int(at): leeway for at in first[~heavy]}
    starts |= dict.fromkeys([*first[heavy].tolist(), *last[heavy].tolist()], 0)
    return sorted((at, free) for at, free in starts.items() if 0 < at < rows)


def _cut(ordered: Array, at: int, leeway: int, *, integral: bool) -> float:
    """Return the roundest edge in the gap before row `at`, or up to `leeway` rows away."""
    edge = _between(ordered, at, integral=integral)
    if not leeway:
        return edge
    low = float(ordered[max(at - 1 - leeway, 0)])
    high = float(ordered[min(at + leeway, len(ordered) - 1)])
    rounder = _shortest(low, high)
    if integral:
        return math.ceil(rounder) - 0.5
    # A value on the edge would fall left or right of it by its last bit.
    near = abs(rounder) * 1e-6
    above = int(np.searchsorted(ordered, rounder - near))
    taken = float(ordered[above]) <= rounder + near
    gap = float(ordered[above]) - float(ordered[above - 1]) if above else math.inf
    if taken and above > 0 and gap > 4 * near:
        return _between(ordered, above, integral=False)
    return rounder


def _between(ordered: Array, at: int, *, integral: bool) -> float:
    edge = _shortest(float(ordered[at - 1]), float(ordered[at]))
    return math.ceil(edge) - 0.5 if integral else edge


def _shortest(low: float, high: float) -> float:
    """Return the number of fewest digits in the middle half between two numbers, low < high."""
    quarter = high / 4 - low / 4
    least, most = low + quarter, high - quarter
    largest = max(abs(least), abs(most))
    if least <= 0 <= most or largest == 0:
        return 0.0
    for exponent in range(_exponent(largest) + 1, _exponent(largest) - 17, -1):
        found = float(f"{math.ceil(least / _power(exponent))}e{exponent}")
        if least <= found <= most:
            return found
    return high  # neighbouring floats have nothing between them


def _outer(smallest: float, largest: float, *, integral: bool) -> tuple[float, float]:
    """Return edges around a column, rounded outward to three digits of its range."""
    if smallest == largest:
        apart = 0.5 if integral else max(abs(smallest) * 1e-6, 1e-9)
        return smallest - apart, largest + apart
    spread = min(largest / 2 - smallest / 2, sys.float_info.max / 4) * 2
    exponent = max(_exponent(spread) - 2, _FINEST)
    if integral:
        exponent = max(exponent, 0)
    step = _power(exponent)
    # Not onto a value, which may come back from float32 or JSON a bit smaller or larger.
    pad = 0.0 if integral else 0.1
    low = float(f"{math.floor(smallest / step - pad)}e{exponent}")
    high = float(f"{math.ceil(largest / step + pad)}e{exponent}")
    if smallest >= 0:
        low = max(low, 0.0)
    if integral:
        low, high = low - 0.5, high + 0.5
    return max(low, -sys.float_info.max), min(high, sys.float_info.max)


def _scale(ordered: Array, *, integral: bool) -> tuple[float, float]:
    """Return an origin amid the values, and 2^-16 of their spread as a power of two."""
    rows = len(ordered)
    quarter, three = (float(ordered[rows * part // 4]) for part in (1, 3))
    origin = quarter if quarter == three else _shortest(quarter, three)
    if integral:
        origin = float(math.ceil(origin))
    for low, high in ((rows // 20, rows - 1 - rows // 20), (0, rows - 1)):
        half = float(ordered[high]) / 2 - float(ordered[low]) / 2
        if half:
            break
    else:
        half = abs(origin) or 1.0
    return origin, math.ldexp(1.0, min(max(math.frexp(half)[1] - 16, -1000), 900))


def _merged(bins: Numbers, ordered: Array) -> Numbers:
    """Return the bins after those with too few rows were joined with a neighbour."""
    edges, counts = list(bins.edges), list(bins.count(ordered).counts)
    while len(counts) > 1 and min(counts) < LEAST:
        at = counts.index(min(counts))
        left = at == len(counts) - 1 or (at > 0 and counts[at - 1] <= counts[at + 1])
        edge = at if left else at + 1
        counts[edge - 1 : edge + 1] = [counts[edge - 1] + counts[edge]]
        del edges[edge]
    return Numbers(tuple(edges), bins.origin, bins.unit)


def _without_people(column: Column) -> Column:
    """Return the column with its bins' outer edges in place of its smallest and largest value."""
    if isinstance(column, Categories) or column.minimum is None or not column.edges:
        return column
    low, high = column.edges[0], column.edges[-1]
    if low % 1 == high % 1 == 0.5:  # around whole numbers
        low, high = low + 0.5, high - 0.5
    return replace(column, minimum=low, maximum=high)


def _exponent(number: float) -> int:
    """Return the decimal exponent of a positive number, the same on every machine."""
    return int(f"{number:e}".partition("e")[2])


def _power(exponent: int) -> float:
    return float(f"1e{exponent}")
