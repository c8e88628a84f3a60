"""Signatures and other artifacts beside an image: who may vouch for it, and what is refused."""

import base64
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pack_cases import program, small_image

from fnmodel.errors import PackError, RegistryError, SignatureError, SigningError, UsageError
from fnmodel.pack import artifact, keys, sbom, signature
from fnmodel.pack.image import MANIFEST_TYPE, Descriptor, Image, digest_of
from fnmodel.pack.keys import PrivateKey, PublicKey
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
from fnmodel.testing import InMemoryRegistry

NAME = "fnmodel/churn"
TITLE = f"registry.example/{NAME}"

# Made by cosign 2.5: `cosign sign --key cosign.key --tlog-upload=false -a who=ci …`.
COSIGN_KEY = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAETSmZnTcK4lb6wHFeMdPmkWsg+yO3
hE2bOEfh7wHVAlMYHx2v5FcuV06UJi8c+Wqceuy6gXEF242YHWe2EzULzg==
-----END PUBLIC KEY-----
"""
COSIGN_DIGEST = "sha256:633efe59e81e54e92b7ff201a5bb103e6c58783113077892e64138149110970a"
COSIGN_PAYLOAD = (
    '{"critical":{"identity":{"docker-reference":"127.0.0.1:5057/churn"},"image":'
    f'{{"docker-manifest-digest":"{COSIGN_DIGEST}"}},"type":"cosign container image signature"}},'
    '"optional":{"who":"ci"}}'
)
COSIGN_SIGNATURE = (
    "MEUCIBTWgq/uRfYxUChog0sKChccUcvIcs5yBPgyxCSepOK2AiEAzEWJwcXOfdtrTWhtM2lEMXfQUmTJPdQhIVZfebvn"
    "f/g="
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> Image:
    return small_image(store)


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    return pair(tmp_path, "ours")


def pair(folder: Path, name: str) -> PrivateKey:
    """Return a new key, whose public half lies beside it."""
    keys.generate(folder / f"{name}.key", folder / f"{name}.pub")
    return PrivateKey.load(folder / f"{name}.key")


@dataclass(frozen=True)
class Place:
    """A repository with an image in it, and what signs and checks there."""

    fake: InMemoryRegistry
    registry: Registry
    store: Store

    def push(self, image: Image) -> Image:
        """Store an image in the repository."""
        self.registry.push(image, self.store, NAME)
        return image

    def sign(self, image: Image, key: PrivateKey, bill: str | None = None) -> bool:
        """Sign an image."""
        return signature.sign(
            image.descriptor, TITLE, key, self.registry, NAME, self.store, sbom=bill
        )

    def verify(self, image: Image, *trusted: PublicKey) -> signature.Verdict:
        """Check the image's signature."""
        return signature.verify(image.digest, trusted, self.registry, NAME, self.store)


@pytest.fixture(params=[False, True], ids=["tags", "referrers"])
def place(request: pytest.FixtureRequest, store: Store, image: Image) -> Iterator[Place]:
    """Give a registry without and with the referrers API, and the image in it."""
    with InMemoryRegistry(referrers=request.param) as fake:
        registry = Registry(fake.url)
        made = Place(fake, registry, store)
        made.push(image)
        yield made
        registry.close()


def test_what_is_signed_is_verified_and_nothing_is_signed_twice(
    place: Place, image: Image, key: PrivateKey
) -> None:
    """The verdict names the key and the bill of materials; signing again sends nothing."""
    bill = sbom.sbom(image, place.store)

    assert place.sign(image, key, bill.digest)
    verdict = place.verify(image, key.public)
    place.fake.requests.clear()
    assert not place.sign(image, key, bill.digest)

    assert (verdict.state, verdict.key, verdict.sbom) == ("verified", "ours.key", bill.digest)
    assert not any(each.startswith(("PUT", "POST")) for each in place.fake.requests)


