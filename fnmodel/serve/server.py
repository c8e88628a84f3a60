"""The image without Lambda: an HTTP server that containers' hosts can start, probe and stop.

The first SIGTERM or SIGINT lets finish what runs, the second ends it.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fnmodel.errors import UsageError
from fnmodel.serve.boot import capturing, framework, frozen_heap, open_models
from fnmodel.serve.host import Host
from fnmodel.serve.lines import LineHandler, LineReport, write_line
from fnmodel.serve.memory import bound
from fnmodel.serve.settings import Settings
from fnmodel.serve.tracing.served import wanted

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp

    from fnmodel.serve.capture import Capture
    from fnmodel.serve.tracing.export import Spans

_HEAD_SECONDS = 10.0
_HEAD_LIMIT = 64 << 10
# Longer than load balancers keep theirs: who closes first must not be the one that is asked.
_KEEP_ALIVE_SECONDS = 75


def main(environ: Mapping[str, str]) -> int:
    """Serve the models of FNMODEL_MODEL_DIR until a signal; return the exit code.

    0: stopped, everything was answered; 1: the time to stop was over before; 2: a setting is wrong.
    """
    logging.getLogger().addHandler(LineHandler())
    try:
        settings = Settings.of(environ)
        with frozen_heap():
            host, capture = _host(environ, settings)
            app, spans = _traced(host, environ)
        listener = _listen(settings)
    except UsageError as error:
        write_line({"level": "ERROR", "message": error.message, "hint": error.hint})
        return error.exit_code
    port = listener.getsockname()[1]
    write_line(
        {"level": "INFO", "message": "listening", "host": settings.host, "port": port,
         "workers": settings.workers}
    )  # fmt: skip
    _Server(
        uvicorn.Config(
            app, http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.grace,
        )
    ).run(sockets=[listener])  # fmt: skip
    if capture is not None:
        capture.flush()
    if spans is not None:
        spans.flush()
    write_line({"level": "INFO", "message": "stopped", "cut_off": host.cut_off})
    if host.cut_off:
        os._exit(1)  # their threads still run, and would be waited for
    return 0


def _host(environ: Mapping[str, str], settings: Settings) -> "tuple[Host, Capture | None]":
    models = open_models(
        environ, environ.get("FNMODEL_MODEL_VERSION") or "1", limit=settings.body_limit
    )
    models.load()  # all: whoever asks whether they are ready asks an event loop that must not wait
    bound(environ)
    report = LineReport(model=None if models.named else models.first.name, version=models.version)

    def others() -> "ASGIApp":
        return framework(models, report)

    pool = ThreadPoolExecutor
    if wanted(environ):
        from fnmodel.serve.tracing.asgi import CarryingPool

        pool = CarryingPool
    host = Host(
        models,
        report=report,
        clock=time.perf_counter,
        pool=pool(settings.workers, thread_name_prefix="predict"),
        room=settings.workers + settings.queue,
        others=others,
        seconds=settings.timeout,
    )
    if not environ.get("FNMODEL_CAPTURE"):
        return host, None
    from fnmodel.serve.keep import Background, writer

    endpoint = environ.get("FNMODEL_MODEL_NAME", models.first.name)
    write = writer(environ.get("FNMODEL_CAPTURE_DIR", ""), endpoint)
    capture = capturing(environ, models, write=write, dropped=report.dropped)
    if capture is not None:
        host.capture = Background(capture).take
    return host, capture


def _traced(host: Host, environ: Mapping[str, str]) -> "tuple[ASGIApp, Spans | None]":
    if not wanted(environ):
        return host, None
    from fnmodel.serve.boot import tracing
    from fnmodel.serve.tracing.asgi import TracedApp, in_background

    spans = tracing(environ, host.models)
    in_background(spans.flush)
    return TracedApp(host, spans.take), spans


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
        # Connections inherit it. asyncio sets it only on sockets that name their protocol; without
        # it, the second part of each answer waits 40 ms for the caller to acknowledge the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}",
            hint="set PORT to a free one (above 1023 without root), FNMODEL_HOST to an own address",
        ) from error
    return listener


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: "FrameType | None") -> None:  # noqa: ARG002
        """Stop gently at the first signal, at once at the second.

        uvicorn raises the signal again once it has stopped, for an exit code that says so; hosts of
        containers take everything but 0 for a failure.
        """
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True


class _Protocol(HttpToolsProtocol):
    """uvicorn's, which waits for the head of a request neither for ever nor whatever its size.

    A connection that says nothing between two requests has the longer limit of keep-alive.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head: int | None = None
    """Bytes of the head that has begun to come in."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answers():
            self._forget()
        elif self._deadline is None:
            self._await_head()
        if self._head is not None:
            self._head += len(data)
            if self._head > _HEAD_LIMIT:
                self.send_400_response("The head of this request is too large.")

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def _answers(self) -> bool:
        # There is no cycle before the first request, whatever its type says.
        return bool(self.cycle) and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(_HEAD_SECONDS, self._too_late)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if not self._answers():
            self.timeout_keep_alive_handler()
