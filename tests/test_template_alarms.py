"""The alarms and the dashboard of a stage: what rings when, and that every metric exists."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from release_cases import JOBS, PUBLIC

from fnmodel.config import (
    Access,
    AlarmsConfig,
    BatchJob,
    CaptureConfig,
    FanoutConfig,
    FunctionConfig,
    WatchConfig,
)
from fnmodel.provision import dashboard
from fnmodel.provision.alarms import SWITCHED
from fnmodel.provision.around import Around
from fnmodel.provision.template import Template, render
from fnmodel.provision.watching import Watching
from fnmodel.serve.report import EmfReport
from fnmodel.shipped import shipped

TEXT = shipped("template.yaml").read_text("utf-8")
KEYED = Access.model_validate({"api_key": {}})
ACCOUNT = Around(account_concurrency=1000)
ALARM = "AWS::CloudWatch::Alarm"
CAPTURE = CaptureConfig(rate=1)
WATCHED = Watching.of(WatchConfig(), CAPTURE, None, "1.2.3")
OFF = AlarmsConfig.model_validate(dict.fromkeys(SWITCHED))


def body(surroundings: Around = ACCOUNT, **more: Any) -> Template:
    fanned = {"fanout": FanoutConfig(), "watch": WATCHED}
    more = {"access": KEYED, "rollout": True, "capture": CAPTURE, **fanned, **more}
    template: Template = json.loads(render(TEXT, JOBS, surroundings=surroundings, **more))
    return template


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    found = template["Resources"].items()
    return {name: r["Properties"] for name, r in found if r["Type"] == ALARM}


def asking(**keys: Any) -> Around:
    return replace(ACCOUNT, alarms=AlarmsConfig(**keys))


def test_a_stage_rings_without_being_asked_to() -> None:
    """By default each key of `alarms:` has its alarms, and each switched one is of a key."""
    found = alarms(body())
    switched = {name for names in SWITCHED.values() for name in names}

    of_others = {"CrashAlarm", "ErrorAlarm", "DriftAlarm", "QualityAlarm", "WatchFailsAlarm"}
    assert set(found) == switched | of_others
    assert set(SWITCHED) == set(AlarmsConfig.model_fields) - {"email", "minimum_requests"}


@pytest.mark.parametrize("key", SWITCHED)
def test_null_switches_an_alarm_off(key: str) -> None:
    """That one, and no other; the metric of memory, which is billed, goes with its alarm."""
    template = body(asking(**{key: None}))

    assert set(alarms(body())) - set(alarms(template)) == set(SWITCHED[key])
    assert ("MemoryFilter" in template["Resources"]) is (key != "memory")


@pytest.mark.parametrize(
    ("key", "given", "name", "threshold"),
    [
        ("error_rate", 0.2, "FailureAlarm", 0.2),
        ("latency_p99", 750, "SlowAlarm", 750),
        ("throttle_rate", 0.5, "ThrottleAlarm", 0.5),
        ("concurrency", 0.5, "ConcurrencyAlarm", 500),
        ("memory", 0.5, "MemoryAlarm", 884),
        ("api_error_rate", 0.1, "ApiErrorAlarm", 0.1),
        ("batch_failures", 7, "BatchAlarm", 7),
        ("controller_failures", 5, "ControllerAlarm", 5),
        ("authorizer_failures", 9, "AuthorizerAlarm", 9),
        ("failed_events", 4, "FailedLooksAlarm", 4),
    ],
)
def test_a_threshold_is_the_project_s(key: str, given: Any, name: str, threshold: float) -> None:
    """Shares of memory and of concurrency are turned into MB and requests."""
    assert alarms(body(asking(**{key: given})))[name]["Threshold"] == threshold


def test_saturation_is_of_what_is_reserved_or_of_the_account() -> None:
    """Where neither is known nothing could ring, so that there is no alarm."""
    reserved = body(function=FunctionConfig(reserved_concurrency=10))
    own, shared = (alarms(one)["ConcurrencyAlarm"] for one in (reserved, body()))

    assert reserved["Resources"]["Function"]["Properties"]["ReservedConcurrentExecutions"] == 10
    assert (own["MetricName"], own["Threshold"]) == ("ConcurrentExecutions", 8)
    assert own["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "Function"}}]
    # Lambda sends it for the whole account, without dimensions.
    assert (shared["MetricName"], shared["Threshold"]) == ("ClaimedAccountConcurrency", 800)
    assert "Dimensions" not in shared
    assert "ConcurrencyAlarm" not in alarms(body(Around()))


def test_shares_are_not_taken_of_a_few_requests() -> None:
    """Failed and throttled invocations count as shares of enough of them; no data is no news."""
    found = alarms(body(asking(minimum_requests=25)))

    for name in ("FailureAlarm", "ThrottleAlarm"):
        share, *asked = found[name]["Metrics"]
        assert re.fullmatch(r"IF\([a-z +]+ >= 25, .*, 0\)", share["Expression"])
        assert share["ReturnData"] is True
        assert [one["ReturnData"] for one in asked] == [False] * len(asked)
        assert {one["Id"] for one in asked} == set(re.findall(r"\b[a-z]+", share["Expression"]))
    rings = {name for name, one in found.items() if one["TreatMissingData"] == "breaching"}
    assert rings == {"OverdueAlarm"}  # nobody looks


def test_every_alarm_tells_the_topic_when_it_rings_and_when_it_stops() -> None:
    """A rollout's too; a stage without alarms has no topic."""
    silent = body(Around(alarms=OFF), rollout=False, watch=None)

    for alarm in alarms(body()).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
    assert not alarms(silent)
    assert not {name for name in silent["Resources"] if name.startswith("Alarm")}
    assert "AlarmTopic" not in silent["Outputs"]


