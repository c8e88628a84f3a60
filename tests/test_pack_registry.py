"""The registry client, against a strict fake and two real registries."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3
from pack_cases import program, small_image

from fnmodel.aws import Cloud
from fnmodel.errors import PackError, RegistryError
from fnmodel.pack import base, credentials
from fnmodel.pack.challenge import Challenge, unite
from fnmodel.pack.credentials import Credentials
from fnmodel.pack.image import INDEX_TYPE, Image, digest_of, encode
from fnmodel.pack.layout import Store
from fnmodel.pack.reference import Reference
from fnmodel.pack.registry import Registry
from fnmodel.pack.transport import pool
from fnmodel.testing import InMemoryRegistry

LOGIN = Credentials("AWS", "token")
NAME = "fnmodel/churn"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> Image:
    return small_image(store, {"model.bin": os.urandom(3_000_000)})


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(waits: list[float]) -> Iterator[Callable[..., Registry]]:
    """Make clients that note their waits instead of sleeping, and close them afterwards."""
    made = []

    def make(url: str, login: Credentials | None = None) -> Registry:
        made.append(Registry(url, login, sleep=waits.append))
        return made[-1]

    yield make
    for registry in made:
        registry.close()


Client = Callable[..., Registry]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
def test_push_and_pull_give_the_same_image(
    auth: str, absolute: bool, store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """With any authentication and either form of Location, what is pulled is what was pushed."""
    with InMemoryRegistry(auth=auth, absolute_locations=absolute) as fake:  # type: ignore[arg-type]
        registry = client(fake.url, LOGIN)
        digest = registry.push(image, store, NAME, "v1")
        pulled = client(fake.url, LOGIN).pull(NAME, digest, Store(tmp_path / "other"))

        assert digest == image.digest == registry.digest(NAME, "v1")
        assert pulled == image
        assert Store(tmp_path / "other").load(digest) == image
        last_blob = max(i for i, r in enumerate(fake.requests) if "PUT" in r and "uploads" in r)
        assert fake.requests.index(f"PUT /v2/{NAME}/manifests/{digest}") > last_blob
        assert not any(request.startswith("PATCH") for request in fake.requests)


def test_a_repeated_push_sends_nothing(store: Store, image: Image, client: Client) -> None:
    """The same image costs two questions; a new one only what it does not share."""
    with InMemoryRegistry() as fake:
        client(fake.url).push(image, store, NAME, "v1")
        fake.requests.clear()
        client(fake.url).push(image, store, NAME, "v1")
        assert fake.requests == [
            f"HEAD /v2/{NAME}/manifests/{image.digest}",
            f"HEAD /v2/{NAME}/manifests/v1",
        ]
        fake.requests.clear()
        more = image.append(small_image(store, {"more": b"1"}).layers[0])
        client(fake.url).push(more, store, NAME, "v2")

        assert sum(request.startswith("POST") for request in fake.requests) == 2
        assert fake.tags(NAME) == {"v1": image.digest, "v2": more.digest}


def test_faults_are_outlived_with_a_new_session_each_time(
    store: Store, image: Image, client: Client, waits: list[float]
) -> None:
    """A dropped upload, 500 and 429 end in a whole image, and the registry's wait is kept."""
    with InMemoryRegistry() as fake:
        fake.drop_upload_after(100_000)
        fake.answer("PUT", 500, times=2)
        fake.answer("HEAD", 429, headers={"Retry-After": "7"})
        client(fake.url).push(image, store, NAME, "v1")

        assert fake.tags(NAME) == {"v1": image.digest}
        sessions = [r for r in fake.requests if r.startswith("PUT") and "uploads" in r]
        assert len(sessions) == len(set(sessions)) >= 5
        assert max(waits) == 7.0
        assert len(waits) == 4


def test_faults_that_stay_end_in_an_error(
    store: Store, image: Image, client: Client, waits: list[float]
) -> None:
    """Five attempts, longer waits each time, then an error that says what to do."""
    with InMemoryRegistry() as fake:
        fake.answer("HEAD", 503, times=5)
        with pytest.raises(RegistryError, match="answers 503, 5 times") as caught:
            client(fake.url).push(image, store, NAME)

        assert waits == [0.5, 1.0, 2.0, 4.0]
        assert "again" in caught.value.hint


