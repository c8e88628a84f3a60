"""What the endpoint costs above bare ONNX Runtime: cold start, warm requests, HTTP, capture.

    python benchmarks/serve.py [--rounds 9] [--only PART] [--peers] [--check] [--json]

cold      a fresh process from its start to its first answer, against one that imports onnxruntime,
          opens the same model with default settings and runs it once; the two alternate, and the
          ratio is the median over rounds of the ratio in a round. `tuned floor` is the floor with
          one thread in ONNX Runtime and OpenBLAS. `make bench-cold` measures it in the image.
warm      calls in one process, by turns: `session.run` of onnxruntime's own package, a bare
          function around it, our way of a request in each form, with its log line and metrics, and
          FastAPI with pydantic behind Mangum, as tutorials have it (benchmarks/warm.py)
capture   what it adds to a request to capture its row, and what is done after the response
http      requests a second of one row over 8 connections, the image's server against that
          application, both under uvicorn with httptools, by turns
crowd     10,000 requests over 64 connections, each of another row and with an id of its own: every
          answer must be that of its request
--peers   other servers in the same turns as http, by their own versions (benchmarks/servers.py)

Goals: one row at most 50 µs above `session.run`, in each form, and 110 µs with log and metrics;
1,000 rows of 30 floats at most 1.7 of it in JSON and 1.3 in binary. These are a machine's figures
as much as ours, so the gates are ratios: what a tutorial's application adds to `session.run`, 15
times what ours does (gate 6); rows in JSON 1.7 (gate 2.2) and in binary 1.3 (gate 1.6); rows in
JSON at most 0.8 of the bare function (gate 1), which checks nothing; over HTTP 1.5 times the plain
application (gate 1.2). `--check` fails where a gate is missed.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import servers
import warm
from classifier import FEATURES, INFER, NAME, ROOT, request, write_model
from goals import Goal

from fnmodel.errors import LockError

HTTP = "ours / plain"
GOALS = {**warm.GOALS, HTTP: Goal(1.5, 1.2)}

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


PLAIN = f"""
import os, sys
import uvicorn
MODEL = sys.argv[1]
{warm.APP}
port = int(os.environ["PORT"])
uvicorn.run(app, host="127.0.0.1", port=port, http="httptools", log_level="warning")
"""


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


def http(folder: Path, rounds: int, *, peers: bool = False) -> dict[str, Any]:
    """Let servers take turns; return median requests a second and the ratios in a round."""
    body = request()["body"].encode()
    running = {
        "ours": servers.Server((sys.executable, "-m", "handlers.start"), "/predict", body),
        "plain": servers.Server(
            (sys.executable, "-c", PLAIN, str(folder / "model.onnx")), "/predict", body
        ),
    }
    if peers:
        servers.keep_model(folder)
        for name, peer in servers.PEERS.items():
            try:
                programs, version = servers.install(peer)
                running[f"{name} {version}"] = peer.ready(programs, folder)
            except LockError as error:
                print(f"{name} is skipped: {error}", file=sys.stderr)
    rates: dict[str, list[float]] = {name: [] for name in running}
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(serving(server, folder)) for name, server in running.items()
        }
        for number in range(-1, rounds):  # the first round only warms up
            for name, port in ports.items():
                server = running[name]
                message = message_of(server.path, server.body)
                rate = drive(port, [[message] * 40] * 8)
                if number >= 0:
                    rates[name].append(rate)
    return {
        **{f"{name} requests/s": statistics.median(values) for name, values in rates.items()},
        **{f"ours / {name}": warm.ratio(rates, "ours", name) for name in rates if name != "ours"},
    }


CONNECTIONS, REQUESTS = 64, 10_000


def crowd(folder: Path, _: int) -> dict[str, Any]:
    """Ask for 10,000 rows at once; return how many a second, once every answer was compared."""
    import numpy as np

    rows = np.random.default_rng(8).normal(size=(REQUESTS, FEATURES)).astype(np.float32)
    session, outputs = warm.bare_session(folder)
    _, scores = session.run(outputs, {"X": rows})
    expected = {f"request {number}": row for number, row in enumerate(scores)}
    messages = []
    for identity, row in zip(expected, rows.tolist(), strict=True):
        tensor = {"name": "X", "datatype": "FP32", "shape": [1, FEATURES], "data": row}
        body = {"id": identity, "inputs": [tensor], "outputs": [{"name": outputs[1]}]}
        messages.append(message_of(INFER, json.dumps(body).encode()))
    lines = [messages[number::CONNECTIONS] for number in range(CONNECTIONS)]
    identities = [[*expected][number::CONNECTIONS] for number in range(CONNECTIONS)]

    def compare(connection: int, at: int, answer: bytes) -> None:
        said = json.loads(answer)
        identity = identities[connection][at]
        assert said["id"] == identity, (said["id"], identity)
        made = np.array(said["outputs"][0]["data"], np.float32)
        assert np.array_equal(made, expected[identity]), identity

    ours = servers.Server((sys.executable, "-m", "handlers.start"), INFER, b"")
    with serving(ours, folder) as port:
        rate = drive(port, lines, compare)
    return {"requests, each with its own answer": REQUESTS, "requests/s": rate}


@contextlib.contextmanager
def serving(server: servers.Server, folder: Path) -> Iterator[int]:
    """Start a server on a free port, wait until it takes connections, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]

    def said(word: str) -> str:
        return str(port) if word == "PORT" else word

    variables = {
        **os.environ, "PYTHONPATH": "" if server.folder else str(ROOT), "PORT": str(port),
        "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1", "FNMODEL_HOST": "127.0.0.1",
        "FNMODEL_MODEL_DIR": str(folder), "FNMODEL_MODEL_NAME": NAME,
        "MODEL": str(folder / "model.onnx"),
        **{name: said(value) for name, value in server.variables.items()},
    }  # fmt: skip
    process = subprocess.Popen(
        [said(argument) for argument in server.arguments],
        cwd=server.folder, env=variables, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if server.folder else None, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not _answers(port, server):
            assert process.poll() is None, server.arguments
            assert time.monotonic() < deadline, server.arguments
            time.sleep(0.2)
        yield port
    finally:
        # Gently first: some have workers in other groups, which only they end.
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int, server: servers.Server) -> bool:
    """Whether a server takes connections, and its model requests."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            if not server.body:
                return True
            connection.sendall(message_of(server.path, server.body))
            return connection.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def message_of(path: str, body: bytes) -> bytes:
    """Return a request as its bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


