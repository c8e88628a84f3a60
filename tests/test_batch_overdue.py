"""Schedules that stand still are noticed, by how long after one run the next must be over."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fnmodel.batch.completion import cloud_event, publish
from fnmodel.batch.overdue import Watched, overdue
from fnmodel.cli.runs import missed_lately
from fnmodel.config import BatchJob, FanoutConfig, FunctionConfig
from fnmodel.config.access import Access
from fnmodel.errors import AwsError, BatchError
from fnmodel.provision.template import render
from fnmodel.schedule import longest_gap
from fnmodel.shipped import shipped
from fnmodel.testing.objects import InMemoryObjects

NOW = datetime(2026, 3, 12, 6, tzinfo=UTC)
DAILY = Watched("nightly", "out/nightly/", 86_400 + 3_600)


def ran(*moments: datetime) -> InMemoryObjects:
    """Return a bucket with manifests of runs at these times."""
    objects = InMemoryObjects()
    for moment in moments:
        objects.contents[f"out/nightly/{moment:%Y%m%dT%H%M%SZ}-0123/manifest.json"] = b"{}"
        objects.contents[f"out/nightly/{moment:%Y%m%dT%H%M%SZ}-0123/part-00000.csv"] = b""
    return objects


@pytest.mark.parametrize(("hours", "late"), [(1, False), (24.9, False), (25.1, True), (900, True)])
def test_the_last_run_counts(hours: float, late: bool) -> None:
    """A job is overdue when its newest manifest is older than its schedule allows."""
    last = NOW - timedelta(hours=hours)
    objects = ran(last - timedelta(days=1), last)
    overdue([DAILY], objects, NOW - timedelta(days=60))  # it was looked for long ago

    assert bool(overdue([DAILY], objects, NOW)) is late


def test_a_run_without_a_manifest_is_none() -> None:
    """What began and did not end does not count."""
    objects = ran(NOW - timedelta(hours=30))
    objects.contents["out/nightly/20260312T050000Z-0123/request.json"] = b"{}"

    assert [job.job for job, _ in overdue([DAILY], objects, NOW)] == ["nightly"]


def test_a_job_that_has_never_run() -> None:
    """It counts from the first look on, so that a schedule that never fires is noticed."""
    objects = InMemoryObjects()

    assert not overdue([DAILY], objects, NOW)
    assert not overdue([DAILY], objects, NOW + timedelta(hours=25))
    [(job, since)] = overdue([DAILY], objects, NOW + timedelta(hours=26))
    assert (job, since) == (DAILY, NOW)


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("rate(5 minutes)", 5 / 60),
        ("cron(0 6 * * ? *)", 25),  # the night that a clock goes back
        ("cron(0 6 ? * MON-FRI *)", 73),
        ("cron(0 6 1 * ? *)", 31 * 24 + 1),
        ("cron(0 6 29 2 ? *)", 4 * 366 * 24 - 3 * 24),
        ("at(2030-01-31T06:00:00)", None),
    ],
)
def test_the_longest_gap(expression: str, hours: float | None) -> None:
    """It holds over weekends, long months, leap years and changes of the clock."""
    found = longest_gap(expression, "Europe/Berlin")

    assert found == (None if hours is None else timedelta(hours=hours))


JOB = BatchJob(
    name="nightly", input="in/", output="out/", schedule="cron(0 6 * * ? *)", late=60, window=30
)


def test_what_a_look_is_told() -> None:
    """The gap, the window, the time that AWS tries for, and that of the run itself."""
    told = JOB.watched(timeout=60)

    assert told == {
        "job": "nightly",
        "home": "out/nightly/",
        "within": 86_400 + 90 * 60 + 3 * 60 + 240,
    }
    assert JOB.model_copy(update={"schedule": None}).watched(60) is None
    wide = JOB.watched(60, FanoutConfig())
    assert wide is not None
    assert wide["within"] > 2 * 86_400


def rendered(*jobs: BatchJob, **more: Any) -> dict[str, Any]:
    text = shipped("template.yaml").read_text("utf-8")
    body: dict[str, Any] = json.loads(render(text, jobs, access=Access(iam=True), **more))
    return body["Resources"]


def test_the_stack_looks_where_schedules_repeat() -> None:
    """There is a look and an alarm, for which no news is bad news; without schedules neither."""
    resources = rendered(JOB, function=FunctionConfig(timeout=60))
    before, _, after = resources["OverdueLook"]["Properties"]["Target"]["Input"]["Fn::Join"][1]
    event = json.loads(f"{before}bucket{after}")

    assert Watched.of(event["jobs"]) == [Watched(**(JOB.watched(60) or {}))]
    assert resources["OverdueAlarm"]["Properties"]["TreatMissingData"] == "breaching"
    by_hand = JOB.model_copy(update={"schedule": None})
    for jobs, more in ((by_hand,), {}), ((), {}), ((JOB,), {"serving": False}):
        assert not {"OverdueLook", "OverdueAlarm"} & rendered(*jobs, **more).keys()


def test_the_stack_fans_out_where_it_is_asked_to() -> None:
    """The machine, its role and its queue come and go with `fanout`, and so do the rights."""
    with_it = rendered(JOB, fanout=FanoutConfig(concurrency=7))
    without = rendered(JOB)

    assert with_it.keys() - without.keys() == {
        "BatchMachine", "BatchMachineRole", "BatchFailures", "BatchFailuresPolicy",
        "FailedSlicesAlarm",
    }  # fmt: skip
    states = with_it["BatchMachine"]["Properties"]["Definition"]["States"]
    assert [states[name]["MaxConcurrency"] for name in ("Mark", "Score")] == [7, 7]
    assert "states:StartExecution" in json.dumps(with_it["FunctionRole"])
    assert "states:" not in json.dumps(without)


def test_missed_times_of_the_status() -> None:
    """Times since the schedule's first run, of which nothing can come any more."""
    runs = [{"scheduled_time": f"2026-03-{day:02}T06:00:00Z"} for day in (8, 9, 11)]
    runs.append({"scheduled_time": "2026-03-02T13:13:13Z"})  # by hand, before there was a schedule

    found = missed_lately(JOB, runs, datetime(2026, 3, 13, 7, 31, tzinfo=UTC))

    assert [f"{moment:%d}" for moment in found] == ["10", "12", "13"]
    assert not missed_lately(JOB, [], NOW)


