"""The image outside Lambda: a real server process, real sockets, real signals."""

import asyncio
import base64
import gzip
import json
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from binary_cases import packed, request
from http_cases import ROOT, Server, ask, serving
from serve_cases import EVENTS, event, gateway, model, model_folder, predictor

from fnmodel.serve.cpus import cpus
from fnmodel.serve.host import Host
from fnmodel.serve.models import Models
from fnmodel.serve.service import Service
from fnmodel.serve.settings import NUMBERS, Settings

ROW = {"a": 1, "b": 2, "c": 3}
BODY = {"records": [ROW]}

SLOW = """
import os, pathlib, time
def preprocess(records):
    pathlib.Path(os.environ["BEGUN"]).touch()
    time.sleep(max(record.pop("seconds", None) or 0 for record in records))
    return records
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the classifier with the default settings."""
    with serving(model_folder("classifier"), tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """Return a model whose rows say how many `seconds` they take."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder("classifier"), folder)
    (folder / "processing.py").write_text(SLOW)
    signature = json.loads((folder / "signature.json").read_bytes())
    seconds = {"name": "seconds", "datatype": "FP32", "nullable": True}
    signature["raw"] = [*signature["features"], seconds]
    (folder / "signature.json").write_text(json.dumps(signature))
    return folder


def taking(seconds: float) -> dict[str, Any]:
    return {"records": [{**ROW, "seconds": seconds}]}


def tensors() -> dict[str, Any]:
    return {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}


def recorded(name: str) -> tuple[str, str, Any, dict[str, str]]:
    found = event(name)
    http = found["requestContext"]["http"]
    kept = {k: v for k, v in found["headers"].items() if k not in ("host", "content-length")}
    body = found.get("body")
    if body is not None and found["isBase64Encoded"]:
        body = base64.b64decode(body)
    return http["method"], http["path"], body, kept


def binary(rows: int, accepted: str = "identity") -> tuple[bytes, dict[str, str]]:
    raw = packed("FP32", [1.5] * 3 * rows)
    body, headers = request(
        [("X", "FP32", (rows, 3), raw)], parameters={"binary_data_output": True}
    )
    return body, {**headers, "accept-encoding": accepted}


REQUESTS: list[tuple[str, str, Any, dict[str, str]]] = [
    *(recorded(path.stem) for path in EVENTS.glob("*.json") if path.stem not in ("batch", "sqs")),
    ("POST", "/predict", {"records": [ROW] * 300}, {}),
    ("POST", "/predict", {"records": [{**ROW, "d": 4}]}, {}),
    ("POST", "/predict", {"records": [{**ROW, "a": "x"}]}, {}),
    ("POST", "/predict", b"{", {}),
    ("POST", "/predict", b'{"records": [NaN]}', {}),
    ("POST", "/predict", None, {}),
    ("POST", "/predict", BODY, {"content-encoding": "gzip"}),
    ("POST", "/predict", b"x" * 6_000_001, {}),
    ("POST", "/predict?x=%00", BODY, {}),
    ("POST", "/v2/models/churn/infer", tensors(), {}),
    ("POST", "/v2/models/churn/versions/3/infer", tensors(), {}),
    ("POST", "/v2/models/churn/versions/4/infer", tensors(), {}),
    ("POST", "/v2/models/other/infer", tensors(), {}),
    ("POST", "/v2/models/churn/infer", *binary(1)),
    ("POST", "/v2/models/churn/infer", *binary(3000)),
    ("POST", "/v2/models/churn/infer", *binary(3000, "gzip")),
    ("POST", "/predict", gzip.compress(json.dumps(BODY).encode()), {"content-encoding": "gzip"}),
    ("GET", "/v2", None, {}),
    ("GET", "/v2/", None, {}),
    ("GET", "/v2/models/churn", None, {}),
    ("GET", "/v2/models/churn/ready", None, {}),
    ("GET", "/v2/health/live", None, {}),
    ("HEAD", "/v2/health/ready", None, {}),
    ("GET", "/openapi.json", None, {}),
    ("GET", "/nowhere", None, {}),
    ("GET", "/predict", None, {}),
    ("OPTIONS", "/predict", None, {}),
    ("DELETE", "/v2/health/ready", None, {}),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: f"{one[0]} {one[1]}"[:40])
def test_the_answers_are_those_of_lambda(
    server: Server, request_: tuple[str, str, Any, dict[str, str]]
) -> None:
    """Status, body and headers are byte for byte what the Lambda handler gives for the request."""
    method, path, body, headers = request_
    asked = event("ready", method=method, path=path.partition("?")[0], body=body, headers=headers)
    expected = gateway("classifier")(asked)

    answer = server.ask(method, path, body, headers)

    assert answer.status == expected["statusCode"]
    body = expected["body"]
    body = base64.b64decode(body) if expected["isBase64Encoded"] else body.encode()
    assert answer.body == (b"" if method == "HEAD" else body)
    names = set(expected["headers"]) - {"x-request-id"}
    assert {name: answer.headers[name] for name in names} == {
        name: expected["headers"][name] for name in names
    }
    assert set(answer.headers) - set(expected["headers"]) <= {"date"}


def test_a_request_leaves_one_line(server: Server) -> None:
    """The line has the record that Lambda's has, with the caller's request id, and no metrics."""
    server.ask("POST", "/predict", BODY, {"x-request-id": "mine"})

    line = next(line for line in server.lines if line.get("request_id") == "mine")
    kept = ("level", "message", "model", "version", "method", "path", "status", "rows")
    assert [line[name] for name in kept] == [
        "INFO", "request", "churn", "3", "POST", "/predict", 200, 1,
    ]  # fmt: skip
    assert line["latency_ms"] > 0
    assert "_aws" not in line


@pytest.mark.parametrize("path", ["/", "/health", "/readyz", "/livez", "/v2/health/ready"])
def test_probes(server: Server, path: str) -> None:
    """What load balancers and Kubernetes ask is answered to GET and HEAD, and not logged."""
    before = len(server.lines)

    assert [server.ask(method, path).status for method in ("GET", "HEAD")] == [200, 200]
    assert len(server.lines) == before


def test_a_model_that_cannot_be_loaded_is_alive_but_not_ready(tmp_path: Path) -> None:
    """The container is not restarted in circles, and gets no requests; the log has the reason."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder("classifier"), folder)
    (folder / "model.onnx").write_bytes(b"no model")
    with serving(folder, tmp_path) as server:
        answers = [server.ask("GET", "/livez"), server.ask("GET", "/readyz")]
        answers.append(server.ask("POST", "/predict", BODY))

        assert [answer.status for answer in answers] == [200, 503, 503]
        assert "cannot be loaded" in server.errors


def test_a_stop_lets_finish_what_runs(slow: Path, tmp_path: Path) -> None:
    """After SIGTERM the running request is answered, no other is taken, and the exit code is 0."""
    begun = tmp_path / "begun"
    with serving(slow, tmp_path, BEGUN=str(begun)) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, "POST", "/predict", taking(2))
        wait_for(begun)
        server.process.send_signal(signal.SIGTERM)
        refused = eventually_refused(server.lines[0]["port"])

        assert running.result().status == 200
        assert server.process.wait(10) == 0
        assert refused
        assert server.lines[-1]["message"] == "stopped"
        assert server.lines[-1]["cut_off"] == 0


