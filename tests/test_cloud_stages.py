"""From staging to production in the embedded cloud: promotion, parity, a broken lock, garbage."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cloud_cases import Project, predict, request_of

from fnmodel.aws import Cloud
from fnmodel.provision.pins import Pins
from fnmodel.release.ledger import Ledger

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

STAGES = """
signing: {key: signing.key, trusted: [signing.pub]}
stages:
  staging: {cloud: local}
  production: {cloud: local, function: {memory: 2048}}
"""
FUNCTION = "fnmodel-wine-production"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Deploy a model to staging, by the command line."""
    project = Project(tmp_path_factory.mktemp("stages"), tmp_path_factory.mktemp("home"))
    project.train(1.0)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "wine"
    )
    with (project.folder / "fnmodel.yaml").open("a") as file:
        file.write(STAGES)
    project.run("keygen")
    yield project
    project.run("local", "stop")


@pytest.fixture(scope="module")
def cloud(project: Project, promoted: Any) -> Cloud:
    """Return what the embedded cloud's own APIs are asked with."""
    return Cloud(endpoint_url=project.json("local", "status")["url"])


@pytest.fixture(scope="module")
def promoted(project: Project) -> Any:
    """Return what the first promotion said; nothing was there to promote before."""
    refused = project.run("promote", "--from", "staging", "--to", "production", code=1)
    assert "is not deployed to stage staging" in refused.stderr
    project.json("deploy", "--stage", "staging")
    return project.json("promote", "--from", "staging", "--to", "production")


def test_the_very_digest_serves_in_both(project: Project, promoted: Any) -> None:
    """Nothing is built for production, the ledger says where it came from, and again is nothing."""
    (project.folder / "model.joblib").rename(project.folder / "away.joblib")
    again = project.json("promote", "--from", "staging", "--to", "production")
    (project.folder / "away.joblib").rename(project.folder / "model.joblib")
    staging = project.json("status", "--stage", "staging")
    history = project.json("history", "--stage", "production")
    status, version, _ = predict(promoted["url"], request_of(project))

    assert promoted["digest"] == staging["versions"][0]["digest"]
    assert (promoted["from"], promoted["changed"]) == ({"stage": "staging", "version": "1"}, True)
    assert again == {**promoted, "changed": False}
    assert [record["action"] for record in history] == ["deploy", "gate"]
    assert "promoted from staging, version 1; there 80 values as proven" in history[1]["reason"]
    assert (status, version) == (200, "1")


def test_parity_holds_and_says_what_differs_on_purpose(project: Project, promoted: Any) -> None:
    """The memory that fnmodel.yaml gives production is no fault; both answer as proven."""
    found = project.json("parity", "staging", "production")

    assert found["holds"]
    assert set(found["digests"].values()) == {promoted["digest"]}
    assert {one["where"] for one in found["differences"]} == {
        "function.memory", "parameters.Memory",
        "template.Resources.MemoryAlarm.Properties.Threshold",  # a share of it
    }  # fmt: skip
    assert all(one["on_purpose"] for one in found["differences"])
    assert [(one["as_proven"], one["checked"]) for one in found["answers"]] == [(True, 80)] * 2


def test_a_newer_staging_is_a_difference_and_a_candidate(project: Project, promoted: Any) -> None:
    """Exit 4 while only staging has the new model; promoted, it waits until it gets requests."""
    project.train(0.01)
    project.json("deploy", "--stage", "staging", "--promote")
    found = json.loads(
        project.run("parity", "staging", "production", "--output", "json", code=4).stdout
    )
    assert len(set(found["digests"].values())) == 2

    made = project.json("promote", "--from", "staging", "--to", "production")
    assert made["digest"] == found["digests"]["staging"]
    assert made["traffic"] == {"version": "1", "weights": {}}
    project.json("promote", "--stage", "production")

    assert project.json("parity", "staging", "production")["holds"]
    before = project.json("promote", "--from", "staging", "--to", "production", "--version", "1")
    assert before["digest"] == promoted["digest"]


def test_a_rollout_in_staging_needs_a_version_by_name(project: Project, promoted: Any) -> None:
    """Two versions serve there; nobody can say which one is meant."""
    project.train(3.0)
    project.json("deploy", "--stage", "staging")
    project.json("shift", "20", "--stage", "staging")

    refused = project.run("promote", "--from", "staging", "--to", "production", code=1)

    assert "a rollout is under way in staging: versions 2 and 3" in refused.stderr
    assert "--version N" in refused.stderr
    project.json("abort", "--stage", "staging")


