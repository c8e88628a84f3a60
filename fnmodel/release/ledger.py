"""The release ledger in DynamoDB: who did what and why, and whose turn it is.

A stage has a table of its own. Its keys are strings: `pk` is the alias, `sk` is one of

    lock                       the lease: holder, since and expires (epoch seconds), fence, an id of
                               its own, broken if an error ended it; the chain's end
    event#FENCE#NUMBER         one record; zero-padded, so that the order does not rest on clocks
    rollout                    the newest rollout, as JSON; each look at it writes it anew

Each lease taken raises the fence by one. A record is written in one transaction with a check that
the writer still has the newest fence, so that a holder who was thought dead cannot write any more.
Every record also extends the lease, and is the next entry of the chain (`chain.py`), whose end
moves in the same transaction. With `copies` each entry is kept there, too; what a killed run has
not copied, the next record's writer copies.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from fnmodel.aws import translated
from fnmodel.errors import AwsError, ConflictError, LockHeldError, UsageError
from fnmodel.release.chain import Entry, Head
from fnmodel.release.copies import Copies
from fnmodel.release.holder import is_gone

Action = Literal["deploy", "gate", "shift", "promote", "rollback", "unlock"]
Result = Literal["started", "done", "passed", "failed"]

_LOCK = "lock"
_ROLLOUT = "rollout"
_PLAN = "plan#"
_PAGE = 50
_BREAKING = 60.0
"""Seconds that whoever breaks a lease holds the next one, at most."""


@dataclass(frozen=True)
class Record:
    """One entry: what was done with `version`, and where the alias points afterwards.

    `stable` and `weights` are the alias's state after it, `previous` the stable version before;
    a gate or an unlock, which moves nothing, has none of them. `started` says that the alias is
    about to be moved, `done` that it was. `time` is ISO 8601 UTC; `order` is the sort key. The
    lease fills in `who`, `time` and `order`.
    """

    release: str
    action: Action
    version: str
    digest: str
    result: Result
    stable: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    previous: str | None = None
    reason: str = ""
    who: str = ""
    time: str = ""
    order: str = ""

    @property
    def fence(self) -> int:
        """The fence of the lease under which it was written."""
        return int(self.order.split("#")[1])


@dataclass(frozen=True)
class Holder:
    """Who holds the lease, until when (epoch seconds), and the fence that came with it.

    `id` names this lease and no other. `since` is when it was taken; None of one that an older
    fnmodel took.
    """

    name: str
    expires: float
    fence: int
    id: str = ""
    since: float | None = None

    @property
    def until(self) -> str:
        """The end of the lease, ISO 8601 UTC."""
        return _iso(self.expires)

    @property
    def began(self) -> str:
        """When the lease was taken, ISO 8601 UTC; empty where that is not known."""
        return _iso(self.since) if self.since is not None else ""


@dataclass(frozen=True)
class Applied:
    """What came of a saved plan: the version, who applied it, and when (ISO 8601 UTC)."""

    version: str
    who: str
    time: str


class Ledger:
    """The ledger of one alias.

    `clock` gives epoch seconds. `gone` tells whether the process that a holder's name stands for
    is certainly dead, so that its lease need not be waited for.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        alias: str = "live",
        *,
        clock: Callable[[], float] = time.time,
        gone: Callable[[str], bool] = is_gone,
        copies: Copies | None = None,
    ) -> None:
        self._client = client
        self._table = table
        self._key = alias
        self._clock = clock
        self._gone = gone
        self._copies = copies

    def holder(self) -> Holder | None:
        """Return who holds the lease now, or None; a lease that has run out is held by nobody."""
        found = _holder(self._lock())
        return found if found is not None and found.expires > self._clock() else None

    def chain(self) -> tuple[list[Entry], Head]:
        """Return the entries, oldest first, and the end that the chain should have.

        Records from before there was a chain are left out.
        """
        head = self.head()
        while True:
            entries = [entry for item in self._items() if (entry := _entry(item))][::-1]
            before, head = head, self.head()
            if head == before:  # else somebody wrote meanwhile
                return entries, head

    @contextmanager
    def lease(self, name: str, seconds: float = 900.0) -> Iterator["Lease"]:
        """Hold the lease for the length of the block; it ends by itself `seconds` after a crash.

        Raises:
            LockHeldError: names the holder and the lease's end.

        """
        lease = self._take(name, seconds)
        try:
            yield lease
        except BaseException:
            lease.end(broken=True)
            raise
        lease.end()

    def unlock(self, id_: str, name: str, reason: str = "") -> "tuple[Holder, Lease]":
        """Break the lease that has this id, whoever holds it; return its holder and a new lease.

        The fence rises, so that the old holder can write no more. The new lease is for the caller
        to end.

        Raises:
            UsageError: nobody holds a lease, or the one that is held has another id.
            LockHeldError: it was given back, or another one taken, at this moment.
            ConflictError: as `Lease.append`.

        """
        lock = self._lock()
        found = _holder(lock)
        if found is None or found.expires <= self._clock():
            raise UsageError(
                "nobody holds the lock; nothing was broken", hint="run the command that you want"
            )
        if found.id != id_:
            raise UsageError(
                f"{id_!r} is not the id of the lease; {found.name} holds {found.id!r}",
                hint="`fnmodel unlock` without --id shows who holds it since when",
            )
        lease = self._replace(lock, name, _BREAKING)
        lease.append(
            Record(
                release=f"lease-{found.id}",
                action="unlock",
                version="",
                digest="",
                result="done",
                reason=f"broke the lease of {found.name}" + (f": {reason}" if reason else ""),
            )
        )
        return found, lease

    def records(self) -> Iterator[Record]:
        """Yield all records, newest first; reads a page at a time, as far as they are asked for."""
        return map(_record, self._items())

    def _items(self) -> Iterator[dict[str, Any]]:
        start: dict[str, Any] | None = None
        while True:
            query: dict[str, Any] = {
                "TableName": self._table,
                "ConsistentRead": True,
                "ScanIndexForward": False,
                "Limit": _PAGE,
                "KeyConditionExpression": "pk = :pk AND begins_with(sk, :event)",
                "ExpressionAttributeValues": {":pk": {"S": self._key}, ":event": {"S": "event#"}},
            }
            if start is not None:
                query["ExclusiveStartKey"] = start
            with translated():
                answer = self._client.query(**query)
            yield from answer["Items"]
            start = answer.get("LastEvaluatedKey")
            if not start:
                return

    def history(self, limit: int = 20) -> tuple[Record, ...]:
        """Return the newest records, newest first."""
        return tuple(islice(self.records(), limit))

    def latest(self, action: Action | None = None) -> Record | None:
        """Return the newest record, or the newest of one action."""
        return next((r for r in self.records() if action is None or r.action == action), None)

    def rollout(self) -> str | None:
        """Return the newest rollout as `Lease.keep_rollout` wrote it, or None."""
        item = self._get(_ROLLOUT)
        text: str | None = item["rollout"]["S"] if item else None
        return text

    def head(self) -> Head:
        """Return the end of the chain; it moves with every record."""
        return _head(self._lock())

    def applied(self, plan: str) -> Applied | None:
        """Return what came of a saved plan, by its id; None if it was never applied to the end."""
        item = self._get(_PLAN + plan)
        if item is None:
            return None
        return Applied(item["version"]["S"], item["who"]["S"], item["time"]["S"])

    def _lock(self) -> Mapping[str, Any] | None:
        return self._get(_LOCK)

    def _get(self, sort: str) -> Mapping[str, Any] | None:
        with translated():
            item: dict[str, Any] | None = self._client.get_item(
                TableName=self._table, Key=_at(self._key, sort), ConsistentRead=True
            ).get("Item")
        return item

    def _take(self, name: str, seconds: float) -> "Lease":
        lock = self._lock()
        found = _holder(lock)
        if found is not None and found.expires > self._clock() and not self._gone(found.name):
            raise _held(found)
        return self._replace(lock, name, seconds)

    def _replace(self, lock: Mapping[str, Any] | None, name: str, seconds: float) -> "Lease":
        """Take the lease over from the one that was read, if that is still the newest."""
        found, head = _holder(lock), _head(lock)
        now = self._clock()
        fence = found.fence + 1 if found else 1
        item = {
            **_at(self._key, _LOCK),
            "holder": {"S": name},
            "since": {"N": repr(now)},
            "id": {"S": f"{fence}-{uuid.uuid4().hex[:8]}"},
            "expires": {"N": repr(now + seconds)},
            "fence": {"N": str(fence)},
            **_end(head),
        }
        with translated():
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    # Whoever has read this fence, and the last record, and writes first has it.
                    ConditionExpression=f"attribute_not_exists(pk) OR (fence = :read AND {_SAME})",
                    ExpressionAttributeValues={
                        ":read": {"N": str(fence - 1)}, ":head": {"S": head.hash},
                    },
                )  # fmt: skip
            except self._client.exceptions.ConditionalCheckFailedException as error:
                raise self._taken() from error
        # A lease that was given back has no time left; any other holder was killed.
        interrupted = found is not None and (found.expires > 0 or "broken" in (lock or {}))
        return Lease(
            self._client,
            self._table,
            self._key,
            clock=self._clock,
            name=name,
            seconds=seconds,
            fence=fence,
            head=head,
            copy=self._copy,
            interrupted=interrupted,
        )

    def _copy(self, keep: Callable[[], None]) -> None:
        """Copy what has no copy, the oldest first: a run killed here leaves no hole behind it.

        `keep` is called between the calls, of which there can be thousands.
        """
        if self._copies is None:
            return
        missing: list[Entry] = []
        for item in self._items():
            entry = _entry(item)
            if entry is None or self._copies.has(entry.number):
                break
            missing.append(entry)
            keep()
        for entry in reversed(missing):
            self._copies.put(entry.number, entry.to_bytes())
            keep()

    def _taken(self) -> LockHeldError:
        found = _holder(self._lock())
        if found is None:
            return LockHeldError("someone else was faster", hint="run the same command again")
        return _held(found)


