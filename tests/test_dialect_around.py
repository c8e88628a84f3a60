"""What every request has around it holds for the dialects' paths, too."""

import base64
import gzip
import json
import math
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from capture_cases import KEY, memory
from dialect_cases import CSV, EMBEDDINGS, INVOCATIONS, JSON, LINES, PREDICT
from http_cases import Server, serving
from serve_cases import event, model, model_folder

from fnmodel.capture.line import lines_of
from fnmodel.capture.redact import Policy, hashed
from fnmodel.serve.admission import Admission
from fnmodel.serve.capture import Capture
from fnmodel.serve.direct import Direct
from fnmodel.serve.model import Model
from fnmodel.serve.models import Models
from fnmodel.serve.refusal import RefusalError
from fnmodel.serve.report import EmfReport
from fnmodel.serve.service import Service

LIVE = SimpleNamespace(
    aws_request_id="a1",
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:fnmodel-churn-dev:live",
)
ENDPOINT = "/endpoints/churn/invocations"
PATHS = ((INVOCATIONS, JSON), (ENDPOINT, JSON), (PREDICT, JSON), (EMBEDDINGS, JSON))


def direct(name: str, report: Any = lambda _: None, capture: Capture | None = None) -> Direct:
    return Direct(
        Models((Service(model(name), "churn", "3"),)),
        report=report,
        clock=time.perf_counter,
        others=lambda: pytest.fail("the web framework is asked"),
        capture=capture,
    )


def data(line: bytes, side: str) -> Any:
    return json.loads(json.loads(line)["captureData"][side]["data"])


ROWS = [{"age": 1, "income": None, "plan": "gold", "visits": 3},
        {"age": 2, "income": 4.5, "plan": "x@example.com", "visits": 5}]  # fmt: skip
VALUES = [[*row.values()] for row in ROWS]
TABLE = b"1,,gold,3\n2,4.5,x@example.com,5\n"
SENT = {
    "split": (INVOCATIONS, {"dataframe_split": {"columns": [*ROWS[0]], "data": VALUES}}, JSON),
    "records": (INVOCATIONS, {"dataframe_records": ROWS}, JSON),
    "instances": (INVOCATIONS, {"instances": ROWS}, JSON),
    "columns": (INVOCATIONS, {"inputs": {key: [r[key] for r in ROWS] for key in ROWS[0]}}, JSON),
    "CSV": (INVOCATIONS, b"age,income,plan,visits\n" + TABLE, CSV),
    "SageMaker's CSV": (ENDPOINT, TABLE, CSV),
    "gzip": (ENDPOINT, gzip.compress(TABLE), {**CSV, "content-encoding": "gzip"}),
    "deflate": (ENDPOINT, zlib.compress(TABLE), {**CSV, "content-encoding": "deflate"}),
    "CSV both ways": (ENDPOINT, TABLE, {**CSV, "accept": "text/csv"}),
    "lines": (ENDPOINT, "\n".join(map(json.dumps, ROWS)), LINES),
    "lines both ways": (
        ENDPOINT, "\n".join(map(json.dumps, VALUES)), {**LINES, "accept": LINES["content-type"]},
    ),
    "TF-Serving's rows": (PREDICT, {"instances": ROWS}, JSON),
    "TF-Serving's columns": (
        PREDICT, {"inputs": {key: [[row[key]] for row in ROWS] for key in ROWS[0]}}, JSON,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENT)
def test_capture(name: str) -> None:
    """Rows of every form are captured by feature, redacted as told, each with its prediction."""
    policy = Policy(rate=1, fields={"visits": "drop"}, subject="age", key=KEY)
    capture, written, dropped = memory(policy)
    path, body, headers = SENT[name]

    answer = direct("mixed", capture=capture)(event(path=path, body=body, headers=headers), LIVE)
    capture.flush()
    lines = list(lines_of(b"".join(written)))

    assert answer["statusCode"] == 200
    assert dropped == []
    subjects = [hashed(KEY, row["age"]) for row in ROWS]
    assert [data(line, "endpointInput") for line in lines] == [
        {"age": subjects[0], "income": None, "plan": "gold"},
        {"age": subjects[1], "income": 4.5, "plan": "<email>"},
    ]
    assert [json.loads(line)["fnmodel"]["subject"] for line in lines] == subjects
    predictions = [data(line, "endpointOutput") for line in lines]
    assert [p[0] if isinstance(p, list) else p for p in predictions] == [1014.0, 7.0]


# Of the row below, the classifier's scores are 0.85 and -0.85.
SHARE = 1 / (1 + math.exp(-1.7))
ATTRIBUTES = {"x-amzn-sagemaker-custom-attributes": "predict_fn=predict_proba"}


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"1,2,3\n", {**CSV, "accept": "text/csv"}, "yes"),
        (b"1,2,3\n", CSV, "yes"),
        (b'{"inputs": [[-2, 0, 0.25]], "params": {"predict_fn": "predict_proba"}}',
         {**JSON, "accept": "text/csv"}, [SHARE, 1 - SHARE]),
        (b"-2,0,0.25\n", {**CSV, **ATTRIBUTES, "accept": "text/csv"}, [SHARE, 1 - SHARE]),
    ],
)  # fmt: skip
def test_capture_of_labels_and_probabilities(
    body: bytes, headers: dict[str, str], expected: Any
) -> None:
    """What is captured of a prediction in CSV is a label or numbers, as in JSON."""
    capture, written, dropped = memory(Policy(rate=1))
    sent = event(path=INVOCATIONS, body=body, headers=headers)

    direct("classifier", capture=capture)(sent, LIVE)
    capture.flush()

    assert dropped == []
    found = data(written[0], "endpointOutput")
    assert found == (expected if isinstance(expected, str) else pytest.approx(expected))


