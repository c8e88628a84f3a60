"""Rows of one input, some thousand at a time, in whatever form they were read."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Self

from fnmodel.arrays import Array
from fnmodel.batch.encode import encode_texts, encode_values
from fnmodel.model import Feature


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be scored: where, the column at fault ("" for the row), why, its text.

    Bytes that are not UTF-8 stand in `text` as surrogates, so that they can be written back.
    """

    line: int
    column: str
    reason: str
    text: str


class Chunk(ABC):
    """Rows that could be read. Nothing in it changes after it was made."""

    names: Sequence[str]
    """The columns, in order."""
    lines: Any
    """The line, or number, of each row in its object."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encode(self, feature: Feature) -> tuple[Array, dict[int, str]]:
        """Return a feature's column, of shape (rows,), and why values at some rows do not fit.

        What stands in the column at those rows means nothing.
        """

    def matrix(self, features: Sequence[Feature], dtype: Any) -> Array | None:  # noqa: ARG002
        """Return all features at once, shape (rows, F), where that is quick and all values fit."""
        return None

    @abstractmethod
    def bad(self, row: int, column: str, reason: str) -> Bad:
        """Return a row as one that cannot be scored."""

    @abstractmethod
    def take(self, rows: Sequence[int]) -> Self:
        """Return a chunk of only these rows."""

    @abstractmethod
    def values(self, name: str) -> Sequence[Any]:
        """Return a column's values as Python's."""

    def clashes(self, added: Sequence[str]) -> dict[int, str]:  # noqa: ARG002
        """Return the rows that have a column of these names, beyond `names`, each with it."""
        return {}

    def rows(self, names: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Yield these columns of each row."""
        if not names:
            return iter([()] * len(self))
        return zip(*(self.values(name) for name in names), strict=True)

    def records(self, names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        """Yield each row as names and values; of all its columns where none are named."""
        kept = self.names if names is None else names
        return (dict(zip(kept, row, strict=True)) for row in self.rows(kept))


@dataclass(frozen=True)
class Read:
    """What one step of a reader gave: rows, and those that cannot be understood.

    `broken` says why nothing more of the object can be read, where that is so.
    """

    chunk: Chunk
    bad: Sequence[Bad] = ()
    broken: str = ""

    @property
    def size(self) -> int:
        """All rows, good and bad."""
        return len(self.chunk) + len(self.bad)


@dataclass(frozen=True)
class TextChunk(Chunk):
    """Records of CSV, each of as many fields as there are names; `fields` has them end to end."""

    names: Sequence[str]
    lines: Sequence[int]
    texts: Sequence[str]
    fields: Sequence[str]

    def __len__(self) -> int:
        return len(self.lines)

    def encode(self, feature: Feature) -> tuple[Array, dict[int, str]]:
        """As `Chunk.encode`; an empty field is a missing value."""
        absent = feature.name not in self.names
        return encode_texts(feature, [""] * len(self) if absent else self.values(feature.name))

    def bad(self, row: int, column: str, reason: str) -> Bad:
        """As `Chunk.bad`."""
        return Bad(self.lines[row], column, reason, self.texts[row])

    def take(self, rows: Sequence[int]) -> Self:
        """As `Chunk.take`."""
        width = len(self.names)
        return type(self)(
            self.names,
            [self.lines[row] for row in rows],
            [self.texts[row] for row in rows],
            [field for row in rows for field in self.fields[row * width : (row + 1) * width]],
        )

    def values(self, name: str) -> Sequence[str]:
        """As `Chunk.values`."""
        return self.fields[self.names.index(name) :: len(self.names)]


@dataclass(frozen=True)
class RecordChunk(Chunk):
    """Objects of JSON Lines; `names` are those of the input's first object."""

    names: Sequence[str]
    lines: Sequence[int]
    texts: Sequence[bytes]
    objects: Sequence[Mapping[str, Any]]
    _columns: dict[str, Sequence[Any]] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.objects)

    def encode(self, feature: Feature) -> tuple[Array, dict[int, str]]:
        """As `Chunk.encode`."""
        return encode_values(feature, self.values(feature.name))

    def bad(self, row: int, column: str, reason: str) -> Bad:
        """As `Chunk.bad`."""
        return Bad(self.lines[row], column, reason, self.texts[row].decode("utf-8"))

    def take(self, rows: Sequence[int]) -> Self:
        """As `Chunk.take`."""
        return type(self)(
            self.names,
            [self.lines[row] for row in rows],
            [self.texts[row] for row in rows],
            [self.objects[row] for row in rows],
        )

    def values(self, name: str) -> Sequence[Any]:
        """As `Chunk.values`; what an object lacks is None."""
        if not self._columns and len(self.names) > 1:
            # Object by object, since a row lies in one place of the memory and a column does not.
            with suppress(KeyError):
                rows = map(itemgetter(*self.names), self.objects)
                self._columns.update(zip(self.names, zip(*rows, strict=True), strict=False))
        found = self._columns.get(name)
        return [record.get(name) for record in self.objects] if found is None else found

    def records(self, names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        """As `Chunk.records`."""
        if names is None:
            return (dict(record) for record in self.objects)
        return super().records(names)

    def clashes(self, added: Sequence[str]) -> dict[int, str]:
        """As `Chunk.clashes`."""
        return {
            row: next(name for name in added if name in record)
            for row, record in enumerate(self.objects)
            if not record.keys().isdisjoint(added)
        }