def test_artifacts_are_listed_and_the_image_stays_as_it_was(
    place: Place, image: Image, key: PrivateKey
) -> None:
    """Whatever the registry can, both are found; the image's digest still names the image."""
    bill = sbom.sbom(image, place.store)
    for _ in range(2):  # repeated, as after a break
        sbom.push(image, bill, place.registry, NAME, place.store)
        place.sign(image, key, bill.digest)
    found = {
        kind: artifact.attached(kind, image.digest, place.registry, NAME)
        for kind in (sbom.KIND, signature.KIND)
    }
    tags = place.fake.tags(NAME)

    assert [len(listed) for listed in found.values()] == [1, 1]
    assert place.fake.manifests(NAME)[image.digest][1] == image.manifest
    assert set(tags) <= {artifact.fallback_tag(image.digest), signature.tag(image.digest)}
    assert (artifact.fallback_tag(image.digest) in tags) != place.fake.has_referrers
    for listed in found.values():
        document = json.loads(place.fake.manifests(NAME)[listed[0].digest][1])
        assert document["subject"] == image.descriptor.to_json()
    pulled = sbom.pull(image.digest, place.registry, NAME, place.store, signed=bill.digest)
    assert pulled == place.store.read(bill)


class Breaking(Registry):
    """A registry whose connection breaks before or after the call of this number that changes."""

    def __init__(self, url: str, number: int, *, after: bool) -> None:
        super().__init__(url)
        self._left, self._after = number, after

    def _break(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise RegistryError("broken")

    def put(
        self, repository: str, reference: str, manifest: bytes, media_type: str = MANIFEST_TYPE
    ) -> bool:
        """Store a manifest, or break."""
        if not self._after:
            self._break()
        listed = super().put(repository, reference, manifest, media_type)
        if self._after:
            self._break()
        return listed

    def send(self, blob: Descriptor, store: Store, repository: str) -> None:
        """Send a blob, or break."""
        if not self._after:
            self._break()
        super().send(blob, store, repository)
        if self._after:
            self._break()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(1, 9))
def test_an_attempt_that_broke_off_is_finished(
    number: int, after: bool, place: Place, image: Image, key: PrivateKey
) -> None:
    """Broken before or after any call that changes something, the same call leads to the end."""
    bill = sbom.sbom(image, place.store)

    def vouch(registry: Registry) -> None:
        sbom.push(image, bill, registry, NAME, place.store)
        signature.sign(image.descriptor, TITLE, key, registry, NAME, place.store, sbom=bill.digest)

    # Two blobs and a manifest each; where the registry keeps no list, that is one call more.
    if number <= (6 if place.fake.has_referrers else 8):
        with pytest.raises(RegistryError, match="broken"):
            vouch(Breaking(place.fake.url, number, after=after))
    vouch(place.registry)

    assert place.verify(image, key.public).sbom == bill.digest
    for kind in (sbom.KIND, signature.KIND):
        assert len(artifact.attached(kind, image.digest, place.registry, NAME)) == 1


def test_a_missing_signature_is_refused(place: Place, image: Image, key: PrivateKey) -> None:
    """The error says so, has its code, and exits as a failed gate does."""
    with pytest.raises(SignatureError, match="it has no signature") as caught:
        place.verify(image, key.public)

    assert (caught.value.code, caught.value.exit_code) == ("FNM-P005", 4)
    assert "signing.key" in caught.value.hint


def test_another_key_is_refused(
    place: Place, image: Image, key: PrivateKey, tmp_path: Path
) -> None:
    """Only a key that is trusted counts, under whatever name."""
    other = pair(tmp_path, "theirs")
    place.sign(image, other)

    with pytest.raises(SignatureError, match="no trusted key made its signature"):
        place.verify(image, key.public)
    assert place.verify(image, key.public, other.public).key == "theirs.key"


