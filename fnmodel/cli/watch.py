"""`fnmodel watch`: what the captured rows of a stage say about drift and performance."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli import digests, trends
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
    placed,
)
from fnmodel.errors import DriftError, InputError, UsageError

if TYPE_CHECKING:
    from fnmodel.watch.report import Report

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See whether what a stage is asked, and how well it answers, is still as in training.",
)

app.command()(trends.trend)
app.command()(digests.digest)


@app.command()
@placed
def report(
    *,
    rows: RowsOption = None,
    labels: LabelsOption = None,
    since: Annotated[
        str, typer.Option(help="Report from here: a time (2026-11-27T08:00, UTC) or 2h, 1d ago.")
    ] = "1d",
    until: UntilOption = None,
    baseline: Annotated[
        str, typer.Option(help="How far back earlier rows are compared with.")
    ] = "28d",
    version: RowsVersionOption = None,
    group: GroupOption = None,
    model: RowsModelOption = None,
    folder: ReferenceOption = None,
    to: PageOption = Path("drift.html"),
    show: OpenOption = False,
    check: CheckOption = False,
    where: Where,
) -> None:
    """Compare captured rows with the training sample and with earlier rows; write a page.

    Example: fnmodel watch report --since 1d --open
    """
    from fnmodel.cli import watched, written
    from fnmodel.watch import page
    from fnmodel.watch import report as reporting

    work = where.open()
    name = work.project.model_name(model)
    begin, end, found = watched.rows(work, rows, since, until, baseline, version, name)
    with work.console.step("report") as step:
        reference, signature = watched.reference(work, name, folder)
        question = watched.question(work, name, (begin, end), signature, reference.features, group)
        made = reporting.report(
            found,
            reference,
            signature,
            question,
            watched.labels(work, labels, local=rows is not None),
        )
        if made is None:
            raise UsageError(
                f"no captured row is from {question.since} to {question.until}",
                hint="name another --since, or see docs/capture.md: `no rows`",
            )
        data = made.to_json()
        written.page(to, page.render(made), data)
        step.done(f"{made.rows:,} rows → {to}")
    work.console.data(data, _summary(made, to))
    if show:
        written.show(to)
    if check and made.alarms:
        raise DriftError(f"to look at: {'; '.join(made.alarms)}", hint=f"open {to}")


@app.command()
@placed
def labels(
    file: Annotated[Path, typer.Argument(help="CSV or lines of JSON with `id` and `label`.")],
    *,
    where: Where,
) -> None:
    """Give the stage true answers that came late, by prediction id (REQUEST/ROW).

    Example: fnmodel watch labels labels.csv
    """
    from fnmodel.cli import labelled, watched
    from fnmodel.watch.labels import read

    found = read(watched.content(file), str(file))
    if not found:
        raise InputError(f"{file} holds no label", hint="see docs/watch.md for its form")
    work = where.open()
    bucket = work.stack.outputs["Bucket"]
    with work.console.step("labels") as step:
        key = labelled.put(work.client("s3"), bucket, found, datetime.now(UTC))
        step.done(f"{len(found):,} → s3://{bucket}/{key}")
    data = {"labels": len(found), "key": f"s3://{bucket}/{key}"}
    work.console.data(data, pairs(data))


@app.command()
@placed
def status(
    *,
    rows: RowsOption = None,
    since: Annotated[str, typer.Option(help="Rows since a time, or 2h, 1d ago.")] = "1d",
    where: Where,
) -> None:
    """Show what is captured: rows by model, version and alias, the newest, how many have labels.

    Example: fnmodel watch status --since 2h
    """
    from fnmodel.cli import watched

    work = where.open()
    _, _, found = watched.rows(work, rows, since, None, "0h", None)
    known = watched.labels(work, None, local=rows is not None)
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for row in found.rows:
        group = groups.setdefault((row.model, row.version, row.alias), [0, 0.0, 0, row.time])
        group[0] += 1
        group[1] += 1 / row.rate
        group[2] += row.id in known
        group[3] = row.time
    data = [
        {
            "model": model, "version": version, "alias": alias, "rows": count,
            "represents": round(stands), "labelled": labelled, "newest": newest,
        }
        for (model, version, alias), (count, stands, labelled, newest) in groups.items()
    ]  # fmt: skip
    heads = ["model", "version", "alias", "rows", "represents", "labelled", "newest"]
    work.console.data(
        {"versions": data, "repeated": found.repeated, "unreadable": found.unreadable},
        table(heads, [[one[head] for head in heads] for one in data]),
    )


def _summary(made: "Report", to: Path) -> str:
    rows = [
        [one.name, str(one.verdict), one.excess, one.wasserstein, one.adjusted]
        for one in made.drift.columns
        if one.verdict not in ("steady", "unkept")
    ]
    heads = ["column", "verdict", "PSI", "moved", "p"]
    shown = table(heads, [["" if v is None else v for v in row] for row in rows]) + "\n\n"
    nothing = "nothing" if made.drift.judged else "too few rows to say"
    facts = {
        "rows": made.rows,
        "to look at": "; ".join(made.alarms) or nothing,
        "page": str(to),
    }
    return (shown if rows else "") + pairs(facts)
