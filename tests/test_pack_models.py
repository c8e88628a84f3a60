"""Several models in one image: a folder and a layer each, and a config that names them."""

import json
from pathlib import Path

import pytest
from pack_cases import HERE, model_directory, refuse_to_install, tiny_wheels

from fnmodel.errors import ImageLimitError
from fnmodel.model import MODEL, OnnxModel
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.image import Image, size_by_layer
from fnmodel.pack.layout import Store
from fnmodel.pack.memory import needed, require
from fnmodel.pack.models import digests
from fnmodel.pack.rootfs import unpack
from fnmodel.pack.sbom import sbom
from fnmodel.pack.verify import verify
from fnmodel.serve.models import folders

RECIPE = Recipe("shop", HERE, "x86_64")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def models(tmp_path: Path) -> dict[str, OnnxModel]:
    return {
        "second": model_directory(tmp_path / "one"),
        "first_one": model_directory(tmp_path / "two", factor=3),
    }


def env(image: Image) -> dict[str, str]:
    return dict(item.split("=", 1) for item in image.settings["config"]["Env"])


def test_each_model_has_a_folder_and_a_layer(
    models: dict[str, OnnxModel], store: Store, tmp_path: Path
) -> None:
    """The variables lead the endpoint to each, in the order of fnmodel.yaml."""
    image = build(models, RECIPE, store, install=tiny_wheels)
    root = unpack(image, store, tmp_path / "root")

    found = folders(env(image))
    assert {name: str(at) for name, at in found.items()} == {
        "second": "/opt/ml/models/second", "first_one": "/opt/ml/models/first_one"
    }  # fmt: skip
    assert list(found) == ["second", "first_one"]
    for name, at in found.items():
        packed = root / at.relative_to("/") / MODEL
        assert packed.read_bytes() == (models[name].folder / MODEL).read_bytes()
    assert [row.created_by for row in size_by_layer(image)][-2:] == [
        "fnmodel pack: model second", "fnmodel pack: model first_one"
    ]  # fmt: skip
    assert not (root / "opt/ml/model").exists()


def test_a_retrained_model_is_the_only_new_layer(
    models: dict[str, OnnxModel], store: Store, tmp_path: Path
) -> None:
    """What is pushed again is one model and the config; the version that callers see changes."""
    first = build(models, RECIPE, store, install=tiny_wheels)
    trained = {**models, "second": model_directory(tmp_path / "new", factor=7)}
    changed = build(trained, RECIPE, store, install=refuse_to_install)
    again = build(models, RECIPE, store, install=refuse_to_install)

    assert again == first
    same = [a == b for a, b in zip(first.layers, changed.layers, strict=True)]
    assert same == [True, True, False, True]
    assert env(first)["FNMODEL_MODEL_VERSION"] != env(changed)["FNMODEL_MODEL_VERSION"]


def test_the_same_models_give_one_digest(models: dict[str, OnnxModel], store: Store) -> None:
    """A second build from nothing is the same image; another order of names is another image."""
    image = build(models, RECIPE, store, install=tiny_wheels)
    verify(image, store, lambda fresh: build(models, RECIPE, fresh, install=tiny_wheels))
    turned = dict(reversed(models.items()))

    assert build(turned, RECIPE, store, install=refuse_to_install).digest != image.digest


def test_labels_and_bill_of_materials_name_all(models: dict[str, OnnxModel], store: Store) -> None:
    """`inspect` and the bill say which models are in an image, each by its digest."""
    image = build(models, RECIPE, store, install=tiny_wheels)
    wanted = {name: model.digest for name, model in models.items()}
    bill = json.loads(store.read(sbom(image, store)))
    found = {
        item["name"]: item["version"]
        for item in bill["components"]
        if item["type"] == "machine-learning-model"
    }

    assert digests(image.labels) == wanted == found
    refs = [item["bom-ref"] for item in bill["components"]]
    assert len(refs) == len(set(refs))


def test_one_model_lies_where_it_lay(models: dict[str, OnnxModel], store: Store) -> None:
    """An image of one model has no trace of names; a name in `models:` is the other form."""
    one = build(models["second"], RECIPE, store, install=tiny_wheels)
    named = build({"second": models["second"]}, RECIPE, store, install=refuse_to_install)

    assert "FNMODEL_MODELS" not in env(one)
    assert folders(env(one)) == {"shop": Path("/opt/ml/model")}
    assert digests(one.labels) == {"shop": models["second"].digest}
    assert folders(env(named)) == {"second": Path("/opt/ml/models/second")}


@pytest.mark.parametrize("labels", [{}, {"io.fnmodel.models": "[]"}, {"io.fnmodel.models": "{"}])
def test_labels_of_others_name_no_model(labels: dict[str, str]) -> None:
    """An image that fnmodel did not make can be looked at."""
    assert digests(labels) == {}


def test_models_that_memory_does_not_hold_are_refused(models: dict[str, OnnxModel]) -> None:
    """The message has all sizes, and the hint the least that would do."""
    least = needed(models)
    require(models, least)
    with pytest.raises(
        ImageLimitError, match=rf"{least - 1} MB.*at least {least} MB.*second"
    ) as no:
        require(models, least - 1)

    assert f"`function.memory` to {least}" in no.value.hint
