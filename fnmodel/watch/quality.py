"""Windows in; what is wrong with the data as data out: types, gaps, volume, age. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Literal

from fnmodel.watch.drift import Rules
from fnmodel.watch.windows import Windows

Rule = Literal["schema", "unreadable", "freshness", "volume"]

_SILENT_HOURS = 6
_VOLUME = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule, in words; serious ones call for a person."""

    rule: Rule
    text: str
    serious: bool


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was captured in [since, until) and before, and the lines that could not be read."""

    since: str
    until: str
    now: Windows
    before: Windows
    unreadable: int


def findings(traffic: Traffic, rules: Rules) -> tuple[Finding, ...]:
    """Return what is wrong, serious things first."""
    found = [*_schema(traffic, rules), *_unreadable(traffic), *_freshness(traffic)]
    found += _volume(traffic)
    return tuple(sorted(found, key=lambda one: not one.serious))


def _schema(traffic: Traffic, rules: Rules) -> list[Finding]:
    rows = sum(window.profile.rows for window in traffic.now.values())
    names = sorted({name for window in traffic.now.values() for name in window.invalid})
    result = []
    for name in names:
        count = sum(window.invalid.get(name, 0) for window in traffic.now.values())
        text = f"{name}: {count:,} of {rows:,} values are of another type"
        result.append(Finding("schema", text, count >= rules.share * rows))
    return result


def _unreadable(traffic: Traffic) -> list[Finding]:
    if not traffic.unreadable:
        return []
    text = f"{traffic.unreadable:,} captured lines could not be read"
    return [Finding("unreadable", text, serious=False)]


def _freshness(traffic: Traffic) -> list[Finding]:
    newest = datetime.fromisoformat(max(key.hour for key in traffic.now) + ":00")
    end = datetime.fromisoformat(traffic.until[:19]).replace(tzinfo=None)
    silent = (end - newest) // timedelta(hours=1)
    if silent <= _SILENT_HOURS:
        return []
    text = f"the newest row is {silent} hours old"
    return [Finding("freshness", text, serious=True)]


def _volume(traffic: Traffic) -> list[Finding]:
    """Compare rows an hour with the median of earlier hours, where there were a day of these."""
    hours = [_hourly(found) for found in (traffic.before, traffic.now)]
    if len(hours[0]) < 24 or not hours[1]:
        return []
    usual, now = (median(found.values()) for found in hours)
    if usual / _VOLUME <= now <= usual * _VOLUME:
        return []
    text = f"{now:,.0f} rows an hour, where {usual:,.0f} are usual"
    return [Finding("volume", text, serious=True)]


def _hourly(found: Windows) -> dict[str, float]:
    hours: dict[str, float] = {}
    for key, window in found.items():
        hours[key.hour] = hours.get(key.hour, 0.0) + window.profile.rows / key.rate
    return hours
