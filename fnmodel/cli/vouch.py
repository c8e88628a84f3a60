"""Who vouches for an image: what it is made of and who signed it, beside it in its repository."""

from typing import TYPE_CHECKING

from fnmodel.pack import sbom, signature
from fnmodel.pack.image import Image
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


def is_signed(work: "Workspace", image: Image, image_uri: str) -> bool:
    """Whether a deployed image has the signature that this project's key gives; reads only."""
    if work.keys.key is None:
        return True
    repository = Reference.parse(image_uri).repository
    found = signature.signatures(image.digest, work.registry(image_uri), repository, work.store)
    return signature.check(found, image.digest, [work.keys.key.public]).state == "verified"
