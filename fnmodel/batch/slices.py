"""Which rows of which inputs are scored together: a pure plan, the same for one function and many.

A part never reaches over a multiple of `grid` rows of its input, whoever scores it. So a run that
fans out cuts its inputs there, and writes the bytes that one function alone would have written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from fnmodel.batch.job import Fanout, JobRequest
from fnmodel.batch.objects import Object

# A Map item is part of a child workflow's input, of at most 256 KiB, beside the event.
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
_MOST_SLICES = 100

CHUNKS = {"csv": 5_000, "jsonl": 5_000, "parquet": 4_096, "arrow": 4_096}
"""Rows that are scored at once, by format."""


@dataclass(frozen=True)
class Mark:
    """Where a row of an input begins: its number from 0, its line from 1, its byte.

    In Parquet only the row counts. `end` says that there is no such row: the input has that many.
    """

    row: int
    line: int = 0
    offset: int = 0
    end: bool = False


@dataclass(frozen=True)
class Slice:
    """Rows of one input, from `start` on; `rows` is None where nobody has counted them.

    `last` says that it goes to the input's end.
    """

    input: int
    item: Object
    start: Mark = Mark(0)
    rows: int | None = None
    last: bool = True

    @property
    def limit(self) -> int | None:
        """The rows to read; None for all that come."""
        return None if self.last else self.rows

    def covers(self, row: int) -> bool:
        """Whether a row, by its number in the input, is one of the slice."""
        limit = self.limit
        return self.start.row <= row and (limit is None or row < self.start.row + limit)

    def as_json(self) -> dict[str, Any]:
        """Return the slice as it stands in the plan."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a slice of the plan."""
        item, start = Object(**data["item"]), Mark(**data["start"])
        return cls(data["input"], item, start, data["rows"], data["last"])


def grid(request: JobRequest) -> int:
    """Return the rows that a part has at most: `part_rows`, in whole chunks."""
    chunk = CHUNKS[request.format]
    return -(-request.part_rows // chunk) * chunk


def fans_out(inputs: Sequence[Object], fanout: Fanout | None) -> bool:
    """Whether so much is worth more than one function."""
    if fanout is None:
        return False
    return len(inputs) > fanout.objects or sum(item.size for item in inputs) > fanout.bytes


def can_be_cut(item: Object, request: JobRequest) -> bool:
    """Whether several functions can read one object, each a range of it."""
    if request.format == "arrow":
        return False
    packed = request.compression in ("gzip", "zstd") or (
        request.compression == "auto" and item.key.lower().endswith((".gz", ".zst"))
    )
    return request.format == "parquet" or not packed


def worth_cutting(item: Object, request: JobRequest) -> bool:
    """Whether an object is cut: one that a single function would take long for."""
    return (
        request.fanout is not None
        and item.size > request.fanout.slice_bytes
        and can_be_cut(item, request)
    )


def cut(number: int, item: Object, marks: Sequence[Mark]) -> list[Slice]:
    """Cut an input at its marks, the last of which is its end; without any it stays whole."""
    starts = [Mark(0), *(mark for mark in marks if mark.row and not mark.end)]
    counted = [mark.row for mark in marks if mark.end]
    ends: list[int | None] = [*(mark.row for mark in starts[1:]), *counted[:1]]
    ends += [None] * (len(starts) - len(ends))
    return [
        Slice(
            number, item, start, None if end is None else end - start.row, last=start is starts[-1]
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def items(slices: Iterable[Slice], done: Iterable[tuple[int, int]], size: int) -> list[list[Slice]]:
    """Put neighbouring slices together to some `size` bytes, for an invocation each.

    `done` are (input, first row) of slices that are done, which are left out.
    """
    finished = set(done)
    found: list[list[Slice]] = []
    held = 0
    for one in slices:
        if (one.input, one.start.row) in finished:
            continue
        # A slice of a cut input is as much work as an invocation gets.
        alone = not one.last or one.start.row > 0
        if alone or not found or held + one.item.size > size or len(found[-1]) >= _MOST_SLICES:
            found.append([])
            held = 0
        found[-1].append(one)
        held += size if alone else one.item.size
    return found
