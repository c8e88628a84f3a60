"""The Lambda Runtime API for one sandbox, on a loopback port of its own.

The runtime client in the image long-polls `next`, then posts a response or an error.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import queue
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

PREFIX = "/2018-06-01/runtime"
MAX_PAYLOAD = 6 * 1024 * 1024
"""Bytes of a synchronous request. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
MAX_RESPONSE = 6_291_556
"""Bytes of a synchronous response: what Lambda names in Function.ResponseSizeTooLarge."""


@dataclass(frozen=True)
class Invocation:
    """One event on its way into a sandbox; `deadline_ms` is Unix time in milliseconds."""

    request_id: str
    function_arn: str
    deadline_ms: int
    event: bytes


@dataclass(frozen=True)
class Signal:
    """What happened in a sandbox, in the order in which it happened.

    ready: the runtime asks for work (after init, or after an invocation).
    response, error: the handler answered; `payload` is its JSON.
    init_error: the handler could not be imported; `payload` is the error's JSON.
    too_large: the response was refused with 413.
    exit: the process ended; `payload` is its exit code in ASCII.
    """

    kind: Literal["ready", "response", "error", "init_error", "too_large", "exit"]
    request_id: str = ""
    payload: bytes = b""


class RuntimeApi:
    """Serves one sandbox until closed. `signals` is read by the sandbox, `offer` gives it work."""

    def __init__(self) -> None:
        self.signals: queue.SimpleQueue[Signal] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        api = self

        class Handler(_Handler):
            runtime = api

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def offer(self, invocation: Invocation) -> None:
        """Hand the next event to the runtime."""
        self._work.put(invocation)

    def take(self) -> Invocation | None:
        """Wait for the next event; None when the sandbox is closed."""
        return self._work.get()

    def close(self) -> None:
        """Stop serving and release a waiting `next`."""
        self._work.put(None)
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about a runtime that died: its exit is a signal of its own."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one segment; Nagle would hold the second for 40 ms.
    wbufsize = -1
    runtime: RuntimeApi

    def do_GET(self) -> None:
        """Answer `invocation/next` (blocks until there is work) and `restore/next`."""
        if self.path == f"{PREFIX}/restore/next":
            self._answer(200, b"")
            return
        if self.path != f"{PREFIX}/invocation/next":
            self._answer(404, b"{}")
            return
        self.runtime.signals.put(Signal("ready"))
        invocation = self.runtime.take()
        if invocation is None:
            self.close_connection = True
            return
        self._answer(
            200,
            invocation.event,
            {
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
            },
        )

    def do_POST(self) -> None:
        """Take a response, an error, or an init error."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = self.path.removeprefix(PREFIX).strip("/").split("/")
        match parts:
            case ["init", "error"]:
                self.runtime.signals.put(Signal("init_error", payload=body))
                self._answer(202, b"{}")
            case ["invocation", request_id, "response"] if length > MAX_RESPONSE:
                self.runtime.signals.put(Signal("too_large", request_id, str(length).encode()))
                self._answer(413, b"{}")
            case ["invocation", request_id, "response" | "error" as kind]:
                signal: Literal["response", "error"] = "response" if kind == "response" else "error"
                self._answer(202, b"{}")
                self.runtime.signals.put(Signal(signal, request_id, body))
            case _:
                self._answer(404, b"{}")

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        # The runtime client crashes on a `next` without a content type.
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *args: Any) -> None:
        """Keep quiet: every invocation has its own START and REPORT lines."""
