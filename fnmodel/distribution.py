"""Two histograms of the same bins in; how far apart they lie, and how sure that is, out.

The distance is the largest difference of a share: for numbers the share below each edge (the
Kolmogorov-Smirnov distance on the bins), for categories each one's own, and the share of missing
values for both. So "0.1" means that no label and no quantile has moved by more than ten points in
a hundred, which can be read without statistics.

`Shift` is the evidence that a distance is larger than a margin, and may be looked at at any time:
see `fnmodel.sequential`. Rows must be independent of each other; of a request with many rows, take
one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from fnmodel.histogram import Categories, Column, Numbers
from fnmodel.sequential import Share, log_mean, log_ratio, pieces

Rows = Sequence[Mapping[str, Any]]
"""Values by column name, one mapping a row, the oldest first."""


def shares(column: Column) -> tuple[Share, ...]:
    """Return the shares of a histogram that are compared; as many for the same bins."""
    if isinstance(column, Categories):
        hits = [*column.counts, column.other, column.missing]
    else:
        below = list(accumulate(column.counts, initial=column.low)) if column.edges else []
        hits = [*below, column.missing]
    return tuple(Share(count, column.total) for count in hits)


def distance(one: Column, other: Column) -> float:
    """Return the largest difference of a share between histograms of the same bins, in 0..1."""
    if not (one.total and other.total):
        return 0.0
    pairs = zip(shares(one), shares(other), strict=True)
    return max(abs(a.hits / a.trials - b.hits / b.trials) for a, b in pairs)


@dataclass(frozen=True)
class Shift:
    """Evidence that a column of B is distributed otherwise than in A, by more than `margin`.

    `log_e` holds, for each column, the evidence of each share: first that it rose, then that it
    fell. Make one with `between`.
    """

    margin: float
    a: Mapping[str, Column]
    b: Mapping[str, Column]
    log_e: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @staticmethod
    def between(bins: Mapping[str, Column], margin: float) -> "Shift":
        """Return no evidence yet; `bins` are histograms whose counts do not matter."""
        empty = {name: column.empty() for name, column in bins.items()}
        log_e = {name: (0.0,) * (2 * len(shares(column))) for name, column in empty.items()}
        return Shift(margin, empty, empty, log_e)

    @property
    def log_evidence(self) -> float:
        """The logarithm of the e-value that any column has moved."""
        return log_mean([log_e for column in self.log_e.values() for log_e in column])

    @property
    def samples(self) -> tuple[int, int]:
        """The rows of A and of B that were counted."""
        first = next(iter(self.a), None)
        return (self.a[first].total, self.b[first].total) if first is not None else (0, 0)

    @property
    def farthest(self) -> tuple[str, float]:
        """The column that has moved farthest, and by how much."""
        found = {name: distance(self.a[name], self.b[name]) for name in self.a}
        name = max(found, key=found.__getitem__, default="")
        return name, found.get(name, 0.0)

    def add(self, a: Rows, b: Rows) -> "Shift":
        """Return this and more rows of both; a value that a row lacks counts as missing.

        Raises:
            InputError: a value is of another type than its column's; names the type.

        """
        known, done_a, done_b = self, 0, 0
        for size in pieces(self.samples[1], len(b)):
            until = len(a) * (done_b + size) // len(b)
            known = known.after(a[done_a:until], b[done_b : done_b + size])
            done_a, done_b = until, done_b + size
        return known.after(a[done_a:], ()) if done_a < len(a) else known

    def after(self, a: Rows, b: Rows) -> "Shift":
        """Return this and one piece of rows, all of them judged by what was known before."""
        sides: tuple[dict[str, Column], dict[str, Column]] = ({}, {})
        log_e = {}
        for name, column in self.a.items():
            empty = column.empty()
            new_a, new_b = (empty.count([row.get(name) for row in rows]) for rows in (a, b))
            log_e[name] = self._evidence(name, new_a, new_b)
            sides[0][name] = _sum(column, new_a)
            sides[1][name] = _sum(self.b[name], new_b)
        return Shift(self.margin, sides[0], sides[1], log_e)

    def _evidence(self, name: str, a: Column, b: Column) -> tuple[float, ...]:
        known = list(zip(shares(self.a[name]), shares(self.b[name]), strict=True))
        new = list(zip(shares(a), shares(b), strict=True))
        gained = []
        for turn in (_as_it_is, _turned):
            for (known_a, known_b), (new_a, new_b) in zip(known, new, strict=True):
                gained.append(
                    log_ratio(
                        turn(known_a).estimate, turn(known_b).estimate, turn(new_a), turn(new_b),
                        self.margin,
                    )
                )  # fmt: skip
        return tuple(old + more for old, more in zip(self.log_e[name], gained, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "margin": self.margin,
            "a": {name: column.to_json() for name, column in self.a.items()},
            "b": {name: column.to_json() for name, column in self.b.items()},
            "log_e": {name: list(values) for name, values in self.log_e.items()},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Shift":
        """Read what `to_json` returned."""
        a, b = (
            {name: column_of(column) for name, column in data[side].items()} for side in ("a", "b")
        )
        log_e = {name: tuple(values) for name, values in data["log_e"].items()}
        return Shift(data["margin"], a, b, log_e)


def column_of(data: Mapping[str, Any]) -> Column:
    """Read a column's histogram from what its `to_json` returned."""
    kind = Categories if data["kind"] == "category" else Numbers
    return kind.from_json(data)


def _as_it_is(share: Share) -> Share:
    return share


def _turned(share: Share) -> Share:
    return Share(share.trials - share.hits, share.trials)


def _sum(one: Column, other: Column) -> Column:
    match one, other:
        case (Numbers(), Numbers()) | (Categories(), Categories()):
            return one + other  # type: ignore[operator]
        case _:
            message = "histograms of different kinds do not add up"
            raise ValueError(message)
