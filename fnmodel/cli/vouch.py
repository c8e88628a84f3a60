"""Who vouches for an image: what it is made of and who signed it, beside it in its repository."""

from typing import TYPE_CHECKING

from fnmodel.pack import sbom, signature
from fnmodel.pack.image import Image, digest_of
from fnmodel.pack.reference import Reference

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace


def attach(work: "Workspace", image: Image, image_uri: str) -> None:
    """Store the bill of materials and the signature beside a pushed image, and check the latter.

    Raises:
        SignatureError: no trusted key signed the image.
        RegistryError: the registry refused, or the connection broke too often.

    """
    where = Reference.parse(image_uri)
    with work.console.step("attach") as step:
        step.progress("listing what the image holds")
        bill = sbom.sbom(image, work.store)
        registry = work.registry(image_uri)
        sbom.push(image, bill, registry, where.repository, work.store)
        said = [f"bill of materials of {sbom.summary(work.store.read(bill)).count} components"]
        if work.keys.key is not None:
            step.progress("signing")
            name = f"{where.host}/{where.repository}"
            added = signature.sign(
                image.descriptor, name, work.keys.key, registry, where.repository, work.store,
                sbom=bill.digest,
            )  # fmt: skip
            said.append(f"{'signed' if added else 'signed before'} with {work.keys.key.name}")
        if work.keys.trusted:
            step.progress("checking its signature")
            verdict = signature.verify(
                image.digest, work.keys.trusted, registry, where.repository, work.store
            )
            said.append(f"verified by {verdict.key}")
        step.done("; ".join(said))


def carry(work: "Workspace", image: Image, image_uri: str, bill: bytes | None) -> str:
    """Sign an image that was copied here where the project's key has not, and check it.

    `bill` is its bill of materials. Returns what was done, in words.

    Raises:
        SignatureError: no trusted key signed the image.
        RegistryError: the registry refused, or the connection broke too often.

    """
    where = Reference.parse(image_uri)
    registry = work.registry(image_uri)
    said = []
    if work.keys.key is not None and not is_signed(work, image, image_uri):
        signature.sign(
            image.descriptor, f"{where.host}/{where.repository}", work.keys.key, registry,
            where.repository, work.store, sbom=digest_of(bill) if bill is not None else None,
        )  # fmt: skip
        said.append(f"signed with {work.keys.key.name}")
    if work.keys.trusted:
        verdict = signature.verify(
            image.digest, work.keys.trusted, registry, where.repository, work.store
        )
        said.append(f"verified by {verdict.key}")
    return "; ".join(said)


def is_signed(work: "Workspace", image: Image, image_uri: str) -> bool:
    """Whether a deployed image has the signature that this project's key gives; reads only."""
    if work.keys.key is None:
        return True
    repository = Reference.parse(image_uri).repository
    found = signature.signatures(image.digest, work.registry(image_uri), repository, work.store)
    return signature.check(found, image.digest, [work.keys.key.public]).state == "verified"
