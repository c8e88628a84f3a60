"""A stage's dashboard as a value: widgets of metrics that exist, on a grid of 24 columns.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

import json
from collections.abc import Sequence
from typing import Any

from fnmodel.config import BatchJob

Metric = list[Any]
Widget = dict[str, Any]

_WIDTH, _HEIGHT = 8, 6
_MOST_JOBS = 20
"""Jobs that a graph can still tell apart."""

# As `Fn::Sub` fills them in.
_FUNCTION = "${Function}"
_LIVE = ["FunctionName", _FUNCTION, "Resource", "${Function}:live"]
_API = ["ApiId", "${Api}", "Stage", "$default"]
_OWN = ["function_name", _FUNCTION]
_NAMESPACE = "fnmodel"


def body(jobs: Sequence[BatchJob], *, rollout: bool, keyed: bool, captures: bool) -> dict[str, Any]:
    """Return the property DashboardBody: JSON in which CloudFormation fills in names.

    `rollout`, `keyed` and `captures` say whether the stage has a controller, an authorizer, and
    rows that are kept.
    """
    widgets = _place(
        [
            _graph("Requests", [_api("Count", "requests"), _api("4xx"), _api("5xx")]),
            _graph(
                "Latency at the API, ms",
                [_api("Latency", stat, stat) for stat in ("p50", "p90", "p99")],
            ),
            _graph(
                "Errors of the live alias",
                [
                    ["AWS/Lambda", "Errors", *_LIVE, {"label": "crashes, time-outs"}],
                    ["AWS/Lambda", "Throttles", *_LIVE, {"label": "throttled"}],
                    [_NAMESPACE, "server_errors", *_OWN, {"label": "answers of 5xx"}],
                    [_NAMESPACE, "client_errors", *_OWN, {"label": "answers of 4xx"}],
                ],
            ),
            _graph(
                "Versions of the live alias, invocations",
                [_search("{AWS/Lambda,ExecutedVersion,FunctionName,Resource}", "Invocations")],
                stacked=True,
            ),
            _graph(
                "Latency in the function by version, p99 in ms",
                [_search("{fnmodel,alias,function_name,version}", "latency_ms", "p99")],
            ),
            _graph(
                "Cold starts, rows",
                [
                    [_NAMESPACE, "cold_start", *_OWN, {"label": "cold starts"}],
                    [_NAMESPACE, "rows", *_OWN, {"label": "rows", "yAxis": "right"}],
                ],
            ),
            _graph(
                "Requests at once",
                [["AWS/Lambda", "ConcurrentExecutions", "FunctionName", _FUNCTION]],
                stat="Maximum",
            ),
            _graph(
                "Duration of invocations, ms",
                [
                    ["AWS/Lambda", "Duration", *_LIVE, {"stat": stat, "label": stat}]
                    for stat in ("p50", "p99", "Maximum")
                ],
            ),
            _graph(
                "Bytes of requests and responses",
                [[_NAMESPACE, name, *_OWN] for name in ("request_bytes", "response_bytes")],
                stat="Average",
            ),
            *_batch(jobs),
            _graph("What failed", _failed(rollout=rollout, keyed=keyed, captures=captures)),
        ]
    )
    return {"Fn::Sub": json.dumps({"widgets": widgets}, separators=(",", ":"))}


def _batch(jobs: Sequence[BatchJob]) -> list[Widget]:
    if not jobs:
        return []
    metrics: list[Metric] = [
        [_NAMESPACE, name, "job", job.name, "service", "batch", {"label": f"{job.name} {name}"}]
        for job in jobs[:_MOST_JOBS]
        for name in ("scored", "errors")
    ]
    return [_graph("Rows of batch jobs", metrics)]


def _failed(*, rollout: bool, keyed: bool, captures: bool) -> list[Metric]:
    dropped: Metric = ["AWS/Lambda", "AsyncEventsDropped", "FunctionName", _FUNCTION]
    metrics: list[Metric] = [
        [*dropped, {"label": "events that failed in every attempt"}],
        _waiting("Failures", "failed events that wait"),
    ]
    if captures:
        metrics.append([_NAMESPACE, "capture_dropped", *_OWN, {"label": "rows not captured"}])
    if rollout:
        metrics.append(_crashes("RolloutFunction", "crashes of the rollout controller"))
        metrics.append(_waiting("RolloutFailures", "failed looks that wait"))
    if keyed:
        metrics.append(_crashes("AuthorizerFunction", "crashes of the authorizer"))
    return metrics


def _api(name: str, label: str | None = None, stat: str | None = None) -> Metric:
    more = {"label": label or name} | ({"stat": stat} if stat else {})
    return ["AWS/ApiGateway", name, *_API, more]


def _crashes(function: str, label: str) -> Metric:
    return ["AWS/Lambda", "Errors", "FunctionName", f"${{{function}}}", {"label": label}]


def _waiting(queue: str, label: str) -> Metric:
    name = f"${{{queue}.QueueName}}"
    more = {"label": label, "stat": "Maximum"}
    return ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", name, more]


def _search(schema: str, metric: str, stat: str = "Sum") -> Metric:
    """Return all metrics of this name and these dimensions: versions come and go."""
    key = "FunctionName" if schema.startswith("{AWS") else "function_name"
    found = f"SEARCH('{schema} MetricName=\"{metric}\" {key}=\"{_FUNCTION}\"', '{stat}', 60)"
    return [{"expression": found, "label": ""}]


def _graph(
    title: str, metrics: Sequence[Metric], *, stat: str = "Sum", stacked: bool = False
) -> Widget:
    # What is as by default is left out: the template has a limit.
    properties = {
        "title": title,
        "region": "${AWS::Region}",
        "stat": stat,
        "period": 60,
        "metrics": list(metrics),
        **({"stacked": True} if stacked else {}),
    }
    return {"type": "metric", "width": _WIDTH, "height": _HEIGHT, "properties": properties}


def _place(widgets: Sequence[Widget]) -> list[Widget]:
    """Return the widgets three in a row."""
    return [
        {**one, "x": number % 3 * _WIDTH, "y": number // 3 * _HEIGHT}
        for number, one in enumerate(widgets)
    ]
