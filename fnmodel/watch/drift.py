"""The reference's histograms and those of captured rows in; which columns drifted out. Pure.

A column has drifted if both are true:

- *It is not chance.* Tests that know both sizes (below) give a p-value a column; it is adjusted for
  the number of columns, and at most `alpha`. So in a window without drift the chance of any alarm
  is at most alpha, at 200 rows as at a million.
- *It matters.* At a million rows everything differs. The index (PSI) without its noise, the
  distance moved in standard deviations, or the share of new values must be over a threshold.

The tests of one column share its alpha: two fifths for the shape (chi-square on all bins), two
fifths for the place (Kolmogorov-Smirnov; without order the shape has both), one fifth for what a
histogram would blur (Fisher's exact test for values that are missing, out of range or unknown).
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

import numpy as np

from fnmodel.profile import Array
from fnmodel.watch import statistics
from fnmodel.watch.sample import Histogram, Sample


@dataclass(frozen=True, slots=True)
class Rules:
    """When to speak of drift.

    `alpha` is the chance of a false alarm a window. `correction` says over what: `holm` keeps the
    chance of any false alarm in a window under alpha, `bh` the share of false ones among alarms.
    `minimum` is how many effective rows a verdict takes. `draws` is from how many pairs of samples
    the noise of PSI is known; 0 is by its mean alone, which costs nothing. `psi`, `distance` (in
    standard deviations) and `share` (of rows, for missing and unknown values) are the least that
    matters; any one does.
    """

    alpha: float = 0.01
    correction: Literal["holm", "bh"] = "holm"
    minimum: int = 200
    psi: float = 0.05
    distance: float = 0.1
    share: float = 0.02
    draws: int = 200


class Verdict(StrEnum):
    """What is said of a column.

    STEADY: no more than chance. SMALL: it differs, by too little to matter. DRIFT: it differs and
    matters. USUAL: as drift against the training sample, but so it was at this hour before. FEW:
    too few rows to say. UNKEPT: its values are not captured.
    """

    STEADY = "steady"
    SMALL = "small"
    DRIFT = "drift"
    USUAL = "usual"
    FEW = "few"
    UNKEPT = "unkept"


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column, reference against now.

    `psi` is as the field defines it, `noise` what it would be by chance alone (95 % of the time),
    `excess` it without its expected noise. `wasserstein` is in standard deviations of the
    reference. `tests` are p-values, each divided by its share of alpha; `p` is the smallest,
    `adjusted` that over all columns. Figures are None where there is nothing to compare.
    """

    name: str
    role: Literal["feature", "prediction"]
    verdict: Verdict
    rows: float
    psi: float | None = None
    noise: float | None = None
    excess: float | None = None
    jensen_shannon: float | None = None
    wasserstein: float | None = None
    kolmogorov_smirnov: float | None = None
    tests: Mapping[str, float] = field(default_factory=dict)
    p: float | None = None
    adjusted: float | None = None
    missing: tuple[float, float] = (0.0, 0.0)
    unknown: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Drift:
    """All columns, features first, and the rules that they were judged by."""

    columns: tuple[ColumnDrift, ...]
    rules: Rules

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that call for a look."""
        return tuple(column for column in self.columns if column.verdict is Verdict.DRIFT)

    @property
    def judged(self) -> bool:
        """Whether any column had the rows to be compared; without that, quiet means nothing."""
        return any(one.verdict not in (Verdict.FEW, Verdict.UNKEPT) for one in self.columns)


def compare(
    reference: Sample,
    current: Sample,
    rules: Rules,
    *,
    unkept: AbstractSet[str] = frozenset(),
    usual: Sample | None = None,
) -> Drift:
    """Judge each column of the current sample.

    `unkept` are features that capture drops or hashes. `usual` is what was captured at the same
    hours before: what differs from training but not from that is a season, no drift.
    """
    measured = [
        *_side("feature", reference.features, current.features, rules, unkept),
        *_side("prediction", reference.outputs, current.outputs, rules, frozenset()),
    ]
    judged = Drift(tuple(_judged(measured, rules)), rules)
    return judged if usual is None else seasoned(judged, current, usual)


def seasoned(judged: Drift, current: Sample, usual: Sample) -> Drift:
    """Return what was judged, and of it as usual what is no other than at these hours before."""
    against = compare(usual, current, judged.rules).columns
    before = {(one.role, one.name): one for one in against}
    columns = (_seasoned(one, before[one.role, one.name]) for one in judged.columns)
    return Drift(tuple(columns), judged.rules)


def _side(
    role: Literal["feature", "prediction"],
    reference: Mapping[str, Histogram],
    current: Mapping[str, Histogram],
    rules: Rules,
    unkept: AbstractSet[str],
) -> list[ColumnDrift]:
    return [
        ColumnDrift(name, role, Verdict.UNKEPT, current[name].rows)
        if name in unkept or not current[name].rows
        else measure(name, role, before, current[name], rules)
        for name, before in reference.items()
    ]


def measure(
    name: str,
    role: Literal["feature", "prediction"],
    before: Histogram,
    now: Histogram,
    rules: Rules,
) -> ColumnDrift:
    """Return a column's figures; its verdict is FEW, or STEADY until all columns are known."""
    if min(before.rows, now.rows) < rules.minimum:
        return ColumnDrift(name, role, Verdict.FEW, now.rows)
    first, second = _with_missing(before), _with_missing(now)
    index = float(statistics.psi(first, second))
    expected, noise = _noise(first, second, rules.draws)
    tests = _tests(before, now)
    values = bool(before.counts.sum() and now.counts.sum())
    return ColumnDrift(
        name,
        role,
        Verdict.STEADY,
        now.rows,
        psi=index,
        noise=noise,
        excess=max(index - expected, 0.0),
        jensen_shannon=statistics.jensen_shannon(first, second),
        wasserstein=_moved(before, now) if values else None,
        kolmogorov_smirnov=statistics.kolmogorov_smirnov(before.counts, now.counts)
        if values and before.edges is not None
        else None,
        tests=tests,
        p=min(tests.values()),
        missing=(before.missing / before.rows, now.missing / now.rows),
        unknown=(sum(before.outside) / before.rows, sum(now.outside) / now.rows),
    )


