"""What every part of `fnmodel.yaml` is made of."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FILE = "fnmodel.yaml"

NAME = r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$"
Name = Annotated[str, Field(pattern=NAME)]
"""2 to 32 characters that CloudFormation, ECR and EventBridge Scheduler all accept in a name."""

ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}[a-z0-9]$")]
"""A name, which may have underscores: a segment of paths that is never escaped."""

KMS_KEY = r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$"
POLICY = r"^arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+$"
"""ARNs, of a key and of a managed policy."""

LOOPBACK = r"http://(127\.0\.0\.1|localhost)(:\d{1,5})?"


class Strict(BaseModel):
    """A part of the file: an unknown key is an error, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Duration = Annotated[str, Field(pattern=r"^[1-9]\d{0,5}[smhd]$")]
"""A number and its unit: 30s, 10m, 2h, 1d."""


def check_addresses(addresses: Iterable[str]) -> None:
    """Refuse what no mail could be sent to.

    Raises:
        ValueError: one is no e-mail address.

    """
    for address in addresses:
        if not re.fullmatch(r"[^\s@]+@[^\s@]+\.[^\s@]+", address):
            raise ValueError(f"{address!r} is no e-mail address")


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name, in the order of the alphabet, that stands more than once."""
    return min((name for name, count in Counter(names).items() if count > 1), default=None)


def seconds(duration: str) -> float:
    """Return a duration in seconds."""
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[duration[-1]]
