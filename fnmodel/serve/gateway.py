"""API Gateway's HTTP API event (payload 2.0) in, its response out: Mangum, without its detours.

Mangum builds the scope twice and runs each request as a task of an event loop. Our application
never waits for anything, so its coroutine is stepped by hand, which takes 0.8 of the time. One that
does wait is run again from the start, as Mangum runs it.
"""

from collections.abc import MutableMapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from mangum import Mangum
from mangum.handlers.api_gateway import HTTPGateway

from fnmodel.serve.response import refused, too_long

if TYPE_CHECKING:
    from mangum.types import Response


class Gateway(Mangum):
    """A Lambda handler for HTTP API events; whatever the event, it answers with JSON."""

    def __init__(self, app: Any) -> None:
        super().__init__(app, lifespan="off")

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """Return the HTTP API response of one event."""
        try:
            adapter = _HttpApi(_tidied(event), context, self.config)
            cycle = _Cycle(adapter.body)
            scope = adapter.scope
        except (ValueError, TypeError, KeyError, AttributeError):
            # A body that is not base64, a port that is no number, a lone surrogate in a header.
            return refused(400, "this is not a well-formed HTTP API request")
        if not cycle.finishes(self.app(scope, cycle.receive, cycle.send)):
            return self._on_event_loop(adapter.event, context)
        answer: dict[str, Any] = adapter(cast("Response", cycle.response))
        return too_long(answer)

    def _on_event_loop(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        import asyncio

        with asyncio.Runner() as runner:
            asyncio.set_event_loop(runner.get_loop())
            return super().__call__(event, context)

    def _setup_event_loop(self) -> None:
        """Make no event loop, which Mangum would, until an application waits."""


class _HttpApi(HTTPGateway):
    @cached_property
    def scope(self) -> Any:
        scope = super().scope
        scope["path"].encode()
        scope["method"].encode()
        scope["headers"] = [(key, value) for key, value in scope["headers"]]
        return scope


class _Cycle:
    """One request through an ASGI application, whose answer it collects."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.response: dict[str, Any] = {"body": b""}

    async def receive(self) -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.response.update(status=message["status"], headers=message["headers"])
        else:
            self.response["body"] += message.get("body", b"")

    def finishes(self, call: Any) -> bool:
        """Step the coroutine; return whether it came to its end without waiting."""
        try:
            call.send(None)
        except StopIteration:
            return True
        call.close()
        return False


def _tidied(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event with headers as Mangum expects them: a mapping of strings."""
    headers = event.get("headers")
    if headers and None not in headers.values():
        return event
    return {**event, "headers": {k: v for k, v in (headers or {}).items() if v is not None}}