def _with_missing(column: Histogram) -> Array:
    return np.append(column.counts, column.missing)


def _noise(first: Array, second: Array, draws: int) -> tuple[float, float | None]:
    """Return the mean and the 95th percentile of the index between samples of one distribution.

    Samples are drawn from both together. The generator has a fixed seed: the same counts give the
    same page. Without draws the mean is the known one of large samples.
    """
    total = first + second
    if not draws:
        return (np.count_nonzero(total) - 1) * float(1 / first.sum() + 1 / second.sum()), None
    random = np.random.default_rng(0)
    sizes = round(float(first.sum())), round(float(second.sum()))
    drawn = statistics.psi(
        *(random.multinomial(size, total / total.sum(), size=draws) for size in sizes)
    )
    return float(drawn.mean()), float(np.quantile(drawn, 0.95))


def _tests(before: Histogram, now: Histogram) -> dict[str, float]:
    """Return each test's p-value, divided by the share of alpha that it may use up."""
    statistic, freedom = statistics.chi_square(_with_missing(before), _with_missing(now))
    shape = statistics.chi_square_tail(statistic, freedom)
    sizes = float(before.counts.sum()), float(now.counts.sum())
    tests = {}
    if before.edges is not None and min(sizes):
        distance = statistics.kolmogorov_smirnov(before.counts, now.counts)
        tests["shape"] = shape / 0.4
        tests["place"] = statistics.kolmogorov_tail(distance, *sizes) / 0.4
    else:
        tests["shape"] = shape / 0.8
    rare = [("missing", before.missing, now.missing)]
    kinds = ("other",) if before.edges is None else ("below", "above")
    rare += zip(kinds, before.outside, now.outside, strict=True)
    for kind, was, count in rare:
        # Whole numbers, to the side on which nothing is alarming.
        chance = statistics.more_than_before(
            int(np.ceil(was)), round(before.rows), int(count), round(now.rows)
        )
        tests[kind] = chance * len(rare) / 0.2
    return {kind: min(chance, 1.0) for kind, chance in tests.items()}


def _moved(before: Histogram, now: Histogram) -> float | None:
    """Return Wasserstein's distance in standard deviations of the reference.

    What lies outside of the edges is taken to lie just there. The difference of means, in which it
    lies where it is, is the distance at least.
    """
    if before.edges is None or len(before.edges) < 2 or not before.deviation:
        return None
    outer = (before.edges[0], *before.edges, before.edges[-1])
    inside = statistics.wasserstein(before.counts, now.counts, np.array(outer))
    means = abs(now.mean - before.mean) if None not in (now.mean, before.mean) else 0.0  # type: ignore[operator]
    return max(inside, means) / before.deviation


def _judged(columns: list[ColumnDrift], rules: Rules) -> list[ColumnDrift]:
    """Return the columns with adjusted p-values and verdicts."""
    tested = [column for column in columns if column.p is not None]
    chances = np.array([column.p for column in tested], dtype=np.float64)
    adjust = statistics.holm if rules.correction == "holm" else statistics.benjamini_hochberg
    adjusted = dict(zip((id(column) for column in tested), adjust(chances).tolist(), strict=True))
    return [
        _verdict(column, adjusted[id(column)], rules) if id(column) in adjusted else column
        for column in columns
    ]


def _verdict(column: ColumnDrift, adjusted: float, rules: Rules) -> ColumnDrift:
    verdict = Verdict.STEADY
    if adjusted <= rules.alpha:
        verdict = Verdict.DRIFT if matters(column, rules) else Verdict.SMALL
    return replace(column, adjusted=adjusted, verdict=verdict)


def matters(column: ColumnDrift, rules: Rules) -> bool:
    """Whether a difference is large enough to call for a look."""
    return max(reaches(column, rules).values()) >= 1


def reaches(column: ColumnDrift, rules: Rules) -> dict[str, float]:
    """Return each measure of how much it matters, as a multiple of its limit; 1 is just enough."""
    (missed, misses), (knew, knows) = column.missing, column.unknown
    return {
        "PSI": (column.excess or 0.0) / rules.psi,
        "moved": (column.wasserstein or 0.0) / rules.distance,
        "missing": abs(misses - missed) / rules.share,
        "unknown": max(knows - knew, 0.0) / rules.share,
    }


def _seasoned(column: ColumnDrift, usual: ColumnDrift) -> ColumnDrift:
    """Return the column, as usual if it is no other than at these hours before."""
    calm = usual.verdict in (Verdict.STEADY, Verdict.SMALL)
    if column.verdict is Verdict.DRIFT and calm:
        return replace(column, verdict=Verdict.USUAL)
    return column
