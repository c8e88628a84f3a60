"""Rollouts in the embedded cloud, by the command line and under traffic: good and bad models."""

import csv
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
QUIET, FAILS, SLEEPS = "pass", "assert random.random() > 0.4", "time.sleep(0.15)"
CONFIG = """
processing: processing.py
capture: {rate: 1.0}
rollout:
  strategy: steps
  steps: [{percent: 30, bake: 4s}, {percent: 60, bake: 4s}]
  analysis: {minimum_samples: 40, max_latency_ratio: 10, max_prediction_shift: 0.3}
"""


@dataclass
class Traffic:
    """Requests to the endpoint, one after the other, until it is stopped."""

    url: str
    rows: list[dict[str, float]]
    answers: list[tuple[int, str]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask for one row at a time."""
        while not self.stopped.is_set():
            status, version, _ = predict(self.url, {"records": [random.choice(self.rows)]})
            self.answers.append((status, version))
            time.sleep(0.02)


@contextmanager
def traffic(project: Project, url: str) -> Iterator[Traffic]:
    with (project.folder / "rows.csv").open() as file:
        rows = [
            {name: float(value) for name, value in row.items() if name != "target"}
            for row in csv.DictReader(file)
        ]
    made = Traffic(url, rows)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        made.stopped.set()
        thread.join()


def behave(project: Project, fault: str) -> None:
    (project.folder / "processing.py").write_text(PROCESSING.format(fault=fault))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("rollout")
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
    """Deploy the first version, which nobody has to compare with anything."""
    first = project.json("deploy", "--local")
    assert first["rollout"] is None
    return str(first["url"])


def alias(project: Project) -> dict[str, Any]:
    state: dict[str, Any] = project.json("status", "--local")["alias"]
    return state


@pytest.mark.parametrize(
    ("fault", "strength", "reason"),
    [(FAILS, 1.0, "error"), (SLEEPS, 1.0, "latency"), (QUIET, 1e-6, "predictions")],
    ids=["errors", "latency", "predictions"],
)
def test_a_bad_model_is_rolled_back_without_a_hand(
    project: Project, url: str, fault: str, strength: float, reason: str
) -> None:
    """It passes its gate, gets some requests, and loses them; deploy exits 4 and says why."""
    before = alias(project)
    behave(project, fault)
    project.train(strength)
    with traffic(project, url) as requests:
        ran = project.run("deploy", "--local", "--watch", code=4)
    told = project.json("rollout", "status", "--local", code=4)
    again = project.run("deploy", "--local", code=4)

    assert told["phase"] == "rolled_back"
    assert told["why"].startswith(reason), told
    assert "was rolled back" in ran.stderr
    assert "was rolled back" in again.stderr
    assert alias(project) == before
    assert told["candidate"] in {version for _, version in requests.answers}
    # The first step's share at most: it never came farther.
    assert told["percent"] == 30


def test_a_good_model_reaches_all_the_requests(project: Project, url: str) -> None:
    """Step by step, and the command that watches it ends with it."""
    behave(project, QUIET)
    project.train(0.9)
    with traffic(project, url) as requests:
        done = project.json("deploy", "--local", "--watch")
    again = project.json("deploy", "--local")
    moves = [
        (r["action"], r["weights"])
        for r in project.json("history", "--local")[::-1]
        if r["version"] == done["version"] and r["result"] == "done"
    ]

    assert done["rollout"]["phase"] == "completed"
    assert done["traffic"] == {"version": done["version"], "weights": {}}
    assert {status for status, _ in requests.answers} == {200}
    assert moves == [
        ("deploy", {}), ("shift", {done["version"]: 0.3}), ("shift", {done["version"]: 0.6}),
        ("promote", {}),
    ]  # fmt: skip
    assert (again["changed"], again["rollout"]["phase"]) == (False, "completed")


def test_a_killed_command_leaves_it_to_the_controller(project: Project, url: str) -> None:
    """The function of the same image goes on within a minute, and the clock stops after it."""
    behave(project, FAILS)
    project.train(0.8)
    with traffic(project, url):
        begun = project.json("deploy", "--local")
        killed = subprocess.Popen(
            [sys.executable, "-m", "fnmodel", "rollout", "status", "--local", "--watch"],
            cwd=project.folder, env=project.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        killed.kill()
        killed.wait()
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            if not _status(project)["active"]:
                break
            time.sleep(3)
    [last] = [
        r
        for r in project.json("history", "--local", "-n", "3")
        if (r["action"], r["result"]) == ("rollback", "done")
    ]

    assert begun["rollout"]["phase"] == "baking"
    assert _status(project)["phase"] == "rolled_back"
    assert last["who"].startswith("the controller")
    assert alias(project)["weights"] == {}


def _status(project: Project) -> dict[str, Any]:
    """Look without driving."""
    import json

    ran = subprocess.run(
        [sys.executable, "-m", "fnmodel", "rollout", "status", "--local", "--output", "json"],
        cwd=project.folder, env=project.environment, capture_output=True, text=True,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(ran.stdout)
    return said
