"""A bucket in memory and a run on it, for the tests of batch."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from serve_cases import EVENTS, predictor

from fnmodel.batch.job import JobRequest
from fnmodel.batch.run import Model, run
from fnmodel.batch.work import Host
from fnmodel.testing.objects import InMemoryObjects

EVENT = json.loads((EVENTS / "batch.json").read_bytes())
MODEL = Model("churn", "3", "sha256:0123")
HEADER = "id,age,income,plan,visits\n"


def start(
    objects: InMemoryObjects, name: str = "mixed", host: Host | None = None, **event: Any
) -> dict[str, Any]:
    """Run the nightly job, whose clock gives each question another day."""
    moments = iter(days())
    request = JobRequest.from_event(EVENT | {"error_budget": 1} | event)
    host = host or Host(clock=lambda: next(moments))
    return run(request, objects, predictor(name), model=MODEL, host=host)


def days() -> Iterator[datetime]:
    day = datetime(2026, 3, 12, 6, tzinfo=UTC)
    while True:
        yield day
        day += timedelta(days=1)


def bucket(**contents: str | bytes) -> InMemoryObjects:
    """Return a bucket with these CSV objects below incoming/."""
    return holding(
        **{f"incoming/{name}.csv": content for name, content in contents.items()}  # type: ignore[arg-type]
    )


def holding(**contents: str | bytes) -> InMemoryObjects:
    """Return a bucket with these objects."""
    objects = InMemoryObjects()
    for key, content in contents.items():
        objects.contents[key] = content if isinstance(content, bytes) else content.encode()
    return objects


def table(objects: InMemoryObjects, key: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(objects.contents[key].decode(), newline="")))


def results(objects: InMemoryObjects) -> dict[str, bytes]:
    """Return what a run wrote; the lease is not its own."""
    return {
        key: body
        for key, body in objects.contents.items()
        if key.startswith("scored/") and not key.endswith("lease.json")
    }


class Killed(BaseException):
    """The process ends here."""
