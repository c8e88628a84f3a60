"""Drift starts the pipeline where the guards allow it: once, never twice at a time, on record."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws
from release_cases import make_table

from fnmodel.errors import UsageError
from fnmodel.watch.book import Book, identity
from fnmodel.watch.judge import Alarm, Kind
from fnmodel.watch.records import shifted
from fnmodel.watch.retrain import Decision, Guards, Past, decide

HOUR = "2026-11-27T08"
DRIFT = (Alarm("drift", "drift:feature:age", "age drifted"),)
START = Decision("start", "drift")
NONE = Past()


def alarms(*kinds: Kind) -> tuple[Alarm, ...]:
    return tuple(Alarm(kind, kind, kind) for kind in kinds)


def verdict(given: Any, past: Past = NONE, **guards: Any) -> str | None:
    found = decide("opened", given, HOUR, past, Guards(**guards))
    return found and found.verdict


def test_drift_starts_and_broken_data_does_not() -> None:
    """A model must not learn nulls; with both in one window the data is mended first."""
    assert verdict(DRIFT) == "start"
    assert verdict(alarms("drift", "ranges")) == "start"
    assert verdict(alarms("nulls")) == "refuse"
    assert verdict(alarms("volume")) == "refuse"
    assert verdict(alarms("drift", "schema")) == "refuse"
    assert verdict(alarms("schema"), on_quality=True) == "start"
    assert decide("closed", (), HOUR, Past(), Guards()) is None
    assert decide(None, DRIFT, HOUR, Past(), Guards()) is None


def test_a_start_keeps_others_away() -> None:
    """Cool-down, budget of the calendar month, and a run that is under way."""
    week = (shifted(HOUR, -6 * 24),)
    assert verdict(DRIFT, Past(week)) == "refuse"
    assert verdict(DRIFT, Past(week), cooldown=timedelta(days=6)) == "start"
    month = ("2026-11-01T00", "2026-11-10T00")
    assert verdict(DRIFT, Past(month), budget=2) == "refuse"
    assert verdict(DRIFT, Past(month), budget=3) == "start"
    assert verdict(DRIFT, Past(("2026-10-31T23", "2026-11-10T00")), budget=2) == "start"
    assert verdict(DRIFT, Past(running="churn@x")) == "refuse"
    assert verdict(DRIFT, approve=True) == "ask"
    assert verdict(DRIFT, Past(week), approve=True) == "refuse"


class Clock:
    """Seconds that pass only when told to."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Iterator[Book]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        yield Book(client, make_table(client, "ledger"), Clock())


ID = identity("churn", HOUR)


def test_a_decision_is_made_once(book: Book) -> None:
    """Whoever decides again gets the first decision, and an event that comes twice runs once."""
    first = book.note(ID, START)
    again = book.note(ID, Decision("refuse", "something else"))

    assert (first.status, again) == ("requested", first)
    assert [book.begin(ID), book.begin(ID)] == [True, False]
    assert book.past() == Past((HOUR,), ID)
    book.end(ID, failed=False)
    assert book.past() == Past((HOUR,), None)
    assert book.find(ID) is not None
    assert [entry.status for entry in book.entries()] == ["done"]
    assert book.begin(ID) is False


def test_two_runs_are_never_under_way(book: Book) -> None:
    """The second is refused, on record, until the first has ended or was silent for eight hours."""
    later = identity("churn", shifted(HOUR, 1))
    last = identity("churn", shifted(HOUR, 2))
    book.note(ID, START)
    refused = book.note(later, START)
    assert (refused.status, refused.why) == ("refused", "another run has just begun")

    Clock.now += 8 * 3600 + 1
    assert book.note(last, START).status == "requested"
    book.end(ID, failed=True)  # it was not dead after all; the turn is not its own any more
    assert book.past().running == last


def test_a_person_may_say_yes_once(book: Book) -> None:
    """Only to a question, and not beside a run."""
    book.note(ID, Decision("ask", "a person first"))
    assert book.past() == Past((), None)
    other = identity("other", HOUR)
    book.note(other, START)
    with pytest.raises(UsageError, match="another"):
        book.approve(ID, "jane")
    book.end(other, failed=False)

    assert book.approve(ID, "jane").why == "approved by jane"
    # The request may not have been sent: who says yes again has the same entry to send.
    assert book.approve(ID, "joe").why == "approved by jane"
    book.begin(ID)
    with pytest.raises(UsageError, match="is running"):
        book.approve(ID, "jane")
    with pytest.raises(UsageError, match="not known"):
        book.approve("churn@2020-01-01T00", "jane")
