"""An image goes from registry to registry by its blobs, with all that refers to it."""

import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from pack_cases import small_image

from fnmodel.errors import RegistryError, SignatureError
from fnmodel.pack import relay, sbom, signature
from fnmodel.pack.credentials import Credentials
from fnmodel.pack.image import Image
from fnmodel.pack.keys import PrivateKey, generate
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
from fnmodel.pack.relay import Place
from fnmodel.testing import InMemoryRegistry

LOGIN = Credentials("AWS", "token")
NAME = "fnmodel/churn"
SIZE = 300_000


class World:
    """Two registries, an image that is in the first, and a store that has nothing of it."""

    def __init__(
        self, folder: Path, source: InMemoryRegistry, target: InMemoryRegistry, size: int = SIZE
    ) -> None:
        self.folder, self.fakes = folder, (source, target)
        self.built = Store(folder / "built")
        self.image = small_image(self.built, {"model.bin": bytes(size)})
        self.source = Place(Registry(source.url, LOGIN, sleep=lambda _: None), NAME)
        self.target = Place(Registry(target.url, LOGIN, sleep=lambda _: None), NAME)
        self.source.registry.push(self.image, self.built, NAME)
        self.store = Store(folder / "store")

    def copy(self) -> list[str]:
        """Find the image and copy it; return what was said."""
        said: list[str] = []
        found = relay.find(self.image.digest, self.source, self.store)
        relay.copy(found, self.source, self.target, self.store, said.append)
        return [line for line in said if "MB)" in line]

    def sign(self, name: str, place: Place | None = None) -> PrivateKey:
        """Sign it with a new key, and vouch for its bill of materials."""
        at = place or self.source
        generate(self.folder / f"{name}.key", self.folder / f"{name}.pub", None)
        key = PrivateKey.load(self.folder / f"{name}.key", None)
        bill = sbom.sbom(self.image, self.built)
        sbom.push(self.image, bill, at.registry, at.repository, self.built)
        signature.sign(
            self.image.descriptor, "first/name", key, at.registry, at.repository, self.built,
            sbom=bill.digest,
        )  # fmt: skip
        return key

    def verdict(self, key: PrivateKey) -> signature.Verdict:
        """Ask the target what it knows of the image's signature."""
        return signature.verify(
            self.image.digest, [key.public], self.target.registry, NAME, self.store
        )


@pytest.fixture(params=[True, False], ids=["referrers", "fallback"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Give two registries, both with the referrers API or both without."""
    with ExitStack() as stack:
        fakes = [
            stack.enter_context(
                InMemoryRegistry(auth="bearer", referrers=request.param, mounts=False)
            )
            for _ in range(2)
        ]
        yield World(tmp_path, *fakes)


def test_the_copy_has_the_very_digest_and_bytes(world: World) -> None:
    """Manifest and blobs are those of the first registry; repeated, nothing is sent."""
    said = world.copy()
    first, second = world.fakes
    sent = second.received

    assert all("pushed" in line for line in said)
    assert second.manifests(NAME)[world.image.digest] == first.manifests(NAME)[world.image.digest]
    assert second.blobs(NAME) == first.blobs(NAME)
    assert world.copy() == []
    assert second.received == sent


def test_signatures_and_materials_come_along(world: World) -> None:
    """What vouches for the image in the first registry does so in the second."""
    key = world.sign("ours")
    with pytest.raises(SignatureError):
        world.verdict(key)

    world.copy()

    verdict = world.verdict(key)
    bill = sbom.pull(
        world.image.digest, world.target.registry, NAME, world.store, signed=verdict.sbom
    )
    assert verdict.state == "verified"
    assert bill == world.built.read(sbom.sbom(world.image, world.built))


def test_signatures_that_are_there_stay(world: World) -> None:
    """The second registry's own signature is kept beside the one that comes; each once."""
    ours = world.sign("ours")
    world.copy()
    theirs = world.sign("theirs", world.target)
    yet_another = world.sign("another")

    world.copy()
    world.copy()

    for key in (ours, theirs, yet_another):
        assert world.verdict(key).state == "verified"
    found = signature.signatures(world.image.digest, world.target.registry, NAME, world.store)
    assert len(found) == 3


def test_an_image_that_is_gone_is_told_before_anything_is_sent(world: World) -> None:
    """With the digest; the second registry is not asked."""
    del world.fakes[0].manifests(NAME)[world.image.digest]

    with pytest.raises(RegistryError, match=f"{world.image.digest} is not in its registry"):
        world.copy()

    assert world.fakes[1].requests == []


@pytest.mark.parametrize("count", range(1, 24, 2))
def test_a_copy_that_broke_off_anywhere_is_finished_by_the_next(world: World, count: int) -> None:
    """The second registry never names a blob that it lacks, and the next run completes it."""
    key = world.sign("ours")
    target = world.fakes[1]
    seen = 0

    class Killed(BaseException):
        """The process is gone."""

    def arrive() -> None:
        nonlocal seen
        seen += 1

    target.arrived = arrive
    put = world.target.registry._transport.request

    def dying(*arguments: object, **given: object) -> object:
        if seen >= count:
            raise Killed
        return put(*arguments, **given)  # type: ignore[arg-type]

    world.target.registry._transport.request = dying  # type: ignore[assignment,method-assign]
    with suppress(Killed):
        world.copy()
    world.target.registry._transport.request = put  # type: ignore[method-assign]

    world.copy()

    assert world.verdict(key).state == "verified"
    assert target.manifests(NAME).keys() >= {world.image.digest}


def test_within_one_registry_blobs_are_mounted(tmp_path: Path) -> None:
    """Another repository of the same registry gets them without a byte being moved."""
    with InMemoryRegistry(auth="bearer") as fake:
        world = World(tmp_path, fake, fake)
        received = fake.received
        other = Place(world.source.registry, "fnmodel/other")
        image = relay.find(world.image.digest, world.source, world.store)
        said: list[str] = []

        relay.copy(image, world.source, other, world.store, said.append)

        assert all(f"mounted from {NAME}" in line for line in said if "MB)" in line)
        assert other.registry.digest("fnmodel/other", image.digest) == image.digest
        assert not any(world.store.has(layer.descriptor) for layer in image.layers)
        # Its config was read; nothing else came or went.
        assert fake.received == received


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    """A blob comes into the store in pieces, from where it is sent: 64 MB take a few in memory."""
    with InMemoryRegistry() as first, InMemoryRegistry() as second:
        world = World(tmp_path, first, second, size=1)
        large = small_image(world.built, {"model.bin": _noise(64 << 20)})
        world.source.registry.push(large, world.built, NAME)
        image: Image = relay.find(large.digest, world.source, world.store)
        layer = max(image.layers, key=lambda one: one.size).descriptor
        body = world.fakes[0].blobs(NAME)[layer.digest]
        tracemalloc.start()
        try:
            world.source.registry.download(layer, world.store, NAME)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert len(body) > 60 << 20
        assert peak < 16 << 20


def _noise(size: int) -> bytes:
    import random

    return random.Random(1).randbytes(size)
