"""`keygen` and `inspect` as a user meets them: images on disk and in a registry, keys in files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pack_cases import small_image

from fnmodel.__main__ import run
from fnmodel.cli import trust
from fnmodel.config import SigningConfig, find, load
from fnmodel.errors import SigningError
from fnmodel.pack import sbom, signature
from fnmodel.pack.image import Image
from fnmodel.pack.keys import PrivateKey
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
from fnmodel.testing import InMemoryRegistry

NAME = "fnmodel/churn"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FNMODEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in (trust.KEY, "FNMODEL_SIGNING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "elsewhere")


def image_in(store: Store) -> Image:
    """Return an image of one wheel, with labels and an entry point."""
    wheel = b"Name: one\nVersion: 1.0\nLicense: MIT\n"
    image = small_image(store, {"opt/python/one-1.0.dist-info/METADATA": wheel}).configure(
        env={}, entrypoint=["/bin/python"], cmd=["handler"], working_dir="/",
        labels={"io.fnmodel.python": "3.13", "io.fnmodel.model": f"sha256:{'a' * 64}"},
    )  # fmt: skip
    store.save(image)
    return image


def said(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> Any:
    """Run a command with JSON output and return what it printed."""
    assert run([*command, "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_layout_on_disk_is_inspected(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """What `pack --to` wrote: layers, labels, entry point, and a bill made from the layers."""
    image = image_in(store)
    store.export(image, Path("layout"), "v1")
    found = said(capsys, "inspect", "oci:layout:v1", "--sbom", "bill.json")
    table = run(["inspect", "oci:layout"]), capsys.readouterr().out

    assert (found["digest"], found["python"], found["architecture"]) == (
        image.digest, "3.13", "amd64",
    )  # fmt: skip
    assert found["entrypoint"] == ["/bin/python", "handler"]
    assert [one["digest"] for one in found["layers"]] == [image.layers[0].descriptor.digest]
    assert found["signature"]["state"] == "none"
    assert found["sbom"]["components"] == {"machine-learning-model": 1, "pypi": 1}
    assert found["sbom"]["licenses"] == {"MIT": 1, "not stated": 1}
    assert json.loads(Path("bill.json").read_text())["specVersion"] == "1.6"
    assert table[0] == 0
    assert image.digest in table[1]
    assert not any(Path("layout").glob("notes*"))


def test_an_image_in_a_registry_is_inspected_without_its_layers(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Manifest, config, bill and signature are enough; the verdict follows the keys."""
    image = image_in(store)
    run(["keygen", "ours"])
    run(["keygen", "theirs"])
    capsys.readouterr()
    with InMemoryRegistry() as fake:
        registry = Registry(fake.url)
        registry.push(image, store, NAME, "v1")
        at = f"{fake.host}/{NAME}"
        unsigned = said(capsys, "inspect", f"{at}:v1")
        bill = sbom.sbom(image, store)
        sbom.push(image, bill, registry, NAME, store)
        key = PrivateKey.load(Path("ours.key"))
        signature.sign(image.descriptor, at, key, registry, NAME, store, sbom=bill.digest)
        fake.requests.clear()
        verified = said(capsys, "inspect", f"{at}@{image.digest}", "--key", "ours.pub")
        requests = list(fake.requests)
        unchecked = said(capsys, "inspect", f"{at}:v1")
        wrong = said(capsys, "inspect", f"{at}:v1", "--key", "theirs.pub", code=4)
        registry.close()

    assert (unsigned["signature"]["state"], unsigned["sbom"]) == ("none", None)
    assert (verified["signature"]["state"], verified["signature"]["key"]) == (
        "verified", "ours.pub",
    )  # fmt: skip
    assert verified["sbom"]["digest"] == bill.digest
    assert verified["sbom"]["signed"]
    assert unchecked["signature"]["state"] == "unchecked"
    assert not unchecked["sbom"]["signed"]
    assert wrong["signature"]["state"] == "wrong"
    assert not any(image.layers[0].descriptor.digest in each for each in requests)
    assert not any(each.startswith(("PUT", "POST")) for each in requests)


