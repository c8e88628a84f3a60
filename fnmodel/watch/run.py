"""One look at a model: every hour that is over and not watched yet is counted, judged and told.

The record of an hour is written once. Whoever tries again finds it, and only sends what did not
arrive; whoever runs at the same time loses the race for it, and leaves the sending to the winner.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fnmodel import cloudevents
from fnmodel.errors import AlertError
from fnmodel.model import Signature
from fnmodel.profile import Profile
from fnmodel.watch import records
from fnmodel.watch.book import Book, Entry, identity
from fnmodel.watch.channels import Outbox
from fnmodel.watch.drift import Drift, Rules
from fnmodel.watch.hour import Tally, tally
from fnmodel.watch.incident import Rhythm, advance
from fnmodel.watch.judge import Evidence, Judgement, judge
from fnmodel.watch.records import HISTORY, Record, Store, shifted
from fnmodel.watch.retrain import Guards, decide
from fnmodel.watch.windows import Windows, merged

ALERT = "io.fnmodel.watch.alert"
"""Types of alerts begin so, and end with what has changed: `.opened`, `.grown` and so on."""
RETRAIN = "io.fnmodel.watch.retrain.requested"

_CATCH_UP = 48
"""Hours that one who was away is made up for."""
_POOL = 72
"""Hours that are put together at most, where each has too few rows."""
_OWED = 8
"""Messages that are tried again at most, so that a receiver that is gone does not take an hour."""
_WINNER = timedelta(minutes=15)
"""Time in which the one who wrote a record sends it: the longest that Lambda runs."""


@dataclass(frozen=True)
class Settings:
    """How a stage is watched; `grace` is how long after an hour its late rows are waited for."""

    stage: str
    endpoint: str
    grace: timedelta = timedelta(minutes=15)
    rules: Rules = field(default_factory=lambda: Rules(alpha=0.001, draws=0))
    rhythm: Rhythm = field(default_factory=Rhythm)
    unkept: AbstractSet[str] = frozenset()
    guards: Guards | None = None


@dataclass(frozen=True)
class Watched:
    """A model: what it was trained on, and the digest of that."""

    name: str
    reference: Profile
    signature: Signature
    digest: str


@dataclass(frozen=True)
class Desk:
    """The parts that a look works with; without `book` nothing is retrained.

    `who` is the same in each attempt of one look.
    """

    store: Store
    outbox: Outbox
    book: Book | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    who: str = ""


def look(
    watched: Watched, settings: Settings, desk: Desk, now: datetime, enough: Callable[[], bool]
) -> Iterator[Record]:
    """Watch the hours that are due at `now` (UTC), and yield their records, oldest first.

    It stops after an hour when `enough` says so; the next look goes on there.

    Raises:
        AlertError: a message could not be delivered, which keeps no hour from being watched; the
            next look tries again.

    """
    last = (now - settings.grace).isoformat()[:13]
    previous = records.latest(desk.store, watched.name, last)
    owed, failed = _make_up(previous, settings, desk) if previous else ((), None)
    first = shifted(last, -1)
    if previous is not None:
        first = max(shifted(previous.hour, 1), shifted(last, -_CATCH_UP))
    hour = first
    while hour < last:
        made = replace(record(watched, settings, desk, hour, previous, now), owed=owed[-_OWED:])
        mine = desk.store.put_once(records.record_key(watched.name, hour), made.to_bytes())
        if not mine:
            made = records.find(desk.store, watched.name, hour) or made
        if error := _tell(made, settings, desk, mine=mine):
            owed, failed = (*owed, hour), error
        yield made
        if enough():
            break
        previous, hour = made, shifted(hour, 1)
    if failed is not None:
        raise failed


def _make_up(
    previous: Record, settings: Settings, desk: Desk
) -> tuple[tuple[str, ...], AlertError | None]:
    """Send what earlier hours could not; return the hours that still cannot, and what failed."""
    owed: list[str] = []
    failed: AlertError | None = None
    for hour in (*previous.owed, previous.hour):
        made = previous if hour == previous.hour else records.find(desk.store, previous.model, hour)
        if made is not None and (error := _tell(made, settings, desk, mine=False)):
            owed.append(hour)
            failed = error
    return tuple(owed), failed


def record(
    watched: Watched,
    settings: Settings,
    desk: Desk,
    hour: str,
    previous: Record | None,
    now: datetime,
) -> Record:
    """Count and judge one hour; stores its windows, and returns what its record is to be."""
    lines = desk.store.captured(settings.endpoint, hour, now)
    counted = tally(lines, hour, watched.name, watched.reference, watched.signature)
    key, small = records.keep_windows(desk.store, watched.name, hour, counted.windows)
    pending = previous.pending if previous and previous.reference == watched.digest else ()
    pooled = tuple(one for one in pending if one >= shifted(hour, -_POOL))
    volumes = previous.volumes if previous else {}
    evidence = Evidence(
        hour,
        merged(counted.windows, _windows(desk.store, watched, pooled)),
        counted.represents,
        counted.unreadable,
        counted.rows,
        _before(desk.store, watched, (*pooled, hour)) if counted.rows else {},
        volumes,
    )
    unkept = settings.unkept | _unasked(watched)
    found = judge(evidence, watched.reference, settings.rules, unkept)
    return _written(watched, settings, hour, previous, counted, found, pooled, key, small, desk)


def _written(
    watched: Watched,
    settings: Settings,
    hour: str,
    previous: Record | None,
    counted: Tally,
    found: Judgement,
    pooled: tuple[str, ...],
    key: str | None,
    small: int,
    desk: Desk,
) -> Record:
    incident, change = previous.incident if previous else None, None
    if found.judged or found.alarms:
        incident, change = advance(incident, found.alarms, hour, settings.rhythm)
    waiting = (*pooled, hour) if counted.rows else pooled
    since = shifted(hour, -HISTORY)
    volumes = {
        **(previous.volumes if previous else {}), hour: counted.represents
    }  # fmt: skip
    return Record(
        watched.name,
        hour,
        watched.digest,
        desk.clock().isoformat(timespec="seconds"),
        desk.who,
        counted.rows,
        counted.represents,
        counted.repeated,
        counted.unreadable,
        small,
        key,
        pooled=waiting if found.judged else (),
        pending=() if found.judged else waiting,
        alarms=found.alarms,
        columns=tuple(_columns(found.drift)),
        change=change,
        incident=incident,
        volumes={at: rows for at, rows in volumes.items() if at >= since},
    )


def _columns(drift: Drift | None) -> Iterator[Mapping[str, Any]]:
    for one in drift.columns if drift else ():
        yield {
            "name": one.name,
            "role": one.role,
            "verdict": str(one.verdict),
            "excess": one.excess,
            "moved": one.wasserstein,
            "adjusted": one.adjusted,
        }


def _windows(store: Store, watched: Watched, hours: tuple[str, ...]) -> Windows:
    """Return the stored windows of hours that were counted on this model's bins."""
    total: Windows = {}
    for hour in hours:
        found = records.find(store, watched.name, hour)
        total = merged(total, records.windows_on(store, found, watched.digest))
    return total


