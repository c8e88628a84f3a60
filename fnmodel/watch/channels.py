"""Where alerts go: EventBridge, a topic of SNS, a webhook. Each is told once, if it can be."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import AlertError, FnmodelError
from fnmodel.watch.records import Store
from fnmodel.watch.webhook import Target, send

SOURCE = "fnmodel"
Channel = Callable[[Mapping[str, Any]], None]
"""Takes a CloudEvent, and raises an error of ours where it cannot be delivered."""


@dataclass(frozen=True)
class Outbox:
    """Sends each event once through each channel, over as many attempts as that takes.

    What has arrived is noted beside the windows. A crash between the two sends an event again,
    with the same id.
    """

    store: Store
    channels: Mapping[str, Channel] = field(default_factory=dict)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send through all channels, one after another.

        Raises:
            AlertError: one or more failed; the others are not told again.

        """
        failed = []
        for name, deliver in self.channels.items():
            mark = f"watch/sent/{event['id']}/{name}"
            if self.store.get(mark) is not None:
                continue
            try:
                deliver(event)
            except FnmodelError as error:
                failed.append(f"{name}: {error.message}")
                continue
            self.store.put_once(mark, b"{}")
        if failed:
            raise AlertError("; ".join(failed))


def eventbridge(client: Any) -> Channel:
    """Put events on the account's default bus, their type as `detail-type`."""

    def deliver(event: Mapping[str, Any]) -> None:
        entry = {"Source": SOURCE, "DetailType": event["type"], "Detail": json.dumps(event)}
        with translated():
            answer = client.put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            [said] = answer["Entries"]
            raise AlertError(f"EventBridge: {said.get('ErrorCode')} {said.get('ErrorMessage')}")

    return deliver


def topic(client: Any, arn: str) -> Channel:
    """Publish text for people; the id is an attribute, for those who count."""

    def deliver(event: Mapping[str, Any]) -> None:
        data = event["data"]
        with translated():
            client.publish(
                TopicArn=arn,
                Subject=_subject(data),
                Message=_message(event),
                MessageAttributes={"id": {"DataType": "String", "StringValue": event["id"]}},
            )

    return deliver


def webhook(target: Target, secret: Callable[[], bytes]) -> Channel:
    """Post the event to a URL; `secret` gives the key that signs it."""

    def deliver(event: Mapping[str, Any]) -> None:
        body = json.dumps(event, separators=(",", ":")).encode()
        send(target, secret(), event["id"], body)

    return deliver


def _subject(data: Mapping[str, Any]) -> str:
    text = f"{data['model']} in {data['stage']}: {data['change']}"
    # SNS takes 99 characters of printable ASCII.
    return text.encode("ascii", "replace").decode()[:99]


def _message(event: Mapping[str, Any]) -> str:
    data = event["data"]
    lines = [alarm["text"] for alarm in data["alarms"]] or ["nothing any more"]
    facts = [
        f"window {data['hour']} (UTC), {data['rows']:,} captured rows",
        f"since {data['since']}",
        f"retraining: {data['retraining']}" if data.get("retraining") else "",
        f"look at it: fnmodel watch report --stage {data['stage']} --since 1d --open",
        f"event {event['id']}",
    ]
    return "\n".join([*(f"- {line}" for line in lines), "", *filter(None, facts)])
