"""Intervals by resampling rows: every figure is drawn on the same resamples, so they are paired.

A resample is the number of times that each row was drawn, so a figure is a function of weights:
shape (b, rows) in, shape (b,) out. All ones give the figure itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Figure = Callable[[Array], Array]

RESAMPLES = 1000
FEWEST = 200

# 1,000 resamples up to 50,000 rows; beyond that the interval is narrow and time counts.
_BUDGET = 50_000_000
# What fits the caches: 8 MB of weights at a time.
_BLOCK = 1_000_000
_LEVEL = (2.5, 97.5)
# With more undefined resamples than this an interval would be a guess.
_UNDEFINED = 0.05


@dataclass(frozen=True)
class Statistic:
    """A figure as a function of row weights, NaN where undefined; `most` caps its resamples."""

    of: Figure
    most: int = RESAMPLES

    def value(self, rows: int) -> float:
        """Return the figure itself: each row counts once."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.of(np.ones((1, rows)))[0])


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % percentile interval; low and high are NaN where there is none."""

    value: float
    low: float
    high: float
    resamples: int


@dataclass(frozen=True)
class Draws:
    """A figure and what it was on each resample, shape (resamples,)."""

    value: float
    samples: Array

    def estimate(self) -> Estimate:
        """Return the figure with its interval."""
        defined = self.samples[np.isfinite(self.samples)]
        low = high = float("nan")
        if len(defined) and len(defined) >= (1 - _UNDEFINED) * len(self.samples):
            low, high = (float(bound) for bound in np.percentile(defined, _LEVEL))
        return Estimate(self.value, low, high, len(self.samples))

    def minus(self, other: "Draws") -> "Draws":
        """Return the difference of two figures, paired on the same resamples."""
        return Draws(self.value - other.value, self.samples - other.samples)

    def times(self, factor: float) -> "Draws":
        """Return the figure in another unit or with another sign."""
        return Draws(factor * self.value, factor * self.samples)


def draw(statistics: Sequence[Statistic], rows: int, rng: np.random.Generator) -> tuple[Draws, ...]:
    """Return each figure with its resamples; `rows` is at least 1."""
    points = [statistic.value(rows) for statistic in statistics]
    samples: list[list[Array]] = [[] for _ in statistics]
    done = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for weights in _weights(rows, resamples(rows), rng):
            for statistic, drawn in zip(statistics, samples, strict=True):
                if done < statistic.most:
                    drawn.append(statistic.of(weights[: statistic.most - done]))
            done += len(weights)
    return tuple(
        Draws(point, np.concatenate(drawn)) for point, drawn in zip(points, samples, strict=True)
    )


def resamples(rows: int) -> int:
    """Return how many resamples are drawn of that many rows."""
    return min(RESAMPLES, max(FEWEST, _BUDGET // max(rows, 1)))


def by_code(codes: Array, size: int) -> Figure:
    """Return a function from weights to the weight of each code, shape (b, size).

    `codes` are integers of shape (rows,) from 0 to size - 1.
    """
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)

    def totals(weights: Array) -> Array:
        result = np.zeros((len(weights), size))
        result[:, present] = np.add.reduceat(np.take(weights, order, axis=1), starts, axis=1)
        return result

    return totals


def _weights(rows: int, count: int, rng: np.random.Generator) -> Iterator[Array]:
    size = max(1, min(count, _BLOCK // rows))
    for start in range(0, count, size):
        block = min(size, count - start)
        drawn = rng.integers(0, rows, size=(block, rows), dtype=np.int64)
        drawn += np.arange(0, block * rows, rows, dtype=np.int64)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=block * rows)
        yield counts.reshape(block, rows).astype(np.float64)
