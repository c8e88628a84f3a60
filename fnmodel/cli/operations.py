"""What CloudWatch says of a stage's week: requests, errors, latency, alarms that rang."""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from fnmodel.aws import translated
from fnmodel.provision.prices import GB_SECOND, INVOCATION
from fnmodel.release.metrics import ENDPOINT, LAMBDA, figures, of_alias, of_version, query
from fnmodel.watch.digest import Alert, Operations

_HOUR = 3600


def operations(
    client: Any,
    function: str,
    versions: Sequence[str],
    since: datetime,
    until: datetime,
    *,
    memory: int,
    architecture: str,
    alias: str = "live",
) -> Operations:
    """Return what requests through an alias came to; `memory` is the function's, in MB.

    The cost is that of the function's time and requests, without free tier, logs and transfer.
    """
    own = of_alias(function, alias)
    asked = [
        query(name, LAMBDA, metric, own, "Sum", _HOUR)
        for name, metric in (("requests", "Invocations"), ("crashes", "Errors"), ("ms", "Duration"))
    ]
    for version in versions:
        said = of_version(function, alias, version)
        asked += [
            query(f"answered{version}", ENDPOINT, "server_errors", said, "SampleCount", _HOUR),
            query(f"failed{version}", ENDPOINT, "server_errors", said, "Sum", _HOUR),
            query(f"fifty{version}", ENDPOINT, "latency_ms", said, "p50", _HOUR),
            query(f"slow{version}", ENDPOINT, "latency_ms", said, "p99", _HOUR),
        ]
    found = figures(client, asked, since, until)
    # A request that kills its process is in the first only, and the emulator has the second only.
    requests = round(max(sum(found["requests"]), sum(_all(found, "answered"))))
    milliseconds = sum(found["ms"])
    errors = sum(found["crashes"]) + sum(_all(found, "failed"))
    rate = GB_SECOND.get(architecture)
    dollars = None
    if rate is not None and milliseconds:
        dollars = milliseconds / 1000 * memory / 1024 * rate + requests * INVOCATION
    middle, slow = _all(found, "fifty"), _all(found, "slow")
    return Operations(
        requests,
        round(errors),
        median(middle) if middle else None,
        max(slow, default=None),
        dollars,
    )


def alerts(client: Any, alarms: Sequence[str], since: datetime, until: datetime) -> list[Alert]:
    """Return the times in which alarms rang, the oldest first."""
    result = []
    for name in alarms:
        with translated():
            pages = client.get_paginator("describe_alarm_history").paginate(
                AlarmName=name, HistoryItemType="StateUpdate", StartDate=since, EndDate=until
            )
            items = [item for page in pages for item in page["AlarmHistoryItems"]]
        result += rang(name, sorted(items, key=lambda item: item["Timestamp"]))
    return sorted(result, key=lambda one: one.opened)


def rang(name: str, items: Sequence[dict[str, Any]]) -> list[Alert]:
    """Return an alarm's history, in order of time, as the times in which it rang."""
    found: list[Alert] = []
    for item in items:
        time = item["Timestamp"].astimezone(UTC).isoformat(timespec="seconds")[:19]
        if item["HistorySummary"].endswith("to ALARM"):
            found.append(Alert(name, item["HistorySummary"], time))
        elif found and found[-1].closed is None:
            last = found[-1]
            found[-1] = Alert(last.name, last.text, last.opened, time)
    return found


def _all(found: dict[str, list[float]], beginning: str) -> list[float]:
    return [value for name, values in found.items() if name.startswith(beginning)
            for value in values]  # fmt: skip
