"""CloudWatch's metrics and alarms in memory: what a rollout asks, and nothing it does not know."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from fnmodel.testing.answering import RefusedError, client_answered_by

_BOUND = re.compile(r"TC\(([0-9.]+):\)")
_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")
_QUERIES = 500

_Key = tuple[str, frozenset[tuple[str, str]]]


class InMemoryMetrics:
    """What the versions of one function did, by `request`; `client` is a boto3 client that asks it.

    As in AWS: a metric is found by exactly its dimensions; statistics come by periods that begin
    at whole ones; a crash is an error of Lambda's and leaves no line of the endpoint's.
    """

    def __init__(self, function: str, alias: str = "live") -> None:
        self.function, self.alias = function, alias
        self.alarms: dict[str, str] = {}
        self._points: dict[_Key, list[tuple[float, float]]] = {}

    def request(
        self,
        version: str,
        time: float,
        *,
        latency_ms: float = 10.0,
        failed: bool = False,
        crashed: bool = False,
        cold: bool = False,
        by_version: bool = True,
    ) -> None:
        """Note a request that came by the alias at a time, epoch seconds.

        Without `by_version` Lambda counts it for the alias alone.
        """
        alias = {"FunctionName": self.function, "Resource": f"{self.function}:{self.alias}"}
        for called in (alias, {**alias, "ExecutedVersion": version})[: 1 + by_version]:
            self._note("AWS/Lambda Invocations", called, time, 1)
            self._note("AWS/Lambda Errors", called, time, int(crashed))
        if crashed:
            return
        own = {"function_name": self.function, "alias": self.alias, "version": version}
        self._note("fnmodel server_errors", own, time, int(failed))
        self._note("fnmodel cold_start", own, time, int(cold))
        if not cold:
            self._note("fnmodel latency_ms", own, time, latency_ms)

    def _note(self, metric: str, dimensions: Mapping[str, str], time: float, value: float) -> None:
        key = metric, frozenset(dimensions.items())
        self._points.setdefault(key, []).append((time, value))

    @cached_property
    def client(self) -> Any:
        """A boto3 client that talks to it."""
        return client_answered_by("cloudwatch", self.answer)

    def answer(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer an operation of the API."""
        match operation:
            case "GetMetricData":
                start, end = (_epoch(asked[key]) for key in ("StartTime", "EndTime"))
                if start >= end:
                    raise RefusedError("ValidationError", "StartTime must be before EndTime")
                queries = asked["MetricDataQueries"]
                if len(queries) > _QUERIES:
                    raise RefusedError("ValidationError", f"at most {_QUERIES} queries at once")
                return {"MetricDataResults": [self._result(q, start, end) for q in queries]}
            case "DescribeAlarms":
                ringing = [
                    {"AlarmName": name, "StateValue": state}
                    for name, state in self.alarms.items()
                    if name in asked["AlarmNames"] and state == asked["StateValue"]
                ]
                return {"MetricAlarms": ringing, "CompositeAlarms": []}
            case _:
                message = f"InMemoryMetrics does not know {operation}"
                raise NotImplementedError(message)

    def _result(self, query: Mapping[str, Any], start: float, end: float) -> dict[str, Any]:
        asked = query["MetricStat"]
        metric, period = asked["Metric"], asked["Period"]
        if period % 60:
            raise RefusedError("ValidationError", "a period is a multiple of 60 seconds")
        name = f"{metric['Namespace']} {metric['MetricName']}"
        dimensions = frozenset((d["Name"], d["Value"]) for d in metric["Dimensions"])
        begin = start - start % period
        buckets: dict[int, list[float]] = {}
        for time, value in self._points.get((name, dimensions), ()):
            if begin <= time < end:
                buckets.setdefault(int(time // period), []).append(value)
        values = [_statistic(asked["Stat"], sorted(buckets[at])) for at in sorted(buckets)]
        return {"Id": query["Id"], "StatusCode": "Complete", "Values": values}


def _statistic(name: str, values: list[float]) -> float:
    if name == "Sum":
        return math.fsum(values)
    if name == "SampleCount":
        return float(len(values))
    if matched := _BOUND.fullmatch(name):
        return float(sum(value > float(matched[1]) for value in values))
    if matched := _PERCENTILE.fullmatch(name):
        return values[min(len(values) - 1, int(len(values) * float(matched[1]) / 100))]
    raise RefusedError("ValidationError", f"{name} is no statistic that is known here")


def _epoch(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    raise RefusedError("ValidationError", f"{value!r} is no time")
