"""Captured requests once more, to the stable version and to the candidate, by their numbers.

The alias and its callers have no part in it. Each request carries `x-fnmodel-replay`, by which the
endpoint keeps it out of its metrics; capture takes only what an alias was asked, and so does not
see it either.
"""

import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import AwsError, ThrottledError, UnansweredError
from fnmodel.model import Tolerance
from fnmodel.release.analysis import Readings
from fnmodel.release.columns import prediction_columns
from fnmodel.release.findings import Verdict, verdict
from fnmodel.release.gate import compare_predictions
from fnmodel.release.probe import http_event, predict_path
from fnmodel.release.replayable import Captured, CapturedRequests, behind
from fnmodel.release.replayed import Asked, Batch, Pair
from fnmodel.release.rollouts import Meter
from fnmodel.release.tick import Rollout

MARK = "x-fnmodel-replay"
"""The header of a replayed request: the rollout's id."""

PATIENCE = 29.0
"""Seconds after which no caller waits for an answer any more: an HTTP API allows 30."""

_BUSY = 30.0
"""Seconds in which another driver's last look says that it replays, and this one need not."""

_REPORT = re.compile(r"REPORT RequestId: .*?\bDuration: ([\d.]+) ms\s+Billed Duration: (\d+) ms")
_COLD = re.compile(r"\b(Init|Restore) Duration: ")
# What a version of the same answers may differ by where JSON was written twice.
_EXACT = Tolerance(1e-9, 1e-6)
_LIKE = Tolerance(1e-9, 0.1)


def wanted(rollout: Rollout, now: float) -> int:
    """Return how many rows a rollout is to ask both versions from here on; 0 where it needs none.

    The shadow takes as many as were asked for. A step takes them where its own requests will not
    come within its bake, or always, until there are enough and no check is inconclusive.
    """
    replays, found = rollout.plan.replays, rollout.evidence.replayed
    if found is None or rollout.evidence.baseline is None or rollout.paused:
        return 0
    if rollout.shadows:
        return max(replays.shadow - found.asked, 0)
    if rollout.current is None or replays.mode == "off":
        return 0
    if replays.mode == "when-thin" and not is_thin(rollout, now):
        return 0
    limits = rollout.plan.limits
    needed = limits.samples - found.pairs
    if needed <= 0:
        # Enough; where they have not decided it, as many again.
        undecided = verdict(rollout.findings) is Verdict.inconclusive
        needed = limits.samples if undecided else 0
    return max(min(needed, replays.requests + replays.shadow - found.asked), 0)


def is_thin(rollout: Rollout, now: float) -> bool:
    """Whether a step's requests, as they have come so far, are too few for its bake.

    Nothing is said before half of it is over.
    """
    step = rollout.current
    if step is None or not rollout.since:
        return False
    passed = now - rollout.since
    if passed < step.bake / 2:
        return False
    came = rollout.evidence.samples - rollout.samples
    expected = came * step.bake / passed if 0 < passed < step.bake else came
    return expected < rollout.plan.limits.samples


@dataclass(frozen=True)
class _Answer:
    """What one version answered to one request."""

    asked: Asked
    status: int = 0
    prediction: Any = None