def test_keys_can_be_changed_over_time(
    place: Place, image: Image, key: PrivateKey, tmp_path: Path
) -> None:
    """A second key adds its signature; the first one's stays good."""
    other = pair(tmp_path, "next")
    place.sign(image, key)
    place.sign(image, other)

    assert place.verify(image, key.public).state == "verified"
    assert place.verify(image, other.public).state == "verified"
    assert len(signature.signatures(image.digest, place.registry, NAME, place.store)) == 2


def test_a_signature_of_another_image_is_refused(
    place: Place, image: Image, key: PrivateKey
) -> None:
    """The artifact of a signed image, replayed under the tag of another, vouches for nothing."""
    other = place.push(small_image(place.store, {"evil": b"1"}))
    place.sign(image, key)
    tags = place.fake.tags(NAME)
    tags[signature.tag(other.digest)] = tags[signature.tag(image.digest)]

    with pytest.raises(SignatureError, match=f"is that of {image.digest}"):
        place.verify(other, key.public)
    assert place.verify(image, key.public).state == "verified"


def test_a_tampered_image_has_no_signature(place: Place, image: Image, key: PrivateKey) -> None:
    """A changed manifest has another digest; under the old one the registry is caught lying."""
    place.sign(image, key)
    changed = image.append(small_image(place.store, {"evil": b"1"}).layers[0])
    place.push(changed)
    with pytest.raises(SignatureError, match="it has no signature"):
        place.verify(changed, key.public)

    place.fake.manifests(NAME)[image.digest] = place.fake.manifests(NAME)[changed.digest]
    with pytest.raises(RegistryError, match="sent another manifest"):
        place.registry.image(NAME, image.digest, place.store)


def test_a_tampered_payload_is_refused(place: Place, image: Image, key: PrivateKey) -> None:
    """No byte of what was signed may change."""
    honest = signature.payload(image.digest, TITLE, None)
    changed = honest.replace(b'"optional":null', b'"optional":{"x":1}')
    _plant(place, image, changed, base64.b64encode(key.sign(honest)).decode())

    assert changed != honest
    with pytest.raises(SignatureError, match="no trusted key made"):
        place.verify(image, key.public)


@pytest.mark.parametrize("change", [(b"{", b""), (b"cosign", b"other"), (b"image", b"blob")])
def test_what_was_signed_must_be_about_an_image(
    change: tuple[bytes, bytes], place: Place, image: Image, key: PrivateKey
) -> None:
    """A trusted key's signature of anything else vouches for no image."""
    text = signature.payload(image.digest, TITLE, None).replace(*change)
    _plant(place, image, text, base64.b64encode(key.sign(text)).decode())

    with pytest.raises(SignatureError, match="of something else than an image"):
        place.verify(image, key.public)


@pytest.mark.parametrize("text", ["", "!", "AAAA", "MEUCIQ=="])
def test_what_is_no_signature_is_refused(
    text: str, place: Place, image: Image, key: PrivateKey
) -> None:
    """Bytes that no key could have made are a wrong signature, not a crash."""
    _plant(place, image, signature.payload(image.digest, TITLE, None), text)

    with pytest.raises(SignatureError, match="no trusted key made"):
        place.verify(image, key.public)


@pytest.mark.parametrize(
    "manifest", [b"[]", b'{"layers": [{"digest": "x"}]}', b'{"layers": 3}', b"[" * 99_999]
)
def test_what_is_no_artifact_is_refused(
    manifest: bytes, place: Place, image: Image, key: PrivateKey
) -> None:
    """Anything else under the signature's tag is as good as nothing."""
    place.fake.manifests(NAME)[digest_of(manifest)] = ("application/json", manifest)
    place.fake.tags(NAME)[signature.tag(image.digest)] = digest_of(manifest)

    with pytest.raises(SignatureError, match=r"not the manifest of an artifact|not a descriptor"):
        place.verify(image, key.public)


