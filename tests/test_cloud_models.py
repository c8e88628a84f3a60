"""Several models in one stage of an embedded cloud: deployed, retrained, joined by another."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from cloud_cases import Project

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

GATE = (
    "    gates: {sample: rows.csv, metrics: [{metric: accuracy, at_least: 0.3, "
    "champion: {margin: 0.05}}]}\n"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Write a project of two models by `init`, each held against what serves."""
    project = Project(tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("home"))
    train(project, "red_wine", 1.0)
    train(project, "white", 0.5)
    project.run(
        "init", "red_wine.joblib", "white.joblib", "--sample", "rows.csv", "--target", "target",
        "--name", "shop",
    )  # fmt: skip
    file = project.folder / "fnmodel.yaml"
    text = file.read_text()
    for name in ("red_wine", "white"):
        key = f"    request: request-{name}.json\n"
        assert key in text
        text = text.replace(key, key + GATE)
    jobs = "batch:\n- {name: nightly, input: in/, output: out/, model: white, error_budget: 1}\n"
    file.write_text(text + jobs)
    yield project
    project.run("local", "stop")


@pytest.fixture(scope="module")
def first(project: Project) -> Any:
    """Return what the first deploy said."""
    return project.json("deploy", "--local")


def train(project: Project, name: str, strength: float) -> None:
    project.train(strength)
    (project.folder / "model.joblib").replace(project.folder / f"{name}.joblib")


def test_each_model_is_invoked_by_its_name(project: Project, first: Any) -> None:
    """One URL; without a name it is the first model's."""
    white = project.json("invoke", "--local", "--model", "white")
    default = project.json("invoke", "--local")
    by_version = project.json("invoke", "--local", "--model", "white", "--version", "1")

    assert white["url"] == f"{first['url']}/models/white/predict"
    assert white["answer"]["model_name"] == by_version["answer"]["model_name"] == "white"
    assert default["answer"]["model_name"] == "red_wine"
    assert white["answer"]["predictions"] == by_version["answer"]["predictions"]
    assert project.json("status", "--local")["models"] == ["red_wine", "white"]


def test_a_job_is_of_its_model(project: Project, first: Any) -> None:
    """The manifest names the model that `batch:` does, and its digest."""
    shutil.copy(project.folder / "rows.csv", project.folder / "some.csv")
    manifest = project.json("batch", "run", "--upload", "some.csv", "--local")
    digest = project.json("slim")["models"]["white"]["digest"]

    assert manifest["totals"]["scored"] == 178
    assert manifest["model"] == {"name": "white", "version": "1", "digest": digest}


def test_a_retrained_model_is_held_against_its_own_champion(project: Project, first: Any) -> None:
    """Only its layer is sent; a worse one of them stops the deploy, and the error names it."""
    train(project, "white", 1e-6)
    failed = project.run("deploy", "--local", code=4)
    train(project, "white", 0.7)
    second = project.run("deploy", "--local", "--promote")
    [record, *_] = [r for r in project.json("history", "--local") if r["action"] == "gate"]

    assert "error: model 'white': " in failed.stderr
    assert "worse than the champion's" in failed.stderr
    assert "pack       model red_wine: unchanged" in second.stderr
    assert "pack       writing white" in second.stderr
    sent = [line for line in second.stderr.splitlines() if line.endswith("pushed …")]
    assert len(sent) == 2, "the model and the config"
    assert "white: against version 1 on 178 rows: accuracy" in record["reason"]
    assert "red_wine: against version 1 on 178 rows: accuracy" in record["reason"]


def test_a_model_that_joins_has_no_champion_yet(project: Project, first: Any) -> None:
    """It is deployed beside the others, which are compared as ever."""
    file = project.folder / "fnmodel.yaml"
    shutil.copy(project.folder / "red_wine.joblib", project.folder / "rose.joblib")
    joined = (
        "  rose:\n    model: rose.joblib\n    sample: rows.csv\n    target: target\n"
        "    request: request-white.json\n"
    )
    file.write_text(file.read_text().replace("models:\n", f"models:\n{joined}{GATE}", 1))
    said = project.run("deploy", "--local", "--promote")

    assert "has no model 'rose'" in said.stderr
    assert project.json("invoke", "--local")["answer"]["model_name"] == "rose"
    assert list(project.json("slim")["models"]) == ["rose", "red_wine", "white"]
