"""The parity report as one HTML page: no script, no outside request, readable in the dark."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from fnmodel.slim.proof.report import Change, ParityReport
from fnmodel.units import milliseconds, size

FILE = "parity.html"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --soft: #8882 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
.verdict { display: inline-block; padding: .1rem .6rem; border-radius: .4rem; color: #fff }
.good { background: var(--good) } .bad { background: var(--bad) }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem }
.figures div { background: var(--soft); border-radius: .5rem; padding: .6rem .8rem }
.figures b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-variant-numeric: tabular-nums }
th { font-weight: 600 } code { font-size: .9em; overflow-wrap: anywhere }
p.note { color: light-dark(#666, #aaa) }
"""


def render(report: ParityReport) -> str:
    """Return the page."""
    verdict, kind = ("answers as the original", "good") if report.passed else ("differs", "bad")
    origin = (
        f"{report.framework} {report.version} → ONNX opset {report.opset}, {report.how}. "
        f"Compared on {report.rows_from}."
    )
    body = [
        f"<h1>{_text(report.source)} <span class='verdict {kind}'>{verdict}</span></h1>",
        f"<p class=note>{_text(origin)}</p>",
        _figures(report),
        _questions(report),
        _gains(report),
        _worst(report),
        _ladder(report.ladder),
        _metrics(report),
        _gates(report.gates),
        _list("Notes", report.notes),
        _conditions(report),
    ]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        "<meta name=viewport content='width=device-width'>"
        f"<title>Parity of {_text(report.source)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(part for part in body if part)
        + "</body></html>\n"
    )


def _figures(report: ParityReport) -> str:
    shown = [
        ("largest difference", f"{report.max_abs:.1e}"),
        ("mean difference", f"{report.mean_abs:.1e}"),
        ("label flips", str(report.label_flips)),
        ("ties", str(report.ties)),
    ]
    if report.edge_rows:
        shown.append(("flips in 1,000 edge rows", f"{report.edge_flips_per_1000:.3g}"))
    cells = "".join(f"<div>{_text(name)}<b>{_text(value)}</b></div>" for name, value in shown)
    return f"<div class=figures>{cells}</div>"


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
    return _section("What was asked", _table(("", "rows"), rows))


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
    return _section("What it gained", _table(("", "original", "ONNX", "gain"), rows))


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
    return _section(
        "Rows that differ most", _table(("row", "asked as", "output", "original", "ONNX"), rows)
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
    return _section("Smaller forms", _table(heads, rows)) if rows else ""


def _metrics(report: ParityReport) -> str:
    rows = [
        (one.name, f"{one.original:.6g}", f"{one.onnx:.6g}", f"{one.onnx - one.original:+.1e}")
        for one in report.metrics
    ]
    table = _table(("metric", "original", "ONNX", "change"), rows)
    return _section("On the sample's labels", table) if rows else ""


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        ("passed" if gate["passed"] else "FAILED", gate["name"], gate["reason"]) for gate in gates
    ]
    return _section("Gates", _table(("", "gate", "figures"), rows)) if rows else ""


def _conditions(report: ParityReport) -> str:
    budget = (
        f"|a - b| ≤ {report.tolerance.absolute:g} + {report.tolerance.relative:g} |a|, "
        f"{report.allowed_label_flips} label flips, "
        f"{report.allowed_edge_flips:g} edge flips in 1,000"
    )
    rows = [
        ("budget", budget),
        ("model", f"sha256:{report.sha256}"),
        ("isolation", ", ".join(report.isolation)),
        ("versions", ", ".join(f"{name} {v}" for name, v in report.versions.items())),
    ]  # fmt: skip
    return _section("Conditions", _table(("", ""), rows))


def _list(title: str, items: Iterable[str]) -> str:
    points = "".join(f"<li>{_text(item)}</li>" for item in items)
    return _section(title, f"<ul>{points}</ul>") if points else ""


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{inside}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    lines = "".join(
        "<tr>" + "".join(f"<td>{_text(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    top = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    return f"<table>{top}<tbody>{lines}</tbody></table>"


def _value(value: Any) -> str:
    """Return an answer as people read it, with the digits in which float32 differs."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    return escape(str(value))
