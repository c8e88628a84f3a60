"""API keys of an endpoint: what a caller holds, and what the stage's table keeps of it.

    fnm_7f3a9c0d51e2_64 hexadecimal digits
        └ id, the table's key └ 256 random bits

The table keeps the SHA-256 of the whole key. A slow hash for passwords would gain nothing: it makes
guessing dear where there is little to guess, and 2**256 values cannot be guessed at any price; it
would cost every caller its time.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Scope = Literal["predict", "metadata"]
SCOPES: tuple[Scope, ...] = ("predict", "metadata")
"""`predict` allows POST, `metadata` every other method."""

_KEY = re.compile(r"fnm_([0-9a-f]{12})_[0-9a-f]{64}")

Item = Mapping[str, Mapping[str, Any]]
"""An item of DynamoDB, in its own JSON: `{"name": {"S": "ci"}}`."""


@dataclass(frozen=True)
class ApiKey:
    """A key as its table knows it; the key itself is not in it.

    Times are seconds since 1970. `expires` 0 means never, `rate` 0 means that nothing but the API
    bounds its requests a second. `used` is coarse: see `fnmodel.serve.authorizer`.
    """

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...] = SCOPES
    created: int = 0
    expires: int = 0
    rate: int = 0
    revoked: int = 0
    used: int = 0

    def state(self, now: float) -> Literal["active", "expired", "revoked"]:
        """Return whether it lets anybody in."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and now >= self.expires else "active"

    def opens(self, key: str, now: float) -> bool:
        """Whether `key` is this one, and lets its caller in; compared in constant time."""
        return hmac.compare_digest(self.digest, digest(key)) and self.state(now) == "active"

    def to_item(self) -> dict[str, dict[str, Any]]:
        """Return the item that the table keeps."""
        numbers = {name: str(getattr(self, name)) for name in _NUMBERS}
        return {
            "pk": {"S": self.id},
            "name": {"S": self.name},
            "digest": {"S": self.digest},
            "scopes": {"SS": list(self.scopes)},
            **{name: {"N": number} for name, number in numbers.items()},
        }

    @staticmethod
    def from_item(item: Item) -> "ApiKey":
        """Read an item that `to_item` made.

        Raises:
            KeyError: it is not one.

        """
        return ApiKey(
            id=item["pk"]["S"],
            name=item["name"]["S"],
            digest=item["digest"]["S"],
            scopes=tuple(scope for scope in SCOPES if scope in item["scopes"]["SS"]),
            **{name: int(item[name]["N"]) for name in _NUMBERS},
        )


_NUMBERS = ("created", "expires", "rate", "revoked", "used")


def generate() -> tuple[str, str]:
    """Return the id of a new key, and the key."""
    identity = secrets.token_hex(6)
    return identity, f"fnm_{identity}_{secrets.token_hex(32)}"


def digest(key: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def identity_of(key: str) -> str | None:
    """Return the id within a key; None where it cannot be a key."""
    found = _KEY.fullmatch(key)
    return found[1] if found else None