def test_a_stop_has_an_end(slow: Path, tmp_path: Path) -> None:
    """What runs longer than the limit is cut off, and the exit code says so."""
    begun = tmp_path / "begun"
    limited = serving(slow, tmp_path, FNMODEL_GRACE="1", BEGUN=str(begun))
    with limited as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.ask, "POST", "/predict", taking(60))
        wait_for(begun)
        started = time.monotonic()

        assert server.end() == 1
        assert time.monotonic() - started < 15
        assert server.lines[-1]["cut_off"] == 1
        assert running.exception() is not None or running.result().status == 500


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it(slow: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Whoever asks twice does not want to wait."""
    begun = tmp_path / "begun"
    with serving(slow, tmp_path, BEGUN=str(begun)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.ask, "POST", "/predict", taking(60))
        wait_for(begun)
        server.process.send_signal(number)
        assert eventually_refused(server.lines[0]["port"])

        assert server.end(number) == 128 + number


def test_a_stop_before_the_model_is_loaded(tmp_path: Path) -> None:
    """The first process of a container has to listen to signals before it has anything to serve."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder("classifier"), folder)
    begun = tmp_path / "begun"
    (folder / "processing.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(60)\n"
    )
    with serving(folder, tmp_path) as server:
        wait_for(begun)

        assert server.end() == 0


def test_many_at_once(server: Server) -> None:
    """Two hundred callers at once get two hundred answers, each its own."""
    rows = [{"a": number, "b": 1, "c": 1} for number in range(200)]
    expected = predictor("classifier").predict(rows)
    server.ask("GET", "/")

    with ThreadPoolExecutor(200) as pool:
        answers = list(
            pool.map(lambda row: server.ask("POST", "/predict", {"records": [row]}), rows)
        )

    assert {answer.status for answer in answers} == {200}
    got = [json.loads(answer.body)["predictions"][0] for answer in answers]
    assert json.dumps(got) == json.dumps(json.loads(json.dumps(expected, default=float)))


def test_overload_is_refused_and_probes_are_answered(slow: Path, tmp_path: Path) -> None:
    """One request runs, one waits, others are asked to come again; health says that all is well."""
    settings = {"FNMODEL_WORKERS": "1", "FNMODEL_QUEUE": "1", "BEGUN": str(tmp_path / "begun")}
    with serving(slow, tmp_path, **settings) as server, ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(server.ask, "POST", "/predict", taking(3)) for _ in range(5)]
        refused = [one.result() for one in islice(as_completed(asked), 3)]
        healthy = server.ask("GET", "/v2/health/ready")
        taken = [one for one in asked if not one.done()]

        assert len(taken) == 2
        assert healthy.status == 200
        assert {(one.status, one.headers["retry-after"]) for one in refused} == {(503, "1")}
        assert "try again" in json.loads(refused[0].body)["error"]
        assert [one.result().status for one in taken] == [200, 200]
        assert server.ask("POST", "/predict", BODY).status == 200