def test_another_bill_of_materials_is_not_taken_for_the_signed_one(
    place: Place, image: Image, key: PrivateKey
) -> None:
    """Whoever may push can attach a bill; only that which the signature names is believed."""
    bill = sbom.sbom(image, place.store)
    forged = place.store.write(sbom.KIND, b'{"bomFormat": "CycloneDX", "components": []}')
    sbom.push(image, forged, place.registry, NAME, place.store)
    place.sign(image, key, bill.digest)
    signed = place.verify(image, key.public).sbom

    assert sbom.pull(image.digest, place.registry, NAME, place.store, signed=signed) is None
    sbom.push(image, bill, place.registry, NAME, place.store)
    found = sbom.pull(image.digest, place.registry, NAME, place.store, signed=signed)
    assert found == place.store.read(bill)


def test_a_signature_of_cosign_is_understood(tmp_path: Path, key: PrivateKey) -> None:
    """Its public key, its payload and its signature are good as they are."""
    (tmp_path / "cosign.pub").write_text(COSIGN_KEY)
    public = PublicKey.load(tmp_path / "cosign.pub")
    text = COSIGN_PAYLOAD.encode()
    part = artifact.Part(Descriptor(signature.PAYLOAD_TYPE, digest_of(text), len(text)))
    theirs = signature.Signature(text, base64.b64decode(COSIGN_SIGNATURE), part)

    good = signature.check([theirs], COSIGN_DIGEST, [key.public, public])
    assert (good.state, good.key, good.sbom) == ("verified", "cosign.pub", None)
    assert signature.check([theirs], f"sha256:{'0' * 64}", [public]).state == "wrong"
    assert signature.check([theirs], COSIGN_DIGEST, [key.public]).state == "wrong"
    assert signature.check([theirs], COSIGN_DIGEST, []).state == "unchecked"
    assert signature.check([], COSIGN_DIGEST, [public]).state == "none"


def test_openssl_accepts_our_signature(tmp_path: Path, image: Image, key: PrivateKey) -> None:
    """A second implementation of the algorithm, and of the key's format, says yes and no."""
    text = signature.payload(image.digest, TITLE, None)
    (tmp_path / "sig").write_bytes(key.sign(text))
    command = [program("openssl"), "dgst", "-sha256", "-verify", "ours.pub", "-signature", "sig"]
    good = subprocess.run(command, input=text, capture_output=True, cwd=tmp_path)
    bad = subprocess.run(command, input=text + b" ", capture_output=True, cwd=tmp_path)

    assert (good.returncode, bad.returncode) == (0, 1)


@pytest.mark.debian
def test_a_real_registry_keeps_artifacts(
    tmp_path: Path, store: Store, image: Image, key: PrivateKey
) -> None:
    """Distribution 2.8 has no referrers API: other tools find all by the tag of the standard."""
    skopeo = program("skopeo")
    with distribution(tmp_path) as host:
        registry = Registry(f"http://{host}")
        registry.push(image, store, NAME)
        bill = sbom.sbom(image, store)
        for _ in range(2):
            sbom.push(image, bill, registry, NAME, store)
            signature.sign(
                image.descriptor, f"{host}/{NAME}", key, registry, NAME, store, sbom=bill.digest
            )
        verdict = signature.verify(image.digest, [key.public], registry, NAME, store)

        def raw(reference: str) -> str:
            command = [skopeo, "inspect", "--raw", "--tls-verify=false"]
            url = f"docker://{host}/{NAME}{reference}"
            return subprocess.run(
                [*command, url], capture_output=True, check=True, text=True
            ).stdout

        index = json.loads(raw(f":{artifact.fallback_tag(image.digest)}"))
        signed = json.loads(raw(f":{signature.tag(image.digest)}"))
        listed = {one["artifactType"]: one["digest"] for one in index["manifests"]}
        copied = tmp_path / "copied"
        subprocess.run(
            [skopeo, "copy", "--src-tls-verify=false",
             f"docker://{host}/{NAME}@{listed[sbom.KIND]}", f"dir:{copied}"],
            check=True, capture_output=True,
        )  # fmt: skip

        assert verdict.sbom == bill.digest
        assert registry.referrers(NAME, image.digest) is None
        assert set(listed) == {sbom.KIND, signature.KIND}
        assert signed["layers"][0]["mediaType"] == signature.PAYLOAD_TYPE
        assert raw(f"@{image.digest}") == image.manifest.decode()
        blob = copied / bill.digest.removeprefix("sha256:")
        assert blob.read_bytes() == store.read(bill)
        registry.close()


