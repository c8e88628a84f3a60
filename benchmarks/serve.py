"""What the endpoint costs above bare ONNX Runtime: cold start, one row in a warm process, HTTP.

    python benchmarks/serve.py [--rounds 9] [--only cold|http|warm] [--check] [--json]

Cold: a fresh process from its start to its first answer, against one that imports onnxruntime,
opens the same model with default settings and runs it once; the two alternate, and the ratio is
the median over rounds of the ratio in a round. `tuned floor` is the floor with one thread in
ONNX Runtime and OpenBLAS. `make bench-cold` measures it in the image, with goals. Warm: the
microseconds of a call in one process, by turns, from `session.run` of onnxruntime's Python package
up to a plain FastAPI application with pydantic; what lies above `session.run` is of the least
times, which a busy machine disturbs least. HTTP: requests a second of one row over 8 connections,
the image's server against that application, both under uvicorn with httptools, by turns. Capture:
what it adds to a request to capture its row, and what is done for that after the response.

Goals: one row at most 50 µs above the bare run (gate 120), and a plain application 4 times ours
(gate 3); 1,000 rows of 30 floats as a tensor in JSON at most 1.7 of the bare run (gate 3.5, since
the parsing of JSON alone takes nearly as long as the run), and 1.1 of a function that checks
nothing (gate 1.5); over HTTP 1.5 times a plain application (gate 1.2). `--check` fails where a gate
is missed. What is compared with `session.run` needs a machine that does nothing else.
"""

import argparse
import contextlib
import io
import json
import operator
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from goals import Goal

ROOT = Path(__file__).resolve().parent.parent
FEATURES = 30
MANY = 1000

OVERHEAD = "least overhead µs"
PLAIN_RATIO = "plain FastAPI / handler"
ROWS = "rows: handler / session.run"
NAMED = "rows by name: handler / session.run"
CHECKED = "rows: handler / bare function"
HTTP = "ours / plain"
GOALS = {
    OVERHEAD: Goal(50, 120, at_most=True),
    PLAIN_RATIO: Goal(4, 3),
    ROWS: Goal(1.7, 3.5, at_most=True),
    CHECKED: Goal(1.1, 1.5, at_most=True),
    HTTP: Goal(1.5, 1.2),
}

FLOOR = """
import sys
import numpy as np
import onnxruntime as ort
options = ort.SessionOptions()
if sys.argv[2] == "tuned":
    options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"X": np.ones((1, 30), np.float32)})
"""

HANDLER = """
import json, sys
event = json.load(open(sys.argv[1]))
from handlers import model
assert model.handler(event, None)["statusCode"] == 200
"""


