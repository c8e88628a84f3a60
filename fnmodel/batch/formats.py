"""Which objects of a prefix a job reads, and how."""

import io
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from types import ModuleType
from typing import BinaryIO, Protocol, cast

from fnmodel.batch.chunk import Read
from fnmodel.batch.job import Format, JobRequest
from fnmodel.batch.lines import JsonLines
from fnmodel.batch.objects import Object, ObjectStore, Readable
from fnmodel.batch.packed import SUFFIXES, Compression, plain
from fnmodel.batch.slices import Mark
from fnmodel.batch.table import Table
from fnmodel.errors import BatchError

_ENDS: dict[Format, tuple[str, ...]] = {
    "csv": (".csv",),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet",),
    "arrow": (".arrow", ".arrows", ".feather"),
}
_BEGIN = Mark(0)
_BLOCK = 1 << 20
_BLOCKS = 64
# What results and logs may need of /tmp beside an input that is copied to it.
_RESERVE = 256 << 20


class Source(Protocol):
    """One object as chunks of rows.

    `names` are its columns; where rows are not `alike`, those of the first.
    """

    names: Sequence[str]
    alike: bool

    def __iter__(self) -> Iterator[Read]:
        """Yield at least one; the last may say that the object is broken."""

    def close(self) -> None:
        """Let go of the object."""


def chosen(key: str, kind: Format) -> bool:
    """Whether a job of this format reads the object with this key."""
    name = key.lower()
    if kind in ("csv", "jsonl"):
        for suffix in SUFFIXES:
            name = name.removesuffix(suffix)
    return name.endswith(_ENDS[kind])


def open_source(
    item: Object,
    request: JobRequest,
    objects: ObjectStore,
    start: Mark = _BEGIN,
    followed: Callable[[Readable], Readable] = lambda stream: stream,
    rows: int | None = None,
) -> Source:
    """Open an object, from a row of it on; `rows` is how many are wanted, if not all.

    What `followed` makes of its stream of plain text is read instead.

    Raises:
        BatchError: it changed, or the image cannot read its format.
        Broken: nothing of it can be read.

    """
    if request.format in ("parquet", "arrow"):
        return _arrow_file(item, request, objects, start, rows)
    if start.row:
        with closing(open_source(item, request, objects)) as whole:
            names = whole.names
        stream = followed(objects.open(item.key, item.etag, start.offset))
        if request.format == "csv":
            return Table(stream, names=names, line=start.line)
        return JsonLines(stream, strict=_strict(request), names=names, line=start.line)
    stream = followed(plain(objects.open(item.key, item.etag), _compression(item, request)))
    if request.format == "csv":
        return Table(stream)
    return JsonLines(stream, strict=_strict(request))


def _strict(request: JobRequest) -> bool:
    return request.keep is None and request.results_format != "jsonl"


def _arrow_file(
    item: Object, request: JobRequest, objects: ObjectStore, start: Mark, rows: int | None
) -> Source:
    arrow = arrow_module()
    parquet = request.format == "parquet"
    if start.row or rows is not None:
        from fnmodel.batch import footer

        file = whole_file(Ranges(item, objects))
        first, needed = footer.read(file, item.size).covering(start.row, rows)
        file = whole_file(footer.WithFooter(file, needed))
        skipped = start.row - first
    else:
        file, first, skipped = seekable(item, objects), 0, 0
    try:
        source: Source = arrow.ArrowFile(file, parquet=parquet, first=first, skipped=skipped)
    except BaseException:
        file.close()
        raise
    return source


def whole_file(raw: io.RawIOBase) -> BinaryIO:
    """Return a file that gives as many bytes as it is asked for."""
    return cast("BinaryIO", io.BufferedReader(raw, 1 << 16))


def arrow_module() -> ModuleType:
    """Return the module that reads and writes Parquet and Arrow.

    Raises:
        BatchError: the image has none.

    """
    try:
        from fnmodel.batch import arrow
    except ImportError as error:
        raise BatchError(
            f"this image cannot read Parquet and Arrow: {error}",
            hint="name the format in the job in fnmodel.yaml, and deploy",
        ) from error
    return arrow


def _compression(item: Object, request: JobRequest) -> Compression:
    if request.compression != "auto":
        return request.compression
    return next((c for end, c in SUFFIXES.items() if item.key.lower().endswith(end)), "none")


def seekable(item: Object, objects: ObjectStore) -> BinaryIO:
    """Return an object's content as a file: in /tmp where it fits there, else read by ranges.

    One stream is faster than many ranges, each of which waits for S3.
    """
    if item.size > shutil.disk_usage(tempfile.gettempdir()).free - _RESERVE:
        return whole_file(Ranges(item, objects))
    file = tempfile.TemporaryFile()  # noqa: SIM115 - its reader closes it
    shutil.copyfileobj(objects.open(item.key, item.etag), file, _BLOCK)
    file.seek(0)
    return cast("BinaryIO", file)


class Ranges(io.RawIOBase):
    """An object as a file that is read by ranges; the blocks used last stay in memory."""

    def __init__(self, item: Object, objects: ObjectStore) -> None:
        super().__init__()
        self._item = item
        self._objects = objects
        self._at = 0
        self.failure: Exception | None = None
        """What storage raised: arro3 makes an error of its own of it."""
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """As of a file."""
        return True

    def seekable(self) -> bool:
        """As of a file."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file."""
        self._at = offset + (0, self._at, self._item.size)[whence]
        return self._at

    def tell(self) -> int:
        """As of a file."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As of a file; stops at the end of a block."""
        if self._at >= self._item.size:
            return 0
        number, start = divmod(self._at, _BLOCK)
        data = self._block(number)[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            item = self._item
            try:
                data = self._objects.range(item.key, item.etag, number * _BLOCK, _BLOCK)
            except Exception as error:
                self.failure = error
                raise
            self._blocks[number] = data
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]
