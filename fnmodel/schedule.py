"""Schedules of EventBridge Scheduler: checked as strictly as AWS does, and the times they mean.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
_DAYS = "SUN MON TUE WED THU FRI SAT".split()
_NONE = r"(?!)"
_UNITS = {"minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True)
class _Field:
    """One of the six; `names` stand for numbers from `low` on, `extra` are forms of its own."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    extra: str = _NONE

    def number(self, text: str) -> int:
        """Return the number of a word, -1 where it is none."""
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        return int(text) if text.isdecimal() else -1

    def expand(self, text: str) -> frozenset[int]:
        """Return the numbers that a field means, those of `extra` left out.

        Raises:
            ValueError: it means none; says which part.

        """
        found: set[int] = set()
        for part in text.split(","):
            if re.fullmatch(self.extra, part):
                continue
            matched = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", part)
            if not matched or (matched[1] == "*" and matched[2]):
                raise ValueError(f"{part!r} is not a {self.name} ({self.low} to {self.high})")
            first, last, step = matched[1], matched[2], int(matched[3] or 1)
            start = self.low if first == "*" else self.number(first)
            # 5/15 is every fifteenth from the fifth on; 5 alone is itself.
            open_end = first == "*" or matched[3] is not None
            end = self.number(last) if last else self.high if open_end else start
            if not (self.low <= start <= self.high and self.low <= end <= self.high and step):
                raise ValueError(f"{part!r} is not a {self.name} ({self.low} to {self.high})")
            if end < start and not self.names:
                raise ValueError(f"{part!r} ends before it begins")
            size = self.high - self.low + 1
            reach = (end - start) % size if self.names else end - start
            found |= {(start - self.low + n) % size + self.low for n in range(0, reach + 1, step)}
        return frozenset(found)


_FIELDS = (
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _Field("day-of-month", 1, 31, (), r"\?|L|(?:[1-9]|[12]\d|3[01])W"),
    _Field("month", 1, 12, tuple(_MONTHS)),
    _Field("day-of-week", 1, 7, tuple(_DAYS), r"\?|L|[1-7]L|[1-7]#[1-5]"),
    _Field("year", 1970, 2199),
)


def check_schedule(expression: str) -> None:
    """Refuse what EventBridge Scheduler would refuse; emulators accept anything.

    Raises:
        ValueError: the expression is none of rate(N UNIT), cron(6 fields), at(yyyy-mm-ddThh:mm:ss).

    """
    rate = re.fullmatch(r"rate\((\d+) (minutes?|hours?|days?)\)", expression)
    if rate:
        number, unit = int(rate[1]), rate[2]
        if number < 1 or (number == 1) == unit.endswith("s"):
            raise ValueError(f"{expression!r}: write rate(1 {unit.rstrip('s')}) or rate(5 minutes)")
        return
    if re.fullmatch(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)", expression):
        try:
            datetime.fromisoformat(expression[3:-1])
        except ValueError as error:
            raise ValueError(f"{expression!r}: {error}") from error
        return
    cron = re.fullmatch(r"cron\((.+)\)", expression)
    if not cron:
        raise ValueError(
            f"{expression!r} is not a schedule: write rate(5 minutes), cron(0 6 * * ? *) "
            "or at(2030-01-31T06:00:00)"
        )
    _cron(expression, cron[1].split(" "))


def check_timezone(name: str) -> None:
    """Refuse what is no IANA time zone.

    Raises:
        ValueError: it is none; names one that is spelled alike.

    """
    known = available_timezones()
    if not known or name in known:  # a system without the database knows none
        return
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ", as Europe/Berlin"
    raise ValueError(f"{name!r} is not an IANA time zone{guess}")


def _cron(expression: str, fields: list[str]) -> list[frozenset[int]]:
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"{expression!r} has {len(fields)} fields; a cron expression has six: "
            + ", ".join(field.name for field in _FIELDS)
        )
    try:
        found = [field.expand(text) for field, text in zip(_FIELDS, fields, strict=True)]
    except ValueError as error:
        raise ValueError(f"{expression!r}: {error}") from error
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ValueError(f"{expression!r}: exactly one of day-of-month and day-of-week must be '?'")
    return found


def times(expression: str, timezone: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the scheduled times in UTC from `start` to `end`, this one excluded, in order.

    A time that a clock skips in spring is left out, one that it shows twice in autumn is there
    once, as the service does it. A rate counts from `start`: what it counts from in AWS is when
    its schedule was made.
    """
    check_schedule(expression)
    kind, _, inner = expression[:-1].partition("(")
    zone = ZoneInfo(timezone)
    if kind == "rate":
        number, unit = inner.split()
        step = timedelta(seconds=int(number) * _UNITS[unit.rstrip("s")])
        moment = start
        while moment < end:
            yield moment
            moment += step
    elif kind == "at":
        found = datetime.fromisoformat(inner).replace(tzinfo=zone).astimezone(UTC)
        if start <= found < end:
            yield found
    else:
        yield from _cron_times(inner, zone, start, end)


# Four years have each weekday in each place of a month, and a leap day.
_FROM, _TO = datetime(2024, 1, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)
_MOST_TIMES = 50_000


def longest_gap(expression: str, timezone: str) -> timedelta | None:
    """Return the longest time between two scheduled ones; None where there are no two."""
    found = [*islice(times(expression, timezone, _FROM, _TO), _MOST_TIMES)]
    return max((after - before for before, after in pairwise(found)), default=None)


def _cron_times(inner: str, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    fields = inner.split(" ")
    minutes, hours, _, _, _, _ = sets = _cron(inner, fields)
    day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    while day <= last:
        if _on(day, fields, sets):
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                    found = local.astimezone(UTC)
                    there = found.astimezone(zone).replace(fold=0) == local.replace(fold=0)
                    if there and start <= found < end:
                        yield found
        day += timedelta(days=1)


def _on(day: date, fields: list[str], sets: list[frozenset[int]]) -> bool:
    if day.month not in sets[3] or day.year not in sets[5]:
        return False
    if fields[2] != "?":
        return day.day in sets[2] or any(
            day.day == _day_of_month(part, day) for part in fields[2].split(",")
        )
    weekday = day.isoweekday() % 7 + 1
    return weekday in sets[4] or any(_is_weekday(part, day) for part in fields[4].split(","))


def _day_of_month(part: str, day: date) -> int:
    """Return the day that L (the last) or 15W (the weekday nearest to the 15th) means, or 0."""
    length = calendar.monthrange(day.year, day.month)[1]
    if part == "L":
        return length
    if not part.endswith("W") or int(part[:-1]) > length:
        return 0
    number = int(part[:-1])
    weekday = date(day.year, day.month, number).weekday()
    if weekday == 5:
        return number - 1 if number > 1 else 3
    if weekday == 6:
        return number + 1 if number < length else number - 2
    return number


def _is_weekday(part: str, day: date) -> bool:
    """Whether a day is L (Saturday), 6L (the month's last Friday) or 6#3 (its third)."""
    weekday = day.isoweekday() % 7 + 1
    if part == "L":
        return weekday == 7
    if part.endswith("L"):
        length = calendar.monthrange(day.year, day.month)[1]
        return weekday == int(part[:-1]) and day.day > length - 7
    if "#" in part:
        wanted, count = map(int, part.split("#"))
        return weekday == wanted and (day.day - 1) // 7 + 1 == count
    return False
