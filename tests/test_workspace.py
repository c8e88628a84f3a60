"""What a project in a stage comes to: above all, which image the embedded cloud runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from fnmodel import bubblewrap
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import UsageError
from fnmodel.interpreter import RUNNING
from fnmodel.pack.build import Recipe
from fnmodel.pack.image import host_architecture
from fnmodel.provision.stack import Stack

HERE = host_architecture()
OTHER = "x86_64" if HERE == "arm64" else "arm64"
BASE = "registry.example/python@sha256:" + "0" * 64


def recipe(folder: Path, image: str, sandbox: str = "auto", stage: str = "local") -> Recipe:
    """Return the recipe of a stage of a project with these settings."""
    (folder / "model.joblib").touch()
    (folder / "fnmodel.yaml").write_text(
        f"name: churn\nmodel: model.joblib\nimage: {{{image}}}\n"
        f"stages: {{local: {{cloud: local, sandbox: {sandbox}}}}}\n"
    )
    return Workspace(folder, stage=stage).recipe


def test_without_a_base_the_embedded_cloud_runs_this_machines_python(tmp_path: Path) -> None:
    """Whatever the project's processor and Python are: the image has to run here."""
    made = recipe(tmp_path, f'architecture: {OTHER}, python: "{RUNNING}"')

    assert (made.base, made.architecture, made.python) == (None, HERE, RUNNING)


@pytest.mark.skipif(not bubblewrap.works(), reason="bubblewrap does not work here")
def test_with_a_base_the_embedded_cloud_runs_the_image_that_aws_gets(tmp_path: Path) -> None:
    """The recipe is the same in both clouds, so the digest is too."""
    image = f'architecture: {HERE}, python: "3.14", base: "{BASE}"'
    here, there = recipe(tmp_path, image), recipe(tmp_path, image, stage="dev")

    assert here == there
    assert (here.base, here.python) == (BASE, "3.14")
    assert recipe(tmp_path, image, "process").base is None
    assert recipe(tmp_path, image, "bubblewrap") == there


def test_a_sandbox_that_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    """`auto` takes what works; who asks for bubblewrap by name is told why not."""
    with pytest.raises(UsageError, match=r"`image\.base` is not set"):
        recipe(tmp_path, f"architecture: {HERE}", "bubblewrap")
    other = f'architecture: {OTHER}, base: "{BASE}"'
    assert recipe(tmp_path, other).architecture == HERE
    with pytest.raises(UsageError, match=f"the image is for {OTHER}") as caught:
        recipe(tmp_path, other, "bubblewrap")
    assert "sandbox: process" in caught.value.hint


def test_what_rests_on_a_stack_is_made_anew_when_the_stack_has_changed(tmp_path: Path) -> None:
    """A deploy that adds copies of the ledger, or a clock, uses them at once."""
    (tmp_path / "model.joblib").touch()
    (tmp_path / "fnmodel.yaml").write_text("name: churn\nmodel: model.joblib\n")
    work = Workspace(tmp_path, stage="dev", region="us-east-1")
    before = Stack("s", "id", "UPDATE_COMPLETE", "", {"LedgerTable": "one", "Bucket": "b"}, {}, {})
    work.stack = before
    assert work.copies is None
    first = work.ledger

    work.stack = replace(before, outputs={**before.outputs, "AuditBucket": "kept"})

    assert work.copies is not None
    assert work.ledger is not first
