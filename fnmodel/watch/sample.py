"""Columns of many windows in, one histogram each out, weighted by what their rows stand for.

Captured at rates r, n rows stand for n / r, and tell less than as many rows of one rate would.
Counts are therefore scaled to the effective size (Kish): (sum of weights)² / sum of squares. At one
rate this changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fnmodel.histogram import Categories, Column, Numbers
from fnmodel.profile import Array, Profile


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of one column: `counts`, shape (cells,), and the rows without a value.

    Of numbers the cells are: below the reference's edges, each bin, above them. Of categories each
    category, then every other. `edges` are finite, shape (bins + 1,), or None for categories.
    """

    counts: Array
    missing: float
    edges: Array | None
    names: tuple[str, ...]
    mean: float | None
    deviation: float | None

    @property
    def rows(self) -> float:
        """The rows counted, those without a value too."""
        return float(self.counts.sum()) + self.missing

    @property
    def outside(self) -> tuple[float, ...]:
        """What the reference has no bin for: below and above its edges, or other categories."""
        if self.edges is None:
            return (float(self.counts[-1]),)
        return float(self.counts[0]), float(self.counts[-1])


@dataclass(frozen=True, slots=True)
class Sample:
    """Histograms by column; `rows` were captured, they stand for `represents`."""

    features: Mapping[str, Histogram]
    outputs: Mapping[str, Histogram]
    rows: int
    represents: float


def sample(parts: Iterable[tuple[float, Profile]]) -> Sample:
    """Pool profiles of the same columns, each with the weight of one of its rows.

    Raises:
        ValueError: there is none.

    """
    found = list(parts)
    if not found:
        raise ValueError("there is no profile to pool")
    weights = np.array([weight for weight, _ in found])
    rows = np.array([profile.rows for _, profile in found], dtype=np.float64)
    squares = float((weights**2 * rows).sum())
    # What one row of weight 1 counts, so that all together count as the effective size.
    scale = float((weights * rows).sum()) / squares if squares else 0.0

    def side(columns: Sequence[Mapping[str, Column]]) -> dict[str, Histogram]:
        return {
            name: _pooled([column[name] for column in columns], weights * scale)
            for name in columns[0]
        }

    return Sample(
        side([profile.features for _, profile in found]),
        side([profile.outputs for _, profile in found]),
        int(rows.sum()),
        float((weights * rows).sum()),
    )


def histogram(column: Column) -> Histogram:
    """Return one column's histogram."""
    return _pooled([column], np.ones(1))


def _pooled(columns: Sequence[Column], weights: Array) -> Histogram:
    counts = weights @ np.array([_cells(column) for column in columns], dtype=np.float64)
    missing = float(weights @ np.array([column.missing for column in columns], dtype=np.float64))
    first = columns[0]
    if isinstance(first, Categories):
        return Histogram(counts, missing, None, (*first.categories, "other"), None, None)
    numbers = [column for column in columns if isinstance(column, Numbers)]
    mean, deviation = _moments(numbers, weights)
    edges = np.array(first.edges)
    inner = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges.tolist())]
    outer = (f"below {edges[0]:.4g}", f"above {edges[-1]:.4g}") if len(edges) else ("", "any")
    return Histogram(counts, missing, edges, (outer[0], *inner, outer[1]), mean, deviation)


def _cells(column: Column) -> list[int]:
    if isinstance(column, Categories):
        return [*column.counts, column.other]
    return [column.low, *column.counts, column.high]


def _moments(columns: Sequence[Numbers], weights: Array) -> tuple[float | None, float | None]:
    """Return mean and standard deviation over the finite values."""
    finite = weights * np.array([column.finite for column in columns], dtype=np.float64)
    total = float(finite.sum())
    if not total:
        return None, None
    some = [(share, c.mean, c.variance) for share, c in zip(finite, columns, strict=True)]
    means = [(share, m, v) for share, m, v in some if m is not None and v is not None]
    mean = sum(share * m for share, m, _ in means) / total
    variance = sum(share * (v + (m - mean) ** 2) for share, m, v in means) / total
    return float(mean), float(variance) ** 0.5
