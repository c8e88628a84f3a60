"""Signatures of images: who vouches for a digest.

The format is cosign's, so that other tools can check ours and we theirs: a payload that names the
digest ("simple signing"), signed with ECDSA P-256, as one layer of an artifact under the tag
`sha256-HEX.sig` (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md). The
payload also names the digest of the bill of materials, so one signature vouches for both.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fnmodel.errors import PackError, SignatureError
from fnmodel.pack.artifact import Artifact, Part, attach, enlist, parts
from fnmodel.pack.image import CONFIG_TYPE, Descriptor, encode
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry

if TYPE_CHECKING:
    # It loads what only those need who sign.
    from fnmodel.pack.keys import PrivateKey, PublicKey

KIND = "application/vnd.dev.cosign.artifact.sig.v1+json"
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
SBOM = "io.fnmodel.sbom"
_MEANING = "cosign container image signature"

# Anybody who may push may add signatures; what is read of them is bounded.
_MOST = 32
_LARGEST = 64 << 10

State = Literal["verified", "wrong", "unchecked", "none"]


@dataclass(frozen=True)
class Verdict:
    """What is known of an image's signature.

    `verified` by `key`; `wrong`, and `reason` says why; `unchecked`, since no key is trusted; or
    `none`. `sbom` is the digest of the bill of materials that a verified signature vouches for.
    """

    state: State
    key: str | None = None
    reason: str = ""
    sbom: str | None = None


@dataclass(frozen=True)
class Signature:
    """A payload, the bytes that sign it, and the part of the artifact that holds both."""

    payload: bytes
    value: bytes
    part: Part = field(repr=False)


def tag(digest: str) -> str:
    """Return the tag under which cosign looks for the signatures of an image."""
    return f"{digest.replace(':', '-')}.sig"


def payload(digest: str, name: str, sbom: str | None) -> bytes:
    """Return what is signed: that the image `name` has this digest, and this bill of materials."""
    return encode(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": digest},
                "type": _MEANING,
            },
            "optional": {SBOM: sbom} if sbom else None,
        }
    )


def sign(
    image: Descriptor,
    name: str,
    key: "PrivateKey",
    registry: Registry,
    repository: str,
    store: Store,
    *,
    sbom: str | None = None,
) -> bool:
    """Sign an image unless this key has; return whether a signature was added.

    `name` is the image's full name, without tag or digest. Signatures of other keys stay.

    Raises:
        RegistryError: the registry refused, or the connection broke too often.
        PackError: what lies under the signature's tag is no artifact.

    """
    present = signatures(image.digest, registry, repository, store)
    found = check(present, image.digest, [key.public])
    if found.state == "verified" and found.sbom == sbom:
        # It may have broken off before the last step.
        manifest = registry.manifest(repository, tag(image.digest))
        if manifest is not None:
            enlist(manifest, KIND, image.digest, registry, repository)
        return False
    text = payload(image.digest, name, sbom)
    blob = store.write(PAYLOAD_TYPE, text)
    mine = Part(blob, {SIGNATURE: base64.b64encode(key.sign(text)).decode()})
    # The newest first: readers that look at one only see this one.
    listed = (mine, *(signature.part for signature in present))
    _put(image, listed, registry, repository, store)
    return True


def carry(
    image: Descriptor,
    source: tuple[Registry, str],
    target: tuple[Registry, str],
    store: Store,
) -> int:
    """Add the signatures that an image has in one repository to those it has in another.

    A place is a registry and a repository. Returns how many signatures were added; those that are
    there stay, whoever made them.

    Raises:
        RegistryError: a registry refused, or the connection broke too often.
        PackError: what lies under the signature's tag is no artifact.

    """
    present = signatures(image.digest, *target, store)
    known = {signature.part.blob.digest + str(signature.value) for signature in present}
    missing = [
        signature
        for signature in signatures(image.digest, *source, store)
        if signature.part.blob.digest + str(signature.value) not in known
    ]
    if missing:
        parts = tuple(signature.part for signature in (*present, *missing))
        _put(image, parts, *target, store)
    elif present and (manifest := target[0].manifest(target[1], tag(image.digest))) is not None:
        # It may have broken off before the last step.
        enlist(manifest, KIND, image.digest, *target)
    return len(missing)


def _put(
    image: Descriptor, listed: tuple[Part, ...], registry: Registry, repository: str, store: Store
) -> None:
    config = encode(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [part.blob.digest for part in listed]},
        }
    )
    artifact = Artifact(KIND, image, store.write(CONFIG_TYPE, config), listed)
    attach(artifact, registry, repository, store, tag(image.digest))


def signatures(
    digest: str, registry: Registry, repository: str, store: Store
) -> tuple[Signature, ...]:
    """Return what lies in a repository as signatures of an image; nothing is checked yet.

    Raises:
        RegistryError: the registry refused, or the connection broke too often.
        PackError: what lies under the signature's tag is no artifact.

    """
    manifest = registry.manifest(repository, tag(digest))
    if manifest is None:
        return ()
    found = []
    for part in parts(manifest)[:_MOST]:
        text = part.annotations.get(SIGNATURE)
        if part.blob.media_type != PAYLOAD_TYPE or text is None or part.blob.size > _LARGEST:
            continue
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            value = b""  # one that no key accepts
        found.append(Signature(registry.fetch(part.blob, store, repository), value, part))
    return tuple(found)


def check(found: Sequence[Signature], digest: str, trusted: Sequence["PublicKey"]) -> Verdict:
    """Judge the signatures of an image by the keys that are trusted; one good one is enough."""
    if not found:
        return Verdict("none", reason="it has no signature")
    if not trusted:
        return Verdict("unchecked", reason="no key is trusted")
    reason = "no trusted key made its signature"
    for signature in found:
        for key in trusted:
            if not key.accepts(signature.value, signature.payload):
                continue
            said = _read(signature.payload)
            if said is None:
                reason = "its signature is of something else than an image"
            elif said[0] != digest:
                reason = f"its signature is that of {said[0]}"
            else:
                return Verdict("verified", key.name, sbom=said[1])
    return Verdict("wrong", reason=reason)


def verify(
    digest: str,
    trusted: Sequence["PublicKey"],
    registry: Registry,
    repository: str,
    store: Store,
) -> Verdict:
    """Return the verdict on an image in a registry, if a trusted key signed it.

    Raises:
        SignatureError: no trusted key did, or what is there as its signature is not one.
        RegistryError: the registry refused, or the connection broke too often.

    """
    where = f"{repository}@{digest}"
    try:
        verdict = check(signatures(digest, registry, repository, store), digest, trusted)
    except PackError as error:
        raise _untrusted(where, error.message) from error
    if verdict.state != "verified":
        raise _untrusted(where, verdict.reason)
    return verdict


def _untrusted(where: str, reason: str) -> SignatureError:
    return SignatureError(
        f"{where} is not signed by a trusted key: {reason}",
        hint="deploy it with the key (`signing.key` in fnmodel.yaml), or correct `signing.trusted`",
    )


def _read(text: bytes) -> tuple[str, str | None] | None:
    """Return the digest and the bill of materials that a payload names, or None."""
    try:
        document = json.loads(text)
        critical = document["critical"]
        if critical["type"] != _MEANING:
            return None
        sbom = (document.get("optional") or {}).get(SBOM)
        return str(critical["image"]["docker-manifest-digest"]), str(sbom) if sbom else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
