"""Captured rows and late labels in, one report out. Pure: no clock, no bucket, no file.

The report is plain values, so that the page, the JSON and an alarm say the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fnmodel.model import Signature
from fnmodel.profile import Profile
from fnmodel.watch import labels, multivariate, seasons
from fnmodel.watch.drift import Drift, compare, measure
from fnmodel.watch.performance import Evidence, Performance, Question, worse
from fnmodel.watch.quality import Finding, Traffic, findings
from fnmodel.watch.realised import Interval
from fnmodel.watch.rows import Reading, Row
from fnmodel.watch.sample import Histogram, Sample, sample
from fnmodel.watch.windows import Windows, pooled, windows

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Cells:
    """A column's two histograms as shares of the rows that have a value, for the page."""

    names: tuple[str, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]
    means: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of time: how far each column was from the reference, and what became true.

    `effects` is the excess PSI by column, 0 where it may be chance; `inside` says whether the
    report is about it.
    """

    time: str
    rows: int
    inside: bool
    effects: Mapping[str, float]
    estimated: float | None = None
    realised: Interval | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows."""

    question: Question
    rows: int
    represents: float
    baseline_rows: int
    reference_rows: int
    versions: Mapping[str, int]
    drift: Drift
    cells: Mapping[str, Cells]
    slices: tuple[Slice, ...]
    findings: tuple[Finding, ...]
    performance: Performance
    separation: multivariate.Separation | None = None
    seasonal: bool = False

    @property
    def separated(self) -> bool:
        """Whether all columns together differ from before, beyond chance and enough to matter."""
        found = self.separation
        return found is not None and found.p <= self.question.rules.alpha and found.auc >= 0.55

    @property
    def alarms(self) -> tuple[str, ...]:
        """What calls for a person, a line each; none is a quiet window."""
        lines = [f"{column.name} drifted" for column in self.drift.drifted]
        if self.separated and self.separation and not lines:
            lines.append(f"columns together differ from before (AUC {self.separation.auc:.2f})")
        lines += [one.text for one in self.findings if one.serious]
        return (*lines, *worse(self.performance, self.question.rules.alpha))

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with `schema` and the alarms first."""
        data = {**asdict(self), "question": self.question.to_json()}
        return {"schema": SCHEMA, "alarms": list(self.alarms), **data}


def report(
    reading: Reading,
    reference: Profile,
    signature: Signature,
    question: Question,
    known: Mapping[str, labels.Label] | None = None,
) -> Report | None:
    """Compare captured rows with the reference and with earlier rows; None without any row."""
    now = [row for row in reading.rows if question.since <= row.time < question.until]
    before = [row for row in reading.rows if row.time < question.since]
    if not now:
        return None
    trained = sample([(1.0, reference)])
    found, earlier = (windows(rows, reference, signature) for rows in (now, before))
    current = pooled(found)
    usual = seasons.usual(earlier, found)
    drift = compare(trained, current, question.rules, unkept=question.unkept, usual=usual)
    tables = Evidence(now, before, reference, signature, question, known or {})
    traffic = Traffic(question.since, question.until, found, earlier, reading.unreadable)
    return Report(
        question,
        current.rows,
        current.represents,
        len(before),
        reference.rows,
        _versions(now),
        drift,
        {f"{role}:{name}": _cells(was, now) for role, name, was, now in _columns(trained, current)},
        _slices({**earlier, **found}, trained, question, tables),
        findings(traffic, question.rules),
        tables.performance(),
        tables.separation(),
        usual is not None,
    )


def _columns(was: Sample, is_now: Sample) -> Iterator[tuple[str, str, Histogram, Histogram]]:
    """Yield each column's role and name, and its histograms of both."""
    for role, before, now in (
        ("feature", was.features, is_now.features),
        ("prediction", was.outputs, is_now.outputs),
    ):
        for name, column in before.items():
            yield role, name, column, now[name]


def _versions(rows: Sequence[Row]) -> dict[str, int]:
    versions = [row.version for row in rows]
    return {version: versions.count(version) for version in sorted(set(versions))}


def _cells(was: Histogram, is_now: Histogram) -> Cells:
    def shares(one: Histogram) -> tuple[float, ...]:
        return tuple((one.counts / max(one.counts.sum(), 1e-12)).tolist())

    return Cells(was.names, shares(was), shares(is_now), (was.mean, is_now.mean))


def _slices(
    found: Windows, trained: Sample, question: Question, tables: Evidence
) -> tuple[Slice, ...]:
    rules = replace(question.rules, minimum=50, draws=0)
    result = []
    for time, hours in seasons.sliced(key.hour for key in found).items():
        chosen = set(hours)
        part = pooled({key: window for key, window in found.items() if key.hour in chosen})
        effects: dict[str, float] = {}
        for role, name, was, is_now in _columns(trained, part):
            if name in question.unkept or not is_now.rows:
                continue
            one = measure(name, "feature", was, is_now, rules)
            if one.p is not None and one.excess is not None:
                effects[f"{role}:{name}"] = one.excess if one.p <= rules.alpha else 0.0
        estimated, came_true = tables.between(hours[0], hours[-1])
        inside = hours[-1] >= question.since[:13]
        result.append(Slice(time, part.rows, inside, effects, estimated, came_true))
    return tuple(result)
