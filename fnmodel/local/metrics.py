"""The metrics of one invocation, as AWS would have them: Lambda's own, and those of its log by EMF.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from fnmodel.local.sandbox import Outcome

_EMF = '{"_aws"'


@dataclass(frozen=True)
class Point:
    """One value of one metric; `dimensions` tell metrics of the same name apart."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    value: float


def points(function: str, version: str, alias: str, outcome: Outcome) -> Iterator[Point]:
    """Yield the metrics of an invocation; without an alias only those of its log.

    The emulator itself notes Lambda's metrics by function, of calls of the Invoke API.
    """
    if alias:
        called = {
            "FunctionName": function,
            "Resource": f"{function}:{alias}",
            "ExecutedVersion": version,
        }
        yield Point("AWS/Lambda", "Invocations", called, 1.0)
        yield Point("AWS/Lambda", "Errors", called, float(outcome.error))
    for line in outcome.log.splitlines():
        if line.startswith(_EMF):
            yield from _embedded(line)


def _embedded(line: str) -> Iterator[Point]:
    try:
        data = orjson.loads(line)
        for directive in data["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: str(data[name]) for name in names}
                for metric in directive["Metrics"]:
                    for value in _values(data[metric["Name"]]):
                        yield Point(directive["Namespace"], metric["Name"], dimensions, value)
    except (ValueError, TypeError, KeyError):
        return  # CloudWatch takes such a line for a log line and nothing else


def _values(given: Any) -> list[float]:
    return [float(value) for value in (given if isinstance(given, list) else [given])]
