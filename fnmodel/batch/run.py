"""One batch job: list, score each object into a part, write the errors, then the manifest.

    {output}{job}/{scheduled time}-{run id}/
        part-00000.csv …   one for each input object, in the order of keys
        errors.csv         the rows that could not be scored
        manifest.json      written last and once, so that readers never see half a run

Parts depend on nothing but the inputs and the model: a run that was killed writes the same bytes
when it is repeated.
"""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from typing import Any, BinaryIO, Self, cast

from fnmodel.batch.job import JobRequest
from fnmodel.batch.objects import Object, ObjectStore
from fnmodel.batch.score import Bad, Scorer
from fnmodel.batch.table import BROKEN, rows
from fnmodel.errors import BatchError
from fnmodel.inference import Predictor

CHUNK = 5_000
MANIFEST = "manifest.json"
ERRORS = "errors.csv"

# A part up to this size stays in memory; a larger one goes to /tmp.
_IN_MEMORY = 8 << 20

Log = Callable[[str, dict[str, Any]], None]
"""Gets a message and its fields, after each object."""


@dataclass(frozen=True)
class Model:
    """The model as the manifest names it; `digest` is the model directory's."""

    name: str
    version: str
    digest: str


@dataclass
class _Tally:
    rows: int = 0
    scored: int = 0
    errors: int = 0
    problem: str = ""

    def counts(self) -> dict[str, int]:
        assert self.rows == self.scored + self.errors, "a row was lost"
        return {"rows": self.rows, "scored": self.scored, "errors": self.errors}


@dataclass
class _Totals(_Tally):
    inputs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, item: Object, part: str, tally: _Tally) -> None:
        counts = tally.counts()
        self.rows += tally.rows
        self.scored += tally.scored
        self.errors += tally.errors
        self.problem = self.problem or (tally.problem and f"{item.key}: {tally.problem}")
        problem = {"problem": tally.problem} if tally.problem else {}
        self.inputs.append({"key": item.key, "etag": item.etag, **counts, "part": part, **problem})


def run(
    request: JobRequest,
    objects: ObjectStore,
    predictor: Predictor,
    *,
    model: Model,
    clock: Callable[[], datetime],
    log: Log = lambda message, fields: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Run a job and return its manifest; `clock` returns the time in UTC.

    When the manifest is there already, it is returned with `already_done`, and nothing is written.

    Raises:
        BatchError: an input changed while it was read; or more rows were bad than the error
            budget allows, now or in the run that was done already.
        AwsError: storage refused a call.

    """
    inputs = [item for item in objects.list(request.input) if _is_table(item.key)]
    run_id = request.run_id([(item.key, item.etag) for item in inputs], model.digest)
    folder = request.folder(run_id)
    done = _manifest(objects, folder)
    if done is not None:
        return _judged({**done, "already_done": True}, folder)
    started = clock()
    totals = _score_all(inputs, objects, predictor, folder, log)
    over_budget = totals.errors > request.error_budget * totals.rows
    manifest = {
        "job": request.job,
        "run_id": run_id,
        "status": "failed" if over_budget or totals.problem else "succeeded",
        "scheduled_time": request.time,
        "started": started.isoformat(),
        "finished": clock().isoformat(),
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "inputs": totals.inputs,
        "errors": folder + ERRORS if inputs else None,
        "totals": totals.counts(),
        "error_budget": request.error_budget,
    }
    body = json.dumps(manifest, indent=2).encode() + b"\n"
    if not objects.put(folder + MANIFEST, body, if_none_match=True):
        # Another delivery of the same event was faster; its parts are the same bytes as ours.
        return _judged({**(_manifest(objects, folder) or manifest), "already_done": True}, folder)
    return _judged(manifest, folder)


def _is_table(key: str) -> bool:
    return key.lower().endswith((".csv", ".csv.gz"))


def _manifest(objects: ObjectStore, folder: str) -> dict[str, Any] | None:
    for item in objects.list(folder + MANIFEST):
        if item.key == folder + MANIFEST:
            manifest: dict[str, Any] = json.loads(objects.open(item.key, item.etag).read())
            return manifest
    return None


def _judged(manifest: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return a manifest of success; one of failure fails each delivery of its event."""
    if manifest["status"] == "succeeded":
        return manifest
    totals = manifest["totals"]
    problems = [f"{i['key']}: {i['problem']}" for i in manifest["inputs"] if "problem" in i]
    raise BatchError(
        f"job {manifest['job']!r} failed: {totals['errors']} of {totals['rows']} rows are bad, "
        f"the error budget is {manifest['error_budget']:.2%}" + "".join(f"; {p}" for p in problems),
        hint=f"{folder}{ERRORS} names each bad row; {folder}{MANIFEST} has the counts",
    )


def _score_all(
    inputs: Sequence[Object],
    objects: ObjectStore,
    predictor: Predictor,
    folder: str,
    log: Log,
) -> _Totals:
    totals = _Totals()
    if not inputs:
        return totals
    with _CsvFile() as errors:
        errors.write([["input", "line", "column", "reason", "text"]])
        for number, item in enumerate(inputs):
            part = f"{folder}part-{number:05d}.csv"
            with _CsvFile() as scored:
                tally = _score(item, objects, predictor, scored, errors)
                scored.put(objects, part)
            totals.add(item, part, tally)
            log("scored", {"key": item.key, "part": part, **tally.counts()})
        errors.put(objects, folder + ERRORS)
    return totals


def _score(
    item: Object,
    objects: ObjectStore,
    predictor: Predictor,
    part: "_CsvFile",
    errors: "_CsvFile",
) -> _Tally:
    tally = _Tally()
    stream = objects.open(item.key, item.etag)
    table = rows(stream, gzipped=item.key.lower().endswith(".gz"))
    header = next(table, None)
    if header is None:
        return tally
    if header.problem:  # it counts as a row, and no other can be understood without it
        table = chain([header], table)
    scorer = Scorer(predictor, header.fields)
    if not scorer.problem:
        part.write([scorer.header])
    while chunk := list(islice(table, CHUNK)):
        scored, bad = scorer.score(chunk)
        part.write(scored)
        errors.write(_error(item.key, entry) for entry in bad)
        tally.rows += len(chunk)
        tally.scored += len(scored)
        tally.errors += len(bad)
        if chunk[-1].problem == BROKEN:
            tally.problem = BROKEN
    return tally


def _error(key: str, bad: Bad) -> list[Any]:
    return [key, bad.row.line, bad.column, bad.reason, bad.row.text]


class _CsvFile:
    """A temporary file that rows are written to; surrogates become the bytes they stand for."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        binary = cast("BinaryIO", self._file)
        self._text = io.TextIOWrapper(
            binary, encoding="utf-8", errors="surrogateescape", newline=""
        )
        self.write = csv.writer(self._text, lineterminator="\n").writerows

    def put(self, objects: ObjectStore, key: str) -> None:
        """Store what was written."""
        self._text.flush()
        self._file.seek(0)
        objects.put(key, cast("BinaryIO", self._file))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
