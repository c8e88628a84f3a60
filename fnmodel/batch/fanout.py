"""A run spread over many invocations: what each step of the state machine does.

    start ─ marks ─┬─ mark … ─┬─ plan ─┬─ score … ─┬─ finish
                   └─ mark … ─┘        └─ score … ─┘

Step Functions counts, retries and limits; all that a step has to know is in the bucket, below
`{folder}fanout/`. Every step may be repeated, and does only what is missing. Parts, receipts and
manifest are those that one invocation would have written.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from fnmodel.batch.job import JobRequest
from fnmodel.batch.marks import marks
from fnmodel.batch.objects import Object, ObjectStore, find
from fnmodel.batch.receipt import Receipt, part_name, receipts, unbroken
from fnmodel.batch.run import Begun, Model, begin, conclude, judged, lease_of, put_json
from fnmodel.batch.slices import Mark, Slice, cut, items, worth_cutting
from fnmodel.batch.work import Host, Work, is_done
from fnmodel.batch.write import error_file
from fnmodel.errors import BatchError, UnfinishedError
from fnmodel.inference import Predictor

FOLDER = "fanout/"
LONGEST = timedelta(hours=24)
"""For which a run may last; the state machine's own limit is the same."""

_INPUTS = f"{FOLDER}inputs.json"
_TO_MARK = f"{FOLDER}to-mark.json"
_MARKS = f"{FOLDER}marks/"
_PLAN = f"{FOLDER}plan.json"


@dataclass(frozen=True)
class Started:
    """A run that fans out: what its state machine is told; `marks` inputs are to be cut first."""

    run_id: str
    folder: str
    marks: int


def start(
    request: JobRequest, objects: ObjectStore, inputs: Sequence[Object], model: Model, host: Host
) -> Started | dict[str, Any]:
    """Begin a run for many invocations, or return the manifest of one that is done or skipped.

    Raises:
        BatchError: the run that was done has failed.
        UnfinishedError: another run of the job is under way.

    """
    begun = begin(
        request, objects, model, host, inputs=inputs, until=lambda: host.clock() + LONGEST
    )
    if isinstance(begun, dict):
        return begun
    folder = begun.folder
    put_json(
        objects,
        folder + _INPUTS,
        {"started": begun.started.isoformat(), "inputs": [asdict(item) for item in begun.inputs]},
    )
    known = _known_marks(objects, folder)
    todo = [
        {"input": number, "item": asdict(item)}
        for number, item in enumerate(begun.inputs)
        if worth_cutting(item, request) and not known.get(number, _NONE).complete
    ]
    _put(objects, folder + _TO_MARK, todo)
    return Started(begun.run_id, folder, len(todo))


@dataclass(frozen=True)
class _Marks:
    found: Sequence[Mark]
    complete: bool


_NONE = _Marks((), complete=False)


