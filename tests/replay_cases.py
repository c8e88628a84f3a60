"""Two versions that answer replayed requests, captured rows of one of them, and a rollout."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from release_cases import image_uri

from fnmodel.capture.line import Origin, folder_of, line
from fnmodel.distribution import Shift
from fnmodel.histogram import Categories, Column
from fnmodel.model import Tolerance
from fnmodel.release.alias import AliasState
from fnmodel.release.analysis import Readings, Requests, none_yet
from fnmodel.release.plan import Limits, Plan, Replays, Step
from fnmodel.release.replay import Replayer, ReplayingMeter
from fnmodel.release.replayable import CapturedRequests, proof_key
from fnmodel.release.tick import SHADOW, Rollout, tick
from fnmodel.testing import InMemoryLambda

BUCKET = "replay-tests"
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
BINS: Mapping[str, Column] = {"label": Categories(("no", "yes"))}
LIMITS = Limits(samples=60)
Answer = Callable[[Mapping[str, Any]], Any]
"""Takes a row, returns its prediction; what it raises is the version's crash."""


def score(row: Mapping[str, Any]) -> dict[str, Any]:
    """Answer as the model does."""
    yes = row["amount"] > 30 and row.get("plan") != "gold"
    return {"label": "yes" if yes else "no"}


class Quiet:
    """A meter of a service that nobody calls."""

    def read(self, rollout: Rollout, now: float) -> Readings:  # noqa: ARG002
        """Return what was measured: nothing."""
        return Readings(Requests(), Requests())


@dataclass
class Replaying:
    """A rollout of version 2 over version 1 without callers; version 1 was captured.

    `milliseconds` is how long version 2 takes; the other one takes ten.
    """

    storage: Any
    candidate: Answer = score
    stable: Answer = score
    milliseconds: float = 10.0
    name: str = "fnmodel-churn-replay"
    now: float = NOW
    alias: AliasState = field(default_factory=lambda: AliasState("1"))
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    moves: list[AliasState] = field(default_factory=list)
    slept: float = 0.0

    def __post_init__(self) -> None:
        self.function = InMemoryLambda(
            self.name,
            image_uri("a"),
            respond=self._respond,
            takes=lambda version, _: self.milliseconds if version == "2" else 10.0,
            pending_reads=0,
        )
        self.function.update(image_uri("b"))
        self.function.client.publish_version(FunctionName=self.name)

    def _respond(self, version: str, event: dict[str, Any]) -> Any:
        self.asked.append((version, event))
        [row] = json.loads(event["body"])["records"]
        try:
            prediction = (self.candidate if version == "2" else self.stable)(row)
        except KeyError as error:
            return {"statusCode": 400, "body": json.dumps({"error": f"{error} is missing"})}
        return {"statusCode": 200, "body": json.dumps({"predictions": [prediction]})}

    def capture(self, count: int, *, hour: str = "07", **changes: Any) -> None:
        """Put captured requests of version 1 into the bucket; `changes` redact their rows."""
        lines = []
        for number in range(count):
            row = {"amount": number % 100, "plan": "gold" if number % 7 == 0 else "basic"}
            origin = Origin(f"{hour}-{number}", f"2027-01-15T{hour}:00:00.000Z", "churn", "1",
                            "live", 1.0, 1)  # fmt: skip
            kept = {key: changes.get(key, value) for key, value in row.items()}
            shown = {key: value for key, value in kept.items() if value is not None}
            lines.append(line(origin, 0, shown, score(row), None))
        from datetime import UTC, datetime

        folder = folder_of(self.name, "live", datetime(2027, 1, 15, int(hour), tzinfo=UTC))
        for part in range(0, len(lines), 50):
            body = b"".join(lines[part : part + 50])
            self.storage.put_object(Bucket=BUCKET, Key=f"{folder}{part:04}.jsonl", Body=body)

    def prove(self, rollout: Rollout, count: int) -> None:
        """Keep rows of the model's proof, as `deploy` does."""
        rows = [{"amount": number, "plan": "basic"} for number in range(count)]
        body = json.dumps({"model": "churn", "records": rows}).encode()
        self.storage.put_object(Bucket=BUCKET, Key=proof_key(rollout.id), Body=body)

    def begun(
        self,
        replays: Replays,
        limits: Limits = LIMITS,
        tolerance: Tolerance | None = None,
        **changes: Any,
    ) -> Rollout:
        """Return the rollout at its beginning: one step of 10 % for ten minutes."""
        plan = replace(Plan((Step(10, 600),), limits, replays=replays), **changes)
        shift = Shift.between(BINS, limits.prediction_shift or 0.1)
        return Rollout(
            id="v2-b", plan=plan, stable="1", candidate="2", digest="sha256:b",
            stable_digest="sha256:a", started=self.now, step=SHADOW if replays.shadow else 0,
            evidence=none_yet(limits, shift, replays, tolerance),
        )  # fmt: skip

    def look(self, rollout: Rollout, *, box: float = 20.0, yields: bool = False) -> Rollout:
        """Let a driver that nobody knows look once, and do what follows."""
        source = CapturedRequests(self.storage, BUCKET, self.name, "live")
        replayer = Replayer(
            self.function.client, self.name, source,
            box=box, clock=lambda: self.slept, sleep=self._sleep,
        )  # fmt: skip
        meter = ReplayingMeter(Quiet(), replayer, yields=yields)
        readings: Readings | None = meter.read(rollout, self.now)
        while True:
            ticked = tick(rollout, self.alias, readings, self.now, Random(1))
            # Another process goes on with it.
            rollout = Rollout.from_json(json.loads(json.dumps(ticked.rollout.to_json())))
            readings = None
            if ticked.move is None:
                return rollout
            self.alias = ticked.move
            self.moves.append(ticked.move)

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds

    def run(self, rollout: Rollout, looks: int = 60, **how: Any) -> Rollout:
        """Look every minute until it has ended."""
        for _ in range(looks):
            rollout = self.look(rollout, **how)
            if not rollout.active:
                return rollout
            self.now += 60
        return rollout

    def clear(self) -> None:
        """Delete what lies in the bucket."""
        for item in self.storage.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            self.storage.delete_object(Bucket=BUCKET, Key=item["Key"])
