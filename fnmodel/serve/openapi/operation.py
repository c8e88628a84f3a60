"""One operation of the document: what it takes, what it answers, and every way it may refuse."""

from dataclasses import dataclass, field
from typing import Any

from fnmodel.serve.body import LIMIT
from fnmodel.serve.openapi.schema import TEXT, Schema, obj, ref

JSON, BINARY = "application/json", "application/octet-stream"

PathItem = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A group of paths, the tag that it goes by, and the schemas that are its own.

    A page shows a `folded` one when it is asked to.
    """

    tag: str
    about: str
    paths: dict[str, PathItem]
    schemas: dict[str, Schema] = field(default_factory=dict)
    folded: bool = False


def get(operation: str, summary: str, schema: Schema, example: Any, *, loaded: bool) -> PathItem:
    """Return a path that is read; one that needs the model `loaded` may be 503."""
    answer = {"schema": schema, "example": example}
    statuses = ("503",) if loaded else ()
    return {"get": operation_of(operation, summary, {JSON: answer}, statuses)}


def post(operation: str, summary: str, request: Schema, answer: Schema, example: Any) -> PathItem:
    """Return a path that takes JSON; `example` is a request and its answer, or None."""
    asked: dict[str, Any] = {"schema": request}
    given: dict[str, Any] = {"schema": answer}
    if example is not None:
        asked["examples"], given["examples"] = (
            {"typical": {"summary": text, "value": value}}
            for text, value in zip(
                ("Values as they are common in training", "What this model answers to it"),
                example,
                strict=True,
            )
        )
    made = operation_of(operation, summary, {JSON: given}, _OF_ROWS)
    body = {
        "required": True,
        "description": f"At most {LIMIT:,} bytes, compressed by gzip or deflate or not.",
        "content": {JSON: asked},
    }
    return {"post": {**made, "requestBody": body}}


def renamed(item: PathItem, operation: str) -> PathItem:
    """Return the same path under another operation's name."""
    return {method: {**value, "operationId": operation} for method, value in item.items()}


_OF_ROWS = ("400", "413", "415", "503", "504", "507")
# What any path may answer, in front of the model and behind it.
_ALWAYS = ("429", "500")
_FAILURES = {
    "400": "The request does not fit the model; the text says what to mend.",
    "401": "No credentials, or a token that is not good.",
    "403": "Credentials that are not good here, or a key without the scope.",
    "404": "There is no model of the name that a header or the path has.",
    "406": "Accept names no type that answers are written in.",
    "409": "Not as the job is now; the text says what is missing.",
    "413": "The request or its answer is too large; send fewer rows, or use batch.",
    "415": "The body is of a type or a compression that is not read.",
    "422": "The idempotency key was used for another request.",
    "429": "Too many requests; come again when `retry-after` says.",
    "500": "The model failed; its log has the reason under `x-request-id`.",
    "503": "The model is not loaded, or there is no room for the request; try again.",
    "504": "The model was stopped, since its answer would have come too late.",
    "507": "The model asks for more memory than there is.",
}
_BY_GATEWAY = frozenset({"401", "403", "429", "500", "503"})
_BY_DIALECTS = frozenset({"404", "406", "409", "422"})
_RETRIED = frozenset({"429", "503"})
DOORS = ("401", "403")
"""What a path answers where callers have to say who they are."""

HEADERS: dict[str, Schema] = {
    "x-model-version": {"description": "The version that answered.", "schema": TEXT},
    "x-request-id": {"description": "Names this request in the log.", "schema": TEXT},
    "x-correlation-id": {
        "description": "The caller's own id, given back where one was sent.", "schema": TEXT,
    },
    "retry-after": {
        "description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}
    },
}  # fmt: skip
PARAMETERS: dict[str, Schema] = {
    "correlation": {
        "name": "x-correlation-id", "in": "header", "required": False,
        "description": "An id of the caller's, for the log; it is given back.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._=:/+-]{1,128}$"},
    },
    "traceparent": {
        "name": "traceparent", "in": "header", "required": False,
        "description": "The caller's trace, by W3C Trace Context.",
        "schema": {"type": "string"},
    },
}  # fmt: skip
SCHEMAS: dict[str, Schema] = {
    "Error": obj({"error": {"type": "string", "description": "What is wrong."}}, "error"),
    "GatewayError": {
        "description": "What API Gateway says in front of the model.",
        **obj({"message": {"type": ["string", "null"]}}, "message"),
    },
}


def failures(*, doors: bool) -> dict[str, Any]:
    """Return the answers that operations refer to; `doors` where callers say who they are."""
    return {
        _name(status): failure(status, ref("Error"))
        for status in _FAILURES
        if status not in _BY_DIALECTS and (doors or status not in DOORS)
    }


def operation_of(
    operation: str, summary: str, content: dict[str, Any], statuses: tuple[str, ...]
) -> dict[str, Any]:
    """Return an operation that answers `content`, and the ways in which it may refuse."""
    good = {
        "description": "The answer.",
        "headers": _headers("x-model-version", "x-request-id", "x-correlation-id"),
        "content": content,
    }
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in PARAMETERS],
        "responses": {"200": good, **refused(*sorted({*statuses, *_ALWAYS}))},
    }


def refused(*statuses: str) -> dict[str, Any]:
    """Return references to the answers of these statuses."""
    return {status: {"$ref": f"#/components/responses/{_name(status)}"} for status in statuses}


def failure(status: str, own: Schema) -> dict[str, Any]:
    """Return the answer of a status, whose body is `own` or, in front of it, API Gateway's."""
    gateway = ref("GatewayError")
    both = {"anyOf": [own, gateway]} if status in _BY_GATEWAY else own
    names = ["x-request-id", "x-model-version"]
    if status in _RETRIED:
        names.append("retry-after")
    content = {JSON: {"schema": both}}
    return {"description": _FAILURES[status], "headers": _headers(*names), "content": content}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _name(status: str) -> str:
    return f"Status{status}"
