"""Starts, finds and stops the embedded cloud of a home folder: one process, record and lock."""

import contextlib
import fcntl
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fnmodel.errors import LocalError
from fnmodel.local.gateway import STATUS_PATH

_START_LIMIT = 60.0
_STOP_LIMIT = 20.0


@dataclass(frozen=True)
class Running:
    """The embedded cloud as its record describes it."""

    pid: int
    port: int
    token: str

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return f"http://127.0.0.1:{self.port}"


class Control:
    """The embedded cloud below one folder. Safe to use from several processes at once.

    `command` is the start of the command line that serves it; port and token are appended.
    """

    def __init__(self, folder: Path, command: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._record = folder / "emulator.json"
        self._command = command or (sys.executable, "-m", "fnmodel", "local", "serve")
        self.log = folder / "emulator.log"

    def find(self) -> Running | None:
        """Return the running embedded cloud, or None."""
        running = self._read()
        if running is None:
            return None
        status = _status(running)
        return running if status and status.get("token") == running.token else None

    def status(self) -> dict[str, Any]:
        """Return what it says of itself: `running`, and if so url, pid, log and sandboxes."""
        running = self.find()
        if running is None:
            return {"running": False, "log": str(self.log)}
        said = _status(running) or {}
        return {
            "running": True,
            "url": running.url,
            "pid": running.pid,
            "log": str(self.log),
            "sandboxes": said.get("sandboxes", []),
        }

    def start(self, progress: Callable[[str], None] = lambda _: None) -> Running:
        """Return the running embedded cloud, started if need be; its port stays over restarts.

        Raises:
            LocalError: the extra is not installed, or it did not come up.

        """
        running = self.find()
        if running is not None:
            return running
        _check_installed()
        with self._locked():
            running = self.find()  # another process may have been faster
            return running or self._start(progress)

    def _start(self, progress: Callable[[str], None]) -> Running:
        progress("starting the embedded cloud")
        last = self._read()
        if last is not None:
            _end(last.pid, last.token)  # a process that hangs, or whose port answers no more
        running = Running(0, _free_port(last.port if last else 0), secrets.token_hex(8))
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._command, "--port", str(running.port), "--token", running.token],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        running = Running(process.pid, running.port, running.token)
        self._write(running)
        deadline = time.monotonic() + _START_LIMIT
        while time.monotonic() < deadline:
            if (_status(running) or {}).get("token") == running.token:
                return running
            if process.poll() is not None:
                break
            time.sleep(0.05)
        _end(running.pid, running.token)
        tail = self.log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise LocalError(
            f"the embedded cloud did not come up: {' '.join(tail) or 'no word from it'}",
            hint=f"see {self.log}, or run `fnmodel doctor`",
        )

    def stop(self) -> bool:
        """Stop it, saving its state; returns whether it ran."""
        with self._locked():
            running = self._read()
            if running is None:
                return False
            ended = _end(running.pid, running.token)
            # The record keeps the port, so that URLs stay the same after the next start.
            self._write(Running(0, running.port, ""))
            return ended

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> Running | None:
        try:
            return Running(**json.loads(self._record.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return None  # a torn record of an older kind: start() writes a new one

    def _write(self, running: Running) -> None:
        temporary = self._record.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(running)))
        temporary.replace(self._record)


def _status(running: Running) -> dict[str, Any] | None:
    if not running.token:
        return None
    try:
        # A proxy of the user's must not be asked for this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(running.url + STATUS_PATH, timeout=2) as answer:
            said = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException):
        return None  # nobody there, or a stranger on our port
    return said if isinstance(said, dict) else None


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(pid: int, token: str) -> bool:
    """Stop a process of ours; the token on its command line proves that the id is still its own."""
    if not _is_ours(pid, token):
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_LIMIT
    while time.monotonic() < deadline:
        if not _is_ours(pid, token):
            return True
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True


def _is_ours(pid: int, token: str) -> bool:
    if not pid or not token:
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # when we are its parent, or it stays a zombie
    try:
        if sys.platform == "linux":
            return token.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        said = subprocess.run(
            ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return token in said.stdout.split()


def _check_installed() -> None:
    import importlib.util

    if importlib.util.find_spec("ministack") is None:
        raise LocalError("the embedded cloud is not installed", hint="pip install 'fnmodel[local]'")
