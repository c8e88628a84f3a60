"""What a stage has around its function, in the embedded cloud: alarms, queue, dashboard, tags."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cloud_cases import Project, predict, request_of

from fnmodel.aws import EMULATOR_REGION, Cloud

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

SETTINGS = """
alarms: {latency_p99: 750, memory: null, email: [ops@example.com]}
stack: {kms_key: own, log_retention: 7, tags: {team: risk}}
function: {provisioned_concurrency: 1, reserved_concurrency: 5}
stages:
  local:
    cloud: local
    domain:
      name: wine.example.com
      certificate: arn:aws:acm:us-east-1:000000000000:certificate/1234
"""
NAME = "fnmodel-wine-local"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Deploy a model with what a careful team asks for."""
    project = Project(tmp_path_factory.mktemp("stack"), tmp_path_factory.mktemp("home"))
    project.train(1.0)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "wine"
    )
    with (project.folder / "fnmodel.yaml").open("a") as file:
        file.write(SETTINGS)
    yield project
    project.run("local", "stop")


@pytest.fixture(scope="module")
def said(project: Project) -> Any:
    """Return what the first deploy said on standard error, and its answer."""
    ran = project.run("deploy", "--local", "--output", "json")
    return ran.stderr, json.loads(ran.stdout)


def clients(project: Project) -> Cloud:
    found = project.json("local", "status")
    return Cloud(endpoint_url=found["url"], region=EMULATOR_REGION)


def test_what_the_embedded_cloud_cannot_is_said(project: Project, said: Any) -> None:
    """All the rest is deployed, and the model answers."""
    status, _, _ = predict(said[1]["url"], request_of(project))

    assert (
        "not in the embedded cloud: domain, stack.kms_key, alarms.email, "
        "function.provisioned_concurrency"
    ) in said[0]
    assert status == 200


def test_a_stage_has_its_alarms_and_its_dashboard(project: Project, said: Any) -> None:
    """With the thresholds of the file; each tells the stage's topic."""
    cloudwatch = clients(project).client("cloudwatch")
    alarms = {
        alarm["AlarmName"].removeprefix(f"{NAME}-"): alarm
        for alarm in cloudwatch.describe_alarms()["MetricAlarms"]
    }
    board = cloudwatch.get_dashboard(DashboardName=NAME)["DashboardBody"]

    assert set(alarms) == {"api-errors", "concurrency", "events", "failed-events", "slow"}
    assert alarms["slow"]["Threshold"] == 750
    assert alarms["concurrency"]["Threshold"] == 4
    for alarm in alarms.values():
        assert [arn.rpartition(":")[2] for arn in alarm["AlarmActions"]] == [NAME]
    assert f'"{NAME}:live"' in board
    assert "${" not in board


def test_a_failed_event_has_a_queue_and_logs_an_end(project: Project, said: Any) -> None:
    """The alias's own setting names it; tags are on what takes tags."""
    cloud = clients(project)
    awslambda = cloud.client("lambda")
    config = awslambda.get_function_event_invoke_config(FunctionName=NAME, Qualifier="live")
    group = f"/aws/lambda/{NAME}"
    [logs] = cloud.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    arn = awslambda.get_function(FunctionName=NAME)["Configuration"]["FunctionArn"]

    assert "-Failures-" in config["DestinationConfig"]["OnFailure"]["Destination"]
    assert logs["retentionInDays"] == 7
    assert awslambda.list_tags(Resource=arn)["Tags"]["team"] == "risk"


def test_another_threshold_changes_that_alarm_alone(project: Project, said: Any) -> None:
    """No version is published for it, and the traffic stays."""
    path = project.folder / "fnmodel.yaml"
    path.write_text(path.read_text().replace("latency_p99: 750", "latency_p99: 900"))
    planned = project.json("plan", "--local")
    again = project.json("deploy", "--local")
    alarms = clients(project).client("cloudwatch").describe_alarms(AlarmNames=[f"{NAME}-slow"])

    assert {change["logical_id"] for change in planned["changes"]} == {"SlowAlarm"}
    assert again["version"] == said[1]["version"]
    assert [alarm["Threshold"] for alarm in alarms["MetricAlarms"]] == [900]