def drive(
    port: int,
    lines: Sequence[Sequence[bytes]],
    compare: Callable[[int, int, bytes], None] = lambda *_: None,
) -> float:
    """Send each line of requests over a connection of its own; return all of them a second.

    `compare` gets the numbers of a connection and of a request on it, and the body of its answer.
    """

    def converse(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at, message in enumerate(lines[number]):
                connection.sendall(message)
                compare(number, at, _body(connection))

    started = time.perf_counter()
    with ThreadPoolExecutor(len(lines)) as pool:
        list(pool.map(converse, range(len(lines))))
    return sum(map(len, lines)) / (time.perf_counter() - started)


def _body(connection: socket.socket) -> bytes:
    """Receive one answer, which has to be 200 and says its length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), received
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
    while len(body) < size:
        body += _more(connection)
    return body


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    assert received, "the server has hung up"
    return received


PARTS = {"cold": cold, "warm": warm.warm, "capture": warm.capture, "http": http, "crowd": crowd}


def main() -> int:
    """Measure, and print a table with the goals, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--peers", action="store_true", help="measure other servers too")
    parser.add_argument("--check", action="store_true", help="fail where a gate is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts: dict[str, Any] = {**PARTS, "http": partial(http, peers=options.peers)}
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
                print(f"{part:7} {what:48} {value:10.2f}")
        for name, verdict in verdicts.items():
            print(f"goal    {name:48} {GOALS[name]!s:>10} {verdict}")
    return int(options.check and "GATE MISSED" in verdicts.values())


if __name__ == "__main__":
    sys.exit(main())
