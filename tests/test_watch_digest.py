"""A week against the week before: what is sent says what the trend says, and what is not known."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import watch_cases as cases
from test_watch_trend import story

from fnmodel.cli.operations import operations, rang
from fnmodel.testing import InMemoryMetrics
from fnmodel.watch import letter
from fnmodel.watch.digest import Alert, Operations, digest
from fnmodel.watch.performance import Evidence, Question
from fnmodel.watch.windows import between, windows

ASKED = Question("", "2026-11-26T00:00:00.000Z", "churn")
ALERTS = (
    Alert("churn-drift", "PSI of normal is 0.3", "2026-11-20T09:00:00", "2026-11-21T09:00:00"),
    Alert("churn-errors", "five in a hundred", "2026-11-25T10:00:00"),
    Alert("churn-old", "long ago", "2026-11-02T10:00:00", "2026-11-03T10:00:00"),
)
DONE = Operations(12_345, 7, 11.25, 480.0, 1.239), Operations(0, 0)


@pytest.fixture(scope="module")
def reference():
    return cases.trained(cases.world(np.random.default_rng(0), 4000))


@pytest.fixture(scope="module")
def found(reference):
    rows, _ = story()
    return windows(rows, reference, cases.SIGNATURE)


@pytest.fixture(scope="module")
def told(found, reference):
    return digest(found, reference, cases.SIGNATURE, ASKED, alerts=ALERTS, operations=DONE)


def test_two_weeks_are_told_apart(told):
    """The week ends where it is asked to end; the one before has other rows and versions."""
    assert told.question.since == "2026-11-19T00:00:00"
    assert [told.now.rows, told.before.rows] == [7 * 300, 7 * 300]
    assert [told.now.versions, told.before.versions] == [("3", "4"), ("3",)]
    assert told.now.estimated == pytest.approx(told.before.estimated, abs=0.1)
    assert told.now.operations.requests == 12_345


def test_what_drifted_is_new_only_in_its_first_week(told, found, reference):
    """`normal` moved on the 20th: new in that week's digest, and not in the next one's."""
    one = next(one for one in told.drifted if one.name == "normal")
    assert [one.since, one.new] == ["2026-11-20", True]

    later = replace(ASKED, until="2026-11-28T00:00:00.000Z")
    after = digest(found, reference, cases.SIGNATURE, later)
    assert next(one for one in after.drifted if one.name == "normal").new is False


def test_what_has_healed_is_no_longer_drifted(found, reference):
    """From the 23rd on rows are as they were two weeks before: the column has ended."""

    def as_before(key):
        day = int(key.hour[8:10])
        hour = f"2026-11-{day - 14:02}{key.hour[10:]}"
        return key if day < 23 else replace(key, hour=hour, version="3")

    healed = {key: found[as_before(key)] for key in found}

    made = digest(healed, reference, cases.SIGNATURE, ASKED)

    assert "normal" in made.ended
    assert "normal" not in [one.name for one in made.drifted]


def test_alarms_of_the_week_are_opened_and_closed(told):
    """One closed and one still rings; those of other weeks are not told."""
    assert [one.name for one in told.opened] == ["churn-drift", "churn-errors"]
    assert [one.name for one in told.closed] == ["churn-drift"]
    assert "alarm churn-errors rings: five in a hundred" in told.alarms
    assert not any("churn-drift" in line for line in told.alarms)


def test_the_text_is_read_in_a_terminal_and_by_sns(told):
    """Lines are short; both weeks stand side by side; the subject is what SNS takes."""
    text = letter.plain(told)

    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"requests +12,345 +0\n", text)
    assert re.search(r"errors +7 \(0\.06%\) +0\n", text)
    assert re.search(r"function's cost +\$1\.24 *\n", text)
    assert "- normal since 2026-11-20:" in text
    subject = letter.subject(replace(told, question=replace(told.question, name="Äpfel\n" * 40)))
    assert len(subject) < 100
    assert subject.isascii()
    assert "\n" not in subject


def test_what_nobody_knows_is_left_out(found, reference):
    """Without CloudWatch there is no line of requests; without labels none of what came true."""
    text = letter.plain(digest(found, reference, cases.SIGNATURE, ASKED))

    for words in ("requests", "latency", "'s cost", "realised", "Alarms"):
        assert words not in text


def test_labels_give_the_realised_figure(found, reference):
    """With rows and labels both weeks have what came true."""
    rows, known = story()
    asked = replace(ASKED, since="2026-11-19T00:00:00")
    now = [row for row in rows if asked.since <= row.time < asked.until]
    before = [row for row in rows if row.time < asked.since]
    evidence = Evidence(now, before, reference, cases.SIGNATURE, asked, known)

    made = digest(found, reference, cases.SIGNATURE, ASKED, evidence=evidence)

    assert [made.now.realised.rows, made.before.realised.rows] == [2100, 2100]


def test_an_empty_week_is_not_quiet(reference):
    """Without rows nobody can say, on paper as on the page."""
    made = digest({}, reference, cases.SIGNATURE, ASKED)

    assert letter.verdict(made) == "too few rows to say"
    assert "too few rows" in letter.page(made)
    assert "quiet" not in letter.plain(made)


def test_json_and_page_say_the_same(told):
    """Both have the alarms; the page runs nothing, and names stay text."""
    data = json.loads(json.dumps(told.to_json()))
    evil = replace(told, opened=(Alert("<script>x", "<img src=x>", "2026-11-25T10:00:00"),))

    assert [data["schema"], data["alarms"]] == [1, list(told.alarms)]
    assert data["now"]["operations"]["p99_ms"] == 480.0
    rendered = letter.page(evil)
    assert "<script" not in rendered
    assert "<img" not in rendered
    assert "12,345" in rendered


def test_hours_belong_to_the_span_in_which_they_begin(found):
    """An end on the hour leaves that hour out; one within it takes it in."""

    def hours(until):
        return max(key.hour for key in between(found, "2026-11-19T00", until))

    assert hours("2026-11-20T10:00:00.000Z") == "2026-11-20T08"
    assert hours("2026-11-20T10:00") == "2026-11-20T08"
    assert hours("2026-11-20T10:00:00.001Z") == "2026-11-20T10"


def test_history_becomes_times_in_which_it_rang():
    """From ALARM to whatever follows; one that has not stopped has no end."""

    def item(minute, summary):
        return {"Timestamp": datetime(2026, 11, 20, 9, minute, tzinfo=UTC),
                "HistorySummary": f"Alarm updated from {summary}"}  # fmt: skip

    found = rang("a", [
        item(0, "INSUFFICIENT_DATA to OK"), item(1, "OK to ALARM"), item(5, "ALARM to OK"),
        item(9, "OK to ALARM"),
    ])  # fmt: skip

    assert [(one.opened[11:16], one.closed and one.closed[11:16]) for one in found] == [
        ("09:01", "09:05"), ("09:09", None)
    ]  # fmt: skip


def test_a_week_of_more_versions_than_one_question_holds_is_added_up():
    """CloudWatch takes 500 queries at once; each version of 130 needs four, and all are counted."""
    cloudwatch = InMemoryMetrics("fnmodel-churn-prod")
    end = datetime(2026, 11, 26, tzinfo=UTC)
    numbers = [str(number) for number in range(1, 131)]
    for number in numbers:
        time = (end - timedelta(hours=int(number))).timestamp()
        slow = 400.0 if number == "130" else 20.0
        cloudwatch.request(number, time, latency_ms=slow, failed=number == "129")

    week = operations(
        cloudwatch.client, "fnmodel-churn-prod", numbers, end - timedelta(days=7), end,
        memory=1024, architecture="x86_64",
    )  # fmt: skip

    assert week == Operations(130, 1, 20.0, 400.0)
