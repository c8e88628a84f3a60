"""What every request has around it: an id, two headers, one log line, and no unhandled error."""

import re
import traceback
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fnmodel.serve.endpoint import send_json

_SANE = re.compile(r"[A-Za-z0-9._=:/+-]{1,128}")

Clock = Callable[[], float]
"""Seconds since any fixed moment."""

Report = Callable[[dict[str, Any]], None]
"""Gets one record a request: method, path, status, latency_ms, rows, request_id, and, of an
error that is ours, `exception`."""


class Envelope:
    """ASGI middleware that answers with `x-request-id` and `x-model-version` and reports."""

    def __init__(self, app: ASGIApp, *, version: str, report: Report, clock: Clock) -> None:
        self._app = app
        self._version = (b"x-model-version", version.encode())
        self._report = report
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, then report it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        request_id = _request_id(scope)
        extra = (self._version, (b"x-request-id", request_id.encode()))
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        record: dict[str, Any] = {}
        try:
            await self._app(scope, receive, send_more)
        except Exception as error:
            record["exception"] = "".join(traceback.format_exception(error))
            if not status:
                text = f"the model failed; its log has the reason under {request_id}"
                await send_json(send_more, 500, orjson.dumps({"error": text}))
        self._report(
            {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "latency_ms": round((self._clock() - started) * 1000, 3),
                "rows": scope.get("fnmodel.rows", 0),
                "request_id": request_id,
                **record,
            }
        )


def _request_id(scope: Scope) -> str:
    """Return API Gateway's request id, else Lambda's, else the caller's, else a new one."""
    event = scope.get("aws.event") or {}
    context = event.get("requestContext") or {}
    known = (
        context.get("requestId"),
        getattr(scope.get("aws.context"), "aws_request_id", None),
        _header(scope["headers"], b"x-request-id"),
    )
    for candidate in known:
        if isinstance(candidate, str) and _SANE.fullmatch(candidate):
            return candidate
    return str(uuid.uuid4())


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)