def test_a_body_that_is_too_large(server: Server) -> None:
    """30 MB are refused without being kept, declared or in chunks; the connection lives on."""
    large = b"x" * 30_000_000
    with closing(server.connect()) as connection:
        told = ask(connection, "POST", "/predict", large)
        chunked = ask(connection, "POST", "/predict", iter([large]))
        after = ask(connection, "POST", "/predict", BODY)

    assert [told.status, chunked.status, after.status] == [413, 413, 200]
    assert b"6,000,000 bytes" in told.body
    assert told.body == chunked.body


def test_the_limit_of_a_body_can_be_raised(tmp_path: Path) -> None:
    """Outside Lambda 30 MB may be a request like any other, and its answer too."""
    body = json.dumps({"records": [ROW] * 90_000}) + " " * 26_000_000
    with serving(model_folder("classifier"), tmp_path, FNMODEL_BODY_LIMIT="40000000") as server:
        answer = server.ask("POST", "/predict", body)

    assert answer.status == 200
    assert answer.body.count(b'"label"') == 90_000
    assert len(answer.body) > 6_291_556


def test_callers_that_never_finish(server: Server) -> None:
    """Slow heads are hung up on after a while, and take nothing from others meanwhile."""
    started = time.monotonic()
    address = ("127.0.0.1", server.port)
    with ExitStack() as stack:
        callers = [
            stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(50)
        ]
        for number, caller in enumerate(callers):
            caller.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n" if number % 2 else b"")

        assert server.ask("POST", "/predict", BODY).status == 200
        for caller in callers[1::2]:
            caller.sendall(b"X-A: b\r\n")
        assert all(caller.recv(100) == b"" for caller in callers)
    assert 5 < time.monotonic() - started < 25


