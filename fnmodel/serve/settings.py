"""What a container may set of its HTTP server, by environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from fnmodel.errors import UsageError
from fnmodel.serve.body import LIMIT
from fnmodel.serve.cpus import cpus


@dataclass(frozen=True)
class Settings:
    """Where the server listens, and how much it takes on.

    `workers` requests are predicted at once and `queue` more may wait; a body may have `body_limit`
    bytes, and its answer take `timeout` seconds; when it is told to stop, what runs has `grace`.
    """

    host: str = "0.0.0.0"  # noqa: S104 - a container is reached from outside itself
    port: int = 8080
    workers: int = 1
    queue: int = 256
    body_limit: int = LIMIT
    timeout: int = 60
    grace: int = 25

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read PORT and FNMODEL_HOST, _WORKERS, _QUEUE, _BODY_LIMIT, _TIMEOUT, _GRACE.

        Raises:
            UsageError: one of them is not a whole number in its range.

        """
        numbers: dict[str, Any] = {
            field: _number(environ, name, low, high)
            for field, name, low, high in NUMBERS
            if environ.get(name)
        }
        given = cls(host=environ.get("FNMODEL_HOST") or cls.host, workers=cpus())
        return replace(given, **numbers)


NUMBERS = (
    ("port", "PORT", 0, 65_535),
    ("workers", "FNMODEL_WORKERS", 1, 1024),
    ("queue", "FNMODEL_QUEUE", 0, 100_000),
    ("body_limit", "FNMODEL_BODY_LIMIT", 1, 1 << 31),
    ("timeout", "FNMODEL_TIMEOUT", 1, 86_400),
    ("grace", "FNMODEL_GRACE", 0, 3600),
)


def _number(environ: Mapping[str, str], name: str, low: int, high: int) -> int:
    text = environ[name]
    plain = text.isascii() and text.isdigit() and len(text) < 12
    if not (plain and low <= int(text) <= high):
        raise UsageError(
            f"{name} is {text[:40]!r}, which is not a whole number from {low:,} to {high:,}",
            hint=f"set {name} to such a number, or leave it out",
        )
    return int(text)
