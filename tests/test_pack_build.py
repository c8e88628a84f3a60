"""The build: reproducible, cached by content, and checked against Lambda's rules."""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest
from pack_cases import (
    HERE,
    entry,
    foreign_image,
    host_compiles,
    model_directory,
    program,
    refuse_to_install,
    small_base,
    small_image,
    tar_of,
    tiny_wheels,
)

from fnmodel.errors import LockError, PackError
from fnmodel.model import MODEL, OnnxModel
from fnmodel.pack import base, bytecode
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.dependencies import Lock
from fnmodel.pack.image import Architecture, Layer, empty, oci_architecture, size_by_layer
from fnmodel.pack.layout import Store
from fnmodel.pack.reference import Reference
from fnmodel.pack.rootfs import unpack
from fnmodel.pack.verify import verify

RECIPE = Recipe("churn", HERE, "x86_64")
START = ["-P", "-s", "-S", "-m", "handlers.start"]


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    return model_directory(tmp_path / "model")


def test_two_builds_in_two_places_give_one_digest(model: OnnxModel, tmp_path: Path) -> None:
    """Neither the store's place, nor the model's, nor the time enters the image."""
    images = []
    for name in ("one", "two"):
        folder = tmp_path / name / "model"
        folder.mkdir(parents=True)
        for path in model.folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
            os.utime(folder / path.name, (0, 0))
        store = Store(tmp_path / name / "store")
        images.append(build(OnnxModel.load(folder), RECIPE, store, install=tiny_wheels))

    assert images[0] == images[1]
    assert images[0].digest == images[1].digest


def test_the_config_is_what_the_runtime_needs(model: OnnxModel, tmp_path: Path) -> None:
    """Variables, command, folder, labels, one history entry a layer, and true diff_ids."""
    store = Store(tmp_path / "store")
    image = build(model, RECIPE, store, install=tiny_wheels)
    settings = image.settings
    root = unpack(image, store, tmp_path / "root")

    config = settings["config"]
    assert (settings["os"], settings["architecture"]) == ("linux", "amd64")
    assert config["Cmd"] == ["handlers.model.handler"]
    assert config["Entrypoint"] == ["/usr/bin/python3", *START]
    assert config["WorkingDir"] == "/var/task"
    assert set(config["Env"]) == {
        "PYTHONPATH=/opt/python:/var/task",
        "FNMODEL_MODEL_DIR=/opt/ml/model",
        "FNMODEL_MODEL_NAME=churn",
        f"FNMODEL_MODEL_VERSION={model.digest[7:19]}",
        "ORT_DISABLE_TELEMETRY=1",
        "OPENBLAS_NUM_THREADS=1",
        "PYDANTIC_DISABLE_PLUGINS=__all__",
    }
    assert "User" not in config
    assert image.labels["io.fnmodel.model"] == model.digest
    assert image.labels["com.amazonaws.lambda.feature.snapstart"] == "Allow"
    assert len(settings["history"]) == len(image.layers) == 3
    assert [row.created_by.split(",")[0] for row in size_by_layer(image)] == [
        "fnmodel pack: dependencies",
        "fnmodel pack: code",
        "fnmodel pack: model",
    ]
    assert (root / "opt/ml/model" / MODEL).read_bytes() == (model.folder / MODEL).read_bytes()
    assert (root / "var/task/fnmodel/model.py").is_file()
    assert (root / "var/task/handlers").is_dir()
    assert not (root / "var/task/fnmodel/pack").exists()
    assert not (root / "opt/python/tiny/words.pyi").exists()


def test_bytecode_names_no_path_of_this_machine(model: OnnxModel, tmp_path: Path) -> None:
    """Every module has bytecode that trusts its source and speaks of the image's paths."""
    store = Store(tmp_path / "store")
    root = unpack(build(model, RECIPE, store, install=tiny_wheels), store, tmp_path / "root")
    sources = [p for at in ("opt/python", "var/task") for p in (root / at).rglob("*.py")]
    compiled = [
        p.parent / "__pycache__" / f"{p.stem}.cpython-{HERE.replace('.', '')}.pyc" for p in sources
    ]

    assert sources
    for path in compiled:
        data = path.read_bytes()
        assert data[4:8] == b"\1\0\0\0"  # hash-based, unchecked
        assert str(tmp_path).encode() not in data
    tiny = next(path for path in compiled if "tiny" in str(path))
    assert b"/opt/python/tiny/__init__.py" in tiny.read_bytes()