@dataclass(frozen=True)
class Steps:
    """The steps of one run; `run_id` is that it was started with."""

    request: JobRequest
    run_id: str
    objects: ObjectStore
    host: Host

    @property
    def folder(self) -> str:
        """The prefix of the run's results."""
        return self.request.folder(self.run_id)

    def mark(self, todo: Mapping[str, Any]) -> dict[str, Any]:
        """Find where the rows of one input begin; goes on behind what another attempt has found.

        Raises:
            UnfinishedError: there is no more time; what was found is kept.
            BatchError: the input changed.

        """
        number, item = int(todo["input"]), Object(**todo["item"])
        known = _known_marks(self.objects, self.folder).get(number, _NONE)
        if known.complete:
            return {}
        after = known.found[-1] if known.found else None
        found: list[Mark] = []
        complete = False
        try:
            with closing(marks(item, self.request, self.objects, after, self._in_time)) as more:
                # What was found before an error is kept.
                found.extend(more)
            complete = True
        finally:
            if found or complete:
                name = part_name(number, after.row if after else 0)
                kept = {"marks": [asdict(mark) for mark in found], "complete": complete}
                put_json(self.objects, f"{self.folder}{_MARKS}{name}.json", kept)
        return {}

    def plan(self) -> dict[str, Any]:
        """Write down what is to be scored, and return how many invocations that is."""
        assert self.request.fanout is not None
        slices = self._slices(self._inputs()[1])
        known = receipts(self.objects, self.folder)
        done = [
            (one.input, one.start.row)
            for one in slices
            if is_done(one, unbroken(known.get(one.input, ()), one.start.row))
        ]
        found = items(slices, done, self.request.fanout.slice_bytes)
        plan = [{"slices": [one.as_json() for one in item]} for item in found]
        _put(self.objects, self.folder + _PLAN, plan)
        return {"items": len(plan)}

    def score(self, item: Mapping[str, Any], predictor: Predictor) -> dict[str, Any]:
        """Score the slices of one item of the plan.

        Raises:
            BatchError: an input changed.
            UnfinishedError: there is no more time; another attempt goes on.

        """
        slices = [Slice.from_json(one) for one in item["slices"]]
        done: dict[int, list[Receipt]] = {}
        for one in slices:
            done |= receipts(self.objects, self.folder, one.input, one.covers)
        work = Work(self.request, self.objects, predictor, self.folder, self.host)
        rows = sum(receipt.rows for own in work.slices(slices, done) for receipt in own)
        return {"rows": rows}

    def finish(self, model: Model) -> dict[str, Any]:
        """Write the manifest, when nothing is missing, or no more than the error budget allows.

        `model` is the one that the run was started with.

        Raises:
            BatchError: too much is missing, or too many rows are bad.

        """
        started, inputs = self._inputs()
        begun = Begun(
            self.request, self.run_id, inputs, lease_of(self.request, self.objects), started
        )
        slices = self._slices(inputs)
        known = receipts(self.objects, self.folder)
        found: list[list[Receipt]] = [[] for _ in inputs]
        missing: list[tuple[Slice, int]] = []
        for one in slices:
            own = unbroken(
                [r for r in known.get(one.input, ()) if one.covers(r.first)], one.start.row
            )
            found[one.input] += own
            if not is_done(one, own):
                missing.append((one, sum(receipt.rows for receipt in own)))
        if missing:
            self._give_up(missing, found)
        manifest = conclude(begun, found, self.objects, model, self.host)
        begun.lease.give_back()
        return judged(manifest, self.folder, self.host)

    def abandon(self) -> dict[str, Any]:
        """Let other runs of the job begin: this one will not go on by itself."""
        lease_of(self.request, self.objects).give_back()
        return {}

    def _give_up(
        self, missing: Sequence[tuple[Slice, int]], found: Sequence[list[Receipt]]
    ) -> None:
        """Count what is missing as bad rows, or refuse to when that is over the error budget."""
        names = ", ".join(
            f"{one.item.key} from row {one.start.row + done:,} on" for one, done in missing[:3]
        )
        counted = [one.rows for one, _ in missing if one.rows is not None]
        rows = sum(receipt.rows for receipt in chain.from_iterable(found))
        bad = sum(receipt.bad for receipt in chain.from_iterable(found))
        lost = sum(counted) - sum(done for _, done in missing)
        allowed = self.request.error_budget * (rows + lost)
        if len(counted) < len(missing) or bad + lost > allowed:
            raise BatchError(
                f"job {self.request.job!r}: {len(missing)} slices could not be scored: {names}",
                hint="`fnmodel batch retry` scores what is missing, and nothing else",
            )
        for one, done in missing:
            found[one.input].append(self._lost(one, done))
        for own in found:
            own.sort(key=lambda receipt: receipt.first)

    def _lost(self, one: Slice, done: int) -> Receipt:
        assert one.rows is not None
        first, rows = one.start.row + done, one.rows - done
        name = part_name(one.input, first)
        errors = f"{self.folder}errors-{name}.csv"
        reason = f"{rows} rows from here on could not be scored: their function failed each time"
        line = one.start.line if one.start.line and not done else first + 1
        body = error_file([[one.item.key, line, "", reason, ""]])
        self.objects.put(errors, body, if_none_match=True)
        receipt = Receipt(one.input, first, None, errors, rows, scored=0, bad=rows, last=one.last)
        self.objects.put(self.folder + receipt.name, receipt.body(), if_none_match=True)
        return receipt

    def _slices(self, inputs: Sequence[Object]) -> list[Slice]:
        known = _known_marks(self.objects, self.folder)
        return [
            one
            for number, item in enumerate(inputs)
            for one in cut(number, item, known.get(number, _NONE).found)
        ]

    def _inputs(self) -> tuple[datetime, list[Object]]:
        stored = _json(self.objects, self.folder + _INPUTS)
        inputs = [Object(**item) for item in stored["inputs"]]
        return datetime.fromisoformat(stored["started"]), inputs

    def _in_time(self) -> None:
        if not self.host.in_time:
            raise UnfinishedError(
                f"job {self.request.job!r} needs more time to find where rows begin",
                hint="the next attempt goes on behind what was found",
            )


def _known_marks(objects: ObjectStore, folder: str) -> dict[int, _Marks]:
    found: dict[int, _Marks] = {}
    for item in objects.list(folder + _MARKS):
        number = int(item.key.rpartition("/")[2].partition("-")[0])
        stored = json.loads(objects.open(item.key, item.etag).read())
        before = found.get(number, _NONE)
        more = [Mark(**mark) for mark in stored["marks"]]
        found[number] = _Marks([*before.found, *more], complete=stored["complete"])
    return found


def _json(objects: ObjectStore, key: str) -> Any:
    item = find(objects, key)
    if item is None:
        raise BatchError(f"{key} is missing: the run was not started, or was deleted")
    return json.loads(objects.open(item.key, item.etag).read())


def _put(objects: ObjectStore, key: str, data: Any) -> None:
    """Write what another attempt may write differently."""
    objects.put(key, json.dumps(data, separators=(",", ":")).encode())
