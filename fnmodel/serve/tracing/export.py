"""Spans of requests that were answered, sent to a collector by OpenTelemetry's own exporter.

Nothing of it is on a request's way. A collector that does not answer costs its timeout once, then
nothing for a while: what would go to it is dropped and counted.
"""

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fnmodel.serve.tracing.served import Moments, Served

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_WAITING = 2048
"""Requests that may wait for their export, as many as OTEL_BSP_MAX_QUEUE_SIZE by default."""
_PAUSE = 30.0
# Lambda bills the time that an export takes; OpenTelemetry's own default is 10.
_TIMEOUT = "2"
_PORT = re.compile(r":\d+$")
_METHODS = frozenset("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split())


class Spans:
    """Keeps what was served until `flush`; `warn` gets a line where spans were lost.

    `resource` holds attributes of this process. `make` makes the exporter, when it is first needed.
    """

    def __init__(
        self,
        *,
        service: str,
        resource: Mapping[str, str],
        routes: Sequence[str],
        warn: Callable[[str], object],
        make: "Callable[[], SpanExporter] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._resource = dict(resource)
        self._routes = frozenset(routes)
        self._warn = warn
        self._make = make or _exporter
        self._clock = clock
        self._waiting: deque[Served] = deque(maxlen=_WAITING)
        self._lock = threading.Lock()
        self._lost = 0
        self._resumes = 0.0
        self._provider: TracerProvider | None = None
        self._exporter: SpanExporter | None = None
        self._made: list[ReadableSpan] = []

    def take(self, served: Served) -> None:
        """Note a request that was answered."""
        if len(self._waiting) == _WAITING:
            self._lost += 1
        self._waiting.append(served)

    def flush(self) -> None:
        """Export what was noted; raises nothing."""
        with self._lock:
            if self._waiting:
                self._flush()

    def _flush(self) -> None:
        if self._clock() < self._resumes:
            self._lost += len(self._waiting)
            self._waiting.clear()
            return
        count = len(self._waiting)
        try:
            sent = self._export()
            reason = "the collector did not take them"
        except Exception as error:  # nothing in tracing may end what it watches
            sent, reason = False, f"{type(error).__name__}: {error}"
        if not sent:
            self._lost += count
            self._resumes = self._clock() + _PAUSE
            self._warn(f"spans were lost: {reason}; the next are tried in {_PAUSE:g} s")
        elif self._lost:
            self._warn(f"requests whose spans were lost in the meantime: {self._lost}")
            self._lost = 0

    def _export(self) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._provider is None:
            self._provider = self._prepared()
            self._exporter = self._make()
        while self._waiting:
            self._make_spans(self._waiting.popleft())
        made, self._made = self._made, []
        assert self._exporter is not None
        return not made or self._exporter.export(made) is SpanExportResult.SUCCESS

    def _prepared(self) -> "TracerProvider":
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

        given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        if "service.name=" not in given:
            os.environ.setdefault("OTEL_SERVICE_NAME", self._service)
        gather = self._gather

        class Gathering(SpanProcessor):
            def on_end(self, span: "ReadableSpan") -> None:
                gather(span)

        # The user's own attributes win over ours.
        provider = TracerProvider(resource=Resource(self._resource).merge(Resource.create()))
        provider.add_span_processor(Gathering())
        return provider

    def _gather(self, span: "ReadableSpan") -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._made.append(span)

    def _make_spans(self, served: Served) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        assert self._provider is not None
        tracer = self._provider.get_tracer("fnmodel")
        begun, ended = served.moments
        parent = TraceContextTextMapPropagator().extract(served.headers)
        span = tracer.start_span(
            _name(served, self._routes), parent, SpanKind.SERVER,
            attributes=attributes(served, self._routes), start_time=begun,
        )  # fmt: skip
        inside = set_span_in_context(span, parent)
        for name, (first, last) in phases(served):
            tracer.start_span(name, inside, start_time=first).end(last)
        if served.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)


def phases(served: Served) -> list[tuple[str, Moments]]:
    """Return the parts of a request that the model ran for: before, during and after its runs."""
    if not served.runs:
        return []
    begun, ended = served.moments
    found: list[tuple[str, Moments]] = [("parse", (begun, served.runs[0][0]))]
    found += [("infer", run) for run in served.runs]
    return [*found, ("encode", (served.runs[-1][1], ended))]


def attributes(served: Served, routes: frozenset[str]) -> dict[str, Any]:
    """Return a server span's attributes, by the semantic conventions of HTTP.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans/
    """
    known = served.method in _METHODS
    found: dict[str, Any] = {
        "http.request.method": served.method if known else "_OTHER",
        "url.path": served.path,
        "url.scheme": served.headers.get("x-forwarded-proto", "http"),
        "http.response.status_code": served.status,
        **served.more,
    }
    if not known:
        found["http.request.method_original"] = served.method
    if served.path in routes:
        found["http.route"] = served.path
    if "host" in served.headers:
        found["server.address"] = _PORT.sub("", served.headers["host"])
    size = served.headers.get("content-length", "")
    if size.isdigit():
        found["http.request.body.size"] = int(size)
    if served.status >= 500:
        found["error.type"] = str(served.status)
    return found


def _name(served: Served, routes: frozenset[str]) -> str:
    # A path that anybody may invent is no name: names are few.
    method = served.method if served.method in _METHODS else "HTTP"
    return f"{method} {served.path}" if served.path in routes else method


def _exporter() -> "SpanExporter":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", _TIMEOUT)
    return OTLPSpanExporter()
