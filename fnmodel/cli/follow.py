"""Reads a function's log group as it grows."""

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from fnmodel.aws import translated
from fnmodel.capture.line import BEGINNING
from fnmodel.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Events arrive out of order and late: each look goes back this far behind the newest one.
_OVERLAP_MS = 5_000
# Captured rows pass through the log on their way to the bucket; `fnmodel capture` shows them.
_CAPTURED = BEGINNING.decode()


def seconds(text: str) -> int:
    """Return the seconds of a span such as 30s, 10m, 2h or 1d.

    Raises:
        UsageError: it is not one.

    """
    matched = re.fullmatch(r"(\d+)([smhd])", text)
    if not matched:
        raise UsageError(f"{text!r} is not a span of time", hint="write 30s, 10m, 2h or 1d")
    return int(matched[1]) * _UNITS[matched[2]]


class Follower:
    """Yields each log line once. `version` and `holds` leave other lines out."""

    def __init__(
        self, client: Any, group: str, *, version: str | None = None, holds: str | None = None
    ) -> None:
        self._client = client
        self._group = group
        # A stream's name ends in [version]id. https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
        self._stream = f"[{version}]" if version else ""
        self._holds = holds or ""
        self._newest = 0
        self._seen: set[str] = set()
        self._order: deque[str] = deque()

    def lines(self, since: float) -> Iterator[str]:
        """Yield what came since the last call; on the first, since that Unix time."""
        start = max(int(since * 1000), self._newest - _OVERLAP_MS)
        fresh = sorted(
            (event for event in self._events(start) if _identity(event) not in self._seen),
            key=lambda event: int(event["timestamp"]),
        )
        for event in fresh:
            self._remember(_identity(event))
            self._newest = max(self._newest, int(event["timestamp"]))
            message = event["message"].rstrip("\n")
            if message.startswith(_CAPTURED):
                continue
            if self._stream in event["logStreamName"] and self._holds in message:
                yield message

    def _events(self, start: int) -> Iterator[Any]:
        with translated():
            pages = self._client.get_paginator("filter_log_events").paginate(
                logGroupName=self._group, startTime=start
            )
            try:
                for page in pages:
                    yield from page["events"]
            except self._client.exceptions.ResourceNotFoundException:
                return  # nothing has been said yet

    def _remember(self, event_id: str) -> None:
        self._seen.add(event_id)
        self._order.append(event_id)
        if len(self._order) > 100_000:
            self._seen.discard(self._order.popleft())


def _identity(event: Any) -> str:
    """Return what tells an event from others; the embedded cloud gives no ids."""
    return str(
        event.get("eventId") or (event["logStreamName"], event["timestamp"], event["message"])
    )
