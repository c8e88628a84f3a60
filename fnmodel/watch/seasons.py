"""Which earlier windows are like those of now: the same hours of the same weekdays. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from statistics import median

from fnmodel.watch.columns import Counted
from fnmodel.watch.sample import Sample, sample
from fnmodel.watch.windows import Key, Windows

_SAME_WEEKDAY, _ANY_DAY = 2, 3
"""Earlier days on which each hour must be there: one day is no season."""


def usual(before: Windows, now: Windows) -> Sample | None:
    """Return what the hours of `now` were like before, in the mix in which they are there now.

    Hours of the same weekday are taken where all of them were there in two earlier weeks, else the
    same hours of any three earlier days; None where these were not there either.

    What changed for good becomes usual in the same time: it was an alarm when it came.
    """
    for slot, least in ((weekday, _SAME_WEEKDAY), (hour_of_day, _ANY_DAY)):
        found = _mixed(before, now, slot, least)
        if found is not None:
            return found
    return None


def _mixed(before: Windows, now: Windows, slot: Callable[[str], str], least: int) -> Sample | None:
    wanted = _represents(now.items(), slot)
    there = _represents(before.items(), slot)
    days: dict[str, set[str]] = {}
    for key in before:
        days.setdefault(slot(key.hour), set()).add(key.hour[:10])
    if not wanted or any(len(days.get(name, ())) < least for name in wanted):
        return None
    return sample(
        (wanted[name] / there[name] / key.rate, window.profile)
        for key, window in before.items()
        if (name := slot(key.hour)) in wanted
    )


def _represents(
    items: Iterable[tuple[Key, Counted]], slot: Callable[[str], str]
) -> dict[str, float]:
    """Return the rows that each slot's windows stand for."""
    total: defaultdict[str, float] = defaultdict(float)
    for key, window in items:
        total[slot(key.hour)] += window.profile.rows / key.rate
    return {name: rows for name, rows in total.items() if rows}


def weekday(hour: str) -> str:
    """Return the slot of a week that an hour is."""
    return f"{datetime.fromisoformat(hour[:10]).weekday()} {hour[11:13]}"


def hour_of_day(hour: str) -> str:
    """Return the slot of a day that an hour is."""
    return hour[11:13]


def sliced(hours: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Return hours by slice of time, in order: by hour, day, week (its Monday) or month.

    It is the shortest of these that makes at most 60 slices; months may be more.
    """
    ordered = sorted(set(hours))
    for length in _LENGTHS[:-1]:
        slices = _by(length, ordered)
        if len(slices) <= _MOST:
            return slices
    return _by(_LENGTHS[-1], ordered)


def judgeable(found: Windows, least: float) -> Mapping[str, Sequence[str]]:
    """Return the hours of windows by slice of time, half of the slices having `least` rows.

    Where no length of time has them, they are as long as `sliced` makes them.
    """
    rows: dict[str, int] = {}
    for key, window in found.items():
        rows[key.hour] = rows.get(key.hour, 0) + window.profile.rows
    ordered = sorted(rows)
    for length in _LENGTHS:
        slices = _by(length, ordered)
        sizes = [sum(rows[hour] for hour in hours) for hours in slices.values()]
        if len(slices) <= _MOST and median(sizes) >= least:
            return slices
    return sliced(ordered)


def _by(length: Callable[[str], str], ordered: Iterable[str]) -> dict[str, list[str]]:
    slices: dict[str, list[str]] = {}
    for hour in ordered:
        slices.setdefault(length(hour), []).append(hour)
    return slices


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SLOTS: Mapping[str, Sequence[str]] = {
    "hour": [f"{hour:02}" for hour in range(24)],
    "weekday": DAYS,
}
"""The hours of the day, and the days of the week, by name."""


def by_slot(hours: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Return the hours of each hour of the day, and of each day of the week, in their order."""
    found: dict[str, dict[str, list[str]]] = {
        kind: {slot: [] for slot in slots} for kind, slots in SLOTS.items()
    }
    for hour in hours:
        found["hour"][hour_of_day(hour)].append(hour)
        found["weekday"][DAYS[datetime.fromisoformat(hour[:10]).weekday()]].append(hour)
    return found


def _itself(hour: str) -> str:
    return hour


def _day(hour: str) -> str:
    return hour[:10]


def _week(hour: str) -> str:
    day = date.fromisoformat(hour[:10])
    return (day - timedelta(days=day.weekday())).isoformat()


def _month(hour: str) -> str:
    return hour[:7]


_LENGTHS: Sequence[Callable[[str], str]] = (_itself, _day, _week, _month)


_MOST = 60
