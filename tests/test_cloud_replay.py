"""Replayed requests in the embedded cloud: rollouts of a service that hardly anybody calls."""

import csv
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cloud_cases import Project, predict

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(900)]

# It is well on the laptop, and for the probe, which has more rows: only callers meet the fault.
PROCESSING = """
import os
import random
import time

def preprocess(records):
    if len(records) == 1 and "AWS_LAMBDA_RUNTIME_API" in os.environ:
        {fault}
    return records
"""
QUIET, FAILS, SLEEPS = "pass", "assert random.random() > 0.5", "time.sleep(0.15)"
CONFIG = """
processing: processing.py
capture: {rate: 1.0}
rollout:
  strategy: steps
  steps: [{percent: 20, bake: 2s}, {percent: 60, bake: 2s}]
  analysis:
    minimum_samples: 40
    max_latency_ratio: 10
    max_prediction_shift: 0.3
    replay: {mode: when-thin, requests: 120, rate: 100}
"""
ROWS = 130
"""Requests that came to the first version in months; nobody calls while a rollout goes on."""


def behave(project: Project, fault: str) -> None:
    (project.folder / "processing.py").write_text(PROCESSING.format(fault=fault))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("replay")
    project = Project(folder, tmp_path_factory.mktemp("home"))
    project.train(1.0)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "wine"
    )
    behave(project, QUIET)
    with (folder / "fnmodel.yaml").open("a") as file:
        file.write(CONFIG)
    yield project
    project.run("local", "stop")


@pytest.fixture(scope="module")
def url(project: Project) -> str:
    """Deploy the first version, and let it be called for a while."""
    url = str(project.json("deploy", "--local")["url"])
    with (project.folder / "rows.csv").open() as file:
        rows = [
            {name: float(value) for name, value in row.items() if name != "target"}
            for row in csv.DictReader(file)
        ]
    for number in range(ROWS):
        status, _, _ = predict(url, {"records": [rows[number % len(rows)]]})
        assert status == 200
    return url


@pytest.mark.parametrize(
    ("fault", "strength", "reason"),
    [(FAILS, 1.0, "error"), (SLEEPS, 1.0, "latency"), (QUIET, 1e-6, "predictions")],
    ids=["errors", "latency", "predictions"],
)
def test_a_bad_model_that_nobody_calls_is_rolled_back_without_a_hand(
    project: Project, url: str, fault: str, strength: float, reason: str
) -> None:
    """No caller has met it: what was asked before is asked again, of both versions."""
    behave(project, fault)
    project.train(strength)
    ran = project.run("deploy", "--local", "--watch", code=4)
    told = project.json("rollout", "status", "--local", code=4)

    assert told["phase"] == "rolled_back"
    assert told["why"].startswith(reason), told
    assert told["percent"] == 20
    assert told["replayed"]["pairs"] >= 1
    assert "was rolled back" in ran.stderr


def test_the_controller_replays_too_and_no_step_is_taken_after_a_bad_shadow(
    project: Project, url: str
) -> None:
    """Nobody watches: the function of the same image asks both versions, and ends it."""
    config = (project.folder / "fnmodel.yaml").read_text()
    (project.folder / "fnmodel.yaml").write_text(f"{config}  shadow: 60\n")
    behave(project, QUIET)
    project.train(1e-5)
    begun = project.json("deploy", "--local")["rollout"]
    deadline = time.monotonic() + 240
    while (told := _status(project))["active"] and time.monotonic() < deadline:
        time.sleep(3)
    records = project.json("history", "--local", "-n", "5")
    shown = project.run("status", "--local").stdout
    (project.folder / "fnmodel.yaml").write_text(config)

    assert (begun["phase"], begun["step"], begun["percent"]) == ("shadow", None, 0.0)
    assert told["phase"] == "rolled_back"
    assert told["why"].startswith("predictions")
    assert told["replayed"]["differing"]
    assert told["replayed"]["invocations"] >= 2 * told["replayed"]["pairs"]
    assert [r["action"] for r in records if r["version"] == told["candidate"]] == ["deploy", "gate"]
    assert f"version {told['candidate']} rolled back: predictions" in shown


def test_a_good_model_that_nobody_calls_reaches_all_the_requests(
    project: Project, url: str
) -> None:
    """Replayed requests stand for those that a step waits for in vain.

    It comes last: what is replayed was captured of the stable version, which it replaces.
    """
    behave(project, QUIET)
    project.train(0.9)
    done = project.json("deploy", "--local", "--watch")

    assert done["rollout"]["phase"] == "completed"
    assert done["rollout"]["replayed"]["pairs"] >= 40


def _status(project: Project) -> Any:
    """Look without driving, whatever it exits with."""
    ran = subprocess.run(
        [project.python, "-m", "fnmodel", "rollout", "status", "--local", "--output", "json"],
        cwd=project.folder, env=project.environment, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(ran.stdout)
