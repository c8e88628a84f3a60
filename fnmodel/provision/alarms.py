"""The alarms of a stage: thresholds, and which of them are there at all."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.config import AlarmsConfig, FunctionConfig

Template = dict[str, Any]

ALARM = "AWS::CloudWatch::Alarm"
TOPIC = "AlarmTopic"
_EMAIL = "AlarmEmail"
_MEMORY = "MemoryFilter", "MemoryAlarm"
"""A filter of the log makes a metric that only this alarm reads, and that is billed."""
# By the key of `alarms:` that switches them. Those of rollouts (CrashAlarm, ErrorAlarm) belong to
# `rollout:`, whose analysis needs them, and what the watch finds to `watch:`.
SWITCHED: Mapping[str, tuple[str, ...]] = {
    "error_rate": ("FailureAlarm",),
    "latency_p99": ("SlowAlarm",),
    "throttle_rate": ("ThrottleAlarm",),
    "concurrency": ("ConcurrencyAlarm",),
    "memory": ("MemoryAlarm",),
    "api_error_rate": ("ApiErrorAlarm",),
    "batch_failures": ("BatchAlarm",),
    "overdue_jobs": ("OverdueAlarm",),
    "controller_failures": ("ControllerAlarm",),
    "authorizer_failures": ("AuthorizerAlarm",),
    "failed_events": (
        "FailedEventsAlarm",
        "FailedLooksAlarm",
        "FailedSlicesAlarm",
        "FailedWatchAlarm",
    ),
}
_SHARES = "FailureAlarm", "ThrottleAlarm"
_FEWEST = ">= 10,"
"""In the template, the number of invocations below which a share is taken for nothing."""


@dataclass(frozen=True)
class Limits:
    """What thresholds are shares of; `account` is the account's quota of concurrent requests."""

    function: FunctionConfig
    account: int | None = None


def ring(template: Template, alarms: AlarmsConfig, limits: Limits, *, math: bool = True) -> None:
    """Leave in a template the alarms that are asked for, with their thresholds, and the topic.

    Without `math` there are none of alarms that calculate, which the embedded cloud cannot.
    """
    resources = template["Resources"]
    email = resources.pop(_EMAIL)
    for key, names in SWITCHED.items():
        for name in names:
            alarm = resources.get(name)
            if alarm is None:
                continue  # of something else that the stage does not have
            threshold = getattr(alarms, key)
            if threshold is not None:
                threshold = _threshold(alarm["Properties"], name, threshold, limits)
            if threshold is None or (not math and "Metrics" in alarm["Properties"]):
                del resources[name]
                continue
            alarm["Properties"]["Threshold"] = threshold
    _fewest(resources, alarms.minimum_requests)
    if _MEMORY[1] not in resources:
        del resources[_MEMORY[0]]
    _tell(template, alarms, email)


def _threshold(properties: dict[str, Any], name: str, given: float, limits: Limits) -> float | None:
    """Return the threshold of an alarm; None where what it is a share of is not known."""
    if name == "MemoryAlarm":
        return int(limits.function.memory * given)
    if name != "ConcurrencyAlarm":
        return given
    reserved = limits.function.reserved_concurrency
    if reserved is not None:
        return reserved * given
    if limits.account is None:
        return None
    properties["MetricName"] = "ClaimedAccountConcurrency"
    del properties["Dimensions"]
    return limits.account * given


def _fewest(resources: Mapping[str, Any], minimum: int) -> None:
    for name in _SHARES:
        if name in resources:
            share = resources[name]["Properties"]["Metrics"][0]
            share["Expression"] = share["Expression"].replace(_FEWEST, f">= {minimum},")


def _tell(template: Template, alarms: AlarmsConfig, email: Mapping[str, Any]) -> None:
    """Have every alarm tell the topic, whoever declared it; without one there is no topic."""
    resources = template["Resources"]
    found = [one["Properties"] for one in resources.values() if one["Type"] == ALARM]
    if not found:
        del resources[TOPIC], resources[f"{TOPIC}Policy"], template["Outputs"][TOPIC]
        return
    for properties in found:
        for key in ("AlarmActions", "OKActions"):
            properties.setdefault(key, [{"Ref": TOPIC}])
    for number, address in enumerate(alarms.email, 1):
        one = copy.deepcopy(dict(email))
        one["Properties"]["Endpoint"] = address
        resources[f"{_EMAIL}{number}"] = one
