"""Counts of one column on fixed bins or categories: numpy counts them, integers add them up.

Imports only the standard library and numpy, because the image counts with it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from fnmodel.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]

# Sums stay exact in int64 over this many rows of q below 2^21; larger q go a longer way.
_ROWS = 1 << 20
_FAST = 1 << 21
_FARTHEST = 1 << 40


@dataclass(frozen=True)
class Numbers:
    """Counts of one column of numbers; with kind `length`, of the lengths of its texts.

    `edges` has one more entry than `counts`, or both are empty: then any number is out of range.
    """

    edges: tuple[float, ...]
    origin: float
    unit: float
    kind: Literal["number", "length"] = "number"
    counts: tuple[int, ...] = ()
    low: int = 0
    high: int = 0
    missing: int = 0
    infinite: int = 0
    sum: int = 0
    squares: int = 0
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        bins = max(len(self.edges) - 1, 0)
        if not self.counts:
            object.__setattr__(self, "counts", (0,) * bins)
        if len(self.counts) != bins:
            message = f"{len(self.edges)} edges bound {bins} bins, not {len(self.counts)}"
            raise ValueError(message)

    @property
    def total(self) -> int:
        """The values counted, missing ones too."""
        return sum(self.counts) + self.low + self.high + self.missing

    @property
    def finite(self) -> int:
        """The finite values counted."""
        return self.total - self.missing - self.infinite

    @property
    def mean(self) -> float | None:
        """The mean of the finite values, or None without any."""
        return self.origin + self.unit * (self.sum / self.finite) if self.finite else None

    @property
    def variance(self) -> float | None:
        """The variance of the finite values, or None without any."""
        if not self.finite:
            return None
        spread = self.squares * self.finite - self.sum**2
        return self.unit**2 * (spread / self.finite**2)

    def empty(self) -> "Numbers":
        """Return the same bins without counts."""
        return Numbers(self.edges, self.origin, self.unit, self.kind)

    def count(self, values: Any) -> "Numbers":
        """Return this and the values of one column, shape (n,).

        Raises:
            InputError: a value is not a number (not a text, for kind `length`).

        """
        given = as_lengths(values) if self.kind == "length" else as_floats(values)
        added = self
        for start in range(0, len(given), _ROWS):
            added = added + self._of(given[start : start + _ROWS])
        return added

    def __add__(self, other: "Numbers") -> "Numbers":
        if (self.edges, self.origin, self.unit, self.kind) != (
            other.edges, other.origin, other.unit, other.kind,
        ):  # fmt: skip
            message = "profiles of different bins do not add up"
            raise ValueError(message)
        return replace(
            self,
            counts=_added(self.counts, other.counts),
            low=self.low + other.low,
            high=self.high + other.high,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            sum=self.sum + other.sum,
            squares=self.squares + other.squares,
            minimum=_extreme(min, self.minimum, other.minimum),
            maximum=_extreme(max, self.maximum, other.maximum),
        )

    def _of(self, given: Array) -> "Numbers":
        finite = given[np.isfinite(given)]
        infinite = int(np.isinf(given).sum())
        above = int((given == np.inf).sum()) if infinite else 0
        counts, low, high = _binned(finite, self.edges)
        total, squares = _moments(finite, self.origin, self.unit)
        return replace(
            self,
            counts=counts,
            low=low + infinite - above,
            high=high + above,
            missing=len(given) - len(finite) - infinite,
            infinite=infinite,
            sum=total,
            squares=squares,
            minimum=float(finite.min()) if len(finite) else None,
            maximum=float(finite.max()) if len(finite) else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Numbers":
        """Read what `to_json` returned."""
        return Numbers(**{**data, "edges": tuple(data["edges"]), "counts": tuple(data["counts"])})


@dataclass(frozen=True)
class Categories:
    """Counts of one column of categories, which are compared as text."""

    categories: tuple[str, ...]
    kind: Literal["category"] = "category"
    counts: tuple[int, ...] = ()
    other: int = 0
    missing: int = 0

    def __post_init__(self) -> None:
        if not self.counts:
            object.__setattr__(self, "counts", (0,) * len(self.categories))
        if len(self.counts) != len(self.categories):
            message = f"{len(self.categories)} categories have {len(self.counts)} counts"
            raise ValueError(message)

    @property
    def total(self) -> int:
        """The values counted, missing ones too."""
        return sum(self.counts) + self.other + self.missing

    def empty(self) -> "Categories":
        """Return the same categories without counts."""
        return Categories(self.categories)

    def count(self, values: Any) -> "Categories":
        """Return this and the values of one column, shape (n,)."""
        found = tally(values)
        missing = found.pop(None, 0)
        counts = tuple(found.pop(category, 0) for category in self.categories)
        return self + Categories(
            self.categories, counts=counts, other=sum(found.values()), missing=missing
        )

    def __add__(self, other: "Categories") -> "Categories":
        if self.categories != other.categories:
            message = "profiles of different categories do not add up"
            raise ValueError(message)
        return replace(
            self,
            counts=_added(self.counts, other.counts),
            other=self.other + other.other,
            missing=self.missing + other.missing,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Categories":
        """Read what `to_json` returned."""
        lists = {key: tuple(data[key]) for key in ("categories", "counts")}
        return Categories(**{**data, **lists})


Column = Numbers | Categories


def tally(values: Any) -> dict[str | None, int]:
    """Count the values of a column by their text; None counts the missing ones."""
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        distinct, counts = np.unique(array, return_counts=True)
        found = dict(zip(distinct.tolist(), counts.tolist(), strict=True))
    else:
        found = dict(Counter(array.tolist()))
    result: dict[str | None, int] = {}
    for value, count in found.items():
        text = _text(value)
        result[text] = result.get(text, 0) + count
    return result


def _text(value: Any) -> str | None:
    return None if value is None or value == "" or value != value else as_text(value)


def as_text(value: object) -> str:
    """Return a category or a label as text: 1, 1.0 and "1" are the same one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def as_floats(values: Any) -> Array:
    """Return numbers as float64, with NaN for missing ones.

    Raises:
        InputError: a value is not a number.

    """
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64, copy=False)
    listed = array.tolist()
    if not all(issubclass(kind, _NUMBER) for kind in set(map(type, listed))):
        odd = next(value for value in listed if not isinstance(value, _NUMBER))
        raise InputError(f"expected a number, got {type(odd).__name__}")
    try:
        return np.array(listed, dtype=np.float64)  # None becomes NaN
    except OverflowError as error:
        raise InputError("a number is out of the range of FP64") from error


