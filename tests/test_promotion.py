"""What may be promoted where, the models out of an image, and what counts as a difference."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serve_cases import model_folder

from fnmodel.cli import recipe
from fnmodel.cli.promotion import unfit
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import ImageLimitError, PackError
from fnmodel.model import MODEL, OnnxModel
from fnmodel.pack import compression, layer, memory
from fnmodel.pack.image import Image, empty
from fnmodel.pack.layout import Store
from fnmodel.pack.models import MODEL_DIRECTORY, Packed, model_layers, unpack
from fnmodel.provision.parity import (
    Compared,
    declared_function,
    differences,
    live_function,
    stack_facts,
)

BASE = "registry.example/python@sha256:" + "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def model() -> OnnxModel:
    return OnnxModel.load(model_folder("mixed"))


def packed(
    store: Store, models: OnnxModel | Mapping[str, OnnxModel], *beneath: str, name: str = "churn"
) -> Image:
    """Return an image of layers with these histories, below those of the models."""
    made = Packed.of(models, name)
    image = empty("x86_64")
    for words in beneath:
        files: dict[str, layer.Content] = {f"{words.replace(' ', '-')}.txt": words.encode()}
        image = image.append(layer.write(store, files, words, compression.deflated))
    for one in made.layers(store, lambda _: None):
        image = image.append(one)
    labels = {"io.fnmodel.name": name, **made.labels()}
    return image.configure(env={}, labels=labels, entrypoint=(), cmd=(), working_dir="/")


def test_the_models_of_an_image_are_those_that_were_packed(
    store: Store, model: OnnxModel, tmp_path: Path
) -> None:
    """One or several: the same digests, out of the image's own layers, the first one first."""
    one = unpack(packed(store, model), store, tmp_path / "one")
    several = unpack(packed(store, {"b": model, "a": model}), store, tmp_path / "several")

    assert {name: found.digest for name, found in one.items()} == {"churn": model.digest}
    assert list(several) == ["b", "a"]
    assert {found.digest for found in several.values()} == {model.digest}
    assert one["churn"].probe() == model.probe()


def test_an_image_that_holds_another_model_than_it_names_is_refused(
    store: Store, model: OnnxModel, tmp_path: Path
) -> None:
    """Whoever changed a layer and not the label, or has no model at all."""
    image = packed(store, model)
    files: dict[str, layer.Content] = {
        f"{MODEL_DIRECTORY}/{file}": model.folder / file for file in model.files
    }
    files[f"{MODEL_DIRECTORY}/signature.json"] = (
        model.folder / "signature.json"
    ).read_bytes() + b" "
    other = layer.write(store, files, "fnmodel pack: model", compression.stored)

    with pytest.raises(PackError, match="has another model churn"):
        unpack(image.append(other), store, tmp_path / "one")
    with pytest.raises(PackError, match="names no model"):
        unpack(empty("x86_64"), store, tmp_path / "two")
    assert len(model_layers(image)) == 1


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    """Return a stage in AWS that asks for traces, and for a layer of batch."""
    (tmp_path / "model.joblib").touch()
    (tmp_path / "fnmodel.yaml").write_text(
        f'name: churn\nmodel: model.joblib\nimage: {{base: "{BASE}"}}\n'
        "batch: [{name: nightly, input: in/, output: out/, format: parquet}]\n"
        "stages:\n  production:\n    function:\n      tracing: otlp\n"
        "      otel: {OTEL_EXPORTER_OTLP_ENDPOINT: 'https://x.example'}\n"
    )
    return Workspace(tmp_path, stage="production")


def test_a_stage_that_asks_for_what_is_not_in_the_image_is_told_so(
    work: Workspace, store: Store, model: OnnxModel
) -> None:
    """Every lack at once; an image that has all of it is fit."""
    needed = sorted({name for job in work.project.batch for name in job.layers})
    fit = packed(
        store, model, "a base", "fnmodel pack: what sends traces",
        *(f"fnmodel pack: {name}" for name in needed),
    )  # fmt: skip

    assert needed
    assert list(unfit(work, fit)) == []
    found = "; ".join(unfit(work, packed(store, {"fraud": model}, "fnmodel pack: code")))
    assert "made for the embedded cloud" in found
    assert "it serves churn, and the image holds fraud" in found
    assert "no layer for tracing" in found
    assert all(f"no layer for {name}" in found for name in needed)