def test_a_bill_is_made_from_the_layers_where_none_lies_beside(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked for a file, `inspect` fetches the layers of an image that has no bill."""
    image = image_in(store)
    with InMemoryRegistry() as fake:
        registry = Registry(fake.url)
        registry.push(image, store, NAME)
        found = said(capsys, "inspect", f"{fake.host}/{NAME}@{image.digest}", "--sbom", "bill.json")
        registry.close()

    assert found["sbom"]["components"]["pypi"] == 1
    assert Path("bill.json").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("churn-3.13", ["no image named 'churn-3.13'", "fnmodel pack"]),
        ("oci:nowhere", ["is not an OCI image layout"]),
        ("127.0.0.1:1/x/y", ["names a repository", ":TAG"]),
        ("docker.example/UPPER:1", ["is not an image reference"]),
        (f"sha256:{'0' * 64}", ["holds no image"]),
    ],
)
def test_an_image_that_is_not_there_is_told(
    name: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of name has its own error, with what to write instead."""
    assert run(["inspect", name]) in {1, 2}
    error = capsys.readouterr().err

    assert "Traceback" not in error
    assert [word for word in words if word not in error] == []


def test_an_index_is_not_taken_for_an_image(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list of an image's artifacts is named as what it is."""
    image = image_in(store)
    with InMemoryRegistry() as fake:
        registry = Registry(fake.url)
        registry.push(image, store, NAME)
        sbom.push(image, sbom.sbom(image, store), registry, NAME, store)
        tag = image.digest.replace(":", "-")

        assert run(["inspect", f"{fake.host}/{NAME}:{tag}"]) == 1
        registry.close()
    assert "is an index of several images" in capsys.readouterr().err


def test_keygen_says_what_to_write(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two files and the line for fnmodel.yaml; a password encrypts, a second pair is refused."""
    made = said(capsys, "keygen")
    monkeypatch.setenv("FNMODEL_SIGNING_PASSWORD", "s3cret")
    sealed = said(capsys, "keygen", "sealed")
    again = run(["keygen"]), capsys.readouterr().err

    assert (made["private"], made["public"], made["encrypted"]) == (
        "signing.key", "signing.pub", False,
    )  # fmt: skip
    assert sealed["encrypted"]
    assert PrivateKey.load(tmp_path / "sealed.key", "s3cret").name == "sealed.key"
    assert again[0] == 2
    assert "is there already" in again[1]


def test_keys_of_a_project_are_read_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths are relative to the file; a variable wins over it; a key that nobody trusts is told."""
    run(["keygen", "ours"])
    run(["keygen", "theirs"])
    (tmp_path / "fnmodel.yaml").write_text(
        "name: churn\nmodel: m\nsigning: {key: ours.key, trusted: [ours.pub]}\n"
    )
    config = load(find(tmp_path)).signing
    monkeypatch.chdir("/")
    found = trust.keys(config)
    monkeypatch.setenv(trust.KEY, str(tmp_path / "theirs.key"))

    assert found.key is not None
    assert [key.fingerprint for key in found.trusted] == [found.key.public.fingerprint]
    assert trust.keys(SigningConfig()).key is not None
    with pytest.raises(SigningError, match=r"theirs\.key would sign"):
        trust.keys(config)
    capsys.readouterr()
    assert run(["deploy", "--local", "--project", str(tmp_path)]) == 1
    assert "FNM-P004" in capsys.readouterr().err


def test_a_project_without_keys_needs_no_cryptography() -> None:
    """Nothing is loaded where nothing is signed."""
    code = (
        "import sys\nsys.modules['cryptography'] = None\n"
        "from fnmodel.cli import inspection, recipe, trust\n"
        "from fnmodel.config import SigningConfig\n"
        "assert trust.keys(SigningConfig()) == trust.Keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
