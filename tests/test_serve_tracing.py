"""OpenTelemetry: spans of requests reach a collector; no request waits for it or fails by it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from http_cases import serving
from otlp_cases import Collector, collector, plain
from serve_cases import event, model_folder

from fnmodel.serve.app import create_app
from fnmodel.serve.boot import open_models, tracing
from fnmodel.serve.direct import Direct
from fnmodel.serve.gateway import Gateway
from fnmodel.serve.tracing.export import Spans, phases
from fnmodel.serve.tracing.function import TracedHandler
from fnmodel.serve.tracing.served import Served, wanted

ROW = {"a": 1.5, "b": 2, "c": -0.5}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = SimpleNamespace(
    aws_request_id="5c0e", invoked_function_arn="arn:aws:lambda:eu-central-1:1:function:f:live",
    get_remaining_time_in_millis=lambda: 30_000,
)  # fmt: skip


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Return a collector to which OpenTelemetry's variables point."""
    with collector() as kept:
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", kept.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "scores")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        yield kept


def environ(name: str = "classifier", **more: str) -> dict[str, str]:
    return {
        **os.environ, "FNMODEL_MODEL_DIR": str(model_folder(name)), "FNMODEL_MODEL_NAME": "churn",
        "AWS_LAMBDA_FUNCTION_NAME": "fnmodel-churn-prod", "AWS_LAMBDA_FUNCTION_VERSION": "3",
        "AWS_REGION": "eu-central-1", **more,
    }  # fmt: skip


def traced(sink: Collector, warnings: list[str] | None = None) -> tuple[TracedHandler, Spans]:
    """Return a handler as in Lambda, and what is flushed after each response."""
    given = environ()
    models = open_models(given, "3")
    said = warnings if warnings is not None else []
    spans = tracing(given, models, warn=said.append)
    direct = Direct(
        models,
        report=lambda _: None,
        clock=time.perf_counter,
        others=lambda: Gateway(create_app(models)),
    )
    return TracedHandler(direct, spans.take), spans


def ask(handler: TracedHandler, path: str = "/predict", **changes: Any) -> dict[str, Any]:
    body = changes.pop("body", {"records": [ROW]})
    return handler(event(path=path, body=body, **changes), CONTEXT)


def test_the_span_of_a_request(sink: Collector) -> None:
    """A request's span continues the caller's trace; its parts lie within it, in order."""
    handler, spans = traced(sink)

    answer = ask(handler, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert sink.requests == 0
    spans.flush()

    assert answer["statusCode"] == 200
    found = {span.name: span for span in sink.spans}
    assert set(found) == {"POST /predict", "parse", "infer", "encode"}
    server = found["POST /predict"]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, PARENT)
    assert server.kind == 2
    moments = [server.start_time_unix_nano]
    for name in ("parse", "infer", "encode"):
        child = found[name]
        assert child.parent_span_id == server.span_id
        assert child.trace_id == server.trace_id
        moments += [child.start_time_unix_nano, child.end_time_unix_nano]
    moments.append(server.end_time_unix_nano)
    assert moments == sorted(moments)
    attributes = plain(server.attributes)
    assert attributes.items() >= {
        "http.request.method": "POST", "http.route": "/predict", "url.path": "/predict",
        "http.response.status_code": 200, "url.scheme": "https", "faas.trigger": "http",
        "faas.coldstart": True, "faas.invocation_id": "5c0e",
    }.items()  # fmt: skip
    assert attributes["http.response.header.x-request-id"] == [answer["headers"]["x-request-id"]]
    assert sink.resources[0].items() >= {
        "service.name": "scores", "service.version": "3", "faas.name": "fnmodel-churn-prod",
        "faas.version": "3", "cloud.provider": "aws", "cloud.region": "eu-central-1",
        "cloud.platform": "aws_lambda", "telemetry.sdk.name": "opentelemetry",
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "name", "status", "failed"),
    [
        ("/predict", {"records": [{"a": "x"}]}, "POST /predict", 400, False),
        ("/somebody/invents/paths", {}, "POST", 404, False),
        ("/v2/models/churn/infer", {}, "POST /v2/models/churn/infer", 400, False),
        ("/invocations", {}, "POST /invocations", 400, False),
        ("/v1/models/churn:predict", {}, "POST /v1/models/churn:predict", 400, False),
    ],
)
def test_refused_requests_have_a_span_too(
    sink: Collector, path: str, body: Any, name: str, status: int, failed: bool
) -> None:
    """A refusal has its status; a 4xx is the caller's, and no error of the server's span."""
    handler, spans = traced(sink)

    assert ask(handler, path, body=body)["statusCode"] == status
    spans.flush()

    [span] = sink.spans
    assert span.name == name
    assert plain(span.attributes)["http.response.status_code"] == status
    assert (span.status.code == 2) is failed
    assert len(span.trace_id) == 16
    assert span.parent_span_id == b""


def test_a_failure_of_the_server_is_an_error(sink: Collector) -> None:
    """A 5xx is the span's error, by its status."""
    _, spans = traced(sink)
    failing = TracedHandler(lambda *_: {"statusCode": 503, "headers": {}}, spans.take)

    ask(failing)
    spans.flush()

    [span] = sink.spans
    assert span.status.code == 2
    assert plain(span.attributes)["error.type"] == "503"


@pytest.mark.parametrize("parent", ["", "00-0-0-00", f"00-{'0' * 32}-{PARENT}-01", "\x00", "x" * 9])
def test_a_parent_that_is_none(sink: Collector, parent: str) -> None:
    """A broken traceparent begins a new trace."""
    handler, spans = traced(sink)

    ask(handler, headers={"traceparent": parent})
    spans.flush()

    server = next(span for span in sink.spans if span.name == "POST /predict")
    assert server.parent_span_id == b""
    assert server.trace_id != b"\0" * 16


