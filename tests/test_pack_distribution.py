"""The registry client against Distribution, the reference registry, with every kind of login."""

import base64
import datetime as dt
import hashlib
import ipaddress
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pack_cases import program, small_image
from registry_cases import Running, free_port

from fnmodel.errors import RegistryError
from fnmodel.pack.credentials import Credentials
from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
from fnmodel.testing import InMemoryRegistry

pytestmark = pytest.mark.debian

LOGIN = Credentials("AWS", "s3cret-token")
FIRST, SECOND = "fnmodel/churn", "fnmodel/fraud"


@dataclass(frozen=True)
class Served:
    """A registry that runs: its address, and where it keeps what it has."""

    url: str
    folder: Path

    def stored(self) -> int:
        """Return the bytes of all blobs that it keeps."""
        return sum(path.stat().st_size for path in self.folder.rglob("blobs/**/data"))


class Signer:
    """A key and its self-signed certificate for this machine's own address."""

    def __init__(self, folder: Path) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry of a test")])
        now = dt.datetime.now(dt.UTC)
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([here]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            self._key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self._x5c = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()

    def token(self, claims: dict[str, Any]) -> str:
        """Return a JSON Web Token, signed with RS256, that brings its certificate with it."""
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self._x5c]}
        signed = ".".join(_url64(json.dumps(part).encode()) for part in (head, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_url64(signature)}"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def token_server(signer: Signer, scopes: list[str]) -> Iterator[str]:
    """Serve tokens for what is asked, to those who log in; note the scopes; yield its address."""

    class Tokens(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

        def do_GET(self) -> None:
            query, now = parse_qs(urlsplit(self.path).query), int(time.time())
            asked = [text for scope in query.get("scope", []) for text in scope.split()]
            scopes.extend(asked)
            parts = [scope.split(":") for scope in asked]
            access = [
                {"type": kind, "name": name, "actions": actions.split(",")}
                for kind, name, actions in parts
            ]
            claims = {
                "iss": "test", "sub": "AWS", "aud": query["service"][0], "access": access,
                "nbf": now - 10, "iat": now - 10, "exp": now + 300, "jti": str(now),
            }  # fmt: skip
            right = self.headers.get("Authorization") == LOGIN.basic
            body = json.dumps({"token": signer.token(claims)} if right else {}).encode()
            self.send_response(200 if right else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/token"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def distribution(folder: Path, *, http: str = "", auth: str = "") -> Iterator[Served]:
    """Run Debian's docker-registry on a free port for the length of a block."""
    port, data = free_port(), folder / "data"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\n"
        f"storage: {{filesystem: {{rootdirectory: {data}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: test{http}}}\n{auth}"
    )
    with Running([program("docker-registry"), "serve", str(config)], port, folder):
        yield Served(f"{'https' if http else 'http'}://127.0.0.1:{port}", data)


@contextmanager
def with_password(folder: Path, _: pytest.MonkeyPatch) -> Iterator[Served]:
    """Run it with basic authentication over plain HTTP."""
    users = folder / "htpasswd"
    listed = subprocess.run(
        [program("htpasswd"), "-Bbn", LOGIN.username, LOGIN.password],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    users.write_text(listed.stdout)
    auth = f"auth: {{htpasswd: {{realm: test, path: {users}}}}}\n"
    with distribution(folder, auth=auth) as served:
        yield served


@contextmanager
def with_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Run it with a certificate that only the variable of AWS's tools makes known."""
    signer = Signer(folder)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(signer.certificate))
    tls = f", tls: {{certificate: {signer.certificate}, key: {signer.key}}}"
    with distribution(folder, http=tls) as served:
        yield served


@contextmanager
def with_tokens(
    folder: Path, _: pytest.MonkeyPatch, scopes: list[str] | None = None
) -> Iterator[Served]:
    """Run it with bearer tokens, which a server of their own gives; note what is asked of it."""
    signer = Signer(folder)
    with token_server(signer, [] if scopes is None else scopes) as realm:
        auth = (
            f"auth: {{token: {{realm: '{realm}', service: registry, issuer: test, "
            f"rootcertbundle: {signer.certificate}}}}}\n"
        )
        with distribution(folder, auth=auth) as served:
            yield served


KINDS = {"basic": with_password, "TLS": with_certificate, "bearer": with_tokens}


@pytest.fixture(params=KINDS)
def served(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    folder = tmp_path / "registry"
    folder.mkdir()
    with KINDS[request.param](folder, monkeypatch) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> Image:
    content = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(60_000))
    return small_image(store, {"model.bin": content})


def test_push_repeat_pull_and_mount(
    served: Served, store: Store, image: Image, tmp_path: Path
) -> None:
    """An image goes there once, comes back the same, and is mounted for the second repository."""
    said: list[str] = []
    registry = Registry(served.url, LOGIN)
    digest = registry.push(image, store, FIRST, "v1")
    stored = served.stored()
    registry.push(image, store, FIRST, "v1", said.append)
    repeated = list(said)
    pulled = registry.pull(FIRST, digest, Store(tmp_path / "other"))
    registry.push(image, store, SECOND, "v2", said.append)
    mounted = [line for line in said if "mounted from" in line]
    again = registry.pull(SECOND, digest, Store(tmp_path / "third"))
    tags = registry.digest(FIRST, "v1"), registry.digest(SECOND, "v2"), registry.digest(FIRST, "v2")
    registry.close()

    assert repeated == []
    assert pulled == again == image
    assert tags == (image.digest, image.digest, None)
    assert len(mounted) == 2
    assert served.stored() == stored > image.layers[0].size


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_wrong_password_is_refused(
    kind: str, store: Store, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says so, and does not hold the password."""
    with KINDS[kind](tmp_path, monkeypatch) as served:
        registry = Registry(served.url, Credentials("AWS", "wr0ng"))
        with pytest.raises(RegistryError, match=r"wrong or have expired|no token") as caught:
            registry.push(image, store, FIRST)
        registry.close()

    assert "wr0ng" not in f"{caught.value!r} {caught.value.hint}"


def test_an_unknown_certificate_is_refused(
    store: Store, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable that names it there is no push, and the reason is said."""
    with with_certificate(tmp_path, monkeypatch) as served:
        monkeypatch.delenv("AWS_CA_BUNDLE")
        registry = Registry(served.url, LOGIN, sleep=lambda _: None)
        with pytest.raises(RegistryError, match="TLS failed"):
            registry.push(image, store, FIRST)
        registry.close()

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        assert Registry(served.url, LOGIN).push(image, store, FIRST) == image.digest


def test_one_token_is_asked_for_all_that_a_push_needs(
    store: Store, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scopes of the push and of the repository to mount from are in the first request."""
    scopes: list[str] = []
    with with_tokens(tmp_path, monkeypatch, scopes) as served:
        Registry(served.url, LOGIN).push(image, store, FIRST)
        scopes.clear()
        Registry(served.url, LOGIN).push(image, store, SECOND)

    assert scopes == [f"repository:{FIRST}:pull", f"repository:{SECOND}:pull,push"]


def test_the_fake_answers_as_distribution_does(
    store: Store, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a push and a mount say is the same on both, line by line."""
    said: dict[str, list[str]] = {"real": [], "fake": []}
    with with_password(tmp_path, monkeypatch) as real:
        fake = InMemoryRegistry(auth="basic", password=LOGIN.password)
        with fake:
            for name, url in (("real", real.url), ("fake", fake.url)):
                registry = Registry(url, LOGIN)
                for repository in (FIRST, FIRST, SECOND):
                    registry.push(image, store, repository, progress=said[name].append)
                registry.close()

    lines = {name: sorted(line for line in said[name] if "MB)" in line) for name in said}
    assert lines["real"] == lines["fake"]
    assert len(lines["real"]) == 4
