"""A collector on this machine: takes OTLP over HTTP, and keeps the spans that it decoded."""

import contextlib
import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """What was sent; it answers with `status` after `delay` seconds."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.requests = 0
        self.status, self.delay = 200, 0.0
        self.url = ""
        self.headers: dict[str, str] = {}

    def receive(self, body: bytes, encoding: str | None) -> None:
        """Decode one request."""
        message = ExportTraceServiceRequest.FromString(
            gzip.decompress(body) if encoding == "gzip" else body
        )
        for resource in message.resource_spans:
            self.resources.append(plain(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def wait(self, count: int) -> list[Any]:
        """Return the spans once there are so many."""
        end = time.monotonic() + 20
        while len(self.spans) < count:
            assert time.monotonic() < end, self.spans
            time.sleep(0.05)
        return self.spans


def plain(attributes: Any) -> dict[str, Any]:
    """Return a span's attributes as plain data."""
    found: dict[str, Any] = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = (
            [item.string_value for item in value.values] if kind == "array_value" else value
        )
    return found


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector for the time of the block."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.requests += 1
            kept.headers = {key.lower(): value for key, value in self.headers.items()}
            time.sleep(kept.delay)
            if kept.status == 200:
                kept.receive(body, self.headers.get("content-encoding"))
            with contextlib.suppress(ConnectionError):
                self.send_response(kept.status)
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
