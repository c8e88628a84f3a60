"""Captured rows in a bucket with versions: read back, and erased from every byte of it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from capture_cases import KEY
from moto import mock_aws

from fnmodel.aws import Cloud
from fnmodel.capture.line import Origin, folder_of, line, lines_of
from fnmodel.capture.redact import hashed
from fnmodel.cli.capture import moment
from fnmodel.cli.captured import delete_streams, erase, logged, put_proof, rows_between
from fnmodel.errors import UsageError

BUCKET, ENDPOINT, GROUP = "captured", "fnmodel-churn-dev", "/aws/lambda/fnmodel-churn-dev"
NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def row(subject: str, time: datetime, number: int = 0) -> bytes:
    stamp = time.isoformat(timespec="milliseconds")[:-6] + "Z"
    origin = Origin(f"r{number}", stamp, "churn", "3", "live", 1.0, 1)
    return line(origin, 0, {"n": number}, {"value": 1}, hashed(KEY, subject))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = Cloud(region="us-east-1").client("s3")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


def put(s3: Any, key: str, *lines: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"".join(lines))


def every_byte(s3: Any) -> bytes:
    found = s3.list_object_versions(Bucket=BUCKET).get("Versions", [])
    return b"".join(
        s3.get_object(Bucket=BUCKET, Key=v["Key"], VersionId=v["VersionId"])["Body"].read()
        for v in found
    )


def test_rows_of_a_span_are_read_back(s3: Any) -> None:
    """By the row's own time, wherever the object lies; broken lines do not hide the others."""
    for hours in range(-3, 4):
        time = NOON + timedelta(hours=hours)
        late = time + timedelta(hours=20 if hours == 1 else 0)
        put(
            s3,
            f"{folder_of(ENDPOINT, 'live', late)}x.jsonl",
            row("c", time, hours),
            b"broken\n{}\n",
        )
    put(s3, f"{folder_of(ENDPOINT + '2', 'live', NOON)}x.jsonl", row("c", NOON, 99))
    found = rows_between(s3, BUCKET, ENDPOINT, NOON - timedelta(hours=1), NOON + timedelta(hours=2))

    inputs = [json.loads(r)["captureData"]["endpointInput"]["data"] for r in found]
    assert sorted(json.loads(data)["n"] for data in inputs) == [-1, 0, 1]


def test_an_erased_subject_is_in_no_byte(s3: Any) -> None:
    """Rows go from current objects, old versions and hidden ones; others stay; again finds none."""
    a, b, c, d = (f"{folder_of(ENDPOINT, 'live', NOON)}{n}.jsonl" for n in "abcd")
    put(s3, a, row("jane", NOON, 1), row("joe", NOON, 2), row("jane", NOON, 3))
    put(s3, b, row("jane", NOON, 4))
    put(s3, c, row("joe", NOON, 5))
    put(s3, d, row("jane", NOON, 6))
    put(s3, d, row("joe", NOON, 7))  # a rewriting that was cut short
    s3.delete_object(Bucket=BUCKET, Key=b)  # as a lifecycle rule hides an object
    jane, joe = hashed(KEY, "jane"), hashed(KEY, "joe")
    first = erase(s3, BUCKET, jane)
    again = erase(s3, BUCKET, jane)
    left = every_byte(s3)

    assert jane.encode() not in left
    assert left.count(joe.encode()) == 3
    assert (first.rows, first.versions_deleted) == (2, 4)
    assert (again.rows, again.versions_deleted, again.objects) == (0, 0, [])
    assert not s3.list_object_versions(Bucket=BUCKET, Prefix=b).get("DeleteMarkers")
    content = s3.get_object(Bucket=BUCKET, Key=a)["Body"].read()
    assert content == row("joe", NOON, 2)


@pytest.mark.parametrize("broken", range(1, 5))
def test_an_erasure_that_was_killed_is_finished_by_the_next(s3: Any, broken: int) -> None:
    """After whichever call it breaks, rows of others are all there, and the next run ends it."""
    for name in "ab":
        put(s3, f"{folder_of(ENDPOINT, 'live', NOON)}{name}", row("jane", NOON), row("joe", NOON))
    calls = 0

    def count(**_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == broken:
            raise KeyboardInterrupt

    for operation in ("PutObject", "DeleteObject"):
        s3.meta.events.register(f"after-call.s3.{operation}", count)
    with pytest.raises(KeyboardInterrupt):
        erase(s3, BUCKET, hashed(KEY, "jane"))
    erase(s3, BUCKET, hashed(KEY, "jane"))
    left = every_byte(s3)

    assert hashed(KEY, "jane").encode() not in left
    assert list(lines_of(left)) == [row("joe", NOON)] * 2


def test_the_log_is_searched_and_its_streams_deleted(s3: Any) -> None:
    """The log holds rows until its retention ends; streams without any stay."""
    logs = Cloud(region="us-east-1").client("logs")
    logs.create_log_group(logGroupName=GROUP)
    now = int(datetime.now(UTC).timestamp() * 1000)
    for stream, who in (("x", "jane"), ("y", "joe")):
        logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
        message = row(who, NOON).decode()
        logs.put_log_events(
            logGroupName=GROUP, logStreamName=stream,
            logEvents=[{"timestamp": now, "message": message}],
        )  # fmt: skip
    found = logged(logs, GROUP, hashed(KEY, "jane"))
    delete_streams(logs, GROUP, (*found.streams, "gone"))

    assert (found.lines, found.streams) == (1, ("x",))
    assert logged(logs, GROUP, hashed(KEY, "jane")).lines == 0
    assert logged(logs, GROUP, hashed(KEY, "joe")).lines == 1


def test_the_proof_names_nobody(s3: Any) -> None:
    """It lies outside of `capture/`, so that an erasure never reads it, under the hash's name."""
    digest = hashed(KEY, "jane")
    key = put_proof(s3, BUCKET, {"time": "2026-11-27T12:00:00Z", "subject": digest, "rows": 2})

    assert key.startswith("erasures/")
    assert "jane" not in key
    assert json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())["rows"] == 2


def test_times_are_given_as_such_or_as_spans() -> None:
    """A time without a zone is UTC's."""
    assert moment("2026-11-27", NOON) == NOON - timedelta(hours=12)
    assert moment("2026-11-27T13:00+01:00", NOON) == NOON
    assert moment("2h", NOON) == NOON - timedelta(hours=2)
    with pytest.raises(UsageError, match="not a span"):
        moment("yesterday", NOON)
