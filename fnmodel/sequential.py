"""Is an event more frequent than it may be? Evidence that may be looked at after every request.

The evidence is an e-value. While the null hypothesis holds, the chance that it *ever* reaches
1/alpha is at most alpha, however often one looks and whenever one stops (Ville's inequality). So
there is no schedule of looks to plan and no correction for them.

`Increase` compares two samples. Its null is a convex set, the shares with b <= a + margin. New
trials are judged by how they would be likely under an estimate (a*, b*) made of earlier trials
alone, over how they would be under the null's nearest member (a°, b°), the minimum of
n_a KL(a*, a°) + n_b KL(b*, b°). The product of these ratios is an e-value for any sizes of sample:
each factor's expectation is at most exp of minus the derivative of that distance towards the true
shares, which is at least 0 because (a°, b°) is the minimum over a convex set.

    Turner, Ly, Grünwald: Generic E-variables for exact sequential k-sample tests that allow for
    optional stopping. J. Statistical Planning and Inference 230 (2024). arXiv:2106.02693
    Turner, Grünwald: Exact anytime-valid confidence intervals for contingency tables and beyond.
    Statistics & Probability Letters 198 (2023). arXiv:2203.09785

It is exact: no normal approximation, which would fail at the few errors in a thousand requests that
matter here. E-values for one null average to an e-value, also dependent ones (`log_mean`).

Imports only the standard library, because the image judges with it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

# Of the two papers' Beta priors; it weighs a third of an observation.
_PRIOR = 0.18
_EDGE = 1e-12
_HALVINGS = 50
# A first piece of trials; after it, no piece is larger than half of what is known.
_FIRST = 4


@dataclass(frozen=True)
class Share:
    """How many of some trials were hits."""

    hits: int = 0
    trials: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.trials:
            message = f"{self.hits} hits of {self.trials} trials"
            raise ValueError(message)

    def __add__(self, other: "Share") -> "Share":
        return Share(self.hits + other.hits, self.trials + other.trials)

    @property
    def rate(self) -> float | None:
        """Hits by trials; None without trials."""
        return self.hits / self.trials if self.trials else None

    @property
    def estimate(self) -> float:
        """The share to bet on next, inside (0, 1) also without trials."""
        return (self.hits + _PRIOR) / (self.trials + 2 * _PRIOR)


@dataclass(frozen=True)
class Above:
    """Evidence that an event's share is above `limit`; the null says that it is not."""

    limit: float
    share: Share = Share()
    log_e: float = 0.0

    def add(self, more: Share, random: Random) -> "Above":
        """Return this and more trials; `random` orders them, since they come without an order."""
        known, log_e = self.share, self.log_e
        for part, _ in _pieces(known, more, Share(), random):
            bet = max(known.estimate, self.limit)
            log_e += _ratio(part, bet, self.limit)
            known = known + part
        return Above(self.limit, known, log_e)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Above":
        """Read what `dataclasses.asdict` returned."""
        return Above(**{**data, "share": Share(**data["share"])})


@dataclass(frozen=True)
class Increase:
    """Evidence that an event is more frequent in B than in A, by more than `margin` in its share.

    Trials of both are to come at the same time, so that what changes for both is no evidence.
    """

    margin: float = 0.0
    a: Share = Share()
    b: Share = Share()
    log_e: float = 0.0

    def add(self, a: Share, b: Share, random: Random) -> "Increase":
        """Return this and more trials; `random` orders them, since they come without an order."""
        known = self
        for more_b, more_a in _pieces(self.b, b, a, random):
            known = known.after(more_a, more_b)
        return known

    def after(self, a: Share, b: Share) -> "Increase":
        """Return this and one piece of trials, all of them judged by what was known before."""
        gained = log_ratio(self.a.estimate, self.b.estimate, a, b, self.margin)
        return Increase(self.margin, self.a + a, self.b + b, self.log_e + gained)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Increase":
        """Read what `dataclasses.asdict` returned."""
        return Increase(**{**data, "a": Share(**data["a"]), "b": Share(**data["b"])})


def log_ratio(bet_a: float, bet_b: float, a: Share, b: Share, margin: float) -> float:
    """Return how much likelier trials are under a bet than under b <= a + margin, as a logarithm.

    A bet that the null allows gains nothing and loses nothing.
    """
    if bet_b <= bet_a + margin or not b.trials or not a.trials:
        return 0.0
    null_a = _nearest(bet_a, bet_b, a.trials, b.trials, margin)
    return _ratio(a, bet_a, null_a) + _ratio(b, bet_b, null_a + margin)


def log_mean(logarithms: Sequence[float]) -> float:
    """Return the logarithm of the mean of e-values, given theirs; that of none is 0."""
    if not logarithms:
        return 0.0
    top = max(logarithms)
    return top + math.log(math.fsum(math.exp(x - top) for x in logarithms) / len(logarithms))


def pieces(known: int, more: int) -> Iterator[int]:
    """Yield sizes that add up to `more`, none larger than half of what is known by then.

    What is learned in a piece pays in the next, so that a first large batch is not lost.
    """
    while more > 0:
        size = min(more, max(_FIRST, known // 2))
        yield size
        known += size
        more -= size


def _nearest(bet_a: float, bet_b: float, n_a: int, n_b: int, margin: float) -> float:
    """Return a° on the border b = a + margin; the distance falls before it and rises after it."""
    low, high = bet_a, bet_b - margin
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        other = middle + margin
        slope = n_a * (middle - bet_a) / max(middle * (1 - middle), _EDGE)
        slope += n_b * (other - bet_b) / max(other * (1 - other), _EDGE)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return (low + high) / 2


def _ratio(share: Share, bet: float, null: float) -> float:
    null = min(max(null, _EDGE), 1 - _EDGE)
    misses = share.trials - share.hits
    return share.hits * math.log(bet / null) + misses * math.log((1 - bet) / (1 - null))


def _pieces(
    known: Share, more: Share, beside: Share, random: Random
) -> Iterator[tuple[Share, Share]]:
    """Cut trials, and others that came beside them in the same proportion, into small pieces."""
    if not more.trials:
        if beside.trials:
            yield Share(), beside
        return
    sizes = list(pieces(known.trials, more.trials))
    ends, done = [], 0
    for size in sizes:
        done += size
        ends.append(done)
    others = [beside.trials * end // more.trials for end in ends]
    yield from zip(_cut(more, ends, random), _cut(beside, others, random), strict=True)


def _cut(share: Share, ends: Sequence[int], random: Random) -> Iterator[Share]:
    """Yield the trials up to each end, with the hits where chance has put them."""
    if len(ends) == 1:
        yield share
        return
    # Drawing the rarer of hits and misses is the same, and never more than half the trials.
    rare = min(share.hits, share.trials - share.hits)
    places = sorted(random.sample(range(share.trials), rare))
    at = start = 0
    for end in ends:
        drawn = 0
        while at < rare and places[at] < end:
            at, drawn = at + 1, drawn + 1
        size = end - start
        yield Share(drawn if rare == share.hits else size - drawn, size)
        start = end
