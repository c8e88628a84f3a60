"""`fnmodel capture`: the rows and predictions that a stage has kept."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from fnmodel.cli.console import pairs
from fnmodel.cli.options import Where, YesOption, placed
from fnmodel.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Take out what a stage has captured of its requests, or erase what is about somebody.",
)


@app.command()
@placed
def export(
    *,
    to: Annotated[Path, typer.Option(help="File to write, one line of JSON a row.")],
    since: Annotated[str, typer.Option(help="A time (2026-11-27T08:00, UTC) or 30m, 2h, 7d ago.")],
    until: Annotated[
        str | None, typer.Option(help="The same; rows before it. Default: now.")
    ] = None,
    where: Where,
) -> None:
    """Write the captured rows of a span of time to a file.

    Example: fnmodel capture export --since 7d --to rows.jsonl
    """
    from fnmodel.cli import captured

    now = datetime.now(UTC)
    begin, end = span(since, until, now)
    if not to.parent.is_dir():
        raise UsageError(f"there is no folder {to.parent}", hint="make it first")
    work = where.open()
    bucket = work.stack.outputs["Bucket"]
    rows = 0
    temporary = to.with_name(f".{to.name}.new")
    with work.console.step("export") as step:
        try:
            with temporary.open("wb") as file:
                for line in captured.rows_between(work.client("s3"), bucket, work.name, begin, end):
                    file.write(line)
                    rows += 1
            temporary.replace(to)
        finally:
            temporary.unlink(missing_ok=True)
        step.done(f"{rows:,} rows → {to}")
    data = {"rows": rows, "file": str(to), "since": begin.isoformat(), "until": end.isoformat()}
    work.console.data(data, pairs({**data, "rows": str(rows)}))


@app.command()
@placed
def erase(
    subject: Annotated[
        str, typer.Argument(help="Value of the field that `capture.subject` names.")
    ],
    *,
    logs: Annotated[
        bool,
        typer.Option("--logs", help="Also delete the log streams that hold rows of the subject."),
    ] = False,
    yes: YesOption = False,
    where: Where,
) -> None:
    """Erase the captured rows that are about somebody, in all versions, and keep a proof.

    The proof, in the bucket and on stdout, names the subject by its keyed hash only. Rows that are
    on their way (up to five minutes) are found by the same command later.

    Example: fnmodel capture erase 10442 --yes
    """
    from dataclasses import asdict

    from fnmodel.capture.redact import hashed
    from fnmodel.cli import captured

    work = where.open()
    stack, key = work.stack, work.capture_key
    if not key:
        raise UsageError(
            f"stage {work.stage} captures nothing, so there is no key to find the subject by",
            hint="set `capture:` in fnmodel.yaml, or delete `capture/` from the bucket as a whole",
        )
    if not work.console.ask(f"Erase the captured rows of {subject} in {work.stage}?", yes=yes):
        raise UsageError("nothing was erased", hint="--yes erases without asking")
    bucket, group = stack.outputs["Bucket"], stack.outputs["LogGroup"]
    identity = hashed(bytes.fromhex(key), subject)
    with work.console.step("erase") as step:
        done = captured.erase(work.client("s3"), bucket, identity, step.progress)
        found = captured.logged(work.client("logs"), group, identity)
        if logs:
            captured.delete_streams(work.client("logs"), group, found.streams)
        step.done(f"{done.rows:,} rows in {len(done.objects):,} objects")
    proof: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(done),
        "log": {"group": group, **asdict(found), "deleted": logs},
    }
    kept = captured.put_proof(work.client("s3"), bucket, proof)
    shown = {
        "rows": f"{done.rows:,}",
        "versions deleted": f"{done.versions_deleted:,}",
        "proof": f"s3://{bucket}/{kept}",
        "log": ""
        if logs or not found.lines
        else f"{found.lines} lines are left; --logs deletes them",
    }
    work.console.data({**proof, "proof": kept}, pairs(shown))


def span(since: str, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    """Return the two ends of `--since` and `--until`; without the latter it ends now.

    Raises:
        UsageError: one is no time, or the first is not before the second.

    """
    begin, end = moment(since, now), moment(until, now) if until else now
    if begin >= end:
        raise UsageError(f"--since {since} is not before --until", hint="exchange the two")
    return begin, end


def moment(text: str, now: datetime) -> datetime:
    """Return a time in UTC, given as such or as a span before now.

    Raises:
        UsageError: it is neither.

    """
    from fnmodel.cli.follow import seconds

    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        return now - timedelta(seconds=seconds(text))
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