def test_capture_of_tensors_and_texts() -> None:
    """Tensors are captured row by row, vectors as numbers whatever the caller reads them as."""
    kinds = {"FP32": 1.5, "INT8": 1, "UINT64": 2, "BOOL": True, "BYTES": "a"}
    tensors = {f"in_{kind}": [[value, value]] * 2 for kind, value in kinds.items()}
    answers = {f"out_{kind}": [value, value] for kind, value in kinds.items()}
    for path, body in ((PREDICT, {"inputs": tensors}), (INVOCATIONS, {"inputs": tensors})):
        capture, written, dropped = memory(Policy(rate=1))
        direct("tensors", capture=capture)(event(path=path, body=body, headers=JSON), LIVE)
        capture.flush()
        lines = list(lines_of(b"".join(written)))

        assert dropped == []
        row = {name: pairs[0] for name, pairs in tensors.items()}
        assert [data(line, "endpointInput") for line in lines] == [row, row]
        assert [data(line, "endpointOutput") for line in lines] == [answers, answers]

    found = []
    for form in ("float", "base64"):
        capture, written, _ = memory(Policy(rate=1))
        asked = {"model": "churn", "input": ["good wine"], "encoding_format": form}
        direct("embedder", capture=capture)(event(path=EMBEDDINGS, body=asked), LIVE)
        capture.flush()
        assert data(written[0], "endpointInput") == {"text": "good wine"}
        found.append(data(written[0], "endpointOutput"))
    assert found[0] == found[1]
    assert len(found[0]) == 6


def test_a_request_leaves_a_record() -> None:
    """Latency, rows, sizes and correlation are reported, and the caller's ids given back."""
    records: list[dict[str, Any]] = []
    headers = {**CSV, "x-correlation-id": "mine"}

    answer = direct("mixed", records.append)(
        event(path=ENDPOINT, body=TABLE, headers=headers), LIVE
    )

    assert answer["headers"]["x-correlation-id"] == "mine"
    assert answer["headers"]["x-model-version"] == "3"
    (record,) = records
    kept = ("method", "path", "status", "rows", "request_bytes", "correlation_id", "alias")
    assert [record[key] for key in kept] == ["POST", ENDPOINT, 200, 2, len(TABLE), "mine", "live"]
    assert record["response_bytes"] == len(answer["body"])
    lines: list[str] = []
    EmfReport(model="churn", function="f", version="3", write=lines.append)(record)
    assert json.loads(lines[0])["client_errors"] == 0


def test_answers_are_compressed() -> None:
    """A large answer is compressed where the caller takes it, in any form of text."""
    headers = {**CSV, "accept": "text/csv", "accept-encoding": "gzip"}

    answer = direct("mixed")(event(path=ENDPOINT, body=TABLE * 800, headers=headers), None)

    assert answer["headers"]["content-encoding"] == "gzip"
    assert answer["headers"]["content-type"] == "text/csv; charset=utf-8"
    assert gzip.decompress(base64.b64decode(answer["body"])) == b"1014.0\n7.0\n" * 800


@pytest.mark.parametrize("path", [INVOCATIONS, ENDPOINT, PREDICT])
def test_a_slow_model_is_stopped(path: str) -> None:
    """A model over its time is a 504 in the dialect's form, and the next request is answered."""
    handler = direct("slow")
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 700)

    started = time.monotonic()
    late = handler(event(path=path, body={"instances": [[1e9]]}, headers=JSON), context)
    seconds = time.monotonic() - started
    good = handler(event(path=path, body={"instances": [[3]]}, headers=JSON), context)

    assert late["statusCode"] == 504
    assert "batch" in json.loads(late["body"])["error"]
    assert seconds < 2
    assert good["statusCode"] == 200


@pytest.mark.parametrize(("path", "headers"), PATHS)
def test_a_model_that_is_not_loaded(path: str, headers: dict[str, str]) -> None:
    """Predictions and probes are a 503 with the reason, and the log of errors stays quiet."""

    def refusing() -> Model:
        raise RefusalError(503, "the reason")

    handler = Direct(
        Models((Service(refusing, "churn", "3"),)),
        report=lambda _: None,
        clock=time.perf_counter,
        others=lambda: pytest.fail("the web framework is asked"),
    )

    body = b'{"model": "churn"}'
    answer = handler(event(path=path, body=body, headers=headers), None)

    assert answer["statusCode"] == 503
    assert "the reason" in answer["body"]
    for probe in ("/", "/ping", "/health", "/v1/models/churn"):
        assert handler(event(method="GET", path=probe), None)["statusCode"] == 503
    for told in ("/version", "/v1/models"):
        assert handler(event(method="GET", path=told), None)["statusCode"] == 200


