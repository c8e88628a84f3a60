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
from dataclasses import dataclass
from pathlib import Path

from fnmodel.errors import LocalError
from fnmodel.local.launch import FunctionVersion, RootFs, launch
from fnmodel.local.runtime_api import MAX_RESPONSE, Invocation, RuntimeApi, Signal

INIT_LIMIT = 10.0
"""Seconds of init before Lambda starts over, under the function's own time-out.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html"""
SNAPSTART_INIT_LIMIT = 130.0
_POLL = 0.05
_MOST_LOG = 4 << 20
"""Bytes of output that are kept of one invocation."""


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


CAPTURED = b'{"captureData":'
"""What each line of a captured row begins with; a subscription of the log looks for it in AWS."""

Captured = Callable[[FunctionVersion, bytes], None]
"""Gets whole lines of captured rows, each with its end."""

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
        captured: Captured,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.function = function
        self._captured = captured
        self.last_used = clock()
        self._clock = clock
        self._folder = folder
        self._api = RuntimeApi()
        folder.mkdir(mode=0o700, parents=True)
        (folder / "tmp").mkdir()
        self._log_path = folder / "log"
        self._log_path.touch(0o600)
        self._log_offset = 0
        self._said: list[str] = []
        self._reading = threading.Lock()
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
        # bubblewrap, as a shell, hands a signal on as 128 + its number.
        number = -code if code < 0 else code - 128
        known = number in set(signal.Signals)
        how = f"signal: {signal.Signals(number).name}" if known else f"exit status {code}"
        return "Runtime.ExitError", [
            f"RequestId: {request_id} Error: Runtime exited with error: {how}"
        ]

    def _new_lines(self) -> list[str]:
        with self._reading:
            self._read()
            lines, self._said = self._said, []
        return lines

    def collect(self) -> None:
        """Hand on the rows that were captured since the last look; they come after the response."""
        with self._reading:
            self._read()

    def _read(self) -> None:
        """Take new output apart: captured rows are handed on, other lines kept for the log."""
        with contextlib.suppress(FileNotFoundError), self._log_path.open("rb") as file:
            file.seek(self._log_offset)
            data = file.read(_MOST_LOG)
            if len(data) == _MOST_LOG:  # the rest is left out
                self._log_offset = file.seek(0, os.SEEK_END)
            elif CAPTURED in data:
                # Read while it is being written: the rest of a line comes with the next look.
                data = data[: data.rfind(b"\n") + 1]
                self._log_offset += len(data)
            else:
                self._log_offset += len(data)
            lines = data.splitlines(keepends=True)
            rows = [line for line in lines if line.startswith(CAPTURED) and line.endswith(b"\n")]
            others = b"".join(line for line in lines if not line.startswith(CAPTURED))
            self._said += others.decode("utf-8", "replace").splitlines()
            if rows:
                self._captured(self.function, b"".join(rows))

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process with its children and remove its folder."""
        self._kill()
        self.collect()
        self._api.close()
        shutil.rmtree(self._folder, ignore_errors=True)


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
    """Return `VmRSS` or `VmHWM` (the peak) of a process and its children in MB.

    A host that does not tell gives 0.
    """
    return _kilobytes(pid, key) // 1024


def _kilobytes(pid: int, key: str) -> int:
    own = (
        int(line.split()[1])
        for line in _proc(pid, "status").splitlines()
        if line.startswith(f"{key}:")
    )
    children = _proc(pid, f"task/{pid}/children").split()
    return sum(own) + sum(_kilobytes(int(child), key) for child in children)


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""  # it has ended, or this kernel does not tell


def _error(kind: str, message: str) -> bytes:
    import orjson

    return orjson.dumps({"errorType": kind, "errorMessage": message})
