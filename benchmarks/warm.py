"""Requests in one warm process, by turns: what lies between `session.run` and an answer.

Times are of the processor, in short blocks: what else a busy machine does is not counted, though it
empties caches. What one row costs is the difference of the least tenths, all else is the median
over rounds of the ratio in a round.
"""

import contextlib
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from classifier import FEATURES, NAME, ROOT, binary, request, tensor
from goals import Goal

MANY = 1000
BLOCK = 0.001
"""Seconds of a block, about: a tenth of what a busy machine gives a process at a time."""

OVERHEAD = "row by name: µs over session.run"
TENSOR = "row in JSON: µs over session.run"
BINARY = "row in binary: µs over session.run"
REPORTED = "row with log and metrics: µs over session.run"
TYPICAL = "row: overhead, typical / by name"
TYPICAL_REPORTED = "row: overhead, typical / with log and metrics"
ROWS = "rows in JSON / session.run"
ROWS_BINARY = "rows in binary / session.run"
ROWS_UNPACKED = "rows in binary, without Base64 / session.run"
ROWS_BARE = "rows in JSON / bare function"
GOALS = {
    OVERHEAD: Goal(50, 120, at_most=True),
    TENSOR: Goal(50, 120, at_most=True),
    BINARY: Goal(50, 120, at_most=True),
    REPORTED: Goal(110, None, at_most=True),
    TYPICAL: Goal(15, 6),
    TYPICAL_REPORTED: Goal(10, 5),
    ROWS: Goal(1.7, 2.2, at_most=True),
    ROWS_BINARY: Goal(1.3, 1.6, at_most=True),
    ROWS_BARE: Goal(0.8, 1, at_most=True),
}

APP = """
import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel, create_model

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
names = [f"f{number}" for number in range(30)]
Row = create_model("Row", **{name: (float, ...) for name in names})

class Rows(BaseModel):
    records: list[Row]

app = FastAPI()

@app.post("/predict")
def predict(rows: Rows):
    values = [[getattr(row, name) for name in names] for row in rows.records]
    labels, scores = session.run(None, {"X": np.array(values, np.float32)})
    return {"predictions": [
        {"label": label, "probabilities": {"0": float(a), "1": float(b)}}
        for label, (a, b) in zip(labels.tolist(), scores)
    ]}
"""
"""A FastAPI application as tutorials have it; MODEL is the path of the model."""

Call = Callable[[], Any]


class Context:
    """Lambda's context of a request to an alias, with 30 seconds left."""

    aws_request_id = "5d2d6e0c-6f5f-4c1e-9f0e-0f6d1c1a7b11"
    invoked_function_arn = f"arn:aws:lambda:eu-central-1:123456789012:function:{NAME}:live"

    def get_remaining_time_in_millis(self) -> int:
        """As Lambda's."""
        return 30_000


def warm(folder: Path, rounds: int) -> dict[str, Any]:
    """Time all rungs; return the median µs of each, and the figures that have goals."""
    os.environ.update(FNMODEL_MODEL_DIR=str(folder), FNMODEL_MODEL_NAME=NAME)
    sys.path.insert(0, str(ROOT))
    import numpy as np

    rows = np.random.default_rng(7).normal(size=(MANY, FEATURES)).astype(np.float32)
    times = timed(rungs(folder, rows[:1]), rounds * 40) | timed(tables(folder, rows), rounds * 4)
    added = {
        name: least(times[rung]) - least(times["session.run"])
        for name, rung in (
            (OVERHEAD, "row by name"),
            (TENSOR, "row in JSON"),
            (BINARY, "row in binary"),
            (REPORTED, "row with log and metrics"),
        )
    }
    typical = least(times["typical FastAPI"]) - least(times["session.run"])
    return {
        **{f"{name} µs": statistics.median(values) for name, values in times.items()},
        **added,
        TYPICAL: typical / added[OVERHEAD],
        TYPICAL_REPORTED: typical / added[REPORTED],
        ROWS: ratio(times, "rows in JSON", "session.run, rows"),
        ROWS_BINARY: ratio(times, "rows in binary", "session.run, rows"),
        ROWS_UNPACKED: ratio(times, "rows in binary, without Base64", "session.run, rows"),
        "rows by name / session.run": ratio(times, "rows by name", "session.run, rows"),
        ROWS_BARE: ratio(times, "rows in JSON", "bare function, rows"),
    }


def capture(folder: Path, rounds: int) -> dict[str, Any]:
    """Time one row with and without capture, and the work after it; medians in µs."""
    os.environ.update(FNMODEL_MODEL_DIR=str(folder), FNMODEL_MODEL_NAME=NAME)
    from fnmodel.serve.boot import capturing, open_models
    from fnmodel.serve.direct import Direct
    from fnmodel.serve.report import EmfReport

    models = open_models(os.environ, "1")
    report = EmfReport(model=NAME, function=NAME, version="1", write=lambda _: None)
    policy = {"FNMODEL_CAPTURE": '{"rate": 1}'}
    capture = capturing(policy, models, write=lambda _: None, dropped=report.dropped)
    assert capture is not None
    context = Context()
    parts: dict[str, Any] = {
        "models": models, "report": report, "clock": time.perf_counter, "others": lambda: None
    }  # fmt: skip
    plain, capturer = Direct(**parts), Direct(**parts, capture=capture)
    event, count = request(), 200
    times: dict[str, list[float]] = {"without": [], "with": [], "after the response": []}
    for number in range(-1, rounds * 10):
        for name, call in (
            ("without", lambda: plain(event, context)),
            ("with", lambda: capturer(event, context)),
        ):
            started = time.perf_counter()
            for _ in range(count):
                call()
            if number >= 0:
                times[name].append((time.perf_counter() - started) / count * 1e6)
        started = time.perf_counter()
        capture.flush()
        if number >= 0:
            times["after the response"].append((time.perf_counter() - started) / count * 1e6)
    added = [a - b for a, b in zip(times["with"], times["without"], strict=True)]
    return {
        **{f"{name} µs": statistics.median(values) for name, values in times.items()},
        "added µs": statistics.median(added),
    }


