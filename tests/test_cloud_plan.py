"""Plans that are saved and applied, in the embedded cloud and through the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cloud_cases import Project

from fnmodel.aws import Cloud

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

NAME = "fnmodel-wine-local"
SCHEMA = json.loads((Path(__file__).parents[1] / "docs/plan.schema.json").read_text())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Prepare a model with a schedule; nothing is deployed yet."""
    folder = tmp_path_factory.mktemp("plan")
    project = Project(folder, tmp_path_factory.mktemp("home"))
    project.train(1.0)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "wine"
    )
    with (folder / "fnmodel.yaml").open("a") as file:
        file.write('batch:\n- {name: nightly, input: a/, output: b/, schedule: "rate(1 day)"}\n')
    yield project
    project.run("local", "stop")


def write(project: Project, *lines: str) -> None:
    """Set what the project asks for beside what `init` wrote."""
    config = project.folder / "fnmodel.yaml"
    kept = config.read_text().split("# changed\n")[0]
    config.write_text("\n".join([f"{kept}# changed", *lines, ""]))


def test_a_new_stage_with_everything_is_planned(project: Project) -> None:
    """Its template is too large for a request, and there is no bucket yet to read it from."""
    jobs = "\n".join(
        f'- {{name: job-{n}, input: a{n}/, output: b{n}/, schedule: "rate(1 day)"}}'
        for n in range(60)
    )
    config = project.folder / "fnmodel.yaml"
    before = config.read_text()
    config.write_text(f"{before}{jobs}\n")

    planned = project.json("plan", "--local", "--detailed-exitcode", code=3)

    config.write_text(before)
    assert sum(one["type"] == "AWS::Scheduler::Schedule" for one in planned["changes"]) > 60
    assert {one["action"] for one in planned["changes"]} == {"add"}


def test_plans_from_nothing_to_changes_by_hand(project: Project) -> None:
    """One stage: made by a plan, changed by a plan, and every stale plan refused in words."""
    first = project.json("plan", "--local", "--detailed-exitcode", "-o", "first.fnplan", code=3)
    jsonschema.validate(first, SCHEMA)
    assert json.loads((project.folder / "first.fnplan").read_text()) == first
    assert {one["action"] for one in first["changes"]} == {"add"}
    assert sum(one["size"] for one in first["push"]) > 1_000_000

    dry = project.run("apply", "first.fnplan", "--dry-run")
    assert "this plan can be applied" in dry.stderr
    assert project.json("apply", "first.fnplan")["version"] == "1"
    twice = project.run("apply", "first.fnplan", code=5)
    assert "already applied as version 1, by " in twice.stderr
    assert "FNM-V004" in twice.stderr

    quiet = project.json("plan", "--local", "--detailed-exitcode")
    jsonschema.validate(quiet, SCHEMA)
    assert (quiet["changes"], quiet["push"], quiet["drift"]) == ([], [], [])
    assert (quiet["permissions"], quiet["pending"]) == ([], False)

    write(project, "function: {memory: 512, tracing: xray}", "capture: {rate: 0.5}")
    second = project.json("plan", "--local", "-o", "second.fnplan")
    [function] = [one for one in second["changes"] if one["logical_id"] == "Function"]
    assert {"path": "MemorySize", "before": "1769", "after": "512"} in function["edits"]
    wider = [one for one in second["permissions"] if one["subject"] == "FunctionRole"]
    assert [(one["kind"], one["state"], one["sid"]) for one in wider] == [
        ("widening", "new", "WriteTraces")
    ]
    key = [one["after"] for one in function["edits"] if one["path"].endswith("CAPTURE_KEY")]
    assert key == ["not shown"]
    assert second["cost"]["million_after"] < second["cost"]["million_before"]

    write(project, "function: {memory: 640, tracing: xray}", "capture: {rate: 0.5}")
    stale = project.run("apply", "second.fnplan", code=5)
    assert "fnmodel.yaml: was " in stale.stderr
    assert "parameters of the stack: was " in stale.stderr
    write(project, "function: {memory: 512, tracing: xray}", "capture: {rate: 0.5}")
    assert project.json("apply", "second.fnplan")["version"] == "2"
    assert project.json("status", "--local")["versions"][0]["version"] == "2"


def test_what_somebody_does_meanwhile_makes_a_plan_stale(project: Project) -> None:
    """The alias, the function and the ledger: each is told; nothing is changed."""
    write(project, "function: {memory: 768}")
    project.run("plan", "--local", "--no-drift", "-o", "third.fnplan")
    project.run("shift", "10", "--local")
    moved = project.run("apply", "third.fnplan", code=5).stderr
    project.run("abort", "--local")

    assert "weights of the alias: was none, is {'2': 0.1}" in moved
    assert "revision of the alias" in moved
    assert "end of the ledger" in moved
    assert "plan --out" in moved

    project.run("plan", "--local", "--no-drift", "-o", "fourth.fnplan")
    elsewhere = project.run("apply", "fourth.fnplan", "--stage", "other", code=5).stderr
    assert "stage: was local, is other" in elsewhere
    client(project)("lambda").update_function_configuration(FunctionName=NAME, Timeout=9)
    assert "image and settings of $LATEST" in project.run("apply", "fourth.fnplan", code=5).stderr


def test_what_was_changed_by_hand_is_shown_with_what_deploy_does(project: Project) -> None:
    """The timeout of the function, the alias past the ledger, a bucket's public access."""
    aws = client(project)
    aws("lambda").update_alias(
        FunctionName=NAME, Name="live", FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.25}},
    )  # fmt: skip
    [bucket] = [one["Name"] for one in aws("s3").list_buckets()["Buckets"] if NAME in one["Name"]]
    aws("s3").delete_public_access_block(Bucket=bucket)
    write(project, "function: {timeout: 50}")

    found = project.json("plan", "--local")["drift"]
    text = project.run("plan", "--local").stdout

    assert {(one["logical_id"], one["path"], one["deploy"]) for one in found} == {
        ("Function", "Timeout", "deploy sets it"),
        (
            "Bucket",
            "PublicAccessBlockConfiguration",
            "stays: CloudFormation compares templates only",
        ),
        ("LiveAlias", "traffic", "stays: only `shift`, `promote` and `rollback` move requests"),
    }
    assert "changed by hand" in text
    assert "ledger version 1: 100 %, found version 1: 75 %" in text
    assert max(map(len, text.splitlines())) <= 80


def client(project: Project) -> Any:
    """Return what makes clients of the project's embedded cloud."""
    url = project.json("status", "--local")["url"].split("/_aws")[0]
    return Cloud(endpoint_url=url).client
