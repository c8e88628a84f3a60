"""Lines of JSON on stdout, for hosts that collect what containers print."""

import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from fnmodel.capture.scrub import scrub

Write = Callable[[Mapping[str, Any]], object]


def write_line(fields: Mapping[str, Any]) -> None:
    """Write one line with the time; lines of several threads do not mix."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stdout.buffer.write(orjson.dumps({"time": now, **fields}) + b"\n")
    sys.stdout.buffer.flush()


class LineReport:
    """Writes the record of each request, as in Lambda but for its metrics.

    `model` is None where records say which.
    """

    def __init__(self, *, model: str | None, version: str, write: Write = write_line) -> None:
        self._fixed = {**({} if model is None else {"model": model}), "version": version}
        self._write = write

    def __call__(self, record: dict[str, Any]) -> None:
        """Write one record; its keys are those of `fnmodel.serve.record.Report`."""
        level = "ERROR" if record["status"] >= 500 else "INFO"
        if "exception" in record:
            record = {**record, "exception": scrub(record["exception"])}
        self._write({"level": level, "message": "request", **self._fixed, **record})

    def dropped(self, rows: int, reason: str) -> None:
        """Write that rows of a request were not captured."""
        line = {"level": "WARNING", "message": "rows were not captured", "reason": reason}
        self._write({**line, **self._fixed, "capture_dropped": rows})


class LineHandler(logging.Handler):
    """Writes what libraries log in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record of `logging`."""
        line = {"level": record.levelname, "message": record.getMessage(), "logger": record.name}
        if record.exc_info:
            line["exception"] = logging.Formatter().formatException(record.exc_info)
        write_line(line)
