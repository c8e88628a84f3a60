"""Manners of the command line: where words go, how it fails, what it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fnmodel import errors
from fnmodel.__main__ import run
from fnmodel.errors import FnmodelError, by_code
from fnmodel.local.differences import DIFFERENCES

COMMANDS = [
    "init", "slim", "lock", "pack", "inspect", "keygen", "plan", "apply", "deploy", "invoke",
    "shift", "promote", "rollback", "abort", "status", "history", "logs", "doctor", "explain",
    "prune", "destroy", "keys add", "keys list", "keys revoke", "batch run", "batch status",
    "local start", "local stop", "local status", "watch report", "watch labels", "watch status",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` says what the command does and shows it used."""
    assert run([*command.split(), "--help"]) == 0
    assert f"Example: fnmodel {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "logs"])
def test_every_command_that_prints_data_prints_json(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--output json` is everywhere."""
    run([*command.split(), "--help"])
    assert "--output" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["deploy"], 2, ["there is no fnmodel.yaml", "fnmodel init", "FNM-U001"]),
        (["deploy", "--project", "nowhere"], 2, ["there is no fnmodel.yaml"]),
        (["init", "missing.joblib"], 2, ["there is no model missing.joblib"]),
        (["explain", "FNM-Z999"], 2, ["there is no code", "FNM-S004"]),
        (["deplyo"], 2, ["Did you mean"]),
        (["shift", "much"], 2, ["weight", "valid number"]),
    ],
)
def test_a_mistake_is_said_with_a_way_out(
    command: list[str], code: int, words: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Errors go to stderr with a hint and a code; stdout stays empty; there is no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FNMODEL_HOME", str(tmp_path / "home"))

    assert run(command) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert [word for word in words if word not in said.err] == []


def test_a_broken_project_file_lists_its_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All problems with lines, and exit code 2."""
    (tmp_path / "fnmodel.yaml").write_text("name: churn\nmodle: x\n")

    assert run(["plan", "--project", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "2 problems" in said
    assert "did you mean 'model'" in said


@pytest.mark.parametrize("kind", by_code().values(), ids=lambda kind: kind.__name__)
def test_every_error_can_be_explained(
    kind: type[FnmodelError], capsys: pytest.CaptureFixture[str]
) -> None:
    """`explain` knows each class by its code."""
    assert run(["explain", kind.code, "--output", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["code"] == kind.code
    assert said["text"]


def test_the_error_tree_is_drawn_whole() -> None:
    """The docstring of fnmodel.errors shows every class with its exit code and code."""
    drawn = (errors.__doc__ or "").splitlines()
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    tree = [kind for kind in kinds if issubclass(kind, FnmodelError) and kind is not FnmodelError]

    assert len(by_code()) == len(tree), "two classes share a code"
    for kind in tree:
        line = next(line for line in drawn if f" {kind.__name__} " in line)
        assert kind.code in line
        assert str(kind.exit_code) in line.split()


def test_doctor_tells_each_check_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fails or limits comes with what to do."""
    monkeypatch.setenv("FNMODEL_HOME", str(tmp_path))

    assert run(["doctor", "--output", "json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {"Python", "uv", "disk", "embedded cloud"} <= {f["check"] for f in findings}
    assert [f for f in findings if f["state"] == "FAIL" and not f["remedy"]] == []


def test_doctor_lists_where_the_embedded_cloud_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each known difference is there once, with what is so in AWS, for people and for programs."""
    monkeypatch.setenv("FNMODEL_HOME", str(tmp_path))

    assert run(["doctor", "--output", "json"]) == 0
    told = [f for f in json.loads(capsys.readouterr().out) if f["check"].startswith("local ≠ AWS")]
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out

    assert [(f["found"], f["remedy"]) for f in told] == [
        (one.here, f"in AWS: {one.aws}") for one in DIFFERENCES
    ]
    assert all(one.topic in shown for one in DIFFERENCES)


def test_a_reader_that_went_away_is_no_error(tmp_path: Path) -> None:
    """`fnmodel … | head` ends without a traceback."""
    ran = subprocess.run(
        f"{sys.executable} -m fnmodel explain FNM-S004 | true",
        shell=True, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in ran.stderr
