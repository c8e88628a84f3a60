"""The life of one asynchronous request, of which the bucket is the only memory.

    jobs/{id}/job.json         what was asked, by whom; written once, by `create`
    jobs/{id}/input/data.csv   what the caller uploads, by a form that S3 checks
    jobs/{id}/started-0001.json     `start` was called, and again when the run before was lost
    jobs/{id}/output/…         a batch run's parts and manifest
    jobs/{id}/failed.json      why the run ended without a manifest
    jobs/{id}/cancelled.json   `cancel` was called
    jobs/keys/{hash}.json      the job of an idempotency key

Whoever knows neither the id nor, where callers have an identity, is its caller, gets 404.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson

from fnmodel.serve.endpoint import Answer, Call
from fnmodel.serve.jobs.asked import Asked, owner, read
from fnmodel.serve.refusal import RefusalError

HOME = "jobs/"
_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_UPLOAD_SECONDS = 3600
_RESULT_SECONDS = 900
_MOST_LINKS = 100
_STARTED = "started-"
# Lambda tries an asynchronous event three times, and waits up to two minutes in between.
_ATTEMPTS, _PAUSES = 3, 240.0
_LOST = "the run ended without an answer; start it again"


class Store(Protocol):
    """The stage's bucket, as much of it as jobs need."""

    def get(self, key: str) -> bytes | None:
        """Return an object, or None where there is none."""

    def put(self, key: str, body: bytes) -> bool:
        """Write an object where there is none; returns whether it did."""

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """Return key and size of the objects below a prefix."""

    def form(self, key: str, media: str, most: int, seconds: int) -> dict[str, Any]:
        """Return `url` and `fields` of a form that uploads an object of at most so many bytes."""

    def link(self, key: str, seconds: int) -> str:
        """Return a URL that reads an object."""


@dataclass(frozen=True)
class Limits:
    """What a stage allows: formats, bytes of an upload, days that a job is kept, seconds of a run.

    The run's seconds are the function's own timeout.
    """

    formats: tuple[str, ...]
    bytes: int
    days: int
    timeout: float

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Limits | None":
        """Read FNMODEL_JOBS; None where a stage takes no jobs."""
        if not environ.get("FNMODEL_JOBS"):
            return None
        said = orjson.loads(environ["FNMODEL_JOBS"])
        return cls(tuple(said["formats"]), said["bytes"], said["days"], said["timeout"])


