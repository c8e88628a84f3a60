"""Scores slices of a run's inputs into parts, each with a receipt.

Parts depend on nothing but the inputs and the model: whoever scores a slice writes the same bytes.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fnmodel.batch.chunk import Bad, Read, TextChunk
from fnmodel.batch.formats import Source, arrow_module, open_source
from fnmodel.batch.job import JobRequest
from fnmodel.batch.objects import Object, ObjectStore
from fnmodel.batch.packed import Broken, zstd
from fnmodel.batch.pipeline import Peekable, in_order
from fnmodel.batch.receipt import Receipt, part_name, receipts, unbroken
from fnmodel.batch.score import Scored, Scorer
from fnmodel.batch.slices import Slice, grid
from fnmodel.batch.write import Errors, File, Writer
from fnmodel.errors import UnfinishedError
from fnmodel.inference import Predictor

_PAUSE = 5.0
# A part ends with the chunk that brings it over this size, whatever its rows.
_PART_SIZE = 64 << 20
# Seconds that a part may need to be stored, and the manifest after it.
_RESERVE = 5.0
_LONGEST = 900.0

Log = Callable[[str, dict[str, Any]], None]
"""Gets a message and its fields, after each part."""

Finished = Callable[[dict[str, Any]], None]
"""Gets the manifest of a run that is over, with each delivery of its event."""


@dataclass(frozen=True)
class Host:
    """Where a run takes place: its clock, in UTC, and how many seconds there are left for it."""

    clock: Callable[[], datetime]
    remaining: Callable[[], float] = lambda: math.inf
    sleep: Callable[[float], None] = lambda _: None
    log: Log = lambda message, fields: None  # noqa: ARG005
    finished: Finished = lambda manifest: None  # noqa: ARG005

    def until(self) -> datetime:
        """Return when the run ends at the latest."""
        return self.clock() + timedelta(seconds=min(self.remaining(), _LONGEST))

    @property
    def in_time(self) -> bool:
        """Whether there is time left to store what was done."""
        return self.remaining() >= _RESERVE

    def pause(self) -> bool:
        """Wait a little; returns False when there is no time for that."""
        if self.remaining() < 2 * _PAUSE + _RESERVE:
            return False
        self.sleep(_PAUSE)
        return True


class Work:
    """Scores the inputs of one run into its folder."""

    def __init__(
        self,
        request: JobRequest,
        objects: ObjectStore,
        predictor: Predictor,
        folder: str,
        host: Host,
    ) -> None:
        self._request = request
        self._objects = objects
        self._predictor = predictor
        self._folder = folder
        self._host = host
        self._writer = Writer(
            request.results_format, request.results_compression, all_columns=request.keep is None
        )
        if request.results_format in ("parquet", "arrow"):
            arrow_module()
        elif request.results_compression == "zstd":
            zstd()
        self._grid = grid(request)
        # The project's own steps may not be made for several threads.
        self._workers = 1 if predictor.processing else request.concurrency or processors()

    def score(self, inputs: Sequence[Object]) -> list[list[Receipt]]:
        """Score what has no receipt yet, and return the receipts of each input."""
        done = receipts(self._objects, self._folder)
        found = self.slices([Slice(number, item) for number, item in enumerate(inputs)], done)
        return [*found]

    def slices(
        self, slices: Sequence[Slice], done: Mapping[int, Sequence[Receipt]]
    ) -> Iterator[list[Receipt]]:
        """Score what of each slice has no receipt yet, and yield its receipts."""
        with ThreadPoolExecutor(self._workers, "score") as executor:
            for one in slices:
                yield self._slice(one, done.get(one.input, ()), executor)

    def _slice(self, one: Slice, known: Sequence[Receipt], executor: Executor) -> list[Receipt]:
        own = unbroken(known, one.start.row)
        if is_done(one, own):
            return own
        try:
            source: Source = open_source(
                one.item, self._request, self._objects, one.start, rows=one.limit
            )
        except Broken as error:
            source = Unreadable(str(error))
        with closing(source):
            return self._source(source, one, own, executor)

    def _source(
        self, source: Source, one: Slice, own: list[Receipt], executor: Executor
    ) -> list[Receipt]:
        scorer = Scorer(
            self._predictor,
            source.names,
            alike=source.alike,
            keep=self._request.keep,
            probabilities=self._request.probabilities,
        )
        rest = _behind(_until(source, one.limit), sum(receipt.rows for receipt in own))
        scored = Peekable(in_order(executor, scorer.score, rest, self._workers))
        while scored:
            own.append(self._part(one, own, scorer, scored))
        return own

    def _part(
        self, one: Slice, own: Sequence[Receipt], scorer: Scorer, scored: Peekable[Scored]
    ) -> Receipt:
        first = own[-1].behind if own else one.start.row
        name = part_name(one.input, first)
        key = f"{self._folder}part-{name}{self._writer.suffix}"
        with File() as file, Errors(one.item.key) as errors:
            rows = self._grid - first % self._grid
            taken = _Taken(scored, file, errors, rows, self._in_time)
            try:
                self._writer.write(scorer, iter(taken), file.binary)
            except Exception:
                # arro3 makes an error of its own of what its source raises.
                if taken.failure is not None:
                    raise taken.failure from None
                raise
            receipt = Receipt(
                input=one.input,
                first=first,
                part=key if file.size else None,
                errors=f"{self._folder}errors-{name}.csv" if errors.count else None,
                rows=taken.rows,
                scored=taken.rows - errors.count,
                bad=errors.count,
                last=not scored and one.last,
                problem=taken.broken,
            )
            if receipt.errors:
                errors.put(self._objects, receipt.errors)
            if receipt.part:
                file.put(self._objects, receipt.part)
        self._objects.put(self._folder + receipt.name, receipt.body(), if_none_match=True)
        counts = {"rows": receipt.rows, "scored": receipt.scored, "errors": receipt.bad}
        self._host.log("scored", {"key": one.item.key, "part": receipt.part, **counts})
        return receipt

    def _in_time(self) -> None:
        if not self._host.in_time:
            raise UnfinishedError(
                f"job {self._request.job!r} needs more time than the function has",
                hint="the next attempt goes on behind the last part; where not even one part is "
                "done in time, raise `function.timeout` or lower `part_rows`",
            )


class Unreadable:
    """An object of which nothing can be read, as a source of no rows but one bad."""

    names: Sequence[str] = ()
    alike = True

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def __iter__(self) -> Iterator[Read]:
        yield Read(TextChunk((), (), (), ()), [Bad(1, "", self._problem, "")], self._problem)

    def close(self) -> None:
        """As `Source.close`."""


class _Taken:
    """The chunks of one part: counts them, and puts their bad rows aside."""

    def __init__(
        self,
        scored: Peekable[Scored],
        file: File,
        errors: Errors,
        limit: int,
        in_time: Callable[[], None],
    ) -> None:
        self._scored = scored
        self._file = file
        self._errors = errors
        self._limit = limit
        self._in_time = in_time
        self.rows = 0
        self.broken = ""
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[Scored]:
        try:
            yield from self._chunks()
        except BaseException as error:
            self.failure = error
            raise

    def _chunks(self) -> Iterator[Scored]:
        for one in self._scored:
            self._in_time()
            self._errors.add(one.bad)
            self.rows += one.size
            self.broken = one.broken
            yield one
            if not self._scored:
                return
            # Sizes are compared where a chunk ends, so that they say the same in each attempt.
            if self.rows >= self._limit or self._file.size >= _PART_SIZE:
                return


def is_done(one: Slice, own: Sequence[Receipt]) -> bool:
    """Whether a slice's receipts, which follow each other, cover all of it."""
    if one.limit is None:
        return bool(own) and own[-1].last
    return sum(receipt.rows for receipt in own) >= one.limit


def _until(source: Source, rows: int | None) -> Iterator[Read]:
    """Yield the first chunks of a source; slices end where chunks end."""
    for read in source:
        yield read
        if rows is not None:
            rows -= read.size
            if rows <= 0:
                return


def _behind(source: Iterable[Read], rows: int) -> Iterator[Read]:
    """Yield what was not scored yet; parts end where chunks end."""
    for read in source:
        if rows <= 0:
            yield read
        rows -= read.size


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
