"""Parquet and Arrow IPC: streams of record batches in and out, by arro3.

Imported only where a job needs it: arro3 lies in a layer of its own.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, Self

import arro3.core as arro
import numpy as np
from arro3 import io

from fnmodel.arrays import Array
from fnmodel.batch.chunk import Bad, Chunk, Read
from fnmodel.batch.encode import encode_numbers, encode_values
from fnmodel.batch.packed import Broken
from fnmodel.batch.score import Scored
from fnmodel.model import Feature

CHUNK = 4_096
"""Rows that are scored at once: where trees are fastest."""

_Type = arro.DataType
_MAGIC = b"ARROW1"
_ROW_GROUP = 1 << 16


class ArrowFile:
    """The record batches of a Parquet file, or of an Arrow IPC file or stream.

    `first` is the number of the file's first row within its object, of which `skipped` are left
    out. Chunks of Parquet have `size` rows, counted from the first that is not left out.

    Raises:
        Broken: it is none, when it is opened.

    """

    alike = True

    def __init__(
        self,
        file: BinaryIO,
        *,
        parquet: bool,
        size: int = CHUNK,
        first: int = 0,
        skipped: int = 0,
    ) -> None:
        self._kind = "Parquet" if parquet else "Arrow"
        self._size = size
        self._file = file
        self._first = first
        self._skipped = skipped
        self._batches, schema = self._open(file, parquet=parquet)
        self.names: Sequence[str] = schema.names
        (self._empty,) = schema.empty_table().combine_chunks().to_batches()

    def __iter__(self) -> Iterator[Read]:
        row = self._first + self._skipped
        batches = _without(self._batches, self._skipped, self._size)
        while True:
            try:
                batch = next(batches, None)
            except BaseException as error:
                self._check(error)
                reason = f"the {self._kind} file is broken: {_first_line(error)}"
                bad = [Bad(row + 1, "", reason, "")]
                yield Read(ArrowChunk.of(self._empty, row), bad, reason)
                return
            if batch is None:
                break
            for start in range(0, batch.num_rows, self._size):
                part = batch.slice(start, min(self._size, batch.num_rows - start))
                yield Read(ArrowChunk.of(part, row))
                row += part.num_rows
        if not row:
            yield Read(ArrowChunk.of(self._empty, 0))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check(self, error: BaseException) -> None:
        """Return if it is the file's fault.

        What arro3 raises has no class of its own; where it did not expect what stands in a file,
        its panic is a BaseException, which cannot be imported.
        """
        failure = getattr(getattr(self._file, "raw", None), "failure", None)
        if failure is not None:
            raise failure
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise error

    def _open(self, file: BinaryIO, *, parquet: bool) -> tuple[Iterator[Any], Any]:
        try:
            if parquet:
                reader = io.read_parquet(file, batch_size=self._size)
            else:
                magic = file.read(len(_MAGIC))
                file.seek(0)
                reader = (io.read_ipc if magic == _MAGIC else io.read_ipc_stream)(file)
            return iter(reader), reader.schema
        except BaseException as error:
            self._check(error)
            raise Broken(f"not {self._kind}: {_first_line(error)}") from error


def _without(batches: Iterator[Any], skipped: int, size: int) -> Iterator[Any]:
    """Yield batches without their first `skipped` rows, and cut anew to `size` rows each."""
    if not skipped:
        yield from batches
        return
    held: list[Any] = []
    for batch in batches:
        if skipped >= batch.num_rows:
            skipped -= batch.num_rows
            continue
        held.append(batch.slice(skipped, batch.num_rows - skipped))
        skipped = 0
        while sum(one.num_rows for one in held) >= size:
            whole = _joined(held)
            yield whole.slice(0, size)
            rest = whole.slice(size, whole.num_rows - size)
            held = [rest] if rest.num_rows else []
    if held:
        yield _joined(held)


def _joined(batches: Sequence[Any]) -> Any:
    if len(batches) == 1:
        return batches[0]
    (made,) = arro.Table.from_batches(batches).combine_chunks().to_batches()
    return made


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@dataclass(frozen=True)
class ArrowChunk(Chunk):
    """Rows of a record batch; `lines` are their numbers in the file, from 1."""

    names: Sequence[str]
    lines: Array
    batch: Any

    @classmethod
    def of(cls, batch: Any, row: int) -> Self:
        """Make a chunk of a batch that begins behind so many rows."""
        return cls(batch.schema.names, np.arange(row + 1, row + 1 + batch.num_rows), batch)

    def __len__(self) -> int:
        rows: int = self.batch.num_rows
        return rows

    def encode(self, feature: Feature) -> tuple[Array, dict[int, str]]:
        """As `Chunk.encode`."""
        if feature.name not in self.names:
            return encode_values(feature, [None] * len(self))
        column = self.batch.column(self.names.index(feature.name))
        kind = column.type
        if _Type.is_integer(kind) or _Type.is_float32(kind) or _Type.is_float64(kind):
            missing = _missing(column) if column.null_count else None
            numbers = _numbers(column) if column.null_count else column.to_numpy()
            return encode_numbers(feature, numbers, missing)
        if _Type.is_decimal(kind):
            return encode_values(feature, column.cast(_Type.float64()).to_pylist())
        return encode_values(feature, [_sent(value) for value in _values(column)])

    def matrix(self, features: Sequence[Feature], dtype: Any) -> Array | None:
        """As `Chunk.matrix`: of columns of plain floats."""
        columns = [self._quick(feature, dtype) for feature in features]
        if any(column is None for column in columns):
            return None
        made = np.empty((len(self), len(columns)), dtype)
        for position, column in enumerate(columns):
            made[:, position] = column
        return made if np.isfinite(made).all() else None

    def _quick(self, feature: Feature, dtype: Any) -> Array | None:
        if feature.closed or feature.name not in self.names:
            return None
        column = self.batch.column(self.names.index(feature.name))
        if column.null_count or not (
            _Type.is_float32(column.type) or _Type.is_float64(column.type)
        ):
            return None
        found: Array = column.to_numpy()
        # A float64 that rounds to an infinite float32 would be told apart with more care.
        return found if found.dtype.itemsize <= dtype.itemsize else None

    def bad(self, row: int, column: str, reason: str) -> Bad:
        """As `Chunk.bad`; the text is the row as JSON."""
        import orjson

        one = self.of(self.batch.slice(row, 1), row)
        values = {name: one.values(name)[0] for name in self.names}
        text = orjson.dumps(values, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        return Bad(int(self.lines[row]), column, reason, text)

    def take(self, rows: Sequence[int]) -> Self:
        """As `Chunk.take`."""
        at = np.asarray(rows, np.int64)
        batch = self.batch.take(arro.Array.from_numpy(at)) if len(at) else self.batch.slice(0, 0)
        return type(self)(self.names, self.lines[at], batch)

    def values(self, name: str) -> Sequence[Any]:
        """As `Chunk.values`."""
        return _values(self.batch.column(self.names.index(name)))


def _values(column: Any) -> list[Any]:
    """Return a column's values as Python's; as texts, where arro3 makes no others of its type."""
    kind = column.type
    plain = column.cast(kind.value_type) if _Type.is_dictionary(kind) else column
    if _Type.is_decimal(kind):
        plain = column.cast(_Type.utf8())
    values: list[Any] = plain.to_pylist()
    return values


def _sent(value: Any) -> Any:
    """Return a value as JSON would have it: NaN is missing."""
    return None if isinstance(value, float) and value != value else value


class _ArrowArray(ctypes.Structure):
    """https://arrow.apache.org/docs/format/CDataInterface.html#the-arrowarray-structure."""

    _fields_ = (
        ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64), ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    )  # fmt: skip


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _buffer(column: Any, number: int, read: Callable[[int, int, int], Array]) -> Array:
    """Copy what `read` makes of a buffer's address, offset and length; the capsule owns it."""
    _, capsule = column.__arrow_c_array__()
    array = ctypes.cast(_pointer(capsule, b"arrow_array"), ctypes.POINTER(_ArrowArray)).contents
    return read(array.buffers[number] or 0, array.offset, array.length).copy()