@pytest.mark.parametrize(("path", "headers"), PATHS)
def test_keys_are_held_to_their_scope(path: str, headers: dict[str, str]) -> None:
    """A key that may only read metadata is refused before a dialect sees its request."""
    admission = Admission(direct("mixed"), version="3", report=lambda _: None)
    for scopes, method, asked, status in (
        ("metadata", "POST", path, 403),
        ("predict", "POST", path, 400),
        ("metadata", "GET", "/v1/models/churn", 200),
        ("predict", "GET", "/ping", 403),
    ):
        sent = event(method=method, path=asked, body=b'{"model": "churn"}', headers=headers)
        key = {"key": "k", "scopes": scopes, "expires": "0", "rate": "0"}
        sent["requestContext"]["authorizer"] = {"lambda": key}

        assert admission(sent, None)["statusCode"] == status


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        model_folder("mixed"), tmp_path_factory.mktemp("host"), FNMODEL_BODY_LIMIT="1000"
    ) as started:
        yield started


@pytest.mark.parametrize("name", SENT)
def test_over_plain_http(server: Server, name: str) -> None:
    """The host without Lambda gives the same answer, with its type."""
    path, body, headers = SENT[name]
    if isinstance(body, dict):
        body = json.dumps(body)
    expected = direct("mixed")(event(path=path, body=body, headers=headers), None)

    answer = server.ask("POST", path, body, headers)

    assert answer.status == 200
    assert answer.body.decode() == expected["body"]
    assert answer.headers["content-type"] == expected["headers"]["content-type"]


def test_probes_over_plain_http(server: Server) -> None:
    """MLflow's, SageMaker's and KServe's probes are answered, and stay out of the log."""
    before = len(server.lines)
    answers = {path: server.ask("GET", path) for path in ("/", "/ping", "/health", "/version")}

    assert {path: answer.body for path, answer in answers.items()} == {
        "/": b'{"status":"alive"}', "/ping": b"\n", "/health": b"\n", "/version": b"3",
    }  # fmt: skip
    assert len(server.lines) == before


@pytest.mark.parametrize(("path", "key"), [(INVOCATIONS, "error_code"), (ENDPOINT, "code")])
def test_limits_over_plain_http(server: Server, path: str, key: str, tmp_path: Path) -> None:
    """What the host itself refuses has the form of the dialect."""
    answer = server.ask("POST", path, b"x" * 1001, JSON)

    assert answer.status == 413
    assert key in json.loads(answer.body)


def test_capture_of_several_models() -> None:
    """Rows and records are of the model that answered, whatever says which it is."""
    services = tuple(
        Service(model(name), name, "3") for name in ("classifier", "mixed", "embedder")
    )
    capture, written, _ = memory(Policy(rate=1))
    records: list[dict[str, Any]] = []
    handler = Direct(
        Models(services, named=True), report=records.append, clock=time.perf_counter,
        others=lambda: pytest.fail("the web framework is asked"), capture=capture,
    )  # fmt: skip
    target = {"x-amzn-sagemaker-target-model": "mixed"}
    for path, body, headers in (
        (INVOCATIONS, b"1,2,3", CSV),
        (INVOCATIONS, TABLE, {**CSV, **target}),
        (EMBEDDINGS, b'{"model": "embedder", "input": "good"}', JSON),
    ):
        handler(event(path=path, body=body, headers=headers), LIVE)
    capture.flush()

    lines = list(lines_of(b"".join(written)))
    found = [json.loads(line)["fnmodel"]["model"] for line in lines]
    assert found == ["classifier", "mixed", "mixed", "embedder"]
    assert [record["model"] for record in records] == ["classifier", "mixed", "embedder"]


def test_a_refusal_is_counted_for_the_model_that_was_asked() -> None:
    """Its record names the model of the header, the path, or the first; never one made up."""
    reports: list[Any] = []
    services = Service(model("classifier"), "one", "3"), Service(model("mixed"), "two", "3")
    asked = Direct(
        Models(services, named=True),
        report=reports.append,
        clock=time.perf_counter,
        others=lambda: pytest.fail("the web framework is asked"),
    )
    target = "x-amzn-sagemaker-target-model"
    for path, more in (
        (INVOCATIONS, {}),
        (INVOCATIONS, {target: "two"}),
        ("/endpoints/one/invocations", {target: "two"}),
        ("/endpoints/two/invocations", {}),
        (INVOCATIONS, {target: "made-up"}),
    ):
        asked(event(path=path, body={"instances": [[1]]}, headers={**JSON, **more}), LIVE)

    assert [one["status"] for one in reports] == [400, 400, 400, 400, 404]
    assert [one.get("model") for one in reports] == ["one", "two", "two", "two", None]
