"""The captured lines of one hour in, its windows out, in memory that hardly grows with the rows.

Rows are counted in parts of a few thousand, and the parts added up. Of each row eight bytes stay,
the hash of its id, so that what a delivery brings twice counts once.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fnmodel.model import Signature
from fnmodel.profile import Array, Profile
from fnmodel.watch.rows import Row, parse
from fnmodel.watch.windows import Windows, merged, windows

_PART = 2048


@dataclass(frozen=True, slots=True)
class Tally:
    """What the lines of an hour hold; `represents` is how many rows the captured ones stand for."""

    windows: Windows
    rows: int = 0
    repeated: int = 0
    unreadable: int = 0

    @property
    def represents(self) -> float:
        """The rows that were asked, as far as the rate of capture tells."""
        return sum(window.profile.rows / key.rate for key, window in self.windows.items())


def tally(
    lines: Iterable[bytes], hour: str, model: str, reference: Profile, signature: Signature
) -> Tally:
    """Count the rows of one hour (2026-11-27T08, UTC) that one model answered."""
    found: Windows = {}
    seen: Array = np.empty(0, dtype=np.uint64)
    rows = repeated = unreadable = 0
    for part in _parts(iter(lines)):
        parsed = [parse(line) for line in part]
        unreadable += parsed.count(None)
        own = [row for row in parsed if row is not None and (row.hour, row.model) == (hour, model)]
        fresh, seen = _fresh(own, seen)
        repeated += len(own) - len(fresh)
        rows += len(fresh)
        found = merged(found, windows(fresh, reference, signature))
    return Tally(found, rows, repeated, unreadable)


def _parts(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while part := list(islice(lines, _PART)):
        yield part


def _fresh(rows: list[Row], seen: Array) -> tuple[list[Row], Array]:
    """Return the rows that were not seen yet, and the sorted hashes of all that are now."""
    hashes = np.array([_hash(row.id) for row in rows], dtype=np.uint64)
    _, first = np.unique(hashes, return_index=True)
    at = np.searchsorted(seen, hashes[first])
    known = np.zeros(len(first), dtype=bool)
    inside = at < len(seen)
    known[inside] = seen[at[inside]] == hashes[first][inside]
    new = np.sort(first[~known])
    return [rows[i] for i in new], np.sort(np.concatenate([seen, hashes[new]]))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