@pytest.mark.skipif(shutil.which("cosign") is None, reason="cosign is not installed")
def test_cosign_verifies_our_signature(
    tmp_path: Path, store: Store, image: Image, key: PrivateKey
) -> None:
    """It accepts the key and the bill of materials that were signed, and no other of either."""
    pair(tmp_path, "theirs")
    with distribution(tmp_path) as host:
        registry = Registry(f"http://{host}")
        registry.push(image, store, NAME)
        name = f"{host}/{NAME}"
        signature.sign(image.descriptor, name, key, registry, NAME, store, sbom="sha256:b")

        def verify(public: str, bill: str) -> int:
            command = ["cosign", "verify", "--insecure-ignore-tlog", "--allow-http-registry"]
            options = ["--key", public, "-a", f"{signature.SBOM}={bill}"]
            return subprocess.run(
                [*command, *options, f"{name}@{image.digest}"],
                cwd=tmp_path, capture_output=True, env={**os.environ, "HOME": str(tmp_path)},
            ).returncode  # fmt: skip

        assert verify("ours.pub", "sha256:b") == 0
        assert verify("theirs.pub", "sha256:b") != 0
        assert verify("ours.pub", "sha256:c") != 0
        registry.close()


def test_a_pair_of_keys_is_private_and_never_overwritten(tmp_path: Path) -> None:
    """The private key is its owner's alone; a second pair of that name is refused, whole."""
    made = keys.generate(tmp_path / "a.key", tmp_path / "a.pub")
    before = (tmp_path / "a.key").read_bytes()
    mode = stat.S_IMODE((tmp_path / "a.key").stat().st_mode)
    with pytest.raises(UsageError, match=r"a\.key is there already"):
        keys.generate(tmp_path / "a.key", tmp_path / "a.pub")
    with pytest.raises(UsageError, match=r"a\.pub is there already"):
        keys.generate(tmp_path / "b.key", tmp_path / "a.pub")
    with pytest.raises(UsageError, match="cannot be written"):
        keys.generate(tmp_path / "no" / "b.key", tmp_path / "b.pub")

    assert mode == 0o600
    assert (tmp_path / "a.key").read_bytes() == before
    assert not (tmp_path / "b.key").exists()
    assert PublicKey.load(tmp_path / "a.pub").fingerprint == made.fingerprint
    assert PrivateKey.load(tmp_path / "a.key").public.fingerprint == made.fingerprint


