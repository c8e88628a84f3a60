"""What is known of each request once it is answered, and the id that names it."""

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

_SANE = re.compile(r"[A-Za-z0-9._=:/+-]{1,128}")

Clock = Callable[[], float]
"""Seconds since any fixed moment."""

Report = Callable[[dict[str, Any]], None]
"""Gets one record a request: method, path, status, latency_ms, rows, request_id, and, of an
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


def failure(identity: str) -> str:
    """Return what a caller reads where the model failed."""
    return f"the model failed; its log has the reason under {identity}"
