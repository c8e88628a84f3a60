"""Pushes images to a registry and pulls them, by the OCI distribution specification.

A push asks before it sends. What another repository of the registry has is mounted from there;
each blob that is missing goes in one monolithic PUT (ECR breaks chunked uploads), and the manifest
last, so that nothing ever names a blob that is not there. A pull believes digests, not the
registry.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO
from urllib.parse import urlencode

import urllib3

from fnmodel.errors import PackError, RegistryError
from fnmodel.pack import places
from fnmodel.pack.credentials import Credentials
from fnmodel.pack.image import (
    DOCKER_INDEX_TYPE,
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Architecture,
    Descriptor,
    Image,
    digest_of,
    is_digest,
    oci_architecture,
    parse,
)
from fnmodel.pack.layout import Store, damaged
from fnmodel.pack.transfer import Report, in_parallel
from fnmodel.pack.transport import Answer, BrokenError, Transport

_CHUNK = 1 << 20
_LARGEST_CONFIG = 4 << 20
_INDEXES = frozenset({INDEX_TYPE, DOCKER_INDEX_TYPE})
_ACCEPT = f"{MANIFEST_TYPE}, {DOCKER_MANIFEST_TYPE}, {INDEX_TYPE}, {DOCKER_INDEX_TYPE}"
# An upload session may be lost between two requests; the next attempt opens a new one.
_SESSION_LOST = frozenset({404, 416})


class Registry:
    """One registry, by its address such as `https://host`; safe to use from several threads."""

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        http: urllib3.PoolManager | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = Transport(url, credentials, http, sleep)

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    def push(
        self,
        image: Image,
        store: Store,
        repository: str,
        tag: str | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> str:
        """Send an image, and name it `tag` if one is given; return its digest.

        What the registry has is not sent again, so a push that broke off can be repeated.
        `progress` hears of each blob, and of bytes while they move.

        Raises:
            RegistryError: the registry refused, or the connection broke too often.
            PackError: a blob of the store is missing or damaged.

        """
        blobs = [*(layer.descriptor for layer in image.layers), image.config_descriptor]
        self._foresee(blobs, store, repository)
        if self.digest(repository, image.digest) is None:
            store.save(image)
            in_parallel(
                lambda blob, report: self._send(blob, store, repository, report), blobs, progress
            )
            self.put(repository, image.digest, image.manifest)
        if tag is not None and self.digest(repository, tag) != image.digest:
            self.put(repository, tag, image.manifest)
        return image.digest

    def missing(self, image: Image, repository: str) -> tuple[Descriptor, ...]:
        """Return the blobs that a push would bring into a repository; reads only.

        What another repository has may be mounted from there, and is not sent then.

        Raises:
            RegistryError: the registry refused, or the connection broke too often.

        """
        if self.digest(repository, image.digest) is not None:
            return ()
        blobs = [*(layer.descriptor for layer in image.layers), image.config_descriptor]
        return tuple(blob for blob in blobs if not self._has(blob, repository))

    def _has(self, blob: Descriptor, repository: str) -> bool:
        answer = self._request("HEAD", f"/v2/{repository}/blobs/{blob.digest}")
        if answer.status not in (200, 404):
            raise self._transport.refused(answer, f"blob {blob.digest} of {repository}")
        # With another size it is half a blob, so that it is sent.
        stated = answer.headers.get("Content-Length", str(blob.size))
        return answer.status == 200 and stated == str(blob.size)

    def digest(self, repository: str, reference: str) -> str | None:
        """Return the digest that a tag or digest means, or None when there is no such image.

        Raises:
            RegistryError: the registry refused, or the connection broke too often.

        """
        url = f"/v2/{repository}/manifests/{reference}"
        answer = self._request("HEAD", url, headers={"Accept": _ACCEPT})
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._transport.refused(answer, f"{repository}:{reference}")
        stated = answer.headers.get("Docker-Content-Digest")
        if stated is None:
            return digest_of(self._manifest(repository, reference).body)
        return stated

    def pull(
        self,
        repository: str,
        digest: str,
        store: Store,
        *,
        architecture: Architecture | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Image:
        """Fetch an image by digest into the store and return it.

        When the digest is an index's, the image for `architecture` is taken from it.

        Raises:
            RegistryError: it is not there, is not what its digest says, or the connection broke.
            PackError: it is not an image.

        """
        if not is_digest(digest):
            raise RegistryError(f"{digest!r} is not a digest", hint="pull by sha256 digest")
        answer = self._manifest(repository, digest)
        if digest_of(answer.body) != digest:
            raise RegistryError(f"{repository}@{digest}: the registry sent another manifest")
        try:
            document = json.loads(answer.body)
            if document.get("mediaType", answer.headers.get("Content-Type")) in _INDEXES:
                chosen = _choose(document, architecture, f"{repository}@{digest}")
                return self.pull(repository, chosen.digest, store, progress=progress)
            blobs = [Descriptor.from_json(item) for item in document["layers"]]
            config = Descriptor.from_json(document["config"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"{repository}@{digest} is not an image manifest") from error
        in_parallel(
            lambda blob, report: self._fetch(blob, store, repository, report),
            [config, *blobs],
            progress,
        )
        image = parse(answer.body, store.read(config))
        store.save(image)
        return image

    def image(self, repository: str, reference: str, store: Store) -> Image | None:
        """Return an image by tag or digest without its layers, or None when there is none.

        Raises:
            RegistryError: it is an index, the registry refused, or the connection broke.
            PackError: it is not an image.

        """
        manifest = self.manifest(repository, reference)
        if manifest is None:
            return None
        what = f"{repository}:{reference}"
        try:
            document = json.loads(manifest)
            if document.get("mediaType") in _INDEXES:
                _choose(document, None, what)
            config = Descriptor.from_json(document["config"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"{what} is not an image manifest") from error
        if config.size > _LARGEST_CONFIG:
            raise RegistryError(f"{what}: its config has {config.size:,} bytes")
        return parse(manifest, self.fetch(config, store, repository))

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """Return the bytes of the manifest that a tag or digest means, or None.

        Raises:
            RegistryError: it is not what the digest says, the registry refused, or the connection
                broke.

        """
        answer = self._get(repository, reference)
        if answer.status == 404:
            return None
        if is_digest(reference) and digest_of(answer.body) != reference:
            raise RegistryError(f"{repository}@{reference}: the registry sent another manifest")
        return answer.body

    def put(
        self, repository: str, reference: str, manifest: bytes, media_type: str = MANIFEST_TYPE
    ) -> bool:
        """Store a manifest whose blobs are there; return whether its subject now lists it.

        Raises:
            RegistryError: the registry refused, or stored something else.

        """
        digest = digest_of(manifest)
        answer = self._request(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            headers={"Content-Type": media_type},
            body=manifest,
        )
        if answer.status not in (200, 201, 202):
            raise self._transport.refused(answer, f"manifest {reference} of {repository}")
        _check_digest(digest, answer)
        return "OCI-Subject" in answer.headers

    def send(self, blob: Descriptor, store: Store, repository: str) -> None:
        """Send one blob of the store, unless it is there."""
        self._send(blob, store, repository, _unheard)

    def relay(
        self,
        blob: Descriptor,
        source: "Registry",
        source_repository: str,
        store: Store,
        repository: str,
        report: Report = lambda _: None,
    ) -> str:
        """Bring a blob of another registry here; return by which way.

        What is here stays, what another repository of this registry has is mounted, and only what
        is neither comes through the store, a megabyte at a time.
        """
        if source is self:
            places.remember(store, blob, self._transport.host, source_repository)
        return self._send(
            blob, store, repository, report,
            lambda: source.download(blob, store, source_repository, report),
        )  # fmt: skip

    def download(
        self, blob: Descriptor, store: Store, repository: str, report: Report = lambda _: None
    ) -> str:
        """Bring one blob into the store, checked, unless it is there."""
        return self._fetch(blob, store, repository, report)

    def fetch(self, blob: Descriptor, store: Store, repository: str) -> bytes:
        """Return one blob, checked; it is kept in the store."""
        self._fetch(blob, store, repository, _unheard)
        return store.read(blob)

    def referrers(self, repository: str, digest: str) -> bytes | None:
        """Return the registry's own index of what refers to a manifest; None where it has none."""
        answer = self._request("GET", f"/v2/{repository}/referrers/{digest}")
        listed = answer.headers.get("Content-Type", "").partition(";")[0].strip() == INDEX_TYPE
        return answer.body if answer.status == 200 and listed else None

    def _manifest(self, repository: str, reference: str) -> Answer:
        answer = self._get(repository, reference)
        if answer.status == 404:
            raise self._transport.refused(answer, f"{repository}:{reference}")
        return answer

    def _get(self, repository: str, reference: str) -> Answer:
        """Return the answer for a manifest: 200, or 404 when there is none."""
        url = f"/v2/{repository}/manifests/{reference}"
        answer = self._request("GET", url, headers={"Accept": _ACCEPT})
        if answer.status not in (200, 404):
            raise self._transport.refused(answer, f"{repository}:{reference}")
        return answer

    def _request(self, method: str, url: str, **arguments: Any) -> Answer:
        return self._transport.persist(
            lambda: self._transport.request(method, url, **arguments), f"{method} {url}"
        )

    def _foresee(self, blobs: list[Descriptor], store: Store, repository: str) -> None:
        """Let one token do for all: for the push, and where blobs may be mounted from."""
        sources = {places.other(store, blob, self._transport.host, repository) for blob in blobs}
        scopes = [f"repository:{name}:pull" for name in sources if name]
        self._transport.wish([f"repository:{repository}:pull,push", *scopes])

    def _send(
        self,
        blob: Descriptor,
        store: Store,
        repository: str,
        report: Report,
        fetch: Callable[[], object] = lambda: None,
    ) -> str:
        done = self._transferred(blob, store, repository, report, fetch)
        places.remember(store, blob, self._transport.host, repository)
        return f"{_short(blob)} {done}"

    def _transferred(
        self,
        blob: Descriptor,
        store: Store,
        repository: str,
        report: Report,
        fetch: Callable[[], object],
    ) -> str:
        """Bring a blob into a repository by the cheapest way, and return what that was.

        `fetch` is called before its bytes are read from the store.
        """
        if self._has(blob, repository):
            return "is there already"
        source = places.other(store, blob, self._transport.host, repository)
        opened = self._mount(blob, repository, source) if source else None
        if opened is not None and opened.status == 201:
            return f"mounted from {source}"
        sessions = [] if opened is None else [opened]
        fetch()

        def attempt() -> None:
            session = sessions.pop() if sessions else self._open(repository)
            self._upload(blob, store, repository, session, report)

        self._transport.persist(attempt, f"upload of {blob.digest}")
        return "pushed"

    def _mount(self, blob: Descriptor, repository: str, source: str) -> Answer | None:
        """Ask once to have a blob from another repository: 201 it is there, 202 send it here.

        None stands for any other answer. It is no error, since the blob can be sent instead.
        """
        query = urlencode({"mount": blob.digest, "from": source})
        with suppress(BrokenError, RegistryError):
            answer = self._transport.request(
                "POST",
                f"/v2/{repository}/blobs/uploads/?{query}",
                headers={"Content-Length": "0"},
            )
            return answer if answer.status in (201, 202) else None
        return None

    def _open(self, repository: str) -> Answer:
        """Open an upload session."""
        opened = self._transport.request(
            "POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"}
        )
        if opened.status != 202:
            raise self._transport.refused(opened, f"upload to {repository}")
        return opened

    def _upload(
        self, blob: Descriptor, store: Store, repository: str, session: Answer, report: Report
    ) -> None:
        """Send one blob into a session that is open."""
        location = self._transport.upload_location(session.headers.get("Location"))
        joint = "&" if "?" in location else "?"
        with store.path(blob.digest).open("rb") as file:
            body = _Outgoing(file, blob, report)
            answer = self._transport.request(
                "PUT",
                f"{location}{joint}{urlencode({'digest': blob.digest})}",
                headers={
                    "Content-Length": str(blob.size),
                    "Content-Type": "application/octet-stream",
                },
                body=body,
            )
        if answer.status in _SESSION_LOST:
            raise BrokenError(f"the upload session was lost ({answer.status})")
        if body.whole and body.digest != blob.digest:
            store.path(blob.digest).unlink(missing_ok=True)
            raise damaged(blob)
        if answer.status != 201:
            raise self._transport.refused(answer, f"blob {blob.digest} of {repository}")
        _check_digest(blob.digest, answer)

    def _fetch(self, blob: Descriptor, store: Store, repository: str, report: Report) -> str:
        known = store.has(blob)
        if not known:

            def attempt() -> None:
                with self._transport.download(f"/v2/{repository}/blobs/{blob.digest}") as response:
                    _store(blob, response, store, report)

            self._transport.persist(attempt, f"download of {blob.digest}")
        places.remember(store, blob, self._transport.host, repository)
        return f"{_short(blob)} {'is here already' if known else 'pulled'}"


