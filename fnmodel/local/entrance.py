"""What stands before an HTTP API in AWS, and not in the emulator: each rule a function or a value.

    Throttle          a stage's rate and burst
    signature_flaw    who signed a request to a route with AWS_IAM
    token_flaw        what a JSON Web Token must be before its signature is looked at
    said_instead      what an API says where its function failed, or could not be called
    camel             names of a template as the API has them

`fnmodel.local.seam` puts them where they belong.
"""

import base64
import contextvars
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

MAX_BODY = 10_485_760
"""Bytes of a request's body that an HTTP API takes.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""
path_sent: contextvars.ContextVar[str] = contextvars.ContextVar("path_sent", default="")
"""The path of the request that is being answered, as its sender wrote and signed it."""

_SKEW = 300.0
_MAX_TOKEN = 16_384


class Throttle:
    """A bucket of tokens for each stage of an API. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}

    def allows(self, api: str, stage: str, settings: Mapping[str, Any]) -> bool:
        """Take a token of a stage whose `DefaultRouteSettings` are given; without any, always."""
        found = camel(settings)
        rate, burst = found.get("throttlingRateLimit"), found.get("throttlingBurstLimit")
        if rate is None or burst is None:
            return True
        with self._lock:
            now = self._clock()
            tokens, last = self._buckets.get((api, stage), (float(burst), now))
            tokens = min(float(burst), tokens + (now - last) * float(rate))
            allowed = tokens >= 1
            self._buckets[api, stage] = (tokens - 1 if allowed else tokens, now)
        return allowed


def signature_flaw(
    method: str,
    path: str,
    query: Mapping[str, Any],
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: tuple[str, str],
    region: str,
    now: float,
) -> str | None:
    """Return what is wrong with a request's SigV4 signature for `execute-api`, None if it is good.

    `path` is as it was sent, `headers` have names in lower case, `keys` are the access key that is
    known and its secret.
    """
    from ministack.core import sigv4

    if not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        return "it is not signed with AWS4-HMAC-SHA256"
    found = sigv4.parse_header_signature(headers)
    if isinstance(found, tuple):
        return str(found[1])
    if (found.region, found.service) != (region, "execute-api"):
        return f"it is signed for {found.service} in {found.region}"
    if not hmac.compare_digest(found.access_key_id.encode(), keys[0].encode()):
        return "its access key is not known"
    try:
        moment = datetime.strptime(found.amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return "its date is none"
    if abs(moment.timestamp() - now) > _SKEW:
        return "its date is more than five minutes off"
    signed = set(found.signed_headers.split(";"))
    # AWS asks for these; a header that is not signed could be added on the way.
    unsigned = {"host", *(name for name in headers if name.startswith("x-amz-"))} - signed
    if unsigned:
        return f"{', '.join(sorted(unsigned))} is not signed"
    # A hash that the caller gives is taken as it is by the emulator's check.
    given = headers.get("x-amz-content-sha256")
    if given is not None and given != hashlib.sha256(body).hexdigest():
        return "its body is not the one that was signed"
    failure = sigv4.header_signature_failure(found, keys[1], method, path, query, headers, body)
    return str(failure[0]) if failure else None


def token_flaw(token: str) -> str | None:
    """Return what is wrong with the form of a JSON Web Token, None if its signature may be tried.

    The emulator tries RS256 whatever `alg` says, and fails on claims that are no numbers.
    """
    if len(token) > _MAX_TOKEN:
        return "it is too long"
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        return "it does not have three parts"
    try:
        header, claims = (_plain_object(part) for part in parts[:2])
    except (ValueError, RecursionError) as error:
        return str(error)
    if header.get("alg") != "RS256" or "crit" in header:
        return "its algorithm is not RS256 alone"
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        wanted = name == "exp" or name in claims
        if wanted and (isinstance(value, bool) or not isinstance(value, int | float)):
            return f"its claim {name} is no number"
    return None


def _plain_object(part: str) -> dict[str, Any]:
    if not part.isascii() or not part.replace("-", "").replace("_", "").isalnum():
        raise ValueError("it is not in base64url")
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice in it")
        return found

    value = json.loads(data, object_pairs_hook=once)
    if not isinstance(value, dict):
        raise ValueError("a part of it is no JSON object")  # noqa: TRY004
    return value


def said_instead(status: int, headers: Mapping[str, str], body: bytes) -> tuple[int, str] | None:
    """Return the status and message of an HTTP API in place of the emulator's; None to keep it.

    The emulator answers 502 with a crash's own words, and 429 where Lambda has no room. Our
    function says neither without a request id.
    """
    if status not in (429, 502) or any(name.lower() == "x-request-id" for name in headers):
        return None
    if status == 429:
        return 503, "Service Unavailable"
    if b"RequestTooLargeException" in body[:1000]:
        return 413, "Request Entity Too Large"
    return 500, "Internal Server Error"


def camel(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the names of the API: the emulator keeps a template's as they are."""
    return {name[:1].lower() + name[1:]: value for name, value in settings.items()}
