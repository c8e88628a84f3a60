"""What two versions did so far in, the evidence about the candidate out; pure.

Each check is a sequential test (`fnmodel.sequential`): it may be asked at every look. The chance of
a false alarm is parted evenly between the checks, so that it holds for the whole rollout. What is
not proven is not thereby healthy: too few requests, or a figure beyond its limit that may still be
chance, is inconclusive (`findings.py`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from fnmodel.release import replayed
from fnmodel.release.plan import Limits, Replays
from fnmodel.release.replayed import Batch, Replayed
from fnmodel.sequential import Above, Increase, Share

if TYPE_CHECKING:
    from fnmodel.distribution import Rows, Shift
    from fnmodel.model import Tolerance

_NEVER = Replays()

SLOW = 99
"""The percentile that a latency ratio is about: what is above the stable version's is slow."""


@dataclass(frozen=True)
class Requests:
    """What one version did since the rollout began; latencies are those of warm starts.

    `slow` counts latencies above the bound that `Evidence.slow_ms` sets, for the candidate times
    the ratio that is allowed. `p99_ms` is None without latencies.
    """

    count: int = 0
    errors: int = 0
    cold: int = 0
    timed: int = 0
    slow: int = 0
    p99_ms: float | None = None

    def since(self, earlier: "Requests") -> "Requests":
        """Return what was added; figures that come late can shrink, which adds nothing."""
        count = max(self.count - earlier.count, 0)
        timed = max(self.timed - earlier.timed, 0)
        return Requests(
            count,
            min(max(self.errors - earlier.errors, 0), count),
            max(self.cold - earlier.cold, 0),
            timed,
            min(max(self.slow - earlier.slow, 0), timed),
            self.p99_ms,
        )

    def most(self, other: "Requests") -> "Requests":
        """Return the larger of each count."""
        return Requests(
            max(self.count, other.count), max(self.errors, other.errors),
            max(self.cold, other.cold), max(self.timed, other.timed), max(self.slow, other.slow),
            self.p99_ms if self.p99_ms is not None else other.p99_ms,
        )  # fmt: skip


@dataclass(frozen=True)
class Cursor:
    """Which objects of captured rows were counted: all keys up to `after`, and some behind it.

    `beyond` holds hashes of the keys of these, since an object may arrive behind later ones.
    """

    after: str = ""
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True)
class Readings:
    """What was measured: requests since the rollout began, and what is new since the last look.

    `rows` are predictions of stable and candidate, the oldest first, one a request; `cursor` is
    where the next look goes on. `alarms` are the stage's alarms that ring. `p99_before` is the
    stable version's, in milliseconds, before the rollout. `batch` is what was replayed.
    """

    stable: Requests = Requests()
    candidate: Requests = Requests()
    p99_before: float | None = None
    rows: "tuple[Rows, Rows]" = ((), ())
    cursor: Cursor = Cursor()
    alarms: tuple[str, ...] = ()
    batch: Batch | None = None