def _missing(column: Any) -> Array:
    """Return which values are null, of shape (rows,): arro3 makes no array of a column with any."""

    def read(address: int, offset: int, length: int) -> Array:
        raw = (ctypes.c_uint8 * ((offset + length + 7) // 8)).from_address(address)
        bits = np.unpackbits(np.frombuffer(memoryview(raw), np.uint8), bitorder="little")
        missing: Array = bits[offset : offset + length] == 0
        return missing

    return _buffer(column, 0, read)


def _numbers(column: Any) -> Array:
    """Return the values of a column with nulls; those of the nulls mean nothing."""
    kind = column.type
    sign = "f" if _Type.is_floating(kind) else "u" if _Type.is_unsigned_integer(kind) else "i"
    dtype = np.dtype(f"{sign}{kind.bit_width // 8}")

    def read(address: int, offset: int, length: int) -> Array:
        raw = (ctypes.c_uint8 * ((offset + length) * dtype.itemsize)).from_address(address)
        return np.asarray(np.frombuffer(memoryview(raw), dtype)[offset:])

    return _buffer(column, 1, read)


def write(
    scored: Iterator[Scored],
    file: BinaryIO,
    *,
    kept: Sequence[str],
    added: Sequence[str],
    parquet: bool,
    zstd: bool,
) -> None:
    """Write scored chunks, at least one; each is pulled when the one before is encoded."""
    batches = (_batch(one, kept, added) for one in scored)
    first = next(batches)
    if first is None:  # an object of which nothing can be read has no columns
        for _ in batches:
            pass
        return
    reader = arro.RecordBatchReader.from_batches(first.schema, chain([first], batches))
    if parquet:
        io.write_parquet(
            reader, file, compression="zstd(1)" if zstd else "snappy",
            # Floats seldom repeat: a dictionary of them is made, and thrown away.
            dictionary_enabled=False, max_row_group_size=_ROW_GROUP, created_by="fnmodel",
        )  # fmt: skip
    else:
        io.write_ipc(reader, file, compression="zstd" if zstd else None)


def _batch(scored: Scored, kept: Sequence[str], added: Sequence[str]) -> Any:
    columns = [_column(scored.chunk, name) for name in kept]
    names = [*kept]
    for name, prediction in zip(added, scored.predictions, strict=False):
        columns.append(_array(prediction))
        names.append(name)
    if not columns:
        return None
    fields = [
        arro.Field(n, column.type, nullable=True) for n, column in zip(names, columns, strict=True)
    ]
    return arro.RecordBatch.from_arrays(columns, schema=arro.Schema(fields))


def _column(chunk: Chunk, name: str) -> Any:
    """Return a column as it is; of CSV and JSON Lines, whose rows may differ, as texts."""
    if isinstance(chunk, ArrowChunk):
        return chunk.batch.column(chunk.names.index(name))
    return arro.Array([_text(value) for value in chunk.values(name)], _Type.utf8())


def _text(value: Any) -> str | None:
    import orjson

    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _array(prediction: Array) -> Any:
    if prediction.dtype.kind == "O":
        return arro.Array(prediction.tolist(), _Type.utf8())
    return arro.Array.from_numpy(np.ascontiguousarray(prediction))
