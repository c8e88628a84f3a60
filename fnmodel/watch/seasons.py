"""Which earlier windows are like those of now: the same hours of the same weekdays. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

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
    """Return hours by slice of time, at most about 60: by hour, by day, by month; in order."""
    ordered = sorted(set(hours))
    length = next((one for one in (13, 10) if len({h[:one] for h in ordered}) <= _MOST), 7)
    slices: dict[str, list[str]] = {}
    for hour in ordered:
        slices.setdefault(hour[:length], []).append(hour)
    return slices


_MOST = 60
