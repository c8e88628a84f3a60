"""Signatures of AWS, version 4, with the standard library alone.

botocore signs too, but importing it takes longer than the whole rest of an authorizer's cold start.
Tests hold that both give the same.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit


@dataclass(frozen=True)
class Credentials:
    """An access key, its secret, and the session token of temporary ones."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    *,
    service: str,
    region: str,
    now: float,
) -> dict[str, str]:
    """Return the headers, in lower case, with a signature over all of them and the body.

    `url` has no query, and its path is as it is sent; `now` is seconds since 1970.
    """
    parts = urlsplit(url)
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    signed = {
        **{name.lower(): " ".join(value.split()) for name, value in headers.items()},
        "host": parts.netloc,
        "x-amz-date": moment,
    }
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    lines = [f"{name}:{signed[name]}" for name in sorted(signed)]
    request = "\n".join(
        [method, quote(parts.path or "/", safe="/-_.~"), "", *lines, "", names, _hash(body)]
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, _hash(request.encode())])
    key = f"AWS4{credentials.secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return signed


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
