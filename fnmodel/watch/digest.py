"""A week of windows in, what changed since the week before out: as text, JSON and a page. Pure.

It is made of the trend over both weeks, so that it says what the trend page says. What it is not
told (alarms, requests, dollars) it leaves out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fnmodel.model import Signature
from fnmodel.profile import Profile
from fnmodel.watch import advice
from fnmodel.watch.drift import Verdict
from fnmodel.watch.performance import Evidence, Question
from fnmodel.watch.quality import Finding, Traffic, findings
from fnmodel.watch.realised import Interval
from fnmodel.watch.trend import Trend, trend
from fnmodel.watch.windows import Windows, between

SCHEMA = 1
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alarm that rang: what it said, when (ISO 8601, UTC), and when it stopped, if it has."""

    name: str
    text: str
    opened: str
    closed: str | None = None


@dataclass(frozen=True, slots=True)
class Operations:
    """What requests of a week came to; None is not known.

    `p50_ms` is the median of hours' medians, `p99_ms` that of the worst hour. `dollars` are of the
    function alone.
    """

    requests: int
    errors: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    dollars: float | None = None


@dataclass(frozen=True, slots=True)
class Drifted:
    """A column that has drifted: since when, how many times its limit, by which measure."""

    name: str
    role: str
    since: str
    reach: float
    by: str
    new: bool


@dataclass(frozen=True, slots=True)
class Week:
    """What one of the two weeks came to."""

    rows: int
    represents: float
    versions: tuple[str, ...]
    estimated: float | None
    realised: Interval | None
    operations: Operations | None


@dataclass(frozen=True, slots=True)
class Digest:
    """What the mail says.

    `ended` are columns that had drifted and no longer do, `drift` the trend's alarms, `todo` what
    to do about them.
    """

    question: Question
    main: str
    now: Week
    before: Week
    drifted: tuple[Drifted, ...]
    ended: tuple[str, ...]
    opened: tuple[Alert, ...]
    closed: tuple[Alert, ...]
    findings: tuple[Finding, ...]
    drift: tuple[str, ...]
    todo: tuple[str, ...]
    judged: bool

    @property
    def alarms(self) -> tuple[str, ...]:
        """What calls for a person, a line each."""
        open_still = [
            f"alarm {one.name} rings: {one.text}" for one in self.opened if not one.closed
        ]
        serious = [one.text for one in self.findings if one.serious]
        return (*open_still, *serious, *self.drift)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with `schema` and the alarms first."""
        data = {**asdict(self), "question": self.question.to_json()}
        return {"schema": SCHEMA, "alarms": list(self.alarms), **data}


def digest(
    found: Windows,
    reference: Profile,
    signature: Signature,
    question: Question,
    *,
    evidence: Evidence | None = None,
    alerts: Sequence[Alert] = (),
    operations: tuple[Operations | None, Operations | None] = (None, None),
) -> Digest:
    """Say what a week was like, the one that ends with `question.until`.

    `question.since` is not looked at. `found` are windows of this week, the week before, and, for
    seasons, as much earlier as there is. `operations` are of this week and of the week before.
    """
    until = datetime.fromisoformat(question.until)
    since, earlier = (_text(until - weeks * WEEK) for weeks in (1, 2))
    question = replace(question, since=since)
    made = trend(found, reference, signature, replace(question, since=earlier), evidence)
    now, before = between(found, since, question.until), between(found, earlier, since)
    sides = [
        _week(part, made, evidence, told)
        for part, told in zip((now, before), operations, strict=True)
    ]
    traffic = Traffic(since, question.until, now, before, 0)
    judged = made is not None and any(
        step.drift.judged for step in made.steps if step.hours[1] >= since[:13]
    )
    return Digest(
        question,
        made.main if made else "accuracy",
        sides[0],
        sides[1],
        _drifted(made, since) if made else (),
        _ended(made) if made else (),
        tuple(one for one in alerts if since <= one.opened < question.until),
        tuple(one for one in alerts if one.closed and since <= one.closed < question.until),
        findings(traffic, question.rules) if now or before else (),
        made.alarms if made else (),
        tuple(advice.next_steps(made)) if made else (),
        judged,
    )


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")[:19]


def _week(
    part: Windows,
    made: Trend | None,
    evidence: Evidence | None,
    operations: Operations | None,
) -> Week:
    own = {key.hour for key in part}
    steps = [one for one in made.steps if one.hours[0] in own] if made else []
    # The mean of a week is the mean of its steps by their rows.
    guesses = [(step.estimated, step.rows) for step in steps if step.estimated is not None]
    rows = sum(count for _, count in guesses)
    return Week(
        sum(one.profile.rows for one in part.values()),
        sum(one.profile.rows / key.rate for key, one in part.items()),
        tuple(sorted({key.version for key in part})),
        sum(value * count for value, count in guesses) / rows if rows else None,
        evidence.between(min(own), max(own))[1] if evidence and own else None,
        operations,
    )


def _drifted(made: Trend, since: str) -> tuple[Drifted, ...]:
    result = []
    for one in made.drifted:
        first, last = one.since, one.judged[-1]
        if first is None:
            continue
        began = made.steps[first]
        result.append(
            Drifted(
                one.name,
                one.role,
                began.time,
                one.reach[last] or 0.0,
                one.by[last],
                began.hours[0] >= since[:13],
            )
        )
    return tuple(result)


def _ended(made: Trend) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in made.courses
        if Verdict.DRIFT in one.verdicts and one.state is not Verdict.DRIFT
    )
