"""Signatures of webhooks: the scheme of Standard Webhooks, HMAC-SHA256 with a shared secret.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from fnmodel.errors import InputError

TOLERANCE = 300
"""Seconds that a message's time may be off; later it may be a replay."""

_PREFIX = "whsec_"
_LEAST = 24
"""Bytes of a secret at least, as the specification has it."""


def key_of(secret: str) -> bytes:
    """Return the key that a secret (`whsec_` and Base64) stands for.

    Raises:
        InputError: it is of another form, or too short; the message does not hold it.

    """
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise InputError("the webhook's secret is no Base64 after whsec_") from error
    if len(key) < _LEAST:
        raise InputError(f"the webhook's secret has {len(key)} bytes; it needs {_LEAST}")
    return key


def sign(key: bytes, identity: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`."""
    signed = f"{identity}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(key: bytes, identity: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that a message is sent with."""
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(key, identity, timestamp, body),
    }


def verify(key: bytes, given: Mapping[str, str], body: bytes, now: float) -> str:
    """Return the id of a message that was signed with the key, not long ago.

    `given` has names of headers in lower case. A header may hold several signatures, one of a
    secret that is about to go.

    Raises:
        InputError: a header is missing, the time is off, or no signature fits.

    """
    try:
        identity, sent = given["webhook-id"], int(given["webhook-timestamp"])
        signatures = given["webhook-signature"].split(" ")
    except (KeyError, ValueError) as error:
        raise InputError("a webhook's headers are missing or malformed") from error
    if abs(now - sent) > TOLERANCE:
        raise InputError(f"the webhook is {now - sent:+.0f} s old; {TOLERANCE} are allowed")
    own = sign(key, identity, sent, body).encode()
    if not any(hmac.compare_digest(own, one.encode()) for one in signatures):
        raise InputError("the webhook's signature does not fit")
    return identity