def test_a_head_that_never_ends(server: Server) -> None:
    """The head of a request has a limit, whatever its pace."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 4000)
        time.sleep(0.2)
        caller.sendall(b"X-A: b\r\n" * 8000)

        assert caller.recv(1000).startswith(b"HTTP/1.1 400")


def test_pipelined_requests(server: Server) -> None:
    """Requests that come in one piece are answered in their order."""
    body = json.dumps(BODY).encode()
    predict = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    live = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as caller:
        caller.sendall(predict + live + predict)
        received = b""
        while received.count(b"HTTP/1.1 200") < 3 or not received.endswith(b"}"):
            received += caller.recv(65536)

    bodies = [part.partition(b"\r\n\r\n")[2][:6] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b'{"pred', b'{"live', b'{"pred']


def test_a_caller_that_hangs_up(server: Server) -> None:
    """Half a body and a closed connection are nobody else's trouble."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")

    assert server.ask("POST", "/predict", BODY).status == 200
    assert all(line["level"] != "ERROR" for line in server.lines)


def test_a_body_that_never_comes() -> None:
    """A slow body is refused, and its place given to others."""
    models = Models((Service(model("classifier"), "churn", "3"),))
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    with ThreadPoolExecutor(1) as pool:
        host = Host(
            models, report=lambda _: None, clock=time.perf_counter, pool=pool, room=1,
            others=lambda: pytest.fail("the framework is not needed"), body_seconds=0.05,
        )  # fmt: skip
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        for _ in range(2):
            asyncio.run(host(scope, receive, send))

    assert [message["status"] for message in sent[::2]] == [408, 408]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PORT": "http"}, "PORT is 'http', which is not a whole number from 0 to 65,535"),
        ({"FNMODEL_WORKERS": "0"}, "FNMODEL_WORKERS is '0'"),
        ({"FNMODEL_BODY_LIMIT": "9" * 5000}, "FNMODEL_BODY_LIMIT is"),
        ({"FNMODEL_HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    """A wrong setting is told in one line, with what to do, and exit code 2."""
    with serving(model_folder("classifier"), tmp_path, **environ) as server:
        assert server.process.wait(30) == 2

    (line,) = server.lines
    assert said in line["message"]
    assert line["hint"]


def manifests() -> list[dict[str, Any]]:
    page = (ROOT / "docs/containers.md").read_text("utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    return [document for block in blocks for document in yaml.safe_load_all(block)]


def test_the_manifests_fit_the_server(server: Server) -> None:
    """The page's probes are answered, its times leave room to stop, and its pods need no rights."""
    deployment, _, knative = manifests()
    pod = deployment["spec"]["template"]["spec"]
    containers = [*pod["containers"], *knative["spec"]["template"]["spec"]["containers"]]
    probes = [one[key]["httpGet"]["path"] for one in containers for key in one if "Probe" in key]

    assert len(probes) == 4
    assert {server.ask("GET", path).status for path in probes} == {200}
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + Settings.grace
    for container in containers:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_the_settings_are_documented() -> None:
    """The page names every variable that is read, with its default."""
    page = (ROOT / "docs/containers.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (\S+)", page, re.MULTILINE))
    defaults = {name: str(getattr(Settings, field)) for field, name, _, _ in NUMBERS}
    del defaults["FNMODEL_WORKERS"]  # follows the container

    assert defaults.items() <= rows.items()
    assert rows["FNMODEL_HOST"] == Settings.host


def cgroup(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        (
            {
                "proc/self/cgroup": "0::/pod/container\n",
                "sys/fs/cgroup/pod/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/pod/container/cpu.max": "max 100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/on/the/host\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
        ({}, 64),
    ],
)
def test_threads_follow_the_quota(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """The container's share counts, by either version of cgroups, not the machine's processors."""
    assert cpus(cgroup(tmp_path, files), usable=64) == expected


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def eventually_refused(port: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        time.sleep(0.05)
    return False
