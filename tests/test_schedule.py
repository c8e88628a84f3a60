"""Schedules: what AWS would refuse is refused here, and the times that an expression means."""

from datetime import UTC, datetime

import pytest

from fnmodel.schedule import check_schedule, check_timezone, times


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 0 0 * ? *)", "cron(0 0 32 * ? *)", "cron(0 0 ? * 8 *)", "cron(0 0 ? * MON-XYZ *)",
        "cron(0/0 * * * ? *)", "cron(*-5 * * * ? *)", "cron(30-10 * * * ? *)", "cron(60 * * * ? *)",
        "cron(0 24 * * ? *)", "cron(0 0 0W * ? *)", "cron(0 0 32W * ? *)", "cron(0 0 ? * 2#6 *)",
        "cron(0 0 1 13 ? *)", "cron(0 0 1 * ? 2200)", "cron(0 0 1 * ? 1969)", "cron(0 0 * * * *)",
        "cron(0 0 ? * ? *)", "cron(0 0 * * ?)", "cron(0 0 * * ? * *)", "cron(0,,5 * * * ? *)",
        "cron( 0 0 * * ? *)", "rate(0 minutes)", "rate(1 minutes)", "rate(2 minute)",
        "rate(1 week)", "rate(1.5 hours)", "at(2030-02-30T00:00:00)", "at(2030-01-01)",
        "at(2030-01-01T00:00:00Z)", "whenever", "",
    ],
)  # fmt: skip
def test_refused(expression: str) -> None:
    """None of these is a schedule of EventBridge Scheduler."""
    with pytest.raises(ValueError, match=r"."):
        check_schedule(expression)


def test_time_zones() -> None:
    """Only a name of the IANA database is a time zone; a near one is proposed."""
    check_timezone("Europe/Berlin")
    with pytest.raises(ValueError, match="did you mean 'Europe/Berlin'"):
        check_timezone("Europe/Berln")
    with pytest.raises(ValueError, match="not an IANA time zone"):
        check_timezone("+01:00")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def found(expression: str, start: str, end: str, zone: str = "UTC") -> list[str]:
    return [f"{moment:%Y-%m-%d %H:%M}" for moment in times(expression, zone, at(start), at(end))]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 6 ? * MON-FRI *)", ["01 06:00", "02 06:00", "05 06:00", "06 06:00", "07 06:00"]),
        ("cron(0 6 ? * FRI-MON *)", ["02 06:00", "03 06:00", "04 06:00", "05 06:00"]),
        ("cron(30 6 2,4 * ? *)", ["02 06:30", "04 06:30"]),
        ("cron(0/20 6-7 2 1 ? 2026)",
         ["02 06:00", "02 06:20", "02 06:40", "02 07:00", "02 07:20", "02 07:40"]),
        ("cron(0 6 ? * 6#1 *)", ["02 06:00"]),
        ("cron(0 6 ? * L *)", ["03 06:00"]),
        ("cron(0 6 4W * ? *)", ["05 06:00"]),
        ("cron(0 6 3W * ? *)", ["02 06:00"]),
        ("cron(0 6 ? 2 * *)", []),
        ("cron(0 6 * * ? 2027)", []),
        ("at(2026-01-03T10:00:00)", ["03 10:00"]),
        ("at(2027-01-03T10:00:00)", []),
        ("rate(3 days)", ["01 00:00", "04 00:00", "07 00:00"]),
    ],
)  # fmt: skip
def test_times(expression: str, expected: list[str]) -> None:
    """The first week of 2026, which begins on a Thursday."""
    assert found(expression, "2026-01-01", "2026-01-08") == [f"2026-01-{time}" for time in expected]


def test_the_last_days_of_months() -> None:
    """L is a month's last day, 6L its last Friday."""
    days = found("cron(0 0 L * ? *)", "2028-01-01", "2028-04-01")
    fridays = found("cron(0 0 ? * 6L *)", "2028-01-01", "2028-04-01")

    assert [day[5:10] for day in days] == ["01-31", "02-29", "03-31"]
    assert [day[5:10] for day in fridays] == ["01-28", "02-25", "03-31"]


def test_a_clock_that_changes() -> None:
    """An hour that spring skips has no run, one that autumn repeats has one."""
    spring = found("cron(30 2 * * ? *)", "2026-03-27", "2026-03-31", "Europe/Berlin")
    autumn = found("cron(30 2 * * ? *)", "2026-10-24", "2026-10-27", "Europe/Berlin")

    assert spring == ["2026-03-27 01:30", "2026-03-28 01:30", "2026-03-30 00:30"]
    assert autumn == ["2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"]


def test_a_thousand_missed_times() -> None:
    """Over a year with both changes, each hour but the skipped one has its run, once."""
    hours = [*times("cron(0 * * * ? *)", "Europe/Berlin", at("2026-01-01"), at("2027-01-01"))]

    assert len(hours) == len(set(hours)) == 365 * 24 - 1
    assert hours == sorted(hours)
