"""Leaves out of shared libraries what no loader reads: symbols and lines for debuggers.

Many wheels carry them, a few at five times the size of their code. What a process maps is named by
the segments of a file (ELF, program headers); everything else can go, with the table that finds it.
https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html
"""

import base64
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

from fnmodel.pack.prune import edit_records

# 64 bits, little-endian: what both architectures of Lambda have.
_MAGIC = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")


def strip(folder: Path) -> None:
    """Strip the libraries of an installed tree, and correct their lines in RECORD."""
    changed = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                continue
        data = path.read_bytes()
        kept = stripped(data)
        if kept != data:
            mode = path.stat().st_mode
            path.unlink()  # uv may have linked it from its cache
            path.write_bytes(kept)
            path.chmod(mode)
            changed[path.relative_to(folder).as_posix()] = kept
    edit_records(folder, lambda row: _line(row, changed.get(row[0])))


def _line(row: list[str], kept: bytes | None) -> list[str]:
    if kept is None:
        return row
    digest = base64.urlsafe_b64encode(hashlib.sha256(kept).digest()).rstrip(b"=").decode()
    return [row[0], f"sha256={digest}", str(len(kept))]


def stripped(data: bytes) -> bytes:
    """Return a library of only what its segments cover; anything else comes back as it is."""
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        return data
    header = [*_HEADER.unpack_from(data)]
    spans = sorted(_spans(data, header))
    end = max(stop for _, stop in spans)
    if end > len(data):
        return data  # cut short: not ours to mend
    kept = bytearray(end)  # what lies between is zero, and takes no room in a layer
    for start, stop in spans:
        kept[start:stop] = data[start:stop]
    header[6] = header[12] = header[13] = 0  # where the sections are, how many, and their names
    kept[: _HEADER.size] = _HEADER.pack(*header)
    return bytes(kept)


def _spans(data: bytes, header: list[int]) -> Iterator[tuple[int, int]]:
    """Yield where the header, the table of segments and each segment begin and end."""
    table, size, count = header[5], header[9], header[10]
    yield 0, _HEADER.size
    yield table, table + size * count
    if table + size * count <= len(data):
        for number in range(count):
            _, _, offset, _, _, length, _, _ = _SEGMENT.unpack_from(data, table + number * size)
            yield offset, offset + length
