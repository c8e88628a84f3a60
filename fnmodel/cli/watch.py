"""`fnmodel watch`: what the captured rows of a stage say about drift and performance."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.capture import span
from fnmodel.cli.console import pairs, table
from fnmodel.cli.options import Where, placed
from fnmodel.errors import DriftError, InputError, UsageError

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace
    from fnmodel.watch.labels import Label
    from fnmodel.watch.report import Report
    from fnmodel.watch.rows import Reading

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See whether what a stage is asked, and how well it answers, is still as in training.",
)

RowsOption = Annotated[
    Path | None,
    typer.Option(help="Captured rows in a file (`fnmodel capture export`); else the stage's."),
]


@app.command()
@placed
def report(
    *,
    rows: RowsOption = None,
    labels: Annotated[
        Path | None, typer.Option(help="Late labels in a file; else the stage's.")
    ] = None,
    since: Annotated[
        str, typer.Option(help="Report from here: a time (2026-11-27T08:00, UTC) or 2h, 1d ago.")
    ] = "1d",
    until: Annotated[
        str | None, typer.Option(help="The same; rows before it. Default: now, or the last row.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="How far back earlier rows are compared with.")
    ] = "28d",
    version: Annotated[
        str | None, typer.Option(help="Only rows that this version answered.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Feature whose groups are compared for fairness.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Rows of this one of several models; else of the first.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Model directory with reference.json; else the project's.")
    ] = None,
    to: Annotated[Path, typer.Option(help="Page to write; its JSON is put beside it.")] = Path(
        "drift.html"
    ),
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 4 if there is anything to look at.")
    ] = False,
    where: Where,
) -> None:
    """Compare captured rows with the training sample and with earlier rows; write a page.

    Example: fnmodel watch report --since 1d --open
    """
    import orjson

    from fnmodel.capture.line import time_of
    from fnmodel.watch import page
    from fnmodel.watch import report as reporting
    from fnmodel.watch.performance import Question

    work = where.open()
    name = work.project.model_name(model)
    begin, end, found = _rows(work, rows, since, until, baseline, version)
    if work.project.models:
        found = replace(found, rows=tuple(row for row in found.rows if row.model == name))
    with work.console.step("report") as step:
        reference, signature = _reference(work, name, folder)
        made = reporting.report(
            found,
            reference,
            signature,
            Question(
                time_of(begin),
                time_of(end),
                name,
                unkept=_unkept(work, signature, reference.features),
                group=_known(group, reference.features),
            ),
            _labels(work, labels, local=rows is not None),
        )
        if made is None:
            raise UsageError(
                f"no captured row is from {time_of(begin)} to {time_of(end)}",
                hint="name another --since, or see docs/capture.md: `no rows`",
            )
        to.write_text(page.render(made), "utf-8")
        data = made.to_json()
        options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
        to.with_suffix(".json").write_bytes(orjson.dumps(data, option=options))
        step.done(f"{made.rows:,} rows → {to}")
    work.console.data(data, _summary(made, to))
    if show:
        import webbrowser

        webbrowser.open(to.resolve().as_uri())
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
    from fnmodel.cli import labelled
    from fnmodel.watch.labels import read

    found = read(_bytes(file), str(file))
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
    work = where.open()
    _, _, found = _rows(work, rows, since, None, "0h", None)
    known = _labels(work, None, local=rows is not None)
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


def _rows(
    work: "Workspace",
    file: Path | None,
    since: str,
    until: str | None,
    baseline: str,
    version: str | None,
) -> tuple[datetime, datetime, "Reading"]:
    """Return the span of the report, and the rows of it and of the baseline before it."""
    from fnmodel.capture.line import lines_of, time_of
    from fnmodel.cli import captured
    from fnmodel.cli.follow import seconds
    from fnmodel.watch.rows import read

    now = datetime.now(UTC)
    back = timedelta(seconds=seconds(baseline))
    if file is not None:
        found = read(lines_of(_bytes(file)))
        if not found.rows:
            raise InputError(f"{file} holds no captured row", hint="see `fnmodel capture export`")
        # A file may be old: the spans before now mean before its last row.
        now = datetime.fromisoformat(found.rows[-1].time) + timedelta(milliseconds=1)
        begin, end = span(since, until, now)
    else:
        begin, end = span(since, until, now)
        bucket = work.stack.outputs["Bucket"]
        with work.console.step("rows") as step:
            lines = captured.rows_between(work.client("s3"), bucket, work.name, begin - back, end)
            found = read(lines)
            step.done(f"{len(found.rows):,} captured rows")
    first = time_of(begin - back)
    kept = tuple(
        row
        for row in found.rows
        if row.time >= first and (version is None or row.version == version)
    )
    return begin, end, replace(found, rows=kept)


def _reference(work: "Workspace", name: str, folder: Path | None) -> tuple[Any, Any]:
    """Return the reference and the signature of a model directory; by default of a model's own."""
    import json

    from fnmodel.model import SIGNATURE, Signature
    from fnmodel.profile import read_reference

    if folder is None:
        from fnmodel.cli import recipe

        folder = recipe.slim(work, gate=False)[name].model.folder
    try:
        signature = json.loads((folder / SIGNATURE).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} is no model directory: {error}", hint="--folder DIR") from error
    return read_reference(folder), Signature.from_json(signature)


def _unkept(work: "Workspace", signature: Any, names: Iterable[str]) -> frozenset[str]:
    """Return the features that captured rows cannot tell of."""
    policy = work.capture
    gone = {name for name, treatment in policy.fields.items() if treatment != "keep"}
    asked = {feature.name for feature in signature.asked}
    return frozenset(name for name in names if name in gone | {policy.subject} or name not in asked)


def _known(group: str | None, names: Iterable[str]) -> str | None:
    if group is not None and group not in names:
        raise UsageError(
            f"there is no feature {group}", hint=f"--group is one of {', '.join(names)}"
        )
    return group


def _labels(work: "Workspace", file: Path | None, *, local: bool) -> "dict[str, Label]":
    from fnmodel.cli import labelled
    from fnmodel.watch.labels import read

    if file is not None:
        return read(_bytes(file), str(file))
    return {} if local else labelled.get(work.client("s3"), work.stack.outputs["Bucket"])


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


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="name an existing file") from error
