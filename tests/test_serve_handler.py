"""The Lambda function as the runtime starts it: one process, recorded events, real stdout."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from binary_cases import packed, request
from serve_cases import EVENTS, event, gateway, model_folder

from fnmodel.serve.report import EmfReport

ROOT = Path(__file__).parent.parent

DRIVER = """
import json, sys
from handlers import model

class Context:
    aws_request_id = "8f5b5e0c-lambda"
    function_version = "3"

for line in sys.stdin:
    try:
        answer = model.handler(json.loads(line), Context())
    except Exception as error:
        answer = {"raised": type(error).__name__, "message": str(error)}
    print("ANSWER " + json.dumps(answer), flush=True)
print("MODULES " + json.dumps(sorted(sys.modules)))
"""


def run(
    folder: Path, events: list[Any], **variables: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """Run the handler in a fresh process; return answers, log lines, and what stderr got."""
    environ = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FNMODEL_MODEL_DIR": str(folder),
        "FNMODEL_MODEL_NAME": "churn", "AWS_LAMBDA_FUNCTION_VERSION": "3",
        "AWS_LAMBDA_FUNCTION_NAME": "fnmodel-churn-dev", "ORT_DISABLE_TELEMETRY": "1",
        **variables,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input="".join(json.dumps(item) + "\n" for item in events),
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.splitlines()
    answers = [json.loads(line[7:]) for line in lines if line.startswith("ANSWER ")]
    logs = [json.loads(line) for line in lines if line.startswith("{")]
    modules = next(line for line in lines if line.startswith("MODULES "))
    return answers, logs, done.stderr + modules


def recorded(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_bytes())


def test_recorded_events() -> None:
    """One process answers requests in both encodings and refuses what is neither kind of event."""
    names = ["predict", "infer", "ready", "sqs"]
    no_event = [
        {},
        [],
        None,
        7,
        "warm",
        {"version": "2.0"},
        {"version": "1.0", "httpMethod": "GET"},
    ]
    others = [{"Records": [{"s3": {}}]}, {"source": "aws.events", "detail-type": "Scheduled Event"}]

    answers, logs, rest = run(
        model_folder("classifier"),
        [*map(recorded, names), *no_event, *others, {"fnmodel": "batch", "job": "x"}],
    )

    predicted, inferred, ready, *refused = answers
    assert [predicted["statusCode"], inferred["statusCode"], ready["statusCode"]] == [200] * 3
    assert json.loads(predicted["body"])["predictions"][0]["label"] == "no"
    assert json.loads(inferred["body"])["id"] == "7"
    assert json.loads(ready["body"]) == {"live": True, "ready": True}
    assert predicted["headers"]["x-request-id"] == "JKJaXmPLvHcESHA="
    assert predicted["headers"]["x-model-version"] == "3"
    assert [item["raised"] for item in refused] == ["InputError"] * 10 + ["BatchError"]
    assert "'bucket' is missing" in refused[-1]["message"]
    assert [line["cold_start"] for line in logs] == [1, 0, 0]
    assert logs[0]["function_name"] == "fnmodel-churn-dev"
    for name in ("sklearn", "onnx", "pandas", "typer", "rich", "yaml"):
        assert f'"{name}"' not in rest


def test_requests_do_not_pay_for_what_they_do_not_use() -> None:
    """A function that only answers requests loads nothing of batch, of HTTP, or of snapshots."""
    _, _, rest = run(model_folder("classifier"), [recorded("predict")])

    batch = ("boto3", "botocore", "aws_lambda_powertools", "fnmodel.batch.run")
    http = ("asyncio", "h11", "httptools", "uvicorn", "fnmodel.serve.server")
    for name in (*batch, *http, "snapshot_restore_py", "fnmodel.serve.snapshot"):
        assert f'"{name}"' not in rest


def test_small_requests_do_not_pay_for_numpy() -> None:
    """Neither numpy nor onnxruntime's Python is imported before a request is large."""
    rows = {"records": [{"a": 1.5, "b": 2, "c": -0.5}] * 3000}
    small = [recorded(name) for name in ("predict", "infer", "ready")]
    body, headers = request(
        [("X", "FP32", (1, 3), packed("FP32", [1.5, 2, -0.5]))],
        outputs=[{"name": "probabilities", "parameters": {"classification": 1}}, {"name": "label"}],
        parameters={"binary_data_output": True},
    )
    small.append(event(path="/v2/models/churn/infer", body=body, headers=headers))

    answered, _, rest = run(model_folder("classifier"), [*small, event(body="[")])
    answers, _, after = run(model_folder("classifier"), [event(body=rows)])

    assert [answer["statusCode"] for answer in answered] == [200, 200, 200, 200, 400]
    for name in ("numpy", "onnxruntime", "fastapi", "fnmodel.inference"):
        assert f'"{name}"' not in rest
    assert len(json.loads(answers[0]["body"])["predictions"]) == 3000
    assert '"numpy"' in after
    assert '"onnxruntime"' not in after


