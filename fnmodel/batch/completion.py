"""What the world hears of a run that is over: a CloudEvent."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from fnmodel import cloudevents
from fnmodel.aws import translated
from fnmodel.errors import AwsError

SOURCE = "fnmodel"
"""EventBridge's own source, which rules can go by; CloudEvents' `source` names the job."""

_TYPE = "io.fnmodel.batch.run"
_TRIES = 4


def cloud_event(manifest: Mapping[str, Any], *, function: str, bucket: str) -> dict[str, Any]:
    """Return the event of a run that is over; the same in each delivery, so that one counts."""
    status = manifest["status"]
    told = ("job", "run_id", "status", "scheduled_time", "started", "model", "totals",
            "error_budget")  # fmt: skip
    return cloudevents.event(
        f"{_TYPE}.{status}",
        f"/fnmodel/{function}/batch/{manifest['job']}",
        manifest["scheduled_time"],
        manifest["finished"],
        {"bucket": bucket, **{name: manifest[name] for name in told}},
        name=f"{manifest['run_id']}-{status}",
    )


def publish(
    client: Any, bus: str, event: Mapping[str, Any], sleep: Callable[[float], None]
) -> None:
    """Put an event on a bus of EventBridge; what the bus refuses is sent again.

    Raises:
        AwsError: it was refused each time; the next delivery of the run's event sends it again.

    """
    entry = {
        "Source": SOURCE,
        "DetailType": event["type"],
        "Detail": json.dumps(event),
        "EventBusName": bus,
    }
    answer: dict[str, Any] = {}
    for number in range(_TRIES):
        with translated():
            answer = client.put_events(Entries=[entry])
        if not answer.get("FailedEntryCount"):
            return
        sleep(0.2 * 2**number)
    reason = answer["Entries"][0].get("ErrorMessage", "")
    raise AwsError(f"the event {event['id']} was refused by {bus}: {reason}")
