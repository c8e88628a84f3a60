"""The bill of materials: what it lists, that it is CycloneDX, and that its bytes never wander."""

import json
import os
import sqlite3
import struct
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from pack_cases import entry, foreign_image, small_image, tar_of

from fnmodel.errors import PackError
from fnmodel.pack import sbom
from fnmodel.pack.image import Image, encode
from fnmodel.pack.inventory import inventory
from fnmodel.pack.layout import Store

AT = "opt/python"
OLD = "Name: Py_Thing\nVersion: 1.0\nLicense: MIT License\n\nA long description.\nName: no\n"
NEW = "Name: new.one\nVersion: 2.0\nLicense-Expression: BSD-3-Clause AND MIT\n"
TWO = (
    "Name: two\nVersion: 3\nLicense: Dual License\nClassifier: License :: OSI Approved :: BSD "
    "License\nClassifier: License :: OSI Approved :: Apache Software License\n"
)
CRATES = {
    "bomFormat": "CycloneDX",
    "components": [
        {
            "name": "ahash", "version": "0.8.12", "purl": "pkg:cargo/ahash@0.8.12",
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
            "hashes": [{"alg": "SHA-256", "content": "5a" * 32}],
        },
        {"name": "odd", "version": "1", "purl": "pkg:cargo/odd@1", "hashes": [{"alg": "SHA-256"}]},
    ],
}  # fmt: skip
DPKG = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u4

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: never
Status: unknown ok not-installed
"""
RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_ID="12"\n'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def wheels(store: Store) -> Image:
    """Return an image of three wheels, one of which brings a bill of materials of its own."""
    files = {
        f"{AT}/py_thing-1.0.dist-info/METADATA": OLD,
        f"{AT}/new_one-2.0.dist-info/METADATA": NEW,
        f"{AT}/new_one-2.0.dist-info/sboms/crates.cyclonedx.json": json.dumps(CRATES),
        f"{AT}/two-3.dist-info/METADATA": TWO,
        f"{AT}/two-3.dist-info/sboms/odd.spdx.json": '{"spdxVersion": "SPDX-2.3"}',
        f"{AT}/two-3.dist-info/sboms/broken.json": "{",
        f"{AT}/nameless.dist-info/METADATA": "Version: 1\n",
    }
    image = small_image(store, {path: text.encode() for path, text in files.items()})
    image = image.configure(
        env={}, entrypoint=["/bin/x"], cmd=[], working_dir="/",
        labels={
            "io.fnmodel.name": "churn", "io.fnmodel.model": f"sha256:{'a' * 64}",
            "io.fnmodel.tool": "0.1.0", "io.fnmodel.lock": f"sha256:{'b' * 64}",
            "org.opencontainers.image.title": "churn",
            "org.opencontainers.image.base.name": "r.example/python",
            "org.opencontainers.image.base.digest": f"sha256:{'c' * 64}",
        },
    )  # fmt: skip
    store.save(image)
    return image


def bill(image: Image, store: Store) -> Any:
    """Return the bill of materials of an image, after the schema has judged it."""
    data = store.read(sbom.sbom(image, store))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    return json.loads(data)


def test_wheels_base_model_and_fnmodel_are_listed(store: Store) -> None:
    """Each wheel with version, purl, licence and layer; what is built into one below it."""
    image = wheels(store)
    document = bill(image, store)
    found = {one["name"]: one for one in document["components"]}
    crates = {one["name"]: one for one in found["new-one"]["components"]}

    assert set(found) == {"churn", "fnmodel", "new-one", "py-thing", "r.example/python", "two"}
    assert found["churn"]["type"] == "machine-learning-model"
    assert found["churn"]["version"] == f"sha256:{'a' * 64}"
    assert found["r.example/python"]["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    assert found["py-thing"]["purl"] == "pkg:pypi/py-thing@1.0"
    assert found["py-thing"]["licenses"] == [{"expression": "MIT"}]
    assert found["new-one"]["licenses"] == [{"expression": "BSD-3-Clause AND MIT"}]
    assert found["two"]["licenses"] == [
        {"license": {"name": "Apache Software License or BSD License"}}
    ]
    [layer] = found["two"]["properties"]
    assert layer == {"name": "fnmodel:layer", "value": image.layers[0].descriptor.digest}
    assert crates["ahash"]["hashes"] == [{"alg": "SHA-256", "content": "5a" * 32}]
    assert "hashes" not in crates["odd"]
    assert document["metadata"]["component"]["version"] == image.digest
    assert document["compositions"][0]["aggregate"] == "complete"


def test_the_same_image_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """In another store, and read anew, every byte is the same; another image has another bill."""
    other = Store(tmp_path / "other")
    first, second = (each.read(sbom.sbom(wheels(each), each)) for each in (store, other))
    again = sbom.sbom(wheels(store), store)
    changed = sbom.sbom(small_image(store), store)

    assert first == second == store.read(again)
    assert changed.digest != again.digest


def test_a_layer_is_read_once(store: Store) -> None:
    """Where a layer's content is known, its blob is not opened again."""
    image = wheels(store)
    before = inventory(image, store)
    blob = store.path(image.layers[0].descriptor.digest)
    blob.write_bytes(os.urandom(blob.stat().st_size))

    assert inventory(image, store) == before


