"""Captured rows in the stage's bucket: read for a span of time, and erased for a subject."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fnmodel.aws import translated
from fnmodel.capture.line import PREFIX, folder_of, lines_of, time_of

PROOFS = "erasures/"

# An object is filed under the hour in which its first row arrived: at once, or, where a delivery
# was retried, up to a day after the row was captured.
_LATE = timedelta(hours=25)


def rows_between(
    client: Any, bucket: str, endpoint: str, since: datetime, until: datetime
) -> Iterator[bytes]:
    """Yield the lines of rows that were captured in [since, until), in the order of arrival.

    Lines that are no rows, of which nobody knows when they were written, are left out.
    """
    low, high = time_of(since), time_of(until)
    # An object's key goes on where that of its hour's folder ends, so it sorts after it.
    first = folder_of(endpoint, "live", since)
    last = folder_of(endpoint, "live", until + _LATE)
    with translated():
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{PREFIX}{endpoint}/live/", StartAfter=first
        ):
            for item in page.get("Contents", ()):
                if item["Key"] > last + "~":
                    return
                content = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                for line in lines_of(content):
                    if low <= _time(line) < high:
                        yield line


@dataclass
class Erased:
    """What an erasure found and did; the subject stands in it as its keyed hash only."""

    subject: str
    rows: int = 0
    objects: list[dict[str, Any]] = field(default_factory=list)
    versions_deleted: int = 0
    objects_read: int = 0


def erase(
    client: Any, bucket: str, subject: str, progress: Callable[[str], None] = lambda _: None
) -> Erased:
    """Take a subject's rows out of every version of every object below `capture/`.

    A new object is written first, then the versions that held the rows are deleted: repeated after
    a break, it goes on. `subject` is a keyed hash.
    """
    done = Erased(subject)
    mark = f'"subject":"{subject}"'.encode()
    with translated():
        for key, versions in _versions(client, bucket):
            progress(key)
            _erase_one(client, bucket, key, versions, mark, done)
    return done


def _erase_one(
    client: Any, bucket: str, key: str, versions: list[Any], mark: bytes, done: Erased
) -> None:
    guilty = []
    left = 0
    for version in versions:
        if "Size" not in version:
            continue  # a delete marker
        answer = client.get_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
        content = answer["Body"].read()
        done.objects_read += 1
        lines = list(lines_of(content))
        kept = [line for line in lines if mark not in line]
        if len(kept) == len(lines):
            left += 1
            continue
        if version["IsLatest"]:
            done.rows += len(lines) - len(kept)
            after = b"".join(kept)
            if kept:
                client.put_object(Bucket=bucket, Key=key, Body=after)
                left += 1
            done.objects.append(
                {
                    "key": key,
                    "rows": len(lines) - len(kept),
                    "sha256_before": hashlib.sha256(content).hexdigest(),
                    "sha256_after": hashlib.sha256(after).hexdigest() if kept else None,
                }
            )
        guilty.append(version["VersionId"])
    if guilty and not left:  # nothing is left that a delete marker could hide
        guilty += [version["VersionId"] for version in versions if "Size" not in version]
    for identity in guilty:
        client.delete_object(Bucket=bucket, Key=key, VersionId=identity)
        done.versions_deleted += 1


def _versions(client: Any, bucket: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield each key below `capture/` with its versions and delete markers."""
    found: dict[str, list[Any]] = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=PREFIX):
        for item in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            found.setdefault(item["Key"], []).append(item)
    yield from sorted(found.items())


@dataclass(frozen=True)
class Logged:
    """Lines of a subject that the function's log still holds, and the streams they stand in."""

    lines: int
    streams: tuple[str, ...]


def logged(client: Any, group: str, subject: str) -> Logged:
    """Find a subject's rows in the log, by which they came to the bucket."""
    lines = 0
    streams: dict[str, None] = {}
    with translated():
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=group, filterPattern=f'"{subject}"'
        )
        for page in pages:
            for event in page["events"]:
                # The emulator's patterns are looser than AWS's.
                if subject in event["message"]:
                    lines += 1
                    streams[event["logStreamName"]] = None
    return Logged(lines, tuple(streams))


def delete_streams(client: Any, group: str, streams: tuple[str, ...]) -> None:
    """Delete log streams; one that is gone is no error."""
    with translated():
        for stream in streams:
            try:
                client.delete_log_stream(logGroupName=group, logStreamName=stream)
            except client.exceptions.ResourceNotFoundException:
                continue


def put_proof(client: Any, bucket: str, proof: dict[str, Any]) -> str:
    """Keep the proof of an erasure in the bucket; return its key."""
    key = f"{PROOFS}{proof['time'].replace(':', '')}-{proof['subject'][2:18]}.json"
    with translated():
        client.put_object(Bucket=bucket, Key=key, Body=json.dumps(proof, indent=2).encode())
    return key


def _time(line: bytes) -> str:
    try:
        return str(json.loads(line)["eventMetadata"]["inferenceTime"])
    except (KeyError, TypeError, ValueError):
        return ""
