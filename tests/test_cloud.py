"""The whole path in the embedded cloud, through the command line and over HTTP."""

import json
import math
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cloud_cases import Project, predict, request_of

from fnmodel.aws import Cloud
from fnmodel.release.probe import http_event

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Deploy a model that nobody prepared, by `init` and `deploy`, for all tests of this file."""
    # Named by a person: with a space and a letter that is not ASCII.
    folder = tmp_path_factory.mktemp("cloud") / "my wine-é"
    folder.mkdir()
    project = Project(folder, tmp_path_factory.mktemp("home"))
    project.train(1.0)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "wine"
    )
    with (folder / "fnmodel.yaml").open("a") as file:
        file.write("batch:\n- {name: nightly, input: incoming/, output: scored/}\n")
        file.write("signing: {key: signing.key, trusted: [signing.pub]}\n")
        file.write("audit: {retention: 1}\n")
    project.run("keygen")
    yield project
    project.run("local", "stop")


@pytest.fixture(scope="module")
def first(project: Project) -> Any:
    """Return what the first deploy said."""
    return project.json("deploy", "--local")


def test_deploy_ends_with_a_url_that_answers(project: Project, first: Any) -> None:
    """The first deploy says url, version, digest and stage, and the URL predicts over HTTP."""
    status, version, answer = predict(first["url"], request_of(project))

    assert {"url", "version", "digest", "stage"} <= set(first)
    assert first["digest"].startswith("sha256:")
    assert (status, version) == (200, "1")
    assert answer["predictions"][0]["label"] == 0
    assert math.isclose(sum(answer["predictions"][0]["probabilities"].values()), 1, abs_tol=1e-5)


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"records": [{"alcohol": NaN}]}', {"records": [{"alcohol": 1}]}, {"records": "x"}, 3],
)
def test_bad_input_is_told_and_never_a_500(first: Any, body: Any) -> None:
    """Whatever a client sends wrong gets a 4xx that says what."""
    status, _, answer = predict(first["url"], body)

    assert 400 <= status < 500
    assert answer["error"]


def test_an_unchanged_deploy_only_reads(
    project: Project,
    first: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same command again makes no call that changes anything, and says the same."""
    from botocore.client import BaseClient

    from fnmodel.__main__ import run

    calls: list[str] = []
    make_call = BaseClient._make_api_call

    def record(client: Any, operation: str, arguments: Any) -> Any:
        calls.append(operation)
        return make_call(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    monkeypatch.setenv("FNMODEL_HOME", str(project.home))
    monkeypatch.chdir(project.folder)
    code = run(["deploy", "--local", "--output", "json"])
    said = json.loads(capsys.readouterr().out)

    assert code == 0
    assert said == {**first, "changed": False}
    assert calls
    assert [
        call for call in calls if not call.startswith(("Describe", "Get", "List", "Query"))
    ] == []


def test_what_is_deployed_is_signed_and_its_materials_are_listed(
    project: Project, first: Any
) -> None:
    """The registry holds both beside the image; the signature vouches for the list, too."""
    found = project.json("inspect", "--deployed", "--local", "--sbom", "sbom.json")
    bill = json.loads((project.folder / "sbom.json").read_text())
    names = {component["name"]: component for component in bill["components"]}

    assert found["digest"] == first["digest"]
    assert (found["signature"]["state"], found["signature"]["key"]) == ("verified", "signing.pub")
    assert found["sbom"]["signed"]
    assert found["sbom"]["complete"]
    assert {"fnmodel", "numpy", "onnxruntime", "pydantic-core", "wine"} <= set(names)
    # Wheels that hold compiled crates say which (PEP 770).
    assert len(names["pydantic-core"]["components"]) > 50


def test_plan_shows_nothing_when_nothing_changed(project: Project, first: Any) -> None:
    """`plan` exits 0 without changes, and 3 with `--detailed-exitcode` when there are some."""
    quiet = project.json("plan", "--local", "--detailed-exitcode")
    config = project.folder / "fnmodel.yaml"
    before = config.read_text()
    config.write_text(before + "function: {memory: 512}\n")
    loud = project.json("plan", "--local", "--detailed-exitcode", code=3)
    config.write_text(before)

    assert quiet["changes"] == []
    assert not quiet["pending"]
    assert "Function" in [change["logical_id"] for change in loud["changes"]]
    assert project.json("status", "--local")["versions"][0]["version"] == first["version"]


def test_the_ledger_is_whole_and_copied(project: Project, first: Any) -> None:
    """Every record has its copy; a deleted one is found, and says so with exit code 1."""
    whole = project.json("audit", "verify", "--local")
    client = Cloud(endpoint_url=first["url"].split("/_aws")[0]).client("dynamodb")
    [table] = [name for name in client.list_tables()["TableNames"] if "Ledger" in name]
    records = client.scan(TableName=table)["Items"]
    lost = next(item for item in records if item.get("number", {}).get("N") == "1")
    client.delete_item(TableName=table, Key={"pk": lost["pk"], "sk": lost["sk"]})
    broken = project.run("audit", "verify", "--local", code=1)
    client.put_item(TableName=table, Item=lost)

    assert whole["entries"] == whole["copies"] > 0
    assert whole["faults"] == []
    assert "entry 1 is there as a copy only" in broken.stderr
    assert "FNM-L006" in broken.stderr


def test_logs_hold_the_lines_of_every_request(project: Project, first: Any) -> None:
    """START, one JSON line and REPORT of a request are there, by version."""
    predict(first["url"], request_of(project))
    lines = project.run("logs", "--local", "--version", "1").stdout.splitlines()

    assert any(line.startswith("START RequestId: ") for line in lines)
    assert any("Init Duration: " in line for line in lines if line.startswith("REPORT"))
    assert any(json.loads(line)["path"] == "/predict" for line in lines if line.startswith("{"))
    assert project.run("logs", "--local", "--version", "99").stdout == ""


def test_traffic_moves_between_versions(project: Project, first: Any) -> None:
    """A retrained model is a candidate at 0 %, then gets a tenth, then all, and goes back."""
    project.train(0.01)
    second = project.json("deploy", "--local")
    untouched = {predict(first["url"], request_of(project))[1] for _ in range(10)}
    shifted = project.json("shift", "10", "--local")
    answers = [predict(first["url"], request_of(project)) for _ in range(200)]
    share = [version for _, version, _ in answers].count("2")

    client = Cloud(endpoint_url=first["url"].split("/_aws")[0]).client("lambda")
    event = json.dumps(http_event("/predict", json.dumps(request_of(project)))).encode()
    invoked = [
        client.invoke(FunctionName="fnmodel-wine-local:live", Payload=event) for _ in range(60)
    ]
    answered = [json.loads(answer["Payload"].read())["headers"] for answer in invoked]

    # The Invoke API splits as the HTTP API does, and says which version it ran.
    assert {answer["ExecutedVersion"] for answer in invoked} == {"1", "2"}
    assert [answer["ExecutedVersion"] for answer in invoked] == [
        headers["x-model-version"] for headers in answered
    ]
    assert (second["version"], second["traffic"]["weights"]) == ("2", {})
    assert untouched == {"1"}
    assert shifted["weights"] == {"2": 0.1}
    assert {status for status, _, _ in answers} == {200}
    # 20 expected; four standard deviations of a binomial.
    assert share > 0
    assert abs(share - 20) <= 4 * math.sqrt(200 * 0.1 * 0.9)

    assert project.json("promote", "--local")["version"] == "2"
    assert {predict(first["url"], request_of(project))[1] for _ in range(10)} == {"2"}
    assert project.json("rollback", "--local")["version"] == "1"
    assert {predict(first["url"], request_of(project))[1] for _ in range(10)} == {"1"}
    assert project.json("invoke", "--version", "2", "--local")["version"] == "2"
    actions = [(r["action"], r["result"]) for r in project.json("history", "--local")]
    assert actions[0] == ("rollback", "done")
    assert ("gate", "passed") in actions


def test_a_model_that_is_worse_than_what_serves_is_never_published(
    project: Project, first: Any
) -> None:
    """The version that serves is asked the same rows; the ledger keeps how the new one stood."""
    config = project.folder / "fnmodel.yaml"
    before = config.read_text()
    gate = "{metric: accuracy, at_least: 0.3, champion: {margin: 0.05}}"
    config.write_text(f"{before}gates: {{sample: rows.csv, metrics: [{gate}]}}\n")
    state = project.json("status", "--local")
    project.train(1e-6)
    failed = project.run("deploy", "--local", code=4)
    untouched = project.json("status", "--local")
    skipped = project.json("deploy", "--local", "--skip-champion")
    project.train(0.5)
    better = project.json("deploy", "--local")
    reasons = [r["reason"] for r in project.json("history", "--local") if r["action"] == "gate"]
    config.write_text(before)

    assert "worse than the champion's" in failed.stderr
    assert "FNM-L005" in failed.stderr
    assert untouched["versions"] == state["versions"]
    assert skipped["champion"] is None
    assert (better["champion"]["version"], better["champion"]["rows"]) == ("1", 178)
    assert "at least 0.3" in reasons[0]
    assert "against version 1 on 178 rows: accuracy" in reasons[0]
    assert "--skip-champion" in reasons[1]


def test_an_image_that_no_trusted_key_signed_is_not_deployed(project: Project, first: Any) -> None:
    """Lambda never hears of it, and what served before still serves. Signed, it is deployed."""
    config = project.folder / "fnmodel.yaml"
    before = config.read_text()
    state = project.json("status", "--local")
    project.run("keygen", "other")
    project.train(0.3)
    config.write_text(before.replace("{key: signing.key, trusted", "{trusted"))
    unsigned = project.run("deploy", "--local", code=4)
    untouched = project.json("status", "--local")
    config.write_text(before.replace("signing.", "other."))
    deployed = project.json("deploy", "--local")["digest"]
    signed = project.json("inspect", "--deployed", "--local")
    config.write_text(before)
    distrusted = project.json("inspect", "--deployed", "--local")

    assert "FNM-P005" in unsigned.stderr
    assert "it has no signature" in unsigned.stderr
    assert untouched == state
    assert signed["digest"] == deployed
    assert (signed["signature"]["state"], signed["signature"]["key"]) == ("verified", "other.pub")
    assert distrusted["signature"]["state"] == "wrong"


def test_a_new_key_signs_what_is_deployed_already(project: Project, first: Any) -> None:
    """Image and version stay; only a signature is added, once, and the older one stays good."""
    config = project.folder / "fnmodel.yaml"
    before = config.read_text()
    versions = project.json("status", "--local")["versions"]
    project.run("keygen", "newer")
    config.write_text(before.replace("signing.", "newer."))
    signed = project.run("deploy", "--local")
    again = project.run("deploy", "--local")
    keys = [
        project.json("inspect", "--deployed", "--local", *option)["signature"]["key"]
        for option in ((), ("--key", "other.pub"))
    ]
    config.write_text(before)

    assert "signed with newer.key" in signed.stderr
    assert "is deployed already" in again.stderr
    assert keys == ["newer.pub", "other.pub"]
    assert project.json("status", "--local")["versions"] == versions


def test_batch_scores_a_prefix_and_counts_add_up(project: Project, first: Any) -> None:
    """Good rows are scored, bad ones go to an error file, and the same time never scores twice."""
    lines = (project.folder / "rows.csv").read_text().splitlines()
    (project.folder / "some.csv").write_text("\n".join([*lines[:51], "not,enough,fields"]) + "\n")
    at = "2030-01-01T00:00:00"
    estimate = project.json("batch", "run", "--upload", "some.csv", "--dry-run", "--local")
    before = project.json("batch", "status", "--local")
    failed = project.run(
        "batch", "run", "--upload", "some.csv", "--at", at, "--local", "-o", "json", code=1
    )
    manifest = json.loads(failed.stdout)
    again = json.loads(
        project.run("batch", "run", "--at", at, "--local", "-o", "json", code=1).stdout
    )
    listed = project.json("batch", "status", "--local")

    assert (estimate["objects"], before) == (1, [])
    assert estimate["size"] == (project.folder / "some.csv").stat().st_size
    assert manifest["totals"] == {"rows": 51, "scored": 50, "errors": 1}
    assert manifest["status"] == "failed"
    assert "error budget" in failed.stderr
    assert again["run_id"] == manifest["run_id"]
    assert [run["run_id"] for run in listed] == [manifest["run_id"]]


def test_a_schedule_fires_and_scores(project: Project, first: Any) -> None:
    """A schedule of fnmodel.yaml runs the job by itself, on the version that serves."""
    config = project.folder / "fnmodel.yaml"
    before = config.read_text()
    moment = (datetime.now(UTC) + timedelta(seconds=8)).strftime("%Y-%m-%dT%H:%M:%S")
    config.write_text(
        before.replace(
            "output: scored/}", f"output: timed/, schedule: 'at({moment})', error_budget: 1}}"
        )
    )
    project.run("deploy", "--local")
    deadline = time.monotonic() + 60
    runs: list[Any] = []
    while not runs and time.monotonic() < deadline:
        time.sleep(1)
        runs = project.json("batch", "status", "--local")
    config.write_text(before)

    assert [run["status"] for run in runs] == ["succeeded"]
    assert runs[0]["totals"]["scored"] == 50
    assert abs(
        datetime.fromisoformat(runs[0]["scheduled_time"]) - datetime.fromisoformat(moment + "Z")
    ) < timedelta(seconds=30)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_keeps_everything(project: Project, first: Any, how: str) -> None:
    """After a stop, and after kill -9, the same URL answers as before."""
    alias = project.json("status", "--local")["alias"]
    if how == "stop":
        assert project.json("local", "stop") == {"stopped": True}
    else:
        time.sleep(1.5)  # the state is saved half a second after the last change
        os.kill(project.json("local", "status")["pid"], signal.SIGKILL)
    project.run("local", "start")

    assert predict(first["url"], request_of(project))[0] == 200
    assert project.json("status", "--local")["alias"] == alias


def test_two_homes_do_not_meet(project: Project, first: Any, tmp_path: Path) -> None:
    """Another home knows nothing of this one's deployments."""
    other = Project(project.folder, tmp_path)
    said = other.run("status", "--local", code=1).stderr
    running = other.json("local", "status")
    other.run("local", "stop")

    assert "is not deployed" in said
    assert running["url"] != first["url"].split("/_aws")[0]


def test_destroy_leaves_nothing_behind(project: Project, first: Any) -> None:
    """No stack, function, API, role, bucket, table, schedule, log group or repository is left.

    Only the locked copies of the ledger stay, and the command says where.
    """
    url = project.json("local", "status")["url"]
    project.run("destroy", "--local", code=2)
    kept = project.json("destroy", "--local", "--yes")["kept"]
    cloud = Cloud(endpoint_url=url)
    left = {
        "stacks": cloud.client("cloudformation").describe_stacks()["Stacks"],
        "functions": cloud.client("lambda").list_functions()["Functions"],
        "apis": cloud.client("apigatewayv2").get_apis()["Items"],
        "roles": cloud.client("iam").list_roles()["Roles"],
        "buckets": cloud.client("s3").list_buckets()["Buckets"],
        "tables": cloud.client("dynamodb").list_tables()["TableNames"],
        "schedules": cloud.client("scheduler").list_schedules()["Schedules"],
        "logs": cloud.client("logs").describe_log_groups()["logGroups"],
        "repositories": cloud.client("ecr").describe_repositories()["repositories"],
    }  # fmt: skip

    [copies] = left.pop("buckets")
    assert kept == f"s3://{copies['Name']}"
    assert {what: found for what, found in left.items() if found} == {}
    assert "is not deployed" in project.run("status", "--local", code=1).stderr
