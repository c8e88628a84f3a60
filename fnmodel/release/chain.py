"""Records that hold on to one another, so that none can be changed, dropped or added unseen.

The hash of an entry is SHA-256 of its number, its place in the ledger, its text and the hash before
it; the first has 64 zeros before it. Whoever can write to the table could make a whole new chain:
copies in a locked bucket are there to show that.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

ORIGIN = "0" * 64


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: how many entries it has, and the last one's hash."""

    count: int = 0
    hash: str = ORIGIN


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its number from 1, its place in the ledger, its text, and two hashes in hex."""

    number: int
    order: str
    text: str
    previous: str
    hash: str

    @classmethod
    def after(cls, head: Head, order: str, text: str) -> Self:
        """Return the entry that comes next."""
        number = head.count + 1
        return cls(number, order, text, head.hash, _hash(number, order, text, head.hash))

    @property
    def head(self) -> Head:
        """The end of the chain whose last entry this is."""
        return Head(self.number, self.hash)

    def to_bytes(self) -> bytes:
        """Return what a copy holds: JSON whose bytes depend on the entry alone."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()


def faults(entries: Sequence[Entry], head: Head) -> Iterator[str]:
    """Yield what is wrong with a chain, in its order; nothing for one that is whole."""
    before = Head()
    for entry in entries:
        if entry.number != before.count + 1:
            yield f"after entry {before.count} comes entry {entry.number}"
        elif entry.previous != before.hash:
            yield f"entry {entry.number} does not follow the one before it"
        if entry.hash != _hash(entry.number, entry.order, entry.text, entry.previous):
            yield f"entry {entry.number} was changed"
        before = entry.head
    if before != head:
        yield f"the chain ends at entry {before.count}; its last was entry {head.count}"


def differences(entries: Sequence[Entry], copies: Mapping[int, bytes]) -> Iterator[str]:
    """Yield where copies, by their numbers, are not what the chain holds."""
    known = {entry.number: entry.to_bytes() for entry in entries}
    for number in sorted(known.keys() | copies.keys()):
        if number not in copies:
            yield f"entry {number} has no copy"
        elif number not in known:
            yield f"entry {number} is there as a copy only"
        elif known[number] != copies[number]:
            yield f"entry {number} differs from its copy"


def _hash(number: int, order: str, text: str, previous: str) -> str:
    said = json.dumps([number, order, text, previous], separators=(",", ":"))
    return hashlib.sha256(said.encode()).hexdigest()
