"""`fnmodel run` runs the declared steps in order and stops at the first that fails."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fnmodel.__main__ import run
from fnmodel.aws import Cloud
from fnmodel.cli.pipeline import ledgers
from fnmodel.cli.workspace import Workspace
from fnmodel.local import pipeline

STEPS = f"""
name: piped
model: model.joblib
pipeline:
  - {{name: train, run: "{sys.executable} step.py train", env: {{WORD: hello}}}}
  - {{name: validate, run: "{sys.executable} step.py validate"}}
  - {{name: ship, run: "{sys.executable} step.py ship"}}
"""
SCRIPT = """
import os, pathlib, sys
with open("log", "a") as log:
    log.write(f"{sys.argv[1]} {os.environ.get('WORD', '')};")
print("for people")
sys.exit(3 if pathlib.Path("fail").exists() and sys.argv[1] == "validate" else 0)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fnmodel.yaml").write_text(STEPS)
    (tmp_path / "step.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log(folder: Path) -> str:
    path = folder / "log"
    return path.read_text() if path.exists() else ""


def test_steps_run_in_order_with_data_alone_on_stdout(folder: Path, capfd: Any) -> None:
    """What a step prints goes to stderr; its variables are its own."""
    assert run(["run", "--output", "json"]) == 0
    said = capfd.readouterr()

    assert log(folder) == "train hello;validate ;ship ;"
    assert [one["step"] for one in json.loads(said.out)["steps"]] == ["train", "validate", "ship"]
    assert said.err.count("for people") == 3


def test_a_failing_step_ends_the_run(folder: Path, capfd: Any) -> None:
    """The steps after it are not run, and can be by their names."""
    (folder / "fail").touch()
    assert run(["run"]) == 1
    assert "step validate ended with 3" in capfd.readouterr().err
    assert log(folder) == "train hello;validate ;"

    assert run(["run", "ship"]) == 0
    assert log(folder).endswith("ship ;")
    assert run(["run", "nothing"]) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("run: x, deploy: prod", "either `run: COMMAND` or `deploy: STAGE`"),
        ("env: {A: b}", "either `run: COMMAND` or `deploy: STAGE`"),
    ],
)
def test_a_step_is_one_thing(folder: Path, capfd: Any, changed: str, said: str) -> None:
    """A command, or a deployment."""
    (folder / "fnmodel.yaml").write_text(
        f"name: piped\nmodel: m.joblib\npipeline: [{{name: one, {changed}}}]\n"
    )
    assert run(["run"]) == 2
    assert said in capfd.readouterr().err


def test_an_event_s_variables_come_before_the_project_s() -> None:
    """As CodeBuild has it."""
    project = {"environment": {"environmentVariables": [
        {"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}}  # fmt: skip
    given = json.dumps({"environmentVariablesOverride": [{"name": "B", "value": "3"}]})

    assert pipeline.variables(project, given) == {"A": "1", "B": "3"}
    assert pipeline.variables({}, "") == {}
    assert pipeline.started_by("arn:aws:codebuild:us-east-1:000000000000:project/x-y") == "x-y"
    assert pipeline.started_by("arn:aws:lambda:us-east-1:000000000000:function:project") is None


def test_the_ledger_is_the_build_s_whatever_the_first_stage_is(folder: Path) -> None:
    """A profile of a person's machine is not known where CodeBuild runs."""
    with (folder / "fnmodel.yaml").open("a") as file:
        file.write("stage: production\nstages: {production: {profile: mine, region: eu-west-1}}\n")

    assert ledgers(Workspace(folder)) == Cloud()
