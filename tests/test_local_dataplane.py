"""The Lambda data plane: real processes that run awslambdaric over an unpacked image."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fnmodel.local.dataplane import DataPlane, ThrottledInvokeError
from fnmodel.local.launch import FunctionVersion, RootFs, launch
from fnmodel.local.sandbox import Outcome

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
HANDLER = """
import os, sys, time
print("imported")
if os.environ.get("FAIL_INIT"):
    raise ImportError("no such model")
calls = 0

def handler(event, context):
    global calls
    calls += 1
    match event.get("do"):
        case "print":
            print("a line"); print("to stderr", file=sys.stderr)
        case "capture":
            import threading
            row = '{"captureData":%d}'
            print(row % 1); print("a line")
            threading.Timer(0.3, lambda: print(row % 2 + "\\n" + row % 3, flush=True)).start()
        case "raise":
            raise ValueError("bad row")
        case "sleep":
            time.sleep(event["seconds"])
        case "exit":
            os._exit(7)
        case "grow":
            held = bytearray(event["mb"] << 20)
            for i in range(0, len(held), 4096):
                held[i] = 1
            time.sleep(1)
        case "long":
            return "x" * event["bytes"]
    return {"event": event, "calls": calls, "pid": os.getpid(),
            "version": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
            "arn": context.invoked_function_arn, "left": context.get_remaining_time_in_millis(),
            "env": sorted(os.environ), "path": sys.path}
