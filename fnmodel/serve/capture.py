"""Rows and predictions of sampled requests, written once the response is on its way.

While a request is answered, its bytes are noted, which takes a microsecond. All else (parsing,
redaction, writing) comes after the response, in `flush`, and whatever fails there is counted as
dropped: it never fails or delays a request.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from fnmodel.capture.line import Origin, line, time_of
from fnmodel.capture.redact import Policy
from fnmodel.capture.rows import pairs_of
from fnmodel.serve.endpoint import Answer

MOST_ROWS = 100
"""Rows of one request that are captured at most, so that a large one does not fill the log."""

LONGEST = 65_536
"""Bytes of a row or a prediction, as JSON, that are looked through for secrets; Lambda's log takes
lines of 256 KB."""

SECONDS = 0.5
"""Time after a response in which another row is begun; the next event waits for it."""

# Requests that wait for a thread to write them; in Lambda there is only one at a time.
_WAITING = 256


@dataclass(frozen=True, slots=True)
class _Taken:
    raw: bytes
    answer: Answer
    request_id: str
    alias: str
    model: str
    time: float


class Capture:
    """Takes answered requests, and writes lines of their rows when it is told to.

    `names` gives the features of a model that takes them side by side; `write` gets the lines of a
    request, `dropped` a number of rows that could not be written, and why. `point` gives numbers in
    [0, 1), `now` Unix time in seconds. Thread-safe, where `write` is.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        version: str,
        names: Callable[[str], Sequence[str]],
        write: Callable[[bytes], object],
        dropped: Callable[[int, str], object],
        point: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._version, self._names = version, names
        self._write, self._dropped = write, dropped
        self._point, self._now = point, now
        self._taken: deque[_Taken] = deque()
        self._flushing = threading.Lock()

    def take(self, raw: bytes, answer: Answer, request_id: str, alias: str, model: str) -> bool:
        """Note a request, if chance picks one of its rows; say whether there is work for `flush`.

        Rows are picked one by one, so that large requests are neither preferred nor left out.
        """
        rate = self._policy.rate
        if answer.status != 200 or not answer.rows or (answer.rows == 1 and self._point() >= rate):
            return False
        if len(self._taken) >= _WAITING:
            self._tell(answer.rows, "too many requests wait to be written")
            return False
        self._taken.append(_Taken(raw, answer, request_id, alias, model, self._now()))
        return True

    def flush(self) -> None:
        """Write the lines of all requests taken; raises nothing.

        What another thread has begun is written, too, when it returns.
        """
        with self._flushing:
            while self._taken:
                self._flush(self._taken.popleft())

    def _flush(self, taken: _Taken) -> None:
        try:
            lines = self._lines(taken)
            if lines:
                self._write(b"".join(lines))
        except Exception as error:
            self._tell(taken.answer.rows, f"{type(error).__name__}")

    def _tell(self, rows: int, reason: str) -> None:
        with suppress(Exception):  # the log itself is out of order, and there is no other place
            self._dropped(rows, reason)

    def _lines(self, taken: _Taken) -> list[bytes]:
        raw, body = _plain(taken.raw), _plain(taken.answer.body)
        if taken.answer.pairs is not None:
            found = taken.answer.pairs(raw, body)
        else:
            found = pairs_of(orjson.loads(raw), orjson.loads(body), self._names(taken.model))
        if found is None:
            self._tell(taken.answer.rows, "the rows cannot be told apart")
            return []
        policy = self._policy
        rows, predictions = found
        picked = self._picked(len(rows))
        origin = Origin(
            taken.request_id,
            time_of(datetime.fromtimestamp(taken.time, UTC)),
            taken.model,
            self._version,
            taken.alias,
            policy.rate,
            len(rows),
        )
        kept: list[bytes] = []
        end = self._now() + SECONDS
        for number in picked[:: -(-len(picked) // MOST_ROWS) or 1]:
            row, prediction = rows[number], predictions[number]
            if self._now() > end:
                break
            if max(len(orjson.dumps(row)), len(orjson.dumps(prediction))) > LONGEST:
                continue
            shown, said = policy.redact(row), policy.redact(prediction)
            kept.append(line(origin, number, shown, said, policy.subject_of(row)))
        if len(kept) < len(picked):
            self._tell(
                len(picked) - len(kept),
                f"over {MOST_ROWS} rows of a request, or over {LONGEST:,} bytes of a row",
            )
        return kept

    def _picked(self, count: int) -> list[int]:
        if count == 1:
            return [0]  # `take` has picked it
        return [number for number in range(count) if self._point() < self._policy.rate]


def _plain(body: bytes) -> bytes:
    """Return a body that was served, within its limit, so that it inflates to no more now."""
    import zlib

    # 31 and 47 would be zlib's own guess of gzip; text that begins like deflate is none.
    if body.startswith(b"\x1f\x8b"):
        return zlib.decompress(body, 31)
    if body.startswith(b"x"):
        with suppress(zlib.error):
            return zlib.decompress(body)
    return body
