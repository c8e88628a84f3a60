"""The wheel alone is the whole product: it deploys from a folder far from any checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import uv
from cloud_cases import Project, predict, request_of

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    command = [uv.find_uv_bin(), "build", "--wheel", "--no-build-isolation", "--out-dir"]
    subprocess.run(
        [*command, str(folder), "--python", sys.executable, str(ROOT)],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_ships_and_nothing_else(wheel: Path) -> None:
    """Handlers, layers and template are inside; tests, samples and caches are not."""
    names = zipfile.ZipFile(wheel).namelist()

    assert "fnmodel/_shipped/template.yaml" in names
    assert "fnmodel/_shipped/handlers/model.py" in names
    assert "fnmodel/_shipped/layers/runtime/py3.13.txt" in names
    assert "fnmodel/py.typed" in names
    assert [n for n in names if not n.startswith(("fnmodel/", "fnmodel-"))] == []
    assert [n for n in names if "__pycache__" in n or n.endswith(".pyc")] == []


def test_a_wheel_alone_deploys(wheel: Path, tmp_path: Path) -> None:
    """Installed into an empty environment elsewhere, `fnmodel` finds its files and deploys."""
    venv = tmp_path / "venv"
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin/python"
    for arguments in (
        ["--require-hashes", "-r", str(ROOT / "requirements/demo.txt")],
        ["--no-deps", str(wheel)],
    ):
        subprocess.run(
            [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", str(python), *arguments],
            check=True, env=environment,
        )  # fmt: skip
    project = Project(tmp_path / "project", tmp_path / "home", python=str(python))
    project.folder.mkdir()
    project.train(1.0)
    try:
        project.run("init", "model.joblib", "--sample", "rows.csv", "--target", "target")
        said = project.json("deploy", "--local")
        status, version, _ = predict(said["url"], request_of(project))
        where = subprocess.run(
            [python, "-c", "from fnmodel.shipped import shipped; print(shipped('layers'))"],
            cwd=tmp_path, capture_output=True, text=True, check=True, env=environment,
        ).stdout  # fmt: skip
    finally:
        project.run("local", "stop")

    assert (status, version) == (200, "1")
    assert where.strip() == str(next(venv.glob("lib/*/site-packages/fnmodel/_shipped/layers")))
