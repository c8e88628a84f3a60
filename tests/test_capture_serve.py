"""Capture around the endpoint: what is written, when, and that no request ever suffers from it."""

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from capture_cases import KEY, answered, memory
from http_cases import serving
from serve_cases import event, model, model_folder

from fnmodel.capture.line import folder_of, lines_of
from fnmodel.capture.redact import Policy, hashed
from fnmodel.serve import after
from fnmodel.serve.boot import capturing
from fnmodel.serve.capture import MOST_ROWS, Capture
from fnmodel.serve.direct import Direct
from fnmodel.serve.endpoint import Answer
from fnmodel.serve.keep import Background, into
from fnmodel.serve.models import Models
from fnmodel.serve.report import EmfReport
from fnmodel.serve.service import Service

ROW = {"a": 1, "b": 2, "c": 3}
LIVE = SimpleNamespace(
    aws_request_id="a1",
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:fnmodel-churn-dev:live",
)
VERSION = SimpleNamespace(
    aws_request_id="a1",
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:fnmodel-churn-dev:3",
)


def direct(
    capture: Capture | None, reports: list[Any] | None = None, name: str = "classifier"
) -> Direct:
    return Direct(
        Models((Service(model(name), "churn", "3"),)),
        report=(reports if reports is not None else []).append,
        clock=time.perf_counter,
        others=lambda: pytest.fail("no other path is asked for"),
        capture=capture,
    )


def data(line: bytes, side: str) -> Any:
    return json.loads(json.loads(line)["captureData"][side]["data"])


def test_a_line_is_sagemaker_s_with_keys_of_ours() -> None:
    """Every key of the documented form is there, and no other."""
    capture, written, _ = memory(Policy(rate=1, subject="customer", key=KEY))
    answered(capture, [{"customer": "c1", "age": 4}], [{"label": "no"}])

    digest = hashed(KEY, "c1")
    assert json.loads(written[0]) == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "application/json", "mode": "INPUT", "encoding": "JSON",
                "data": json.dumps({"customer": digest, "age": 4}, separators=(",", ":")),
            },
            "endpointOutput": {
                "observedContentType": "application/json", "mode": "OUTPUT", "encoding": "JSON",
                "data": '{"label":"no"}',
            },
        },
        "eventMetadata": {
            "eventId": "r1/0", "inferenceId": "r1/0", "inferenceTime": "2026-11-27T23:52:27.500Z",
        },
        "eventVersion": "0",
        "fnmodel": {
            "schema": 1, "request_id": "r1", "row": 0, "rows": 1, "rate": 1, "model": "churn",
            "version": "3", "alias": "live", "subject": digest,
        },
    }  # fmt: skip


def test_nothing_is_written_before_the_response() -> None:
    """The handler only takes note; `flush` writes, and the ids are the response's."""
    capture, written, dropped = memory(Policy(rate=1))
    answer = direct(capture)(event(body={"records": [ROW, ROW]}), LIVE)
    assert written == []
    capture.flush()
    lines = list(lines_of(b"".join(written)))

    identity = answer["headers"]["x-request-id"]
    ids = [json.loads(line)["eventMetadata"]["inferenceId"] for line in lines]
    assert ids == [f"{identity}/0", f"{identity}/1"]
    assert [data(line, "endpointInput") for line in lines] == [ROW, ROW]
    predictions = [data(line, "endpointOutput") for line in lines]
    assert predictions == json.loads(answer["body"])["predictions"]
    assert dropped == []


