"""The report as one HTML page, in the frame that all pages have."""

from fnmodel.pages import charts, frame
from fnmodel.pages.markup import (
    chance,
    figure,
    figures,
    folded,
    listed,
    moment,
    pill,
    section,
    table,
    text,
)
from fnmodel.watch import advice
from fnmodel.watch.drift import ColumnDrift, Verdict
from fnmodel.watch.panels import performance
from fnmodel.watch.report import Cells, Report

_ORDER = [
    Verdict.DRIFT, Verdict.USUAL, Verdict.SMALL, Verdict.STEADY, Verdict.FEW, Verdict.UNKEPT
]  # fmt: skip
_STRIP = 20


def render(report: Report) -> str:
    """Return the page."""
    kind, verdict = _verdict(report)
    question = report.question
    title = f"Drift of {question.name}" if question.name else "Drift"
    columns = _ordered(report)
    body = [
        _figures(report),
        section("What to look at", _alarms(report)),
        section("Over time", _strip(report)),
        section("How good predictions are", performance(report)),
        section(
            "Columns",
            frame.search("a column", len(columns))
            + "".join(_column(report, column) for column in columns),
        ),
        section("All columns together", _together(report)),
        section("The data as data", listed(one.text for one in report.findings)),
        section("How to read this", _rules(report)),
    ]
    header = f"<h1>{text(title)} {pill(verdict, kind)}</h1>{_origin(report)}"
    return frame.page(title, header, body, searched=len(columns) > frame.MUCH)


def _verdict(report: Report) -> tuple[str, str]:
    """Return the class of the page's pill, and its words."""
    count = len(report.alarms)
    if count:
        return "bad", f"{count} thing{'s' if count > 1 else ''} to look at"
    return ("good", "quiet") if report.drift.judged else ("", "too few rows")


def _origin(report: Report) -> str:
    question = report.question
    versions = ", ".join(f"{name} ({rows:,} rows)" for name, rows in report.versions.items())
    against = f"the training sample ({report.reference_rows:,} rows)"
    if report.seasonal:
        against += " and with the same hours before"
    return (
        f"<p class=note>{text(moment(question.since))} to {text(moment(question.until))} UTC, "
        "compared with "
        f"{against}. Version {text(versions)}.</p>"
    )


def _figures(report: Report) -> str:
    found = report.performance
    shown = [
        ("captured rows", f"{report.rows:,}"),
        ("they stand for", f"{report.represents:,.0f}"),
        ("columns that drifted", f"{len(report.drift.drifted)} of {len(report.drift.columns)}"),
    ]
    usual = sum(one.verdict is Verdict.USUAL for one in report.drift.columns)
    if usual:
        shown.append(("not as in training, but as before", str(usual)))
    if found.estimated:
        value = found.estimated.figures[found.main]
        shown.append((f"{found.main}, estimated", f"{value:.3g}"))
    if found.interval:
        shown.append((f"{found.main}, realised", f"{found.interval.value:.3g}"))
    return figures(shown)


def _alarms(report: Report) -> str:
    if not report.alarms and not report.drift.judged:
        least = report.drift.rules.minimum
        return (
            f"<p>Nobody can say: no column has the {least:,} rows that a comparison needs. Take a "
            "longer time, or capture a larger share.</p>"
        )
    if not report.alarms:
        return "<p>Nothing differs beyond chance by as much as matters.</p>"
    items = []
    for column in report.drift.drifted:
        cells = report.cells[f"{column.role}:{column.name}"]
        items.append(
            f"<li><a href='#{_anchor(report, column)}'>{text(column.name)}</a>: "
            f"{text('; '.join(_changes(column, cells)[:2]))}. "
            f"<span class=note>{text(advice.todo(column))}</span></li>"
        )
    others = report.alarms[len(report.drift.drifted) :]
    items += [f"<li>{text(line)}</li>" for line in others]
    return f"<ul>{''.join(items)}</ul>"


def _changes(column: ColumnDrift, cells: Cells) -> list[str]:
    missed, misses = column.missing
    lines = []
    if abs(misses - missed) >= 0.005:
        lines.append(f"missing: {missed:.1%} → {misses:.1%}")
    before, now = cells.means
    if before is not None and now is not None:
        lines.append(f"mean: {before:.4g} → {now:.4g}")
    return [*lines, *advice.moves(cells)]


def _strip(report: Report) -> str:
    if len(report.slices) < 2:
        return ""
    most: dict[str, float] = {}
    for one in report.slices:
        for key, effect in one.effects.items():
            most[key] = max(most.get(key, 0.0), effect)
    first = sorted(most, key=lambda key: -most[key])[:_STRIP]
    if not first:
        return ""
    rows = [
        (key.partition(":")[2], [one.effects.get(key) for one in report.slices]) for key in first
    ]
    bounds = ", ".join(f"{bound:g}" for bound in charts.LEVELS)
    words = f"Shades: PSI without its noise, under {bounds}, and above."
    left = len(most) - len(first)
    if left > 0:
        words += f" {left} columns that moved less are left out."
    chart = charts.strip(rows, [one.time for one in report.slices])
    return f"<div class=wide>{chart}</div><p class=note>{words}</p>"


