"""One execution environment: a process over an image's unpacked layers, and what it says."""

import contextlib
import math
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fnmodel.errors import LocalError
from fnmodel.interpreter import RUNNING, find
from fnmodel.local.runtime_api import MAX_RESPONSE, Invocation, RuntimeApi, Signal

INIT_LIMIT = 10.0
"""Seconds of init before Lambda starts over, under the function's own time-out.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html"""
SNAPSTART_INIT_LIMIT = 130.0
_POLL = 0.05
_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


@dataclass(frozen=True)
class RootFs:
    """An unpacked image: its root folder and the parts of its config that start a process."""

    root: Path
    env: Mapping[str, str]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    working_dir: str
    python: str


@dataclass(frozen=True)
class FunctionVersion:
    """A published version as Lambda's API describes it; memory in MB, timeout in seconds."""

    name: str
    version: str
    image_uri: str
    memory: int
    timeout: int
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    snapstart: bool = False


@dataclass(frozen=True)
class Outcome:
    """What an invocation came to: the handler's JSON, or an error's, and its log lines.

    `durations` are milliseconds: of the invocation, and of the init that came before it, or None.
    """

    payload: bytes
    error: bool
    log: str
    duration: float
    init: float | None
    max_memory: int
    reusable: bool


Spawn = Callable[[Callable[[], "subprocess.Popen[bytes]"]], "subprocess.Popen[bytes]"]


