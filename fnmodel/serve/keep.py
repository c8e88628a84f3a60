"""Where captured rows go without Lambda: a folder, or the lines that the container prints."""

import os
import socket
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fnmodel.capture.line import folder_of
from fnmodel.serve.capture import Capture
from fnmodel.serve.endpoint import Answer


def into(folder: Path, endpoint: str, now: Callable[[], datetime]) -> Callable[[bytes], object]:
    """Return what appends lines below a folder, laid out as in a stage's bucket.

    Each process has a file of its own an hour, so that many may share a folder.
    """
    name = f"{socket.gethostname()}-{os.getpid()}.jsonl"

    def write(lines: bytes) -> None:
        path = folder / folder_of(endpoint, "live", now()) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(lines)

    return write


def printing(lines: bytes) -> None:
    """Print lines, each whole, among those of the log."""
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


def writer(environ_folder: str, endpoint: str) -> Callable[[bytes], object]:
    """Return what writes below FNMODEL_CAPTURE_DIR, or prints where it is empty."""
    if not environ_folder:
        return printing
    return into(Path(environ_folder), endpoint, lambda: datetime.now(UTC))


class Background:
    """A thread that writes what was taken, while other requests are answered."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="capture", daemon=True).start()

    def take(self, raw: bytes, answer: Answer, request_id: str, alias: str, model: str) -> None:
        """Note a request, as `Capture.take`, and wake the thread if there is work."""
        if self._capture.take(raw, answer, request_id, alias, model):
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._capture.flush()
