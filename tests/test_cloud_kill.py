"""A deploy that is killed at any moment is finished by the same command."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cloud_cases import Project, predict, request_of

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(900)]

KILLS = 6


def test_a_killed_deploy_converges(tmp_path: Path) -> None:
    """After kill -9 at random moments of two deploys, each ends as if it had never been killed."""
    project = Project(tmp_path / "project", tmp_path / "home")
    project.folder.mkdir()
    project.train(1.0)
    project.run("init", "model.joblib", "--sample", "rows.csv", "--target", "target")
    chance = random.Random(7)
    try:
        for round_, expected in enumerate(("1", "2")):
            project.train(1.0 / (round_ + 1))
            for _ in range(KILLS // 2):
                kill_after(project, chance.uniform(0.5, 9.0))
            said = project.json("deploy", "--local")

            assert said["version"] == expected
            assert predict(said["url"], request_of(project))[:2] == (200, "1")
        versions = project.json("status", "--local")["versions"]
        history = project.json("history", "--local")
        again = project.json("deploy", "--local")
    finally:
        project.run("local", "stop")

    assert [version["version"] for version in versions] == ["2", "1"]
    assert again["changed"] is False
    done = [(r["action"], r["version"]) for r in history if r["result"] in {"done", "passed"}]
    assert done == [("deploy", "2"), ("gate", "2"), ("deploy", "1"), ("gate", "1")]


def kill_after(project: Project, seconds: float) -> None:
    """Start a deploy and kill it with SIGKILL, unless it ends before."""
    with subprocess.Popen(
        [sys.executable, "-m", "fnmodel", "deploy", "--local"],
        cwd=project.folder, env=project.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as deploy:  # fmt: skip
        try:
            deploy.wait(seconds)
        except subprocess.TimeoutExpired:
            deploy.send_signal(signal.SIGKILL)
    time.sleep(0.1)


def test_ctrl_c_ends_a_deploy_cleanly(tmp_path: Path) -> None:
    """An interrupt exits 130 with a word and no traceback, and leaves no process behind."""
    # A shell that runs this in the background has it ignored, which children would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    project = Project(tmp_path / "project", tmp_path / "home")
    project.folder.mkdir()
    project.train(1.0)
    (project.folder / "fnmodel.yaml").write_text(
        "name: wine\nmodel: model.joblib\nsample: rows.csv\ntarget: target\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "fnmodel", "deploy", "--local"],
        cwd=project.folder, env=project.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as deploy:  # fmt: skip
        time.sleep(2.5)  # the model is being converted in a child
        deploy.send_signal(signal.SIGINT)
        out, err = deploy.communicate(timeout=20)
    running = subprocess.run(
        ["ps", "-eo", "pgid,sid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert deploy.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "FNM-X130" in err
    assert [line for line in running if str(tmp_path) in line] == []


def test_two_starts_make_one_cloud(tmp_path: Path) -> None:
    """Started twice at once, the embedded cloud of a home runs once."""
    project = Project(tmp_path, tmp_path / "home")
    command = [sys.executable, "-m", "fnmodel", "local", "start", "--output", "json"]
    starts = [
        subprocess.Popen(
            command, env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]  # fmt: skip
    said = {start.communicate(timeout=60)[0] for start in starts}
    project.run("local", "stop")

    assert len(said) == 1
    assert project.json("local", "status")["running"] is False
