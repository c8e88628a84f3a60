"""Reads a model file as a stream of bytes, unpacking what joblib or gzip packed, within bounds."""

import bz2
import io
import lzma
import os
import zlib
from pathlib import Path
from typing import Any, Protocol, Self

from fnmodel.errors import MissingExtraError, SlimError

_CHUNK = 1 << 20
_LONGEST_LINE = 256 << 20
# No trained model packs that well; a file of zeros does.
_FREE_BYTES = 256 << 20
_MOST_EXPANSION = 200
_DICTIONARY = 1 << 30


class Stream:
    """The unpacked bytes of a file, read once from front to back.

    `read` and `readline` serve an unpickler; `take` gives exactly so many bytes and never makes
    room for more than the file can hold.
    """

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        head = self._raw.peek(6)[:6]
        unpacker = _unpacker(head, path.name)
        self.packed = unpacker is not None
        self._unpacked = _Unpacked(self._raw, unpacker, path.name) if unpacker else None
        self._file = io.BufferedReader(self._unpacked, _CHUNK) if self._unpacked else self._raw
        self._size = os.fstat(self._raw.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._raw.close()

    def read(self, count: int) -> bytes:
        """Return so many bytes; none at the end of the stream only where one was asked for.

        Raises:
            EOFError: the stream ends before.

        """
        if count > _CHUNK:
            return bytes(self.take(count))
        data = self._file.read(count)
        if len(data) < count and count > 1:
            raise EOFError
        return data

    def readline(self) -> bytes:
        """Return the bytes up to and with the next line feed."""
        return self._file.readline(_LONGEST_LINE)

    def take(self, count: int) -> bytearray:
        """Return exactly so many bytes.

        Raises:
            EOFError: the stream ends before.

        """
        self._check(count)
        data = bytearray()
        while len(data) < count:
            chunk = self._file.read(min(count - len(data), _CHUNK))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def skip(self, count: int) -> None:
        """Pass over so many bytes.

        Raises:
            EOFError: the stream ends before.

        """
        self._check(count)
        if not self.packed:
            self._file.seek(count, os.SEEK_CUR)
            return
        while count:
            chunk = self._file.read(min(count, _CHUNK))
            if not chunk:
                raise EOFError
            count -= len(chunk)

    def ended(self) -> bool:
        """Whether nothing follows, neither in the stream nor behind it in the file."""
        if self._file.read(1):
            return False
        return self._unpacked is None or self._unpacked.ended()

    def _check(self, count: int) -> None:
        left = self._size - self._raw.tell()
        if count < 0 or (not self.packed and count > left):
            raise EOFError


class _Unpacker(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


def _unpacker(head: bytes, name: str) -> Any:
    if head.startswith(b"\x78") and len(head) > 1 and (0x7800 + head[1]) % 31 == 0:
        return zlib.decompressobj(zlib.MAX_WBITS)
    if head.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if head.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        return lzma.LZMADecompressor(memlimit=_DICTIONARY)
    if head.startswith(b"\x04\x22\x4d\x18"):
        try:
            import lz4.frame
        except ImportError as error:
            raise MissingExtraError(
                f"{name} is packed with lz4, which is not installed", hint="pip install lz4"
            ) from error
        return lz4.frame.LZ4FrameDecompressor()
    return None


class _Unpacked(io.RawIOBase):
    def __init__(self, file: io.BufferedReader, unpacker: _Unpacker, name: str) -> None:
        self._file, self._unpacker, self._name = file, unpacker, name
        self._read = self._written = 0
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        self._written += len(data)
        most = _FREE_BYTES + _MOST_EXPANSION * self._read
        if self._written > most:
            raise SlimError(
                f"{self._name} unpacks to more than {most >> 20} MB, as no trained model does",
                hint="do not use this file; a real model can be saved unpacked",
            )
        return len(data)

    def _next(self, most: int) -> bytes:
        while not self._unpacker.eof:
            fed = self._pending
            if not fed and getattr(self._unpacker, "needs_input", True):
                fed = self._file.read(1 << 16)
                self._read += len(fed)
                if not fed:
                    # zlib may still hold output that did not fit before.
                    rest = self._unpacker.decompress(b"", most)
                    if rest:
                        return rest
                    raise EOFError
            data = self._unpacker.decompress(fed, most)
            self._pending = getattr(self._unpacker, "unconsumed_tail", b"")
            if data:
                return data
        return b""

    def ended(self) -> bool:
        return self._unpacker.eof and not self._unpacker.unused_data and not self._file.read(1)