def _before(store: Store, watched: Watched, hours: tuple[str, ...]) -> Windows:
    """Return what may be the season of some hours: they in four weeks, else on seven days."""
    if len(hours) > 1:
        return {}  # too few rows for one hour are too few for a season of it
    weeks = tuple(shifted(hours[0], -24 * 7 * week) for week in range(1, 5))
    days = tuple(shifted(hours[0], -24 * day) for day in range(1, 7))
    return _windows(store, watched, (*weeks, *days))


def _unasked(watched: Watched) -> frozenset[str]:
    """Return the columns that the project's own code makes: captured rows do not have them."""
    asked = {feature.name for feature in watched.signature.asked}
    return frozenset(name for name in watched.reference.features if name not in asked)


def _tell(made: Record, settings: Settings, desk: Desk, *, mine: bool) -> AlertError | None:
    """Send what an hour has to say, with what was decided about retraining; return what failed."""
    if made.change is None:
        return None
    mine = mine or (bool(desk.who) and made.who == desk.who)
    if not mine and desk.clock() - datetime.fromisoformat(made.written) < _WINNER:
        return None
    try:
        _send(made, settings, desk)
    except AlertError as error:
        return error
    return None


def _send(made: Record, settings: Settings, desk: Desk) -> None:
    entry = _retraining(made, settings, desk)
    source = f"/{settings.endpoint}/{made.model}"
    time = f"{shifted(made.hour, 1)}:00:00Z"
    data = {
        "stage": settings.stage,
        "model": made.model,
        "hour": made.hour,
        "hours": list(made.pooled) or [made.hour],
        "change": made.change,
        "since": made.incident.since if made.incident else made.hour,
        "rows": made.rows,
        "alarms": [asdict(alarm) for alarm in made.alarms],
        "retraining": f"{entry.status}, {entry.why} ({entry.id})" if entry else None,
    }
    # First what starts a run: a receiver of alerts that is down must not hold it up.
    if entry is not None and entry.status == "requested":
        request(entry, settings.endpoint, desk.outbox)
    desk.outbox.send(cloudevents.event(f"{ALERT}.{made.change}", source, made.hour, time, data))


def request(entry: Entry, endpoint: str, outbox: Outbox) -> None:
    """Ask for a run of the pipeline, by an event that a rule of the stack waits for.

    Raises:
        AlertError: EventBridge did not take it.

    """
    data = {"id": entry.id, "model": entry.model, "hour": entry.hour, "endpoint": endpoint}
    source = f"/{endpoint}/{entry.model}"
    bus = {"eventbridge": outbox.channels["eventbridge"]}
    event = cloudevents.event(RETRAIN, source, entry.hour, entry.time, data)
    Outbox(outbox.store, bus).send(event)


def _retraining(made: Record, settings: Settings, desk: Desk) -> Entry | None:
    if desk.book is None or settings.guards is None:
        return None
    known = desk.book.find(identity(made.model, made.hour))
    if known is not None:
        return known
    decision = decide(made.change, made.alarms, made.hour, desk.book.past(), settings.guards)
    return desk.book.note(identity(made.model, made.hour), decision) if decision else None