def test_debian_packages_are_read_from_dpkg(store: Store) -> None:
    """What is installed is listed for its distribution; what was removed is not."""
    tar = tar_of(
        (entry("usr/bin/python3.13", mode=0o755), b"\x7fELF"),
        (entry("var/lib/dpkg/status"), DPKG.encode()),
        (entry("var/lib/dpkg/status.d/libssl3"), b"Package: libssl3\nVersion: 3.0.1~x\n"),
        (entry("var/lib/dpkg/status.d/libssl3.md5sums"), b"Package: no\nVersion: 1\n"),
        (entry("usr/lib/os-release"), RELEASE.encode()),
        entry("etc/os-release", tarfile.SYMTYPE, "../usr/lib/os-release"),
    )
    document = bill(foreign_image(store, [tar]), store)

    assert [one["purl"] for one in document["components"]] == [
        "pkg:deb/debian/libc6@2.36-9+deb12u4?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libssl3@3.0.1~x?distro=debian-12",
    ]
    assert document["compositions"][0]["aggregate"] == "complete"


def rpm_header(**fields: str | int) -> bytes:
    """Return a package's header as RPM keeps it."""
    tags = {"name": 1000, "version": 1001, "release": 1002, "epoch": 1003, "license": 1014,
            "arch": 1022, "summary": 1004}  # fmt: skip
    index, data = b"", b""
    for name, value in fields.items():
        data += bytes(-len(data) % 4) if isinstance(value, int) else b""
        kind = 4 if isinstance(value, int) else 9 if name == "summary" else 6
        index += struct.pack(">IIII", tags[name], kind, len(data), 1)
        data += struct.pack(">I", value) if isinstance(value, int) else value.encode() + b"\0"
    return struct.pack(">II", len(fields), len(data)) + index + data


