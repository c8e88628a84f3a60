"""Finds where the rows of one large input begin, so that several functions can read it.

CSV and JSON Lines are read once by the very reader that scores them: what a quote, a blank line or
a broken record means is known there, and nowhere else. Of Parquet the footer is enough.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from fnmodel.batch import footer
from fnmodel.batch.chunk import Read
from fnmodel.batch.formats import Ranges, open_source, whole_file
from fnmodel.batch.job import JobRequest
from fnmodel.batch.objects import Object, ObjectStore, Readable
from fnmodel.batch.packed import Broken
from fnmodel.batch.slices import Mark, grid


def marks(
    item: Object,
    request: JobRequest,
    objects: ObjectStore,
    after: Mark | None = None,
    in_time: Callable[[], None] = lambda: None,
) -> Generator[Mark]:
    """Yield a mark at each multiple of the grid after `after`, and one at the end.

    An input that is broken, or that cannot be cut, has no mark: one function reads it.

    Raises:
        BatchError: the object changed.

    """
    try:
        if request.format == "parquet":
            yield from _of_parquet(item, request, objects)
        else:
            yield from _of_lines(item, request, objects, after or Mark(0), in_time)
    except Broken:
        return


def _of_parquet(item: Object, request: JobRequest, objects: ObjectStore) -> Iterator[Mark]:
    with closing(whole_file(Ranges(item, objects))) as file:
        rows = sum(footer.read(file, item.size).rows)
    step = grid(request)
    yield from (Mark(row) for row in range(step, rows, step))
    yield Mark(rows, end=True)


def _of_lines(
    item: Object,
    request: JobRequest,
    objects: ObjectStore,
    after: Mark,
    in_time: Callable[[], None],
) -> Iterator[Mark]:
    tracked: list[_Tracked] = []

    def followed(stream: Readable) -> Readable:
        tracked.append(_Tracked(stream, after))
        return tracked[-1]

    with closing(open_source(item, request, objects, after, followed)) as source:
        if not source.names:
            return  # no row so far says what the columns are
        [stream] = tracked[-1:]
        step, row = grid(request), after.row
        for read in source:
            in_time()
            line = _line(read)
            if line is not None:
                stream.forget(line)
                if row % step == 0 and row > after.row:
                    yield Mark(row, line, stream.offset(line))
            if read.broken:
                return
            row += read.size
        yield Mark(row, end=True)


def _line(read: Read) -> int | None:
    """Return the line of the first row, good or bad."""
    lines = [*read.chunk.lines[:1], *(bad.line for bad in read.bad[:1])]
    return min(lines, default=None)


class _Tracked:
    """A stream that knows where a line begins, of those it gave not long ago."""

    def __init__(self, stream: Readable, after: Mark) -> None:
        self._stream = stream
        self._at = after.offset
        self._newlines = max(after.line - 1, 0)
        self._given: deque[tuple[int, int, bytes]] = deque()

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if data:
            self._given.append((self._at, self._newlines, data))
            self._at += len(data)
            self._newlines += data.count(b"\n")
        return data

    def forget(self, line: int) -> None:
        """Let go of what lies before a line."""
        while len(self._given) > 1 and self._given[1][1] < line - 1:
            self._given.popleft()

    def offset(self, line: int) -> int:
        """Return the byte at which a line begins, which was not forgotten."""
        at, newlines, data = next(
            one for one in self._given if one[1] < line - 1 <= one[1] + one[2].count(b"\n")
        )
        found = -1
        for _ in range(line - 1 - newlines):
            found = data.index(b"\n", found + 1)
        return at + found + 1
