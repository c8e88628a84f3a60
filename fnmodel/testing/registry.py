"""A container registry in memory, stricter than any: real HTTP on a loopback port."""

import base64
import hashlib
import json
import re
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlencode, urlsplit

_CHUNK = 1 << 20
_NAME = r"(?P<name>[a-z0-9]+(?:[._/-][a-z0-9]+)*)"
_BLOB = re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>sha256:[0-9a-f]{{64}})")
_UPLOADS = re.compile(rf"/v2/{_NAME}/blobs/uploads/")
_UPLOAD = re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<session>[0-9a-f]+)")
_REFERRERS = re.compile(rf"/v2/{_NAME}/referrers/(?P<digest>sha256:[0-9a-f]{{64}})")
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_MANIFEST = re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[\w:.-]+)")

Query = Mapping[str, list[str]]


@dataclass
class _Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class InMemoryRegistry:
    """A registry as a context manager; `url` is its address while the block runs.

    It checks what others let pass: an upload states its length and arrives in one PUT (a PATCH is
    refused, as ECR breaks on several), a session is used once, a manifest names blobs that are
    here with their true sizes, a reference by digest is that of the bytes, and with
    `auth="bearer"` a token covers the action on the repository. With `referrers` it has the
    referrers API, and without it does not know what a manifest's subject is.

    `mounts`: blobs of one repository can be mounted into another, else such a request opens an
    upload, as ECR does by default. `immutable_tags`: a tag that is there keeps its manifest.
    `forbidden`: repositories that no token covers. `token_uses`: requests until a token expires.
    `absolute_locations`, `location_queries`: the form of an upload's Location.

    Faults are ordered before they happen: `answer`, `drop_upload_after`, `lose_uploads`,
    `cut_downloads_at`, `expire_tokens`. `requests` lists what came in, as `METHOD /path`, and
    `received` counts bytes of blobs, `connections` those that are open. `arrived` is called at each
    request, and for each megabyte of a blob, before anything is done with it.
    """

    def __init__(
        self,
        *,
        auth: Literal["none", "basic", "bearer"] = "none",
        username: str = "AWS",
        password: str = "token",  # noqa: S107 - the password of a fake
        absolute_locations: bool = False,
        location_queries: bool = True,
        redirect_downloads: str | None = None,
        referrers: bool = False,
        mounts: bool = True,
        immutable_tags: bool = False,
        forbidden: Collection[str] = (),
        token_uses: int | None = None,
        arrived: Callable[[], object] = lambda: None,
    ) -> None:
        self.auth = auth
        self.has_referrers = referrers
        self.arrived = arrived
        self.received = 0
        self.connections = 0
        self.requests: list[str] = []
        self.authorizations: list[tuple[str, str | None]] = []
        self.tokens_given = 0
        self._basic = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        self._absolute = absolute_locations
        self._state = {"_state": ["secret"]} if location_queries else {}
        self._redirect = redirect_downloads
        self._mounts = mounts
        self._immutable = immutable_tags
        self._forbidden = frozenset(forbidden)
        self._token_uses = token_uses
        self.lock = threading.RLock()
        self._repositories: dict[str, _Repository] = {}
        self._sessions: dict[str, str] = {}
        self._lost = 0
        self._tokens: dict[str, frozenset[str]] = {}
        self._used: Counter[str] = Counter()
        self._answers: list[tuple[str, int, dict[str, str]]] = []
        self._drops: list[int] = []
        self._cuts: list[int] = []
        self._locations: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def host(self) -> str:
        """The host and port that references to this registry begin with."""
        assert self._server is not None, "use the registry in a `with` block"
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The registry's address."""
        return f"http://{self.host}"

    def blobs(self, repository: str) -> dict[str, bytes]:
        """Return a repository's blobs by digest; what is changed there is changed for clients."""
        return self._repositories.setdefault(repository, _Repository()).blobs

    def manifests(self, repository: str) -> dict[str, tuple[str, bytes]]:
        """Return media type and bytes of a repository's manifests by digest."""
        return self._repositories.setdefault(repository, _Repository()).manifests

    def tags(self, repository: str) -> dict[str, str]:
        """Return the digest of each tag of a repository."""
        return self._repositories.setdefault(repository, _Repository()).tags

    def answer(
        self, method: str, status: int, times: int = 1, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer the next requests of a method with a status, and do nothing else for them.

        `TOKEN` stands for requests to the token server.
        """
        self._answers += [(method, status, dict(headers or {}))] * times

    def drop_upload_after(self, size: int, times: int = 1) -> None:
        """Close the connection of the next uploads when `size` bytes have arrived."""
        self._drops += [size] * times

    def lose_uploads(self, times: int = 1) -> None:
        """Forget the next upload sessions before their content arrives."""
        self._lost += times

    def cut_downloads_at(self, size: int, times: int = 1) -> None:
        """Close the connection of the next blob downloads when `size` bytes have left."""
        self._cuts += [size] * times

    def send_uploads_to(self, location: str) -> None:
        """Name another address as the place of the next upload."""
        self._locations.append(location)

    def expire_tokens(self) -> None:
        """Let every token that was given be refused from now on."""
        with self.lock:
            self._tokens.clear()

    def fault(self, method: str) -> tuple[int, dict[str, str]] | None:
        """Take the next ordered answer for a method."""
        with self.lock:
            for position, (wanted, status, headers) in enumerate(self._answers):
                if wanted == method:
                    del self._answers[position]
                    return status, headers
        return None

    def take(self, kind: Literal["drop", "cut"]) -> int | None:
        """Take the next ordered break of an upload or a download."""
        with self.lock:
            orders = self._drops if kind == "drop" else self._cuts
            return orders.pop(0) if orders else None

    def permits(self, authorization: str | None, scopes: Iterable[str]) -> bool:
        """Whether an Authorization header covers each `repository:NAME:ACTION`."""
        if self.auth == "none":
            return True
        if self.auth == "basic":
            return authorization == self._basic
        token = (authorization or "").removeprefix("Bearer ")
        with self.lock:
            self._used[token] += 1
            if self._token_uses is not None and self._used[token] > self._token_uses:
                self._tokens.pop(token, None)
            return self._tokens.get(token, frozenset()).issuperset(scopes)

    def token(self, authorization: str | None, query: Query) -> str | None:
        """Give a bearer token for the scopes of a query, if the credentials are right."""
        if authorization != self._basic:
            return None
        granted = set()
        for scope in query.get("scope", []):
            resource, _, actions = scope.rpartition(":")
            if resource.removeprefix("repository:") not in self._forbidden:
                granted |= {f"{resource}:{action}" for action in actions.split(",")}
        token = secrets.token_hex(8)
        with self.lock:
            self._tokens[token] = frozenset(granted)
            self.tokens_given += 1
        return token

    def open_upload(self, name: str) -> str:
        """Open an upload session and return its Location."""
        with self.lock:
            session = secrets.token_hex(8)
            self._sessions[session] = name
            if self._locations:
                return self._locations.pop(0)
        query = f"?{urlencode(self._state, doseq=True)}" if self._state else ""
        path = f"/v2/{name}/blobs/uploads/{session}{query}"
        return f"{self.url}{path}" if self._absolute else path

    def close_upload(self, name: str, session: str) -> bool:
        """Use up a session; whether it was open for this repository."""
        with self.lock:
            if self._lost:
                self._lost -= 1
                self._sessions.pop(session, None)
            return self._sessions.pop(session, None) == name

    def keeps_state(self, query: Query) -> bool:
        """Whether an upload kept the query that its Location had."""
        return {key: values for key, values in query.items() if key != "digest"} == self._state

    def mount(self, name: str, digest: str, source: str) -> bool:
        """Let a repository have another's blob too; whether that was done."""
        with self.lock:
            body = self.blobs(source).get(digest) if self._mounts else None
            if body is not None:
                self.blobs(name)[digest] = body
        return body is not None

    def storage(self, digest: str) -> str | None:
        """Return where a blob is to be downloaded instead, when downloads are redirected."""
        return f"{self._redirect}/{digest}" if self._redirect else None

    def referrers(self, name: str, digest: str) -> bytes | None:
        """Return the index of manifests whose subject has this digest, or None without that API."""
        if not self.has_referrers:
            return None
        listed = []
        for found, (media_type, body) in self.manifests(name).items():
            document = json.loads(body)
            if document.get("subject", {}).get("digest") != digest:
                continue
            kind = document.get("artifactType") or document["config"]["mediaType"]
            listed.append(
                {
                    "mediaType": media_type, "digest": found, "size": len(body),
                    "artifactType": kind, "annotations": document.get("annotations", {}),
                }
            )  # fmt: skip
        index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": listed}
        return json.dumps(index).encode()

    def accept_manifest(
        self, name: str, reference: str, media_type: str | None, body: bytes
    ) -> tuple[int, str, str]:
        """Store a manifest; return a status, and a code and message when it is refused."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        repository = self._repositories.setdefault(name, _Repository())
        try:
            document = json.loads(body)
            if document.get("mediaType") == _INDEX_TYPE:
                held = {digest: body for digest, (_, body) in repository.manifests.items()}
                named = document["manifests"]
            else:
                held = repository.blobs
                named = [document["config"], *document["layers"]]
            stated = [(item["digest"], item["size"]) for item in named]
        except (ValueError, KeyError, TypeError):
            return 400, "MANIFEST_INVALID", "not an image manifest"
        if document.get("mediaType") != media_type:
            return 400, "MANIFEST_INVALID", "Content-Type and mediaType differ"
        if reference.startswith("sha256:") and reference != digest:
            return 400, "DIGEST_INVALID", "the manifest has another digest"
        with self.lock:
            for blob, size in stated:
                if blob not in held:
                    return 400, "MANIFEST_BLOB_UNKNOWN", f"there is no blob {blob}"
                if len(held[blob]) != size:
                    return 400, "MANIFEST_INVALID", f"blob {blob} has another size"
            if self._immutable and repository.tags.get(reference, digest) != digest:
                return 400, "TAG_INVALID", f"the tag {reference} is there and is immutable"
            repository.manifests[digest] = (str(media_type), body)
            if not reference.startswith("sha256:"):
                repository.tags[reference] = digest
        return 201, digest, ""


def _handler(registry: InMemoryRegistry) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(_Requests):
        pass

    Handler.registry = registry
    return Handler


class _Requests(BaseHTTPRequestHandler):
    registry: InMemoryRegistry
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        with self.registry.lock:
            self.registry.connections += 1

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has gone, perhaps killed
            super().handle()

    def finish(self) -> None:
        super().finish()
        with self.registry.lock:
            self.registry.connections -= 1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base names it so
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._get(head=True)

    def do_GET(self) -> None:
        self._get(head=False)

    def do_POST(self) -> None:
        url, query = self._begin("POST")
        match = _UPLOADS.fullmatch(url)
        source = query.get("from", [None])[0]
        if match is None:
            self._refuse(404, "NAME_UNKNOWN", "no such path", close=True)
        elif self._allowed(match["name"], "push", source=source):
            if self.headers.get("Content-Length") != "0" or query.keys() - {"mount", "from"}:
                self._refuse(400, "UNSUPPORTED", "an upload begins with an empty POST")
                return
            digest = query.get("mount", [""])[0]
            if source and self.registry.mount(match["name"], digest, source):
                at = f"/v2/{match['name']}/blobs/{digest}"
                self._reply(201, {"Location": at, "Docker-Content-Digest": digest})
                return
            location = self.registry.open_upload(match["name"])
            self._reply(202, {"Location": location, "Docker-Upload-UUID": "1", "Range": "0-0"})

    def do_PATCH(self) -> None:
        self._begin("PATCH")
        self._refuse(405, "UNSUPPORTED", "chunked uploads are not reliable here", close=True)

    def do_PUT(self) -> None:
        url, query = self._begin("PUT")
        upload, manifest = _UPLOAD.fullmatch(url), _MANIFEST.fullmatch(url)
        match = upload or manifest
        if match is None:
            self._refuse(404, "NAME_UNKNOWN", "no such path", close=True)
        elif self._allowed(match["name"], "push"):
            length = self.headers.get("Content-Length")
            if length is None:
                self._refuse(411, "SIZE_INVALID", "the length is not stated", close=True)
            elif upload:
                self._finish_upload(upload["name"], upload["session"], query, int(length))
            elif manifest:
                body = self.rfile.read(int(length))
                status, code, message = self.registry.accept_manifest(
                    manifest["name"],
                    manifest["reference"],
                    self.headers.get("Content-Type"),
                    body,
                )
                if message:
                    self._refuse(status, code, message)
                else:
                    headers = {"Docker-Content-Digest": code}
                    subject = json.loads(body).get("subject")
                    if subject and self.registry.referrers(manifest["name"], "") is not None:
                        headers["OCI-Subject"] = subject["digest"]
                    self._reply(status, headers)

    def _finish_upload(self, name: str, session: str, query: Query, length: int) -> None:
        registry = self.registry
        order = registry.take("drop")
        if order is not None:
            self._body(min(order, length))
            registry.close_upload(name, session)
            self.close_connection = True
            return
        if not registry.close_upload(name, session):
            self._refuse(404, "BLOB_UPLOAD_UNKNOWN", "no such upload session", close=True)
            return
        body = self._body(length)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if len(body) != length:
            self._refuse(400, "SIZE_INVALID", "the body is shorter than stated", close=True)
        elif query.get("digest") != [digest]:
            self._refuse(400, "DIGEST_INVALID", "the content has another digest")
        elif not registry.keeps_state(query):
            self._refuse(400, "BLOB_UPLOAD_INVALID", "the Location's query was not kept")
        else:
            registry.blobs(name)[digest] = body
            self._reply(201, {"Docker-Content-Digest": digest})

    def _body(self, length: int) -> bytes:
        """Read the content of a blob, which ends early when the client does."""
        parts: list[bytes] = []
        while length and (part := self.rfile.read(min(_CHUNK, length))):
            with self.registry.lock:
                self.registry.received += len(part)
            self.registry.arrived()
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _get(self, *, head: bool) -> None:
        url, query = self._begin("HEAD" if head else "GET")
        if url == "/token":
            self._token(query)
            return
        blob, manifest = _BLOB.fullmatch(url), _MANIFEST.fullmatch(url)
        referrers = _REFERRERS.fullmatch(url)
        match = blob or manifest or referrers
        if match is None:
            self._refuse(404, "NAME_UNKNOWN", "no such path")
            return
        if not self._allowed(match["name"], "pull"):
            return
        if referrers:
            index = self.registry.referrers(referrers["name"], referrers["digest"])
            if index is None:
                self._refuse(404, "NAME_UNKNOWN", "no such path")
            else:
                self._reply(200, {"Content-Type": _INDEX_TYPE}, index, head=head)
            return
        if blob:
            self._send_blob(blob["name"], blob["digest"], head=head)
            return
        reference = match["reference"]
        digest = self.registry.tags(match["name"]).get(reference, reference)
        found = self.registry.manifests(match["name"]).get(digest)
        if found is None:
            self._refuse(404, "MANIFEST_UNKNOWN", "no such manifest")
            return
        media_type, body = found
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        self._reply(200, headers, body, head=head)

    def _send_blob(self, name: str, digest: str, *, head: bool) -> None:
        body = self.registry.blobs(name).get(digest)
        if body is None:
            self._refuse(404, "BLOB_UNKNOWN", "no such blob")
            return
        elsewhere = self.registry.storage(digest)
        if elsewhere and not head:
            self._reply(307, {"Location": elsewhere})
            return
        cut = None if head else self.registry.take("cut")
        if cut is None:
            self._reply(200, {"Content-Type": "application/octet-stream"}, body, head=head)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.close_connection = True

    def _token(self, query: Query) -> None:
        order = self.registry.fault("TOKEN")
        if order is not None:
            self._refuse(order[0], "DENIED", "ordered by the test")
            return
        token = self.registry.token(self.headers.get("Authorization"), query)
        if token is None:
            self._refuse(401, "UNAUTHORIZED", "wrong credentials")
        else:
            self._reply(200, {}, json.dumps({"token": token}).encode())

    def _begin(self, method: str) -> tuple[str, Query]:
        url = urlsplit(self.path)
        self.registry.requests.append(f"{method} {url.path}")
        self.registry.authorizations.append(
            (f"{method} {url.path}", self.headers.get("Authorization"))
        )
        self.registry.arrived()
        return url.path, parse_qs(url.query)

    def _allowed(self, name: str, action: str, *, source: str | None = None) -> bool:
        """Whether the request may go on; otherwise it has been answered.

        `source` is a repository that it wants to read from, too.
        """
        registry = self.registry
        order = registry.fault(self.command)
        if order is not None:
            status, headers = order
            self._refuse(status, "UNAVAILABLE", "ordered by the test", close=True, headers=headers)
            return False
        wanted = [f"repository:{name}:{action}"]
        if source:
            wanted.append(f"repository:{source}:pull")
        if registry.permits(self.headers.get("Authorization"), wanted):
            return True
        challenge = 'Basic realm="in-memory"'
        if registry.auth == "bearer":
            actions = "pull,push" if action == "push" else "pull"
            challenge = (
                f'Bearer realm="{registry.url}/token",service="in-memory",'
                f'scope="{" ".join([f"repository:{name}:{actions}", *wanted[1:]])}"'
            )
        self._refuse(
            401, "UNAUTHORIZED", "log in", close=True, headers={"WWW-Authenticate": challenge}
        )
        return False

    def _refuse(
        self,
        status: int,
        code: str,
        message: str,
        *,
        close: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        extra = {"Content-Type": "application/json", **(headers or {})}
        if close:
            extra["Connection"] = "close"
            self.close_connection = True
        self._reply(status, extra, body, head=self.command == "HEAD")

    def _reply(
        self, status: int, headers: Mapping[str, str], body: bytes = b"", *, head: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not head:
            self.wfile.write(body)
