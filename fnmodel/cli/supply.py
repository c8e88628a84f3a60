"""`keygen`, `inspect`: what is in an image, and who vouches for it."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fnmodel.cli.console import Console, Output, listed, pairs, table
from fnmodel.cli.options import OutputOption, Where, placed
from fnmodel.errors import SignatureError, UsageError
from fnmodel.units import size


def keygen(
    name: Annotated[
        Path, typer.Argument(help="Path of the files without their suffixes .key and .pub.")
    ] = Path("signing"),
    *,
    output: OutputOption = Output.table,
) -> None:
    """Make a pair of keys for signing images: NAME.key to keep secret, NAME.pub to give away.

    The private key is encrypted if FNMODEL_SIGNING_PASSWORD is set. Existing files are kept.

    Example: fnmodel keygen signing
    """
    from fnmodel.pack.keys import PASSWORD, generate

    private, public = Path(f"{name}.key"), Path(f"{name}.pub")
    password = os.environ.get(PASSWORD)
    made = generate(private, public, password)
    data = {
        "private": str(private), "public": str(public),
        "fingerprint": made.fingerprint, "encrypted": bool(password),
    }  # fmt: skip
    shown = {
        "private": f"{private} ({'encrypted' if password else 'not encrypted'}; not for git)",
        "public": public,
        "fingerprint": made.fingerprint,
        "next": f"signing: {{key: {private}, trusted: [{public}]}} in fnmodel.yaml",
    }
    Console(output).data(data, pairs(shown))


@placed
def inspect(
    image: Annotated[
        str | None,
        typer.Argument(
            help="HOST/REPOSITORY@sha256:… or :TAG, oci:DIR[:NAME], or a digest or name on this "
            "machine; by default what `pack` made last.",
            show_default=False,
        ),
    ] = None,
    *,
    deployed: Annotated[
        bool, typer.Option("--deployed", help="The image that the stage's function runs.")
    ] = False,
    sbom: Annotated[
        Path | None,
        typer.Option("--sbom", help="Also write its bill of materials there (CycloneDX JSON)."),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(
            "--key",
            help="Public key to trust instead of `signing.trusted`; exit 4 unless one of them "
            "signed the image.",
        ),
    ] = None,
    where: Where,
) -> None:
    """Show what an image is made of and who signed it, without unpacking it.

    Example: fnmodel inspect --deployed --sbom sbom.json
    """
    from fnmodel.cli import inspection, trust
    from fnmodel.config import FILE
    from fnmodel.home import folder
    from fnmodel.pack.layout import Store
    from fnmodel.pack.reference import Reference
    from fnmodel.pack.registry import Registry

    if image is not None and deployed:
        raise UsageError("an IMAGE and --deployed name two images", hint="leave one of them out")
    work = None
    if image is None or (where.project / FILE).is_file():
        work = where.open()
        if deployed:
            image = f"{work.repository_uri()}@{work.publisher.latest().digest}"
        image = image or f"{work.project.name}-{work.recipe.python}"

    def registry_of(of: Reference) -> Registry:
        # The embedded cloud answers for the hosts of ECR.
        if work is not None and (deployed or (work.local and inspection.is_ecr(of))):
            return work.registry(str(of))
        return inspection.login(of, where.profile)

    assert image is not None, "a project names one"
    trusted = key or (work.project.signing.trusted if work else ())
    found = inspection.find(image, Store(folder("cache", "oci")), registry_of)
    result = inspection.inspect(found, trust.trusted(trusted), whole=sbom is not None)
    if sbom is not None:
        if result.bill is None:
            raise UsageError(f"the layers of {image} are not here any more", hint="pack it again")
        inspection.write(result.bill, sbom)
    data = result.to_json()
    Console(where.output).data(data, _shown(data))
    if key and result.verdict.state != "verified":
        raise SignatureError(
            f"{image} is not signed by {' or '.join(map(str, key))}: {result.verdict.reason}",
            hint="do not run what you do not trust",
        )


def _shown(data: dict[str, Any]) -> str:
    layers = [[one["created_by"], size(one["size"]), one["digest"][:19]] for one in data["layers"]]
    base, signed, bill = data["base"], data["signature"], data["sbom"]
    text = table(["layer", "compressed", "digest"], layers)
    facts = {
        "image": data["image"],
        "digest": data["digest"],
        "size": size(data["size"]),
        "architecture": data["architecture"],
        "python": data["python"],
        "base": f"{base['name']}@{base['digest']}" if base else None,
        "model": data["model"],
        "lock": data["lock"],
        "requirements": data["requirements"],
        "starts": " ".join(data["entrypoint"]),
        "signature": f"{signed['state']} by {signed['key']}"
        if signed["key"]
        else f"{signed['state'].upper()}: {signed['reason']}",
        "materials": "none" if bill is None else _counted(bill["components"]),
        "licenses": "" if bill is None else _counted(bill["licenses"]),
    }
    if bill is not None:
        notes = [] if bill["complete"] else ["not complete"]
        notes += ["vouched for by the signature"] if bill["signed"] else []
        facts["materials"] = "; ".join([facts["materials"], *notes])
    return f"{text}\n\n{pairs(facts)}"


def _counted(counts: dict[str, int]) -> str:
    return listed([f"{count} {name}" for name, count in counts.items()], 6)
