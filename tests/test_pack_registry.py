"""The registry client, against a strict fake and the embedded cloud's registry."""

import base64
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import urllib3
from pack_cases import small_image
from registry_cases import Running, free_port

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


@pytest.mark.parametrize("query", [False, True])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("auth", ["none", "basic", "bearer"])
def test_push_and_pull_give_the_same_image(
    auth: str, absolute: bool, query: bool, store: Store, image: Image, client: Client,
    tmp_path: Path,
) -> None:  # fmt: skip
    """With any authentication and any form of Location, what is pulled is what was pushed."""
    with InMemoryRegistry(
        auth=auth,
        absolute_locations=absolute,
        location_queries=query,  # type: ignore[arg-type]
    ) as fake:
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


def test_what_a_push_would_send_is_known_before(store: Store, image: Image, client: Client) -> None:
    """Everything, then nothing, then what a new image does not share; asking changes nothing."""
    with InMemoryRegistry() as fake:
        registry = client(fake.url)
        blobs = [*(layer.descriptor for layer in image.layers), image.config_descriptor]
        assert registry.missing(image, NAME) == tuple(blobs)
        registry.push(image, store, NAME)
        assert registry.missing(image, NAME) == ()
        added = small_image(store, {"more": b"1"}).layers[0]
        more = image.append(added)
        fake.requests.clear()

        assert registry.missing(more, NAME) == (added.descriptor, more.config_descriptor)
        assert {request.split()[0] for request in fake.requests} == {"HEAD"}


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


@pytest.mark.parametrize("uses", [6, 8, 11])
def test_a_token_that_expires_between_two_blobs_is_renewed(
    uses: int, store: Store, image: Image, client: Client, waits: list[float]
) -> None:
    """Whatever request meets the expiry, an upload included, the push ends whole."""
    for number in range(4):
        image = image.append(small_image(store, {f"{number}": os.urandom(50_000)}).layers[0])
    with InMemoryRegistry(auth="bearer", token_uses=uses) as fake:
        client(fake.url, LOGIN).push(image, store, NAME, "v1")

        assert fake.tags(NAME) == {"v1": image.digest}
        assert fake.tokens_given >= 2


def test_an_upload_session_that_is_lost_is_opened_again(
    store: Store, image: Image, client: Client, waits: list[float]
) -> None:
    """Sessions that the registry forgot cost an attempt each, and nothing else."""
    with InMemoryRegistry() as fake:
        fake.lose_uploads(2)
        client(fake.url).push(image, store, NAME, "v1")

        assert fake.tags(NAME) == {"v1": image.digest}
        assert len(waits) == 2


def test_half_a_blob_in_the_registry_is_sent_again(
    store: Store, image: Image, client: Client
) -> None:
    """A blob whose size is not the true one does not count as being there."""
    layer = image.layers[0].descriptor
    with InMemoryRegistry() as fake:
        fake.blobs(NAME)[layer.digest] = b"half"
        client(fake.url).push(image, store, NAME)

        assert len(fake.blobs(NAME)[layer.digest]) == layer.size


def test_an_immutable_tag_keeps_its_image(store: Store, image: Image, client: Client) -> None:
    """The same image may be pushed to it again; another one is refused in the registry's words."""
    other = image.append(small_image(store, {"more": b"1"}).layers[0])
    with InMemoryRegistry(immutable_tags=True) as fake:
        for _ in range(2):
            client(fake.url).push(image, store, NAME, "v1")
        with pytest.raises(RegistryError, match="TAG_INVALID the tag v1 is there"):
            client(fake.url).push(other, store, NAME, "v1")

        assert fake.tags(NAME) == {"v1": image.digest}
        assert other.digest in fake.manifests(NAME)


def test_a_registrys_wait_may_be_a_date(
    store: Store, image: Image, client: Client, waits: list[float]
) -> None:
    """Retry-After holds seconds or a time of day; what is neither is not waited for longer."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    with InMemoryRegistry() as fake:
        fake.answer("HEAD", 429, headers={"Retry-After": soon})
        fake.answer("HEAD", 429, headers={"Retry-After": "soon"})
        client(fake.url).push(image, store, NAME)

    assert 10 < waits[0] <= 20
    assert waits[1] <= 1


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


def test_a_registry_that_stores_something_else_is_told(store: Store, client: Client) -> None:
    """A 201 with another digest than that of what was sent ends the push."""
    small = small_image(store)
    lie = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    with InMemoryRegistry() as fake:
        fake.answer("PUT", 201, times=3, headers=lie)
        with pytest.raises(RegistryError, match="the registry stored sha256:0000"):
            client(fake.url).push(small, store, NAME)

        assert fake.manifests(NAME) == {}


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


@pytest.mark.cloud
def test_the_embedded_clouds_registry(
    store: Store, image: Image, client: Client, tmp_path: Path
) -> None:
    """ECR of the emulator takes an image once its repository is there, and says so before."""
    port = free_port()
    environment = {
        "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port),
        "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0",
    }  # fmt: skip
    with Running([sys.executable, "-m", "ministack"], port, tmp_path, environment):
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
