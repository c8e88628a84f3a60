"""What the batch commands decide: estimates, missed times, what to go on with, progress."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fnmodel.batch.report import page
from fnmodel.cli.estimate import Function, Known, Spread, estimate, shown
from fnmodel.cli.runs import Progress, follow, missed, schedule_arn, unfinished
from fnmodel.config import BatchJob

FUNCTION = Function(memory=2048, timeout=900)
KNOWN = Known(bytes_a_row=100, rows_a_second=200_000, assumed=False)


def test_an_estimate_of_a_million_rows() -> None:
    """A million rows fit into one attempt of seconds, for a tenth of a cent."""
    found = estimate(4, 100_000_000, KNOWN, FUNCTION, part_rows=1_000_000)

    assert (found.rows, found.parts, found.attempts) == (1_000_000, 4, 1)
    assert found.seconds == 5
    # 15 s of 2 GB, an invocation, 1 LIST, 12 PUT and 5 more, 4 + 2 GET.
    assert found.dollars == pytest.approx(
        15 * 2 * 0.0000166667 + 2e-7 + 18 * 5e-6 + 6 * 4e-7, rel=1e-6
    )
    assert found.problems == []
    assert "by the last run" in shown(found)


def test_an_estimate_of_a_trillion_rows() -> None:
    """10^12 rows are computed as well, and the limits that they do not fit into are named."""
    found = estimate(10**7, 10**14, KNOWN, FUNCTION, part_rows=1_000_000)

    assert found.rows == 10**12
    assert found.parts == 10**7
    assert found.attempts == 5_618
    # Of this, the function is $169; the rest are its attempts, which each read 10^7 receipts.
    assert 11_000 < found.dollars < 12_000
    assert len(found.problems) == 2
    assert "5,618 attempts; a schedule makes 3" in found.problems[0]
    assert "listing of 10,000,000 objects" in found.problems[1]
    assert "57.9 days" in shown(found)


@pytest.mark.parametrize("rows", [10**power for power in range(13)])
def test_estimates_grow_with_the_rows(rows: int) -> None:
    """From one row to 10^12, more rows never take less of anything."""
    less, more = (
        estimate(1 + n // 10**6, n * 100, KNOWN, FUNCTION, part_rows=10**6)
        for n in (rows, 2 * rows)
    )

    assert (less.rows, more.rows) == (rows, 2 * rows)
    assert less.seconds < more.seconds
    assert less.parts <= more.parts
    assert less.attempts <= more.attempts
    assert less.dollars < more.dollars


SPREAD = Spread(objects=1000, bytes=2 * 10**9, slice_bytes=256 * 10**6, concurrency=1000)


def test_an_estimate_of_a_run_that_fans_out() -> None:
    """Below the threshold nothing changes; above it time falls, and what it costs is counted."""
    small = estimate(4, 10**9, KNOWN, FUNCTION, part_rows=10**6, spread=SPREAD)
    alone = estimate(40, 10**11, KNOWN, FUNCTION, part_rows=10**6)
    wide = estimate(40, 10**11, KNOWN, FUNCTION, part_rows=10**6, spread=SPREAD)

    assert small == estimate(4, 10**9, KNOWN, FUNCTION, part_rows=10**6)
    assert alone.seconds == 5000
    # 1,000 slices: 7,500 s of scoring and marking, 3 s each beside, and as many receipts.
    assert wide.seconds == pytest.approx((7500 + 1000 * 3) / 1000 + 1000 / 300 + 0.1, rel=1e-6)
    assert wide.invocations == 2 * 1000 + 4
    assert 1.2 * alone.dollars < wide.dollars < 3 * alone.dollars
    assert wide.problems == []
    assert "2,004 invocations" in shown(wide)


def test_a_run_that_even_many_invocations_cannot_do() -> None:
    """10^12 rows name what ends first: the last step, which reads a receipt of each part."""
    found = estimate(10**5, 10**14, KNOWN, FUNCTION, part_rows=10**6, spread=SPREAD)

    assert found.rows == 10**12
    assert [text.split(" ", 3)[:3] for text in found.problems] == [
        ["the", "last", "step"],
        ["the", "manifest", "of"],
    ]


def test_an_estimate_of_nothing() -> None:
    """An empty prefix costs one attempt."""
    found = estimate(0, 0, Known.of("csv"), FUNCTION, part_rows=1000)

    assert (found.rows, found.parts, found.attempts) == (0, 0, 1)
    assert found.assumed


def test_a_part_that_takes_too_long() -> None:
    """A part that no attempt can finish is told before the run."""
    slow = Known(bytes_a_row=100, rows_a_second=100, assumed=False)

    found = estimate(1, 10**8, slow, Function(1769, 60), part_rows=1_000_000)

    assert found.problems[0].startswith("one part takes 10,000 s, the function has 60 s")


JOB = BatchJob(
    name="nightly", input="in/", output="out/", schedule="cron(30 2 * * ? *)",
    timezone="Europe/Berlin",
)  # fmt: skip


def test_missed_times() -> None:
    """Times without a run are missed; finished and skipped ones are not, nor is a skipped hour."""
    runs = [{"scheduled_time": "2026-03-28T01:30:00Z"}]

    found = missed(JOB, datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC), runs)

    assert [f"{moment:%d %H:%M}" for moment in found] == ["27 01:30", "30 00:30"]


def test_what_can_be_gone_on_with() -> None:
    """Runs that began and have no success to show, newest first."""
    asked = [{"scheduled_time": f"2026-03-0{day}T00:00:00Z"} for day in (1, 2, 3, 4)]
    runs = [
        {"scheduled_time": "2026-03-01T00:00:00Z", "status": "succeeded"},
        {"scheduled_time": "2026-03-03T00:00:00Z", "status": "failed"},
        {"scheduled_time": "2026-03-04T00:00:00Z", "status": "skipped"},
    ]

    assert [event["scheduled_time"][8:10] for event in unfinished(asked, runs)] == [
        "04", "03", "02"
    ]  # fmt: skip


def test_progress() -> None:
    """Receipts add up to rows, a rate and the time that is left."""
    receipts = [
        {"input": 0, "rows": 100, "last": False}, {"input": 0, "rows": 50, "last": True},
        {"input": 1, "rows": 50, "last": False},
    ]  # fmt: skip

    progress = follow(receipts, [1000, 3000])

    assert progress == Progress(rows=200, bytes=1000, size=4000)
    assert progress.text(10) == "200 rows, 20 rows/s, about 30.0 s left"
    assert Progress(size=5).text(0) == "0 rows, 0 rows/s"


def test_the_arn_of_a_schedule() -> None:
    """A run of a backfill has the id that the schedule itself would have given it."""
    alias = "arn:aws:lambda:eu-west-1:123456789012:function:fnmodel-churn-dev:live"

    assert schedule_arn(alias, "fnmodel-churn-dev", "nightly") == (
        "arn:aws:scheduler:eu-west-1:123456789012:schedule/fnmodel-churn-dev/nightly"
    )


def test_a_report_of_hostile_names() -> None:
    """Names stand in the report as text; it allows no script and loads nothing."""
    hostile = "<script>alert(1)</script>\ud800"
    manifest: dict[str, Any] = {
        "job": "nightly", "run_id": "0", "status": "failed", "scheduled_time": "2026-03-12T06:00Z",
        "started": "2026-03-12T06:00:00+00:00", "finished": "2026-03-12T06:00:02+00:00",
        "model": {"name": hostile, "version": "1", "digest": "sha256:0"}, "error_budget": 0.01,
        "inputs": [{"key": hostile, "rows": 3, "scored": 1, "errors": 2, "problem": hostile}] * 501,
        "errors": [hostile], "totals": {"rows": 3000, "scored": 1000, "errors": 2000},
    }  # fmt: skip

    text = page(manifest).decode()

    assert "<script" not in text
    assert "default-src 'none'" in text
    assert "2.0 s, 1,500 rows/s" in text
    assert "and 1 more, in manifest.json" in text
