"""What is stored of each hour that was watched, and where: written once, and never changed.

    watch/windows/MODEL/HOUR/DIGEST.jsonl   its windows, as `windows.py` writes them
    watch/hours/MODEL/HOUR.json             its record, which names them
    watch/sent/ID/CHANNEL                   that a message has arrived

A record holds what the next hour needs of the past, so that an hour reads one record and not a
month of them.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from fnmodel.errors import InputError
from fnmodel.watch.columns import Counted
from fnmodel.watch.incident import Change, Incident
from fnmodel.watch.judge import Alarm
from fnmodel.watch.windows import Key, Windows, from_lines, to_lines

SCHEMA = 1


class Store(Protocol):
    """One bucket, as far as windows need it."""

    def get(self, key: str) -> bytes | None:
        """Return an object's content, None where there is none."""

    def put_once(self, key: str, body: bytes) -> bool:
        """Write an object where there is none; return False where there is one."""

    def keys(self, prefix: str, after: str = "") -> Iterable[str]:
        """Yield the keys below a prefix that come after another, in order."""

    def captured(self, endpoint: str, hour: str, until: datetime) -> Iterable[bytes]:
        """Yield the captured lines of an hour that arrived by `until`."""


@dataclass(frozen=True, slots=True)
class Record:
    """One watched hour of one model.

    `pooled` are the hours that were judged together, none where rows were too few; `pending` those
    that wait for more. `profile` names the windows. `volumes` is what earlier hours stood for.
    `reference` is the digest of the bins. `change` is what has to be said, `written` when
    (UTC) and `who` by which look. `owed` are earlier hours whose messages did not arrive yet.
    """

    model: str
    hour: str
    reference: str
    written: str
    who: str = ""
    rows: int = 0
    represents: float = 0.0
    repeated: int = 0
    unreadable: int = 0
    small: int = 0
    profile: str | None = None
    pooled: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    columns: tuple[Mapping[str, Any], ...] = ()
    change: Change | None = None
    incident: Incident | None = None
    volumes: Mapping[str, float] = field(default_factory=dict)
    owed: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the object's content."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, separators=(",", ":")).encode()

    @staticmethod
    def from_bytes(content: bytes) -> "Record":
        """Read what `to_bytes` returned.

        Raises:
            InputError: it is of another schema, or no record.

        """
        try:
            data = json.loads(content)
            if data.pop("schema") != SCHEMA:
                raise InputError("a watched hour is of another schema; see docs/watch.md")
            tuples = {name: tuple(data[name]) for name in ("pooled", "pending", "columns", "owed")}
            alarms = tuple(Alarm(**alarm) for alarm in data["alarms"])
            incident = Incident.from_json(data["incident"])
            return Record(**{**data, **tuples, "alarms": alarms, "incident": incident})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"a watched hour cannot be read: {error!r}") from error


def record_key(model: str, hour: str) -> str:
    """Return the key of an hour's record."""
    return f"watch/hours/{model}/{hour}.json"


def find(store: Store, model: str, hour: str) -> Record | None:
    """Return the record of an hour."""
    return _read(store, record_key(model, hour))


def _read(store: Store, key: str) -> Record | None:
    content = store.get(key)
    return Record.from_bytes(content) if content is not None else None


def listed(store: Store, model: str, since: str, until: str = "~") -> Iterator[Record]:
    """Yield the records of [since, until), hours as 2026-11-27T08, oldest first.

    `stored_windows` gives the counts of each.
    """
    for key in _keys(store, model, since, until):
        found = _read(store, key)
        if found is not None:
            yield found


def _keys(store: Store, model: str, since: str, until: str) -> Iterator[str]:
    prefix = record_key(model, "")[: -len(".json")]
    for key in store.keys(prefix, f"{prefix}{since}"):
        if key[len(prefix) : -len(".json")] >= until:
            return
        yield key


def windows_between(
    store: Store,
    model: str,
    reference: str,
    since: str,
    until: str,
    each: Callable[[Callable[[str], Windows], Iterable[str]], Iterable[Windows]] = map,
) -> dict[Key, Counted]:
    """Return the stored windows of [since, until) that were counted on this reference's bins.

    An hour is two reads; `each` may be the `map` of an executor, which does many at once.
    """

    def of_hour(key: str) -> Windows:
        return windows_on(store, _read(store, key), reference)

    total: dict[Key, Counted] = {}
    for found in each(of_hour, _keys(store, model, since, until)):
        total.update(found)
    return total


def latest(store: Store, model: str, before: str) -> Record | None:
    """Return the newest record of an hour before this one, of the last four weeks."""
    newest = deque(_keys(store, model, shifted(before, -HISTORY), before), maxlen=1)
    return _read(store, newest[0]) if newest else None


HISTORY = 28 * 24
"""Hours that are looked back on."""


def stored_windows(store: Store, record: Record) -> dict[Key, Counted]:
    """Return the windows of an hour; none where it had too few rows to keep."""
    content = store.get(record.profile) if record.profile else None
    return from_lines(content.splitlines()) if content else {}


def windows_on(store: Store, record: Record | None, reference: str) -> Windows:
    """Return the windows of an hour; none where it was counted on another reference's bins."""
    if record is None or record.reference != reference:
        return {}
    return stored_windows(store, record)


def keep_windows(store: Store, model: str, hour: str, found: Windows) -> tuple[str | None, int]:
    """Store the windows of an hour; return their key, and the rows of windows too small to keep.

    The name is that of the content: the same rows give the same object, however often.
    """
    lines, small = to_lines(found)
    if not lines:
        return None, small
    body = b"".join(lines)
    key = f"watch/windows/{model}/{hour}/{hashlib.sha256(body).hexdigest()[:32]}.jsonl"
    store.put_once(key, body)
    return key, small


def shifted(hour: str, hours: int) -> str:
    """Return the hour so many hours later."""
    moment = datetime.fromisoformat(hour + ":00") + timedelta(hours=hours)
    return moment.isoformat()[:13]
