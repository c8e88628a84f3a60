"""HTTP with a registry: credentials, attempts, and the registry's own words in errors.

Follows the OCI distribution specification. An address with a query is never part of a message:
those of uploads and downloads carry signatures.
"""

import ipaddress
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from fnmodel.errors import RegistryError
from fnmodel.pack.challenge import Challenge, unite
from fnmodel.pack.credentials import Credentials
from fnmodel.pack.reference import is_loopback

T = TypeVar("T")

_ATTEMPTS = 5
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_WAIT = 30.0
_LARGEST_DOCUMENT = 4 << 20
_BLOCK = 256 << 10

_HINTS = {
    401: "check the credentials for {host} (`docker login`, or AWS credentials)",
    403: "the credentials for {host} do not allow this",
    404: "check the name of the repository; ECR, for one, does not make it by itself",
}
_REASONS = {
    "NewConnectionError": "no connection",
    "NameResolutionError": "the host has no address",
    "ConnectTimeoutError": "no connection in time",
    "ReadTimeoutError": "no answer in time",
    "SSLError": "TLS failed",
}


class Body(Protocol):
    """A stream to send; it can be read once."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""


@dataclass(frozen=True)
class Answer:
    """A response whose body, at most 4 MiB, has been read."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes = b""


class BrokenError(Exception):
    """One attempt failed in a way that the next may not; `wait` is seconds that were asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def pool(url: str) -> urllib3.PoolManager:
    """Return the pool of connections that a client uses unless it is given one.

    The environment's proxy and certificates hold, as for boto3; this machine needs no proxy.
    """
    target = urlsplit(url)
    proxy = getproxies().get(target.scheme)
    options: dict[str, Any] = {
        "maxsize": 8,
        "timeout": urllib3.Timeout(connect=30, read=120),
        "blocksize": _BLOCK,
        "ca_certs": os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE"),
    }
    if proxy and not is_loopback(target.netloc) and not proxy_bypass(target.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


class Transport:
    """Sends requests to one registry; safe to use from several threads."""

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        http: urllib3.PoolManager | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.host = urlsplit(self.url).netloc
        self._credentials = credentials
        self._http = http or pool(self.url)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._authorization: str | None = None
        self._scopes: tuple[str, ...] = ()
        self._wished: tuple[str, ...] = ()

    def close(self) -> None:
        """Close idle connections."""
        self._http.clear()

    def wish(self, scopes: Iterable[str]) -> None:
        """Ask for these scopes too with the next bearer token; they may be refused.

        A registry's challenge names what one request lacks, which is known only when that is sent.
        """
        with self._lock:
            wished = unite((*self._wished, *scopes))
            if wished != self._wished:
                self._wished = wished
                if (self._authorization or "").startswith("Bearer "):
                    self._authorization = None

    def persist(self, action: Callable[[], T], what: str) -> T:
        """Run an action until it ends in anything but `BrokenError`, five times at most.

        Raises:
            RegistryError: every attempt broke.

        """
        wait = 0.5
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return action()
            except BrokenError as error:
                if attempt == _ATTEMPTS:
                    raise RegistryError(
                        f"{self.host}: {what}: {error}, {_ATTEMPTS} times",
                        hint="run the command again; what has arrived is not sent again",
                    ) from error
                self._sleep(min(error.wait or wait, _LONGEST_WAIT))
                wait *= 2
        raise AssertionError("the loop returns or raises")

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
    ) -> Answer:
        """Send one request; after a 401, once more with the credentials that it asks for.

        A stream cannot be sent twice: then a 401 renews the credentials and is a `BrokenError`.

        Raises:
            BrokenError: no answer, or one that invites another attempt.
            RegistryError: credentials are missing or refused.

        """
        target = urljoin(f"{self.url}/", url)
        used = self._authorization
        answer = self._exchange(method, target, headers, body, used)
        if answer.status == 401:
            self._authorize(answer, used)
            if not isinstance(body, bytes | None):
                raise BrokenError("the credentials had expired")
            answer = self._exchange(method, target, headers, body, self._authorization)
            if answer.status == 401:
                raise self.refused(answer, "the credentials are wrong or have expired")
        return answer

    @contextmanager
    def download(self, url: str) -> Iterator[urllib3.BaseHTTPResponse]:
        """Open a blob to read; storage that the registry redirects to gets no credentials.

        Raises:
            BrokenError, RegistryError: as `request`; or the redirect is not one to follow.

        """
        target, used = urljoin(f"{self.url}/", url), self._authorization
        with self._opened("GET", target, None, None, used) as response:
            if response.status == 401:
                self._authorize(_read(response), used)
                raise BrokenError("the credentials had expired")
            if response.status not in _REDIRECTS:
                yield self._granted(response, target)
                return
            moved = urljoin(target, response.headers.get("Location", ""))
        self._check_redirect(moved)
        with self._opened("GET", moved, None, None, None) as response:
            yield self._granted(response, target)

    def upload_location(self, location: str | None) -> str:
        """Return where an upload goes on: always on this registry's own scheme and host.

        Raises:
            RegistryError: the registry names another host, or none.

        """
        target = urlsplit(urljoin(f"{self.url}/", location or ""))
        if not location or _endpoint(target.netloc) != _endpoint(self.host):
            other = f"to another host, {target.netloc}" if location else "nowhere"
            raise RegistryError(f"{self.host} sends the upload {other}")
        # Behind a proxy that ends TLS a registry may believe that it speaks plain HTTP.
        return f"{self.url}{target.path}" + (f"?{target.query}" if target.query else "")

    def refused(self, answer: Answer, action: str) -> RegistryError:
        """Return the error for an answer that no further attempt will change."""
        code, text = _words(answer.body)
        said = " ".join(part for part in (str(answer.status), code, text) if part)
        hint = _HINTS.get(answer.status, "").format(host=self.host)
        return RegistryError(f"{self.host}: {action}: {said}", hint=hint)

    def _granted(self, response: urllib3.BaseHTTPResponse, target: str) -> urllib3.BaseHTTPResponse:
        if response.status != 200:
            raise self.refused(_read(response), f"GET {urlsplit(target).path}")
        return response

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | Body | None,
        authorization: str | None,
    ) -> Answer:
        with self._opened(method, url, headers, body, authorization) as response:
            answer = _read(response)
            response.release_conn()
        return answer

    @contextmanager
    def _opened(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | Body | None,
        authorization: str | None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        sent = {"User-Agent": "fnmodel", **(headers or {})}
        if authorization:
            sent["Authorization"] = authorization
        response: urllib3.BaseHTTPResponse | None = None
        try:
            content: Any = body  # urllib3 only calls its read(), and its types ask for all of IO
            response = self._http.request(
                method, url, headers=sent, body=content, preload_content=False, redirect=False,
                retries=False, decode_content=False,
            )  # fmt: skip
            if response.status in _RETRIED:
                wait = _seconds(response.headers.get("Retry-After", ""))
                raise BrokenError(f"it answers {response.status}", wait)
            yield response
        except urllib3.exceptions.HTTPError as error:
            kind = type(error).__name__
            raise BrokenError(_REASONS.get(kind, f"the connection broke ({kind})")) from error
        finally:
            if response is not None and response.connection is not None:
                response.close()

    def _authorize(self, answer: Answer, used: str | None) -> None:
        challenge = Challenge.parse(answer.headers.getlist("WWW-Authenticate"))
        with self._lock:
            if self._authorization != used:
                return  # another thread has just renewed it
            if challenge is None:
                raise self.refused(answer, "it asks for credentials in an unknown way")
            if challenge.scheme == "bearer":
                scopes = unite((*self._scopes, challenge.scope))
                self._authorization = f"Bearer {self._token(challenge, scopes)}"
                self._scopes = scopes
                return
            if self._credentials is None:
                raise self.refused(answer, "it needs credentials, and there are none")
            if used == self._credentials.basic:
                raise self.refused(answer, "the credentials are wrong or have expired")
            self._authorization = self._credentials.basic

    def _token(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
        realm = urlsplit(challenge.realm)
        local = is_loopback(realm.netloc) and is_loopback(self.host)
        if realm.scheme != "https" and not local:
            raise RegistryError(f"{self.host} wants its credentials sent without TLS")
        answer = self._asked_for_token(challenge, unite((*scopes, *self._wished)))
        if answer.status != 200 and self._wished:
            # Some give nothing where they would not give all.
            self._wished = ()
            answer = self._asked_for_token(challenge, scopes)
        if answer.status != 200:
            raise self.refused(answer, f"no token from {realm.netloc}")
        try:
            found = json.loads(answer.body)
            return str(found.get("token") or found["access_token"])
        except (ValueError, KeyError, AttributeError):
            # The answer may hold a token, so neither it nor its error is shown.
            raise RegistryError(f"{realm.netloc} answered without a token") from None

    def _asked_for_token(self, challenge: Challenge, scopes: tuple[str, ...]) -> Answer:
        query = [("service", challenge.service)] if challenge.service else []
        query += [("scope", scope) for scope in scopes]
        joint = "&" if urlsplit(challenge.realm).query else "?"
        basic = self._credentials.basic if self._credentials else None
        url = f"{challenge.realm}{joint}{urlencode(query)}"
        return self._exchange("GET", url, None, None, basic)

    def _check_redirect(self, url: str) -> None:
        target, local = urlsplit(url), is_loopback(self.host)
        if target.netloc == self.host or (local and is_loopback(target.netloc)):
            return
        if target.scheme != "https":
            raise RegistryError(f"{self.host} sends the download to an address without TLS")
        try:
            private = not ipaddress.ip_address(target.hostname or "").is_global
        except ValueError:  # a name
            private = target.hostname in (None, "localhost")
        if private:
            raise RegistryError(f"{self.host} sends the download into a private network")


def _seconds(asked: str) -> float | None:
    """Return the wait of a Retry-After header, which has seconds or a date."""
    if asked.isdigit():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None


def _read(response: urllib3.BaseHTTPResponse) -> Answer:
    body = b""
    while chunk := response.read(_LARGEST_DOCUMENT + 1 - len(body)):
        body += chunk
        if len(body) > _LARGEST_DOCUMENT:
            raise RegistryError("the registry answers with more than 4 MiB where a document fits")
    return Answer(response.status, response.headers, body)


def _endpoint(host: str) -> str:
    return host.lower().removesuffix(":443").removesuffix(":80")


def _words(body: bytes) -> tuple[str, str]:
    """Return code and message of the first error in a registry's answer, or nothing."""
    try:
        first = json.loads(body)["errors"][0]
        return str(first.get("code", "")), str(first.get("message", ""))[:300]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "", ""