def test_tensors_become_rows_by_feature() -> None:
    """A request of the Open Inference Protocol is captured as the same rows as a plain one."""
    capture, written, dropped = memory(Policy(rate=1), names=("a", "b", "c"))
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3]}
    for values in ([1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]):
        raw = json.dumps({"inputs": [{**tensor, "data": values}]}).encode()
        outputs = [{"name": "label", "shape": [2], "data": [0, 1]},
                   {"name": "scores", "shape": [2, 2], "data": [0.9, 0.1, 0.2, 0.8]}]  # fmt: skip
        capture.take(raw, Answer.of({"outputs": outputs}, rows=2), "r", "live", "churn")
    capture.flush()
    lines = list(lines_of(b"".join(written)))

    rows = [{"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6}]
    assert [data(line, "endpointInput") for line in lines] == rows * 2
    assert data(lines[1], "endpointOutput") == {"label": 1, "scores": [0.2, 0.8]}
    assert dropped == []


def test_only_what_an_alias_was_asked_is_captured() -> None:
    """The gate of a release asks a version by its number; refusals have no prediction."""
    capture, written, _ = memory(Policy(rate=1))
    for context in (None, VERSION):
        direct(capture)(event(body={"records": [ROW]}), context)
    direct(capture)(event(body={"records": [{}]}), LIVE)
    direct(capture)(event(method="GET", path="/v2/health/ready"), LIVE)
    capture.flush()

    assert written == []


def test_the_share_of_rows_is_the_rate() -> None:
    """Rows are picked one by one, in small requests and large ones alike."""
    chance = random.Random(3)
    capture, written, _ = memory(Policy(rate=0.2), points=chance.random)
    for size in (1, 5) * 1000:
        answered(capture, [{"a": 1}] * size, [1] * size)
    lines = list(lines_of(b"".join(written)))
    single = sum(json.loads(line)["fnmodel"]["rows"] == 1 for line in lines)

    assert 160 < single < 240
    assert 1080 < len(lines) < 1320


def test_a_large_request_does_not_fill_the_log() -> None:
    """Of many rows at most a hundred are kept, spread over the request, and the rest is counted."""
    capture, written, dropped = memory(Policy(rate=1))
    answered(capture, [{"a": n} for n in range(1000)], list(range(1000)))
    answered(capture, [{"a": ["x" * 10_000] * 30}], [1])
    numbers = [json.loads(line)["fnmodel"]["row"] for line in lines_of(b"".join(written))]

    assert numbers == list(range(0, 1000, 10))
    assert len(numbers) <= MOST_ROWS
    assert [rows for rows, _ in dropped] == [900, 1]


def test_the_next_event_does_not_wait_for_long() -> None:
    """Rows that are not begun in half a second are left out, and counted."""
    ticks = iter(range(1000))
    written: list[bytes] = []
    dropped: list[int] = []
    capture = Capture(
        Policy(rate=1), version="3", names=lambda _: (), write=written.append,
        dropped=lambda rows, _: dropped.append(rows), point=lambda: 0.0,
        now=lambda: next(ticks) * 0.2,
    )  # fmt: skip
    answered(capture, [{"a": n} for n in range(10)], list(range(10)))

    assert len(list(lines_of(b"".join(written)))) == 2
    assert dropped == [8]


class BrokenError(Exception):
    """A fault of a test's."""


@pytest.mark.parametrize("fault", [BrokenError("full"), OSError(28, "No space"), MemoryError()])
def test_a_request_never_fails_for_its_capture(fault: Exception) -> None:
    """Whatever cannot be written, or even reported, the answer is as without capture."""

    def fail(*_: object) -> None:
        raise fault

    dropped: list[tuple[int, str]] = []
    for tell in (lambda rows, reason: dropped.append((rows, reason)), fail):
        capture = Capture(
            Policy(rate=1), version="3", names=lambda _: (), write=fail, dropped=tell,
            point=lambda: 0.0, now=lambda: 0.0,
        )  # fmt: skip
        answer = direct(capture)(event(body={"records": [ROW]}), LIVE)
        capture.flush()
        assert answer["statusCode"] == 200
    assert dropped == [(1, type(fault).__name__)]


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"{", {"predictions": [1]}),
        (b"\x00\xff", {"predictions": [1]}),
        (b"[]", {"predictions": [1]}),
        (b'{"records": [1]}', {"predictions": [1, 2]}),
        (b'{"inputs": [{"name": "x", "shape": [1]}]}', {"outputs": []}),
        (b'{"inputs": [{}]}', {"outputs": [{}]}),
        (b"{}", {"other": 1}),
    ],
)
def test_what_cannot_be_taken_apart_is_counted(raw: bytes, answer: Any) -> None:
    """A body of a form that is not known is dropped, with a reason, and the next one is written."""
    capture, written, dropped = memory(Policy(rate=1))
    capture.take(raw, Answer.of(answer, rows=1), "r", "live", "churn")
    answered(capture, [{"a": 1}], [1])

    assert len(written) == 1
    assert [rows for rows, _ in dropped] == [1]


