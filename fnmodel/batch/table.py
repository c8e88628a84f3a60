"""A stream of CSV bytes in, its rows out, each with its line number and its original text.

Nothing in the stream stops the reading: what is not CSV becomes a row with a problem.
"""

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

from fnmodel.batch.objects import Readable

_BLOCK = 1 << 18
BROKEN = "the gzip stream is broken; the rest of the object cannot be read"

# A longer line is no row of numbers and texts; it must not fill the memory.
_LONGEST = 1 << 20
# What the error file keeps of such a line.
_KEPT = 1 << 10


@dataclass(frozen=True, slots=True)
class Row:
    """One CSV record: `line` is where it starts, from 1; a `problem` says why it has no fields.

    `text` is the original line or lines, without the end of line; bytes that are not UTF-8 stand
    in it as surrogates, so that they can be written back.
    """

    line: int
    text: str
    fields: Sequence[str]
    problem: str = ""


def rows(stream: Readable, *, gzipped: bool = False) -> Iterator[Row]:
    """Yield the records of a CSV stream, the header first; blank lines are left out.

    A gzip stream that breaks off ends with a row whose problem is `BROKEN`.
    """
    lines = _Lines(gzip.GzipFile(fileobj=cast("BinaryIO", stream)) if gzipped else stream)
    reader = csv.reader(lines, strict=True)
    while True:
        start = lines.number + 1
        problem = ""
        fields: list[str] = []
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"not CSV: {error}"
            # A stray quote swallows the lines after it: only the first of them is bad.
            lines.put_back()
        except (EOFError, gzip.BadGzipFile, zlib.error):
            yield Row(start, "", (), BROKEN)
            return
        text, overlong = lines.take()
        if overlong:
            problem = f"a line is longer than {_LONGEST:,} bytes"
        elif not problem and not text.isascii() and _has_surrogates(text):
            problem = "not UTF-8"
        if fields or problem:
            yield Row(start, text, () if problem else fields, problem)


class _Lines:
    """Iterates over decoded lines and remembers those that the current record consumed."""

    def __init__(self, stream: Readable) -> None:
        self._source = _split(stream)
        self._taken: list[tuple[str, bool]] = []
        self._waiting: deque[tuple[str, bool]] = deque()
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._waiting:
            line, overlong = self._waiting.popleft()
        else:
            raw, overlong = next(self._source)
            if self.number == 0:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            line = raw.decode("utf-8", "surrogateescape")
        self.number += 1
        self._taken.append((line, overlong))
        return line

    def put_back(self) -> None:
        """Give all lines of the current record but the first to the next ones."""
        rest = self._taken[1:]
        del self._taken[1:]
        self._waiting.extendleft(reversed(rest))
        self.number -= len(rest)

    def take(self) -> tuple[str, bool]:
        text = "".join(line for line, _ in self._taken).rstrip("\r\n")
        overlong = any(overlong for _, overlong in self._taken)
        self._taken = []
        return text, overlong


def _split(stream: Readable) -> Iterator[tuple[bytes, bool]]:
    """Yield lines with their ends; of an overlong line only the start, marked True."""
    rest = b""
    skipping = False
    while block := stream.read(_BLOCK):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            if skipping:
                skipping = False
            elif len(line) > _LONGEST:
                yield line[:_KEPT] + b"\n", True
            else:
                yield line + b"\n", False
        if skipping:
            rest = b""
        elif len(rest) > _LONGEST:
            yield rest[:_KEPT] + b"\n", True
            rest, skipping = b"", True
    if rest and not skipping:
        yield rest, False


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
