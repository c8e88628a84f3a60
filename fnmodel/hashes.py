"""Hashes of large files, remembered while nothing about a file changes: such a file is not read.

A file is known again by device, inode, size, and its times of change in nanoseconds. The time of
the last change of status cannot be set by hand, so restoring a file's date hides nothing. Two
writes within one tick of a clock look the same, so, as git does, a file that was touched just
before it was hashed is hashed again the next time.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fnmodel.uses import Uses

Read = Callable[[Path], bytes]
"""Reads a file and returns its SHA-256, 32 bytes."""
Hashed = Callable[[Path, Read], bytes]
"""Returns the SHA-256 of a file: `anew`, or `Hashes`."""

# Below, reading takes no longer than remembering.
_LARGE = 4 << 20
# The coarsest clock of a file system in use, FAT's, ticks every two seconds.
_SETTLED_NS = 2_000_000_000


def sha256(path: Path) -> bytes:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def anew(path: Path, read: Read = sha256) -> bytes:
    """Read a file, whatever is remembered."""
    return read(path)


class Hashes:
    """Remembers hashes in a folder; several processes may use it at a time.

    A program that holds a file mapped into memory can change it without a new time; models are not
    written so.
    """

    def __init__(self, folder: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self._folder = folder
        self._clock = clock

    def __call__(self, path: Path, read: Read = sha256) -> bytes:
        """Return the SHA-256 of a file, reading it unless it is large and unchanged.

        Raises:
            OSError: it cannot be read; and whatever `read` raises.

        """
        identity = _identity(path)
        if identity is None:
            return read(path)
        name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
        note = self._folder / f"{name}.json"
        known = _recalled(note, identity)
        if known is not None:
            Uses(self._folder).mark(note)
            return known
        began = self._clock()
        found = read(path)
        # Otherwise it changed while it was read, or so shortly before that one more change may
        # have gone unseen.
        if _identity(path) == identity and max(identity["times"]) + _SETTLED_NS < began:
            with suppress(OSError):  # a full disk costs the saving, not the hash
                self._remember(note, {**identity, "path": str(path), "sha256": found.hex()})
        return found

    def clean(self, seconds: float) -> None:
        """Remove notes that were not used for so many seconds; each is a few hundred bytes."""
        if self._folder.is_dir():
            notes = [(note, note) for note in self._folder.glob("*.json")]
            Uses(self._folder).clean(notes, seconds)

    def _remember(self, note: Path, data: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = note.with_name(f".{note.name}-{os.getpid()}")
        temporary.write_text(json.dumps(data))
        temporary.replace(note)


def _identity(path: Path) -> dict[str, Any] | None:
    """Return what the file system says of a file; None when it is small, or no file."""
    status = path.stat()
    if status.st_size < _LARGE or not stat.S_ISREG(status.st_mode):
        return None
    return {
        "file": [status.st_dev, status.st_ino, status.st_size],
        "times": [status.st_mtime_ns, status.st_ctime_ns],
    }


def _recalled(note: Path, identity: dict[str, Any]) -> bytes | None:
    try:
        data = json.loads(note.read_bytes())
        found = bytes.fromhex(data["sha256"])
        same = all(data[key] == value for key, value in identity.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no note, or one that another version wrote
    return found if same and len(found) == hashlib.sha256().digest_size else None
