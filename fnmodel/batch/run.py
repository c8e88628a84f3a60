"""One batch job: list, score each object into parts, then the manifest.

    {output}{job}/{scheduled time}-{run id}/
        part-00000-0000.csv …     input 0, part 0: at most `part_rows` rows
        errors-00000-0000.csv …   its rows that could not be scored, where there are any
        receipts/                 what each part covers, for a run that is killed
        request.json              the event, for another attempt
        manifest.json             written last and once, so that readers never see half a run
        report.html               the manifest for a person

Parts depend on nothing but the inputs and the model: a run that was killed goes on behind the last
part with a receipt, and writes the same bytes.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from fnmodel.batch.chunk import Bad, Read, TextChunk
from fnmodel.batch.formats import Source, arrow_module, chosen, open_source
from fnmodel.batch.job import JobRequest
from fnmodel.batch.lease import Lease, wait_for
from fnmodel.batch.objects import Object, ObjectStore, find
from fnmodel.batch.packed import Broken, zstd
from fnmodel.batch.pipeline import Peekable, in_order
from fnmodel.batch.receipt import Receipt, described, receipts, totals
from fnmodel.batch.report import page
from fnmodel.batch.score import Scored, Scorer
from fnmodel.batch.write import Errors, File, Writer
from fnmodel.errors import BatchError, UnfinishedError
from fnmodel.inference import Predictor

MANIFEST = "manifest.json"
REQUEST = "request.json"
REPORT = "report.html"
LEASE = "lease.json"

_PAUSE = 5.0
# A part ends with the chunk that brings it over this size, whatever its rows.
_PART_SIZE = 64 << 20
# Seconds that a part may need to be stored, and the manifest after it.
_RESERVE = 5.0
_LONGEST = 900.0

Log = Callable[[str, dict[str, Any]], None]
"""Gets a message and its fields, after each part."""


@dataclass(frozen=True)
class Model:
    """The model as the manifest names it; `digest` is the model directory's."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class Host:
    """Where a run takes place: its clock, in UTC, and how many seconds there are left for it."""

    clock: Callable[[], datetime]
    remaining: Callable[[], float] = lambda: math.inf
    sleep: Callable[[float], None] = lambda _: None
    log: Log = lambda message, fields: None  # noqa: ARG005

    def until(self) -> datetime:
        """Return when the run ends at the latest."""
        return self.clock() + timedelta(seconds=min(self.remaining(), _LONGEST))

    def pause(self) -> bool:
        """Wait a little; returns False when there is no time for that."""
        if self.remaining() < 2 * _PAUSE + _RESERVE:
            return False
        self.sleep(_PAUSE)
        return True


def run(
    request: JobRequest, objects: ObjectStore, predictor: Predictor, *, model: Model, host: Host
) -> dict[str, Any]:
    """Run a job and return its manifest.

    When the manifest is there already, it is returned with `already_done`, and nothing is written.
    While another run of the job is under way, this one waits, or is skipped with a manifest that
    says so.

    Raises:
        BatchError: an input changed while it was read; or more rows were bad than the error
            budget allows, now or in the run that was done already.
        UnfinishedError: there is no more time; another attempt goes on.
        AwsError: storage refused a call.

    """
    listed = objects.list(request.input)
    inputs = [item for item in listed if chosen(item.key, request.format)]
    run_id = request.run_id([(item.key, item.etag) for item in inputs], model.digest)
    folder = request.folder(run_id)
    done = read_manifest(objects, folder)
    if done is not None:
        if not objects.list(folder + REPORT):  # the winner was killed before it wrote it
            objects.put(folder + REPORT, page(done), if_none_match=True)
        return _judged({**done, "already_done": True}, folder)
    if request.overlap == "skip" and (skipped := read_manifest(objects, request.folder("skipped"))):
        return {**skipped, "already_done": True}
    lease = Lease(objects, request.home + LEASE, f"{request.schedule_arn} {request.time}")
    queued = request.overlap == "queue"
    owner = wait_for(lease, host.clock, host.until, host.pause if queued else lambda: False)
    if owner and queued:
        raise UnfinishedError(
            f"job {request.job!r} waits for its run of {owner.rpartition(' ')[2]}",
            hint="the next attempt tries again; `overlap: skip` would leave this time out",
        )
    if owner:
        return _skip(request, objects, owner, model, host)
    try:
        work = _Work(request, objects, predictor, folder, host)
        started = host.clock()
        _remember(request, objects, folder)
        found = work.score(inputs)
        manifest = _manifest(request, run_id, inputs, found, model, started, host)
        if _put(objects, folder + MANIFEST, manifest):
            objects.put(folder + REPORT, page(manifest), if_none_match=True)
        else:
            # Another delivery of the same event was faster; its parts are the same bytes as ours.
            manifest = {**(read_manifest(objects, folder) or manifest), "already_done": True}
    finally:
        lease.give_back()
    return _judged(manifest, folder)


def _remember(request: JobRequest, objects: ObjectStore, folder: str) -> None:
    _put(objects, folder + REQUEST, request.event())


def _put(objects: ObjectStore, key: str, data: dict[str, Any]) -> bool:
    return objects.put(key, json.dumps(data, indent=2).encode() + b"\n", if_none_match=True)


