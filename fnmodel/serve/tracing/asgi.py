"""Around an ASGI application: notes each request; a thread exports what was noted."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from fnmodel.serve.tracing.served import Served, runs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Probes of load balancers, every few seconds: traces of these are what nobody looks for.
_UNTRACED = frozenset(
    {"/", "/health", "/ping", "/readyz", "/livez", "/v2/health/live", "/v2/health/ready"}
)
_GATHERED_SECONDS = 1.0


class TracedApp:
    """An ASGI application that hands each request with its answer to `take`, but no probes."""

    def __init__(self, app: "ASGIApp", take: Callable[[Served], object]) -> None:
        self._app = app
        self._take = take

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        noted: list[tuple[int, int]] = []
        token = runs.set(noted)
        begun = time.time_ns()
        answered: dict[str, Any] = {}

        async def noting(message: "Message") -> None:
            if message["type"] == "http.response.start":
                answered.update(status=message["status"], headers=dict(message["headers"]))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            runs.reset(token)
        if answered:  # else the caller has gone
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            identity = answered["headers"].get(b"x-request-id", b"").decode("latin-1")
            more: dict[str, Any] = {"http.response.header.x-request-id": [identity]}
            if "user-agent" in headers:
                more["user_agent.original"] = headers["user-agent"]
            moments = (begun, time.time_ns())
            method, path = scope["method"], scope["path"]
            self._take(
                Served(method, path, headers, answered["status"], moments, tuple(noted), more)
            )


class CarryingPool(ThreadPoolExecutor):
    """A pool whose threads see the context of whoever gave them work."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **more: Any) -> "Future[Any]":
        """As `Executor.submit`."""
        return super().submit(copy_context().run, fn, *args, **more)


def in_background(flush: Callable[[], None]) -> None:
    """Have a thread call `flush`, which raises nothing, every second for as long as we live."""

    def run() -> None:
        while True:
            time.sleep(_GATHERED_SECONDS)
            flush()

    threading.Thread(target=run, name="tracing", daemon=True).start()
