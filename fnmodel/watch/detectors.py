"""Errors come in one by one; a detector says when their mean has changed.

Each has `update(x) -> bool`, true in the step in which it is sure. State is a few numbers, no past.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol


class Detector(Protocol):
    """Sees one value after another."""

    def update(self, x: float) -> bool:
        """Take the next value; return whether the mean has changed."""


@dataclass(slots=True)
class PageHinkley:
    """The Page-Hinkley test for a mean that rises (Page 1954).

    `delta` is the rise that is allowed, `threshold` how far the sum may climb over its least;
    both in the unit of x. After an alarm it begins anew.
    """

    delta: float = 0.005
    threshold: float = 50.0
    minimum: int = 30
    _count: int = 0
    _mean: float = 0.0
    _sum: float = 0.0
    _least: float = 0.0

    def update(self, x: float) -> bool:
        """Take the next value."""
        self._count += 1
        self._mean += (x - self._mean) / self._count
        self._sum += x - self._mean - self.delta
        self._least = min(self._least, self._sum)
        if self._count < self.minimum or self._sum - self._least <= self.threshold:
            return False
        self._count, self._mean, self._sum, self._least = 0, 0.0, 0.0, 0.0
        return True


@dataclass(slots=True)
class Ddm:
    """The drift detection method for errors of 0 and 1 (Gama et al. 2004).

    An alarm is an error rate three standard deviations over the best so far.
    """

    minimum: int = 30
    deviations: float = 3.0
    _count: int = 0
    _rate: float = 0.0
    _best_rate: float = math.inf
    _best_spread: float = 0.0

    def update(self, x: float) -> bool:
        """Take the next error, 0 or 1."""
        self._count += 1
        self._rate += (x - self._rate) / self._count
        if self._count < self.minimum:
            return False
        spread = math.sqrt(self._rate * (1 - self._rate) / self._count)
        # A rate of zero so far has no spread to be measured by.
        if 0 < self._rate + spread <= self._best_rate + self._best_spread:
            self._best_rate, self._best_spread = self._rate, spread
        if self._rate + spread <= self._best_rate + self.deviations * self._best_spread:
            return False
        self._count, self._rate, self._best_rate, self._best_spread = 0, 0.0, math.inf, 0.0
        return True


@dataclass(slots=True)
class Bucket:
    """Values that ADWIN keeps as one: how many, their sum, and the sum of squared deviations."""

    size: int
    total: float
    squares: float

    def joined(self, other: "Bucket") -> "Bucket":
        """Return both as one."""
        apart = self.total / self.size - other.total / other.size
        between = apart**2 * self.size * other.size / (self.size + other.size)
        return Bucket(
            self.size + other.size, self.total + other.total, self.squares + other.squares + between
        )


@dataclass(slots=True)
class Adwin:
    """A window that shrinks where its halves differ (ADWIN2, Bifet and Gavaldà 2007).

    It grows while the mean stays, and drops its older part when two parts differ by more than
    chance `delta` allows; an alarm is such a cut after which the mean is higher. Buckets of
    1, 2, 4 … values, at most five of a size, keep it logarithmic.
    """

    delta: float = 0.002
    every: int = 32
    least: int = 5
    _levels: list[list[Bucket]] = field(default_factory=lambda: [[]])
    _all: Bucket | None = None
    _seen: int = 0

    @property
    def width(self) -> int:
        """How many values the window holds."""
        return self._all.size if self._all else 0

    @property
    def mean(self) -> float:
        """The mean of the window; 0 while it is empty."""
        return self._all.total / self._all.size if self._all else 0.0

    def update(self, x: float) -> bool:
        """Take the next value."""
        new = Bucket(1, x, 0.0)
        self._all = self._all.joined(new) if self._all else new
        self._levels[0].insert(0, new)
        self._compress()
        self._seen += 1
        if self._seen % self.every or self.width < 2 * self.least:
            return False
        before, cut = self.mean, False
        while self._cut():
            cut = True
        return cut and self.mean > before

    def _compress(self) -> None:
        for at, level in enumerate(self._levels):
            if len(level) <= _MOST:
                return
            older, newer = level.pop(), level.pop()
            if at + 1 == len(self._levels):
                self._levels.append([])
            self._levels[at + 1].insert(0, newer.joined(older))

    def _cut(self) -> bool:
        """Drop the oldest bucket if somewhere the older and the newer part differ."""
        if self._all is None:
            return False
        total, old = self._all, None
        for bucket in self._oldest_first():
            old = old.joined(bucket) if old else bucket
            size = total.size - old.size
            if size < self.least:
                return False
            if old.size >= self.least and self._differ(total, old, size):
                self._drop()
                return True
        return False

    def _differ(self, total: Bucket, old: Bucket, size: int) -> bool:
        apart = abs(old.total / old.size - (total.total - old.total) / size)
        harmonic = 1 / (old.size - self.least + 1) + 1 / (size - self.least + 1)
        log = math.log(2 * math.log(total.size) / self.delta)
        variance = max(total.squares, 0.0) / total.size
        return apart > math.sqrt(2 * harmonic * variance * log) + 2 / 3 * harmonic * log

    def _oldest_first(self) -> list[Bucket]:
        return [bucket for level in reversed(self._levels) for bucket in reversed(level)]

    def _drop(self) -> None:
        self._levels[-1].pop()
        while len(self._levels) > 1 and not self._levels[-1]:
            self._levels.pop()
        left: Bucket | None = None
        for bucket in self._oldest_first():
            left = left.joined(bucket) if left else bucket
        self._all = left


_MOST = 5
