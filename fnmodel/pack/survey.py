"""What lies in a layer: its paths, what its libraries ask of the C library, and which one it has.

A layer is read once; what was found is kept beside the store under its diff_id.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fnmodel.pack.archive import entries
from fnmodel.pack.compression import Inflated
from fnmodel.pack.image import Layer
from fnmodel.pack.layout import Store

Kind = Literal["file", "folder", "link", "hardlink", "other"]
Version = tuple[int, int]
"""Of the GNU C library: (2, 34)."""

_FORMAT = 1
_CHUNK = 1 << 20
_OVERLAP = 256
# Names of versions stand between zero bytes in the string table of a shared library.
_NEEDED = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?=[.\0])")
_BANNER = re.compile(rb"GNU C Library [^\n\0]{0,120}version (\d+)\.(\d+)")
_LIBRARY = re.compile(r"\.so(?:\.\d+)*$")


@dataclass(frozen=True)
class Entry:
    """One entry of a layer; `target` is where a link leads, `size` is in bytes."""

    path: str
    kind: Kind
    mode: int
    size: int = 0
    target: str = ""


@dataclass(frozen=True)
class Survey:
    """What one layer holds.

    `size` is that of its tar in bytes; `needs` the newest glibc that a shared library in it asks
    for, `has` the version of the glibc in it.
    """

    size: int
    entries: tuple[Entry, ...]
    needs: Version | None = None
    has: Version | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        rows = [[e.path, e.kind, e.mode, e.size, e.target] for e in self.entries]
        return {
            "format": _FORMAT, "size": self.size, "entries": rows,
            "needs": self.needs, "has": self.has,
        }  # fmt: skip

    @staticmethod
    def from_json(data: Any) -> "Survey | None":
        """Read what `to_json` returned; None when another version wrote it, or there is none."""
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            return None
        needs, has = (tuple(data[key]) if data[key] else None for key in ("needs", "has"))
        return Survey(data["size"], tuple(Entry(*row) for row in data["entries"]), needs, has)


def survey(layer: Layer, store: Store) -> Survey:
    """Return what a layer holds, reading it unless that is known.

    Raises:
        PackError: the layer's blob is missing or damaged.

    """
    found = Survey.from_json(store.recall("surveys", _key(layer)))
    if found is None:
        found = _read(layer, store)
        remember(layer, found, store)
    return found


def remember(layer: Layer, found: Survey, store: Store) -> None:
    """Keep what is known of a layer."""
    store.remember("surveys", _key(layer), found.to_json())


def of_files(files: Mapping[str, Path | bytes], folders: Iterable[str], size: int) -> Survey:
    """Return the survey of a layer that is made of these files, with a tar of `size` bytes."""
    found = [Entry(path, "folder", 0o755) for path in folders]
    needs: set[Version] = set()
    for path, content in files.items():
        length = len(content) if isinstance(content, bytes) else content.stat().st_size
        found.append(Entry(path, "file", 0o644, length))
        if _LIBRARY.search(path):
            data = content if isinstance(content, bytes) else content.read_bytes()
            needs |= _versions(_NEEDED, data)
    found.sort(key=lambda entry: entry.path.encode())
    return Survey(size, tuple(found), max(needs, default=None))


def _read(layer: Layer, store: Store) -> Survey:
    found: list[Entry] = []
    needs: set[Version] = set()
    has: set[Version] = set()
    stream: Inflated | None = None
    for member, stream in entries(layer, store):
        path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        if not path:
            continue
        kind: Kind = (
            "file" if member.isreg()
            else "folder" if member.isdir()
            else "link" if member.issym()
            else "hardlink" if member.islnk()
            else "other"
        )  # fmt: skip
        found.append(Entry(path, kind, member.mode & 0o7777, member.size, member.linkname))
        if kind == "file" and path.endswith("/libc.so.6"):
            has |= _scan(_BANNER, stream, member.size)
        elif kind == "file" and _LIBRARY.search(path):
            needs |= _scan(_NEEDED, stream, member.size)
    size = stream.size if stream else 0
    return Survey(size, tuple(found), max(needs, default=None), max(has, default=None))


def _scan(pattern: re.Pattern[bytes], stream: Inflated, size: int) -> set[Version]:
    found: set[Version] = set()
    tail = b""
    while size:
        chunk = stream.read(min(_CHUNK, size))
        if not chunk:
            break  # the archive ends early, which its reader tells
        size -= len(chunk)
        found |= _versions(pattern, tail + chunk)
        tail = chunk[-_OVERLAP:]
    return found


def _versions(pattern: re.Pattern[bytes], data: bytes) -> set[Version]:
    return {(int(major), int(minor)) for major, minor in pattern.findall(data)}


def _key(layer: Layer) -> str:
    return layer.diff_id.removeprefix("sha256:")