"""


SNAPPED = """
import os
from snapshot_restore_py import register_after_restore, register_before_snapshot
print("init", os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"])
register_before_snapshot(print, "before the snapshot")
register_after_restore(print, "after the restore")

def handler(event, context):
    print("handler")
    return event
"""


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> RootFs:
    """Make an unpacked image with the runtime client and one handler."""
    root = tmp_path_factory.mktemp("image")
    packages, task = root / "opt/python", root / "var/task"
    packages.mkdir(parents=True)
    task.mkdir(parents=True)
    for name in ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (packages / source.name).symlink_to(source)
    (task / "app.py").write_text(HANDLER)
    (task / "snapped.py").write_text(SNAPPED)
    return RootFs(
        root=root,
        env={"PYTHONPATH": "/opt/python:/var/task", "GREETING": "hello"},
        entrypoint=("/usr/bin/python3", "-m", "awslambdaric"),
        cmd=("app.handler",),
        working_dir="/var/task",
        python=MINOR,
    )


@pytest.fixture
def plane(rootfs: RootFs, tmp_path: Path) -> Iterator[DataPlane]:
    """Make a data plane with room for two requests at once."""
    plane = DataPlane(
        lambda _: rootfs, tmp_path / "sandboxes", extra_env={"AWS_REGION": "us-east-1"},
        max_concurrency=2,
    )  # fmt: skip
    yield plane
    plane.close()


def function(**changes: object) -> FunctionVersion:
    """Return version 3 of a function, with changes."""
    settings = {"memory": 512, "timeout": 5, "environment": {}, **changes}
    return FunctionVersion(name="fn", version="3", image_uri="r@sha256:0", **settings)  # type: ignore[arg-type]


def invoke(plane: DataPlane, event: object, **changes: object) -> Outcome:
    return plane.invoke(function(**changes), "arn:aws:fn:3", json.dumps(event).encode(), "req-1")


def test_an_invocation_runs_the_images_handler_and_reports_as_lambda_does(plane: DataPlane) -> None:
    """The answer is the handler's, its lines are framed, init time and memory are real."""
    outcome = invoke(plane, {"do": "print"})
    answer = json.loads(outcome.payload)

    assert not outcome.error
    assert answer["version"] == "3"
    assert answer["arn"] == "arn:aws:fn:3"
    assert 4000 < answer["left"] <= 5000
    lines = outcome.log.splitlines()
    assert lines[0] == "START RequestId: req-1 Version: 3"
    assert lines[-2] == "END RequestId: req-1"
    assert lines[1:4] == ["imported", "a line", "to stderr"]
    assert lines[-1].startswith("REPORT RequestId: req-1\tDuration: ")
    assert "Memory Size: 512 MB" in lines[-1]
    assert outcome.init is not None
    assert outcome.init > 10
    assert outcome.max_memory > 8


def test_a_snapshot_s_hooks_run_in_their_order(plane: DataPlane) -> None:
    """With SnapStart the runtime's hooks run between init and the first request, and once."""
    command = ("snapped.handler",)
    first = invoke(plane, {}, snapstart=True, command=command)
    second = invoke(plane, {}, snapstart=True, command=command)
    plain = invoke(plane, {}, command=command)

    assert first.log.splitlines()[1:-2] == [
        "init snap-start", "before the snapshot", "after the restore", "handler",
    ]  # fmt: skip
    assert second.log.splitlines()[1:-2] == ["handler"]
    assert plain.log.splitlines()[1:-2] == ["init on-demand", "handler"]


def test_a_second_request_is_warm(plane: DataPlane) -> None:
    """The same process answers again, without an init in its report."""
    first, second = (json.loads(invoke(plane, {}).payload) for _ in range(2))

    assert (first["pid"], first["calls"], second["calls"]) == (second["pid"], 1, 2)
    assert "Init Duration" not in invoke(plane, {}).log


def test_the_sandbox_sees_nothing_of_the_host(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the host's variables nor its site-packages leak in; the image's are there."""
    monkeypatch.setenv("MY_SECRET", "1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "1")
    answer = json.loads(invoke(plane, {}).payload)

    assert "MY_SECRET" not in answer["env"]
    assert "AWS_SESSION_TOKEN" not in answer["env"]
    assert {"GREETING", "AWS_REGION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"} <= set(answer["env"])
    assert not [path for path in answer["path"] if "site-packages" in path]


def test_captured_rows_are_handed_on_and_are_no_log_lines(rootfs: RootFs, tmp_path: Path) -> None:
    """Those that come after the response too, without another request."""
    rows: list[bytes] = []
    plane = DataPlane(
        lambda _: rootfs, tmp_path / "sandboxes", extra_env={},
        captured=lambda _, lines: rows.extend(lines.splitlines()),
    )  # fmt: skip
    try:
        outcome = invoke(plane, {"do": "capture"})
        deadline = time.monotonic() + 10
        while len(rows) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        after = invoke(plane, {})
    finally:
        plane.close()

    assert rows == [b'{"captureData":%d}' % number for number in (1, 2, 3)]
    assert "a line" in outcome.log
    assert "captureData" not in outcome.log + after.log


def test_an_exception_is_a_function_error_and_the_sandbox_lives_on(plane: DataPlane) -> None:
    """The error keeps its type; the next request is warm."""
    outcome = invoke(plane, {"do": "raise"})

    assert outcome.error
    assert json.loads(outcome.payload)["errorType"] == "ValueError"
    assert json.loads(invoke(plane, {}).payload)["calls"] == 2


@pytest.mark.parametrize(
    ("event", "changes", "kind", "said"),
    [
        ({"do": "sleep", "seconds": 9}, {"timeout": 1}, "Sandbox.Timedout", "timed out after 1.00"),
        ({"do": "exit"}, {}, "Runtime.ExitError", "exit status 7"),
        ({"do": "grow", "mb": 600}, {"memory": 256}, "Runtime.ExitError", "signal: SIGKILL"),
        ({"do": "long", "bytes": 6_300_000}, {}, "Function.ResponseSizeTooLarge", "6300002 bytes"),
        ({"big": "x" * 6_300_000}, {}, "RequestTooLargeException", "too large"),
        ({}, {"environment": {"FAIL_INIT": "1"}}, "Runtime.ImportModuleError", "no such model"),
        ({}, {"command": ("app.missing",)}, "Runtime.HandlerNotFound", "missing"),
    ],
    ids=["timeout", "exit", "memory", "response", "request", "init", "handler"],
)  # fmt: skip
def test_a_failure_is_told_as_lambda_tells_it(
    plane: DataPlane, event: object, changes: dict[str, object], kind: str, said: str
) -> None:
    """Every way to fail has Lambda's error type, and the next request gets a fresh sandbox."""
    outcome = invoke(plane, event, **changes)

    answer = json.loads(outcome.payload)
    assert outcome.error
    assert answer["errorType"] == kind
    assert said in answer["errorMessage"]
    assert not outcome.reusable
    assert json.loads(invoke(plane, {}).payload)["calls"] == 1


def test_requests_at_once_run_apart_up_to_the_limit(plane: DataPlane) -> None:
    """Two requests get two processes; a third is throttled, and succeeds later."""
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(
            target=lambda: outcomes.append(invoke(plane, {"do": "sleep", "seconds": 1}))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    with pytest.raises(ThrottledInvokeError):
        invoke(plane, {})
    for thread in threads:
        thread.join()

    assert len({json.loads(outcome.payload)["pid"] for outcome in outcomes}) == 2
    assert not invoke(plane, {}).error


def test_a_sandbox_that_died_while_idle_is_replaced(plane: DataPlane) -> None:
    """A process killed between two requests costs no request."""
    pid = json.loads(invoke(plane, {}).payload)["pid"]
    os.kill(pid, signal.SIGKILL)
    while alive(pid):
        time.sleep(0.01)

    assert json.loads(invoke(plane, {}).payload)["calls"] == 1


def test_idle_sandboxes_end_after_a_while(rootfs: RootFs, tmp_path: Path) -> None:
    """A pool empties by itself, and its processes are gone."""
    plane = DataPlane(lambda _: rootfs, tmp_path / "s", extra_env={}, idle_seconds=0.2)
    pid = json.loads(invoke(plane, {}).payload)["pid"]
    deadline = time.monotonic() + 10
    while (plane.sandboxes() or alive(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left, running = plane.sandboxes(), alive(pid)
    plane.close()

    assert left == []
    assert not running


def test_no_sandbox_outlives_the_embedded_cloud(rootfs: RootFs, tmp_path: Path) -> None:
    """Killing the parent with SIGKILL, while a request runs, leaves no process behind."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from fnmodel.local.dataplane import DataPlane\n"
        "from fnmodel.local.launch import FunctionVersion, RootFs\n"
        f"rootfs = {rootfs!r}\n".replace("PosixPath", "Path")
        + "plane = DataPlane(lambda _: rootfs, Path(sys.argv[1]), extra_env={})\n"
        "fn = FunctionVersion('fn', '1', 'r', 512, 60)\n"
        "import json\n"
        "print(json.loads(plane.invoke(fn, 'a', b'{}', 'r').payload)['pid'], flush=True)\n"
        "plane.invoke(fn, 'a', b'{\"do\": \"sleep\", \"seconds\": 60}', 'r')\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)

    assert not alive(pid)


def test_an_entry_point_that_is_not_python_is_refused(rootfs: RootFs) -> None:
    """The process driver says what it cannot run, and what to do."""
    from dataclasses import replace

    from fnmodel.errors import LocalError

    with pytest.raises(LocalError, match=r"lambda-entrypoint\.sh") as caught:
        launch(function(), replace(rootfs, entrypoint=("/lambda-entrypoint.sh",)), "a", Path("/t"))
    assert "deploy --local" in caught.value.hint


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