class Replayer:
    """Sends captured requests to both versions of a rollout; `box` is for how many seconds."""

    def __init__(
        self,
        client: Any,
        function: str,
        source: CapturedRequests,
        *,
        box: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._function = function
        self._source = source
        self._box = box
        self._clock, self._sleep = clock, sleep

    def replay(self, rollout: Rollout, most: int, now: float) -> Batch:
        """Replay until `most` rows were asked, there are no more, or there is no more time.

        What S3 or Lambda refuses ends the batch, which says so: what callers have met is judged all
        the same. Being throttled is nobody's fault, and not told.
        """
        known = rollout.evidence.replayed
        assert known is not None
        batch = Batch(place=known.place)
        end = self._clock() + self._box
        pause = 1 / rollout.plan.replays.rate
        try:
            for found, place in self._source.take(rollout.stable, rollout.id, known.place, now):
                began = self._clock()
                batch = replace(self._add(batch, found, rollout, known.tolerance), place=place)
                if batch.asked >= most or self._clock() >= end:
                    return batch
                if not found.replayable:
                    continue  # nobody was asked
                self._sleep(max(pause - (self._clock() - began), 0.0))
        except ThrottledError:
            return batch
        except AwsError as error:
            return replace(batch, broken=error.message)
        return replace(batch, place=behind(batch.place), exhausted=True)

    def _add(
        self, batch: Batch, found: Captured, rollout: Rollout, tolerance: Tolerance | None
    ) -> Batch:
        if not found.replayable:
            return replace(batch, unusable=batch.unusable + 1)
        # Whoever is second may find warm what both use; so they take turns.
        order = (rollout.stable, rollout.candidate)
        turned = batch.asked % 2 == 1
        said = {
            version: self._ask(version, found, rollout.id)
            for version in (order[::-1] if turned else order)
        }
        billed = batch.billed_ms + sum(answer.asked.billed for answer in said.values())
        batch = replace(batch, asked=batch.asked + 1, billed_ms=billed)
        stable, candidate = said[rollout.stable], said[rollout.candidate]
        if not stable.asked.failed and not _as_captured(found, stable):
            return replace(batch, unusable=batch.unusable + 1)
        both = stable.status == candidate.status == 200
        pair = Pair(
            found.request,
            stable.asked,
            # What the stable version takes, the candidate must not refuse.
            replace(candidate.asked, failed=candidate.asked.failed or candidate.status != 200),
            apart=both and _apart(stable.prediction, candidate.prediction, tolerance or _LIKE),
        )
        return replace(batch, pairs=(*batch.pairs, pair), proof=batch.proof + found.proof)

    def _ask(self, version: str, found: Captured, rollout: str) -> _Answer:
        event = http_event(predict_path(found.model), json.dumps({"records": [found.row]}))
        event["headers"] |= {MARK: rollout, "user-agent": "fnmodel-replay"}
        event["requestContext"]["requestId"] = f"replay/{rollout}/{found.request}"[:128]
        try:
            with translated():
                answer = self._client.invoke(
                    FunctionName=self._function,
                    Qualifier=version,
                    LogType="Tail",
                    Payload=json.dumps(event).encode(),
                )
                payload = answer["Payload"].read()
        except UnansweredError:
            return _Answer(Asked(failed=True))  # a caller would not have waited as long
        log = base64.b64decode(answer.get("LogResult") or "").decode(errors="replace")
        status, prediction = (0, None) if answer.get("FunctionError") else _read(payload)
        return _Answer(_asked(status, prediction, log), status, prediction)


class ReplayingMeter:
    """A meter that replays, too, where a rollout needs it.

    With `yields` it leaves that to another driver that has looked a moment ago.
    """

    def __init__(self, meter: Meter, replayer: Replayer, *, yields: bool = False) -> None:
        self._meter = meter
        self._replayer = replayer
        self._yields = yields

    def read(self, rollout: Rollout, now: float) -> Readings:
        """Return what was measured until now, and what was replayed.

        Raises:
            AwsError: AWS refused a call.

        """
        readings = self._meter.read(rollout, now)
        most = wanted(rollout, now)
        if not most or (self._yields and now - rollout.looked < _BUSY):
            return readings
        return replace(readings, batch=self._replayer.replay(rollout, most, now))


def _asked(status: int, prediction: Any, log: str) -> Asked:
    reported = _REPORT.search(log)
    return Asked(
        failed=not 200 <= status < 500,
        ms=float(reported[1]) if reported else None,
        billed=int(reported[2]) if reported else 0,
        cold=_COLD.search(log) is not None,
        row=prediction_columns(prediction) if status == 200 else None,
    )


def _read(payload: bytes) -> tuple[int, Any]:
    """Return status and the only prediction of an answer; 0 of what is no HTTP response."""
    try:
        response = json.loads(payload)
        status, body = int(response["statusCode"]), response.get("body") or ""
        if status != 200:
            return status, None
        if response.get("isBase64Encoded"):
            body = base64.b64decode(body, validate=True).decode()
        [prediction] = json.loads(body)["predictions"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return 0, None
    return status, prediction


def _as_captured(found: Captured, answer: _Answer) -> bool:
    """Whether the version answers a row as it did when the row was captured.

    If not, the row is not what was asked: some of it was redacted.
    """
    if answer.status != 200:
        return False
    return found.proof or not _apart(found.prediction, answer.prediction, _EXACT)


def _apart(one: Any, other: Any, tolerance: Tolerance) -> bool:
    return bool(compare_predictions([one], [other], tolerance).mismatches)
