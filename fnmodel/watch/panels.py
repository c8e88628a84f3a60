"""The part of the page on how good predictions are."""

from typing import Any

from fnmodel.pages import charts
from fnmodel.pages.markup import figure, listed, moment, table, text
from fnmodel.watch.estimate import Estimate
from fnmodel.watch.report import Report


def performance(report: Report) -> str:
    """Return the section on estimated and realised figures; nothing without either."""
    found = report.performance
    if found.estimated is None and found.interval is None:
        return ""
    estimates = found.estimated.figures if found.estimated else {}
    names = list(dict.fromkeys([*estimates, *found.realised]))
    rows = [(name, figure(estimates.get(name)), figure(found.realised.get(name)))
            for name in names]  # fmt: skip
    chart = charts.lines(
        [one.time for one in report.slices],
        [one.estimated for one in report.slices],
        [one.realised for one in report.slices],
        f"{found.main} over time: estimated as a line, realised as points",
    )
    parts = [
        f"<div class=wide>{chart}</div>" if len(report.slices) > 1 else "",
        table(("", "estimated", f"realised, {found.labelled:,} labels"), rows),
        f"<p class=note>{text(_basis(found.estimated))}</p>",
        _segments(report),
        listed(
            f"{one.detector} saw errors change at {moment(one.time)} (labelled row {one.row:,})"
            for one in found.changes
        ),
        _groups(report),
    ]
    return "".join(part for part in parts if part)


def _basis(estimated: Estimate | None) -> str:
    if estimated is None:
        return "An estimate needs class probabilities, or labels of earlier rows."
    basis = (
        f"calibrated by {estimated.learned:,} earlier labels"
        if estimated.learned
        else "taking the model's probabilities at their word, since no earlier row has a label"
    )
    return (
        f"Estimated from {estimated.rows:,} rows without labels, {basis}; chance alone moves it "
        f"by ± {2 * estimated.spread:.2g}. It sees what changed inputs do, and not that the world "
        "answers differently: only labels show that."
    )


def _segments(report: Report) -> str:
    rows = [
        (
            one.feature,
            "missing" if one.cell < 0 else report.cells[f"feature:{one.feature}"].names[one.cell],
            f"{one.rows:,}",
            f"{one.loss:.3g}",
            f"{one.others:.3g}",
        )
        for one in report.performance.segments
    ]
    heads = ("Where it errs more", "", "rows", "loss there", "elsewhere")
    return table(heads, rows) if rows else ""


def _groups(report: Report) -> str:
    def between(one: Any) -> str:
        return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})" if one else ""

    rows = [
        (
            one.name,
            f"{one.rows:,}",
            between(one.selected),
            between(one.earlier),
            between(one.found),
        )
        for one in report.performance.groups
    ]
    heads = (f"By {report.question.group}", "rows", "positive answers", "before", "true ones found")
    return table(heads, rows) if rows else ""
