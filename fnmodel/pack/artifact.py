"""Artifacts of an image: manifests of their own in its repository that name it as their subject.

Follows the OCI specifications 1.1. A registry with the referrers API lists what refers to an image
by itself. For any other, an index under the tag `sha256-HEX` does ("referrers tag schema"). The
image's own digest and tags are never touched: Lambda refuses an index there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fnmodel.errors import PackError
from fnmodel.pack.image import INDEX_TYPE, MANIFEST_TYPE, Descriptor, digest_of, encode
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"


@dataclass(frozen=True)
class Part:
    """One blob of an artifact, and what its manifest says of it."""

    blob: Descriptor
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as the manifest holds it."""
        notes = {"annotations": dict(self.annotations)} if self.annotations else {}
        return {**self.blob.to_json(), **notes}


@dataclass(frozen=True)
class Artifact:
    """What is said of an image: `kind` is the artifactType, `subject` the image."""

    kind: str
    subject: Descriptor
    config: Descriptor
    parts: tuple[Part, ...]

    @property
    def manifest(self) -> bytes:
        """The manifest's exact bytes."""
        return encode(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": self.kind,
                "config": self.config.to_json(),
                "layers": [part.to_json() for part in self.parts],
                "subject": self.subject.to_json(),
            }
        )

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest)


def parts(manifest: bytes) -> tuple[Part, ...]:
    """Return the parts of any artifact's manifest.

    Raises:
        PackError: it is not the manifest of an artifact.

    """
    try:
        return tuple(
            Part(Descriptor.from_json(item), dict(item.get("annotations") or {}))
            for item in json.loads(manifest)["layers"]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackError(f"not the manifest of an artifact: {error!r}") from error


def attach(
    artifact: Artifact, registry: Registry, repository: str, store: Store, tag: str | None = None
) -> None:
    """Send an artifact, whose blobs are in the store, and let its subject list it.

    What the registry has is not sent again, so an attempt that broke off can be repeated.

    Raises:
        RegistryError: the registry refused, or the connection broke too often.

    """
    reference, listed = tag or artifact.digest, False
    if registry.digest(repository, reference) != artifact.digest:
        for blob in (artifact.config, *(part.blob for part in artifact.parts)):
            registry.send(blob, store, repository)
        listed = registry.put(repository, reference, artifact.manifest)
    if not listed:
        enlist(artifact.manifest, artifact.kind, artifact.subject.digest, registry, repository)


def enlist(manifest: bytes, kind: str, digest: str, registry: Registry, repository: str) -> None:
    """Add a manifest to what refers to an image, unless it is listed there.

    Raises:
        RegistryError: the registry refused, or the connection broke too often.
        PackError: what is there is no list.

    """
    made = Descriptor(MANIFEST_TYPE, digest_of(manifest), len(manifest))
    listed = referrers(registry, repository, digest)
    if any(item.get("digest") == made.digest for item in listed):
        return
    entry = {**made.to_json(), "artifactType": kind}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*listed, entry]}
    registry.put(repository, fallback_tag(digest), encode(index), INDEX_TYPE)


def attached(kind: str, digest: str, registry: Registry, repository: str) -> tuple[Descriptor, ...]:
    """Return the manifests of one kind of artifact that refer to an image.

    Raises:
        RegistryError: the registry refused, or its list is none.

    """
    listed = referrers(registry, repository, digest)
    return tuple(Descriptor.from_json(item) for item in listed if item.get("artifactType") == kind)


def referrers(registry: Registry, repository: str, digest: str) -> list[dict[str, Any]]:
    """Return the entries of the index of what refers to a manifest.

    Raises:
        RegistryError: the registry refused, or its list is none.

    """
    index = registry.referrers(repository, digest)
    if index is None:
        index = registry.manifest(repository, fallback_tag(digest))
    if index is None:
        return []
    try:
        return [dict(item) for item in json.loads(index)["manifests"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackError(f"{repository}: what refers to {digest} is no index: {error!r}") from error


def fallback_tag(digest: str) -> str:
    """Return the tag of the index of referrers, for registries that keep none themselves."""
    return digest.replace(":", "-")
