"""Runs of batch jobs as the commands see them: events, attempts, progress, what is missed."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

from fnmodel.cli import objects
from fnmodel.cli.estimate import span
from fnmodel.errors import BatchError
from fnmodel.schedule import times
from fnmodel.units import Passing

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace
    from fnmodel.config import BatchJob

MANUAL = "manual"
"""Stands for the schedule in runs that a person starts."""

_LOOK = 2.0
_TIME = "%Y%m%dT%H%M%SZ"


def schedule_arn(alias_arn: str, group: str, job: str) -> str:
    """Return the ARN of a job's schedule; `alias_arn` is in the same account and region."""
    _, partition, _, region, account, *_ = alias_arn.split(":")
    return f"arn:{partition}:scheduler:{region}:{account}:schedule/{group}/{job}"


def missed(
    job: "BatchJob", start: datetime, end: datetime, runs: Iterable[Mapping[str, Any]]
) -> list[datetime]:
    """Return the scheduled times from `start` to `end` that no run has finished or skipped."""
    assert job.schedule is not None
    done = {datetime.fromisoformat(run["scheduled_time"]) for run in runs}
    return [
        moment for moment in times(job.schedule, job.timezone, start, end) if moment not in done
    ]


_MOST_MISSED = 100


def missed_lately(
    job: "BatchJob", runs: Sequence[Mapping[str, Any]], now: datetime
) -> list[datetime]:
    """Return the last scheduled times without a run, of those that no run can begin for any more.

    They count from the first time that has a run. Of `rate(…)`, only AWS knows when its times are.
    """
    done = {datetime.fromisoformat(run["scheduled_time"]) for run in runs}
    if job.schedule is None or job.schedule.startswith("rate") or not done:
        return []
    end = now - timedelta(minutes=job.late + job.window)
    since = dropwhile(
        lambda one: one not in done, times(job.schedule, job.timezone, min(done), end)
    )
    return [moment for moment in since if moment not in done][-_MOST_MISSED:]


def unfinished(
    requests: Iterable[Mapping[str, Any]], runs: Iterable[Mapping[str, Any]]
) -> list[Any]:
    """Return the events of runs that have begun and have no success to show, newest first."""
    done = {run["scheduled_time"] for run in runs if run["status"] == "succeeded"}
    open_ = {event["scheduled_time"]: event for event in requests}
    return [open_[moment] for moment in sorted(open_.keys() - done, reverse=True)]


@dataclass
class Progress:
    """How far a run is; `bytes` are those of the inputs that are done, of `size` altogether."""

    rows: int = 0
    bytes: int = 0
    size: int = 0

    def text(self, seconds: float) -> str:
        """Say it with rate and the time that is left."""
        rate = self.rows / seconds if seconds else 0.0
        left = seconds * (self.size - self.bytes) / self.bytes if self.bytes else None
        return f"{self.rows:,} rows, {rate:,.0f} rows/s" + (
            f", about {span(left)} left" if left else ""
        )


def follow(receipts: Iterable[Mapping[str, Any]], sizes: Sequence[int]) -> Progress:
    """Add up the receipts of a run whose inputs have these sizes."""
    progress = Progress(size=sum(sizes))
    for one in receipts:
        progress.rows += one["rows"]
        if one["last"] and one["input"] < len(sizes):
            progress.bytes += sizes[one["input"]]
    return progress


def attempt(
    work: "Workspace",
    job: "BatchJob",
    event: Mapping[str, Any],
    sizes: Sequence[int],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Run an event until it is done, in as many attempts as it takes; returns its manifest.

    Raises:
        BatchError: an attempt failed without a manifest, or came no further than the one before.

    """
    client = work.cloud.client("lambda", wait=work.function.timeout + 30)
    moment = datetime.fromisoformat(event["scheduled_time"])
    prefix = f"{job.home}{moment:{_TIME}}-"
    before = -1
    while True:
        with _Watched(work, prefix, sizes, progress):
            answer = objects.invoke(client, f"{work.name}:live", event)
            if isinstance(answer, dict) and "execution" in answer:
                answer = _ended(work.client("stepfunctions"), answer["execution"])
        found = _manifest(work, prefix, answer)
        if found is not None:
            return found
        said = answer if isinstance(answer, dict) else {}
        receipts = len([*_keys(work, prefix, "receipts/")])
        if said.get("errorType") != "UnfinishedError" or receipts <= before:
            raise BatchError(
                f"{job.name}: {said.get('errorMessage', answer)}",
                hint=f"`fnmodel batch logs {job.name}` shows what it said",
            )
        before = receipts
        progress("out of time; going on behind the last part")


def _ended(client: Any, execution: str) -> dict[str, Any]:
    """Wait for an execution that scores a run, and return what it said, as an answer of Lambda."""
    while True:
        found = objects.described(client, execution)
        if found["status"] != "RUNNING":
            break
        time.sleep(_LOOK)
    if found["status"] == "SUCCEEDED":
        said: dict[str, Any] = json.loads(found["output"])
        return said
    cause = found.get("cause", found["status"])
    try:
        failure = json.loads(cause)
    except ValueError:
        failure = {"errorMessage": cause}
    return {"errorType": found.get("error", ""), "errorMessage": failure.get("errorMessage", cause)}


def _manifest(work: "Workspace", prefix: str, answer: Any) -> dict[str, Any] | None:
    """Return the manifest of a run; of one that failed or is long it is only in the bucket."""
    if isinstance(answer, dict) and "inputs" in answer:
        return answer
    bucket = work.stack.outputs["Bucket"]
    wanted = answer.get("run_id") if isinstance(answer, dict) else None
    for manifest in objects.manifests(work.client("s3"), bucket, prefix):
        if wanted in (None, manifest["run_id"]) and manifest["run_id"] != "skipped":
            return manifest
    return None


def _keys(work: "Workspace", prefix: str, part: str) -> Iterator[str]:
    bucket = work.stack.outputs["Bucket"]
    return (key for key in objects.keys(work.client("s3"), bucket, prefix) if f"/{part}" in key)


class _Watched:
    """Shows the receipts of a run while the block waits for its answer; on a terminal only."""

    def __init__(
        self,
        work: "Workspace",
        prefix: str,
        sizes: Sequence[int],
        progress: Callable[[str], None],
    ) -> None:
        self._work = work
        self._prefix = prefix
        self._sizes = sizes
        self._progress = progress
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._seen: dict[str, Any] = {}

    def __enter__(self) -> None:
        if self._work.console.live:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        client, bucket = self._work.client("s3"), self._work.stack.outputs["Bucket"]
        began = time.monotonic()
        while not self._over.wait(_LOOK):
            for key in _keys(self._work, self._prefix, "receipts/"):
                if key not in self._seen:
                    self._seen[key] = objects.read_json(client, bucket, key)
            progress = follow(self._seen.values(), self._sizes)
            self._progress(Passing(progress.text(time.monotonic() - began)))
