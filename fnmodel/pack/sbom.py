"""The bill of materials of an image: CycloneDX 1.6 as JSON, the same bytes for the same image.

Written by hand: the document is a small one, and its bytes must depend on the image alone, not on
the version of a library. A test validates it against the schema.

Every wheel is named with the layer that holds it, and the labels name the locks that pin it by
hash. A lock lists the hashes of all wheels of a release, so none of them is claimed here as that of
the wheel that was taken.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fnmodel.errors import PackError
from fnmodel.pack.artifact import EMPTY, EMPTY_TYPE, Artifact, Part, attach, attached, parts
from fnmodel.pack.image import Descriptor, Image, encode, is_digest
from fnmodel.pack.inventory import Inventory, Package, inventory
from fnmodel.pack.layout import Store
from fnmodel.pack.models import digests
from fnmodel.pack.registry import Registry

KIND = "application/vnd.cyclonedx+json"

_FORMAT = 1
_LARGEST = 64 << 20
_TITLE = "org.opencontainers.image.title"
# Any; it only has to stay the same.
_NAMESPACE = uuid.UUID("7d0ad7a9-6a36-4bb5-9f0e-6a1ad1a6c1a5")


def sbom(image: Image, store: Store) -> Descriptor:
    """Return the bill of materials of an image, in the store; made once an image.

    Raises:
        PackError: a layer's blob is missing or damaged.

    """
    key = image.digest.removeprefix("sha256:")
    known = store.recall("sboms", key)
    if isinstance(known, dict) and known.get("format") == _FORMAT:
        found = Descriptor.from_json(known["sbom"])
        if store.has(found):
            return found
    made = store.write(KIND, encode(document(image, inventory(image, store))))
    store.remember("sboms", key, {"format": _FORMAT, "sbom": made.to_json()})
    return made


def push(
    image: Image, found: Descriptor, registry: Registry, repository: str, store: Store
) -> None:
    """Store a bill of materials beside its image.

    Raises:
        RegistryError: the registry refused, or the connection broke too often.

    """
    part = Part(found, {_TITLE: "sbom.cdx.json"})
    config = store.write(EMPTY_TYPE, EMPTY)
    attach(Artifact(KIND, image.descriptor, config, (part,)), registry, repository, store)


def pull(
    digest: str, registry: Registry, repository: str, store: Store, *, signed: str | None = None
) -> bytes | None:
    """Return the bill of materials that lies beside an image, or None.

    Where a signature names one by its digest (`signed`), no other will do.

    Raises:
        RegistryError: the registry refused, or the connection broke too often.
        PackError: what lies there is no bill of materials.

    """
    for manifest in attached(KIND, digest, registry, repository):
        found = registry.manifest(repository, manifest.digest)
        for part in parts(found) if found else ():
            fits = signed in (None, part.blob.digest) and part.blob.size <= _LARGEST
            if part.blob.media_type == KIND and fits:
                return registry.fetch(part.blob, store, repository)
    return None


def document(image: Image, found: Inventory) -> dict[str, Any]:
    """Return the bill of materials of an image that holds these packages."""
    labels = image.labels
    listed = [*_of_labels(labels), *(_package(one, found) for one in found.packages)]
    components = _sorted(listed)
    refs = [component["bom-ref"] for component in components]
    complete = "complete" if found.complete else "incomplete"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, image.digest)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "fnmodel"}]},
            "component": {
                "type": "container",
                "bom-ref": image.digest,
                "name": labels.get(_TITLE, "image"),
                "version": image.digest,
                "hashes": _hash(image.digest),
                "properties": _properties(
                    architecture=image.settings.get("architecture"),
                    python=labels.get("io.fnmodel.python"),
                    lock=labels.get("io.fnmodel.lock"),
                    requirements=labels.get("io.fnmodel.requirements"),
                    unread=", ".join(found.unread),
                ),
            },
        },
        "components": components,
        "dependencies": [
            {"ref": image.digest, "dependsOn": refs},
            *({"ref": ref} for ref in refs),
        ],
        "compositions": [{"aggregate": complete, "assemblies": [image.digest]}],
    }


def _of_labels(labels: dict[str, str]) -> Iterable[dict[str, Any]]:
    """Yield what no package manager knows of: the base, the model, and fnmodel itself."""
    base = labels.get("org.opencontainers.image.base.digest")
    if base and is_digest(base):
        name = labels.get("org.opencontainers.image.base.name", "base")
        yield {
            "type": "container", "bom-ref": f"base@{base}", "name": name, "version": base,
            "hashes": _hash(base),
        }  # fmt: skip
    models = digests(labels)
    for name, model in models.items():
        # Names may share a model, and references may not.
        ref = f"model@{model}" if len(models) == 1 else f"model@{model}#{name}"
        yield {
            "type": "machine-learning-model", "bom-ref": ref, "name": name, "version": model
        }  # fmt: skip
    tool = labels.get("io.fnmodel.tool")
    if tool:
        yield {
            "type": "application", "bom-ref": f"fnmodel@{tool}", "name": "fnmodel", "version": tool,
            "licenses": [{"expression": "Apache-2.0"}],
        }  # fmt: skip


def _package(package: Package, found: Inventory) -> dict[str, Any]:
    purl = _purl(package, found.distribution)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }
    if package.license:
        named = {"license": {"name": package.license}}
        component["licenses"] = [{"expression": package.license} if package.spdx else named]
    if package.sha256:
        component["hashes"] = _hash(package.sha256)
    if package.layer:
        component["properties"] = _properties(layer=package.layer)
    if package.parts:
        inside = [_package(part, found) for part in package.parts]
        for one in inside:
            one["bom-ref"] = f"{component['bom-ref']}/{one['bom-ref']}"
        component["components"] = _sorted(inside)
    return component


def _sorted(components: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return components in the order of their references, each of which occurs once."""
    by_ref = {str(component["bom-ref"]): component for component in components}
    return [by_ref[ref] for ref in sorted(by_ref)]