class _Outgoing:
    """A blob being sent: exactly its size, and hashed to tell whether it is what its name says."""

    def __init__(self, file: BinaryIO, blob: Descriptor, report: Report) -> None:
        self._file, self._blob, self._report = file, blob, report
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1, /) -> bytes:
        left = self._blob.size - self._size
        data = self._file.read(left if size < 0 else min(size, left))
        if left and not data:
            raise PackError(
                f"{self._blob.digest} became shorter while it was sent",
                hint="run the command again",
            )
        self._hash.update(data)
        self._size += len(data)
        self._report(self._size)
        return data

    @property
    def whole(self) -> bool:
        """Whether all of the blob has been read."""
        return self._size == self._blob.size

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _unheard(_count: int) -> None:
    """Report to nobody."""


def _check_digest(digest: str, answer: Answer) -> None:
    stated = answer.headers.get("Docker-Content-Digest", digest)
    if stated != digest:
        raise RegistryError(f"the registry stored {stated} when it was given {digest}")


def _store(
    blob: Descriptor, response: urllib3.BaseHTTPResponse, store: Store, report: Report
) -> None:
    """Write a response into the store, reading no byte more than the blob may have."""
    stated = response.headers.get("Content-Length")
    if stated is not None and stated != str(blob.size):
        raise RegistryError(f"{blob.digest} has {blob.size} bytes, and the registry has {stated}")
    with store.writing() as writer:
        while chunk := response.read(min(_CHUNK, blob.size + 1 - writer.size)):
            writer.write(chunk)
            if writer.size > blob.size:
                raise RegistryError(f"the registry sends more than the {blob.size} bytes of a blob")
            report(writer.size)
        if writer.size < blob.size:
            raise BrokenError("the answer ended early")
        if writer.digest != blob.digest:
            raise RegistryError(f"the registry sent {writer.digest} for {blob.digest}")


def _choose(document: Any, architecture: Architecture | None, what: str) -> Descriptor:
    if architecture is None:
        raise RegistryError(f"{what} is an index of several images", hint="name one image's digest")
    wanted = ("linux", oci_architecture(architecture))
    for item in document["manifests"]:
        platform = item.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == wanted:
            return Descriptor.from_json(item)
    raise RegistryError(f"{what} has no image for {'/'.join(wanted)}")


def _short(blob: Descriptor) -> str:
    return f"{blob.digest[7:19]} ({blob.size / 1e6:.1f} MB)"
