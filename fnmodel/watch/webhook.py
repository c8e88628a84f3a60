"""Sends one signed message to a URL: to a public address over TLS, and nowhere else.

The host is resolved once, every address is looked at, and the connection goes to the one that was
looked at, so that a name cannot point elsewhere a moment later. Redirects are not followed.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from fnmodel.errors import AlertError
from fnmodel.watch.signing import headers

Resolve = Callable[[str, int], list[str]]

_TIMEOUT = 5.0
_WAITS = (1.0, 4.0)
"""Seconds before the second and the third attempt."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go. `inside` allows http and private addresses: the embedded cloud's."""

    url: str
    inside: bool = False


def resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


def send(
    target: Target,
    key: bytes,
    identity: str,
    body: bytes,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
    resolve: Resolve = resolve,
) -> None:
    """Deliver a message; tried three times where the receiver is down or asks for patience.

    Raises:
        AlertError: the address is not allowed, or the receiver does not take the message.

    """
    parts = urlsplit(target.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme != "https" and not target.inside:
        raise AlertError(f"webhook to {host}: https only")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    said = ""
    for wait in (0.0, *_WAITS):
        if wait:
            sleep(wait)
        try:
            address = allowed(host, resolve(host, port), inside=target.inside)
            signed = headers(key, identity, int(clock()), body)
            status = _post(parts.scheme, host, address, port, path, body, signed)
        except (OSError, http.client.HTTPException) as error:
            said = f"{type(error).__name__}: {error}"
            continue
        if 200 <= status < 300:
            return
        said = f"HTTP {status}"
        if status not in (408, 429) and status < 500:
            break
    raise AlertError(f"webhook to {host}: {said}")


def allowed(host: str, addresses: list[str], *, inside: bool) -> str:
    """Return the address to connect to.

    Raises:
        AlertError: one of them is private, of this machine, or of the cloud's own services.

    """
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if not inside and (not mapped.is_global or mapped.is_multicast):
            raise AlertError(f"webhook to {host}: {text} is not a public address")
    if not addresses:
        raise AlertError(f"webhook to {host}: no address")
    return addresses[0]


def _post(
    scheme: str, host: str, address: str, port: int, path: str, body: bytes, signed: dict[str, str]
) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    plain = socket.create_connection((address, port), timeout=_TIMEOUT)
    try:
        connection.sock = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            if scheme == "https"
            else plain
        )
        connection.request(
            "POST",
            path,
            body,
            {"content-type": "application/cloudevents+json", "user-agent": "fnmodel", **signed},
        )
        return connection.getresponse().status
    finally:
        connection.close()
        plain.close()
