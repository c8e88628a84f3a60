"""Reads the package database of RPM: one SQLite file, in which each row is a package's header.

A header is two numbers (entries, bytes of data), its index of entries (tag, type, offset, count),
and the data that they point into: https://rpm-software-management.github.io/rpm/manual/hregions.html
"""

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing

_STRINGS = frozenset({6, 8, 9})  # one, many, or many in several languages
_EPOCH = 1003
_TEXTS = {1000: "name", 1001: "version", 1002: "release", 1014: "license", 1022: "arch"}
_NUMBER = 4


def read(data: bytes) -> Iterator[dict[str, str]]:
    """Yield name, version, release, license, arch and epoch of each package, where it has them.

    Raises:
        ValueError: it is not such a database.

    """
    # Bytes 18 and 19 say that a log lies beside the file; in an image it has been written back.
    rolled_back = data[:18] + b"\1\1" + data[20:]
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(rolled_back)
            for (blob,) in database.execute("SELECT blob FROM Packages"):
                yield _header(bytes(blob))
    except (sqlite3.Error, struct.error, TypeError) as error:
        message = f"not a database of RPM: {error}"
        raise ValueError(message) from error


def _header(blob: bytes) -> dict[str, str]:
    count, size = struct.unpack_from(">II", blob)
    start = 8 + 16 * count
    values = blob[start : start + size]
    found = {}
    for position in range(count):
        tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * position)
        if tag in _TEXTS and kind in _STRINGS:
            text, _, _ = values[offset:].partition(b"\0")
            found[_TEXTS[tag]] = text.decode("utf-8", "replace")
        elif tag == _EPOCH and kind == _NUMBER:
            found["epoch"] = str(struct.unpack_from(">I", values, offset)[0])
    return found
