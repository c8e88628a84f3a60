"""The release ledger in DynamoDB: who did what and why, and whose turn it is.

A stage has a table of its own. Its keys are strings: `pk` is the alias, `sk` is one of

    lock                       the lease: holder, expires (epoch seconds), fence, a counter
    event#FENCE#NUMBER         one record; zero-padded, so that the order does not rest on clocks
    rollout                    the newest rollout, as JSON; each look at it writes it anew

Each lease taken raises the fence by one. A record is written in one transaction with a check that
the writer still has the newest fence, so that a holder who was thought dead cannot write any more.
Every record also extends the lease.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from fnmodel.aws import translated
from fnmodel.errors import ConflictError, LockHeldError
from fnmodel.release.holder import is_gone

Action = Literal["deploy", "gate", "shift", "promote", "rollback"]
Result = Literal["started", "done", "passed", "failed"]

_LOCK = "lock"
_ROLLOUT = "rollout"
_PAGE = 50


@dataclass(frozen=True)
class Record:
    """One entry: what was done with `version`, and where the alias points afterwards.

    `stable` and `weights` are the alias's state after it, `previous` the stable version before;
    a gate, which moves nothing, has none of them. `started` says that the alias is about to be
    moved, `done` that it was. `time` is ISO 8601 UTC; `order` is the sort key. The lease fills in
    `who`, `time` and `order`.
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
    """Who holds the lease, until when (epoch seconds), and the fence that came with it."""

    name: str
    expires: float
    fence: int

    @property
    def until(self) -> str:
        """The end of the lease, ISO 8601 UTC."""
        return datetime.fromtimestamp(self.expires, UTC).isoformat(timespec="seconds")


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
    ) -> None:
        self._client = client
        self._table = table
        self._key = alias
        self._clock = clock
        self._gone = gone

    def holder(self) -> Holder | None:
        """Return who holds the lease now, or None; a lease that has run out is held by nobody."""
        found = self._lock()
        return found if found is not None and found.expires > self._clock() else None

    @contextmanager
    def lease(self, name: str, seconds: float = 900.0) -> Iterator["Lease"]:
        """Hold the lease for the length of the block; it ends by itself `seconds` after a crash.

        Raises:
            LockHeldError: names the holder and the lease's end.

        """
        lease = self._take(name, seconds)
        try:
            yield lease
        finally:
            lease.end()

    def records(self) -> Iterator[Record]:
        """Yield all records, newest first; reads a page at a time, as far as they are asked for."""
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
            for item in answer["Items"]:
                yield _record(item)
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

    def _get(self, sort: str) -> Any:
        with translated():
            return self._client.get_item(
                TableName=self._table, Key=_at(self._key, sort), ConsistentRead=True
            ).get("Item")

    def _lock(self) -> Holder | None:
        item = self._get(_LOCK)
        if not item:
            return None
        return Holder(item["holder"]["S"], float(item["expires"]["N"]), int(item["fence"]["N"]))

    def _take(self, name: str, seconds: float) -> "Lease":
        found = self._lock()
        now = self._clock()
        if found is not None and found.expires > now and not self._gone(found.name):
            raise _held(found)
        fence = found.fence + 1 if found else 1
        with translated():
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item={
                        **_at(self._key, _LOCK),
                        "holder": {"S": name},
                        "expires": {"N": repr(now + seconds)},
                        "fence": {"N": str(fence)},
                    },
                    # Whoever has read this fence and writes first has it.
                    ConditionExpression="attribute_not_exists(pk) OR fence = :read",
                    ExpressionAttributeValues={":read": {"N": str(fence - 1)}},
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                raise self._taken() from error
        # A lease that was given back has no time left; any other holder was killed.
        interrupted = found is not None and found.expires > 0
        return Lease(
            self._client,
            self._table,
            self._key,
            clock=self._clock,
            name=name,
            seconds=seconds,
            fence=fence,
            interrupted=interrupted,
        )

    def _taken(self) -> LockHeldError:
        found = self._lock()
        if found is None:
            return LockHeldError("someone else was faster", hint="run the same command again")
        return _held(found)


class Lease:
    """The right to write to the ledger, until it ends or someone takes it over.

    `interrupted` tells that the holder before was killed with the lease in hand.
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

    def append(self, record: Record) -> Record:
        """Write a record and extend the lease; return the record with time, writer and order.

        Raises:
            ConflictError: someone took the lease over.

        """
        now = self._clock()
        record = replace(
            record,
            who=self.name,
            time=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            order=f"event#{self.fence:010d}#{self._written:06d}",
        )
        self._put(
            {
                "Item": {**_at(self._key, record.order), "record": {"S": _text(record)}},
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        )
        return record

    def keep_rollout(self, text: str) -> None:
        """Write a rollout over the one before, and extend the lease.

        Raises:
            ConflictError: someone took the lease over.

        """
        self._put({"Item": {**_at(self._key, _ROLLOUT), "rollout": {"S": text}}})

    def _put(self, item: Mapping[str, Any]) -> None:
        """Write an item if the lease is still ours, and extend the lease, in one transaction."""
        extend = self._change_lock(
            "SET expires = :expires", {":expires": repr(self._clock() + self._seconds)}
        )
        errors = self._client.exceptions
        with translated():
            try:
                # The token makes a repeated call, after a lost answer, the same call.
                self._client.transact_write_items(
                    TransactItems=[{"Update": extend}, {"Put": {"TableName": self._table, **item}}],
                    ClientRequestToken=f"{self.fence}-{self._written}-{uuid.uuid4().hex[:16]}",
                )
            except errors.TransactionCanceledException as error:
                raise ConflictError(
                    f"the lease of {self.name} was taken over, nothing more is written",
                    hint="look at `fnmodel status` and decide again",
                ) from error
        self._written += 1

    def end(self) -> None:
        """Give the lease back, unless someone took it over."""
        change = self._change_lock("SET expires = :expires", {":expires": "0"})
        with translated():
            try:
                self._client.update_item(**change)
            except self._client.exceptions.ConditionalCheckFailedException:
                return  # the next holder ends it

    def _change_lock(self, expression: str, values: Mapping[str, str]) -> dict[str, Any]:
        """Return an update of the lock that fails when the fence has been raised."""
        numbers = {**values, ":fence": str(self.fence)}
        return {
            "TableName": self._table,
            "Key": _at(self._key, _LOCK),
            "UpdateExpression": expression,
            "ConditionExpression": "fence = :fence",
            "ExpressionAttributeValues": {key: {"N": value} for key, value in numbers.items()},
        }


def _at(key: str, sort: str) -> dict[str, Any]:
    return {"pk": {"S": key}, "sk": {"S": sort}}


def _text(record: Record) -> str:
    data = asdict(replace(record, weights=dict(record.weights)))
    del data["order"]  # the sort key has it
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _record(item: Mapping[str, Any]) -> Record:
    return Record(**{**json.loads(item["record"]["S"]), "order": item["sk"]["S"]})


def _held(holder: Holder) -> LockHeldError:
    return LockHeldError(
        f"{holder.name} is releasing this model, until {holder.until} at the latest",
        hint="wait for it, then run the same command again",
    )
