"""What is known of a release, as values; what is missing is None, and `missing` says why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fnmodel.model import Signature
from fnmodel.profile import Profile

Data = Mapping[str, Any]
"""Plain data, as it lies in JSON."""


@dataclass(frozen=True)
class Limits:
    """What a request and the function may have: megabytes, seconds, bytes."""

    memory: int
    timeout: int
    request_seconds: int = 30
    body_bytes: int = 6_000_000


@dataclass(frozen=True)
class Usage:
    """How the model is called, and by whom."""

    url: str
    access: str
    curl: str


@dataclass(frozen=True)
class Facts:
    """All that a card is made of.

    `digest` and `size` are the model's. `parity` is `parity.json`, `image` what `fnmodel inspect`
    says, `releases` the ledger's records of that image, newest first, `drift` a report of `fnmodel
    watch report`, `said` the project's `card:`. `missing` has the reason why a part is not there,
    by its name here.
    """

    name: str
    made: str
    signature: Signature
    digest: str
    size: int
    parity: Data
    limits: Limits
    reference: Profile | None = None
    image: Data | None = None
    releases: Sequence[Data] | None = None
    traffic: str = ""
    drift: Data | None = None
    usage: Usage | None = None
    said: Data = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def fairness(self) -> list[Data]:
        """The gates that compared groups."""
        return [gate for gate in self.parity["gates"] if gate["kind"] == "fairness"]

    @property
    def quality(self) -> list[Data]:
        """The gates that did not."""
        return [gate for gate in self.parity["gates"] if gate["kind"] != "fairness"]

    def why(self, part: str) -> str:
        """Return why a part is missing."""
        return self.missing.get(part, "it is not stored")
