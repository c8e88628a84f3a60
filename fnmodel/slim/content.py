"""The hash and the size of what a model is read from: a file or a folder."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fnmodel.errors import SlimError
from fnmodel.hashes import Hashed, anew


def content_sha256(path: Path, hashed: Hashed = anew) -> str:
    """Return the SHA-256 of a file, or of a folder's names and files, in hexadecimal.

    `hashed` may know the hash of a file without reading it.

    Raises:
        SlimError: the folder holds a link, a pipe or a device, or what is read is one.
        OSError: it cannot be read.

    """
    if not path.is_dir():
        return hashed(path, lambda file: _file(file, path)).hex()
    digest = hashlib.sha256()
    for inside, real in _files(path):
        digest.update(str(inside.relative_to(path)).encode() + b"\0")
        digest.update(hashed(real, lambda file: _file(file, path, os.O_NOFOLLOW)))
    return digest.hexdigest()


def content_size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(real.lstat().st_size for _, real in _files(path))


def blobs(folder: Path) -> Path | None:
    """Return the folder that the links of a snapshot in the Hugging Face cache lead into."""
    beside = folder.parent.parent / "blobs"
    return beside if folder.parent.name == "snapshots" and beside.is_dir() else None


def _files(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files below a folder, always in one order, and where each really is."""
    cache = blobs(path.absolute())
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted([*names, *(inner for inner in folders if _is_link(folder, inner))]):
            inside = real = Path(folder, name)
            if inside.is_symlink():
                real = inside.resolve()
            if real is not inside and (cache is None or real.parent != cache.resolve()):
                raise SlimError(
                    f"{inside.relative_to(path)} in {path.name} is a link",
                    hint=f"copy the folder with its files: cp -rL {path.name} copy",
                )
            yield inside, real


def _is_link(folder: str, name: str) -> bool:
    return Path(folder, name).is_symlink()


def _file(path: Path, whole: Path, flags: int = 0) -> bytes:
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    with open(number, "rb") as file:  # noqa: PTH123 (a descriptor)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise SlimError(
                f"{path.name} is no file but a pipe or a device",
                hint=f"give a file or a folder of files, unlike {whole.name}",
            )
        return hashlib.file_digest(file, "sha256").digest()