def rungs(folder: Path, row: Any) -> dict[str, Call]:
    """Return the ladder of one row: each rung does a little more than the one before."""
    from fnmodel.serve.boot import open_models
    from fnmodel.serve.direct import Direct
    from fnmodel.serve.report import EmfReport

    models = open_models(os.environ, "1")
    report = EmfReport(model=NAME, function=NAME, version="1", write=lambda _: None)
    parts: dict[str, Any] = {"clock": time.perf_counter, "others": lambda: None}
    silent = Direct(models, report=lambda _: None, **parts)
    reporting = Direct(models, report=report, **parts)
    session, outputs = bare_session(folder)
    by_name, context = request(), Context()

    return {
        "session.run": lambda: session.run(outputs, {"X": row}),
        "bare function": partial(bare, session, outputs, tensor(row)),
        "row by name": partial(answered, silent, by_name, context),
        "row in JSON": partial(answered, silent, tensor(row), context),
        "row in binary": partial(answered, silent, binary(row), context),
        "row with log and metrics": partial(answered, reporting, by_name, context),
        "FastAPI without lifespan": partial(answered, plain(folder, "off"), by_name, context),
        "typical FastAPI": partial(answered, plain(folder, "auto"), by_name, context),
    }


def tables(folder: Path, rows: Any) -> dict[str, Call]:
    """Return the ladder of many rows."""
    from fnmodel.serve.boot import open_models
    from fnmodel.serve.direct import Direct
    from fnmodel.serve.endpoint import Call as Asked

    models = open_models(os.environ, "1")
    silent = Direct(
        models, report=lambda _: None, clock=time.perf_counter, others=lambda: lambda _, __: {}
    )
    session, outputs = bare_session(folder)
    packed, context = binary(rows), Context()
    headers = {key.encode(): value.encode() for key, value in packed["headers"].items()}
    raw = unpacked(packed["body"])
    return {
        "session.run, rows": lambda: session.run(outputs, {"X": rows}),
        "bare function, rows": partial(bare, session, outputs, tensor(rows)),
        "rows in JSON": partial(answered, silent, tensor(rows), context),
        "rows in binary": partial(answered, silent, packed, context),
        "rows in binary, without Base64": lambda: models.first.infer(
            Asked({"model": NAME}, headers, raw)
        ),
        "rows by name": partial(answered, silent, request(rows), context),
        "typical FastAPI, rows": partial(answered, plain(folder, "auto"), request(rows), context),
    }


def unpacked(body: str) -> bytes:
    """Return the bytes of an event's body."""
    from fnmodel.serve.octets import of_text

    return of_text(body)


def answered(handler: Any, event: Any, context: Any) -> None:
    """Have an event answered, which has to go well."""
    assert handler(event, context)["statusCode"] == 200


def bare_session(folder: Path) -> tuple[Any, list[str]]:
    """Open the model by onnxruntime's own package; return the names of its outputs too."""
    from fnmodel.engine import by_package

    session = by_package((folder / "model.onnx").read_bytes(), threads=1)
    return session, [output.name for output in session.get_outputs()]


def bare(session: Any, outputs: list[str], event: dict[str, Any]) -> dict[str, Any]:
    """Answer a tensor in JSON, and check nothing."""
    import numpy as np
    import orjson

    data = orjson.loads(event["body"])["inputs"][0]["data"]
    values = np.asarray(data, np.float32).reshape(-1, FEATURES)
    labels, scores = session.run(outputs, {"X": values})
    body = orjson.dumps({"label": labels, "scores": scores}, option=orjson.OPT_SERIALIZE_NUMPY)
    return {"statusCode": 200, "body": body.decode()}


def plain(folder: Path, lifespan: Any) -> Any:
    """Return the application of APP behind Mangum; `auto` is what Mangum does unless told."""
    from mangum import Mangum

    namespace: dict[str, Any] = {"MODEL": str(folder / "model.onnx"), "__name__": "plain"}
    exec(APP, namespace)  # noqa: S102 - the same text that its server runs
    return Mangum(namespace["app"], lifespan=lifespan)


def timed(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Let calls take turns; return the microseconds of one in each round."""
    import gc

    often = {}
    with contextlib.redirect_stderr(io.StringIO()):
        for name, call in calls.items():
            call()
            started = time.process_time()
            call()
            once = time.process_time() - started
            often[name] = max(1, min(20, round(BLOCK / max(once, 1e-6))))
    gc.collect()
    gc.freeze()  # as `boot` does; what the benchmark has loaded is not to be looked through
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-3, rounds):
        for name, call in calls.items():
            call()  # what the other calls have put out of the caches
            started = time.process_time()
            for _ in range(often[name]):
                call()
            elapsed = (time.process_time() - started) / often[name] * 1e6
            if number >= 0:
                times[name].append(elapsed)
    return times


def least(values: list[float]) -> float:
    """Return the least tenth's upper bound: what a call takes where little disturbs it."""
    return sorted(values)[len(values) // 10]


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """Return the median over rounds of a ratio."""
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))
