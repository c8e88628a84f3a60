"""One batch job: list, score each object into parts, then the manifest.

    {output}{job}/{scheduled time}-{run id}/
        part-00000-000000000000.csv …     input 0, from row 0 on: at most `part_rows` rows
        errors-00000-000000000000.csv …   its rows that could not be scored, where there are any
        receipts/                 what each part covers, for a run that is killed
        request.json              the event, for another attempt
        manifest.json             written last and once, so that readers never see half a run
        report.html               the manifest for a person

Parts depend on nothing but the inputs and the model: a run that was killed goes on behind the last
part with a receipt, and writes the same bytes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from fnmodel.batch.formats import chosen
from fnmodel.batch.job import JobRequest
from fnmodel.batch.lease import Lease, wait_for
from fnmodel.batch.objects import Object, ObjectStore, find
from fnmodel.batch.receipt import Receipt, described, totals
from fnmodel.batch.report import page
from fnmodel.batch.work import Host, Work
from fnmodel.errors import BatchError, UnfinishedError
from fnmodel.inference import Predictor

MANIFEST = "manifest.json"
REQUEST = "request.json"
REPORT = "report.html"
LEASE = "lease.json"


@dataclass(frozen=True)
class Model:
    """The model as the manifest names it; `digest` is the model directory's."""

    name: str
    version: str
    digest: str


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
    begun = begin(request, objects, model, host)
    if isinstance(begun, dict):
        return begun
    try:
        work = Work(request, objects, predictor, begun.folder, host)
        found = work.score(begun.inputs)
        manifest = conclude(begun, found, objects, model, host)
    finally:
        begun.lease.give_back()
    return judged(manifest, begun.folder, host)


@dataclass(frozen=True)
class Begun:
    """A run that may go on: its inputs are pinned, and no other run of the job is under way."""

    request: JobRequest
    run_id: str
    inputs: Sequence[Object]
    lease: Lease
    started: datetime

    @property
    def folder(self) -> str:
        """The prefix of its results."""
        return self.request.folder(self.run_id)


def listed(request: JobRequest, objects: ObjectStore) -> list[Object]:
    """Return the inputs of a run that begins now."""
    return [item for item in objects.list(request.input) if chosen(item.key, request.format)]


def begin(
    request: JobRequest,
    objects: ObjectStore,
    model: Model,
    host: Host,
    *,
    inputs: Sequence[Object] | None = None,
    until: Callable[[], datetime] | None = None,
) -> Begun | dict[str, Any]:
    """Begin a run, or return the manifest of one that is done already, or is skipped.

    `until` says for how long nobody else may run the job; by default, for as long as this
    invocation can last.

    Raises:
        BatchError: the run that was done has failed.
        UnfinishedError: another run of the job goes on for longer than this one can wait.

    """
    found = listed(request, objects) if inputs is None else inputs
    run_id = request.run_id([(item.key, item.etag) for item in found], model.digest)
    folder = request.folder(run_id)
    done = read_manifest(objects, folder)
    if done is not None:
        if not objects.list(folder + REPORT):  # the winner was killed before it wrote it
            objects.put(folder + REPORT, page(done), if_none_match=True)
        return judged({**done, "already_done": True}, folder, host)
    if request.overlap == "skip" and (skipped := read_manifest(objects, request.folder("skipped"))):
        return {**skipped, "already_done": True}
    lease = lease_of(request, objects)
    queued = request.overlap == "queue"
    owner = wait_for(
        lease, host.clock, until or host.until, host.pause if queued else lambda: False
    )
    if owner and queued:
        raise UnfinishedError(
            f"job {request.job!r} waits for its run of {owner.rpartition(' ')[2]}",
            hint="the next attempt tries again; `overlap: skip` would leave this time out",
        )
    if owner:
        return _skip(request, objects, owner, model, host)
    begun = Begun(request, run_id, found, lease, host.clock())
    _remember(request, objects, folder)
    return begun


def lease_of(request: JobRequest, objects: ObjectStore) -> Lease:
    """Return the lease of a run's job, as its owner."""
    return Lease(objects, request.home + LEASE, f"{request.schedule_arn} {request.time}")


def conclude(
    begun: Begun,
    found: Sequence[Sequence[Receipt]],
    objects: ObjectStore,
    model: Model,
    host: Host,
) -> dict[str, Any]:
    """Write the manifest and its page, once, and return the one that is there."""
    request, folder = begun.request, begun.folder
    manifest = _manifest(request, begun.run_id, begun.inputs, found, model, begun.started, host)
    if put_json(objects, folder + MANIFEST, manifest):
        objects.put(folder + REPORT, page(manifest), if_none_match=True)
        return manifest
    # Another delivery of the same event was faster; its parts are the same bytes as ours.
    return {**(read_manifest(objects, folder) or manifest), "already_done": True}


def _remember(request: JobRequest, objects: ObjectStore, folder: str) -> None:
    put_json(objects, folder + REQUEST, request.event())


def put_json(objects: ObjectStore, key: str, data: Any) -> bool:
    """Write JSON where there is nothing yet; returns whether it did."""
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
    put_json(objects, folder + MANIFEST, manifest)
    return manifest


def judged(manifest: dict[str, Any], folder: str, host: Host) -> dict[str, Any]:
    """Return a manifest of success; one of failure fails each delivery of its event."""
    host.finished(manifest)
    if manifest["status"] == "succeeded":
        return manifest
    counts = manifest["totals"]
    problems = [f"{i['key']}: {i['problem']}" for i in manifest["inputs"] if "problem" in i]
    raise BatchError(
        f"job {manifest['job']!r} failed: {counts['errors']} of {counts['rows']} rows are bad, "
        f"the error budget is {manifest['error_budget']:.2%}" + "".join(f"; {p}" for p in problems),
        hint=f"{folder}errors-* name each bad row; {folder}{MANIFEST} has the counts",
    )