@dataclass(frozen=True)
class Jobs:
    """The four things that callers do with a job. `models` are the names that a job may be for."""

    models: frozenset[str]
    limits: Limits
    bucket: str
    store: Store
    invoke: Callable[[Mapping[str, Any]], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def create(self, call: Call) -> Answer:
        """Make a job, and say where its input is uploaded; the same idempotency key, the same job.

        Raises:
            RefusalError: 400, the body; 404, the model; 422, the key was used for something else.

        """
        model = call.path["model"]
        if model not in self.models:
            raise RefusalError(404, "there is no such model")
        asked = read(call, model, self.limits.formats)
        who = owner(call.gateway)
        job = secrets.token_urlsafe(24)
        key = call.headers.get(b"idempotency-key")
        if key is not None:
            job = self._once(key, who, asked, job)
        created = self.now()
        record = {"owner": who, "created": created.isoformat(), "asked": asked.as_json()}
        made = self.store.put(f"{HOME}{job}/job.json", orjson.dumps(record))
        answer = self._told(job, self._record(job) if not made else record)
        return Answer(
            orjson.dumps(answer),
            201 if made else 200,
            extra={"location": f"/models/{model}/jobs/{job}"},
        )

    def start(self, call: Call) -> Answer:
        """Score what was uploaded; may be called again, and has its effect once.

        A job whose run was lost goes on behind its last part.

        Raises:
            RefusalError: 404, there is no such job; 409, nothing was uploaded, or it is cancelled;
                413, the upload is too large.

        """
        job, record = self._found(call)
        state = self._state(job)
        if state["status"] == "cancelled":
            raise RefusalError(409, "this job was cancelled")
        lost = state.get("error") == _LOST
        if state["status"] in ("succeeded", "failed") and not lost:
            return Answer.of(self._told(job, record))
        asked = Asked(**record["asked"])
        uploaded = dict(self.store.list(f"{HOME}{job}/input/"))
        size = uploaded.get(self._input(job, asked))
        if size is None:
            raise RefusalError(409, "nothing was uploaded yet; send the input by `upload` first")
        if size > self.limits.bytes:
            raise RefusalError(413, f"the input has {size:,} bytes; {self.limits.bytes:,} may be")
        if state["status"] != "running":
            number = len(self.store.list(f"{HOME}{job}/{_STARTED}")) + 1
            at = orjson.dumps({"at": self.now().isoformat()})
            self.store.put(f"{HOME}{job}/{_STARTED}{number:04d}.json", at)
        self.invoke(self._event(job, record, asked))
        return Answer.of(self._told(job, record), status=202)

    def status(self, call: Call) -> Answer:
        """Say how far a job is, and where its results are.

        Raises:
            RefusalError: 404, there is no such job.

        """
        return Answer.of(self._told(*self._found(call)))

    def cancel(self, call: Call) -> Answer:
        """Stop a job; one that is over stays as it is.

        Raises:
            RefusalError: 404, there is no such job.

        """
        job, record = self._found(call)
        if self._state(job)["status"] not in ("succeeded", "failed"):
            self.store.put(
                f"{HOME}{job}/cancelled.json", orjson.dumps({"at": self.now().isoformat()})
            )
        return Answer.of(self._told(job, record))

    def _once(self, key: bytes, who: str, asked: Asked, job: str) -> str:
        """Return the job of an idempotency key: this one, or the one that has it already."""
        name = hashlib.sha256(b"\0".join([who.encode(), asked.model.encode(), key])).hexdigest()
        entry = {"job": job, "asked": asked.as_json()}
        if self.store.put(f"{HOME}keys/{name}.json", orjson.dumps(entry)):
            return job
        known = orjson.loads(self.store.get(f"{HOME}keys/{name}.json") or b"{}")
        if known.get("asked") != asked.as_json():
            raise RefusalError(422, "this idempotency key was used for another request")
        found: str = known["job"]
        return found

    def _found(self, call: Call) -> tuple[str, dict[str, Any]]:
        job = call.path["job"]
        record = self._record(job) if _ID.fullmatch(job) else {}
        theirs = record.get("owner") == owner(call.gateway)
        if not record or not theirs or record["asked"]["model"] != call.path["model"]:
            raise RefusalError(404, "there is no such job")
        return job, record

    def _record(self, job: str) -> dict[str, Any]:
        stored = self.store.get(f"{HOME}{job}/job.json")
        found: dict[str, Any] = orjson.loads(stored) if stored else {}
        return found

    def _told(self, job: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a job as callers see it."""
        asked = Asked(**record["asked"])
        state = self._state(job)
        created = datetime.fromisoformat(record["created"])
        at = f"/models/{asked.model}/jobs/{job}"
        told: dict[str, Any] = {
            "id": job,
            "model": asked.model,
            **state,
            "created": record["created"],
            "expires": (created + timedelta(days=self.limits.days)).isoformat(),
            "links": {"self": at, "start": f"{at}/start", "cancel": f"{at}/cancel"},
        }
        if state["status"] == "waiting":
            key, media = self._input(job, asked), asked.media
            form = self.store.form(key, media, self.limits.bytes, _UPLOAD_SECONDS)
            told["upload"] = {"method": "POST", "max_bytes": self.limits.bytes, **form}
        return told

    def _state(self, job: str) -> dict[str, Any]:
        """Return the status and what belongs to it."""
        home = f"{HOME}{job}/"
        keys = [key for key, _ in self.store.list(home)]
        manifest = next((key for key in keys if key.endswith("/manifest.json")), None)
        if manifest is not None:
            return self._over(orjson.loads(self.store.get(manifest) or b"{}"))
        if f"{home}cancelled.json" in keys:
            return {"status": "cancelled"}
        if f"{home}failed.json" in keys:
            said = orjson.loads(self.store.get(f"{home}failed.json") or b"{}")
            return {"status": "failed", "error": said.get("error", "")}
        starts = [key for key in keys if key.startswith(f"{home}{_STARTED}")]
        if not starts:
            return {"status": "waiting"}
        said = orjson.loads(self.store.get(max(starts)) or b"{}")
        since = (self.now() - datetime.fromisoformat(said["at"])).total_seconds()
        if since > _ATTEMPTS * self.limits.timeout + _PAUSES:
            return {"status": "failed", "error": _LOST}
        return {"status": "running", "parts": sum("/receipts/" in key for key in keys)}

    def _over(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        parts = [part for one in manifest["inputs"] for part in one["parts"]]
        links = {"results": parts, "errors": manifest["errors"]}
        return {
            "status": manifest["status"],
            "totals": manifest["totals"],
            **{
                name: [self.store.link(key, _RESULT_SECONDS) for key in keys[:_MOST_LINKS]]
                for name, keys in links.items()
            },
        }

    def _input(self, job: str, asked: Asked) -> str:
        return f"{HOME}{job}/input/data.{asked.format}"

    def _event(self, job: str, record: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
        home = f"{HOME}{job}/"
        return {
            "fnmodel": "batch",
            "step": "request",
            "home": home,
            "event": {
                "fnmodel": "batch",
                "job": "request",
                "bucket": self.bucket,
                "input": f"{home}input/",
                "output": f"{home}output/",
                "scheduled_time": record["created"],
                "schedule_arn": f"request/{job}",
                **asked.as_json(),
            },
        }
