"""A stream of CSV bytes in, its rows out in chunks, each with line number and original text.

Nothing in the stream stops the reading: what is not CSV becomes a bad row. Blocks without quotes,
which are most, are split at once; Python's own reader takes the others, record by record.
"""

import csv
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence

from fnmodel.batch.chunk import Bad, Read, TextChunk
from fnmodel.batch.lines import CHUNK, OVERLONG, Line, blocks
from fnmodel.batch.objects import Readable
from fnmodel.batch.packed import Broken

_FIELD = csv.field_size_limit()


class Table:
    """The records of a CSV stream; blank lines are left out.

    `names` is the header, empty where there is none that can be read. A stream that begins within
    an object is given its header, and the number of its line.
    """

    alike = True

    def __init__(
        self,
        stream: Readable,
        *,
        size: int = CHUNK,
        names: Sequence[str] | None = None,
        line: int = 1,
    ) -> None:
        self._size = size
        self._source = _Lines(stream, line)
        self._reader = csv.reader(self._source, strict=True)
        self.names: Sequence[str] = names or ()
        # A header that cannot be read counts as a row.
        self._header: Bad | None = None
        self._broken = ""
        if names is None:
            self._read_header()

    def _read_header(self) -> None:
        try:
            found = self._record()
            while found is not None and not isinstance(found, Bad) and not found[2]:
                found = self._record()
            if isinstance(found, Bad):
                self._header = found
            elif found is not None:
                self.names = found[2]
        except Broken as error:
            self._broken = str(error)
            self._header = Bad(self._source.number + 1, "", self._broken, "")

    def __iter__(self) -> Iterator[Read]:
        rows = _Rows(self.names)
        if self._header:
            rows.bad.append(self._header)
        empty = True
        try:
            while not self._broken:
                if not self._source.block():
                    break
                if not self._plain(rows):
                    self._slow(rows)
                while len(rows) >= self._size:
                    yield rows.made(self._size)
                    empty = False
        except Broken as error:
            self._broken = str(error)
            rows.bad.append(Bad(self._source.number + 1, "", self._broken, ""))
        while len(rows) > self._size:
            yield rows.made(self._size)
        if len(rows) or empty:
            yield rows.made(self._size, self._broken)

    def close(self) -> None:
        """As `Source.close`: the stream ends by itself."""

    def _plain(self, rows: "_Rows") -> bool:
        """Split the waiting lines at once; returns False where they need the careful reader."""
        source = self._source
        given, overlong = zip(*source.waiting, strict=True)
        joined = b"".join(given)
        if b'"' in joined or b"\0" in joined or any(overlong) or max(map(len, given)) > _FIELD:
            return False
        try:
            text = joined.replace(b"\r\n", b"\n").decode("utf-8")
        except UnicodeDecodeError:
            return False
        if "\r" in text:
            return False
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        start = source.number + 1
        source.skip()
        width = len(self.names)
        if {line.count(",") for line in lines} == {width - 1} and (width > 1 or "" not in lines):
            rows.extend(range(start, start + len(lines)), lines, ",".join(lines).split(","))
            return True
        for number, line in enumerate(lines, start):
            if line:
                rows.add(number, line, line.split(","))
        return True

    def _slow(self, rows: "_Rows") -> None:
        """Read the records of the waiting lines, and what the last of them needs beyond."""
        while self._source.waiting and len(rows) < self._size:
            found = self._record()
            if found is None:
                return
            if isinstance(found, Bad):
                rows.bad.append(found)
            elif found[2]:
                rows.add(*found)

    def _record(self) -> "Bad | tuple[int, str, list[str]] | None":
        """Return one record with its line and text, a bad row, or None at the end."""
        source = self._source
        start = source.number + 1
        problem = ""
        fields: list[str] = []
        try:
            fields = next(self._reader)
        except StopIteration:
            return None
        except csv.Error as error:
            problem = f"not CSV: {error}"
            # A stray quote swallows the lines after it: only the first of them is bad.
            source.put_back()
        text, overlong = source.take()
        if overlong:
            problem = OVERLONG
        elif not problem and not text.isascii() and _has_surrogates(text):
            problem = "not UTF-8"
        return Bad(start, "", problem, text) if problem else (start, text, fields)


class _Rows:
    """Rows as they gather to a chunk."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._lines: list[int] = []
        self._texts: list[str] = []
        self._fields: list[str] = []
        self.bad: list[Bad] = []

    def __len__(self) -> int:
        return len(self._lines) + len(self.bad)

    def add(self, line: int, text: str, fields: list[str]) -> None:
        if len(fields) != len(self._names):
            reason = f"has {len(fields)} fields, the header has {len(self._names)}"
            self.bad.append(Bad(line, "", reason, text))
            return
        self._lines.append(line)
        self._texts.append(text)
        self._fields += fields

    def extend(self, lines: Sequence[int], texts: Sequence[str], fields: Sequence[str]) -> None:
        self._lines += lines
        self._texts += texts
        self._fields += fields

    def made(self, size: int, broken: str = "") -> Read:
        """Take out the first `size` rows, by their lines: where a chunk ends is told by content."""
        good, bad = min(size, len(self._lines)), 0
        if self.bad:
            lines = sorted([*self._lines[:size], *(entry.line for entry in self.bad[:size])])
            last = lines[:size][-1]
            good = bisect_right(self._lines, last)
            bad = bisect_right(self.bad, last, key=lambda entry: entry.line)
        taken, self.bad = self.bad[:bad], self.bad[bad:]
        stop = good * len(self._names)
        chunk = TextChunk(self._names, self._lines[:good], self._texts[:good], self._fields[:stop])
        del self._lines[:good], self._texts[:good], self._fields[:stop]
        return Read(chunk, taken, broken)


class _Lines:
    """Iterates over decoded lines and remembers those that the current record consumed."""

    def __init__(self, stream: Readable, line: int) -> None:
        self._source = blocks(stream, first=line == 1)
        self._taken: list[tuple[str, bool]] = []
        self.waiting: deque[Line] = deque()
        self.number = line - 1

    def block(self) -> bool:
        """Have lines waiting; returns False at the end."""
        if not self.waiting:
            self.waiting.extend(next(self._source, ()))
        return bool(self.waiting)

    def skip(self) -> None:
        """Take all waiting lines away."""
        self.number += len(self.waiting)
        self.waiting.clear()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if not self.block():
            raise StopIteration
        raw, overlong = self.waiting.popleft()
        line = raw.decode("utf-8", "surrogateescape")
        self.number += 1
        self._taken.append((line, overlong))
        return line

    def put_back(self) -> None:
        """Give all lines of the current record but the first to the next ones."""
        rest = self._taken[1:]
        del self._taken[1:]
        self.waiting.extendleft(
            (line.encode("utf-8", "surrogateescape"), overlong) for line, overlong in reversed(rest)
        )
        self.number -= len(rest)

    def take(self) -> tuple[str, bool]:
        text = "".join(line for line, _ in self._taken).rstrip("\r\n")
        overlong = any(overlong for _, overlong in self._taken)
        self._taken = []
        return text, overlong


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
