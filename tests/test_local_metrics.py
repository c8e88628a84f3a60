"""The metrics that the embedded cloud makes of one invocation."""

import json
from typing import Any

import pytest

from fnmodel.local.metrics import Point, points
from fnmodel.local.sandbox import Outcome


def outcome(*lines: str, error: bool = False) -> Outcome:
    return Outcome(b"{}", error, "\n".join(lines), 1.0, None, 60, reusable=True)


def line(**fields: Any) -> str:
    directive = {"Namespace": "fnmodel", "Dimensions": [["v"]], "Metrics": [{"Name": "ms"}]}
    return json.dumps(
        {"_aws": {"Timestamp": 1, "CloudWatchMetrics": [directive]}, **fields},
        separators=(",", ":"),
    )


def test_an_alias_s_invocation_counts_for_its_version() -> None:
    """A crash is an error by alias and version; without an alias the emulator counts alone."""
    called = {"FunctionName": "f", "Resource": "f:live", "ExecutedVersion": "2"}

    assert list(points("f", "2", "live", outcome("START", error=True))) == [
        Point("AWS/Lambda", "Invocations", called, 1.0),
        Point("AWS/Lambda", "Errors", called, 1.0),
    ]
    assert list(points("f", "2", "", outcome("START"))) == []


def test_metrics_stand_in_the_log() -> None:
    """One value or several, by the dimensions that the line names."""
    found = list(points("f", "2", "", outcome(line(v=2, ms=1.5), line(v="2", ms=[1, 2]))))

    assert found == [Point("fnmodel", "ms", {"v": "2"}, value) for value in (1.5, 1.0, 2.0)]


@pytest.mark.parametrize("broken", ['{"_aws"', '{"_aws":3}', line(ms=1), line(v=1, ms="fast")])
def test_a_line_that_is_no_metric_is_a_line(broken: str) -> None:
    """CloudWatch keeps it as a log line, and the invocation is not harmed."""
    assert list(points("f", "2", "", outcome(broken))) == []