def test_compressed_bodies_are_captured() -> None:
    """A caller that compresses, or asks for compressed answers, is captured as any other."""
    import gzip

    capture, written, dropped = memory(Policy(rate=1))
    packed = gzip.compress(b'{"predictions": [1]}')
    answer = Answer(packed, rows=1, encoding="gzip")
    capture.take(gzip.compress(b'{"records": [{"a": 1}]}'), answer, "r", "live", "churn")
    capture.flush()

    assert (len(written), dropped) == (1, [])


def test_requests_that_nobody_writes_are_dropped() -> None:
    """Memory is bounded where the writer cannot keep up."""
    capture, _, dropped = memory(Policy(rate=1))
    for _ in range(300):
        capture.take(b"{}", Answer.of({}, rows=1), "r", "live", "churn")

    assert len(dropped) == 44


def test_flush_waits_for_what_a_thread_has_begun() -> None:
    """When a container stops, a line that its thread is about to write is not cut off."""
    begun, go_on, written = threading.Event(), threading.Event(), []

    def slowly(lines: bytes) -> None:
        begun.set()
        go_on.wait(10)
        written.append(lines)

    capture = Capture(
        Policy(rate=1), version="3", names=lambda _: (), write=slowly,
        dropped=lambda *_: None, point=lambda: 0.0, now=time.time,
    )  # fmt: skip
    capture.take(
        b'{"records": [{"a": 1}]}', Answer.of({"predictions": [1]}, rows=1), "r", "live", "churn"
    )
    threading.Thread(target=capture.flush).start()
    assert begun.wait(10)
    threading.Timer(0.2, go_on.set).start()
    capture.flush()

    assert len(written) == 1


def test_an_answer_that_cannot_be_carried_is_no_prediction() -> None:
    """What Lambda's limit turns into a 413 is reported as that, and not captured."""
    capture, written, dropped = memory(Policy(rate=1))
    reports: list[Any] = []
    tensors = {"in_FP32": [[1, 2]], "in_INT8": [[1, 2]], "in_UINT64": [[1, 2]],
               "in_BOOL": [[True, False]], "in_BYTES": [["\U0001f642" * 600_000, "a"]]}  # fmt: skip
    sent = event(
        path="/v1/models/churn:predict", body=json.dumps({"inputs": tensors}, ensure_ascii=False)
    )
    answer = direct(capture, reports, "tensors")(sent, LIVE)
    capture.flush()

    assert answer["statusCode"] == 413
    assert [(one["status"], one["rows"]) for one in reports] == [(413, 0)]
    assert (written, dropped) == ([], [])


def test_lines_that_run_together_are_told_apart() -> None:
    """A delivery that does not end lines loses none of them."""
    capture, written, _ = memory(Policy(rate=1))
    answered(capture, [{"a": 'x}{"captureData":'}] * 3, [1, 2, 3])
    whole = b"".join(written)

    assert list(lines_of(whole.replace(b"\n", b""))) == list(lines_of(whole))
    assert len(list(lines_of(whole))) == 3


def test_work_is_done_between_response_and_next_event() -> None:
    """The runtime client calls it before each wait; its method still takes no arguments."""
    import inspect

    from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient as Client

    original = Client.wait_next_invocation
    assert list(inspect.signature(original).parameters) == ["self"]
    calls: list[str] = []
    try:
        Client.wait_next_invocation = lambda _: calls.append("wait")
        after.run_after_responses(lambda: calls.append("work"))
        Client("127.0.0.1").wait_next_invocation()
    finally:
        Client.wait_next_invocation = original
    assert calls == ["work", "wait"]


def test_a_policy_that_cannot_be_read_captures_nothing() -> None:
    """Rows that would be redacted otherwise than was said are not kept; the log says why."""
    models = Models((Service(model("classifier"), "churn", "3"),))
    dropped: list[str] = []
    made = capturing(
        {"FNMODEL_CAPTURE": '{"rate": 1, "subject": "x"}'}, models,
        write=lambda _: None, dropped=lambda _, reason: dropped.append(reason),
    )  # fmt: skip

    assert made is None
    assert "FNMODEL_CAPTURE" in dropped[0]


