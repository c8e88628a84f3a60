"""Copies an image, and all that refers to it, from one repository to another: the same digests.

Blobs first, then the manifest that names them, then signatures and bills of materials: whoever is
killed between two of them leaves nothing that names what is not there, and the same call goes on.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from fnmodel.errors import PackError, RegistryError
from fnmodel.pack import signature
from fnmodel.pack.artifact import enlist, referrers
from fnmodel.pack.image import MANIFEST_TYPE, Descriptor, Image, digest_of
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
from fnmodel.pack.transfer import in_parallel


@dataclass(frozen=True)
class Place:
    """A repository of a registry."""

    registry: Registry
    repository: str


def find(digest: str, source: Place, store: Store) -> Image:
    """Return an image of a repository without its layers.

    Raises:
        RegistryError: it is not there, or is not what its digest says.

    """
    image = source.registry.image(source.repository, digest, store)
    if image is None:
        raise RegistryError(
            f"{source.repository}@{digest} is not in its registry any more",
            hint="deploy the stage again: it packs and pushes the image",
        )
    return image


def copy(
    image: Image,
    source: Place,
    target: Place,
    store: Store,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Copy an image with its exact manifest, then what refers to it.

    What is there is not sent again. `progress` hears of each blob.

    Raises:
        RegistryError: a registry refused, or the connection broke too often.

    """
    there = target.registry.digest(target.repository, image.digest)
    if there is None:
        blobs = [*(layer.descriptor for layer in image.layers), image.config_descriptor]
        in_parallel(
            lambda blob, report: target.registry.relay(
                blob, source.registry, source.repository, store, target.repository, report
            ),
            blobs,
            progress,
        )
        target.registry.put(target.repository, image.digest, image.manifest)
    signature.carry(
        image.descriptor, (source.registry, source.repository),
        (target.registry, target.repository), store,
    )  # fmt: skip
    for entry in referrers(source.registry, source.repository, image.digest):
        if entry.get("artifactType") != signature.KIND:
            _carry(str(entry.get("digest")), image.digest, source, target, store)


def _carry(digest: str, subject: str, source: Place, target: Place, store: Store) -> None:
    """Copy one artifact, and let its subject list it."""
    manifest = source.registry.manifest(source.repository, digest)
    if manifest is None:
        return  # listed, and deleted since
    try:
        document = json.loads(manifest)
        if document.get("mediaType") != MANIFEST_TYPE:
            return  # an index is none of ours, and has no blobs to copy
        items = [document["config"], *document["layers"]]
        kind = str(document.get("artifactType") or document["config"]["mediaType"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackError(f"{source.repository}@{digest} is no artifact: {error!r}") from error
    listed = False
    if target.registry.digest(target.repository, digest) is None:
        for item in items:
            blob = Descriptor.from_json(item)
            target.registry.relay(
                blob, source.registry, source.repository, store, target.repository
            )
        listed = target.registry.put(target.repository, digest_of(manifest), manifest)
    if not listed:
        enlist(manifest, kind, subject, target.registry, target.repository)
