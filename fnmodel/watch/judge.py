"""A window's counts and what was counted before in; what calls for a person out. Pure.

The chance that a window without drift raises an alarm is at most `alpha`, over all columns (Holm).
What is said of volume and age is no test: these rules compare with the same hour of earlier weeks.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

from fnmodel.profile import Profile
from fnmodel.watch import seasons
from fnmodel.watch.drift import ColumnDrift, Drift, Rules, compare
from fnmodel.watch.quality import NONE_USUAL, other_types, silence, unreadable_share, volume
from fnmodel.watch.sample import sample
from fnmodel.watch.windows import Windows

Kind = Literal["drift", "nulls", "ranges", "schema", "unreadable", "volume", "freshness"]

DRIFT_KINDS: AbstractSet[Kind] = frozenset({"drift"})
"""Alarms that more training may mend; the others say that the data is broken."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing to look at. `key` is the same in each window in which it is still so."""

    kind: Kind
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of a window; `judged` tells whether its rows were enough to speak of drift."""

    alarms: tuple[Alarm, ...]
    judged: bool
    drift: Drift | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a window is judged by.

    `now` are the windows of the hour and of those before it that were too few alone, `before`
    earlier ones that may be its season. `volumes` is what earlier hours stood for, by hour.
    """

    hour: str
    now: Windows
    represents: float
    unreadable: int
    rows: int
    before: Windows = field(default_factory=dict)
    volumes: Mapping[str, float] = field(default_factory=dict)


def judge(
    evidence: Evidence, reference: Profile, rules: Rules, unkept: AbstractSet[str]
) -> Judgement:
    """Judge one window."""
    alarms: list[Alarm] = []
    drift = None
    if evidence.now:
        current = sample((1 / key.rate, one.profile) for key, one in evidence.now.items())
        trained = sample([(1.0, reference)])
        usual = seasons.usual(evidence.before, evidence.now)
        drift = compare(trained, current, rules, unkept=unkept, usual=usual)
        alarms += [_said(column, rules) for column in drift.drifted]
        found = other_types(evidence.now, rules) if drift.judged else {}
        alarms += [
            Alarm("schema", f"schema:{name}", one.text)
            for name, one in found.items()
            if one.serious
        ]
    alarms += _traffic(evidence, rules)
    return Judgement(tuple(alarms), drift is not None and drift.judged, drift)


def _traffic(evidence: Evidence, rules: Rules) -> list[Alarm]:
    alarms = []
    broken = unreadable_share(evidence.unreadable, evidence.rows, rules)
    if broken:
        alarms.append(Alarm("unreadable", "unreadable", broken))
    found = volume({evidence.hour: evidence.represents}, evidence.volumes, NONE_USUAL)
    if found and evidence.represents:
        alarms.append(Alarm("volume", "volume", found))
    elif found:
        alarms.append(Alarm("freshness", "freshness", found))
    elif text := silence(evidence.hour, evidence.represents, evidence.volumes):
        alarms.append(Alarm("freshness", "freshness", text))
    return alarms


def _said(column: ColumnDrift, rules: Rules) -> Alarm:
    """Return the alarm of a drifted column, by what is most wrong with it."""
    (missed, misses), (knew, knows) = column.missing, column.unknown
    moved = (column.wasserstein or 0.0) >= rules.distance
    name, key = column.name, f"{column.role}:{column.name}"
    if column.role == "feature" and not moved and misses - missed >= rules.share:
        text = f"{name}: {misses:.0%} of the values are missing, {missed:.1%} in training"
        return Alarm("nulls", f"nulls:{key}", text)
    if column.role == "feature" and not moved and knows - knew >= rules.share:
        what = "of no known category" if column.wasserstein is None else "out of training's range"
        return Alarm("ranges", f"ranges:{key}", f"{name}: {knows:.0%} of the values are {what}")
    how = f"PSI {column.excess:.2f}" if column.wasserstein is None else (
        f"moved by {column.wasserstein:.2f} standard deviations"
    )  # fmt: skip
    prefix = "the prediction " if column.role == "prediction" else ""
    return Alarm("drift", f"drift:{key}", f"{prefix}{name} drifted: {how}")
