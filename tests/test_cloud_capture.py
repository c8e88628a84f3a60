"""Captured rows in the embedded cloud: from a request over HTTP to the bucket, and out of it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_cases import Project, predict, request_of

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

# A column of the sample that is text, so that a request may hold anything in it.
TRAIN = """
import joblib, pandas
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

table = pandas.DataFrame({
    "customer": [f"c{n % 9}" for n in range(120)], "note": ["a", "b", "c"] * 40,
    "plan": ["gold", "tin"] * 60, "age": range(120), "target": [n > 60 for n in range(120)],
})
model = make_pipeline(
    make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["customer", "note", "plan"]),
        (StandardScaler(), ["age"]),
    ),
    LogisticRegression(),
)
joblib.dump(model.fit(table.drop(columns="target"), table.target), "model.joblib")
table.to_csv("rows.csv", index=False)
"""
SECRETS = ("jane.roe@example.org", "4111111111111111", "AKIAIOSFODNN7EXAMPLE", "Gilgamesh")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Deploy a model that captures all its rows."""
    import subprocess

    folder = tmp_path_factory.mktemp("capture")
    project = Project(folder, tmp_path_factory.mktemp("home"))
    (folder / "train.py").write_text(TRAIN)
    subprocess.run([project.python, "train.py"], cwd=folder, check=True)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "kept"
    )
    with (folder / "fnmodel.yaml").open("a") as file:
        file.write("capture: {rate: 1, subject: customer, fields: {plan: drop}}\n")
    yield project
    project.run("local", "stop")


@pytest.fixture(scope="module")
def url(project: Project) -> str:
    """Return where it answers."""
    deployed: str = project.json("deploy", "--local")["url"]
    return deployed


def exported(project: Project, least: int) -> list[Any]:
    """Return the captured rows, once there are enough; they come a moment after the response."""
    for _ in range(20):
        project.run("capture", "export", "--local", "--since", "1h", "--to", "out.jsonl")
        lines = (project.folder / "out.jsonl").read_text().splitlines()
        if len(lines) >= least:
            break
        time.sleep(0.5)
    return [json.loads(line) for line in lines]


def row(project: Project, customer: str, **changes: Any) -> dict[str, Any]:
    """Return a row of the sample with changes."""
    [first, *_] = request_of(project)["records"]
    return {**first, "customer": customer, **changes}


def test_rows_come_to_the_bucket_redacted(project: Project, url: str) -> None:
    """Each row with its prediction, version and alias; the gate's probe is not among them."""
    text = " ".join(SECRETS[:3])
    records = [row(project, "c1", note=text), row(project, "Gilgamesh", plan="Gilgamesh")]
    for _ in range(3):
        status, version, answer = predict(url, {"records": records})
        assert (status, version) == (200, "1")
    rows = exported(project, 6)

    assert len(rows) == 6
    assert {(r["fnmodel"]["version"], r["fnmodel"]["alias"]) for r in rows} == {("1", "live")}
    assert len({r["eventMetadata"]["inferenceId"] for r in rows}) == 6
    inputs = [json.loads(r["captureData"]["endpointInput"]["data"]) for r in rows]
    assert inputs[0]["note"] == "<email> <card> <aws-key>"
    assert not any("plan" in found for found in inputs)
    outputs = [json.loads(r["captureData"]["endpointOutput"]["data"]) for r in rows]
    assert outputs[:2] == answer["predictions"]


def test_weeks_and_releases_are_told(project: Project, url: str) -> None:
    """Trend and digest read what the stage captured and measured; the card what it released."""
    trend = project.json("watch", "trend", "--since", "1d")
    digest = project.json("watch", "digest", "--to", "week.html")
    card = project.json("card")

    rows = sum(step["rows"] for step in trend["steps"])
    assert rows == digest["now"]["rows"] > 0
    assert digest["now"]["operations"]["requests"] > 0
    assert digest["before"]["rows"] == 0
    assert card["image"]["digest"] == card["releases"][0]["digest"]
    assert {record["action"] for record in card["releases"]} >= {"deploy", "gate"}
    assert card["usage"]["url"].startswith(url)
    assert card["model_parameters"]["data"][0]["profile"]["rows"] == 120
    for name in ("trend", "week", "card"):
        assert (project.folder / f"{name}.html").read_text().startswith("<!doctype html>")
    packed = project.json("card", "--packed")
    assert packed["image"]["digest"] == card["image"]["digest"]
    assert packed["releases"] is None


def test_an_unchanged_deploy_stays_one(project: Project, url: str) -> None:
    """The secret of the hashes is made once, and read back from the function."""
    assert project.json("deploy", "--local")["changed"] is False
    assert url


def test_no_planted_secret_is_at_rest(project: Project, url: str) -> None:
    """After a stop, no file of the cloud (objects, logs, state) holds one of them."""
    assert url
    exported(project, 6)
    project.run("local", "stop")
    found = [
        (secret, path)
        for path in Path(project.home, "local").rglob("*")
        if path.is_file() and not path.is_symlink() and "images" not in path.parts
        for secret in SECRETS
        if secret.encode() in path.read_bytes()
    ]

    assert found == []


def test_a_subject_is_erased_and_proven(project: Project, url: str) -> None:
    """Rows of others stay; a second run finds none; the proof does not name the subject."""
    before = exported(project, 6)
    proof = project.json("capture", "erase", "Gilgamesh", "--local", "--yes", "--logs")
    again = project.json("capture", "erase", "Gilgamesh", "--local", "--yes")
    after = exported(project, 3)

    assert url
    assert (proof["rows"], again["rows"], again["log"]["lines"]) == (3, 0, 0)
    assert "Gilgamesh" not in json.dumps(proof)
    subjects = {r["fnmodel"]["subject"] for r in after}
    assert len(before) - len(after) == 3
    assert proof["subject"] not in subjects
    assert len(subjects) == 1


def test_what_cannot_be_done_is_told(project: Project, url: str) -> None:
    """A span that ends before it begins, a folder that is not there, nobody to confirm."""
    assert url
    since = project.run(
        "capture", "export", "--local", "--since", "2026-01-02", "--until", "2026-01-01",
        "--to", "x", code=2,
    )  # fmt: skip
    nowhere = project.run("capture", "export", "--since", "1h", "--to", "no/x", code=2)
    unasked = project.run("capture", "erase", "c1", "--local", code=2)

    assert "is not before --until" in since.stderr
    assert "there is no folder no" in nowhere.stderr
    assert "--yes" in unasked.stderr


def test_the_secret_outlives_a_pause(project: Project, url: str) -> None:
    """A stage that captures no more still finds its subjects, and goes on with the same hashes."""
    config = project.folder / "fnmodel.yaml"
    before = config.read_text()
    [subject] = {r["fnmodel"]["subject"] for r in exported(project, 3)}
    config.write_text(before.replace("rate: 1", "rate: 0"))
    project.json("deploy", "--local", "--promote")
    predict(url, {"records": [row(project, "c1")]})
    proof = project.json("capture", "erase", "c1", "--local", "--yes")
    config.write_text(before)
    project.json("deploy", "--local", "--promote")
    predict(url, {"records": [row(project, "c1")]})
    [again] = exported(project, 1)

    assert (proof["rows"], proof["subject"]) == (3, subject)
    assert again["fnmodel"]["subject"] == subject
