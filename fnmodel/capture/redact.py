"""What is kept of a row: fields dropped, hashed or kept as told, secrets taken out of the rest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Self

from fnmodel.capture.scrub import scrub

Treatment = Literal["drop", "hash", "keep"]

LONGEST = 16_384
"""Characters of text in which secrets are looked for; what is longer is left out whole."""
# The shortest number of which a pattern is sure is a tax number of eleven digits.
_SHORT = 10**10


_name = lru_cache(1024)(scrub)  # the same names come with each row


@dataclass(frozen=True)
class Policy:
    """What `capture:` of fnmodel.yaml says, with the stage's key for hashes.

    A field is meant wherever its name stands, however deep. `subject` is the field that says whom a
    row is about, and is hashed unless `fields` says otherwise.
    """

    rate: float = 0.0
    fields: Mapping[str, Treatment] = field(default_factory=dict)
    patterns: bool = True
    subject: str | None = None
    key: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self | None:
        """Read FNMODEL_CAPTURE and FNMODEL_CAPTURE_KEY; None where nothing is captured.

        Raises:
            ValueError: they are not what `fnmodel deploy` writes.

        """
        text = environ.get("FNMODEL_CAPTURE")
        if not text:
            return None
        import json

        policy = cls(**json.loads(text), key=bytes.fromhex(environ.get("FNMODEL_CAPTURE_KEY", "")))
        if policy.hashes and len(policy.key) < 16:
            raise ValueError("FNMODEL_CAPTURE hashes fields, but FNMODEL_CAPTURE_KEY is too short")
        return policy if policy.rate > 0 else None

    @property
    def hashes(self) -> bool:
        """Whether anything is hashed, which needs the key."""
        return bool(self.subject) or "hash" in self.fields.values()

    def redact(self, value: Any) -> Any:
        """Return JSON values as they may be kept."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return dict(self._items(value))
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        return self._number(value) if isinstance(value, int | float) else value

    def _items(self, mapping: Mapping[str, Any]) -> Any:
        for name, value in mapping.items():
            treatment = self.fields.get(name, "hash" if name == self.subject else None)
            if treatment == "drop":
                continue
            shown = _name(name) if self.patterns else name
            if treatment == "hash" and value is not None:
                yield shown, hashed(self.key, value)
            elif treatment == "keep":
                yield shown, value
            else:
                yield shown, self.redact(value)

    def _text(self, text: str) -> str:
        if not self.patterns:
            return text
        return scrub(text) if len(text) <= LONGEST else f"<{len(text)} characters>"

    def _number(self, value: float) -> Any:
        if not self.patterns or abs(value) < _SHORT or not float(value).is_integer():
            return value
        text = str(int(value))
        found = scrub(text)
        return value if found == text else found

    def subject_of(self, row: Any) -> str | None:
        """Return the hash of whom a row is about, None where it does not say."""
        if self.subject is None or not isinstance(row, Mapping):
            return None
        value = row.get(self.subject)
        return None if value is None else hashed(self.key, value)


def hashed(key: bytes, value: Any) -> str:
    """Return a value's keyed hash: BLAKE2b's first 16 bytes, in hex, after `h:`.

    42, 42.0 and "42" have the same, since `fnmodel capture erase` gets text.
    """
    # OpenSSL comes with hashlib, and would cost a cold start 4 ms; the first captured row can wait.
    from hashlib import blake2b

    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, dict | list):
        import json

        value = json.dumps(value, sort_keys=True, separators=(",", ":"))
    text = str(value).strip().encode("utf-8", "surrogatepass")
    return "h:" + blake2b(text, key=key[:64], digest_size=16).hexdigest()
