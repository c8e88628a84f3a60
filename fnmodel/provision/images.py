"""The images of a repository: which of them something can reach, and deleting the others."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import ProvisionError

_ABOUT = re.compile(r"sha256-([0-9a-f]{64})(?:\..+)?")
"""The tags of what is about an image: its signature, and the list of what refers to it."""
_AT_ONCE = 100


@dataclass(frozen=True)
class Manifest:
    """One manifest of a repository; `pushed` is epoch seconds, `blobs` are sizes by digest.

    `subject` is what it is about, if it is an artifact; `children` are the manifests of an index.
    """

    digest: str
    tags: tuple[str, ...] = ()
    pushed: float = 0.0
    subject: str | None = None
    children: tuple[str, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)

    @property
    def about(self) -> str | None:
        """The digest of the image that it only says something about."""
        if self.subject is not None:
            return self.subject
        matched = (_ABOUT.fullmatch(tag) for tag in self.tags)
        return next((f"sha256:{found[1]}" for found in matched if found), None)


@dataclass(frozen=True)
class Sweep:
    """What stays, and why, by digest; what goes, first things first; the bytes that this frees."""

    kept: Mapping[str, str]
    removed: tuple[str, ...]
    freed: int


def sweep(
    manifests: Sequence[Manifest], roots: Mapping[str, str], now: float, young: float
) -> Sweep:
    """Judge all the manifests of a repository; `roots` are digests in use, and why. Pure.

    What was pushed within `young` seconds stays: somebody may be about to use it.
    """
    known = {manifest.digest: manifest for manifest in manifests}
    why: dict[str, str] = {}
    for one in manifests:
        named = [tag for tag in one.tags if not _ABOUT.fullmatch(tag)]
        if one.digest in roots:
            why[one.digest] = roots[one.digest]
        elif named:
            why[one.digest] = f"tagged {named[0]}"
        elif now - one.pushed < young:
            why[one.digest] = "pushed just now"
    for digest in list(why):
        for child in known[digest].children:
            why.setdefault(child, f"part of {digest[:19]}")
    # What is said of an image stays as long as the image, and may itself be spoken of.
    grew = True
    while grew:
        before = len(why)
        for one in manifests:
            if one.about in why and one.about in known:
                why.setdefault(one.digest, f"about {one.about[:19]}")
        grew = len(why) > before
    gone = [one for one in manifests if one.digest not in why]
    held = {blob for one in manifests if one.digest in why for blob in one.blobs}
    freed = {blob: size for one in gone for blob, size in one.blobs.items() if blob not in held}
    # An index goes first: ECR keeps what one lists.
    gone.sort(key=lambda one: (not one.children, one.about is not None, one.digest))
    return Sweep(
        {one.digest: why[one.digest] for one in manifests if one.digest in why},
        tuple(one.digest for one in gone),
        sum(freed.values()),
    )


class Images:
    """The manifests of one ECR repository."""

    def __init__(self, client: Any, repository: str) -> None:
        self._client = client
        self._repository = repository

    def all(self) -> tuple[Manifest, ...]:
        """Return every manifest, of images and of what is about them."""
        with translated():
            pages = self._client.get_paginator("describe_images").paginate(
                repositoryName=self._repository
            )
            details = {item["imageDigest"]: item for page in pages for item in page["imageDetails"]}
        documents = dict(self._documents(list(details)))
        return tuple(_manifest(item, documents.get(digest, {})) for digest, item in details.items())

    def delete(
        self, digests: Sequence[str], may_go_on: Callable[[], bool] = lambda: True
    ) -> tuple[str, ...]:
        """Delete manifests by digest, with their tags; return those that are gone.

        It stops early where `may_go_on` says no.

        Raises:
            ProvisionError: ECR refused one, and says why.

        """
        gone: list[str] = []
        for digest in digests:
            if not may_go_on():
                break
            with translated():
                answer = self._client.batch_delete_image(
                    repositoryName=self._repository, imageIds=[{"imageDigest": digest}]
                )
            refused = [
                failure
                for failure in answer.get("failures", ())
                if failure["failureCode"] != "ImageNotFound"
            ]
            if refused:
                raise ProvisionError(
                    f"{self._repository}@{digest} was not deleted: {refused[0]['failureReason']}",
                    hint="run the same command again; what was deleted is not asked for twice",
                )
            gone.append(digest)
        return tuple(gone)

    def _documents(self, digests: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for start in range(0, len(digests), _AT_ONCE):
            ids = [{"imageDigest": digest} for digest in digests[start : start + _AT_ONCE]]
            with translated():
                answer = self._client.batch_get_image(
                    repositoryName=self._repository, imageIds=ids,
                    acceptedMediaTypes=_MEDIA_TYPES,
                )  # fmt: skip
            for item in answer["images"]:
                yield item["imageId"]["imageDigest"], json.loads(item["imageManifest"])


_MEDIA_TYPES = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
]


def _manifest(item: Mapping[str, Any], document: Mapping[str, Any]) -> Manifest:
    pushed = item.get("imagePushedAt", 0.0)
    parts = [document.get("config"), *document.get("layers", ())]
    return Manifest(
        item["imageDigest"],
        tuple(item.get("imageTags", ())),
        pushed.timestamp() if isinstance(pushed, datetime) else float(pushed),
        (document.get("subject") or {}).get("digest"),
        tuple(child["digest"] for child in document.get("manifests", ())),
        {part["digest"]: int(part["size"]) for part in parts if part},
    )
