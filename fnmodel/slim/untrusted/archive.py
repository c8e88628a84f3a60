"""Checks a zip archive before it is read: sizes, names, and that nothing is packed twice."""

import io
import zipfile
from pathlib import Path

from fnmodel.errors import SlimError

_MOST_FILES = 100_000
_FREE_BYTES = 256 << 20
_MOST_EXPANSION = 200
_HINT = "do not use this file unless you wrote it; else save the model again"


def read_checked(path: Path) -> bytes:
    """Return the bytes of a zip archive whose members can be unpacked within bounds.

    Raises:
        SlimError: it is no zip archive, is encrypted, holds a name twice or one that leads out of
            it, or unpacks to far more than it is.

    """
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise SlimError(f"{path.name} is a damaged zip archive: {error}", hint=_HINT) from error
    reason = _reason(members, len(data))
    if reason:
        raise SlimError(f"{path.name} is no archive of a model: {reason}", hint=_HINT)
    return data


def _reason(members: list[zipfile.ZipInfo], size: int) -> str:
    if len(members) > _MOST_FILES:
        return f"it holds {len(members)} files"
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        return "a file is in it twice"
    for member in members:
        if member.flag_bits & 1:
            return "it is encrypted"
        parts = member.filename.replace("\\", "/").split("/")
        if member.filename.startswith(("/", "\\")) or ".." in parts or "\0" in member.filename:
            return f"{member.filename[:80]!r} leads out of it"
    # Members that share their packed bytes are how a small file becomes a huge one.
    if sum(member.compress_size for member in members) > size:
        return "its files overlap"
    unpacked = sum(member.file_size for member in members)
    if unpacked > _FREE_BYTES + _MOST_EXPANSION * size:
        return f"it unpacks to {unpacked >> 20} MB"
    return ""
