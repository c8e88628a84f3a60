"""`fnmodel batch`: scores an S3 prefix now; schedules live in fnmodel.yaml."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.console import pairs, table
from fnmodel.cli.options import Where, placed
from fnmodel.errors import BatchError, UsageError

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace
    from fnmodel.config import BatchJob

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Score the objects of an S3 prefix with the version that serves.",
)

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
    where: Where,
) -> None:
    """Score a job's input now and print its manifest.

    Example: fnmodel batch run nightly --upload customers.csv
    """
    from fnmodel.cli import objects

    for path in upload or ():
        if not path.is_file():
            raise UsageError(f"there is no file {path}", hint="name an existing file")
    work = where.open()
    chosen = _job(work.project.batch, job)
    bucket = work.stack.outputs["Bucket"]
    for path in upload or ():
        with work.console.step("upload") as step:
            step.progress(f"{path} → s3://{bucket}/{chosen.input}{path.name}")
            objects.upload(work.client("s3"), path, bucket, f"{chosen.input}{path.name}")
            step.done(f"s3://{bucket}/{chosen.input}{path.name}")
    moment = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with work.console.step("batch") as step:
        step.progress(f"{chosen.name}: scoring s3://{bucket}/{chosen.input}")
        manifest = _invoke(work, chosen, bucket, moment)
        totals = manifest["totals"]
        step.done(f"{totals['rows']:,} rows: {totals['scored']:,} scored, {totals['errors']:,} bad")
    work.console.data(manifest, _text(manifest, bucket))
    if manifest["status"] != "succeeded":
        raise BatchError(
            f"{chosen.name}: {totals['errors']} of {totals['rows']} rows are bad; the error budget "
            f"is {chosen.error_budget:.2%}",
            hint=f"see s3://{bucket}/{manifest['errors']}",
        )


@app.command()
@placed
def status(
    job: JobArgument = None,
    *,
    where: Where,
) -> None:
    """List the runs of a job, newest first.

    Example: fnmodel batch status nightly
    """
    from fnmodel.cli import objects

    work = where.open()
    chosen = _job(work.project.batch, job)
    bucket = work.stack.outputs["Bucket"]
    runs = sorted(
        objects.manifests(work.client("s3"), bucket, f"{chosen.output}{chosen.name}/"),
        key=lambda manifest: str(manifest["scheduled_time"]),
        reverse=True,
    )
    rows = [
        [m["scheduled_time"], m["run_id"], m["status"], m["totals"]["rows"], m["totals"]["errors"]]
        for m in runs
    ]
    text = table(["scheduled", "run", "status", "rows", "errors"], rows)
    work.console.data(runs, text)


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


def _invoke(work: "Workspace", job: "BatchJob", bucket: str, moment: str) -> dict[str, Any]:
    from fnmodel.cli import objects

    event = {
        "fnmodel": "batch",
        "job": job.name,
        "bucket": bucket,
        "input": job.input,
        "output": job.output,
        "error_budget": job.error_budget,
        "scheduled_time": moment,
        "schedule_arn": "manual",
        **({"model": job.model} if job.model else {}),
    }
    client = work.cloud.client("lambda", wait=work.function.timeout + 30)
    answer = objects.invoke(client, f"{work.name}:live", event)
    if isinstance(answer, dict) and "run_id" in answer:
        return answer
    # A job over its error budget fails after it has written its manifest.
    runs = objects.manifests(work.client("s3"), bucket, f"{job.output}{job.name}/")
    for manifest in runs:
        if manifest["scheduled_time"] == moment:
            return manifest
    said = answer.get("errorMessage", answer) if isinstance(answer, dict) else answer
    raise BatchError(f"{job.name}: {said}", hint="`fnmodel logs` shows what it said")


def _text(manifest: dict[str, Any], bucket: str) -> str:
    rows = [[i["key"], i["rows"], i["scored"], i["errors"], i["part"]] for i in manifest["inputs"]]
    text = table(["input", "rows", "scored", "errors", "part"], rows)
    shown = {
        "run": manifest["run_id"],
        "status": manifest["status"],
        "already done": manifest.get("already_done", False) or "",
        "bucket": f"s3://{bucket}",
    }
    return f"{text}\n\n{pairs(shown)}"
