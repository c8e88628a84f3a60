"""`fnmodel batch`: scores an S3 prefix now; schedules live in fnmodel.yaml."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.console import pairs, table
from fnmodel.cli.estimate import shown
from fnmodel.cli.options import Where, placed
from fnmodel.errors import BatchError, UsageError

if TYPE_CHECKING:
    from fnmodel.cli.estimate import Estimate
    from fnmodel.cli.workspace import Workspace
    from fnmodel.config import BatchJob

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Score the objects of an S3 prefix with the version that serves.",
)

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"

JobArgument = Annotated[str | None, typer.Argument(help="Job; may be left out when there is one.")]


@app.command()
@placed
def run(
    job: JobArgument = None,
    *,
    upload: Annotated[
        list[Path] | None, typer.Option(help="Put this file under the job's input first.")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(help="Scheduled time to run for, UTC; the same time never scores twice."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate rows, time and dollars, and stop.")
    ] = False,
    where: Where,
) -> None:
    """Score a job's input now and print its manifest; goes on until all of it is scored.

    Example: fnmodel batch run nightly --upload customers.csv
    """
    from fnmodel.cli import objects
    from fnmodel.cli.runs import MANUAL

    for path in upload or ():
        if not path.is_file():
            raise UsageError(f"there is no file {path}", hint="name an existing file")
    work = where.open()
    chosen = _job(work.project.batch, job)
    bucket = work.stack.outputs["Bucket"]
    for path in upload or () if not dry_run else ():
        with work.console.step("upload") as step:
            step.progress(f"{path} → s3://{bucket}/{chosen.input}{path.name}")
            objects.upload(work.client("s3"), path, bucket, f"{chosen.input}{path.name}")
            step.done(f"s3://{bucket}/{chosen.input}{path.name}")
    # A dry run sends nothing, and counts what would be sent.
    sent = {f"{chosen.input}{path.name}": path.stat().st_size for path in upload or ()}
    sizes, found = _estimated(work, chosen, _runs(work, chosen), sent)
    if dry_run:
        work.console.data(asdict(found), shown(found))
        return
    work.console.note(f"estimate   {shown(found)}")
    moment = (at or datetime.now(UTC)).strftime(_MOMENT)
    event = chosen.event(bucket, moment, MANUAL, work.project.fanout)
    _score(work, chosen, event, sizes, f"scoring s3://{bucket}/{chosen.input}")


@app.command()
@placed
def status(
    job: JobArgument = None,
    *,
    where: Where,
) -> None:
    """List the runs of a job, and its scheduled times since the first that have none; newest first.

    Example: fnmodel batch status nightly
    """
    from fnmodel.cli.runs import missed_lately

    work = where.open()
    chosen = _job(work.project.batch, job)
    runs = sorted(
        _runs(work, chosen), key=lambda manifest: str(manifest["scheduled_time"]), reverse=True
    )
    rows = [
        [m["scheduled_time"], m["run_id"], m["status"], m["totals"]["rows"], m["totals"]["errors"]]
        for m in runs
    ]
    gone = [f"{moment:{_MOMENT}}" for moment in missed_lately(chosen, runs, datetime.now(UTC))]
    rows = sorted([*rows, *([moment, "", "missed", "", ""] for moment in gone)], reverse=True)
    text = table(["scheduled", "run", "status", "rows", "errors"], rows)
    missed = [{"scheduled_time": moment, "status": "missed"} for moment in gone]
    work.console.data([*runs, *missed], text)


@app.command()
@placed
def retry(
    job: JobArgument = None,
    *,
    at: Annotated[
        datetime | None, typer.Option(help="Scheduled time of the run, UTC; by default the newest.")
    ] = None,
    where: Where,
) -> None:
    """Go on with a run that began and did not succeed, or was skipped.

    What has a receipt is not scored again. An input that was mended is another input, so that its
    run begins anew.

    Example: fnmodel batch retry nightly
    """
    from fnmodel.cli import objects
    from fnmodel.cli.runs import unfinished

    work = where.open()
    chosen = _job(work.project.batch, job)
    bucket = work.stack.outputs["Bucket"]
    asked = objects.manifests(work.client("s3"), bucket, chosen.home, "request.json")
    runs = _runs(work, chosen)
    events = unfinished(asked, runs)
    if at is not None:
        events = [event for event in events if event["scheduled_time"] == at.strftime(_MOMENT)]
    if not events:
        raise UsageError(
            f"{chosen.name} has no run to go on with" + (f" of {at:{_MOMENT}}" if at else ""),
            hint=f"`fnmodel batch status {chosen.name}` lists its runs",
        )
    sizes, _ = _estimated(work, chosen, runs)
    event = events[0] | {"overlap": "queue"}
    _score(work, chosen, event, sizes, f"going on with {event['scheduled_time']}")


@app.command()
@placed
def backfill(
    job: JobArgument = None,
    *,
    start: Annotated[datetime, typer.Option("--from", help="First time, UTC.")],
    end: Annotated[
        datetime | None, typer.Option("--to", help="End, UTC, excluded; by default now.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the missed times, and stop.")
    ] = False,
    where: Where,
) -> None:
    """Make up for scheduled times that had no run, one after the other, each once.

    Every run scores what is under the input prefix now. A time that a clock skips in spring has
    no run, one that it shows twice in autumn has one.

    Example: fnmodel batch backfill nightly --from 2030-01-01 --dry-run
    """
    from fnmodel.cli.runs import attempt, missed, schedule_arn

    work = where.open()
    chosen = _job(work.project.batch, job)
    if chosen.schedule is None:
        raise UsageError(
            f"{chosen.name} has no schedule, so that it can miss no time",
            hint=f"`fnmodel batch run {chosen.name} --at TIME` runs it for one",
        )
    outputs = work.stack.outputs
    first = start.replace(tzinfo=UTC)
    last = end.replace(tzinfo=UTC) if end else datetime.now(UTC)
    runs = _runs(work, chosen)
    moments = [f"{one:{_MOMENT}}" for one in missed(chosen, first, last, runs)]
    if dry_run:
        work.console.data(moments, "\n".join(moments) or "nothing was missed")
        return
    sizes, _ = _estimated(work, chosen, runs)
    arn = schedule_arn(outputs["AliasArn"], outputs["ScheduleGroup"], chosen.name)
    done = []
    for number, moment in enumerate(moments, 1):
        event = chosen.event(outputs["Bucket"], moment, arn, work.project.fanout)
        with work.console.step("backfill") as step:
            step.progress(f"{moment} ({number} of {len(moments)})")
            done.append(attempt(work, chosen, event, sizes, step.progress))
            step.done(f"{moment}: {_outcome(done[-1])}")
    rows = [[m["scheduled_time"], m["status"], m["totals"]["rows"]] for m in done]
    work.console.data(done, table(["scheduled", "status", "rows"], rows))
    for manifest in done:
        _check(manifest, chosen, outputs["Bucket"])


@app.command()
@placed
def logs(
    job: JobArgument = None,
    *,
    since: Annotated[str, typer.Option(help="How far back: 30s, 10m, 2h, 1d.")] = "1d",
    where: Where,
) -> None:
    """Print what a job's runs said, oldest first.

    Example: fnmodel batch logs nightly --since 2h
    """
    import time

    from fnmodel.cli.follow import Follower, seconds

    work = where.open()
    chosen = _job(work.project.batch, job)
    holds = f'"job":"{chosen.name}"'
    follower = Follower(work.client("logs"), work.stack.outputs["LogGroup"], holds=holds)
    for line in follower.lines(time.time() - seconds(since)):
        typer.echo(line)


def _score(
    work: "Workspace", job: "BatchJob", event: Mapping[str, Any], sizes: Sequence[int], doing: str
) -> None:
    """Run an event until it is done, and print its manifest."""
    from fnmodel.cli.runs import attempt

    bucket = work.stack.outputs["Bucket"]
    with work.console.step("batch") as step:
        step.progress(f"{job.name}: {doing}")
        manifest = attempt(work, job, event, sizes, step.progress)
        step.done(_outcome(manifest))
    work.console.data(manifest, _text(manifest, bucket))
    _check(manifest, job, bucket)


def _runs(work: "Workspace", job: "BatchJob") -> list[dict[str, Any]]:
    from fnmodel.cli import objects

    return [*objects.manifests(work.client("s3"), work.stack.outputs["Bucket"], job.home)]


def _estimated(
    work: "Workspace",
    job: "BatchJob",
    runs: Sequence[dict[str, Any]],
    sent: Mapping[str, int] | None = None,
) -> "tuple[list[int], Estimate]":
    """Return the sizes of a job's objects, and what a run over them would take, by its runs.

    `sent` are objects that come to those of the bucket, by key, in bytes.
    """
    from fnmodel.batch.formats import chosen
    from fnmodel.cli import objects
    from fnmodel.cli.estimate import Function, Known, Spread, estimate

    bucket = work.stack.outputs["Bucket"]
    listed = dict(objects.listed(work.client("s3"), bucket, job.input)) | dict(sent or {})
    sizes = [size for key, size in listed.items() if chosen(key, job.format)]
    ordered = sorted(runs, key=lambda run: str(run["scheduled_time"]))
    known = Known.of(job.format)
    wide = work.project.fanout
    spread = None if wide is None else Spread(**wide.model_dump())
    for run in reversed(ordered):
        took = datetime.fromisoformat(run["finished"]) - datetime.fromisoformat(run["started"])
        size = sum(one.get("bytes", 0) for one in run["inputs"])
        if spread and (len(run["inputs"]) > spread.objects or size > spread.bytes):
            continue  # its time says nothing of one function's
        known = Known.of(job.format, run["totals"]["rows"], size, took.total_seconds())
        if not known.assumed:
            break
    settings = work.function
    function = Function(settings.memory, settings.timeout, work.project.image.architecture)
    found = estimate(
        len(sizes), sum(sizes), known, function, part_rows=job.part_rows, spread=spread
    )
    return sizes, found


def _outcome(manifest: dict[str, Any]) -> str:
    totals = manifest["totals"]
    return f"{totals['rows']:,} rows: {totals['scored']:,} scored, {totals['errors']:,} bad"


def _check(manifest: dict[str, Any], job: "BatchJob", bucket: str) -> None:
    """Fail where a run did not succeed, after what it did was printed."""
    totals = manifest["totals"]
    if manifest["status"] == "failed":
        raise BatchError(
            f"{job.name}: {totals['errors']} of {totals['rows']} rows are bad; the error budget "
            f"is {manifest['error_budget']:.2%}",
            hint="see " + ", ".join(f"s3://{bucket}/{key}" for key in manifest["errors"][:3]),
        )


def _job(jobs: tuple["BatchJob", ...], name: str | None) -> "BatchJob":
    known = ", ".join(job.name for job in jobs)
    if not jobs:
        raise UsageError(
            "fnmodel.yaml declares no batch job", hint="add one under `batch:` and deploy"
        )
    if name is None and len(jobs) == 1:
        return jobs[0]
    for job in jobs:
        if job.name == name:
            return job
    missing = f"there is no batch job {name!r}" if name else "there are several batch jobs"
    raise UsageError(missing, hint=f"name one of: {known}")


def _text(manifest: dict[str, Any], bucket: str) -> str:
    rows = [
        [i["key"], i["rows"], i["scored"], i["errors"], len(i["parts"])] for i in manifest["inputs"]
    ]
    text = table(["input", "rows", "scored", "errors", "parts"], rows)
    shown = {
        "run": manifest["run_id"],
        "status": manifest["status"],
        "already done": manifest.get("already_done", False) or "",
        "bucket": f"s3://{bucket}",
        "parts": next((f"{i['parts'][0]} …" for i in manifest["inputs"] if i["parts"]), ""),
    }
    return f"{text}\n\n{pairs(shown)}"
