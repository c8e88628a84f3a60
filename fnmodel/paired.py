"""Do two versions differ on the very same rows? Evidence that may be looked at after every row.

Of each row it is asked whether something holds of B's answer and of A's: x is 1 where it holds of
B's alone, -1 where of A's alone, else 0. The null says that the mean of x is at most a margin. Bets
on x multiply to an e-value, since each factor 1 + l (x - margin) has an expectation of at most 1
under it, whatever l in [0, 1/(1 + margin)) was chosen before x was seen. Here l is what would have
gained most on the rows before (Kelly's bet). Rows on which both agree cost next to nothing: that is
why pairs tell far sooner than two samples of the same size.

    Waudby-Smith, Ramdas: Estimating means of bounded random variables by betting.
    J. Royal Statistical Society B 86 (2024). arXiv:2010.09686

Rows must be independent of each other; of a request with many rows, take one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from fnmodel.sequential import log_mean, pieces

if TYPE_CHECKING:
    from fnmodel.distribution import Rows
    from fnmodel.histogram import Column

# Of three outcomes; the weight of a third of an observation, as in `fnmodel.sequential`.
_PRIOR = 0.18
_HALVINGS = 40


@dataclass(frozen=True)
class Paired:
    """Evidence that an event holds of B's answers more often than of A's, by more than `margin`.

    `plus` rows have it in B alone, `minus` in A alone.
    """

    margin: float
    pairs: int = 0
    plus: int = 0
    minus: int = 0
    log_e: float = 0.0

    def add(self, found: Sequence[int]) -> "Paired":
        """Return this and more rows, the oldest first: 1, -1 or 0 each."""
        known, done = self, 0
        for size in pieces(self.pairs, len(found)):
            part = found[done : done + size]
            known = known.after(size, part.count(1), part.count(-1))
            done += size
        return known

    def after(self, pairs: int, plus: int, minus: int) -> "Paired":
        """Return this and one piece of rows, all of them judged by what was known before."""
        gained = log_gain(self.pairs, self.plus, self.minus, (pairs, plus, minus), self.margin)
        return replace(
            self, pairs=self.pairs + pairs, plus=self.plus + plus, minus=self.minus + minus,
            log_e=self.log_e + gained,
        )  # fmt: skip


def log_gain(pairs: int, plus: int, minus: int, new: tuple[int, int, int], margin: float) -> float:
    """Return what a bet made of earlier rows gains on new ones, as a logarithm.

    `new` counts rows, those with 1, and those with -1.
    """
    bet = _bet(pairs, plus, minus, margin)
    count, ups, downs = new
    if not bet or not count:
        return 0.0
    return (
        ups * math.log1p(bet * (1 - margin))
        + downs * math.log1p(-bet * (1 + margin))
        + (count - ups - downs) * math.log1p(-bet * margin)
    )


def _bet(pairs: int, plus: int, minus: int, margin: float) -> float:
    """Return the bet that gains most where outcomes are as they were; 0 where the null fits."""
    total = pairs + 3 * _PRIOR
    up, down = (plus + _PRIOR) / total, (minus + _PRIOR) / total
    if up - down <= margin:
        return 0.0
    same = 1 - up - down
    low, high = 0.0, 1 / (1 + margin)
    for _ in range(_HALVINGS):
        bet = (low + high) / 2
        slope = up * (1 - margin) / (1 + bet * (1 - margin))
        slope -= same * margin / (1 - bet * margin)
        slope -= down * (1 + margin) / (1 - bet * (1 + margin))
        low, high = (bet, high) if slope > 0 else (low, bet)
    return low


@dataclass(frozen=True)
class Moved:
    """One share of a column on the same rows: in how many it holds of one answer alone.

    `rose` and `fell` are the evidence that B's share is above A's, and below it, as logarithms.
    """

    plus: int = 0
    minus: int = 0
    rose: float = 0.0
    fell: float = 0.0

    def after(self, pairs: int, found: Sequence[int], margin: float) -> "Moved":
        """Return this and more rows; `pairs` came before them."""
        count, plus, minus = len(found), found.count(1), found.count(-1)
        up = log_gain(pairs, self.plus, self.minus, (count, plus, minus), margin)
        down = log_gain(pairs, self.minus, self.plus, (count, minus, plus), margin)
        return Moved(self.plus + plus, self.minus + minus, self.rose + up, self.fell + down)


@dataclass(frozen=True)
class PairedShift:
    """Evidence that a column of B's answers lies otherwise than in A's, by more than `margin`.

    What is compared, and what the margin means, is as in `fnmodel.distribution`; there the rows of
    A and B are others, here they are the same. `bins` are histograms without counts.
    """

    margin: float
    bins: "Mapping[str, Column]"
    moved: Mapping[str, tuple[Moved, ...]]
    pairs: int = 0

    @staticmethod
    def between(bins: "Mapping[str, Column]", margin: float) -> "PairedShift":
        """Return no evidence yet; the counts of `bins` do not matter."""
        from fnmodel.distribution import shares

        empty = {name: column.empty() for name, column in bins.items()}
        none = {name: (Moved(),) * len(shares(column)) for name, column in empty.items()}
        return PairedShift(margin, empty, none)

    @property
    def log_evidence(self) -> float:
        """The logarithm of the e-value that any column has moved."""
        return log_mean([e for all_ in self.moved.values() for m in all_ for e in (m.rose, m.fell)])

    @property
    def farthest(self) -> tuple[str, float]:
        """The column that has moved farthest, and by how much."""
        found = {
            name: max((abs(m.plus - m.minus) for m in all_), default=0)
            for name, all_ in self.moved.items()
        }
        name = max(found, key=found.__getitem__, default="")
        return name, found[name] / self.pairs if self.pairs else 0.0

    def add(self, a: "Rows", b: "Rows") -> "PairedShift":
        """Return this and more rows, as A and as B answered them.

        Raises:
            InputError: a value is of another type than its column's; names the type.

        """
        known, done = self, 0
        differences = {
            name: list(_differences(column, name, a, b)) for name, column in self.bins.items()
        }
        for size in pieces(self.pairs, len(b)):
            moved = {
                name: tuple(
                    m.after(known.pairs, [row[at] for row in rows[done : done + size]], self.margin)
                    for at, m in enumerate(known.moved[name])
                )
                for name, rows in differences.items()
            }
            known = replace(known, moved=moved, pairs=known.pairs + size)
            done += size
        return known

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "margin": self.margin,
            "bins": {name: column.to_json() for name, column in self.bins.items()},
            "moved": {
                name: [list(asdict(m).values()) for m in all_] for name, all_ in self.moved.items()
            },
            "pairs": self.pairs,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "PairedShift":
        """Read what `to_json` returned."""
        from fnmodel.distribution import column_of

        bins = {name: column_of(column) for name, column in data["bins"].items()}
        moved = {name: tuple(Moved(*m) for m in all_) for name, all_ in data["moved"].items()}
        return PairedShift(data["margin"], bins, moved, data["pairs"])


def _differences(column: "Column", name: str, a: "Rows", b: "Rows") -> "Iterator[list[int]]":
    """Yield, for each row, the difference of each share of a column: 1, -1 or 0."""
    from fnmodel.distribution import shares

    for one, other in zip(a, b, strict=True):
        sides = (shares(column.count([row.get(name)])) for row in (one, other))
        yield [there.hits - here.hits for here, there in zip(*sides, strict=True)]