def _purl(package: Package, distribution: tuple[str, str] | None) -> str:
    """Return the package's URL: https://github.com/package-url/purl-spec."""
    version = quote(package.version, safe=".+-~:")
    if package.kind not in ("deb", "rpm"):
        return f"pkg:{package.kind}/{quote(package.name, safe='/@')}@{version}"
    vendor, number = distribution or ("unknown", "")
    qualifiers = {"arch": package.architecture}
    if package.kind == "rpm" and ":" in package.version:
        epoch, _, rest = package.version.partition(":")
        version, qualifiers["epoch"] = quote(rest, safe=".+-~"), epoch
    if number:
        qualifiers["distro"] = f"{vendor}-{number}"
    query = "&".join(f"{key}={value}" for key, value in qualifiers.items() if value)
    where = f"pkg:{package.kind}/{vendor}/{quote(package.name)}@{version}"
    return f"{where}?{query}" if query else where


def _hash(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _properties(**values: str | None) -> list[dict[str, str]]:
    return [{"name": f"fnmodel:{key}", "value": value} for key, value in values.items() if value]


@dataclass(frozen=True)
class Summary:
    """What a bill of materials comes to: components by type, licences by how often they occur."""

    components: dict[str, int]
    licenses: dict[str, int]
    complete: bool

    @property
    def count(self) -> int:
        """All components, without what is built into them."""
        return sum(self.components.values())


def summary(data: bytes) -> Summary:
    """Count what a bill of materials lists, ours or another's, without what is built into parts.

    Raises:
        PackError: it is not a CycloneDX document.

    """
    try:
        bill = json.loads(data)
        listed = bill.get("components") or []
        kinds = Counter(_kind(component) for component in listed)
        licenses = Counter(_licenses(component.get("licenses") or ()) for component in listed)
        aggregates = {item.get("aggregate") for item in bill.get("compositions") or ()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackError(f"not a CycloneDX bill of materials: {error!r}") from error
    return Summary(
        dict(sorted(kinds.items())),
        dict(sorted(licenses.items(), key=lambda item: (-item[1], item[0]))),
        aggregates == {"complete"},
    )


def _kind(component: dict[str, Any]) -> str:
    purl = str(component.get("purl", ""))
    return purl.removeprefix("pkg:").partition("/")[0] or str(component["type"])


def _licenses(listed: Sequence[dict[str, Any]]) -> str:
    words = []
    for item in listed:
        one = item.get("license") or {}
        words.append(str(item.get("expression") or one.get("id") or one.get("name")))
    return ", ".join(words) or "not stated"
