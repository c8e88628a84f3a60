"""The paths of asynchronous requests."""

from typing import Any

from fnmodel.serve.openapi.described import Described
from fnmodel.serve.openapi.operation import JSON, Part, failure, operation_of, refused
from fnmodel.serve.openapi.schema import TEXT, Names, Schema, array, obj, ref

_TAG = "jobs"
_ABOUT = "Inputs too large for a request: make a job, upload by its form, start it, look for it."
_STATUSES = ("waiting", "running", "succeeded", "failed", "cancelled")


def jobs_part(model: Described, names: Names) -> Part:
    """Return the four paths of a model's jobs; none without named features."""
    if not model.predict_at:
        return Part(_TAG, _ABOUT, {})
    home = f"/models/{model.name}/jobs"
    make = _operation(names("makeJob"), "Make a job", ("400", "422"), good="201")
    make["requestBody"] = {"required": False, "content": {JSON: {"schema": ref("JobRequest")}}}
    make["parameters"] = [*make["parameters"], _KEY]
    look = _operation(names("job"), "How far a job is, and where its results are", ("404",))
    start = _operation(names("startJob"), "Score what was uploaded", _STARTS, good="202")
    cancel = _operation(names("cancelJob"), "Stop a job", ("404",))
    for one in (look, start, cancel):
        one["parameters"] = [*one["parameters"], _JOB]
    paths = {
        home: {"post": make},
        f"{home}/{{job}}": {"get": look},
        f"{home}/{{job}}/start": {"post": start},
        f"{home}/{{job}}/cancel": {"post": cancel},
    }
    return Part(_TAG, _ABOUT, paths, _schemas(), folded=True)


_STARTS = ("404", "409", "413")
_OWN = frozenset({"404", "409", "422"})
_KEY: Schema = {
    "name": "idempotency-key", "in": "header", "required": False, "schema": TEXT,
    "description": "The same key gives the same job, however often the request is sent.",
}  # fmt: skip
_JOB: Schema = {"name": "job", "in": "path", "required": True, "schema": TEXT}


def _operation(
    name: str, summary: str, statuses: tuple[str, ...], good: str = "200"
) -> dict[str, Any]:
    made = operation_of(name, summary, {JSON: {"schema": ref("Job")}}, ())
    responses = made["responses"]
    answers = {good: responses["200"], "200": responses["200"]}
    shared = tuple(status for status in (*statuses, "429", "500") if status not in _OWN)
    own = {status: failure(status, ref("Error")) for status in statuses if status in _OWN}
    made["responses"] = dict(sorted({**answers, **refused(*shared), **own}.items()))
    return made


def _schemas() -> dict[str, Schema]:
    kinds: Schema = {"enum": ["csv", "jsonl"]}
    urls = array({"type": "string", "format": "uri"})
    upload = obj(
        {"method": {"const": "POST"}, "url": TEXT, "fields": {"type": "object"},
         "max_bytes": {"type": "integer"}},
        "method", "url", "fields", "max_bytes",
    )  # fmt: skip
    upload["description"] = "A form: its fields, then the file as the field `file`."
    job = obj(
        {
            "id": TEXT,
            "model": TEXT,
            "status": {"enum": [*_STATUSES]},
            "created": {"type": "string", "format": "date-time"},
            "expires": {"type": "string", "format": "date-time"},
            "links": obj({"self": TEXT, "start": TEXT, "cancel": TEXT}),
            "upload": upload,
            "parts": {"type": "integer", "description": "Parts that are done."},
            "totals": {"type": "object", "description": "Rows, scored, errors."},
            "results": {**urls, "description": "Where results are, for 15 minutes."},
            "errors": {**urls, "description": "Where bad rows are listed, for 15 minutes."},
            "error": {"type": "string", "description": "Why the job failed."},
        },
        *("id", "model", "status", "created", "expires", "links"),
    )
    asked = obj(
        {
            "format": {**kinds, "description": "Of the input; the first that the stage takes."},
            "results": {**kinds, "description": "Of the results; as the input by default."},
            "error_budget": {"type": "number", "minimum": 0, "maximum": 1},
        },
        closed=True,
    )
    return {"Job": job, "JobRequest": asked}