PLAIN_APP = """
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

PLAIN = f"""
import os, sys
import uvicorn
MODEL = sys.argv[1]
{PLAIN_APP}
port = int(os.environ["PORT"])
uvicorn.run(app, host="127.0.0.1", port=port, http="httptools", log_level="warning")
"""


def train() -> tuple[Any, Any]:
    """Return a gradient-boosted classifier and its rows: 100 trees, 30 features, two classes."""
    import numpy as np
    from sklearn.ensemble import GradientBoostingClassifier

    chance = np.random.default_rng(7)
    rows = chance.normal(size=(2000, FEATURES)).astype(np.float32)
    model = GradientBoostingClassifier(n_estimators=100, random_state=7)
    return model.fit(rows, rows[:, 0] + rows[:, 1] ** 2 > 0.5), rows


def write_model(folder: Path) -> None:
    """Write the classifier of `train` as a model directory."""
    from skl2onnx import to_onnx

    from fnmodel.model import Feature, Signature, Tensor

    model, rows = train()
    onnx_model = to_onnx(model, rows[:1], options={"zipmap": False})
    signature = Signature(
        task="classification",
        inputs=(Tensor("X", "FP32", (-1, FEATURES)),),
        outputs=(Tensor("label", "INT64", (-1,)), Tensor("probabilities", "FP32", (-1, 2))),
        features=tuple(Feature(f"f{n}", "FP32") for n in range(FEATURES)),
        classes=(0, 1),
        label="label",
        scores="probabilities",
    )
    (folder / "model.onnx").write_bytes(onnx_model.SerializeToString())
    (folder / "signature.json").write_text(json.dumps(signature.to_json()))
    (folder / "probe.json").write_text("{}")


def request(rows: Any = None) -> dict[str, Any]:
    """Return an HTTP API event with one row, or with those of an array, by name."""
    event: dict[str, Any] = json.loads((ROOT / "tests" / "events" / "predict.json").read_bytes())
    values = [[round(0.1 * n, 1) for n in range(FEATURES)]] if rows is None else rows.tolist()
    records = [{f"f{n}": value for n, value in enumerate(row)} for row in values]
    event["body"] = json.dumps({"records": records})
    return event


def tensor(rows: Any) -> dict[str, Any]:
    """Return an HTTP API event with the rows of an array as one tensor."""
    event = request()
    event["requestContext"]["http"]["path"] = event["rawPath"] = "/v2/models/bench/infer"
    # The shortest text that gives the same FP32, as clients that know the type send it.
    data = [float(str(value)) for value in rows.reshape(-1)]
    inputs = [{"name": "X", "datatype": "FP32", "shape": rows.shape, "data": data}]
    event["body"] = json.dumps({"inputs": inputs})
    return event


def cold(folder: Path, rounds: int) -> dict[str, Any]:
    """Time whole processes, alternating; return medians in ms and the ratios to the floor."""
    event = folder / "event.json"
    event.write_text(json.dumps(request()))
    environ = {
        **os.environ, "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1",
        "FNMODEL_MODEL_DIR": str(folder), "FNMODEL_MODEL_NAME": "bench",
    }  # fmt: skip
    tuned = {**environ, "OPENBLAS_NUM_THREADS": "1"}
    model = str(folder / "model.onnx")
    variants: dict[str, tuple[list[str], dict[str, str]]] = {
        "floor": ([FLOOR, model, "default"], environ),
        "tuned floor": ([FLOOR, model, "tuned"], tuned),
        "handler": ([HANDLER, str(event)], tuned),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(-1, rounds):  # the first round only warms the page cache
        for name, (arguments, variables) in variants.items():
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", *arguments],
                env=variables,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            if number >= 0:
                times[name].append((time.perf_counter() - started) * 1000)
    ratios = [h / f for h, f in zip(times["handler"], times["floor"], strict=True)]
    tuned_ratios = [h / f for h, f in zip(times["handler"], times["tuned floor"], strict=True)]
    return {
        **{f"{name} ms": statistics.median(values) for name, values in times.items()},
        "handler / floor": statistics.median(ratios),
        "handler / tuned floor": statistics.median(tuned_ratios),
    }


def warm(folder: Path, rounds: int) -> dict[str, Any]:
    """Time the ladder in this process: median µs of alternating blocks, and what lies between.

    The rungs of one row: `session.run`, a bare function around it, our handler, and a plain
    FastAPI application behind Mangum. 1,000 rows come as a tensor, or by name.
    """
    os.environ.update(FNMODEL_MODEL_DIR=str(folder), FNMODEL_MODEL_NAME="bench")
    sys.path.insert(0, str(ROOT))
    import numpy as np
    import orjson

    from fnmodel.engine import by_package
    from handlers import model

    session = by_package((folder / "model.onnx").read_bytes(), threads=1)
    outputs = [output.name for output in session.get_outputs()]
    rows = np.random.default_rng(7).normal(size=(MANY, FEATURES)).astype(np.float32)

    def bare(event: dict[str, Any]) -> dict[str, Any]:
        data = orjson.loads(event["body"])["inputs"][0]["data"]
        values = np.asarray(data, np.float32).reshape(-1, FEATURES)
        labels, scores = session.run(outputs, {"X": values})
        body = orjson.dumps({"label": labels, "scores": scores}, option=orjson.OPT_SERIALIZE_NUMPY)
        return {"statusCode": 200, "body": body.decode()}

    mangum = _plain(folder)
    one, named, many = request(), request(rows), tensor(rows)
    single = tensor(rows[:1])
    calls: dict[str, tuple[int, Callable[[], Any]]] = {
        "session.run": (200, lambda: session.run(outputs, {"X": rows[:1]})),
        "bare function": (200, lambda: bare(single)),
        "handler": (200, lambda: model.handler(one, None)),
        "plain FastAPI": (10, lambda: mangum(one, None)),
        "session.run, rows": (5, lambda: session.run(outputs, {"X": rows})),
        "bare function, rows": (5, lambda: bare(many)),
        "handler, rows": (5, lambda: model.handler(many, None)),
        "handler, rows by name": (2, lambda: model.handler(named, None)),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-1, rounds * 4):
        for name, (often, call) in calls.items():
            with contextlib.redirect_stdout(io.StringIO()):
                started = time.perf_counter()
                for _ in range(often):
                    call()
                elapsed = (time.perf_counter() - started) / often * 1e6
            if number >= 0:
                times[name].append(elapsed)

    def between(one: str, other: str, work: Callable[[float, float], float]) -> float:
        return statistics.median(map(work, times[one], times[other]))

    return {
        **{f"{name} µs": statistics.median(values) for name, values in times.items()},
        "median overhead µs": between("handler", "session.run", operator.sub),
        OVERHEAD: min(times["handler"]) - min(times["session.run"]),
        PLAIN_RATIO: between("plain FastAPI", "handler", operator.truediv),
        ROWS: min(times["handler, rows"]) / min(times["session.run, rows"]),
        NAMED: min(times["handler, rows by name"]) / min(times["session.run, rows"]),
        CHECKED: between("handler, rows", "bare function, rows", operator.truediv),
    }


def capture(folder: Path, rounds: int) -> dict[str, Any]:
    """Time one row with and without capture, and the work after it; medians in µs."""
    os.environ.update(FNMODEL_MODEL_DIR=str(folder), FNMODEL_MODEL_NAME="bench")
    from types import SimpleNamespace

    from fnmodel.serve.boot import capturing, open_models
    from fnmodel.serve.direct import Direct
    from fnmodel.serve.report import EmfReport

    models = open_models(os.environ, "1")
    report = EmfReport(model="bench", function="bench", version="1", write=lambda _: None)
    policy = {"FNMODEL_CAPTURE": '{"rate": 1}'}
    capture = capturing(policy, models, write=lambda _: None, dropped=report.dropped)
    assert capture is not None
    context = SimpleNamespace(
        aws_request_id="a", invoked_function_arn="arn:aws:lambda:r:1:function:bench:live"
    )
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


def _plain(folder: Path) -> Any:
    """Return the plain application behind Mangum."""
    from mangum import Mangum

    namespace: dict[str, Any] = {"MODEL": str(folder / "model.onnx"), "__name__": "plain"}
    exec(PLAIN_APP, namespace)  # noqa: S102 - the same text that its server runs
    return Mangum(namespace["app"], lifespan="off")


def http(folder: Path, rounds: int) -> dict[str, Any]:
    """Let both servers take turns; return median requests a second and the ratio in a round."""
    variables = {
        **os.environ, "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1", "FNMODEL_MODEL_DIR": str(folder),
        "FNMODEL_MODEL_NAME": "bench", "FNMODEL_HOST": "127.0.0.1",
    }  # fmt: skip
    commands = {
        "ours": ["-m", "handlers.start"],
        "plain": ["-c", PLAIN, str(folder / "model.onnx")],
    }
    rates: dict[str, list[float]] = {name: [] for name in commands}
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(serving(arguments, variables))
            for name, arguments in commands.items()
        }
        for number in range(-1, rounds):  # the first round only warms up
            for name, port in ports.items():
                rate = drive(port, connections=8, requests=40)
                if number >= 0:
                    rates[name].append(rate)
    ratios = [ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True)]
    return {
        **{f"{name} requests/s": statistics.median(values) for name, values in rates.items()},
        HTTP: statistics.median(ratios),
    }


@contextlib.contextmanager
def serving(arguments: list[str], variables: dict[str, str]) -> Iterator[int]:
    """Start a server on a free port, wait until it takes connections, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *arguments], env={**variables, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=10).close()
                break
            assert process.poll() is None, arguments
            assert time.monotonic() < deadline, arguments
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def drive(port: int, *, connections: int, requests: int) -> float:
    """Send requests over each connection, one after another; return all of them a second."""
    body = request()["body"].encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    message = f"{head}Content-Type: application/json\r\n\r\n".encode() + body

    def converse(_: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(requests):
                connection.sendall(message)
                received = b""
                # Both answer in JSON whose last bracket closes the object.
                while not received.endswith(b"}"):
                    received += connection.recv(65536)
                assert received.startswith(b"HTTP/1.1 200"), received

    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(converse, range(connections)))
    return connections * requests / (time.perf_counter() - started)


def main() -> int:
    """Measure, and print a table with the goals, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=("cold", "http", "warm", "capture"), action="append")
    parser.add_argument("--check", action="store_true", help="fail where a gate is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = {"cold": cold, "http": http, "warm": warm, "capture": capture}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder)
        figures = {
            part: measure(folder, options.rounds)
            for part, measure in parts.items()
            if part in (options.only or parts)
        }
    found = {name: value for part in figures.values() for name, value in part.items()}
    verdicts = {name: goal.verdict(found.get(name)) for name, goal in GOALS.items()}
    if options.json:
        print(json.dumps({**figures, "goals": verdicts}))
    else:
        for part, lines in figures.items():
            for what, value in lines.items():
                print(f"{part:5} {what:36} {value:10.2f}")
        for name, verdict in verdicts.items():
            print(f"goal  {name:36} {GOALS[name]!s:>10} {verdict}")
    return int(options.check and "GATE MISSED" in verdicts.values())


if __name__ == "__main__":
    sys.exit(main())
