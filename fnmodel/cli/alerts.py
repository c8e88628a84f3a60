"""`fnmodel watch look`, `alerts`, `decisions`, `approve`: the watch that a stage has of its own."""

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.capture import span
from fnmodel.cli.console import pairs, table
from fnmodel.cli.options import Where, placed
from fnmodel.errors import AwsError, UsageError

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace


@placed
def look(
    *,
    at: Annotated[
        str | None, typer.Option(help="As if it were this time (2026-11-27T09:15, UTC).")
    ] = None,
    where: Where,
) -> None:
    """Have the stage's watch look now: at all hours that are over and were not watched yet.

    Example: fnmodel watch look
    """
    from fnmodel.cli import objects

    work = where.open()
    now = _moment(at) if at else datetime.now(UTC)
    with work.console.step("watch") as step:
        answer = objects.invoke(
            work.client("lambda"), _function(work), {"time": now.isoformat(timespec="seconds")}
        )
        if "errorMessage" in answer:
            raise AwsError(
                f"the watch failed: {answer['errorMessage']}", hint="its log group ends in /watch"
            )
        hours = [
            {"model": model, **one} for model, found in answer["models"].items() for one in found
        ]
        step.done(f"{len(hours)} hours")
    work.console.data({"hours": hours}, _hours(hours))


@placed
def alerts(
    *,
    since: Annotated[str, typer.Option(help="From a time, or 2h, 1d ago.")] = "7d",
    model: Annotated[str | None, typer.Option(help="One of several models; else the first.")] = (
        None
    ),
    where: Where,
) -> None:
    """Show what the stage's watch found: the hours with something to say, and what is open.

    Example: fnmodel watch alerts --since 7d
    """
    from fnmodel.watch.bucket import S3Store
    from fnmodel.watch.records import listed

    work = where.open()
    name = work.project.model_name(model)
    begin, _ = span(since, None, datetime.now(UTC))
    store = S3Store(work.client("s3"), work.stack.outputs["Bucket"])
    found = list(listed(store, name, begin.isoformat()[:13]))
    hours = [
        {
            "model": name, "hour": one.hour, "rows": one.rows, "judged": bool(one.pooled),
            "alarms": [alarm.text for alarm in one.alarms], "change": one.change,
        }
        for one in found
        if one.alarms or one.change
    ]  # fmt: skip
    open_since = found[-1].incident.since if found and found[-1].incident else None
    facts = {"hours watched": len(found), "open since": open_since or "nothing is open"}
    work.console.data(
        {"watched": len(found), "open_since": open_since, "hours": hours},
        (_hours(hours) + "\n\n" if hours else "") + pairs(facts),
    )


@placed
def decisions(*, where: Where) -> None:
    """Show what was decided about retraining, and why, newest first.

    Example: fnmodel watch decisions
    """
    from dataclasses import asdict

    from fnmodel.watch.book import Book

    work = where.open()
    found = Book(work.client("dynamodb"), work.stack.outputs["LedgerTable"]).entries()
    rows = [[one.id, one.status, one.why, one.time] for one in found]
    work.console.data(
        {"decisions": [asdict(one) for one in found]}, table(["id", "status", "why", "time"], rows)
    )


@placed
def approve(
    identity: Annotated[str, typer.Argument(metavar="ID", help="As `watch decisions` shows it.")],
    *,
    where: Where,
) -> None:
    """Let a retraining start that waits for a person (`retrain.approve`).

    Example: fnmodel watch approve churn@2026-11-27T08
    """
    from fnmodel.watch.book import Book
    from fnmodel.watch.bucket import S3Store
    from fnmodel.watch.channels import Outbox, eventbridge
    from fnmodel.watch.run import request

    work = where.open()
    _function(work)
    book = Book(work.client("dynamodb"), work.stack.outputs["LedgerTable"])
    store = S3Store(work.client("s3"), work.stack.outputs["Bucket"])
    entry = book.approve(identity, getpass.getuser())
    request(entry, work.name, Outbox(store, {"eventbridge": eventbridge(work.client("events"))}))
    data = {"id": entry.id, "status": entry.status, "why": entry.why}
    work.console.data(data, pairs(data))


def _function(work: "Workspace") -> str:
    found = work.stack.outputs.get("WatchFunction")
    if found is None:
        raise UsageError(
            f"stage {work.stage} has no watch",
            hint="set `capture.rate` in fnmodel.yaml, leave `watch: off` out, and deploy",
        )
    return found


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time", hint="write it as 2026-11-27T09:15 (UTC)"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _hours(hours: list[dict[str, Any]]) -> str:
    rows = [
        [
            one["model"], one["hour"], one["rows"], "yes" if one["judged"] else "few rows",
            one["change"] or "", "; ".join(one["alarms"]),
        ]
        for one in hours
    ]  # fmt: skip
    return table(["model", "hour", "rows", "judged", "alert", "alarms"], rows)
