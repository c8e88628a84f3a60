"""What is known of each request once it is answered, and the id that names it."""

import os
import re
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_SANE = re.compile(r"[A-Za-z0-9._=:/+-]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_XRAY = re.compile(r"Root=(1-[0-9a-f]{8}-[0-9a-f]{24})")

Clock = Callable[[], float]
"""Seconds since any fixed moment."""

Report = Callable[[dict[str, Any]], None]
"""Gets one record a request: method, path, status, latency_ms, rows, request_id; what `traced`
finds, and the sizes; `model` where an image names its models and the path is one's; and, of an
error that is ours, `exception`."""


def request_id(event: Mapping[str, Any], context: Any, header: str | None) -> str:
    """Return API Gateway's request id, else Lambda's, else the caller's, else a new one."""
    known = (
        (event.get("requestContext") or {}).get("requestId"),
        getattr(context, "aws_request_id", None),
        header,
    )
    for candidate in known:
        if isinstance(candidate, str) and _SANE.fullmatch(candidate):
            return candidate
    return str(uuid.uuid4())


def record(
    method: str, path: str, status: int, seconds: float, rows: int, identity: str
) -> dict[str, Any]:
    """Return the record of a request that took `seconds`."""
    return {
        "method": method,
        "path": path,
        "status": status,
        "latency_ms": round(seconds * 1000, 3),
        "rows": rows,
        "request_id": identity,
    }


def alias_of(context: Any) -> str:
    """Return the alias that Lambda was asked for; empty for a version, and outside Lambda."""
    return _alias(getattr(context, "invoked_function_arn", ""))


@lru_cache(maxsize=8)
def _alias(arn: str) -> str:
    parts = arn.split(":")
    alias = parts[7] if len(parts) == 8 else ""
    return "" if alias.isdigit() or alias == "$LATEST" else alias


def correlation_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the caller's `x-correlation-id`, if it is one that a log can hold."""
    given = headers.get(b"x-correlation-id")
    if given is None:
        return None
    text = given.decode("latin-1")
    return text if _SANE.fullmatch(text) else None


def traced(context: Any, headers: Mapping[bytes, bytes], identity: str) -> dict[str, str]:
    """Return what joins a request's record with those of other services.

    `correlation_id` is the caller's, else the trace's, else the request's; `trace_id` is that of
    the W3C header, else X-Ray's; `alias` and `function_request_id` are Lambda's. What is not known
    is left out.
    """
    given = headers.get(b"traceparent")
    parent = given and _TRACEPARENT.fullmatch(given.decode("latin-1"))
    trace = parent or _XRAY.match(os.environ.get("_X_AMZN_TRACE_ID", ""))
    known = {"correlation_id": correlation_id(headers) or (parent[1] if parent else identity)}
    if trace:
        known["trace_id"] = trace[1]
    if alias := alias_of(context):
        known["alias"] = alias
    if request := getattr(context, "aws_request_id", None):
        known["function_request_id"] = request
    return known


def echoed(headers: Mapping[bytes, bytes], known: Mapping[str, str]) -> dict[str, str]:
    """Return the header that gives a caller its correlation id back, if it sent one."""
    if b"x-correlation-id" not in headers:
        return {}
    return {"x-correlation-id": known["correlation_id"]}


def failure(identity: str) -> str:
    """Return what a caller reads where the model failed."""
    return f"the model failed; its log has the reason under {identity}"