def rpm_database(path: Path, *headers: bytes) -> bytes:
    """Return a database as RPM leaves it: its mode asks for a log that is empty."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        database.executemany("INSERT INTO Packages (blob) VALUES (?)", [(h,) for h in headers])
    return path.read_bytes()


def test_amazon_linux_s_packages_are_read_from_rpm(store: Store, tmp_path: Path) -> None:
    """Version with release, the epoch where there is one, licence as it is written; no keys."""
    data = rpm_database(
        tmp_path / "rpmdb.sqlite",
        rpm_header(name="bash", version="5.2", release="1.amzn2023", license="GPLv3+",
                   summary="A shell", arch="x86_64"),
        rpm_header(name="openssl-libs", epoch=1, version="3.2.2", release="1", arch="x86_64"),
        rpm_header(name="gpg-pubkey", version="1", release="1"),
    )  # fmt: skip
    tar = tar_of(
        (entry("usr/bin/python3.13", mode=0o755), b"\x7fELF"),
        (entry("var/lib/rpm/rpmdb.sqlite"), data),
        (entry("etc/os-release"), b'ID="amzn"\nVERSION_ID="2023"\n'),
    )
    document = bill(foreign_image(store, [tar]), store)

    assert data[18:20] == b"\2\2"
    assert [one["purl"] for one in document["components"]] == [
        "pkg:rpm/amzn/bash@5.2-1.amzn2023?arch=x86_64&distro=amzn-2023",
        "pkg:rpm/amzn/openssl-libs@3.2.2-1?arch=x86_64&epoch=1&distro=amzn-2023",
    ]
    assert document["components"][0]["licenses"] == [{"license": {"name": "GPLv3+"}}]
    assert document["compositions"][0]["aggregate"] == "complete"


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0" * 9, rpm_header(name="x")])
def test_a_broken_rpm_database_makes_an_incomplete_bill(data: bytes, store: Store) -> None:
    """A deploy does not end because a base cannot be listed; the bill says what it lacks."""
    tar = tar_of(
        (entry("usr/bin/python3.13", mode=0o755), b"\x7fELF"),
        (entry("var/lib/rpm/rpmdb.sqlite"), data),
    )
    document = bill(foreign_image(store, [tar]), store)

    assert document["components"] == []
    assert document["compositions"][0]["aggregate"] == "incomplete"


@pytest.mark.parametrize("path", ["var/lib/rpm/Packages", "lib/apk/db/installed", None])
def test_a_bill_that_may_lack_something_says_so(path: str | None, store: Store) -> None:
    """A base whose package database is not read, or has none, makes an incomplete bill."""
    more = [(entry(path), b"?")] if path else []
    tar = tar_of((entry("usr/bin/python3.13", mode=0o755), b"\x7fELF"), *more)
    document = bill(foreign_image(store, [tar]), store)
    notes = {one["name"]: one["value"] for one in document["metadata"]["component"]["properties"]}

    assert document["compositions"][0]["aggregate"] == "incomplete"
    assert notes.get("fnmodel:unread") == path
    assert not sbom.summary(encode(document)).complete


def test_upper_layers_hide_what_lies_below(store: Store) -> None:
    """A newer wheel over an older one, and a file that a whiteout takes away."""
    old = tar_of(
        (entry("a/x.dist-info/METADATA"), b"Name: x\nVersion: 1\n"),
        (entry("a/y.dist-info/METADATA"), b"Name: y\nVersion: 1\n"),
        (entry("a/z.dist-info/METADATA"), b"Name: z\nVersion: 1\n"),
    )
    new = tar_of(
        (entry("a/x.dist-info/METADATA"), b"Name: x\nVersion: 2\n"), entry("a/.wh.y.dist-info")
    )
    found = inventory(foreign_image(store, [old, new]), store).packages

    assert [(one.name, one.version) for one in found] == [("x", "2"), ("z", "1")]


def test_a_summary_counts_any_bill(store: Store) -> None:
    """Components by where they come from, licences by how often; not what is built into parts."""
    counted = sbom.summary(store.read(sbom.sbom(wheels(store), store)))

    assert counted.components == {
        "application": 1, "container": 1, "machine-learning-model": 1, "pypi": 3,
    }  # fmt: skip
    assert counted.licenses["not stated"] == 2
    assert counted.count == 6
    with pytest.raises(PackError, match="not a CycloneDX bill"):
        sbom.summary(b'{"components": [1]}')
    with pytest.raises(PackError, match="not a CycloneDX bill"):
        sbom.summary(b"[" * 99_999)