@dataclass(frozen=True)
class Evidence:
    """What the looks so far have come to.

    `baseline` is what was counted before the first look, by minutes that had begun earlier;
    `alarms_before` rang then, which is not the candidate's fault. `slow_ms` is set once, from what
    the stable version did until then. `unread` says why predictions could not be compared.
    """

    baseline: tuple[Requests, Requests] | None = None
    seen: tuple[Requests, Requests] = (Requests(), Requests())
    rate: Above | None = None
    increase: Increase | None = None
    slow: Increase | None = None
    slow_ms: float | None = None
    shift: "Shift | None" = None
    cursor: Cursor = Cursor()
    unread: str = ""
    alarms_before: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    replayed: Replayed | None = None

    @property
    def samples(self) -> int:
        """The candidate's requests since the rollout began."""
        if self.baseline is None:
            return 0
        return self.seen[1].since(self.baseline[1]).count

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data = asdict(replace(self, shift=None, replayed=None))
        parts = {"shift": self.shift, "replayed": self.replayed}
        return {**data, **{key: part and part.to_json() for key, part in parts.items()}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Evidence":
        """Read what `to_json` returned."""
        made = dict(data)
        for key in ("baseline", "seen"):
            if made[key] is not None:
                made[key] = tuple(Requests(**one) for one in made[key])
        made["rate"] = made["rate"] and Above.from_json(made["rate"])
        for key in ("increase", "slow"):
            made[key] = made[key] and Increase.from_json(made[key])
        if made["shift"] is not None:
            # Counting loads numpy, which only this check needs.
            from fnmodel.distribution import Shift

            made["shift"] = Shift.from_json(made["shift"])
        if made.get("replayed") is not None:
            made["replayed"] = Replayed.from_json(made["replayed"])
        cursor = made["cursor"]
        made["cursor"] = Cursor(cursor["after"], tuple(cursor["beyond"]))
        for key in ("alarms", "alarms_before"):
            made[key] = tuple(made[key])
        return Evidence(**made)


def none_yet(
    limits: Limits,
    shift: "Shift | None" = None,
    replays: Replays = _NEVER,
    tolerance: "Tolerance | None" = None,
) -> Evidence:
    """Return the evidence before the first look; `shift` holds the bins of predictions.

    With a `tolerance` both versions hold the same model, and are to answer replayed rows within it.
    """
    return Evidence(
        rate=Above(limits.error_rate) if limits.error_rate is not None else None,
        increase=Increase(limits.error_increase) if limits.error_increase is not None else None,
        slow=Increase() if limits.latency_ratio is not None else None,
        shift=shift if limits.prediction_shift is not None else None,
        replayed=replayed.nothing(limits, shift, tolerance) if replays.any else None,
    )


def look(evidence: Evidence, readings: Readings, limits: Limits, random: Random) -> Evidence:
    """Return the evidence with what was measured since the last look."""
    now = readings.stable, readings.candidate
    if evidence.baseline is None:
        return replace(
            evidence, baseline=now, seen=now, cursor=readings.cursor,
            slow_ms=readings.p99_before, alarms_before=readings.alarms, alarms=readings.alarms,
        )  # fmt: skip
    stable, candidate = (
        new.since(old) for new, old in zip(now, evidence.seen, strict=True)
    )  # fmt: skip
    seen = now[0].most(evidence.seen[0]), now[1].most(evidence.seen[1])
    evidence = replace(
        evidence,
        seen=seen,
        alarms=readings.alarms,
        # What stopped in between and rings again is new.
        alarms_before=tuple(a for a in evidence.alarms_before if a in readings.alarms),
    )
    failed_a, failed_b = (Share(one.errors, one.count) for one in (stable, candidate))
    if evidence.rate is not None:
        evidence = replace(evidence, rate=evidence.rate.add(failed_b, random))
    if evidence.increase is not None:
        evidence = replace(evidence, increase=evidence.increase.add(failed_a, failed_b, random))
    if evidence.slow is not None:
        evidence = _look_at_latency(evidence, stable, candidate, random)
    if evidence.shift is not None:
        evidence = _look_at_predictions(evidence, readings)
    if evidence.replayed is not None and readings.batch is not None:
        more = replayed.add(evidence.replayed, readings.batch, limits, random)
        evidence = replace(evidence, replayed=more)
    return evidence


def _look_at_latency(
    evidence: Evidence, stable: Requests, candidate: Requests, random: Random
) -> Evidence:
    assert evidence.slow is not None
    if evidence.slow_ms is None:
        # Nothing is slow before there is a bound; what was counted until now made it.
        return replace(evidence, slow_ms=stable.p99_ms)
    slow_a, slow_b = (Share(one.slow, one.timed) for one in (stable, candidate))
    return replace(evidence, slow=evidence.slow.add(slow_a, slow_b, random))


def _look_at_predictions(evidence: Evidence, readings: Readings) -> Evidence:
    from fnmodel.errors import InputError

    shift = evidence.shift
    assert shift is not None
    evidence = replace(evidence, cursor=readings.cursor)
    try:
        return replace(evidence, shift=shift.add(*readings.rows), unread="")
    except InputError as error:
        return replace(evidence, unread=error.message)
