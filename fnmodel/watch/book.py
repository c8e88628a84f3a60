"""Decisions about retraining in the stage's ledger: each once, and one run at a time.

Keys of DynamoDB's table (`pk` is `retrain`), by `sk`:

    decision#HOUR#MODEL   what was decided, why, and what came of it
    run                   the run that is under way, until it ends or its time is over
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from fnmodel.aws import translated
from fnmodel.errors import UsageError
from fnmodel.watch.retrain import Decision, Past, Verdict

Status = Literal["refused", "asked", "requested", "running", "done", "failed"]

KEY = "retrain"
_STARTED = ("requested", "running", "done", "failed")
_LEASE = 8 * 3600.0
"""Seconds after which a run that said nothing more is taken for dead."""
_MOST = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision; `id` is MODEL@HOUR."""

    id: str
    hour: str
    model: str
    status: Status
    why: str
    time: str


class Book:
    """The decisions of one stage."""

    def __init__(self, client: Any, table: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    def past(self) -> Past:
        """Return what was started before, and what is under way."""
        starts = [entry.hour for entry in self.entries() if entry.status in _STARTED]
        with translated():
            item = self._client.get_item(
                TableName=self._table, Key=_key("run"), ConsistentRead=True
            ).get("Item")
        running = item is not None and float(item["until"]["N"]) > self._clock()
        return Past(tuple(reversed(starts)), item["id"]["S"] if item and running else None)

    def entries(self) -> list[Entry]:
        """Return the decisions, newest first; two hundred at most."""
        with translated():
            answer = self._client.query(
                TableName=self._table,
                ConsistentRead=True,
                ScanIndexForward=False,
                Limit=_MOST,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
                ExpressionAttributeValues={":pk": {"S": KEY}, ":sk": {"S": "decision#"}},
            )
        return [_entry(item) for item in answer["Items"]]

    def find(self, identity: str) -> Entry | None:
        """Return one decision."""
        with translated():
            item = self._client.get_item(
                TableName=self._table, Key=_key(_sort(identity)), ConsistentRead=True
            ).get("Item")
        return _entry(item) if item else None

    def note(self, identity: str, decision: Decision) -> Entry:
        """Write a decision down, and take the turn for a run where it is to start.

        Where it was written before, that one stands; where another has just begun, it is refused.
        """
        known = self.find(identity)
        if known is not None:
            return known
        status = _STATUS[decision.verdict]
        item = self._item(identity, status, decision.why)
        actions: list[dict[str, Any]] = [
            self._put(item, "attribute_not_exists(pk)"),
        ]
        if decision.verdict == "start":
            actions.append(self._turn(identity))
        if not self._transact(actions):
            found = self.find(identity)
            if found is None and decision.verdict == "start":
                return self.note(identity, Decision("refuse", "another run has just begun"))
            assert found is not None, "a decision without a turn fails only where it is known"
            return found
        return _entry(item)

    def approve(self, identity: str, who: str) -> Entry:
        """Turn a question into a request; one that is requested already stays so.

        So whoever could not send the request the first time says yes again.

        Raises:
            UsageError: there is no such question, or another run is under way.

        """
        known = self.find(identity)
        if known is not None and known.status == "requested":
            return known
        if known is None or known.status != "asked":
            said = "is not known" if known is None else f"is {known.status}: {known.why}"
            raise UsageError(
                f"retraining {identity} {said}", hint="`fnmodel watch decisions` lists them"
            )
        item = self._item(identity, "requested", f"approved by {who}")
        asked = {":asked": {"S": "asked"}}
        if not self._transact([self._put(item, "#status = :asked", asked), self._turn(identity)]):
            raise UsageError(
                f"retraining {identity} cannot start: another is under way",
                hint="`fnmodel watch decisions` shows it",
            )
        return _entry(item)

    def begin(self, identity: str) -> bool:
        """Say that the run begins; return False where it has begun before."""
        return self._move(identity, "running", ("requested",))

    def end(self, identity: str, *, failed: bool) -> None:
        """Say that the run has ended, and give its turn back."""
        self._move(identity, "failed" if failed else "done", ("requested", "running"))
        with translated():
            try:
                self._client.delete_item(
                    TableName=self._table,
                    Key=_key("run"),
                    ConditionExpression="id = :id",
                    ExpressionAttributeValues={":id": {"S": identity}},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return  # its time was over, and another has the turn

    def _move(self, identity: str, status: Status, before: tuple[Status, ...]) -> bool:
        values = {f":b{at}": {"S": one} for at, one in enumerate(before)}
        with translated():
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key=_key(_sort(identity)),
                    UpdateExpression="SET #status = :new",
                    ConditionExpression=f"#status IN ({', '.join(values)})",
                    ExpressionAttributeNames={"#status": "status"},
                    ExpressionAttributeValues={":new": {"S": status}, **values},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def _item(self, identity: str, status: Status, why: str) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        texts = {"id": identity, "status": status, "why": why, "time": now}
        return _key(_sort(identity)) | {name: {"S": text} for name, text in texts.items()}

    def _put(
        self, item: Mapping[str, Any], condition: str, values: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        put: dict[str, Any] = {
            "TableName": self._table, "Item": item, "ConditionExpression": condition
        }  # fmt: skip
        if values:
            put |= {
                "ExpressionAttributeValues": values,
                "ExpressionAttributeNames": {"#status": "status"},
            }
        return {"Put": put}

    def _turn(self, identity: str) -> dict[str, Any]:
        now = self._clock()
        return {
            "Put": {
                "TableName": self._table,
                "Item": _key("run") | {"id": {"S": identity}, "until": {"N": str(now + _LEASE)}},
                "ConditionExpression": "attribute_not_exists(pk) OR #until < :now",
                "ExpressionAttributeNames": {"#until": "until"},
                "ExpressionAttributeValues": {":now": {"N": str(now)}},
            }
        }

    def _transact(self, actions: list[dict[str, Any]]) -> bool:
        with translated():
            try:
                self._client.transact_write_items(TransactItems=actions)
            except self._client.exceptions.TransactionCanceledException as error:
                codes = [one.get("Code") for one in error.response.get("CancellationReasons", ())]
                if codes and not {"ConditionalCheckFailed", "TransactionConflict"} & {*codes}:
                    raise
                return False
        return True


_STATUS: Mapping[Verdict, Status] = {"start": "requested", "ask": "asked", "refuse": "refused"}


def identity(model: str, hour: str) -> str:
    """Return the id of the decision about a window."""
    return f"{model}@{hour}"


def _sort(identity: str) -> str:
    model, _, hour = identity.rpartition("@")
    return f"decision#{hour}#{model}"


def _key(sort: str) -> dict[str, Any]:
    return {"pk": {"S": KEY}, "sk": {"S": sort}}


def _entry(item: Mapping[str, Any]) -> Entry:
    text = {name: value["S"] for name, value in item.items() if "S" in value}
    model, _, hour = text["id"].rpartition("@")
    return Entry(text["id"], hour, model, text["status"], text["why"], text["time"])