def _ordered(report: Report) -> list[ColumnDrift]:
    return sorted(
        report.drift.columns,
        key=lambda one: (_ORDER.index(one.verdict), -(one.excess or 0.0)),
    )


def _column(report: Report, column: ColumnDrift) -> str:
    cells = report.cells[f"{column.role}:{column.name}"]
    name = f" data-name='{text(column.name)}'"
    state = " open" if column.verdict is Verdict.DRIFT else ""
    role = "" if column.role == "feature" else " <span class=note>prediction</span>"
    head = (
        f"<summary><b>{text(column.name)}</b>{role} "
        f"{pill(advice.WORDS[column.verdict], column.verdict)}{_brief(column)}</summary>"
    )
    if column.psi is None:
        return f"<details{name}>{head}<p class=note>{column.rows:,.0f} rows.</p></details>"
    chart = charts.shares(
        cells.before, cells.now, f"{column.name}: shares by bin, reference as a line, now as bars"
    )
    todo = advice.todo(column)
    axis = f"<p class='axis note'><span>{text(cells.names[0])}</span>"
    axis += f"<span>{text(cells.names[-1])}</span></p>"
    return (
        f"<details id={_anchor(report, column)}{name}{state}>{head}"
        f"<div class=two><div>{chart}{axis}{listed(_changes(column, cells))}</div>"
        f"<div>{_numbers(report, column)}</div></div>"
        + (f"<p>{text(todo)}</p>" if todo else "")
        + _shares_table(cells)
        + "</details>"
    )


def _brief(column: ColumnDrift) -> str:
    if column.excess is None or column.adjusted is None:
        return ""
    return f"<span class=brief>PSI {column.excess:.3f}, p {chance(column.adjusted)}</span>"


def _numbers(report: Report, column: ColumnDrift) -> str:
    rules = report.drift.rules
    tests = ", ".join(f"{name} {chance(p)}" for name, p in column.tests.items())
    rows = [
        ("p, over all columns", chance(column.adjusted), f"≤ {rules.alpha:g}"),
        ("PSI without its noise", figure(column.excess), f"≥ {rules.psi:g}"),
        ("distance moved, in deviations", figure(column.wasserstein), f"≥ {rules.distance:g}"),
        ("missing", f"{column.missing[0]:.1%} → {column.missing[1]:.1%}", f"± {rules.share:.0%}"),
        ("new or out of range", f"{column.unknown[0]:.1%} → {column.unknown[1]:.1%}",
         f"+ {rules.share:.0%}"),
        ("PSI", figure(column.psi), f"noise: {figure(column.noise)}"),
        ("Jensen-Shannon", figure(column.jensen_shannon), ""),
        ("Kolmogorov-Smirnov", figure(column.kolmogorov_smirnov), ""),
        ("tests", tests, ""),
    ]  # fmt: skip
    return table(("", "now", "counts if"), [row for row in rows if row[1]])


def _shares_table(cells: Cells) -> str:
    rows = [
        (name, f"{was:.1%}", f"{is_now:.1%}")
        for name, was, is_now in zip(cells.names, cells.before, cells.now, strict=True)
        if was or is_now
    ]
    return folded("Data", table(("bin", "reference", "now"), rows), kind="data")


def _together(report: Report) -> str:
    found = report.separation
    if found is None:
        return ""
    terms = ", ".join(f"{name} ({share:.0%})" for name, share in found.terms)
    said = (
        f"A classifier that sees all features tells rows of now ({found.rows[1]:,}) from earlier "
        f"ones ({found.rows[0]:,}) with an AUC of {found.auc:.3f} (0.5 is not at all; "
        f"p {chance(found.p)})."
    )
    return f"<p>{text(said)}{text(f' It goes by {terms}.') if terms else ''}</p>"


def _rules(report: Report) -> str:
    rules = report.drift.rules
    kept = (
        f"in at most {rules.alpha:.1%} of windows without drift any column is called drifted"
        if rules.correction == "holm"
        else f"at most {rules.alpha:.1%} of the columns called drifted are not"
    )
    return listed(
        (
            (
                f"A column drifted if that is no chance and if it matters: {kept}, and one of the "
                "measures is over its threshold."
            ),
            f"Fewer than {rules.minimum:,} rows get no verdict.",
            "Outline: the training sample; bars: now. Bins have about equal shares in training.",
            (
                "Rows of one request are taken as independent; a caller that sends the same row a "
                "thousand times looks like drift."
            ),
        )
    )


def _anchor(report: Report, column: ColumnDrift) -> str:
    return f"c{report.drift.columns.index(column)}"