SNAPSHOT = """
import json, random, ssl, sys, uuid
from handlers import model
from awslambdaric import lambda_runtime_hooks_runner as hooks

event = json.loads(sys.stdin.read())
said = []
random.seed(7)
hooks.run_before_snapshot()
expected = random.Random(7).random()
kept = random.getstate() == random.Random(7).getstate()
seen = []
for _ in range(2):  # two copies of one memory
    random.seed(7)
    hooks.run_after_restore()
    answer = model.handler(event, None)
    seen.append([random.random(), str(uuid.uuid4()), answer["body"], answer["statusCode"]])
sys.stderr.write(json.dumps({"seen": seen, "expected": expected, "kept": kept}))
"""


def test_copies_of_a_snapshot(tmp_path: Path) -> None:
    """Each copy has random numbers of its own and the session that was loaded before.

    The warm-up leaves no line in the log, so that a copy's first request is its cold start.
    """
    folder = shutil.copytree(model_folder("classifier"), tmp_path / "model")
    asked = json.loads(base64.b64decode(recorded("infer")["body"]))
    (folder / "probe.json").write_text(json.dumps({"request": asked}))
    environ = {
        **os.environ, "FNMODEL_MODEL_DIR": str(folder), "FNMODEL_MODEL_NAME": "churn",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", SNAPSHOT], input=json.dumps(recorded("predict")), env=environ,
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    found = json.loads(ran.stderr)
    first, second = found["seen"]
    assert found["kept"]
    assert len({first[0], second[0], found["expected"]}) == 3
    assert first[1] != second[1]
    assert first[2:] == second[2:]
    assert first[3] == 200
    assert [json.loads(line)["cold_start"] for line in ran.stdout.splitlines()] == [1, 0]


def damage(folder: Path, how: str) -> None:
    match how:
        case "truncated model":
            (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:40])
        case "model missing":
            (folder / "model.onnx").unlink()
        case "signature missing":
            (folder / "signature.json").unlink()
        case "signature of another form":
            (folder / "signature.json").write_text('{"task": "classification"}')
        case "empty":
            shutil.rmtree(folder)


@pytest.mark.parametrize(
    "how",
    ["truncated model", "model missing", "signature missing", "signature of another form", "empty"],
)
def test_model_that_cannot_be_loaded(tmp_path: Path, how: str) -> None:
    """The function starts, says 503 with a reason that names no path, and logs the whole truth."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder("classifier"), folder)
    damage(folder, how)

    answers, _, rest = run(folder, [recorded("ready"), recorded("predict"), recorded("batch")])

    ready, predicted, batch = answers
    assert (ready["statusCode"], predicted["statusCode"]) == (503, 503)
    reason = json.loads(ready["body"])["error"]
    assert "cannot be loaded" in reason
    assert "/" not in reason
    assert batch["raised"] == "BatchError"
    assert "Error: " in rest


def test_a_waiting_application_is_answered() -> None:
    """A route that awaits something real works, at Mangum's own pace."""
    import asyncio

    entry = gateway("classifier").framework

    @entry.app.get("/slow")
    async def slow() -> dict[str, bool]:
        await asyncio.sleep(0)
        return {"slow": True}

    answer = entry(event(method="GET", path="/slow"), None)

    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"slow": True})


