"""Bytes in, lines out, and JSON Lines as chunks. Nothing in a line stops the reading."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from fnmodel.batch.chunk import Bad, Read, RecordChunk
from fnmodel.batch.objects import Readable
from fnmodel.batch.packed import Broken

CHUNK = 5_000
"""Rows that are scored at once."""

BLOCK = 1 << 18
# A longer line is no row of numbers and texts; it must not fill the memory.
LONGEST = 1 << 20
# What the error file keeps of such a line.
KEPT = 1 << 10
OVERLONG = f"a line is longer than {LONGEST:,} bytes"
BOM = b"\xef\xbb\xbf"

Line = tuple[bytes, bool]
"""A line with its end, and whether it is only the start of an overlong one."""


def blocks(stream: Readable, *, first: bool = True) -> Iterator[list[Line]]:
    """Yield lines, many at a time; of an overlong line only the start, marked True.

    `first` says that the stream is an object's from its beginning, where a mark of UTF-8 may stand.
    """
    rest = b""
    skipping = False
    while block := stream.read(BLOCK):
        *whole, rest = (rest + block).split(b"\n")
        found: list[Line] = []
        for line in whole:
            if skipping:
                skipping = False
            elif len(line) > LONGEST:
                found.append((line[:KEPT] + b"\n", True))
            else:
                found.append((line + b"\n", False))
        if skipping:
            rest = b""
        elif len(rest) > LONGEST:
            found.append((rest[:KEPT] + b"\n", True))
            rest, skipping = b"", True
        if found:
            yield _without_bom(found) if first else found
            first = False
    if rest and not skipping:
        found = [(rest, False)]
        yield _without_bom(found) if first else found


def _without_bom(lines: list[Line]) -> list[Line]:
    (line, overlong), *others = lines
    return [(line.removeprefix(BOM), overlong), *others]


class JsonLines:
    """The objects of a JSON Lines stream; blank lines are left out.

    `names` are the fields of the first object. Where rows become a table (`strict`), another field
    in a later one makes it a bad row: it would be lost. A stream that begins within an object is
    given the names of its first one, and the number of its line.
    """

    alike = False

    def __init__(
        self,
        stream: Readable,
        *,
        strict: bool = False,
        size: int = CHUNK,
        names: Sequence[str] | None = None,
        line: int = 1,
    ) -> None:
        self._strict = strict
        self._reads = self._read(stream, size, names, line)
        self._first = next(self._reads)
        self.names: Sequence[str] = self._first.chunk.names

    def __iter__(self) -> Iterator[Read]:
        yield self._first
        yield from self._reads

    def close(self) -> None:
        """As `Source.close`: the stream ends by itself."""

    def _read(
        self, stream: Readable, size: int, names: Sequence[str] | None, line_number: int
    ) -> Iterator[Read]:
        at: list[int] = []
        texts: list[bytes] = []
        records: list[dict[str, Any]] = []
        bad: list[Bad] = []
        number = line_number - 1
        empty = True

        def made(broken: str = "") -> Read:
            nonlocal at, texts, records, bad, empty
            read = Read(RecordChunk(names or (), at, texts, records), bad, broken)
            at, texts, records, bad, empty = [], [], [], [], False
            return read

        try:
            for lines in blocks(stream, first=line_number == 1):
                for line, overlong in lines:
                    number += 1
                    text = line.strip(b"\r\n")
                    if not text.strip():
                        continue
                    record, reason = (None, OVERLONG) if overlong else _object(text)
                    if record is not None and self._strict and names:
                        reason = _stray(record, names)
                    if record is None or reason:
                        bad.append(Bad(number, "", reason, _shown(text)))
                    else:
                        names = names or tuple(record)
                        at.append(number)
                        texts.append(text)
                        records.append(record)
                    if len(records) + len(bad) == size:
                        yield made()
        except Broken as error:
            bad.append(Bad(number + 1, "", str(error), ""))
            yield made(str(error))
            return
        if records or bad or empty:
            yield made()


def _object(text: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return None, f"not JSON: {error.msg}"
    return (record, "") if isinstance(record, dict) else (None, "not a JSON object")


def _stray(record: dict[str, Any], names: Sequence[str]) -> str:
    known = set(names)
    stray = next((name for name in record if name not in known), None)
    return "" if stray is None else f"has a field {stray[:60]!r} that the first row has not"


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
