"""The alarms of one window after another in, the few messages that people get out. Pure.

What is wrong for a week is one incident: a message when it opens, one when something new goes wrong
beside it, a reminder a day, and one when it closes. A flapping column is named once an incident.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from fnmodel.watch.judge import Alarm

Change = Literal["opened", "grown", "still", "closed"]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is wrong since `since`; `keys` are all alarms that it ever had.

    `said` is the hour of the last message, `quiet` how many windows went by without an alarm.
    """

    since: str
    keys: tuple[str, ...]
    said: str
    quiet: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "keys": list(self.keys)}

    @staticmethod
    def from_json(data: Any) -> "Incident | None":
        """Read what `to_json` returned; None stands for no incident."""
        return Incident(**{**data, "keys": tuple(data["keys"])}) if data else None


@dataclass(frozen=True, slots=True)
class Rhythm:
    """After how many quiet windows an incident closes, and how often one that lasts is said."""

    close_after: int = 3
    remind: timedelta = timedelta(days=1)


def advance(
    incident: Incident | None, alarms: Sequence[Alarm], hour: str, rhythm: Rhythm
) -> tuple[Incident | None, Change | None]:
    """Return the incident after one more judged window, and what people are told of it."""
    keys = tuple(alarm.key for alarm in alarms)
    if incident is None:
        return (Incident(hour, keys, hour), "opened") if keys else (None, None)
    if not keys:
        if incident.quiet + 1 >= rhythm.close_after:
            return None, "closed"
        return replace(incident, quiet=incident.quiet + 1), None
    fresh = [key for key in keys if key not in incident.keys]
    lasting = replace(incident, quiet=0, keys=(*incident.keys, *fresh))
    if fresh:
        return replace(lasting, said=hour), "grown"
    if _moment(hour) - _moment(incident.said) >= rhythm.remind:
        return replace(lasting, said=hour), "still"
    return lasting, None


def _moment(hour: str) -> datetime:
    return datetime.fromisoformat(hour + ":00")
