"""What a stack costs, by the table of prices: sums checked by hand."""

import json
import math

import pytest
from release_cases import JOBS, PROJECT, PUBLIC, image_uri

from fnmodel.config import AlarmsConfig, FunctionConfig, StackConfig
from fnmodel.provision import alarms, prices, template
from fnmodel.provision.around import Around
from fnmodel.provision.cost import SECONDS, estimate
from fnmodel.provision.resolve import Resource, resolve
from fnmodel.shipped import shipped

ALARM = Resource("AWS::CloudWatch::Alarm", {"MetricName": "Errors", "Period": 60})


def shipped_stack(*, rollout: bool = False, **settings: object) -> dict[str, Resource]:
    """Return the resources of the shipped template, without its alarms, with these settings."""
    function = FunctionConfig.model_validate(settings)
    silent = Around(
        alarms=AlarmsConfig.model_validate(dict.fromkeys(alarms.SWITCHED)),
        stack=StackConfig(dashboard=False),
    )
    body = template.render(
        shipped("template.yaml").read_text("utf-8"), JOBS, access=PUBLIC, rollout=rollout,
        surroundings=silent,
    )  # fmt: skip
    given = template.parameters(PROJECT, "prod", image_uri("a"), function)
    return resolve(json.loads(body), given)


def test_a_stage_that_nobody_calls_costs_what_stands_by_the_month() -> None:
    """Nothing without rollouts; with them two alarms; nothing is of unknown price."""
    quiet = estimate(shipped_stack(), prices.REGION)
    rolling = estimate(shipped_stack(rollout=True), prices.REGION)

    assert quiet.monthly == ()
    assert math.isclose(rolling.known, 2 * 0.10)
    assert (*quiet.unknown, *rolling.unknown) == ()


@pytest.mark.parametrize(("memory", "architecture"), [(1769, "x86_64"), (512, "arm64")])
def test_a_million_requests_are_added_up(memory: int, architecture: str) -> None:
    """Requests, GB-seconds, the HTTP API's requests and log bytes."""
    resources = shipped_stack(memory=memory)
    resources["Function"].properties["Architectures"][0] = architecture

    running = 1e6 * SECONDS * memory / 1024 * prices.GB_SECOND[architecture]
    expected = 0.20 + running + 1.00 + 0.7 * 0.50

    assert math.isclose(estimate(resources, prices.REGION).per_million, expected)


@pytest.mark.parametrize(
    ("resource", "monthly"),
    [
        (ALARM, 0.10),
        (Resource("AWS::CloudWatch::Alarm", {"Period": 10}), 0.30),
        (Resource("AWS::CloudWatch::Alarm", {"Metrics": [
            {"Id": "a", "MetricStat": {"Period": 60}}, {"Id": "b", "MetricStat": {"Period": 60}},
            {"Id": "c", "Expression": "a/b"},
        ]}), 0.20),
        (Resource("AWS::CloudWatch::Dashboard"), 3.00),
        (Resource("AWS::KMS::Key"), 1.00),
    ],
)  # fmt: skip
def test_what_stands_by_the_month_has_its_price(resource: Resource, monthly: float) -> None:
    """By metric, by resolution, by piece."""
    assert math.isclose(estimate({"X": resource}, prices.REGION).known, monthly)


def test_snapshots_and_held_concurrency_are_paid_by_the_second() -> None:
    """730 hours of the function's memory, for each version or execution environment."""
    snapping = estimate(shipped_stack(snapstart=True, memory=1024), prices.REGION)
    ready = estimate(shipped_stack(memory=2048), prices.REGION, ready=3)

    assert math.isclose(snapping.known, 730 * 3600 * 0.0000015046)
    assert math.isclose(ready.known, 3 * 2 * 730 * 3600 * 0.0000041667)


def test_an_unknown_price_is_said_and_never_made_up() -> None:
    """A type that is not in the table, an anomaly's alarm, and a region without a table."""
    strange = {"X": Resource("AWS::EC2::Instance"), "A": ALARM}
    anomaly = Resource(
        "AWS::CloudWatch::Alarm",
        {"Metrics": [{"Id": "a", "Expression": "ANOMALY_DETECTION_BAND(m)"}]},
    )

    here, there = estimate(strange, prices.REGION), estimate(strange, "eu-west-1")
    assert here.unknown == ("X (AWS::EC2::Instance)",)
    assert math.isclose(here.known, 0.10)
    assert there.unknown == ("all prices of eu-west-1",)
    assert there.known == 0
    assert estimate({"X": anomaly}, prices.REGION).unknown == ("alarm X",)


def test_every_type_of_the_template_has_a_price_or_none() -> None:
    """A type that is added to the template is put into the table, or its price is told unknown."""
    read = template.read(shipped("template.yaml").read_text("utf-8"))
    types = {one["Type"] for one in read["Resources"].values()}

    assert types - prices.FREE_AT_REST <= {
        "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard", "AWS::KMS::Key",
    }  # fmt: skip
