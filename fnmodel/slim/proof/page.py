"""The parity report as one HTML page, in the frame that all pages have."""

from collections.abc import Mapping, Sequence
from typing import Any

from fnmodel.pages import frame
from fnmodel.pages.markup import facts, figures, listed, note, pill, section, table, text
from fnmodel.slim.proof.report import Change, ParityReport
from fnmodel.units import milliseconds, size

FILE = "parity.html"


def render(report: ParityReport) -> str:
    """Return the page."""
    verdict, kind = ("answers as the original", "good") if report.passed else ("differs", "bad")
    origin = (
        f"{report.framework} {report.version} → ONNX opset {report.opset}, {report.how}. "
        f"Compared on {report.rows_from}."
    )
    body = [
        _figures(report),
        _questions(report),
        _gains(report),
        _worst(report),
        _ladder(report.ladder),
        _metrics(report),
        _gates(report.gates),
        section("Notes", listed(report.notes)),
        _conditions(report),
    ]
    header = f"<h1>{text(report.source)} {pill(verdict, kind)}</h1>{note(origin)}"
    return frame.page(f"Parity of {report.source}", header, body)


def _figures(report: ParityReport) -> str:
    shown = [
        ("largest difference", f"{report.max_abs:.1e}"),
        ("mean difference", f"{report.mean_abs:.1e}"),
        ("label flips", str(report.label_flips)),
        ("ties", str(report.ties)),
    ]
    if report.edge_rows:
        shown.append(("flips in 1,000 edge rows", f"{report.edge_flips_per_1000:.3g}"))
    return figures(shown)


def _questions(report: ParityReport) -> str:
    own = report.rows - report.missing_rows - report.unseen_rows
    rows = [
        ("rows of the sample", f"{own:,}"),
        ("with values missing", f"{report.missing_rows:,}"),
        ("with values that the model never saw", f"{report.unseen_rows:,}"),
        ("at edges: next to splits of trees, or with other numbers", f"{report.edge_rows:,}"),
        *(
            (f"in batches of {size}", "the same answers" if same else "OTHER ANSWERS")
            for size, same in report.batches.items()
        ),
        *((f"an unknown {name}", "ANSWERED, the original refuses") for name in report.answered),
    ]
    return section("What was asked", table(("", "rows"), rows))


def _gains(report: ParityReport) -> str:
    def times(change: Change) -> str:
        return f"{change.before / change.after:,.1f} times" if change.after else ""

    rows = [
        ("file", size(report.size.before), size(report.size.after), times(report.size)),
        *([("weights, mapped", "", size(report.weights), "")] if report.weights else []),
        *(
            (name, milliseconds(change.before), milliseconds(change.after), times(change))
            for name, change in (
                ("load", report.load),
                ("1 row", report.one_row),
                ("1,000 rows", report.thousand_rows),
            )
        ),
    ]
    return section("What it gained", table(("", "original", "ONNX", "gain"), rows))


def _worst(report: ParityReport) -> str:
    if not report.worst:
        return ""
    rows = [
        (
            row.row,
            f"{row.origin}{': ' if row.changed else ''}{', '.join(row.changed)}",
            row.output,
            _value(row.original),
            _value(row.onnx),
        )
        for row in report.worst
    ]
    return section(
        "Rows that differ most", table(("row", "asked as", "output", "original", "ONNX"), rows)
    )


def _ladder(ladder: Mapping[str, Any]) -> str:
    rows = [
        (
            row["name"],
            size(row["bytes"]) if row["bytes"] is not None else "",
            milliseconds(row["load_ms"]),
            milliseconds(row["one_row_ms"]),
            milliseconds(row["thousand_rows_ms"]),
            f"{row['max_abs']:.1e}" if row["max_abs"] is not None else "",
            f"{row['verdict']}{': ' if row['reason'] else ''}{row['reason']}",
        )
        for row in ladder.get("rows", ())
    ]
    heads = ("form", "size", "load", "1 row", "1,000 rows", "difference", "verdict")
    return section("Smaller forms", table(heads, rows))


def _metrics(report: ParityReport) -> str:
    rows = [
        (one.name, f"{one.original:.6g}", f"{one.onnx:.6g}", f"{one.onnx - one.original:+.1e}")
        for one in report.metrics
    ]
    heads = ("metric", "original", "ONNX", "change")
    return section("On the sample's labels", table(heads, rows))


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        ("passed" if gate["passed"] else "FAILED", gate["name"], gate["reason"]) for gate in gates
    ]
    return section("Gates", table(("", "gate", "figures"), rows))


def _conditions(report: ParityReport) -> str:
    budget = (
        f"|a - b| ≤ {report.tolerance.absolute:g} + {report.tolerance.relative:g} |a|, "
        f"{report.allowed_label_flips} label flips, "
        f"{report.allowed_edge_flips:g} edge flips in 1,000"
    )
    rows = {
        "budget": budget,
        "model": f"sha256:{report.sha256}",
        "isolation": ", ".join(report.isolation),
        "versions": ", ".join(f"{name} {v}" for name, v in report.versions.items()),
    }
    return section("Conditions", facts(rows))


def _value(value: Any) -> str:
    """Return an answer as people read it, with the digits in which float32 differs."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return f"{value:.8g}" if isinstance(value, float) else str(value)
