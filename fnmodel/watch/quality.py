"""Windows in; what is wrong with the data as data out: types, gaps, volume, age. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Literal

from fnmodel.watch import seasons
from fnmodel.watch.drift import Rules
from fnmodel.watch.windows import Windows

Rule = Literal["schema", "unreadable", "freshness", "volume"]

_SILENT_HOURS = 6
_VOLUME = 5.0
_FEW = 20


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
    return list(other_types(traffic.now, rules).values())


def other_types(now: Windows, rules: Rules) -> dict[str, Finding]:
    """Return what is said of each feature with values of another type; serious of too many."""
    rows = sum(window.profile.rows for window in now.values())
    found = {}
    for name in sorted({name for window in now.values() for name in window.invalid}):
        count = sum(window.invalid.get(name, 0) for window in now.values())
        text = f"{name}: {count:,} of {rows:,} values are of another type"
        found[name] = Finding("schema", text, serious=count >= rules.share * rows)
    return found


def unreadable_share(unreadable: int, rows: int, rules: Rules) -> str | None:
    """Say that too many captured lines could not be read: twenty at least."""
    if unreadable < max(_FEW, rules.share * (rows + unreadable)):
        return None
    return f"{unreadable:,} of {rows + unreadable:,} captured lines could not be read"


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
    text = volume(_hourly(traffic.now), _hourly(traffic.before))
    return [Finding("volume", text, serious=True)] if text else []


NONE_USUAL = 20.0
"""Rows an hour that must be usual before an hour with none is noticed."""


def volume(now: Mapping[str, float], before: Mapping[str, float], least: float = 0.0) -> str | None:
    """Say that hours have far more or fewer rows than are usual; both are rows by hour.

    Usual is the median of the same hour of the same weekday in two earlier weeks, else of the same
    hour on three earlier days, else of all hours where there were 24 of them. With `least`, hours
    in which fewer are usual are not spoken of.
    """
    known = {hour: rows for hour in now if (rows := usual_rows(hour, before)) is not None}
    if not known:
        return None
    found = sum(now[hour] for hour in known) / len(known)
    usual = sum(known.values()) / len(known)
    if usual < least or usual / _VOLUME <= found <= usual * _VOLUME:
        return None
    return f"{found:,.0f} rows an hour, where {usual:,.0f} are usual"


def usual_rows(hour: str, before: Mapping[str, float]) -> float | None:
    """Return how many rows are usual at an hour; None where too little is known."""
    for slot, least in ((seasons.weekday, 2), (seasons.hour_of_day, 3)):
        same = [rows for other, rows in before.items() if slot(other) == slot(hour)]
        if len(same) >= least:
            return median(same)
    return median(before.values()) if len(before) >= 24 else None


def silence(hour: str, rows: float, before: Mapping[str, float]) -> str | None:
    """Say that there were no rows for six hours up to this one, where nothing is usual yet.

    Where the hour has a usual volume, `volume` has spoken of it.
    """
    if rows or usual_rows(hour, before) is not None:
        return None
    heard = [other for other, count in before.items() if count and other < hour]
    if not heard:
        return None
    silent = _hours_between(max(heard), hour)
    return f"the newest row is {silent} hours old" if silent >= _SILENT_HOURS else None


def _hours_between(first: str, last: str) -> int:
    begin, end = (datetime.fromisoformat(hour + ":00") for hour in (first, last))
    return (end - begin) // timedelta(hours=1)


def _hourly(found: Windows) -> dict[str, float]:
    hours: dict[str, float] = {}
    for key, window in found.items():
        hours[key.hour] = hours.get(key.hour, 0.0) + window.profile.rows / key.rate
    return hours