MANIFEST = {
    "job": "nightly", "run_id": "0123", "status": "succeeded", "started": "a", "finished": "b",
    "scheduled_time": "2026-03-12T06:00:00Z", "model": {"name": "churn"},
    "totals": {"rows": 1, "scored": 1, "errors": 0}, "error_budget": 0, "inputs": [1] * 10_000,
}  # fmt: skip


class Bus:
    """EventBridge, which refuses the first entries."""

    def __init__(self, refuses: int) -> None:
        self.refuses = refuses
        self.taken: list[Any] = []

    def put_events(self, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
        """Take entries, or say in the answer that they were not."""
        if self.refuses:
            self.refuses -= 1
            return {"FailedEntryCount": 1, "Entries": [{"ErrorMessage": "busy"}]}
        self.taken += Entries
        return {"FailedEntryCount": 0}


def test_the_event_of_a_run() -> None:
    """It is CloudEvents 1.0, small, and the same in each delivery."""
    event = cloud_event(MANIFEST, function="f", bucket="b")
    again = cloud_event({**MANIFEST, "already_done": True}, function="f", bucket="b")

    assert {"specversion", "id", "source", "type"} <= event.keys()
    assert (event["id"], event["type"]) == ("0123-succeeded", "io.fnmodel.batch.run.succeeded")
    assert event == again
    assert len(json.dumps(event)) < 1000


def test_an_event_that_is_refused() -> None:
    """A refusal inside a good answer is seen; it is sent again, and in the end it is an error."""
    event = cloud_event(MANIFEST, function="f", bucket="b")
    pauses: list[float] = []
    bus = Bus(2)
    publish(bus, "default", event, pauses.append)

    assert [json.loads(entry["Detail"]) for entry in bus.taken] == [event]
    assert pauses == [0.2, 0.4]
    with pytest.raises(AwsError, match="0123-succeeded was refused by default: busy"):
        publish(Bus(9), "default", event, pauses.append)


def test_a_look_that_names_no_jobs() -> None:
    """An event of another form is refused."""
    with pytest.raises(BatchError, match="names no jobs"):
        Watched.of([{"job": "a"}])