def test_no_registry_there_is_an_error_of_ours(store: Store, image: Image, client: Client) -> None:
    """A port where nobody listens gives no traceback of urllib3."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(RegistryError, match="no connection"):
            client(f"http://127.0.0.1:{reserved.getsockname()[1]}").push(image, store, NAME)


def test_a_token_that_expires_during_a_push_is_renewed(
    store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """The next request after the expiry asks for a new one, for all scopes known until then."""
    with InMemoryRegistry(auth="bearer") as fake:
        registry = client(fake.url, LOGIN)
        registry.push(image, store, NAME)
        given = fake.tokens_given
        fake.expire_tokens()
        registry.push(image.append(image.layers[0]), store, NAME, "again")
        fake.expire_tokens()
        registry.pull(NAME, image.digest, Store(tmp_path / "other"))

        assert fake.tags(NAME)["again"]
        assert given < fake.tokens_given <= given + 3


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_wrong_credentials_are_refused_without_being_shown(
    auth: str, store: Store, image: Image, client: Client, waits: list[float]
) -> None:
    """No attempt is repeated, and no part of the error holds the password."""
    login = Credentials("AWS", "wrong-s3cret")
    with InMemoryRegistry(auth=auth) as fake:  # type: ignore[arg-type]
        with pytest.raises(RegistryError) as caught:
            client(fake.url, login).push(image, store, NAME)
        with pytest.raises(RegistryError):
            client(fake.url).push(image, store, NAME)

    shown = f"{caught.value!r} {caught.value.message} {caught.value.hint} {login!r}"
    assert "credentials" in caught.value.hint
    assert "wrong-s3cret" not in shown
    assert base64.b64encode(b"AWS:wrong-s3cret").decode() not in shown
    assert waits == []


def test_an_upload_is_not_sent_to_another_host(store: Store, image: Image, client: Client) -> None:
    """A Location elsewhere would take the layer and the credentials with it."""
    with InMemoryRegistry() as fake:
        fake.send_uploads_to("http://169.254.169.254/latest")
        with pytest.raises(RegistryError, match=r"to another host, 169\.254\.169\.254"):
            client(fake.url).push(image, store, NAME)


def test_a_download_is_redirected_without_credentials(
    store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """Storage behind the registry gives the blobs and never sees the Authorization header."""
    with InMemoryRegistry() as storage:
        client(storage.url).push(image, store, "store")
        elsewhere = f"{storage.url}/v2/store/blobs"
        with InMemoryRegistry(auth="basic", redirect_downloads=elsewhere) as fake:
            client(fake.url, LOGIN).push(image, store, NAME)
            storage.authorizations.clear()
            pulled = client(fake.url, LOGIN).pull(NAME, image.digest, Store(tmp_path / "other"))

        assert pulled == image
        assert len(storage.authorizations) == 2
        assert {header for _, header in storage.authorizations} == {None}


def test_a_download_that_breaks_off_is_repeated(
    store: Store, image: Image, client: Client, waits: list[float], tmp_path: Path
) -> None:
    """A half blob never gets a name in the store."""
    with InMemoryRegistry() as fake:
        client(fake.url).push(image, store, NAME)
        fake.cut_downloads_at(10, times=2)
        pulled = client(fake.url).pull(NAME, image.digest, Store(tmp_path / "other"))

        assert pulled == image
        assert len(waits) == 2


def test_a_registry_that_lies_is_not_believed(
    store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """Another manifest, another content and another size are told apart from the truth."""
    layer = image.layers[0].descriptor
    with InMemoryRegistry() as fake:
        client(fake.url).push(image, store, NAME)
        true = fake.blobs(NAME)[layer.digest]
        for lie in (true[:-1], true + b"x", b"x" + true[1:]):
            fake.blobs(NAME)[layer.digest] = lie
            other = Store(tmp_path / str(len(lie)))
            with pytest.raises(RegistryError, match=layer.digest):
                client(fake.url).pull(NAME, image.digest, other)
            assert not other.has(layer)
        media_type, manifest = fake.manifests(NAME)[image.digest]
        fake.manifests(NAME)[image.digest] = (media_type, manifest + b" ")
        with pytest.raises(RegistryError, match="another manifest"):
            client(fake.url).pull(NAME, image.digest, Store(tmp_path / "other"))


def test_a_damaged_blob_of_the_store_is_not_pushed(
    store: Store, image: Image, client: Client
) -> None:
    """The registry's refusal is traced to the store, whose blob is removed."""
    layer = image.layers[0].descriptor
    path = store.path(layer.digest)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with InMemoryRegistry() as fake:
        with pytest.raises(PackError, match="damaged"):
            client(fake.url).push(image, store, NAME)

        assert fake.manifests(NAME) == {}
    assert not store.has(layer)


