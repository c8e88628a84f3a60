"""Blobs that another repository of the registry has are mounted, and never sent again."""

from pathlib import Path

import pytest
from pack_cases import small_image

from fnmodel.pack import base, places
from fnmodel.pack.credentials import Credentials
from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.pack.reference import Reference
from fnmodel.pack.registry import Registry
from fnmodel.testing import InMemoryRegistry

LOGIN = Credentials("AWS", "token")
FIRST, SECOND = "fnmodel/churn", "fnmodel/fraud"
SIZE = 300_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> Image:
    return small_image(store, {"model.bin": bytes(SIZE)})


@pytest.fixture(params=["none", "basic", "bearer"])
def auth(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def pushed(url: str, image: Image, store: Store, name: str) -> list[str]:
    """Push with a client of its own, and return what it said."""
    said: list[str] = []
    registry = Registry(url, LOGIN, sleep=lambda _: None)
    registry.push(image, store, name, "v1", said.append)
    registry.close()
    return [line for line in said if "MB)" in line]


def blobs_of(image: Image) -> set[str]:
    return {*(layer.descriptor.digest for layer in image.layers), image.config_descriptor.digest}


def test_what_another_repository_has_is_mounted(auth: str, store: Store, image: Image) -> None:
    """The second repository of a registry gets the image without one byte of it being sent."""
    with InMemoryRegistry(auth=auth) as fake:  # type: ignore[arg-type]
        pushed(fake.url, image, store, FIRST)
        sent, tokens = fake.received, fake.tokens_given
        said = pushed(fake.url, image, store, SECOND)

        assert all(f"mounted from {FIRST}" in line for line in said)
        assert len(said) == 2
        assert fake.received == sent
        assert fake.blobs(SECOND).keys() == blobs_of(image)
        assert fake.tags(SECOND) == {"v1": image.digest}
        # One token covers both repositories: the right to read the other was asked for with it.
        assert fake.tokens_given == tokens + (auth == "bearer")


@pytest.mark.parametrize("why", ["switched off", "gone", "another registry"])
def test_a_mount_that_is_not_made_becomes_an_upload(why: str, store: Store, image: Image) -> None:
    """Where the registry mounts nothing, its 202 is the session of an upload: no error, no detour.

    The blob of another registry is not even asked for.
    """
    with InMemoryRegistry(mounts=why != "switched off") as fake, InMemoryRegistry() as second:
        pushed(fake.url, image, store, FIRST)
        if why == "gone":
            fake.blobs(FIRST).clear()
        target = second if why == "another registry" else fake
        target.requests.clear()
        said = pushed(target.url, image, store, SECOND)

        assert len(said) == 2
        assert all("pushed" in line for line in said)
        assert target.tags(SECOND) == {"v1": image.digest}
        assert sum(r.startswith("POST") for r in target.requests) == 2


@pytest.mark.parametrize("token_server", ["grants a part", "refuses all"])
def test_a_repository_that_may_not_be_read_costs_no_push(
    token_server: str, store: Store, image: Image
) -> None:
    """Without the right to read the source the blob is sent, however the token server says no."""
    with InMemoryRegistry(auth="bearer", forbidden=["team/base"]) as fake:
        for blob in (image.config_descriptor, *(layer.descriptor for layer in image.layers)):
            places.remember(store, blob, fake.host, "team/base")
        if token_server == "refuses all":
            fake.answer("TOKEN", 403)
        said = pushed(fake.url, image, store, SECOND)

        assert len(said) == 2
        assert all("pushed" in line for line in said)
        assert fake.tags(SECOND) == {"v1": image.digest}


def test_a_mount_that_breaks_is_not_tried_again(store: Store, image: Image) -> None:
    """The blob whose mount ends in an error of the registry goes the plain way."""
    with InMemoryRegistry() as fake:
        pushed(fake.url, image, store, FIRST)
        fake.answer("POST", 500)
        said = pushed(fake.url, image, store, SECOND)

        assert sum("pushed" in line for line in said) == 1
        assert sum("mounted" in line for line in said) == 1
        assert fake.tags(SECOND) == {"v1": image.digest}


def test_a_bases_layers_are_mounted_from_its_repository(store: Store, tmp_path: Path) -> None:
    """A base pulled from the registry that the image goes to is not sent back to it."""
    elsewhere = Store(tmp_path / "elsewhere")
    below = small_image(elsewhere, {"lib/libc.so": bytes(SIZE)})
    with InMemoryRegistry() as fake:
        pushed(fake.url, below, elsewhere, "team/base")
        reference = Reference.parse(f"{fake.host}/team/base@{below.digest}")
        image = base.resolve(str(reference), "x86_64", store, base.pull)
        image = image.append(small_image(store).layers[0])
        said = pushed(fake.url, image, store, SECOND)

        mounted = [line for line in said if "mounted from team/base" in line]
        assert [below.layers[0].descriptor.digest[7:19]] == [line.split()[0] for line in mounted]
        assert fake.tags(SECOND) == {"v1": image.digest}


def test_a_damaged_note_of_places_is_ignored(store: Store, image: Image) -> None:
    """Notes are only hints: one that cannot be read costs a mount and nothing else."""
    layer = image.layers[0].descriptor
    for note in ({"a": 1}, [1, 2], [["host"]], "text", None):
        store.remember("places", layer.digest.removeprefix("sha256:"), note)

        assert places.other(store, layer, "host", SECOND) is None
        places.remember(store, layer, "host", FIRST)
        assert places.other(store, layer, "host", SECOND) == FIRST