def read_manifest(objects: ObjectStore, folder: str) -> dict[str, Any] | None:
    """Return a run's manifest, or None while there is none."""
    item = find(objects, folder + MANIFEST)
    if item is None:
        return None
    manifest: dict[str, Any] = json.loads(objects.open(item.key, item.etag).read())
    return manifest


def _manifest(
    request: JobRequest,
    run_id: str,
    inputs: Sequence[Object],
    found: Sequence[Sequence[Receipt]],
    model: Model,
    started: datetime,
    host: Host,
) -> dict[str, Any]:
    every = [*chain.from_iterable(found)]
    counts = totals(every)
    over_budget = counts["errors"] > request.error_budget * counts["rows"]
    broken = any(one.problem for one in every)
    return {
        "job": request.job,
        "run_id": run_id,
        "status": "failed" if over_budget or broken else "succeeded",
        "scheduled_time": request.time,
        "started": started.isoformat(),
        "finished": host.clock().isoformat(),
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "inputs": [described(item, own) for item, own in zip(inputs, found, strict=True)],
        "errors": [one.errors for one in every if one.errors],
        "totals": counts,
        "error_budget": request.error_budget,
    }


def _skip(
    request: JobRequest, objects: ObjectStore, owner: str, model: Model, host: Host
) -> dict[str, Any]:
    manifest = _manifest(request, "skipped", [], [], model, host.clock(), host)
    manifest |= {"status": "skipped", "because": owner.rpartition(" ")[2]}
    folder = request.folder("skipped")
    _remember(request, objects, folder)
    _put(objects, folder + MANIFEST, manifest)
    return manifest


def _judged(manifest: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return a manifest of success; one of failure fails each delivery of its event."""
    if manifest["status"] == "succeeded":
        return manifest
    counts = manifest["totals"]
    problems = [f"{i['key']}: {i['problem']}" for i in manifest["inputs"] if "problem" in i]
    raise BatchError(
        f"job {manifest['job']!r} failed: {counts['errors']} of {counts['rows']} rows are bad, "
        f"the error budget is {manifest['error_budget']:.2%}" + "".join(f"; {p}" for p in problems),
        hint=f"{folder}errors-* name each bad row; {folder}{MANIFEST} has the counts",
    )


class _Work:
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
        # The project's own steps may not be made for several threads.
        self._workers = 1 if predictor.processing else request.concurrency or processors()

    def score(self, inputs: Sequence[Object]) -> list[list[Receipt]]:
        """Score what has no receipt yet, and return the receipts of each input."""
        done = receipts(self._objects, self._folder)
        with ThreadPoolExecutor(self._workers, "score") as executor:
            return [
                self._input(item, number, done.get(number, []), executor)
                for number, item in enumerate(inputs)
            ]

    def _input(
        self, item: Object, number: int, own: list[Receipt], executor: Executor
    ) -> list[Receipt]:
        if own and own[-1].last:
            return own
        try:
            source: Source = open_source(item, self._request, self._objects)
        except Broken as error:
            source = Unreadable(str(error))
        with closing(source):
            return self._source(source, item, number, own, executor)

    def _source(
        self, source: Source, item: Object, number: int, own: list[Receipt], executor: Executor
    ) -> list[Receipt]:
        scorer = Scorer(
            self._predictor,
            source.names,
            alike=source.alike,
            keep=self._request.keep,
            probabilities=self._request.probabilities,
        )
        rest = _behind(source, sum(one.rows for one in own))
        scored = Peekable(in_order(executor, scorer.score, rest, self._workers))
        while scored:
            own.append(self._part(item, number, len(own), scorer, scored))
        return own

    def _part(
        self, item: Object, number: int, part: int, scorer: Scorer, scored: Peekable[Scored]
    ) -> Receipt:
        name = f"{number:05d}-{part:04d}"
        key = f"{self._folder}part-{name}{self._writer.suffix}"
        with File() as file, Errors(item.key) as errors:
            taken = _Taken(scored, file, errors, self._request.part_rows, self._in_time)
            try:
                self._writer.write(scorer, iter(taken), file.binary)
            except Exception:
                # arro3 makes an error of its own of what its source raises.
                if taken.failure is not None:
                    raise taken.failure from None
                raise
            receipt = Receipt(
                input=number,
                number=part,
                part=key if file.size else None,
                errors=f"{self._folder}errors-{name}.csv" if errors.count else None,
                rows=taken.rows,
                scored=taken.rows - errors.count,
                bad=errors.count,
                last=not scored,
                problem=taken.broken,
            )
            if receipt.errors:
                errors.put(self._objects, receipt.errors)
            if receipt.part:
                file.put(self._objects, receipt.part)
        self._objects.put(self._folder + receipt.name, receipt.body(), if_none_match=True)
        counts = {"rows": receipt.rows, "scored": receipt.scored, "errors": receipt.bad}
        self._host.log("scored", {"key": item.key, "part": receipt.part, **counts})
        return receipt

    def _in_time(self) -> None:
        if self._host.remaining() < _RESERVE:
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


def _behind(source: Source, rows: int) -> Iterator[Read]:
    """Yield what was not scored yet; parts end where chunks end."""
    for read in source:
        if rows <= 0:
            yield read
        rows -= read.size


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