def test_an_index_gives_the_image_of_the_architecture(
    store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """A base may be pinned by its index's digest; without an architecture it is ambiguous."""
    entries = [
        {**image.descriptor.to_json(), "platform": {"os": "linux", "architecture": name}}
        for name in ("arm64", "amd64")
    ]
    entries[0]["digest"] = "sha256:" + "0" * 64
    index = encode({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})
    with InMemoryRegistry() as fake:
        client(fake.url).push(image, store, NAME)
        fake.manifests(NAME)[digest_of(index)] = (INDEX_TYPE, index)
        registry, other = client(fake.url), Store(tmp_path / "other")

        assert registry.pull(NAME, digest_of(index), other, architecture="x86_64") == image
        with pytest.raises(RegistryError, match="index of several"):
            registry.pull(NAME, digest_of(index), other)


def test_a_pinned_base_is_pulled_once(
    store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """The second build finds it in the store and asks no registry."""
    other = Store(tmp_path / "other")
    with InMemoryRegistry() as fake:
        client(fake.url).push(image, store, NAME)
        reference = Reference.parse(f"{fake.host}/{NAME}@{image.digest}")
        first = base.resolve(str(reference), "x86_64", other, base.pull)
    again = base.resolve(str(reference), "x86_64", other, base.pull)

    assert first == again
    assert first.layers == image.layers


def test_the_fake_refuses_what_registries_refuse(image: Image) -> None:
    """Chunks, lengths unsaid, wrong digests and manifests before blobs are errors there."""
    with InMemoryRegistry() as fake, urllib3.PoolManager() as http:
        root = f"{fake.url}/v2/{NAME}"
        headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        early = http.request("PUT", f"{root}/manifests/v1", body=image.manifest, headers=headers)
        patch = http.request("PATCH", f"{root}/blobs/uploads/00", body=b"1")
        opened = http.request("POST", f"{root}/blobs/uploads/", headers={"Content-Length": "0"})
        put = f"{fake.url}{opened.headers['Location']}&digest=sha256:{'0' * 64}"
        wrong = http.request("PUT", put, body=b"1")
        again = http.request("PUT", put, body=b"1", retries=False)

        assert early.json()["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
        assert patch.status == 405
        assert wrong.json()["errors"][0]["code"] == "DIGEST_INVALID"
        assert again.status == 404


def test_challenges_and_scopes_are_read() -> None:
    """Quoted commas stay whole, Bearer is preferred, scopes of one repository are united."""
    header = 'Bearer realm="https://a/t",service="s",scope="repository:x/y:pull,push"'

    assert Challenge.parse(['Basic realm="b"', header]) == Challenge(
        "bearer", "https://a/t", "s", "repository:x/y:pull,push"
    )
    assert Challenge.parse(["Negotiate abc"]) is None
    assert unite(["repository:a:pull", "repository:b:pull repository:a:push,pull"]) == (
        "repository:a:pull,push",
        "repository:b:pull",
    )


def test_credentials_of_docker_login_are_found(tmp_path: Path) -> None:
    """An entry is found by its host, with and without a scheme; broken files are told."""
    encoded = base64.b64encode(b"me:se:cret").decode()
    config = {"auths": {"r.example": {"auth": encoded}, "https://s.example": {"auth": encoded}}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    environment = {"DOCKER_CONFIG": str(tmp_path)}

    assert credentials.from_docker("r.example", environment) == Credentials("me", "se:cret")
    assert credentials.from_docker("s.example", environment) is not None
    assert credentials.from_docker("other.example", environment) is None
    assert credentials.from_docker("r.example", {"DOCKER_CONFIG": str(tmp_path / "no")}) is None
    path.write_text("{")
    with pytest.raises(RegistryError, match="cannot be read"):
        credentials.from_docker("r.example", environment)


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the host on standard input; its failure is an error without its output."""
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\nread host\n[ "$host" = r.example ] || { echo "s3cret"; exit 1; }\n'
        'echo "{\\"Username\\": \\"u\\", \\"Secret\\": \\"p\\"}"\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "config.json").write_text('{"credsStore": "test"}')
    environment = {"DOCKER_CONFIG": str(tmp_path)}

    assert credentials.from_docker("r.example", environment) == Credentials("u", "p")
    with pytest.raises(RegistryError, match="docker-credential-test failed") as caught:
        credentials.from_docker("other.example", environment)
    assert "s3cret" not in caught.value.message


def test_the_environments_proxy_is_used_but_not_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with boto3; hosts of no_proxy and the embedded cloud are reached directly."""
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    used = {
        url: pool(url).proxy is not None
        for url in ("https://r.example", "https://inside.example", "http://127.0.0.1:4566")
    }

    assert used == {
        "https://r.example": True,
        "https://inside.example": False,
        "http://127.0.0.1:4566": False,
    }


@pytest.mark.debian
def test_a_real_registry_with_a_password(
    store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """Distribution takes our push, gives it back, and refuses a wrong password."""
    server, htpasswd = program("docker-registry"), program("htpasswd")
    users = subprocess.run(
        [htpasswd, "-Bbn", "AWS", "token"], capture_output=True, check=True, text=True
    ).stdout
    (tmp_path / "htpasswd").write_text(users)
    port = _free_port()
    (tmp_path / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: test}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}\n"
    )
    with _Running([server, "serve", str(tmp_path / "config.yml")], port, tmp_path):
        registry = client(f"http://127.0.0.1:{port}", LOGIN)
        digest = registry.push(image, store, NAME, "v1")
        pulled = registry.pull(NAME, digest, Store(tmp_path / "other"))
        with pytest.raises(RegistryError, match="wrong or have expired"):
            client(f"http://127.0.0.1:{port}", Credentials("AWS", "no")).digest(NAME, "v1")

        assert pulled == image
        assert registry.digest(NAME, "v1") == image.digest
        assert registry.digest(NAME, "v2") is None


@pytest.mark.cloud
def test_the_embedded_clouds_registry(
    store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """ECR of the emulator takes an image once its repository is there, and says so before."""
    port = _free_port()
    environment = {
        "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port),
        "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0",
    }  # fmt: skip
    with _Running([sys.executable, "-m", "ministack"], port, tmp_path, environment):
        url = f"http://127.0.0.1:{port}"
        registry = client(url, LOGIN)
        with pytest.raises(RegistryError, match="NAME_UNKNOWN") as caught:
            registry.push(image, store, NAME)
        ecr = Cloud(endpoint_url=url).client("ecr")
        ecr.create_repository(repositoryName=NAME)
        registry.push(image, store, NAME, "v1")
        pulled = registry.pull(NAME, image.digest, Store(tmp_path / "other"))
        listed = ecr.describe_images(repositoryName=NAME)["imageDetails"]
        ecr.close()

        assert "does not make it by itself" in caught.value.hint
        assert pulled == image
        assert [(i["imageDigest"], i["imageTags"]) for i in listed] == [(image.digest, ["v1"])]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Running:
    """A server process for the length of a block, ready when its port answers."""

    def __init__(
        self, command: list[str], port: int, folder: Path, environment: dict[str, str] | None = None
    ) -> None:
        self._command, self._port, self._folder = command, port, folder
        self._environment = {**os.environ, **(environment or {})}

    def __enter__(self) -> None:
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=self._folder, stdout=log, stderr=log
            )
        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)
        self.__exit__()
        pytest.fail((self._folder / "server.log").read_text()[-2000:])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
