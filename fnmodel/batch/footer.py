"""The footer of a Parquet file: how many rows each row group has, and a footer of some of them.

A reader that is shown a footer of three row groups reads these three alone, wherever they lie.

    file = … row groups … footer, its length (4 bytes), PAR1

https://parquet.apache.org/docs/file-format/metadata/
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from fnmodel.batch.packed import Broken

_MAGIC = b"PAR1"
_TAIL = 8
# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
# Fields of FileMetaData, and of RowGroup.
_NUM_ROWS, _ROW_GROUPS = 3, 4
_GROUP_ROWS = 3


@dataclass(frozen=True)
class Footer:
    """A footer: the bytes around its row groups, and each of these with its rows."""

    at: int
    """Where it begins in the file."""
    head: bytes
    tail: bytes
    groups: Sequence[bytes]
    rows: Sequence[int]

    def covering(self, row: int, rows: int | None) -> tuple[int, "Footer"]:
        """Return a footer of the groups that hold some rows, and the number of its first row."""
        end = None if rows is None else row + rows
        kept: list[int] = []
        first = begins = 0
        for number, size in enumerate(self.rows):
            if begins + size > row and (end is None or begins < end):
                if not kept:
                    first = begins
                kept.append(number)
            begins += size
        groups = [self.groups[number] for number in kept]
        return first, Footer(
            self.at, self.head, self.tail, groups, [self.rows[number] for number in kept]
        )

    def written(self) -> bytes:
        """Return it as it stands in a file, to the file's last byte."""
        body = b"".join(
            [
                # version, schema: as they were; then rows, groups, and the rest.
                self.head,
                bytes([0x10 | _I64]),
                _varint(_zigzag(sum(self.rows))),
                bytes([0x10 | _LIST]),
                _list_of_structs(len(self.groups)),
                *self.groups,
                self.tail,
            ]
        )
        return body + len(body).to_bytes(4, "little") + _MAGIC


def read(file: BinaryIO, size: int) -> Footer:
    """Read the footer of a file of `size` bytes.

    Raises:
        Broken: it has none that can be understood.

    """
    try:
        file.seek(size - _TAIL)
        tail = file.read(_TAIL)
        length = int.from_bytes(tail[:4], "little")
        at = size - _TAIL - length
        if tail[4:] != _MAGIC or at < len(_MAGIC):
            raise Broken("not Parquet: no footer")
        file.seek(at)
        return _parsed(file.read(length), at)
    except (LookupError, ValueError, OSError) as error:
        raise Broken("not Parquet: its footer cannot be read") from error


class WithFooter(io.RawIOBase):
    """A file whose footer is replaced by another."""

    def __init__(self, file: BinaryIO, footer: Footer) -> None:
        super().__init__()
        self._file = file
        self._at = footer.at
        self._footer = footer.written()
        self._position = 0

    def readable(self) -> bool:
        """As of a file."""
        return True

    def seekable(self) -> bool:
        """As of a file."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file."""
        ends = self._at + len(self._footer)
        self._position = offset + (0, self._position, ends)[whence]
        return self._position

    def tell(self) -> int:
        """As of a file."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As of a file; stops where the footer begins."""
        if self._position >= self._at:
            start = self._position - self._at
            data = self._footer[start : start + len(buffer)]
        else:
            self._file.seek(self._position)
            data = self._file.read(min(len(buffer), self._at - self._position))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()

    @property
    def failure(self) -> Exception | None:
        """What storage raised, as of `Ranges`."""
        found: Exception | None = getattr(getattr(self._file, "raw", None), "failure", None)
        return found


def _parsed(data: bytes, at: int) -> Footer:
    reader = _Reader(data)
    spans = {number: span for number, _, *span in reader.fields()}
    if not {_NUM_ROWS, _ROW_GROUPS} <= spans.keys():
        raise ValueError("fields are missing")
    begin, after = spans[_NUM_ROWS][0], spans[_ROW_GROUPS][1]
    inner = _Reader(data, spans[_ROW_GROUPS][2])
    count = inner.list_header()
    groups, rows = [], []
    for _ in range(count):
        start = inner.at
        found = {number: value for number, _, _, _, value in inner.fields()}
        rows.append(_Reader(data, found[_GROUP_ROWS]).number())
        groups.append(data[start : inner.at])
    return Footer(at, data[:begin], data[after:], groups, rows)


class _Reader:
    """Walks over a struct of the compact protocol."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self.at = at

    def fields(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield id and type of each field, where it begins and ends, and where its value begins."""
        number = 0
        while True:
            begin = self.at
            head = self._byte()
            kind = head & 15
            if not kind:
                return
            number = number + (head >> 4) if head >> 4 else self.number()
            value = self.at
            self._skip(kind)
            yield number, kind, begin, self.at, value

    def number(self) -> int:
        """Read a whole number."""
        raw = self._varint()
        return (raw >> 1) ^ -(raw & 1)

    def list_header(self) -> int:
        """Read the head of a list, and return how many elements follow."""
        head = self._byte()
        return self._varint() if head >> 4 == 15 else head >> 4

    def _skip(self, kind: int, *, element: bool = False) -> None:
        if kind in (_I16, _I32, _I64):
            self._varint()
        elif kind in (_LIST, _SET):
            of = self._data[self.at] & 15
            for _ in range(self.list_header()):
                self._skip(of, element=True)
        elif kind == _MAP:
            self._skip_map()
        elif kind == _STRUCT:
            for _ in self.fields():
                pass
        elif kind == _BINARY:
            size = self._varint()
            self.at += size
        else:
            # A truth stands in its field's head, but as an element in a byte of its own.
            self.at += {_TRUE: element, _FALSE: element, _BYTE: 1, _DOUBLE: 8}[kind]

    def _skip_map(self) -> None:
        size = self._varint()
        kinds = self._byte() if size else 0
        for _ in range(size):
            self._skip(kinds >> 4, element=True)
            self._skip(kinds & 15, element=True)

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        shift = found = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7


def _zigzag(number: int) -> int:
    return number << 1


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def _list_of_structs(count: int) -> bytes:
    return bytes([count << 4 | _STRUCT]) if count < 15 else b"\xfc" + _varint(count)
