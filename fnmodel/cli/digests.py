"""`fnmodel watch digest`: what a week was like, against the week before."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.options import (
    LabelsOption,
    OpenOption,
    ReferenceOption,
    RowsModelOption,
    RowsOption,
    Where,
    WindowsOption,
    placed,
)

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace


@placed
def digest(
    *,
    rows: RowsOption = None,
    windows: WindowsOption = None,
    labels: LabelsOption = None,
    until: Annotated[
        str | None, typer.Option(help="End of the week. Default: now, or the last row.")
    ] = None,
    model: RowsModelOption = None,
    folder: ReferenceOption = None,
    to: Annotated[
        Path | None, typer.Option(help="Also write a page; its JSON is put beside it.")
    ] = None,
    show: OpenOption = False,
    where: Where,
) -> None:
    """Say what changed in a week: drift, alarms, volume, errors, latency, cost.

    Rows or windows of files need no cloud; then requests and alarms are left out.

    Example: fnmodel watch digest --to week.html --open
    """
    from fnmodel.cli import written
    from fnmodel.cli.gathered import Sources, gathered
    from fnmodel.watch import digest as weekly
    from fnmodel.watch import letter

    work = where.open()
    with work.console.step("digest") as step:
        asked = Sources(rows, windows, labels, "7d", until, "35d", model=model, folder=folder)
        found = gathered(work, asked)
        told = _told(work, found.question.until) if rows is None and windows is None else {}
        made = weekly.digest(
            found.windows,
            found.reference,
            found.signature,
            found.question,
            evidence=found.evidence,
            **told,
        )
        if show and to is None:
            to = Path("digest.html")
        if to is not None:
            written.page(to, letter.page(made), made.to_json())
        step.done(letter.verdict(made) + (f" → {to}" if to else ""))
    work.console.data(made.to_json(), letter.plain(made))
    if show and to is not None:
        written.show(to)


def _told(work: "Workspace", until: str) -> dict[str, Any]:
    """Return what CloudWatch says of both weeks."""
    from fnmodel.cli import operations as asked
    from fnmodel.provision.alarms import ALARM
    from fnmodel.watch.digest import WEEK

    end = datetime.fromisoformat(until).replace(tzinfo=UTC)
    client = work.client("cloudwatch")
    versions = work.publisher.numbers()
    weeks = tuple(
        asked.operations(
            client,
            work.name,
            versions,
            end - (back + 1) * WEEK,
            end - back * WEEK,
            memory=work.function.memory,
            architecture=work.recipe.architecture,
        )
        for back in (0, 1)
    )
    alarms = work.stacks.physical_ids(work.name, ALARM)
    return {
        "operations": weeks,
        "alerts": asked.alerts(client, alarms, end - 2 * WEEK, end),
    }
