"""Questions to CloudWatch about a function's alias and its versions, and the figures that answer.

Lambda's own metrics go by the alias, the endpoint's (EMF, `fnmodel.serve.report`) by the version.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fnmodel.aws import translated

Dimensions = list[tuple[str, str]]

LAMBDA, ENDPOINT = "AWS/Lambda", "fnmodel"
"""The namespaces of the metrics of Lambda, and of what the endpoint itself logs."""

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
_AT_ONCE = 500


def of_alias(function: str, alias: str) -> Dimensions:
    """Return the dimensions of what Lambda says of an alias."""
    return [("FunctionName", function), ("Resource", f"{function}:{alias}")]


def of_version(function: str, alias: str, version: str) -> Dimensions:
    """Return the dimensions of what the endpoint itself says of a version."""
    return [("function_name", function), ("alias", alias), ("version", version)]


def query(
    name: str, namespace: str, metric: str, dimensions: Dimensions, statistic: str, period: int
) -> dict[str, Any]:
    """Return one question of GetMetricData; `period` is seconds."""
    named = [{"Name": key, "Value": value} for key, value in dimensions]
    what = {"Namespace": namespace, "MetricName": metric, "Dimensions": named}
    return {"Id": name, "MetricStat": {"Metric": what, "Period": period, "Stat": statistic}}


def figures(
    client: Any, queries: Sequence[dict[str, Any]], start: datetime, end: datetime
) -> dict[str, list[float]]:
    """Return the values of each period that has some, by the questions' names.

    Raises:
        AwsError: CloudWatch refused.

    """
    found: dict[str, list[float]] = {one["Id"]: [] for one in queries}
    paginator = client.get_paginator("get_metric_data")
    with translated():
        for first in range(0, len(queries), _AT_ONCE):
            asked = queries[first : first + _AT_ONCE]
            for page in paginator.paginate(MetricDataQueries=asked, StartTime=start, EndTime=end):
                for result in page["MetricDataResults"]:
                    found[result["Id"]] += result["Values"]
    return found