def test_a_password_protects_the_private_key(tmp_path: Path) -> None:
    """Without it, or with another, the error says which variable holds it; none is shown."""
    keys.generate(tmp_path / "a.key", tmp_path / "a.pub", "s3cret")
    keys.generate(tmp_path / "plain.key", tmp_path / "plain.pub")

    assert b"ENCRYPTED" in (tmp_path / "a.key").read_bytes()
    assert PrivateKey.load(tmp_path / "a.key", "s3cret").public.name == "a.key"
    assert PrivateKey.load(tmp_path / "plain.key", "s3cret").name == "plain.key"
    with pytest.raises(SigningError, match="is encrypted") as missing:
        PrivateKey.load(tmp_path / "a.key")
    with pytest.raises(SigningError, match="password does not open") as wrong:
        PrivateKey.load(tmp_path / "a.key", "other-s3cret")
    for caught in (missing, wrong):
        assert "FNMODEL_SIGNING_PASSWORD" in caught.value.hint
        assert "s3cret" not in caught.value.message


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    form = serialization
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def test_keys_that_are_none_are_told_apart(tmp_path: Path) -> None:
    """Each wrong file gets an error that names it and says what is wrong with it."""
    rsa_private, rsa_public = _pem(rsa.generate_private_key(65537, 2048))
    curve_private, curve_public = _pem(ec.generate_private_key(ec.SECP384R1()))
    keys.generate(tmp_path / "a.key", tmp_path / "a.pub")
    ours, public = ((tmp_path / name).read_bytes() for name in ("a.key", "a.pub"))
    sealed = b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA==\n"
    wrong = {
        "not on the curve": [(rsa_private, rsa_public), (curve_private, curve_public)],
        "not a": [(b"", b""), (b"\0\xff", b"\0\xff"), (public, ours)],
        "format": [(sealed, b"")],
    }
    expected = {"not on the curve": "is not a key on the curve P-256", "not a": "is not a",
                "format": "cosign's own format"}  # fmt: skip
    for what, pairs in wrong.items():
        for private, open_ in pairs:
            (tmp_path / "x.key").write_bytes(private)
            (tmp_path / "x.pub").write_bytes(open_)
            with pytest.raises(SigningError, match=expected[what]) as caught:
                PrivateKey.load(tmp_path / "x.key")
            assert "x.key" in caught.value.message
            if open_:
                with pytest.raises(SigningError, match=expected[what]):
                    PublicKey.load(tmp_path / "x.pub")
    with pytest.raises(SigningError, match="cannot be read"):
        PrivateKey.load(tmp_path / "none.key")


def test_without_cryptography_the_error_names_the_extra() -> None:
    """Only who signs needs that package, and is told so."""
    code = (
        "import sys\nsys.modules['cryptography'] = None\n"
        "sys.modules['cryptography.exceptions'] = None\n"
        "from fnmodel.pack import signature\nfrom fnmodel.errors import SigningError\n"
        "try:\n    import fnmodel.pack.keys\n"
        "except SigningError as error:\n    print(error.hint)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "pip install 'fnmodel[signing]'"


def test_a_payload_that_is_too_large_is_not_fetched(
    place: Place, image: Image, key: PrivateKey
) -> None:
    """Who may push may not make a deploy read gigabytes."""
    _plant(place, image, b" " * (64 << 10) + b" ", "AAAA")
    place.fake.requests.clear()

    with pytest.raises(SignatureError, match="no signature"):
        place.verify(image, key.public)
    assert not any("/blobs/" in each for each in place.fake.requests)


def test_a_list_of_referrers_that_is_none_is_an_error(store: Store, image: Image) -> None:
    """It is told, and nothing is written over it."""
    tag = artifact.fallback_tag(image.digest)
    with InMemoryRegistry() as fake:
        fake.manifests(NAME)[digest_of(b"{}")] = ("application/json", b"{}")
        fake.tags(NAME)[tag] = digest_of(b"{}")
        registry = Registry(fake.url)

        with pytest.raises(PackError, match="is no index"):
            sbom.push(image, sbom.sbom(image, store), registry, NAME, store)
        assert fake.tags(NAME)[tag] == digest_of(b"{}")
        registry.close()


def _plant(place: Place, image: Image, text: bytes, value: str) -> None:
    """Put a payload and what shall pass for its signature under the signature's tag."""
    blob = place.store.write(signature.PAYLOAD_TYPE, text)
    part = artifact.Part(blob, {signature.SIGNATURE: value})
    config = place.store.write(artifact.EMPTY_TYPE, artifact.EMPTY)
    planted = artifact.Artifact(signature.KIND, image.descriptor, config, (part,))
    artifact.attach(planted, place.registry, NAME, place.store, signature.tag(image.digest))


@contextmanager
def distribution(folder: Path) -> Iterator[str]:
    """Run Debian's docker-registry for the length of a block; give its host and port."""
    server = program("docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: test}}\n"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([server, "serve", str(config)], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
