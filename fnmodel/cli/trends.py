"""`fnmodel watch trend`: what windows and captured rows say over weeks and months."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fnmodel.cli.console import pairs, table
from fnmodel.cli.options import (
    CheckOption,
    GroupOption,
    LabelsOption,
    OpenOption,
    PageOption,
    ReferenceOption,
    RowsModelOption,
    RowsOption,
    RowsVersionOption,
    UntilOption,
    Where,
    WindowsOption,
    placed,
)
from fnmodel.errors import DriftError, UsageError

if TYPE_CHECKING:
    from fnmodel.watch.trend import Trend


@placed
def trend(
    *,
    rows: RowsOption = None,
    windows: WindowsOption = None,
    labels: LabelsOption = None,
    since: Annotated[
        str, typer.Option(help="Follow from here: a time (2026-11-27T08:00, UTC) or 7d, 90d ago.")
    ] = "28d",
    until: UntilOption = None,
    baseline: Annotated[
        str, typer.Option(help="How far back before that the same hours are looked at.")
    ] = "28d",
    version: RowsVersionOption = None,
    group: GroupOption = None,
    model: RowsModelOption = None,
    folder: ReferenceOption = None,
    to: PageOption = Path("trend.html"),
    show: OpenOption = False,
    check: CheckOption = False,
    where: Where,
) -> None:
    """Follow each column, the performance and the volume over time; write a page.

    Example: fnmodel watch trend --since 90d --open
    """
    from fnmodel.cli import written
    from fnmodel.cli.gathered import Sources, gathered
    from fnmodel.watch import trend as following
    from fnmodel.watch import trend_page

    work = where.open()
    asked = Sources(rows, windows, labels, since, until, baseline, version, group, model, folder)
    with work.console.step("trend") as step:
        found = gathered(work, asked)
        made = following.trend(
            found.windows, found.reference, found.signature, found.question, found.evidence
        )
        if made is None:
            raise UsageError(
                f"nothing is from {found.question.since} to {found.question.until}",
                hint="name another --since, or see docs/capture.md: `no rows`",
            )
        data = made.to_json()
        written.page(to, trend_page.render(made), data)
        step.done(f"{len(made.steps)} step{'s' if len(made.steps) > 1 else ''} → {to}")
    work.console.data(data, _summary(made, to))
    if show:
        written.show(to)
    if check and made.alarms:
        raise DriftError(f"to look at: {'; '.join(made.alarms)}", hint=f"open {to}")


def _summary(made: "Trend", to: Path) -> str:
    times = [step.time for step in made.steps]
    rows = [
        [one.name, times[one.since], f"{one.reach[one.judged[-1]]:.2g} ({one.by[one.judged[-1]]})"]
        for one in made.drifted
        if one.since is not None
    ]
    judged = any(step.drift.judged for step in made.steps)
    facts = {
        "steps": f"{len(times)}, {times[0]} to {times[-1]}",
        "to look at": "; ".join(made.alarms) or ("nothing" if judged else "too few rows to say"),
        "page": str(to),
    }
    shown = table(["column", "drifted since", "in limits"], rows) + "\n\n" if rows else ""
    return shown + pairs(facts)