def test_report_is_a_metric_and_a_log_line() -> None:
    """The line is JSON on one line; its EMF metrics all have values in it."""
    lines: list[str] = []
    report = EmfReport(
        model="churn", function="f", version="3", write=lines.append, now=lambda: 1.5
    )
    record = {"method": "GET", "path": "/\n", "latency_ms": 0.5, "rows": 0, "request_id": "r"}

    report({**record, "status": 200})
    report({**record, "status": 404})
    report({**record, "status": 500, "exception": "Traceback\nline"})

    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines)
    parsed = [json.loads(line) for line in lines]
    emf = parsed[0]["_aws"]["CloudWatchMetrics"][0]
    assert parsed[0]["_aws"]["Timestamp"] == 1500
    for dimensions in emf["Dimensions"]:
        assert all(isinstance(parsed[0][name], str) for name in dimensions)
    names = [metric["Name"] for metric in emf["Metrics"]]
    assert all(isinstance(line[name], int | float) for line in parsed for name in names)
    assert [line["client_errors"] for line in parsed] == [0, 1, 0]
    assert [line["server_errors"] for line in parsed] == [0, 0, 1]
    assert [line["cold_start"] for line in parsed] == [1, 0, 0]
    assert [line["level"] for line in parsed] == ["INFO", "INFO", "ERROR"]


def test_a_replayed_request_counts_as_nothing_else() -> None:
    """By a version's number it is one of `replays`; by an alias the header hides nothing."""
    lines: list[str] = []
    report = EmfReport(model="churn", function="f", version="3", write=lines.append)
    record = {"method": "POST", "path": "/predict", "latency_ms": 0.5, "rows": 1, "request_id": "r"}

    report({**record, "status": 500, "replay": "v2-b"})
    [directive] = json.loads(lines[0])["_aws"]["CloudWatchMetrics"]

    assert [metric["Name"] for metric in directive["Metrics"]] == ["replays"]
    assert directive["Dimensions"] == [["function_name"]]
    assert (json.loads(lines[0])["level"], json.loads(lines[0])["replay"]) == ("ERROR", "v2-b")

    asked = event(headers={"x-fnmodel-replay": "v2-b"})
    served = gateway("classifier")
    for qualifier in ("3", "live"):
        arn = f"arn:aws:lambda:eu-central-1:123456789012:function:f:{qualifier}"
        served.direct(asked, SimpleNamespace(invoked_function_arn=arn))
    assert [one.get("replay") for one in served.reports] == ["v2-b", None]


def test_the_web_framework_is_loaded_when_something_else_is_asked(tmp_path: Path) -> None:
    """A prediction needs neither FastAPI nor Mangum; the OpenAPI document brings both."""
    program = """
import json, sys
from handlers import model
events = json.load(open(sys.argv[1]))
said = []
for event in events:
    said.append(model.handler(event, None)["statusCode"])
    said.append(sorted({"fastapi", "mangum", "pydantic", "starlette"} & set(sys.modules)))
sys.stderr.write(json.dumps(said))
"""
    row = {"a": 1, "b": 2, "c": 3}
    path = tmp_path / "events.json"
    path.write_text(
        json.dumps(
            [
                event(body={"records": [row]}),
                event(body={"records": [{}]}),
                event(method="GET", path="/v2/health/ready"),
                event(method="GET", path="/openapi.json"),
                event(method="GET", path="/nowhere"),
            ]
        )
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, "FNMODEL_MODEL_DIR": str(model_folder("classifier"))},
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip

    everything = ["fastapi", "mangum", "pydantic", "starlette"]
    assert json.loads(ran.stderr) == [200, [], 400, [], 200, [], 200, [], 404, everything]