_NUMBER = (int, float, np.number, np.bool_, type(None))


def as_lengths(values: Any) -> Array:
    """Return the lengths of texts as float64, with NaN for missing and empty ones.

    Raises:
        InputError: a value is not a text.

    """
    listed = np.asarray(values, dtype=object).tolist()
    missing = [value is None or value != value for value in listed]
    try:
        sizes = [0 if gone else len(value) for gone, value in zip(missing, listed, strict=True)]
    except TypeError as error:
        raise InputError("expected a text, got something without a length") from error
    lengths = np.array(sizes, dtype=np.float64)
    lengths[lengths == 0] = np.nan
    return lengths


def _binned(finite: Array, edges: tuple[float, ...]) -> tuple[tuple[int, ...], int, int]:
    """Return the counts of each bin, below the first and above the last."""
    if not edges:
        return (), 0, len(finite)
    places = np.searchsorted(np.array(edges), finite, side="right")
    low, *counts, high = np.bincount(places, minlength=len(edges) + 1).tolist()
    at_end = int(np.count_nonzero(finite == edges[-1])) if high else 0
    if counts:
        counts[-1] += at_end
    return tuple(counts), low, high - at_end


def _moments(finite: Array, origin: float, unit: float) -> tuple[int, int]:
    """Return the sums of q and of q squared, exactly; q = round((x - origin) / unit).

    A value farther away than 2^40 units counts as that far, so that a stray 1e300 stays an integer.
    """
    if not len(finite):
        return 0, 0
    with np.errstate(over="ignore"):
        scaled = np.rint((finite - origin) * (1 / unit))
    q = np.clip(scaled, -_FARTHEST, _FARTHEST).astype(np.int64)
    total = int(q.sum())
    if max(int(q.max()), -int(q.min())) < _FAST:
        return total, int(np.dot(q, q))
    # In two halves of 20 bits, no product or sum of which leaves int64.
    upper, lower = q >> 20, q & ((1 << 20) - 1)
    squares = int(np.dot(upper, upper)) << 40
    squares += int(np.dot(upper, lower)) << 21
    return total, squares + int(np.dot(lower, lower))


def _added(one: Iterable[int], other: Iterable[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _extreme(
    choose: Callable[[float, float], float], one: float | None, other: float | None
) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)