def test_a_second_build_does_nothing_and_a_new_model_makes_one_layer(
    model: OnnxModel, tmp_path: Path
) -> None:
    """The same inputs touch neither uv nor a blob; another model changes one layer."""
    store = Store(tmp_path / "store")
    first = build(model, RECIPE, store, install=tiny_wheels)
    before = {path: path.stat().st_mtime_ns for path in store.path(first.digest).parent.iterdir()}
    messages: list[str] = []
    again = build(model, RECIPE, store, install=refuse_to_install, progress=messages.append)
    after = {path: path.stat().st_mtime_ns for path in store.path(first.digest).parent.iterdir()}
    other = model_directory(tmp_path / "other", factor=3)
    changed = build(other, RECIPE, store, install=refuse_to_install)

    assert again == first
    assert after == before
    assert all("unchanged" in message for message in messages)
    assert [a == b for a, b in zip(first.layers, changed.layers, strict=True)] == [
        True,
        True,
        False,
    ]


def test_a_lost_blob_is_made_again(model: OnnxModel, tmp_path: Path) -> None:
    """What the store remembers counts only while the blob is there."""
    store = Store(tmp_path / "store")
    first = build(model, RECIPE, store, install=tiny_wheels)
    for layer in first.layers:
        store.path(layer.descriptor.digest).unlink()

    assert build(model, RECIPE, store, install=tiny_wheels) == first
    assert all(store.has(layer.descriptor) for layer in first.layers)


def test_a_model_that_changes_while_it_is_packed_is_refused(
    model: OnnxModel, tmp_path: Path
) -> None:
    """The label would otherwise name another model than the layer holds."""
    store = Store(tmp_path / "store")
    model_directory(model.folder, factor=9)
    with pytest.raises(PackError, match="changed while it was packed"):
        build(model, RECIPE, store, install=tiny_wheels)

    again = OnnxModel.load(model.folder)
    assert (
        build(again, RECIPE, store, install=tiny_wheels).labels["io.fnmodel.model"] == again.digest
    )


def test_a_base_keeps_its_blobs_and_variables_and_its_python_is_started(
    model: OnnxModel, tmp_path: Path
) -> None:
    """Our layers lie above the base's untouched ones; the first Python of its PATH runs ours."""
    other = Store(tmp_path / "base")
    base = small_base(other).configure(
        env={"PATH": "/usr/local/bin:/usr/bin", "OPENBLAS_NUM_THREADS": "4"},
        labels={"vendor": "x"}, entrypoint=["/lambda-entrypoint.sh"], cmd=[], working_dir="/",
    )  # fmt: skip
    other.add_reference("v1", base)
    store = Store(tmp_path / "store")
    recipe = dataclasses.replace(RECIPE, base=f"oci:{tmp_path / 'base'}:v1")
    image = build(model, recipe, store, install=tiny_wheels, choose=host_compiles)

    config = image.settings["config"]
    assert image.layers[0] == base.layers[0]
    assert config["Entrypoint"] == [f"/usr/bin/python{HERE}", *START]
    assert config["Env"][:2] == ["PATH=/usr/local/bin:/usr/bin", "OPENBLAS_NUM_THREADS=1"]
    assert config["Labels"]["vendor"] == "x"
    assert len(image.settings["history"]) == 4
    assert store.has(base.layers[0].descriptor)


def test_a_base_must_be_pinned_and_of_the_same_architecture(
    model: OnnxModel, tmp_path: Path
) -> None:
    """A tag can move, and another architecture cannot run: both say what to write instead."""
    store = Store(tmp_path / "store")
    tagged = dataclasses.replace(RECIPE, base="registry.example/lambda/python:3.13")
    with pytest.raises(PackError, match="not pinned") as caught:
        build(model, tagged, store, install=tiny_wheels)
    assert "@sha256:" in caught.value.hint
    Store(tmp_path / "base").add_reference("v1", small_image(Store(tmp_path / "base")))
    arm = Recipe("churn", HERE, "arm64", f"oci:{tmp_path / 'base'}")
    with pytest.raises(PackError, match="for linux/amd64, and the function for linux/arm64"):
        build(model, arm, store, install=tiny_wheels)
    nothing = dataclasses.replace(RECIPE, base=f"oci:{tmp_path / 'nowhere'}")
    with pytest.raises(PackError, match="not an OCI image layout"):
        build(model, nothing, store, install=tiny_wheels)


def test_a_python_without_lock_or_interpreter_is_an_error_with_a_hint(
    model: OnnxModel, tmp_path: Path
) -> None:
    """A missing lock lists those that exist; a shim that lies is not taken for an interpreter."""
    with pytest.raises(LockError, match=r"no lock for Python 3\.9") as caught:
        build(model, Recipe("churn", "3.9", "x86_64"), Store(tmp_path / "s"), install=tiny_wheels)
    assert "3.13" in caught.value.hint
    shim = tmp_path / "shims" / "python3.99"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 3.98.1 cpython\n")
    shim.chmod(0o755)
    with pytest.raises(PackError, match=r"needs a Python 3\.99") as missing:
        bytecode.find_interpreter("3.99", str(shim.parent))
    assert f"set `image.python` to {HERE}" in missing.value.hint
    shim.write_text("#!/bin/sh\necho 3.99.1 cpython\n")
    assert bytecode.find_interpreter("3.99", f"/nowhere:{shim.parent}") == shim


