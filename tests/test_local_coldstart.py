"""The account of a cold start: real processes over a small unpacked image."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pack_cases import HERE

from fnmodel.cli import coldstart as command
from fnmodel.errors import LocalError, UsageError
from fnmodel.local.coldstart import ColdStart, explain
from fnmodel.local.launch import RootFs

HANDLER = """
import json, time
import slow.part
time.sleep(0.2)  # stands for the model
open(__file__.replace("app.py", "weights.bin"), "rb").read()

def handler(event, context):
    time.sleep(0.05)
    if event.get("fail"):
        raise ValueError("no answer to this")
    return {"event": event}
"""


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> RootFs:
    """Make an unpacked image with the runtime client, a handler, and a slow package."""
    root = tmp_path_factory.mktemp("image")
    for name in ("opt/python/slow", "var/task"):
        (root / name).mkdir(parents=True)
    for name in ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (root / "opt/python" / source.name).symlink_to(source)
    (root / "opt/python/slow/__init__.py").write_text("")
    (root / "opt/python/slow/part.py").write_text("import time; time.sleep(0.1)")
    (root / "var/task/app.py").write_text(HANDLER)
    (root / "var/task/weights.bin").write_bytes(bytes(5000))
    return RootFs(
        root=root,
        env={"PYTHONPATH": "/opt/python:/var/task"},
        entrypoint=("/usr/bin/python3", "-P", "-s", "-S", "-m", "awslambdaric"),
        cmd=("app.handler",),
        working_dir="/var/task",
        python=HERE,
    )


@pytest.fixture(scope="module")
def found(rootfs: RootFs) -> ColdStart:
    return explain(rootfs, b'{"a": 1}', runs=2)


def test_the_steps_are_the_whole_start(found: ColdStart) -> None:
    """Imports, model and first answer each have the time that they took."""
    assert list(found.steps) == ["interpreter", "entry point", "runtime client", "imports", "model"]
    assert sum(found.steps.values()) == pytest.approx(found.timed_init)
    assert found.steps["imports"] >= 100
    assert found.steps["model"] >= 100  # it sleeps 200; the interpreter's time is another run's
    assert found.init >= 300
    assert 50 <= found.first < 1000
    assert found.runs == 2


def test_imports_have_their_own_time_and_that_of_what_they_import(found: ColdStart) -> None:
    """Each is there once, with its depth, and came before the first event."""
    (package,) = [row for row in found.imports if row.name == "slow.part"]
    client = next(row for row in found.imports if row.name == "awslambdaric.bootstrap")

    assert 100 <= package.own < 1000
    assert package.init
    assert client.whole > client.own
    assert client.depth == 0


def test_files_are_counted_by_package(found: ColdStart) -> None:
    """What Python opens, by its path in the image, with its size."""
    groups = {group.name: group for group in found.groups}

    assert found.files["var/task/weights.bin"] == 5000
    assert found.files["opt/python/slow/part.py"] == len("import time; time.sleep(0.1)")
    assert not any("opened.py" in path or path.endswith("notes") for path in found.files)
    assert groups["slow"].files == groups["slow"].modules == 2
    assert groups["slow"].own >= 100
    assert groups["standard library"].modules > 20


def test_a_start_that_fails_is_told_with_its_own_words(rootfs: RootFs, tmp_path: Path) -> None:
    """An import that fails, and a request that does, end in an error with what was said."""
    with pytest.raises(LocalError, match="no answer to this"):
        explain(rootfs, b'{"fail": true}', runs=1)
    broken = RootFs(**{**vars(rootfs), "cmd": ("absent.handler",)})
    with pytest.raises(LocalError, match="No module named 'absent'"):
        explain(broken, b"{}", runs=1)


def test_what_a_person_and_a_program_read(found: ColdStart) -> None:
    """The table names steps, packages and imports; JSON has every import and file."""
    text, data = command.to_text(found), command.to_json(found)

    for word in ("until it asks for an event", "runtime client", "slow.part", "standard library"):
        assert word in text
    assert data["init_ms"] == round(found.init, 2)
    assert len(data["imports"]) == len(found.imports)
    assert data["files"]["var/task/weights.bin"] == 5000
    assert {"name", "modules", "ms", "files", "bytes"} == set(data["packages"][0])


def test_an_image_for_another_processor_is_refused_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It cannot be started here, whatever is installed."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    work: Any = SimpleNamespace(recipe=SimpleNamespace(architecture="arm64"))
    nothing: Any = None
    with pytest.raises(UsageError, match="for arm64, and this machine is riscv64") as caught:
        command.measured(work, "churn", nothing, nothing)

    assert "--local" in caught.value.hint
