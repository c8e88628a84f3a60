"""Asynchronous requests: made, uploaded, started, watched, cancelled, each by its caller."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fnmodel.batch.job import JobRequest
from fnmodel.serve.endpoint import Call
from fnmodel.serve.jobs.jobs import Jobs, Limits
from fnmodel.serve.refusal import RefusalError

NOW = datetime(2026, 3, 12, 6, tzinfo=UTC)
LIMITS = Limits(("csv", "jsonl"), 1000, 7, 60)


@dataclass
class Memory:
    """A bucket in memory, as jobs see it."""

    contents: dict[str, bytes] = field(default_factory=dict)

    def get(self, key: str) -> bytes | None:
        """As `Store.get`."""
        return self.contents.get(key)

    def put(self, key: str, body: bytes) -> bool:
        """As `Store.put`."""
        return self.contents.setdefault(key, body) is body

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """As `Store.list`."""
        return [(k, len(v)) for k, v in sorted(self.contents.items()) if k.startswith(prefix)]

    def form(self, key: str, media: str, most: int, seconds: int) -> dict[str, Any]:
        """Return what the form asks for."""
        fields = {"key": key, "Content-Type": media, "most": most, "seconds": seconds}
        return {"url": "https://bucket", "fields": fields}

    def link(self, key: str, seconds: int) -> str:
        """As `Store.link`."""
        return f"https://bucket/{key}?{seconds}"


class World:
    """A stage with one model, its bucket, and the events that it sends to itself."""

    def __init__(self) -> None:
        self.store = Memory()
        self.events: list[Mapping[str, Any]] = []
        self.moment = NOW
        self.jobs = Jobs(
            frozenset({"churn"}), LIMITS, "bucket", self.store, self.events.append,
            now=lambda: self.moment,
        )  # fmt: skip

    def make(self, body: Any = None, key: str = "", who: str = "") -> dict[str, Any]:
        """Make a job."""
        found: dict[str, Any] = json.loads(self.jobs.create(call(body, key=key, who=who)).body)
        return found

    def upload(self, job: Mapping[str, Any], body: bytes = b"id\n1\n") -> None:
        """Put a job's input where its form would."""
        self.store.contents[job["upload"]["fields"]["key"]] = body

    def status(self, job: str, who: str = "") -> dict[str, Any]:
        """Look for a job."""
        found: dict[str, Any] = json.loads(self.jobs.status(call(job=job, who=who)).body)
        return found


def call(body: Any = None, *, job: str = "", key: str = "", who: str = "") -> Call:
    """Return a call as API Gateway passes it on; `who` is a key's id."""
    headers = {b"idempotency-key": key.encode()} if key else {}
    gateway = {"authorizer": {"lambda": {"key": who}}} if who else {}
    raw = b"" if body is None else json.dumps(body).encode()
    return Call({"model": "churn", "job": job}, headers, raw, gateway=gateway)


def refused(status: int, text: str | None = None) -> Any:
    """Expect a refusal."""
    return pytest.raises(RefusalError, match=text, check=lambda error: error.status == status)


def test_a_job_from_its_request_to_its_results() -> None:
    """It waits for its upload, runs as a batch run of its own prefix, and links to its results."""
    world = World()
    job = world.make({"format": "csv", "results": "jsonl", "error_budget": 0.5})
    assert (job["status"], job["upload"]["fields"]["most"]) == ("waiting", 1000)
    with refused(409, "nothing was uploaded"):
        world.jobs.start(call(job=job["id"]))
    world.upload(job)
    answer = world.jobs.start(call(job=job["id"]))

    assert (answer.status, json.loads(answer.body)["status"]) == (202, "running")
    [event] = world.events
    request = JobRequest.from_event(event["event"])
    assert (request.results_format, request.error_budget) == ("jsonl", 0.5)
    assert job["upload"]["fields"]["key"].startswith(request.input)

    folder = request.folder("0123")
    world.store.contents[f"{folder}receipts/00000-000000000000.json"] = b"{}"
    assert world.status(job["id"])["parts"] == 1
    manifest = {"status": "succeeded", "totals": {"rows": 1, "scored": 1, "errors": 0},
                "inputs": [{"parts": [f"{folder}part-0.jsonl"]}], "errors": []}  # fmt: skip
    world.store.contents[f"{folder}manifest.json"] = json.dumps(manifest).encode()
    done = world.status(job["id"])
    assert (done["status"], done["totals"]["rows"]) == ("succeeded", 1)
    assert done["results"] == [f"https://bucket/{folder}part-0.jsonl?900"]
    assert done["errors"] == []
    assert "upload" not in done
    assert done["expires"] == (NOW + timedelta(days=7)).isoformat()


def test_started_twice() -> None:
    """Each start sends the same event, whose run has its effect once."""
    world = World()
    job = world.make()
    world.upload(job)
    for _ in range(2):
        world.jobs.start(call(job=job["id"]))

    assert world.events[0] == world.events[1]