class Lease:
    """The right to write to the ledger, until it ends or someone takes it over.

    `interrupted` tells that the holder before was killed with the lease in hand, or gave it back
    because of an error: it may have done more than it knew.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        key: str,
        *,
        clock: Callable[[], float],
        name: str,
        seconds: float,
        fence: int,
        head: Head,
        copy: Callable[[Callable[[], None]], None],
        interrupted: bool,
    ) -> None:
        self.name = name
        self.fence = fence
        self.interrupted = interrupted
        self._client = client
        self._table = table
        self._key = key
        self._clock = clock
        self._seconds = seconds
        self._written = 0
        self._chain = head
        self._copy = copy
        self._extended = clock()

    def append(self, record: Record) -> Record:
        """Write a record and extend the lease; return the record with time, writer and order.

        Raises:
            ConflictError: someone took the lease over.
            AwsError: it stands in the ledger, and could not be copied. A roll-back waits for no
                bucket: its copy comes after the move, and if it fails, with the next record's.

        """
        now = self._clock()
        record = replace(
            record,
            who=self.name,
            time=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            order=f"event#{self.fence:010d}#{self._written:06d}",
        )
        entry = Entry.after(self._chain, record.order, _text(record))
        self._put(
            {
                "Item": {**_at(self._key, record.order), **_item(entry)},
                "ConditionExpression": "attribute_not_exists(pk)",
            },
            self._change_lock(
                "SET expires = :expires, head = :next, entries = :entries",
                {
                    **self._longer(),
                    ":next": {"S": entry.hash},
                    ":entries": {"N": str(entry.number)},
                    ":head": {"S": self._chain.hash},
                },
                _SAME,
            ),
        )
        self._chain = entry.head
        back = record.action == "rollback"
        if back and record.result == "started":
            return record
        try:
            self._copy(self._keep)
        except AwsError:
            if not back:
                raise
        return record

    def keep_rollout(self, text: str) -> None:
        """Write a rollout over the one before, and extend the lease.

        Raises:
            ConflictError: someone took the lease over.

        """
        self._put(
            {"Item": {**_at(self._key, _ROLLOUT), "rollout": {"S": text}}},
            self._extension(),
        )

    def keep_applied(self, plan: str, version: str) -> None:
        """Note that a saved plan was applied to the end, and extend the lease.

        Raises:
            ConflictError: someone took the lease over.

        """
        now = _iso(self._clock())
        said = {"version": {"S": version}, "who": {"S": self.name}, "time": {"S": now}}
        self._put(
            {"Item": {**_at(self._key, _PLAN + plan), **said}},
            self._extension(),
        )

    @property
    def head(self) -> Head:
        """The end of the chain, as this lease has left it."""
        return self._chain

    def _keep(self) -> None:
        """Extend the lease where a quarter of it is over.

        Raises:
            ConflictError: someone took the lease over.

        """
        if self._clock() < self._extended + self._seconds / 4:
            return
        with translated():
            try:
                self._client.update_item(**self._extension())
            except self._client.exceptions.ConditionalCheckFailedException as error:
                raise self._lost() from error

    def _lost(self) -> ConflictError:
        return ConflictError(
            f"the lease of {self.name} was taken over, nothing more is written",
            hint="look at `fnmodel status` and decide again",
        )

    def _extension(self) -> dict[str, Any]:
        return self._change_lock("SET expires = :expires", self._longer())

    def _longer(self) -> dict[str, dict[str, str]]:
        self._extended = self._clock()
        return {":expires": {"N": repr(self._clock() + self._seconds)}}

    def _put(self, item: Mapping[str, Any], extend: Mapping[str, Any]) -> None:
        """Write an item if the lease is still ours, and extend the lease, in one transaction."""
        errors = self._client.exceptions
        with translated():
            try:
                # The token makes a repeated call, after a lost answer, the same call.
                self._client.transact_write_items(
                    TransactItems=[{"Update": extend}, {"Put": {"TableName": self._table, **item}}],
                    ClientRequestToken=f"{self.fence}-{self._written}-{uuid.uuid4().hex[:16]}",
                )
            except errors.TransactionCanceledException as error:
                raise self._lost() from error
        self._written += 1

    def end(self, *, broken: bool = False) -> None:
        """Give the lease back, unless someone took it over; `broken` says that an error ended it.

        Where AWS cannot be told, the lease runs out by itself, and what was done stays done.
        """
        expression, values = "SET expires = :expires", {":expires": {"N": "0"}}
        if broken:
            expression, values = (
                f"{expression}, broken = :broken",
                {**values, ":broken": {"N": "1"}},
            )
        change = self._change_lock(expression, values)
        with suppress(AwsError), translated():
            try:
                self._client.update_item(**change)
            except self._client.exceptions.ConditionalCheckFailedException:
                return  # the next holder ends it

    def _change_lock(
        self, expression: str, values: Mapping[str, Mapping[str, str]], *conditions: str
    ) -> dict[str, Any]:
        """Return an update of the lock that fails when the fence has been raised."""
        return {
            "TableName": self._table,
            "Key": _at(self._key, _LOCK),
            "UpdateExpression": expression,
            "ConditionExpression": " AND ".join(["fence = :fence", *conditions]),
            "ExpressionAttributeValues": {**values, ":fence": {"N": str(self.fence)}},
        }


# The chain ends where it was read; ledgers from before there was one have no end.
_SAME = "(head = :head OR attribute_not_exists(head))"


def _at(key: str, sort: str) -> dict[str, Any]:
    return {"pk": {"S": key}, "sk": {"S": sort}}


def _text(record: Record) -> str:
    data = asdict(replace(record, weights=dict(record.weights)))
    del data["order"]  # the sort key has it
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _item(entry: Entry) -> dict[str, Any]:
    return {
        "record": {"S": entry.text},
        "number": {"N": str(entry.number)},
        "previous": {"S": entry.previous},
        "hash": {"S": entry.hash},
    }


def _entry(item: Mapping[str, Any]) -> Entry | None:
    if "hash" not in item:
        return None
    return Entry(
        int(item["number"]["N"]), item["sk"]["S"], item["record"]["S"],
        item["previous"]["S"], item["hash"]["S"],
    )  # fmt: skip


def _head(lock: Mapping[str, Any] | None) -> Head:
    if lock is None or "head" not in lock:
        return Head()
    return Head(int(lock["entries"]["N"]), lock["head"]["S"])


def _end(head: Head) -> dict[str, Any]:
    return {"head": {"S": head.hash}, "entries": {"N": str(head.count)}} if head.count else {}


def _holder(lock: Mapping[str, Any] | None) -> Holder | None:
    if lock is None:
        return None
    fence = int(lock["fence"]["N"])
    return Holder(
        lock["holder"]["S"],
        float(lock["expires"]["N"]),
        fence,
        lock["id"]["S"] if "id" in lock else str(fence),
        float(lock["since"]["N"]) if "since" in lock else None,
    )


def _record(item: Mapping[str, Any]) -> Record:
    return Record(**{**json.loads(item["record"]["S"]), "order": item["sk"]["S"]})


def _held(holder: Holder) -> LockHeldError:
    return LockHeldError(
        f"{holder.name} is releasing this model, until {holder.until} at the latest",
        hint="wait for it, then run the same command again; if it is certainly dead: "
        f"fnmodel unlock --id {holder.id}",
    )


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds")
