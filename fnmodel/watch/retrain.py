"""An alert and what was retrained before in, whether to retrain now out. Pure.

The guards are there against loops: a model that drifts at once again must not train all night.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from fnmodel.watch.incident import Change
from fnmodel.watch.judge import DRIFT_KINDS, Alarm

Verdict = Literal["start", "ask", "refuse"]

BROKEN = frozenset({"nulls", "schema", "unreadable", "volume", "freshness"})
"""Alarms that say that the data is broken: training on it would teach that."""


@dataclass(frozen=True, slots=True)
class Guards:
    """When an alert may start retraining.

    `cooldown` is the time after a start in which there is no other, `budget` how many starts a
    calendar month (UTC) may have, `approve` has a person say yes, `on_quality` lets alarms about
    broken data start it, too.
    """

    cooldown: timedelta = timedelta(days=7)
    budget: int = 4
    approve: bool = False
    on_quality: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger knows: hours of starts, oldest first, and the run that is under way."""

    starts: Sequence[str] = ()
    running: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and why."""

    verdict: Verdict
    why: str


def decide(
    change: Change | None, alarms: Sequence[Alarm], hour: str, past: Past, guards: Guards
) -> Decision | None:
    """Decide about one alert; None where it is none that retraining is thought of for."""
    if change in (None, "closed") or not alarms:
        return None
    kinds = {alarm.kind for alarm in alarms}
    if not guards.on_quality:
        if not kinds & DRIFT_KINDS:
            return Decision("refuse", "no column drifted; the alarms are about the data's quality")
        if broken := sorted(kinds & BROKEN):
            return Decision("refuse", f"the data is broken ({', '.join(broken)}); mend it first")
    return guarded(hour, past, guards) or (
        Decision("ask", "`retrain.approve` asks a person first")
        if guards.approve
        else Decision("start", "drift")
    )


def guarded(hour: str, past: Past, guards: Guards) -> Decision | None:
    """Return the refusal of the guards against loops, or None."""
    if past.running:
        return Decision("refuse", f"{past.running} is still running")
    if past.starts:
        since = _moment(hour) - _moment(max(past.starts))
        if since < guards.cooldown:
            return Decision("refuse", f"the last start was {since} before; cool-down")
    month = [start for start in past.starts if start[:7] == hour[:7]]
    if len(month) >= guards.budget:
        return Decision("refuse", f"{len(month)} starts in {hour[:7]}; that is the month's budget")
    return None


def _moment(hour: str) -> datetime:
    return datetime.fromisoformat(hour + ":00")