def test_an_idempotency_key() -> None:
    """The same key gives the same job, to the same caller; another request under it is 422."""
    world = World()
    first = world.make({"format": "csv"}, key="a", who="anna")

    assert world.make({"format": "csv"}, key="a", who="anna")["id"] == first["id"]
    assert world.make({"format": "csv"}, key="a", who="bert")["id"] != first["id"]
    assert world.make({"format": "csv"}, key="b", who="anna")["id"] != first["id"]
    with refused(422):
        world.make({"format": "jsonl"}, key="a", who="anna")


def test_a_key_whose_job_was_not_written() -> None:
    """A request that was killed behind the key's entry makes that very job when it comes again."""
    world = World()
    first = world.make(key="a")
    del world.store.contents[f"jobs/{first['id']}/job.json"]

    assert world.make(key="a")["id"] == first["id"]


@pytest.mark.parametrize("action", ["status", "start", "cancel"])
@pytest.mark.parametrize("job", ["", "x" * 32, "../keys", "a" * 31 + "/"])
def test_ids_that_nobody_was_told(action: str, job: str) -> None:
    """An id that is none is 404, whatever is in it."""
    with refused(404):
        getattr(World().jobs, action)(call(job=job))


@pytest.mark.parametrize("action", ["status", "start", "cancel"])
def test_a_job_is_its_callers_own(action: str) -> None:
    """Another caller, or none, gets what a caller gets of a job that is not there."""
    world = World()
    job = world.make(who="anna")
    world.upload(job)

    for other in ("bert", ""):
        with refused(404, "there is no such job"):
            getattr(world.jobs, action)(call(job=job["id"], who=other))
    assert getattr(world.jobs, action)(call(job=job["id"], who="anna")).status < 300


def test_roles_own_jobs_not_sessions() -> None:
    """The sessions of a role are one caller; users are themselves, and claims are told apart."""
    from fnmodel.serve.jobs.asked import owner

    role = "arn:aws:sts::123456789012:assumed-role/Scorer"
    callers = [
        {"iam": {"userArn": f"{role}/one"}}, {"iam": {"userArn": f"{role}/two"}},
        {"iam": {"userArn": "arn:aws:iam::123456789012:user/anna"}},
        {"jwt": {"claims": {"iss": "a", "sub": "b"}}},
        {"jwt": {"claims": {"iss": "b", "sub": "b"}}},
        {"lambda": {"key": "k"}}, None,
    ]  # fmt: skip
    found = [owner({"authorizer": one} if one else {}) for one in callers]

    assert found[0] == found[1] == f"iam {role}"
    assert len(set(found)) == len(found) - 1
    assert found[-1] == ""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"format": "parquet"}, "'format' must be one of csv, jsonl"),
        ({"results": 1, "more": 2}, "unknown field 'more'; 'results' must be"),
        ({"error_budget": True}, "from 0 to 1"),
    ],
)
def test_what_cannot_be_asked(body: Any, text: str) -> None:
    """All that is wrong is said at once, and nothing is written."""
    world = World()
    with refused(400, text):
        world.make(body)
    assert not world.store.contents


def test_an_upload_that_is_too_large() -> None:
    """S3's form refuses it; if it gets there by another way, `start` does."""
    world = World()
    job = world.make()
    world.upload(job, b"x" * 1001)

    with refused(413):
        world.jobs.start(call(job=job["id"]))
    assert not world.events


def test_cancel() -> None:
    """A job that waits or runs can be cancelled and is not started; one that is over stays so."""
    world = World()
    job = world.make()
    world.upload(job)
    assert json.loads(world.jobs.cancel(call(job=job["id"])).body)["status"] == "cancelled"
    with refused(409, "cancelled"):
        world.jobs.start(call(job=job["id"]))

    other = world.make()
    world.store.contents[f"jobs/{other['id']}/failed.json"] = b'{"error": "no such column"}'
    told = json.loads(world.jobs.cancel(call(job=other["id"])).body)
    assert (told["status"], told["error"]) == ("failed", "no such column")


def test_a_run_that_never_answers() -> None:
    """When all of Lambda's attempts must be over, a job does not look as if it still ran."""
    world = World()
    job = world.make()
    world.upload(job)
    world.jobs.start(call(job=job["id"]))
    world.moment = NOW + timedelta(seconds=3 * 60 + 239)
    assert world.status(job["id"])["status"] == "running"
    world.moment += timedelta(seconds=2)
    assert world.status(job["id"])["status"] == "failed"

    # As its error says, it can be started again: the same event, with all of the time once more.
    answer = world.jobs.start(call(job=job["id"]))
    assert (answer.status, json.loads(answer.body)["status"]) == (202, "running")
    assert len(world.events) == 2
    assert world.events[0] == world.events[1]
    world.moment += timedelta(seconds=3 * 60 + 241)
    assert world.status(job["id"])["status"] == "failed"


def test_started_when_it_is_over() -> None:
    """A job that is over is not run again; the answer is the job as everywhere."""
    world = World()
    job = world.make()
    world.store.contents[f"jobs/{job['id']}/failed.json"] = b'{"error": "no such column"}'
    answer = world.jobs.start(call(job=job["id"]))

    assert answer.status == 200
    assert json.loads(answer.body) == world.status(job["id"])
    assert not world.events