def test_the_callers_decision_is_kept(sink: Collector) -> None:
    """A trace that its caller does not sample is not exported."""
    handler, spans = traced(sink)

    ask(handler, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    spans.flush()

    assert sink.requests == 0


def test_opentelemetrys_own_variables_hold(
    sink: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampler, headers, compression and resource attributes are read as everywhere."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=wine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,faas.name=mine"
    )
    handler, spans = traced(sink)
    ask(handler)
    spans.flush()

    assert sink.headers["x-team"] == "wine"
    assert sink.headers["content-encoding"] == "gzip"
    assert sink.resources[0]["deployment.environment.name"] == "prod"
    assert sink.resources[0]["faas.name"] == "mine"

    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    handler, spans = traced(sink)
    ask(handler)
    spans.flush()
    assert sink.requests == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_when_traces_are_wanted(given: Mapping[str, str], expected: bool) -> None:
    """OpenTelemetry's variables say it, and without any nothing is traced."""
    assert wanted(given) is expected


def test_a_collector_that_fails_delays_nobody(sink: Collector) -> None:
    """Requests are answered as fast as ever; after a failure nothing is tried for a while."""
    now = [0.0]
    warnings: list[str] = []
    handler, spans = traced(sink, warnings)
    spans._clock = lambda: now[0]
    sink.status = 400

    begun = time.perf_counter()
    assert all(ask(handler)["statusCode"] == 200 for _ in range(50))
    assert time.perf_counter() - begun < 1
    spans.flush()
    assert "the next are tried in 30 s" in warnings[0]
    ask(handler)
    spans.flush()
    assert (sink.requests, len(warnings)) == (1, 1)

    sink.status, now[0] = 200, 31.0
    ask(handler)
    spans.flush()
    assert len(sink.spans) == 4
    assert warnings[1] == "requests whose spans were lost in the meantime: 51"


def test_no_collector_at_all(sink: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens, a flush ends within its timeout and raises nothing."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    warnings: list[str] = []
    handler, spans = traced(sink, warnings)
    ask(handler)

    begun = time.perf_counter()
    spans.flush()

    assert time.perf_counter() - begun < 5
    assert len(warnings) == 1


def test_an_image_without_the_layer(sink: Collector) -> None:
    """If OpenTelemetry cannot be imported, that is one line in the log."""
    warnings: list[str] = []

    def missing() -> Any:
        raise ModuleNotFoundError("No module named 'opentelemetry.sdk'")

    spans = Spans(service="s", resource={}, routes=(), warn=warnings.append, make=missing)
    spans.take(Served("GET", "/", {}, 200, (1, 2)))
    spans.flush()

    assert "No module named 'opentelemetry.sdk'" in warnings[0]


def test_more_requests_than_wait(sink: Collector) -> None:
    """The oldest make room for the newest; memory has a bound."""
    spans = Spans(service="s", resource={}, routes=(), warn=lambda _: None)
    for number in range(3000):
        spans.take(Served("GET", f"/{number}", {}, 200, (1, 2)))
    spans.flush()

    assert len(sink.spans) == 2048
    assert plain(sink.spans[-1].attributes)["url.path"] == "/2999"


def test_parts_of_a_request_without_runs() -> None:
    """Where the model did not run there are no parts to tell apart."""
    assert phases(Served("GET", "/v2", {}, 200, (1, 9))) == []
    assert phases(Served("POST", "/", {}, 200, (1, 9), ((2, 3), (4, 6)))) == [
        ("parse", (1, 2)), ("infer", (2, 3)), ("infer", (4, 6)), ("encode", (6, 9)),
    ]  # fmt: skip


def test_both_ways_of_the_model_are_seen(sink: Collector) -> None:
    """Small and large requests, by buffers and by numpy, have the model's run as a span."""
    handler, spans = traced(sink)

    ask(handler)
    ask(handler, body={"records": [ROW] * 2000})
    spans.flush()

    assert [span.name for span in sink.spans].count("infer") == 2


def test_a_start_without_tracing_loads_nothing_of_it(tmp_path: Path) -> None:
    """Neither our own modules of tracing nor OpenTelemetry are imported unless they are asked for.

    With tracing, OpenTelemetry is not imported before the response either.
    """
    program = """
import json, sys
from handlers import model
answer = model.handler(json.load(open(sys.argv[1])), None)
assert answer["statusCode"] == 200
names = ("fnmodel.serve.tracing", "opentelemetry", "requests")
print(json.dumps([name in sys.modules for name in names]))
"""
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event(body={"records": [ROW]})))
    for exporter, expected in (("", [False, False, False]), ("otlp", [True, False, False])):
        ran = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env=environ(OTEL_TRACES_EXPORTER=exporter), capture_output=True, text=True,
            cwd=Path(__file__).parents[1], check=True,
        )  # fmt: skip
        assert json.loads(ran.stdout.splitlines()[-1]) == expected


def test_spans_of_the_plain_http_host(sink: Collector, tmp_path: Path) -> None:
    """In a container a thread exports; probes have no spans."""
    settings = {
        "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_SERVICE_NAME": "scores",
    }  # fmt: skip
    parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with serving(model_folder("classifier"), tmp_path, **settings) as server:
        assert server.ask("GET", "/v2/health/ready").status == 200
        assert server.ask("POST", "/predict", {"records": [ROW]}, parent).status == 200
        assert server.end() == 0
        spans = sink.wait(4)

    assert sorted(span.name for span in spans) == ["POST /predict", "encode", "infer", "parse"]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
