"""Decides what a rollout does next; pure, so that a canary of a day is tested in milliseconds.

`tick` is asked again and again, by whoever is there: a command, or the controller. It reads where
requests go, and says what the rollout is now and where the alias is to point. What it says is
written down before the alias is moved, and the alias is looked at before anything is decided; so
whoever is killed in between, the next one goes on.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from fnmodel.release import rollout as moves
from fnmodel.release.alias import AliasState
from fnmodel.release.analysis import Evidence, Readings, look
from fnmodel.release.findings import Finding, Verdict, findings, verdict
from fnmodel.release.plan import Limits, Plan, Step
from fnmodel.release.replayed import UNLIKE

SHADOW = -1
"""The step before the first, in which captured requests are replayed and none are given."""


class Phase(StrEnum):
    """Where a rollout stands.

    shadow        captured requests are replayed to it; it gets none of the callers' yet
    moving        the step's share of the requests is being given to the candidate
    baking        it has it, and is watched
    inconclusive  the bake is over, and there is not enough to judge by
    approval      somebody must agree to the next step
    returning     the candidate's requests are being taken away
    completed     the candidate is the stable version
    rolled_back   the stable version has all requests again
    superseded    somebody moved the alias otherwise; the rollout left it so
    """

    shadow = "shadow"
    moving = "moving"
    baking = "baking"
    inconclusive = "inconclusive"
    approval = "approval"
    returning = "returning"
    completed = "completed"
    rolled_back = "rolled_back"
    superseded = "superseded"


_ENDED = frozenset({Phase.completed, Phase.rolled_back, Phase.superseded})


@dataclass(frozen=True)
class Rollout:
    """One candidate's way to all the requests; times are epoch seconds.

    `step` is the index of the step that is taken: SHADOW before the first, that of none when the
    candidate is being made stable. `since` is when the step's share was in place, `samples` how
    many requests the candidate had had by then. `approved` is the highest index that somebody
    agreed to. `looked` is when a driver began to measure last, where the rollout replays.
    """

    id: str
    plan: Plan
    stable: str
    candidate: str
    digest: str
    stable_digest: str
    started: float
    evidence: Evidence
    phase: Phase = Phase.moving
    step: int = 0
    since: float = 0.0
    samples: int = 0
    paused: bool = False
    approved: int = -1
    why: str = ""
    ended: float = 0.0
    looked: float = 0.0

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.phase not in _ENDED

    @property
    def deadline(self) -> float:
        """When it goes back if it has not ended."""
        return self.started + self.plan.deadline

    @property
    def current(self) -> Step | None:
        """The step that is taken; None in the shadow, and while the candidate is made stable."""
        return self.plan.steps[self.step] if 0 <= self.step < len(self.plan.steps) else None

    @property
    def shadows(self) -> bool:
        """Whether the candidate waits for its first requests, in the shadow of the stable one."""
        return self.step == SHADOW

    @property
    def alone(self) -> float | None:
        """Since when the candidate has had all the requests, in a step of 100 %; else None."""
        step = self.current
        whole = step is not None and step.percent == 100 and self.phase is not Phase.moving
        return self.since if whole else None

    @property
    def limits(self) -> Limits:
        """What the candidate may not do in this step."""
        limits = self.plan.limits
        if not self.shadows:
            return limits
        # Without callers no alarm is its doing. A short shadow may have fewer requests, of which
        # some cannot be replayed.
        samples = min(limits.samples, math.ceil(self.plan.replays.shadow * (1 - UNLIKE)))
        return replace(limits, samples=samples, alarms=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What each check says of this step so far."""
        seen = 0 if self.shadows else self.evidence.samples - self.samples
        return findings(self.evidence, self.limits, seen)

    def target(self, step: int) -> AliasState:
        """Return where the alias points in a step; before the first, to the stable version."""
        start = AliasState(self.stable)
        if step < 0:
            return start
        steps = self.plan.steps
        return moves.shift(start, self.candidate, steps[step].percent if step < len(steps) else 100)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data = asdict(replace(self, evidence=Evidence()))
        return {**data, "plan": self.plan.to_json(), "evidence": self.evidence.to_json()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Rollout":
        """Read what `to_json` returned."""
        parts = {
            "plan": Plan.from_json(data["plan"]),
            "evidence": Evidence.from_json(data["evidence"]),
            "phase": Phase(data["phase"]),
        }
        return Rollout(**{**data, **parts})


@dataclass(frozen=True)
class Ticked:
    """The rollout as it is now, and where the alias is to point; None where it may stay."""

    rollout: Rollout
    move: AliasState | None = None


def tick(
    rollout: Rollout, alias: AliasState, readings: Readings | None, now: float, random: Random
) -> Ticked:
    """Return what becomes of a rollout, and the move that it needs; no readings tell nothing new.

    A move comes with the phase that asks for it: written down first, it is asked for again until
    the alias shows it.
    """
    if not rollout.active:
        return Ticked(rollout)
    if readings is not None:
        rollout = _looked(rollout, readings, now, random)
    if rollout.phase is Phase.returning:
        return _return(rollout, alias, now)
    wanted = rollout.target(rollout.step)
    if not alias.serves_as(wanted):
        before = rollout.target(rollout.step - 1)
        if rollout.phase is not Phase.moving or not alias.serves_as(before):
            return Ticked(_end(rollout, Phase.superseded, "the alias was moved otherwise", now))
    failed = _failure(rollout, now)
    if failed:
        return _go_back(rollout, alias, failed, now)
    if not alias.serves_as(wanted):
        return Ticked(rollout, wanted)
    if rollout.phase is Phase.moving:
        if rollout.step == len(rollout.plan.steps):
            return Ticked(_end(rollout, Phase.completed, _passed(rollout), now))
        rollout = replace(
            rollout, phase=_watching(rollout), since=now, samples=rollout.evidence.samples, why=""
        )
    return _bake(rollout, alias, now)


def _looked(rollout: Rollout, readings: Readings, now: float, random: Random) -> Rollout:
    evidence = look(rollout.evidence, readings, rollout.plan.limits, random)
    if rollout.shadows:
        evidence = replace(evidence, alarms_before=evidence.alarms)
    looked = now if rollout.plan.replays.any else 0.0
    return replace(rollout, evidence=evidence, looked=looked)


def _watching(rollout: Rollout) -> Phase:
    return Phase.shadow if rollout.shadows else Phase.baking


def go_back(rollout: Rollout, why: str) -> Rollout:
    """Return the rollout that a person has ended; the next tick takes the requests away."""
    return replace(rollout, phase=Phase.returning, why=why, paused=False)


def approve(rollout: Rollout) -> Rollout:
    """Return the rollout with the next step agreed to, also if its checks are inconclusive."""
    return replace(rollout, approved=rollout.step + 1)


def _bake(rollout: Rollout, alias: AliasState, now: float) -> Ticked:
    if rollout.paused:
        return Ticked(rollout)
    if not _baked(rollout, now):
        return Ticked(replace(rollout, phase=_watching(rollout)))
    approved = rollout.approved > rollout.step
    if approved or verdict(rollout.findings) is Verdict.healthy:
        return _advance(rollout, approved=approved, now=now)
    why = "; ".join(
        f"{found.check}: {found.text}"
        for found in rollout.findings
        if found.verdict is Verdict.inconclusive
    )
    match rollout.plan.inconclusive:
        case "wait":
            return Ticked(replace(rollout, phase=Phase.inconclusive, why=why))
        case "approve":
            return Ticked(replace(rollout, phase=Phase.approval, why=f"inconclusive: {why}"))
        case "rollback":
            return _go_back(rollout, alias, f"inconclusive: {why}", now)


def _baked(rollout: Rollout, now: float) -> bool:
    """Whether a step has been watched for long enough; the shadow, whether it has its pairs."""
    if rollout.current is not None:
        return now >= rollout.since + rollout.current.bake
    found = rollout.evidence.replayed
    assert found is not None
    return found.exhausted or found.asked >= rollout.plan.replays.shadow


def _advance(rollout: Rollout, *, approved: bool, now: float) -> Ticked:
    steps, following = rollout.plan.steps, rollout.step + 1
    if following == len(steps) and rollout.target(rollout.step).version == rollout.candidate:
        return Ticked(_end(rollout, Phase.completed, _passed(rollout), now))
    asked = following < len(steps) and steps[following].approve
    if asked and not approved:
        why = f"step {following + 1} ({steps[following].percent:g} %) needs approval"
        return Ticked(replace(rollout, phase=Phase.approval, why=why))
    rollout = replace(rollout, phase=Phase.moving, step=following, why=_passed(rollout))
    return Ticked(rollout, rollout.target(following))


def _failure(rollout: Rollout, now: float) -> str:
    """Return why the rollout must go back now, or nothing."""
    for found in rollout.findings:
        if found.verdict is Verdict.failed:
            return f"{found.check}: {found.text}"
    if now >= rollout.deadline:
        hours = rollout.plan.deadline / 3600
        return f"it has not ended within {hours:g} h, and stood at {rollout.phase}"
    return ""


def _go_back(rollout: Rollout, alias: AliasState, why: str, now: float) -> Ticked:
    return _return(go_back(rollout, why), alias, now)


def _return(rollout: Rollout, alias: AliasState, now: float) -> Ticked:
    stable = AliasState(rollout.stable)
    if alias.serves_as(stable):
        return Ticked(_end(rollout, Phase.rolled_back, rollout.why, now))
    if {alias.version, *alias.weights} <= {rollout.stable, rollout.candidate}:
        return Ticked(rollout, stable)
    return Ticked(_end(rollout, Phase.superseded, "the alias was moved otherwise", now))


def _end(rollout: Rollout, phase: Phase, why: str, now: float) -> Rollout:
    return replace(rollout, phase=phase, why=why, ended=now, paused=False)


def _passed(rollout: Rollout) -> str:
    """Say what a step has shown, for the ledger."""
    if rollout.step < len(rollout.plan.steps):
        return "; ".join(f"{found.check}: {found.text}" for found in rollout.findings)
    return rollout.why
