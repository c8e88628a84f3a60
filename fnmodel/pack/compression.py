"""gzip as layers use it: bytes that depend on the input alone, and a bounded way back.

zlib-ng is pinned because the digest of a layer depends on the compressor: the standard library's
zlib differs between distributions. Stored blocks need no compressor at all; weights hardly shrink.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from zlib_ng import zlib_ng

from fnmodel.errors import PackError

Compressor = Callable[[Iterable[bytes]], Iterator[bytes | memoryview]]
"""Turns the chunks of a tar into the chunks of one gzip member."""

# RFC 1952: deflate, no name, no time, no flags of the level, system "unknown".
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 6
_STORED_MAXIMUM = 65535
_OUTPUT = 1 << 20

DEFLATED = f"zlib-ng-{zlib_ng.ZLIBNG_RUNTIME_VERSION}-{_LEVEL}"
"""Names the compressor of `deflated`, for keys of caches."""


def stored(chunks: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Wrap chunks in gzip without compressing them."""
    yield _HEADER
    crc = size = 0
    for chunk in chunks:
        crc = zlib_ng.crc32(chunk, crc)
        size += len(chunk)
        view = memoryview(chunk)
        for start in range(0, len(view), _STORED_MAXIMUM):
            block = view[start : start + _STORED_MAXIMUM]
            yield struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF)
            yield block
    yield struct.pack("<BHH", 1, 0, 0xFFFF)
    yield struct.pack("<LL", crc, size & 0xFFFFFFFF)


def deflated(chunks: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Compress chunks into gzip with zlib-ng at a fixed level."""
    yield _HEADER
    crc = size = 0
    deflate = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS)
    for chunk in chunks:
        crc = zlib_ng.crc32(chunk, crc)
        size += len(chunk)
        if data := deflate.compress(chunk):
            yield data
    yield deflate.flush()
    yield struct.pack("<LL", crc, size & 0xFFFFFFFF)


class Inflated:
    """A readable stream over the chunks of a gzip blob, of one member or several.

    Reads at most `limit` bytes and hashes what it gives out, so that after the end `diff_id` can
    be compared.
    """

    def __init__(self, chunks: Iterable[bytes], *, limit: int) -> None:
        self._chunks = iter(chunks)
        self._limit = limit
        self._hash = hashlib.sha256()
        self._inflate: Any = None
        self._input = b""
        self._ready = b""
        self._start = 0
        self._told = 0
        self.size = 0

    @property
    def diff_id(self) -> str:
        """The digest of all bytes inflated until now."""
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; fewer only at the end.

        Raises:
            PackError: the blob is not gzip, ends early, or holds more than the limit.

        """
        parts = []
        wanted = size
        while wanted and (self._start < len(self._ready) or self._fill()):
            part = self._ready[self._start : self._start + wanted]
            self._start += len(part)
            wanted -= len(part)
            parts.append(part)
        self._told += size - wanted
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def tell(self) -> int:
        """Return how many bytes have been read."""
        return self._told

    def seek(self, position: int) -> int:
        """Read on up to a position; there is no way back.

        Raises:
            PackError: as `read`.
            ValueError: the position has been passed.

        """
        if position < self._told:
            message = f"cannot go back from {self._told} to {position}"
            raise ValueError(message)
        while self._told < position and self.read(min(_OUTPUT, position - self._told)):
            pass
        return self._told

    def drain(self) -> None:
        """Read to the end."""
        self._start = len(self._ready)
        while self._fill():
            self._start = len(self._ready)

    def _fill(self) -> bool:
        try:
            while True:
                if not self._input:
                    self._input = next(self._chunks, b"")
                    if not self._input:
                        if self._inflate is not None:
                            raise PackError("a layer's gzip stream ends early")
                        return False
                if self._inflate is None:
                    self._inflate = zlib_ng.decompressobj(16 + zlib_ng.MAX_WBITS)
                data = self._inflate.decompress(self._input, _OUTPUT)
                self._input = self._inflate.unconsumed_tail
                if self._inflate.eof:
                    self._input = self._inflate.unused_data
                    self._inflate = None
                if data:
                    break
        except zlib_ng.error as error:  # type: ignore[misc]  # its stub says that it is a value
            raise PackError(f"a layer is not a gzip stream: {error}") from error
        self.size += len(data)
        if self.size > self._limit:
            raise PackError(f"a layer unpacks to more than {self._limit:,} bytes")
        self._hash.update(data)
        self._ready, self._start = data, 0
        return True
