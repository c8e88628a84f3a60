"""Which scheduled jobs have not run for longer than their schedule allows.

A look knows nothing of time zones and calendars: it is told, for each job, how long after one
scheduled time the next one's run must be over. So it also notices a schedule that is off, an alias
that refuses, a function that is gone: whatever the reason, no manifest comes.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from fnmodel.batch.objects import ObjectStore, find
from fnmodel.errors import BatchError

WATCHED = "watched.json"
_RUN = re.compile(r"/(\d{8}T\d{6}Z)-[^/]+/manifest\.json$")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Watched:
    """A job's prefix of runs, and the seconds within which a run follows another."""

    job: str
    home: str
    within: float

    @classmethod
    def of(cls, said: Any) -> list[Self]:
        """Read the jobs of an event.

        Raises:
            BatchError: they cannot be understood.

        """
        try:
            return [cls(str(one["job"]), str(one["home"]), float(one["within"])) for one in said]
        except (TypeError, KeyError, ValueError) as error:
            raise BatchError(f"this event names no jobs to look for: {error!r}") from error


def overdue(
    jobs: Sequence[Watched], objects: ObjectStore, now: datetime
) -> list[tuple[Watched, datetime]]:
    """Return the jobs that are overdue, each with its last scheduled time that has a manifest.

    A job that has never run counts from the first look for it.
    """
    found = []
    for job in jobs:
        limit = timedelta(seconds=job.within)
        last = next(_runs(job, objects, now, limit), None) or _since(job, objects, now)
        if now - last > limit:
            found.append((job, last))
    return found


def _runs(
    job: Watched, objects: ObjectStore, now: datetime, limit: timedelta
) -> Iterator[datetime]:
    """Yield the newest time of each day that has a manifest, from today back."""
    for days in range(limit.days + 2):
        day = now.astimezone(UTC) - timedelta(days=days)
        listed = objects.list(f"{job.home}{day:%Y%m%d}")
        times = [match[1] for item in listed if (match := _RUN.search(item.key))]
        if times:
            yield datetime.strptime(max(times), _TIME).replace(tzinfo=UTC)


def _since(job: Watched, objects: ObjectStore, now: datetime) -> datetime:
    """Return when a job that has no run in reach was looked for first."""
    key = job.home + WATCHED
    body = json.dumps({"since": now.isoformat()}).encode()
    if objects.put(key, body, if_none_match=True):
        return now
    item = find(objects, key)
    if item is None:
        return now
    since = json.loads(objects.open(item.key, item.etag).read())["since"]
    return datetime.fromisoformat(since)