def test_a_model_that_batch_opens_again_needs_the_memory_of_a_deploy(
    tmp_path: Path, model: OnnxModel
) -> None:
    """A promotion is held to what `deploy` of the same stage is held to."""
    (tmp_path / "model.joblib").touch()
    (tmp_path / "fnmodel.yaml").write_text(
        "name: churn\nmodel: model.joblib\nfunction: {memory: 4096}\n"
        "batch: [{name: nightly, input: in/, output: out/}]\nstages: {production: {}}\n"
    )
    (tmp_path / "large").mkdir()
    for name in model.files:
        (tmp_path / "large" / name).touch()
    with (tmp_path / "large" / MODEL).open("wb") as file:
        file.truncate(2500 << 20)  # takes no room on the disk
    large = replace(model, folder=tmp_path / "large")

    memory.require({"churn": large}, 4096)
    with pytest.raises(ImageLimitError, match="at least"):
        recipe.require_memory(Workspace(tmp_path, stage="production"), {"churn": large})


def template(**variables: Any) -> dict[str, Any]:
    """Return the smallest template of which there are facts."""
    return {
        "Parameters": {"Memory": {}, "Stage": {}, "Capture": {}, "ControllerImageUri": {}},
        "Resources": {"Function": {"Properties": {"Environment": {"Variables": variables}}}},
    }


def compared(memory: str, asked: str, variables: Mapping[str, str], stage: str) -> Compared:
    """Return a stage that has `memory`, where the project asks for another perhaps."""
    body = template(
        BUCKET={"Ref": "Bucket"}, STAGE={"Ref": "Stage"}, POLICY={"Ref": "Capture"}, PLAIN="x"
    )
    standing = {
        "Memory": memory, "Stage": stage, "Capture": "{}",
        "ControllerImageUri": f"{stage}.example/churn@sha256:{'0' * 64}",
    }  # fmt: skip
    wanted = {**standing, "Memory": asked}
    configuration = {
        "MemorySize": int(memory),
        "Timeout": 60,
        "Environment": {"Variables": {"BUCKET": f"b-{stage}", "STAGE": stage, **variables}},
    }
    return Compared(
        {**stack_facts(body, standing), **live_function(configuration, body)},
        {**stack_facts(body, wanted), **declared_function(body, wanted)},
    )


SAME = {"POLICY": "{}", "PLAIN": "x"}


def test_what_is_a_stages_own_is_no_difference() -> None:
    """Its name, its bucket: two stages that are the same have none."""
    one, two = (compared("512", "512", SAME, stage) for stage in ("staging", "production"))

    assert differences(one, two) == ()


def test_a_difference_is_on_purpose_if_the_project_says_exactly_so() -> None:
    """A value that neither stage was given by the project is unexpected, as is a missing one."""
    staging = compared("512", "512", SAME, "staging")
    asked = differences(staging, compared("2048", "2048", SAME, "production"))
    by_hand = differences(staging, compared("1024", "2048", SAME, "production"))
    edited = differences(
        staging, compared("512", "512", {"POLICY": "{}", "HAND": "1"}, "production")
    )

    assert [(d.where, d.on_purpose) for d in asked] == [
        ("function.memory", True), ("parameters.Memory", True),
    ]  # fmt: skip
    assert [(d.where, d.on_purpose) for d in by_hand] == [
        ("function.memory", False), ("parameters.Memory", False),
    ]  # fmt: skip
    assert [(d.where, d.one, d.two, d.on_purpose) for d in edited] == [
        ("function.environment.HAND", None, "1", False),
        ("function.environment.PLAIN", "x", None, False),
    ]


def test_secrets_are_compared_and_never_shown() -> None:
    """A variable that may hold one is told by its hash."""
    one, two = (
        compared("512", "512", {**SAME, "FNMODEL_CAPTURE_KEY": word}, "staging")
        for word in ("first-secret", "second-secret")
    )

    [found] = differences(one, two)

    assert found.where == "function.environment.FNMODEL_CAPTURE_KEY"
    assert found.one != found.two
    assert "secret" not in f"{found.one}{found.two}"
