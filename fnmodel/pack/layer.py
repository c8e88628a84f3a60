"""Writes layers: the same files always give the same bytes.

A tar of our own, because `tarfile.add` records owners, times, modes and hardlinks of the machine
that builds, and Lambda is reported to refuse hardlinks. Every header is explicit: paths sorted by
bytes, all parents written, user and group 0 without names, one fixed time, mode 0644 for files and
0755 for folders. No file needs its executable bit: a shared library is loaded without it, and a
copy of a checkout may have lost it.
"""

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from fnmodel.errors import PackError
from fnmodel.pack import survey
from fnmodel.pack.compression import Compressor
from fnmodel.pack.image import EPOCH, LAYER_TYPE, Descriptor, Layer
from fnmodel.pack.layout import Store

Content = Path | bytes
"""A file's content: a path to read, or the bytes."""

_BLOCK = 512
_CHUNK = 1 << 20
_NAME, _PREFIX, _OCTAL_SIZE = 100, 155, 8**11


def tree(folder: Path, at: str) -> dict[str, Content]:
    """Return the files below a folder by the path that they get in the image, below `at`.

    A symbolic link to a file inside the folder becomes that file.

    Raises:
        PackError: a device, a socket, a setuid file, or a link that leads out of the folder.

    """
    root = folder.resolve()
    files: dict[str, Content] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            if not path.resolve().is_relative_to(root):
                raise PackError(f"{path} links out of {folder}", hint="put the file there instead")
            if path.is_dir():
                raise PackError(f"{path} links to a folder", hint="put the files there instead")
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise PackError(f"{path} cannot be read: {error}") from error
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise PackError(f"{path} is neither a file nor a folder")
        if mode & (stat.S_ISUID | stat.S_ISGID):
            raise PackError(f"{path} is setuid or setgid", hint=f"chmod ug-s {path}")
        files[f"{at}/{path.relative_to(folder).as_posix()}"] = path
    return files


def write(
    store: Store,
    files: Mapping[str, Content],
    created_by: str,
    compressor: Compressor,
    expected: Mapping[str, bytes] | None = None,
) -> Layer:
    """Write files into the store as one layer, in a single pass.

    `expected` holds the SHA-256 of files, by their path in the image, which they must have.

    Raises:
        PackError: a path is not one for an image, or a file cannot be read, changed meanwhile or
            is not what was expected.

    """
    layer, size = _write(store, tar(files, expected), created_by, compressor)
    survey.remember(layer, survey.of_files(files, _folders(files), size), store)
    return layer


def of_tar(store: Store, chunks: Iterable[bytes], created_by: str, compressor: Compressor) -> Layer:
    """Write a tar archive that something else made into the store as one layer."""
    return _write(store, chunks, created_by, compressor)[0]


def _write(
    store: Store, chunks: Iterable[bytes], created_by: str, compressor: Compressor
) -> tuple[Layer, int]:
    """Return a layer, and the bytes of its tar."""
    diff_id = hashlib.sha256()
    size = 0

    def hashed() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            diff_id.update(chunk)
            size += len(chunk)
            yield chunk

    with store.writing() as writer:
        for chunk in compressor(hashed()):
            writer.write(chunk)
        descriptor = Descriptor(LAYER_TYPE, writer.digest, writer.size)
    return Layer(descriptor, f"sha256:{diff_id.hexdigest()}", created_by), size


def tar(
    files: Mapping[str, Content], expected: Mapping[str, bytes] | None = None
) -> Iterator[bytes]:
    """Yield a tar archive (POSIX ustar; pax headers where a name or size needs one).

    `expected` is as in `write`.
    """
    folders = _folders(files)
    both = folders & files.keys()
    if both:
        raise PackError(f"{min(both)} is a file and a folder")
    for path in sorted({*folders, *files}, key=str.encode):
        if path in folders:
            yield _header(f"{path}/", 0, b"5")
            continue
        content = files[path]
        if isinstance(content, bytes):
            yield _header(path, len(content), b"0")
            yield content
            yield bytes(-len(content) % _BLOCK)
        else:
            yield from _file(path, content, (expected or {}).get(path))
    yield bytes(2 * _BLOCK)


def _folders(files: Iterable[str]) -> set[str]:
    return {str(parent) for path in files for parent in _checked(path).parents} - {"."}


def _file(path: str, source: Path, expected: bytes | None) -> Iterator[bytes]:
    found = hashlib.sha256()
    try:
        with source.open("rb") as file:
            size = left = source.stat().st_size
            yield _header(path, size, b"0")
            while chunk := file.read(_CHUNK):
                left -= len(chunk)
                if expected is not None:
                    found.update(chunk)
                yield chunk
    except OSError as error:
        raise PackError(f"{source} cannot be read: {error}") from error
    if left or expected not in (None, found.digest()):
        raise PackError(f"{source} changed while it was packed", hint="run the command again")
    yield bytes(-size % _BLOCK)


def _checked(path: str) -> PurePosixPath:
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise PackError(f"{path!r} is not a relative path for an image")
    if parts[-1].startswith(".wh."):
        raise PackError(f"{path!r} would delete a file of a lower layer")
    return PurePosixPath(path)


def _header(path: str, size: int, kind: bytes) -> bytes:
    name, prefix, pax = _split(path), b"", b""
    if name is None or not path.isascii():
        pax += _record("path", path)
        short, prefix = path.encode()[:_NAME], b""
    else:
        prefix, short = name
    if size >= _OCTAL_SIZE:
        pax += _record("size", str(size))
    header = _ustar(short, prefix, min(size, _OCTAL_SIZE - 1), kind)
    if not pax:
        return header
    padding = bytes(-len(pax) % _BLOCK)
    return _ustar(b"././@PaxHeader", b"", len(pax), b"x") + pax + padding + header


def _split(path: str) -> tuple[bytes, bytes] | None:
    """Return ustar's prefix and name of a path, or None when they cannot hold it."""
    data = path.encode()
    if len(data) <= _NAME:
        return b"", data
    at = data.rfind(b"/", 0, min(_PREFIX + 1, len(data) - 1))
    return (data[:at], data[at + 1 :]) if at > 0 and len(data) - at - 1 <= _NAME else None


def _record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def _ustar(name: bytes, prefix: bytes, size: int, kind: bytes) -> bytes:
    mode = b"0000755\0" if kind == b"5" else b"0000644\0"
    fields = (
        name.ljust(_NAME, b"\0"), mode, b"0000000\0", b"0000000\0",
        b"%011o\0" % size, b"%011o\0" % EPOCH, b" " * 8, kind, bytes(100),
        b"ustar\x0000", bytes(32), bytes(32), b"0000000\0", b"0000000\0",
        prefix.ljust(_PREFIX, b"\0"), bytes(12),
    )  # fmt: skip
    header = b"".join(fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