def test_a_folder_is_laid_out_as_a_bucket(tmp_path: Path) -> None:
    """Many threads' rows come whole into one file of the hour."""
    moment = datetime(2026, 11, 27, 8, 30, tzinfo=UTC)
    write = into(tmp_path, "churn", lambda: moment)
    capture = Capture(
        Policy(rate=1), version="3", names=lambda _: (), write=write,
        dropped=lambda *_: None, point=lambda: 0.0, now=lambda: 0.0,
    )  # fmt: skip
    background = Background(capture)
    raw, answer = b'{"records": [{"a": 1}]}', Answer.of({"predictions": [1]}, rows=1)
    with ThreadPoolExecutor(4) as pool:
        for number in range(100):
            pool.submit(background.take, raw, answer, f"r{number}", "", "churn")
    deadline = time.monotonic() + 10
    lines: set[bytes] = set()
    while len(lines) < 100 and time.monotonic() < deadline:
        time.sleep(0.02)
        lines = {
            line
            for path in tmp_path.glob("capture/churn/live/2026/11/27/08/*.jsonl")
            for line in lines_of(path.read_bytes())
        }

    assert folder_of("churn", "live", moment) == "capture/churn/live/2026/11/27/08/"
    assert len({json.loads(line)["fnmodel"]["request_id"] for line in lines}) == 100


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("headers", "correlation", "trace"),
    [
        ({"x-correlation-id": "order-7"}, "order-7", None),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE, TRACE),
        ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, None, None),
        ({"x-correlation-id": "a\nb", "traceparent": "nonsense"}, None, None),
    ],
)
def test_a_record_joins_with_those_of_other_services(
    headers: dict[str, str], correlation: str | None, trace: str | None
) -> None:
    """It has the caller's correlation id, else the trace's, else its own; nothing odd is taken."""
    reports: list[Any] = []
    answer = direct(None, reports)(event(body={"records": [ROW]}, headers=headers), LIVE)
    [record] = reports

    assert record["correlation_id"] == (correlation or record["request_id"])
    assert record.get("trace_id") == trace
    assert (record["alias"], record["function_request_id"]) == ("live", "a1")
    echoed = answer["headers"].get("x-correlation-id")
    assert echoed == (record["correlation_id"] if "x-correlation-id" in headers else None)


def test_x_ray_s_trace_is_taken_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda names its trace in a variable of the environment."""
    root = "1-5759e988-bd862e3fe1be46a994272793"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1")
    reports: list[Any] = []
    direct(None, reports)(event(body={"records": [ROW]}), LIVE)

    assert reports[0]["trace_id"] == root


def test_a_traceback_in_the_log_holds_no_secret() -> None:
    """A model's own code may put what it was given into its error."""
    lines: list[str] = []
    report = EmfReport(model="churn", function="f", version="3", write=lines.append)
    record = {"method": "POST", "path": "/predict", "status": 500, "rows": 0, "latency_ms": 1.0}
    report({**record, "exception": "Traceback\nValueError: jane@example.com"})

    assert "ValueError: <email>" in json.loads(lines[0])["exception"]
    assert "jane" not in lines[0]


def test_a_container_writes_into_a_folder(tmp_path: Path) -> None:
    """The HTTP server captures, too; what it was told to redact is."""
    folder = tmp_path / "kept"
    policy = {"rate": 1, "fields": {"a": "drop"}}
    settings = {"FNMODEL_CAPTURE": json.dumps(policy), "FNMODEL_CAPTURE_DIR": str(folder)}
    with serving(model_folder("classifier"), tmp_path, **settings) as server:
        answer = server.ask("POST", "/predict", {"records": [ROW]})
        assert server.end() == 0
    [path] = folder.glob("capture/churn/live/*/*/*/*/*.jsonl")
    [line] = lines_of(path.read_bytes())

    assert data(line, "endpointInput") == {"b": 2, "c": 3}
    assert data(line, "endpointOutput") == json.loads(answer.body)["predictions"][0]
    identity = json.loads(line)["eventMetadata"]["inferenceId"]
    assert identity == f"{answer.headers['x-request-id']}/0"