def test_a_base_with_a_wrong_diff_id_is_refused(model: OnnxModel, tmp_path: Path) -> None:
    """A base's layers are inflated once and compared with what its config says."""
    source = Store(tmp_path / "base")
    image = foreign_image(source, [tar_of((entry("a"), b"1"))])
    wrong = Layer(image.layers[0].descriptor, "sha256:" + "0" * 64, "x")
    source.add_reference("v1", empty("x86_64").append(wrong))
    recipe = dataclasses.replace(RECIPE, base=f"oci:{tmp_path / 'base'}:v1")
    with pytest.raises(PackError, match="damaged"):
        build(model, recipe, Store(tmp_path / "store"), install=tiny_wheels)


@pytest.mark.debian
def test_skopeo_accepts_the_exported_layout(model: OnnxModel, tmp_path: Path) -> None:
    """Another implementation reads our image and copies it without changing its digest."""
    skopeo = program("skopeo")
    store = Store(tmp_path / "store")
    image = build(model, RECIPE, store, install=tiny_wheels)
    folder = store.export(image, tmp_path / "out", "v1")
    said = subprocess.run(
        [skopeo, "inspect", f"oci:{folder}:v1"], capture_output=True, check=True, text=True
    )
    subprocess.run(
        [skopeo, "--insecure-policy", "copy", "-q", f"oci:{folder}:v1", f"oci:{tmp_path}/back:v1"],
        check=True,
    )

    inspected = json.loads(said.stdout)
    assert inspected["Digest"] == image.digest
    assert inspected["Architecture"] == oci_architecture("x86_64")
    assert inspected["Layers"] == [layer.descriptor.digest for layer in image.layers]
    assert Store(tmp_path / "back").load("v1") == image
    assert sorted(p.name for p in folder.iterdir()) == ["blobs", "index.json", "oci-layout"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r.example:5000/team/model", Reference("r.example:5000", "team/model")),
        ("localhost:5000/a/b:v1", Reference("localhost:5000", "a/b", "v1")),
        (
            f"r.example/x@sha256:{'a' * 64}",
            Reference("r.example", "x", None, f"sha256:{'a' * 64}"),
        ),
    ],
)
def test_references_are_read(text: str, expected: Reference) -> None:
    """A host is needed; only this machine is spoken to without TLS."""
    assert Reference.parse(text) == expected
    assert expected.url.startswith("http://" if "localhost" in text else "https://")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "python:3.13",
        "team/model",
        "r.example/UPPER",
        "a b",
        "r.example/x@sha256:12",
        "r.example/x:",
        "evil.example\n/x",
        "https://r.example/x",
    ],
)
def test_bad_references_are_errors_of_ours(text: str) -> None:
    """What is not a reference is named in an error."""
    with pytest.raises(PackError):
        Reference.parse(text)


def test_verify_builds_again_and_names_what_differs(model: OnnxModel, tmp_path: Path) -> None:
    """An equal second build passes; one that depends on the moment is told by its file."""
    store = Store(tmp_path / "store")
    image = build(model, RECIPE, store, install=tiny_wheels)
    verify(image, store, lambda fresh: build(model, RECIPE, fresh, install=tiny_wheels))

    def unsteady(lock: Lock, architecture: Architecture, folder: Path) -> None:
        tiny_wheels(lock, architecture, folder)
        (folder / "tiny/__init__.py").write_text("BUILT = 'now'\n")
        (folder / "tiny/more.py").write_text("")

    with pytest.raises(PackError) as caught:
        verify(image, store, lambda fresh: build(model, RECIPE, fresh, install=unsteady))
    assert "opt/python/tiny/__init__.py differs" in caught.value.message
    assert "only the second has opt/python/tiny/more.py" in caught.value.message
    other = dataclasses.replace(RECIPE, name="other")
    with pytest.raises(PackError, match=r"config\.config\.Labels\.io\.fnmodel\.name"):
        verify(image, store, lambda fresh: build(model, other, fresh, install=tiny_wheels))
    assert not list(store.root.glob(".verify-*"))


def test_a_pull_through_another_store_asks_its_registry_once(tmp_path: Path) -> None:
    """A base that one store has is copied from there, its blobs checked on the way."""
    kept, fresh = Store(tmp_path / "kept"), Store(tmp_path / "fresh")
    image = small_image(kept)
    reference = Reference.parse(f"registry.example/base@{image.digest}")
    key = f"{image.digest.removeprefix('sha256:')}-x86_64"
    kept.remember("bases", key, image.digest)

    assert base.pull_through(kept, base.pull)(reference, "x86_64", fresh) == image
    assert fresh.has(image.layers[0].descriptor)
