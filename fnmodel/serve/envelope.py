"""What every request has around it: an id, two headers, one log line, and no unhandled error."""

import traceback
from collections.abc import Container, Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fnmodel.serve.endpoint import Answer, send_answer
from fnmodel.serve.record import (
    Clock,
    Report,
    echoed,
    failure,
    record,
    request_id,
    traced,
)


class Envelope:
    """ASGI middleware that answers with `x-request-id` and `x-model-version` and reports.

    Where an image names its models, `models` are what a report may name.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        version: str,
        report: Report,
        clock: Clock,
        models: Container[str] = (),
    ) -> None:
        self._app = app
        self._version = (b"x-model-version", version.encode())
        self._report = report
        self._clock = clock
        self._models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, then report it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        event = scope.get("aws.event") or {}
        given = _header(scope["headers"], b"x-request-id")
        identity = request_id(event, scope.get("aws.context"), given)
        headers = dict(scope["headers"])
        found = traced(scope.get("aws.context"), headers, identity)
        extra = [self._version, (b"x-request-id", identity.encode())]
        extra += [(k.encode(), v.encode()) for k, v in echoed(headers, found).items()]
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        more: dict[str, Any] = {}
        try:
            await self._app(scope, receive, send_more)
        except Exception as error:
            more["exception"] = "".join(traceback.format_exception(error))
            if not status:
                await send_answer(send_more, Answer.of({"error": failure(identity)}, status=500))
        seconds, rows = self._clock() - started, scope.get("fnmodel.rows", 0)
        model = scope.get("path_params", {}).get("model")
        if model in self._models:
            found["model"] = model
        known = record(scope["method"], scope["path"], status, seconds, rows, identity)
        self._report({**known, **found, **more})


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)
