"""What an image is made of: the packages whose own records lie in its layers.

Python's are found by their `.dist-info`, a distribution's by the database of dpkg or RPM. A layer
is read once, and only where its survey names such a record; what was found is kept beside the
store.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from email.parser import HeaderParser
from pathlib import PurePosixPath
from typing import Any

from fnmodel.pack.archive import entries
from fnmodel.pack.image import Image, Layer, is_digest
from fnmodel.pack.layout import Store
from fnmodel.pack.survey import survey
from fnmodel.pack.tree import Tree

_FORMAT = 1
_LARGEST = 64 << 20
_LONGEST = 80

_METADATA = re.compile(r"\.dist-info/METADATA$")
_SBOM = re.compile(r"\.dist-info/sboms/[^/]+\.json$")
_DPKG = re.compile(r"^var/lib/dpkg/status(?:\.d/(?!.*\.md5sums$)[^/]+)?$")
_FIELD = re.compile(r"^(Package|Version|Architecture|Status): (.+)$", re.MULTILINE)
_RELEASE = re.compile(r"^(?:etc|usr/lib)/os-release$")
_RPM = re.compile(r"/rpmdb\.sqlite$")
_RECORDS = (_METADATA, _SBOM, _DPKG, _RELEASE, _RPM)
# Databases that are not read: older ones of RPM, and Alpine's.
_UNREAD = re.compile(r"(?:var/lib/rpm/Packages(?:\.db)?|lib/apk/db/installed)$")

# What metadata older than PEP 639 calls licences that have a name in SPDX's list.
_SPDX = {
    "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0", "apache-2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0", "mit": "MIT", "mit license": "MIT",
    "bsd-3-clause": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause", "isc": "ISC",
    "mpl-2.0": "MPL-2.0", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "psf-2.0": "PSF-2.0",
}  # fmt: skip


@dataclass(frozen=True)
class Package:
    """One package; `kind` is purl's word for where it comes from: pypi, deb, rpm, cargo.

    `license` is an SPDX expression if `spdx`, else whatever the package calls it. `layer` is the
    digest of the layer that holds it, `parts` what its own bill of materials says is built in.
    """

    kind: str
    name: str
    version: str
    license: str = ""
    spdx: bool = False
    architecture: str = ""
    sha256: str = ""
    layer: str = ""
    parts: tuple["Package", ...] = ()

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Package":
        """Read what `dataclasses.asdict` made of one."""
        return Package(**{**data, "parts": tuple(map(Package.from_json, data["parts"]))})


@dataclass(frozen=True)
class Inventory:
    """The packages of an image, and the distribution it is made of (`debian`, `12`) where known.

    `unread` names the databases of packages that were found and are not understood. `complete`
    says that every package manager's database was read, where there is a base at all.
    """

    packages: tuple[Package, ...]
    distribution: tuple[str, str] | None
    unread: tuple[str, ...]
    complete: bool


def inventory(image: Image, store: Store) -> Inventory:
    """Return what the layers of an image hold; upper layers hide lower ones.

    Raises:
        PackError: a layer's blob is missing or damaged.

    """
    records: dict[str, list[Package]] = {}
    for layer in image.layers:
        digest = layer.descriptor.digest
        for path, found in _records(layer, store).items():
            records[path] = [replace(package, layer=digest) for package in found]
    tree = Tree([survey(layer, store) for layer in image.layers])
    visible = {path: found for path, found in records.items() if path in tree.paths}
    parts = {
        PurePosixPath(path).parents[1]: [replace(part, layer="") for part in found]
        for path, found in visible.items()
        if _SBOM.search(path)
    }
    packages = set()
    distribution = None
    for path, found in sorted(visible.items()):
        if _RELEASE.search(path):
            # `etc` comes first, and is the administrator's word.
            distribution = distribution or next(((p.name, p.version) for p in found), None)
        elif not _SBOM.search(path):
            inside = parts.get(PurePosixPath(path).parent, ())
            packages |= {replace(package, parts=tuple(inside)) for package in found}
    unread = tuple(sorted(path for path in tree.paths if _UNREAD.search(path)))
    known = not tree.has_system or any(package.kind in ("deb", "rpm") for package in packages)
    return Inventory(
        tuple(sorted(packages, key=lambda one: (one.kind, one.name, one.version, one.layer))),
        distribution,
        unread,
        known and not unread,
    )


def _records(layer: Layer, store: Store) -> dict[str, list[Package]]:
    """Return what each record of one layer says, by its path."""
    key = layer.diff_id.removeprefix("sha256:")
    known = store.recall("inventories", key)
    if isinstance(known, dict) and known.get("format") == _FORMAT:
        return {
            path: [Package.from_json(item) for item in found]
            for path, found in known["records"].items()
        }
    wanted = {
        entry.path
        for entry in survey(layer, store).entries
        if entry.kind == "file" and any(record.search(entry.path) for record in _RECORDS)
    }
    found = dict(_read(layer, store, wanted)) if wanted else {}
    plain = {path: [asdict(package) for package in packages] for path, packages in found.items()}
    store.remember("inventories", key, {"format": _FORMAT, "records": plain})
    return found


def _read(layer: Layer, store: Store, wanted: set[str]) -> Iterator[tuple[str, list[Package]]]:
    for member, stream in entries(layer, store):
        path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        if path not in wanted or not member.isreg() or member.size > _LARGEST:
            continue
        data = bytearray()
        while chunk := stream.read(member.size - len(data)):
            data += chunk
        yield path, list(_packages(path, bytes(data)))


def _packages(path: str, data: bytes) -> Iterator[Package]:
    if _RPM.search(path):
        yield from _of_rpm(data)
        return
    text = data.decode("utf-8", "replace")
    if _METADATA.search(path):
        yield from _of_python(text)
    elif _SBOM.search(path):
        yield from _of_bill(text)
    elif _DPKG.search(path):
        yield from _of_dpkg(text)
    else:
        words = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', text, re.MULTILINE))
        if "ID" in words:
            yield Package("os", words["ID"], words.get("VERSION_ID", ""))


def _of_python(text: str) -> Iterator[Package]:
    headers = HeaderParser().parsestr(text)
    name, version = headers.get("Name"), headers.get("Version")
    if name and version:
        normal = re.sub(r"[-_.]+", "-", name).lower()
        word, spdx = _license(
            headers.get("License-Expression"),
            headers.get("License"),
            headers.get_all("Classifier") or (),
        )
        yield Package("pypi", normal, version.strip(), word, spdx)


def _license(
    expression: str | None, free: str | None, classifiers: Iterable[str]
) -> tuple[str, bool]:
    """Return a licence in one line, and whether it is an SPDX expression."""
    if expression:
        return expression.strip(), True
    listed = sorted(c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: "))
    words = [(free or "").strip(), *(listed if len(listed) == 1 else ())]
    for word in words:
        if known := _SPDX.get(word.lower()):
            return known, True
    # The field may hold the whole text of a licence.
    short = words[0] if "\n" not in words[0] and len(words[0]) <= _LONGEST else ""
    return " or ".join(listed) or short, False


def _of_bill(text: str) -> Iterator[Package]:
    """Yield the components of a bill of materials that a wheel brings (PEP 770), if CycloneDX."""
    try:
        listed = json.loads(text)
        listed = listed["components"] if listed.get("bomFormat") == "CycloneDX" else []
        for item in listed:
            kind, slash, _ = str(item["purl"]).removeprefix("pkg:").partition("/")
            if not slash:
                continue
            hashes = {h.get("alg"): str(h.get("content")) for h in item.get("hashes") or ()}
            sha256 = hashes.get("SHA-256", "").lower()
            first: Any = next(iter(item.get("licenses") or ()), {})
            word = first.get("expression") or (first.get("license") or {}).get("id")
            yield Package(
                kind, str(item["name"]), str(item["version"]), str(word or ""), bool(word),
                sha256=sha256 if is_digest(f"sha256:{sha256}") else "",
            )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # another format, which is no reason to have no bill at all


def _of_dpkg(text: str) -> Iterator[Package]:
    for stanza in text.split("\n\n"):
        fields = dict(
            re.findall(r"^(Package|Version|Architecture|Status): (.*)$", stanza, re.MULTILINE)
        )
        # In `status.d` of images without dpkg a stanza has no status.
        if fields.get("Status", "installed").endswith("installed") and "Version" in fields:
            yield Package(
                "deb", fields.get("Package", ""), fields["Version"],
                architecture=fields.get("Architecture", ""),
            )  # fmt: skip


def _of_rpm(data: bytes) -> Iterator[Package]:
    try:
        from fnmodel.pack import rpmdb

        listed = list(rpmdb.read(data))
    except (ValueError, ImportError):  # some builds of Python have no SQLite
        return  # then the bill has no package of it, and says that it is incomplete
    for found in listed:
        # Keys that packages are signed with are kept as if they were packages.
        if found.get("name", "gpg-pubkey") == "gpg-pubkey":
            continue
        version = f"{found.get('version', '')}-{found.get('release', '')}"
        epoch = found.get("epoch", "0")
        yield Package(
            "rpm", found["name"], version if epoch == "0" else f"{epoch}:{version}",
            found.get("license", ""), architecture=found.get("arch", ""),
        )  # fmt: skip
