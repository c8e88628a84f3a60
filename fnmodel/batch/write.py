"""Scored chunks in; the bytes of one part out, and the file of bad rows."""

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Self, cast

import orjson

from fnmodel.batch.chunk import Bad, TextChunk
from fnmodel.batch.job import Format
from fnmodel.batch.objects import ObjectStore
from fnmodel.batch.packed import Compression, packed
from fnmodel.batch.predictions import plain
from fnmodel.batch.score import Scored, Scorer

# A file up to this size stays in memory; a larger one goes to /tmp.
_IN_MEMORY = 1 << 20
_ERRORS = ["input", "line", "column", "reason", "text"]


@dataclass(frozen=True)
class Writer:
    """Writes parts of one format; `all_columns` is whether results keep all of the input's."""

    format: Format
    compression: Compression
    all_columns: bool

    @property
    def suffix(self) -> str:
        """What the keys of parts end with."""
        packing = {"none": "", "gzip": ".gz", "zstd": ".zst"}[self.compression]
        return f".{self.format}" + ("" if self.format in ("parquet", "arrow") else packing)

    def write(self, scorer: Scorer, scored: Iterator[Scored], file: BinaryIO) -> None:
        """Write the good rows of chunks, of which there is at least one."""
        kept, added = scorer.kept, scorer.added
        if self.format in ("parquet", "arrow"):
            from fnmodel.batch import arrow

            known = () if scorer.problem else kept
            arrow.write(
                scored, file, kept=known, added=added, parquet=self.format == "parquet",
                zstd=self.compression == "zstd",
            )  # fmt: skip
            return
        out = packed(file, self.compression)
        if self.format == "csv":
            header = () if scorer.problem or not kept else ([*kept, *added],)
            _write_csv(out, header, scored, kept)
        else:
            _write_lines(out, scored, None if self.all_columns else kept, added)
        if out is not file:
            out.close()


def _write_csv(
    out: BinaryIO,
    header: Iterable[Sequence[str]],
    scored: Iterable[Scored],
    kept: Sequence[str],
) -> None:
    write_rows(out, header)
    for one in scored:
        if not one.predictions:
            continue
        given = one.chunk.rows(kept)
        if not isinstance(one.chunk, TextChunk):
            given = ([*map(_cell, row)] for row in given)
        predictions = zip(*map(plain, one.predictions), strict=True)
        write_rows(out, ((*row, *more) for row, more in zip(given, predictions, strict=True)))


def write_rows(out: BinaryIO, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of CSV; surrogates become the bytes they stand for."""
    text = io.StringIO(newline="")
    written = [*rows]
    csv.writer(text, lineterminator="\n").writerows(written)
    if "\r" in text.getvalue():
        # Python leaves a field bare whose carriage return stands alone, and then cannot read it.
        text = io.StringIO(newline="")
        quick, careful = (
            csv.writer(text, lineterminator="\n", quoting=quoting)
            for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )
        for row in written:
            bare = any(isinstance(field, str) and "\r" in field for field in row)
            (careful if bare else quick).writerow(row)
    out.write(text.getvalue().encode("utf-8", "surrogateescape"))


def error_file(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a whole file of bad rows, each with input, line, column, reason and text."""
    file = io.BytesIO()
    write_rows(file, [_ERRORS, *rows])
    return file.getvalue()


def _cell(value: Any) -> Any:
    """Return a value of JSON or Arrow as a field of CSV: what is no text or number, as JSON."""
    if value is None or (isinstance(value, str | float | int) and not isinstance(value, bool)):
        return value
    return orjson.dumps(value, default=str).decode().strip('"')


def _write_lines(
    out: BinaryIO, scored: Iterable[Scored], kept: Sequence[str] | None, added: Sequence[str]
) -> None:
    for one in scored:
        if not one.predictions:
            continue
        predictions = zip(*map(plain, one.predictions), strict=True)
        lines = (
            orjson.dumps(
                record | dict(zip(added, more, strict=True)),
                default=str,
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for record, more in zip(one.chunk.records(kept), predictions, strict=True)
        )
        out.write(b"".join(lines))


class File:
    """A temporary file that becomes an object."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self.binary = cast("BinaryIO", self._file)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def put(self, objects: ObjectStore, key: str) -> None:
        """Store what was written."""
        self._file.seek(0)
        objects.put(key, self.binary, if_none_match=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class Errors(File):
    """The bad rows of one part."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key
        self.count = 0

    def add(self, bad: Sequence[Bad]) -> None:
        """Write these too."""
        if bad and not self.count:
            write_rows(self.binary, [_ERRORS])
        self.count += len(bad)
        rows = ([self._key, b.line, b.column, b.reason, b.text] for b in bad)
        write_rows(self.binary, rows)
