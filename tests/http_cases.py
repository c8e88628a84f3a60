"""The image's entry point without Lambda, as a process of its own, and a caller for it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-P", "-s", "-m", "handlers.start", "handlers.model.handler")


@dataclass(frozen=True)
class Answered:
    """A whole HTTP response; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Server:
    """A started server; `lines` is what it has printed."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line is JSON."""
        return [json.loads(line) for line in self._output.read_bytes().splitlines()]

    @property
    def errors(self) -> str:
        """What it wrote on stderr."""
        return self._output.with_name("errors").read_text()

    @property
    def port(self) -> int:
        """Wait until it listens."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.errors
            found = [line["port"] for line in self.lines if line["message"] == "listening"]
            if found:
                return int(found[0])
            time.sleep(0.02)
        raise AssertionError(self.errors)

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that stays open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answered:
        """Send one request on a connection of its own."""
        with closing(self.connect()) as connection:
            return ask(connection, method, path, body, headers)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answered:
    """Send one request; a mapping is sent as JSON."""
    if isinstance(body, dict):
        body = json.dumps(body)
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    return Answered(
        response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    )


@contextmanager
def serving(
    model: Path, folder: Path, command: Sequence[str] = COMMAND, **environ: str
) -> Iterator[Server]:
    """Start a server on a port of its own, and end it."""
    output = folder / "output"
    variables = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FNMODEL_MODEL_DIR": str(model),
        "FNMODEL_MODEL_NAME": "churn", "FNMODEL_MODEL_VERSION": "3", "FNMODEL_HOST": "127.0.0.1",
        "PORT": "0", "ORT_DISABLE_TELEMETRY": "1", "PYTHONDONTWRITEBYTECODE": "1", **environ,
    }  # fmt: skip
    with output.open("wb") as out, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, env=variables, cwd="/", stdout=out, stderr=errors)
    try:
        yield Server(process, output)
    finally:
        process.kill()
        process.wait()