def test_a_hand_edit_is_an_unexpected_difference(project: Project, cloud: Cloud) -> None:
    """A variable and a timeout that somebody set by hand are named, with exit 4."""
    functions = cloud.client("lambda")
    known = functions.get_function_configuration(FunctionName=FUNCTION)
    before = functions.get_alias(FunctionName=FUNCTION, Name="live")
    variables = {**known["Environment"]["Variables"], "HAND": "1"}
    functions.update_function_configuration(
        FunctionName=FUNCTION, Timeout=33, Environment={"Variables": variables}
    )
    made = functions.publish_version(FunctionName=FUNCTION)["Version"]
    functions.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion=made)

    ran = project.run("parity", "staging", "production", "--output", "json", code=4)

    found = [one for one in json.loads(ran.stdout)["differences"] if not one["on_purpose"]]
    assert {one["where"]: one["values"]["production"] for one in found} == {
        "function.environment.HAND": "1", "function.timeout": "33",
    }  # fmt: skip
    assert "FNM-L008" in ran.stderr
    functions.update_alias(
        FunctionName=FUNCTION, Name="live", FunctionVersion=before["FunctionVersion"]
    )


HOLD = """
import sys, time
from pathlib import Path
from fnmodel.cli.workspace import Workspace
with Workspace(Path(), stage="production").ledger.lease(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_is_shown_and_broken_by_its_id(project: Project, cloud: Cloud) -> None:
    """Of a holder on another machine, whose death nobody here can know."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, "runner@elsewhere, process 7"],
        cwd=project.folder, env=project.environment, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        seen = project.json("unlock", "--stage", "production")
        refused = project.run("rollback", "--stage", "production", code=5)
        wrong = project.run("unlock", "--id", "1-abc", "--stage", "production", code=2)
        broken = project.json(
            "unlock", "--id", seen["lease"]["id"], "--reason", "gone", "--stage", "production"
        )
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()

    assert seen["lease"]["who"] == "runner@elsewhere, process 7"
    assert f"fnmodel unlock --id {seen['lease']['id']}" in refused.stderr
    assert "'1-abc' is not the id" in wrong.stderr
    assert broken["broken"]
    assert project.json("unlock", "--stage", "production")["locked"] is False
    assert project.json("history", "-n", "1", "--stage", "production")[0]["action"] == "unlock"
    table = next(
        output["OutputValue"]
        for output in cloud.client("cloudformation").describe_stacks(StackName=FUNCTION)["Stacks"][
            0
        ]["Outputs"]
        if output["OutputKey"] == "LedgerTable"
    )
    assert Ledger(cloud.client("dynamodb"), table).holder() is None


def test_garbage_goes_and_what_can_be_reached_stays(project: Project, cloud: Cloud) -> None:
    """An image that is being deployed stays, too; everything still answers afterwards."""
    for strength in (5.0, 7.0):
        project.train(strength)
        project.json("deploy", "--stage", "staging", "--promote")
    digests = {one["version"]: one["digest"] for one in status(project, "staging")["versions"]}
    ecr = cloud.client("ecr")
    [repository] = ecr.describe_repositories()["repositories"]
    planned = project.json("gc", "--dry-run", "--keep", "1", "--age", "0s")
    assert {one["version"] for one in status(project, "staging")["versions"]} == digests.keys()
    assert planned["stages"]["staging"]["removed"] == ["1", "2", "3"]
    third = digests["3"]

    with Pins(ecr, repository["repositoryArn"]).held(third):
        made = project.json("gc", "--keep", "1", "--age", "0s")
        [images] = made["repositories"].values()
        assert images["kept"][third] == "is being deployed"

    left = {one["version"]: one["digest"] for one in status(project, "staging")["versions"]}
    last = project.json("gc", "--keep", "1", "--age", "0s")
    [images] = last["repositories"].values()

    assert set(left) == {"4", "5"}
    assert third in images["removed"]
    assert last["freed"] > 0
    assert not set(images["removed"]) & {*left.values(), digests["1"], digests["2"]}
    url = project.json("status", "--stage", "production")["url"]
    assert predict(url, request_of(project))[0] == 200
    project.json("rollback", "--stage", "staging")
    assert predict(status(project, "staging")["url"], request_of(project))[:2] == (200, "4")
    signed = project.json("inspect", "--deployed", "--stage", "production")
    assert signed["signature"]["state"] == "verified"


def status(project: Project, stage: str) -> Any:
    """Return what `status` says of a stage."""
    return project.json("status", "--stage", stage)
