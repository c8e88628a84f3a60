"""Compressed bytes in, plain ones out, and back: gzip and zstd."""

import gzip
import zlib
from typing import Any, BinaryIO, Literal, cast

from fnmodel.batch.objects import Readable
from fnmodel.errors import BatchError

Compression = Literal["none", "gzip", "zstd"]
SUFFIXES: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}


class Broken(Exception):  # noqa: N818 - a state of the data, not a failure of ours
    """The stream cannot be read any further; what came before is good."""


def plain(stream: Readable, compression: Compression) -> Readable:
    """Return a stream of the plain bytes.

    Its `read` raises `Broken` where the stream breaks off.

    Raises:
        BatchError: the image has no zstd.

    """
    if compression == "none":
        return stream
    binary = cast("BinaryIO", stream)
    if compression == "gzip":
        return _Unpacked(gzip.GzipFile(fileobj=binary), compression)
    return _Unpacked(zstd().ZstdFile(binary), compression)


def packed(file: BinaryIO, compression: Compression) -> BinaryIO:
    """Return a file whose bytes are written compressed to another; the same bytes each time."""
    if compression == "none":
        return file
    if compression == "gzip":
        return cast("BinaryIO", gzip.GzipFile("", "wb", 6, file, mtime=0))
    return cast("BinaryIO", zstd().ZstdFile(file, "w"))


def zstd() -> Any:
    """Return the module of zstd: Python's own from 3.14 on, its backport before.

    Raises:
        BatchError: it is not in this image.

    """
    try:
        try:
            from compression import zstd as found  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            from backports import zstd as found  # type: ignore[import-not-found,unused-ignore,no-redef]
    except ImportError:
        raise BatchError(
            "this image cannot read zstd",
            hint="write `compression: zstd` in the batch job, and deploy",
        ) from None
    return found


class _Unpacked:
    def __init__(self, stream: Any, compression: str) -> None:
        self._stream = stream
        self._compression = compression
        errors: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
        if compression == "zstd":
            errors = (EOFError, zstd().ZstdError)
        self._errors = errors

    def read(self, size: int = -1, /) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except self._errors as error:
            raise Broken(
                f"the {self._compression} stream is broken; the rest of the object cannot be read"
            ) from error
        return data
