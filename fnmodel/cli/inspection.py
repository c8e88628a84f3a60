"""Finds an image by any of its names, and gathers what is known of it without unpacking it."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnmodel.aws import Cloud
from fnmodel.errors import UsageError
from fnmodel.pack import base, credentials, sbom, signature
from fnmodel.pack.image import Image, digest_of, is_digest
from fnmodel.pack.layout import Store
from fnmodel.pack.models import digests
from fnmodel.pack.reference import Reference
from fnmodel.pack.registry import Registry
from fnmodel.provision.repository import Repositories

if TYPE_CHECKING:
    from fnmodel.pack.keys import PublicKey

_ECR = re.compile(r"\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True)
class Found:
    """An image, what it was called, and the registry that it is in, if it is in one."""

    name: str
    image: Image
    store: Store
    registry: Registry | None = None
    repository: str = ""


@dataclass(frozen=True)
class Inspection:
    """What is known of an image; `bill` is its bill of materials, None where there is none."""

    found: Found
    verdict: signature.Verdict
    bill: bytes | None

    def to_json(self) -> dict[str, Any]:
        """Return what `fnmodel inspect --output json` prints."""
        image = self.found.image
        settings, labels = image.settings, image.labels
        config = settings.get("config") or {}
        base_digest = labels.get("org.opencontainers.image.base.digest")
        base_name = labels.get("org.opencontainers.image.base.name")
        return {
            "image": self.found.name,
            "digest": image.digest,
            "size": image.size,
            "architecture": settings.get("architecture"),
            "python": labels.get("io.fnmodel.python"),
            "base": {"name": base_name, "digest": base_digest} if base_digest else None,
            "model": labels.get("io.fnmodel.model"),
            "models": digests(labels),
            "lock": labels.get("io.fnmodel.lock"),
            "requirements": labels.get("io.fnmodel.requirements"),
            "fnmodel": labels.get("io.fnmodel.tool"),
            "entrypoint": [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())],
            "layers": [
                {
                    "created_by": layer.created_by, "digest": layer.descriptor.digest,
                    "diff_id": layer.diff_id, "size": layer.size,
                }
                for layer in image.layers
            ],
            "signature": asdict(self.verdict),
            "sbom": self._bill(),
        }  # fmt: skip

    def _bill(self) -> dict[str, Any] | None:
        if self.bill is None:
            return None
        counted, digest = sbom.summary(self.bill), digest_of(self.bill)
        return {
            "digest": digest,
            "components": counted.components,
            "licenses": counted.licenses,
            "complete": counted.complete,
            "signed": self.verdict.sbom == digest,
        }


def find(text: str, store: Store, registry_of: Callable[[Reference], Registry]) -> Found:
    """Find an image: `oci:DIR[:NAME]`, `host/repository:tag` or `@sha256:…`, or one of the store.

    Raises:
        UsageError: there is no such image.
        PackError, RegistryError: it cannot be read.

    """
    if text.startswith(base.LAYOUT):
        return Found(text, base.from_layout(text, store), store)
    if "/" not in text:
        known = sorted(store.references())
        if not is_digest(text) and text not in known:
            raise UsageError(
                f"there is no image named {text!r} on this machine",
                hint=f"name one of: {', '.join(known)}" if known else "`fnmodel pack` makes one",
            )
        return Found(text, store.load(text), store)
    where = Reference.parse(text)
    named = where.digest or where.tag
    if named is None:
        raise UsageError(f"{text} names a repository", hint=f"write {text}:TAG or {text}@sha256:…")
    registry = registry_of(where)
    image = registry.image(where.repository, named, store)
    if image is None:
        raise UsageError(f"there is no image {text}", hint="check its name, tag and digest")
    return Found(text, image, store, registry, where.repository)


def inspect(found: Found, trusted: "Sequence[PublicKey]", *, whole: bool = False) -> Inspection:
    """Gather what is known of an image.

    The bill of materials is the one beside it in its registry, or is made from its layers where
    these are here. With `whole` they are fetched if need be.

    Raises:
        PackError, RegistryError: what lies beside the image, or a layer, cannot be read.

    """
    image, store = found.image, found.store
    verdict = signature.Verdict("none", reason="signatures lie in the registry")
    bill = None
    if found.registry is not None:
        beside = (image.digest, found.registry, found.repository, store)
        verdict = signature.check(signature.signatures(*beside), image.digest, trusted)
        bill = sbom.pull(*beside, signed=verdict.sbom)
        if bill is None and whole:
            found.registry.pull(found.repository, image.digest, store)
    if bill is None and all(store.has(layer.descriptor) for layer in image.layers):
        bill = store.read(sbom.sbom(image, store))
    return Inspection(found, verdict, bill)


def is_ecr(where: Reference) -> bool:
    """Whether a reference is to a registry of AWS."""
    return _ECR.fullmatch(where.host) is not None


def login(where: Reference, profile: str | None = None) -> Registry:
    """Return a client of a registry: with AWS's credentials for ECR, else with Docker's.

    Raises:
        CredentialsError: AWS has none.
        RegistryError: Docker's cannot be read.

    """
    ecr = _ECR.fullmatch(where.host)
    if ecr is None:
        return Registry(where.url, credentials.from_docker(where.host))
    client = Cloud(region=ecr[1], profile=profile).client("ecr")
    given = Repositories(client).credentials()
    return Registry(where.url, credentials.Credentials(given.username, given.password))


def write(bill: bytes, path: Path) -> None:
    """Write a bill of materials into a file, indented, whole or not at all.

    Raises:
        UsageError: it cannot be written.

    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(json.dumps(json.loads(bill), indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="name a folder that you may write"
        ) from error