class Sandbox:
    """Runs one request at a time, as a Lambda execution environment does.

    `spawn` runs its argument in a thread that lives as long as the embedded cloud: Linux ends a
    child when the *thread* that made it ends.
    """

    def __init__(
        self,
        function: FunctionVersion,
        rootfs: RootFs,
        folder: Path,
        *,
        extra_env: Mapping[str, str],
        spawn: Spawn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.function = function
        self.last_used = clock()
        self._clock = clock
        self._folder = folder
        self._api = RuntimeApi()
        folder.mkdir(mode=0o700, parents=True)
        (folder / "tmp").mkdir()
        self._log_path = folder / "log"
        self._log_path.touch(0o600)
        self._log_offset = 0
        self._init: float | None = None
        self._started = clock()
        command, env = launch(function, rootfs, self._api.address, folder / "tmp")
        env.update(extra_env)
        cwd = rootfs.root / rootfs.working_dir.lstrip("/")
        with self._log_path.open("ab") as log:
            try:
                self._process = spawn(
                    lambda: subprocess.Popen(
                        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log,
                        stderr=log, start_new_session=True,
                    )
                )  # fmt: skip
            except OSError as error:
                self._api.close()
                raise LocalError(f"the sandbox cannot start: {error}") from error
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        code = self._process.wait()
        self._api.signals.put(Signal("exit", payload=str(code).encode()))

    @property
    def pid(self) -> int:
        """Process id of the sandbox."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs; asks the kernel, since the watcher may be late."""
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return ended is None

    def invoke(self, request_id: str, function_arn: str, event: bytes) -> Outcome:
        """Run one event to its end: an answer, an error, a time-out, or the process's death."""
        started = self._started
        cold = self._init is None
        if cold:
            failed = self._initialise(request_id)
            if failed is not None:
                return failed
        began = self._clock()
        # Init ran under its own limit; the function's time starts now.
        deadline = began + self.function.timeout
        self._api.offer(
            Invocation(
                request_id, function_arn, int((time.time() + self.function.timeout) * 1000), event
            )
        )
        signal_ = self._wait(deadline)
        self.last_used = self._clock()
        init = (began - started) * 1000 if cold else None
        return self._outcome(request_id, signal_, (self.last_used - began) * 1000, init)

    def _initialise(self, request_id: str) -> Outcome | None:
        limit = SNAPSTART_INIT_LIMIT if self.function.snapstart else INIT_LIMIT
        first = self._wait(self._started + max(limit, self.function.timeout))
        init = (self._clock() - self._started) * 1000
        if first is not None and first.kind == "ready":
            self._init = init
            return None
        return self._outcome(request_id, first, 0.0, init)

    def _wait(self, deadline: float) -> Signal | None:
        """Return the next signal that matters, or None at the deadline or the memory limit."""
        while True:
            left = deadline - self._clock()
            if left <= 0:
                return None
            try:
                signal_ = self._api.signals.get(timeout=min(left, _POLL))
            except queue.Empty:
                if memory_of(self.pid, "VmRSS") > self.function.memory:
                    self._kill()
                continue
            if signal_.kind == "ready" and self._init is not None:
                continue  # the runtime asks for work again: the last request is over
            return signal_

    def _outcome(
        self, request_id: str, signal_: Signal | None, duration: float, init: float | None
    ) -> Outcome:
        peak = memory_of(self.pid, "VmHWM")
        reusable = signal_ is not None and signal_.kind in {"response", "error"}
        if signal_ is not None and signal_.kind in {"response", "error", "init_error"}:
            said: list[str] = []
            payload = signal_.payload
        else:
            kind, said = self._failure(request_id, signal_)
            payload = _error(kind, said[-1])
        if not reusable:
            self._kill()
        lines = [*self._new_lines(), *said]
        return Outcome(
            payload=payload,
            error=signal_ is None or signal_.kind != "response",
            log=report(request_id, self.function, lines, duration, init, peak),
            duration=duration,
            init=init,
            max_memory=peak,
            reusable=reusable,
        )

    def _failure(self, request_id: str, signal_: Signal | None) -> tuple[str, list[str]]:
        """Return Lambda's error type for what happened, and its log lines."""
        if signal_ is None:
            late = f"Task timed out after {self.function.timeout:.2f} seconds"
            return "Sandbox.Timedout", [f"RequestId: {request_id} Error: {late}"]
        if signal_.kind == "too_large":
            size = signal_.payload.decode()
            refused = f"Response payload size ({size} bytes) exceeded {MAX_RESPONSE} bytes"
            return "Function.ResponseSizeTooLarge", [refused]
        code = int(signal_.payload or b"0")
        how = f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return "Runtime.ExitError", [
            f"RequestId: {request_id} Error: Runtime exited with error: {how}"
        ]

    def _new_lines(self) -> list[str]:
        with self._log_path.open("rb") as file:
            file.seek(self._log_offset)
            data = file.read(1 << 20)
            self._log_offset = file.seek(0, os.SEEK_END)
        return data.decode("utf-8", "replace").splitlines()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process with its children and remove its folder."""
        self._kill()
        self._api.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def launch(
    function: FunctionVersion, rootfs: RootFs, runtime_api: str, tmp: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of a sandbox process. Pure but for path checks.

    The environment starts empty: nothing of the host's leaks in. Image paths are moved below the
    unpacked root, since this driver has no chroot.

    Raises:
        LocalError: the host has no Python of the image's minor version, or the image's entry
            point is not Python.

    """
    program, *options = rootfs.entrypoint
    if not Path(program).name.startswith("python") or "-m" not in options:
        raise LocalError(
            f"the embedded cloud cannot run the entry point {' '.join(rootfs.entrypoint)}",
            hint="run `fnmodel deploy --local`, which builds an image with fnmodel's own",
        )
    module = options[options.index("-m") + 1 :]
    command = function.command or rootfs.cmd
    env = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **{name: _moved(value, rootfs.root) for name, value in rootfs.env.items()},
        **function.environment,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start" if function.snapstart else "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{rootfs.python}",
        "LAMBDA_TASK_ROOT": str(rootfs.root / "var/task"),
        "_HANDLER": command[0],
        "HOME": str(tmp),
        "TMPDIR": str(tmp),
        # The image's file system is read-only in Lambda; nothing may be written beside the code.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    python = interpreter(rootfs.python)
    return [python, "-s", "-S", str(_BOOTSTRAP), *module, *command], env


def interpreter(minor: str) -> str:
    """Return the host's Python of a minor version such as "3.13", outside any virtual environment.

    Raises:
        LocalError: there is none.

    """
    found = find(minor)
    if found is None:
        raise LocalError(
            f"the image is for Python {minor}, and this machine has none",
            hint=f'install Python {minor}, or set image.python to "{RUNNING}"',
        )
    return str(found)


def _moved(value: str, root: Path) -> str:
    """Move each absolute path of an image's variable below the unpacked root, if it is there."""
    parts = value.split(":")
    return ":".join(
        str(root / part.lstrip("/"))
        if part.startswith("/") and (root / part.lstrip("/")).exists()
        else part
        for part in parts
    )


def report(
    request_id: str,
    function: FunctionVersion,
    lines: list[str],
    duration: float,
    init: float | None,
    max_memory: int,
) -> str:
    """Frame the log lines of an invocation as Lambda does; durations in ms, memory in MB."""
    billed = math.ceil(duration + (init or 0.0))
    end = (
        f"REPORT RequestId: {request_id}\tDuration: {duration:.2f} ms\t"
        f"Billed Duration: {billed} ms\tMemory Size: {function.memory} MB\t"
        f"Max Memory Used: {max_memory} MB\t"
    )
    if init is not None:
        end += f"Init Duration: {init:.2f} ms\t"
    start = f"START RequestId: {request_id} Version: {function.version}"
    return "\n".join([start, *lines, f"END RequestId: {request_id}", end])


def memory_of(pid: int, key: str) -> int:
    """Return `VmRSS` or `VmHWM` (the peak) of a process in MB, 0 where the host does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) // 1024
    return 0


def _error(kind: str, message: str) -> bytes:
    import orjson

    return orjson.dumps({"errorType": kind, "errorMessage": message})
