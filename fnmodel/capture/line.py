"""The form of captured rows: one line of JSON each, and the keys of the objects that hold them.

It is SageMaker's capture format, so that what reads that reads this; `fnmodel` holds what is ours.
A line stands for one row. Its `inferenceId`, the request's id and the row's number, is what late
labels are joined on. docs/capture.md lists the keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

SCHEMA = 1
"""The version of `fnmodel`'s keys; a new one only where a reader of the old would be wrong."""

BEGINNING = b'{"captureData":'
"""What each line begins with, and no other line of a function's log."""

PREFIX = "capture/"


@dataclass(frozen=True, slots=True)
class Origin:
    """What all rows of a request share; `rate` is the share of rows that is captured."""

    request_id: str
    time: str
    model: str
    version: str
    alias: str
    rate: float
    rows: int


def line(origin: Origin, number: int, row: Any, prediction: Any, subject: str | None) -> bytes:
    """Return the line of one row; row and prediction are JSON values, redacted by now."""
    identity = f"{origin.request_id}/{number}"
    return orjson.dumps(
        {
            "captureData": {
                "endpointInput": _side("INPUT", row),
                "endpointOutput": _side("OUTPUT", prediction),
            },
            "eventMetadata": {
                "eventId": identity,
                "inferenceId": identity,
                "inferenceTime": origin.time,
            },
            "eventVersion": "0",
            "fnmodel": {
                "schema": SCHEMA,
                "request_id": origin.request_id,
                "row": number,
                "rows": origin.rows,
                "rate": origin.rate,
                "model": origin.model,
                "version": origin.version,
                "alias": origin.alias,
                "subject": subject,
            },
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _side(mode: str, value: Any) -> dict[str, str]:
    return {
        "observedContentType": "application/json",
        "mode": mode,
        "data": orjson.dumps(value).decode(),
        "encoding": "JSON",
    }


def lines_of(content: bytes) -> Iterator[bytes]:
    """Yield the lines of an object, each with its end; several may stand on one."""
    # Whether a delivery service ends lines is its setting; inside JSON a quote is escaped.
    parted = content.replace(b"}" + BEGINNING, b"}\n" + BEGINNING)
    for found in parted.split(b"\n"):
        if found.strip():
            yield found + b"\n"


def time_of(moment: datetime) -> str:
    """Return a moment as lines have it: ISO 8601 in UTC, to the millisecond. Such texts sort."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def folder_of(endpoint: str, variant: str, time: datetime) -> str:
    """Return the prefix, by hour, of an endpoint's objects; the time is in UTC."""
    return f"{PREFIX}{endpoint}/{variant}/{time:%Y/%m/%d/%H}/"