def test_each_address_is_a_subscription() -> None:
    """The pattern itself is never deployed."""
    template = body(asking(email=("a@example.com", "b@example.com")))
    found = [r for r in template["Resources"].values() if r["Type"] == "AWS::SNS::Subscription"]

    assert [one["Properties"]["Endpoint"] for one in found] == ["a@example.com", "b@example.com"]
    assert "AlarmEmail" not in body()["Resources"]


def test_only_the_stage_s_own_alarms_may_tell_its_topic() -> None:
    """By account and by name, against a confused deputy."""
    telling = body()["Resources"]["AlarmTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]

    assert telling[0]["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert telling[0]["Condition"]["StringEquals"] == {
        "aws:SourceAccount": {"Ref": "AWS::AccountId"}
    }
    source = telling[0]["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Sub"]
    assert source.endswith(":alarm:fnmodel-${Project}-${Stage}-*")
    assert telling[1]["Effect"] == "Deny"


def test_the_memory_filter_reads_lambda_s_own_line() -> None:
    """Each literal of the pattern is the word at its place; `used` is what was used."""
    line = (
        "REPORT RequestId: 0d4e7c4a-8f2b-4b7e-9c56-0fda3b0e0b7e\tDuration: 12.34 ms\t"
        "Billed Duration: 13 ms\tMemory Size: 1769 MB\tMax Memory Used: 211 MB\t"
        "Init Duration: 812.30 ms\t"
    )
    template = body()["Resources"]["MemoryFilter"]["Properties"]
    *terms, rest = re.sub(r"[\[\]]", "", template["FilterPattern"]).split(", ")
    words, found = line.split(), {}
    for term, word in zip(terms, words, strict=False):
        name, _, literal = term.partition(" = ")
        found[name] = word
        assert literal in ("", f'"{word}"')

    assert rest == "..."
    assert found["used"] == "211"
    assert template["MetricTransformations"][0]["MetricValue"] == "$used"
    alarm = alarms(body())["MemoryAlarm"]
    assert alarm["MetricName"] == template["MetricTransformations"][0]["MetricName"]
    assert alarm["Namespace"] == template["MetricTransformations"][0]["MetricNamespace"]


def test_the_embedded_cloud_has_no_alarms_that_calculate() -> None:
    """It refuses them; all others it has."""
    here = alarms(body(replace(asking(email=("a@example.com",)), local=True)))

    assert set(alarms(body())) - set(here) == {"FailureAlarm", "ThrottleAlarm"}


def own_metrics() -> set[tuple[str, ...]]:
    """Return name and dimensions of every metric that the endpoint itself writes."""
    lines: list[str] = []
    report = EmfReport(model=None, function="f", version="1", write=lines.append)
    for _ in range(2):  # the first request of a process has no latency by alias
        report({"status": 200, "alias": "live", "rows": 1, "latency_ms": 1.0, "request_bytes": 1})
    report.dropped(1, "full")
    written = [json.loads(line)["_aws"]["CloudWatchMetrics"] for line in lines]
    return {
        (metric["Name"], *sorted(dimensions))
        for directives in written
        for one in directives
        for metric in one["Metrics"]
        for dimensions in one["Dimensions"]
    }


def shown(template: Template) -> list[dict[str, Any]]:
    text = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets: list[dict[str, Any]] = json.loads(text)["widgets"]
    return widgets


def test_every_metric_of_the_dashboard_exists() -> None:
    """Those of the endpoint are written by its report, by these dimensions; others are AWS's."""
    template = body(capture=CaptureConfig(rate=1))
    plain = [m for w in shown(template) for m in w["properties"]["metrics"] if len(m) > 1]
    searched = [m[0]["expression"] for w in shown(template) for m in w["properties"]["metrics"]
                if len(m) == 1]  # fmt: skip
    theirs = {
        "AWS/ApiGateway": {"Count", "4xx", "5xx", "Latency"},
        "AWS/Lambda": {
            "Errors", "Throttles", "Duration", "ConcurrentExecutions", "AsyncEventsDropped",
        },
        "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},
    }  # fmt: skip

    assert {one[0] for one in plain} == {*theirs, "fnmodel"}
    for namespace, name, *rest in plain:
        dimensions = [part for part in rest if isinstance(part, str)]
        if namespace != "fnmodel":
            assert name in theirs[namespace]
        elif "job" in dimensions:  # of handlers/batch.py
            assert (name in {"scored", "errors"}, dimensions[::2]) == (True, ["job", "service"])
        else:
            assert (name, *sorted(dimensions[::2])) in own_metrics()
    assert ("latency_ms", "alias", "function_name", "version") in own_metrics()
    assert [re.findall(r'MetricName="(\w+)"', one) for one in searched] == [
        ["Invocations"], ["latency_ms"],
    ]  # fmt: skip


def test_the_dashboard_names_only_what_the_stage_has() -> None:
    """Its substitutions are resources of this very template; widgets do not overlap."""
    cases: tuple[dict[str, Any], ...] = ({}, {"access": PUBLIC, "rollout": False})
    for more in cases:
        template = body(**more)
        text = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
        named = {name.partition(".")[0] for name in re.findall(r"\$\{([^}]+)\}", text)}
        assert named <= {*template["Resources"], "AWS::Region"}
        places = {(widget["x"], widget["y"]) for widget in shown(template)}
        assert len(places) == len(shown(template))
        assert max(w["x"] + w["width"] for w in shown(template)) <= 24


def test_a_dashboard_of_many_jobs_stays_small() -> None:
    """A graph of two hundred jobs tells nothing, and the template has a limit."""
    jobs = [BatchJob(name=f"job-{n}", input="i/", output="o/") for n in range(200)]
    made = dashboard.body(jobs, rollout=True, keyed=True, captures=True)

    assert len(made["Fn::Sub"]) < 10_000
