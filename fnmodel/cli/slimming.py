"""What `fnmodel slim` says of a model."""

from typing import Any

from fnmodel.cli.console import pairs, table
from fnmodel.slim.slim import Slimmed
from fnmodel.units import milliseconds, size


def to_text(slimmed: Slimmed) -> str:
    """Return what a person reads: sizes and times before and after, and how answers compare."""
    report = slimmed.report
    text = table(
        ["", "original", "ONNX"],
        [
            ["file", size(report.size.before), size(report.size.after)],
            *([["weights, mapped", "", size(report.weights)]] if report.weights else []),
            ["load", milliseconds(report.load.before), milliseconds(report.load.after)],
            ["1 row", milliseconds(report.one_row.before), milliseconds(report.one_row.after)],
            [
                "1,000 rows",
                milliseconds(report.thousand_rows.before),
                milliseconds(report.thousand_rows.after),
            ],
        ],
    )
    return f"{text}\n\n" + pairs(
        {
            "parity": "passed" if report.passed else "FAILED",
            "converted": report.how,
            "rows": f"{report.rows:,} ({report.missing_rows} with missing, "
            f"{report.unseen_rows} with unknown values)",
            "difference": f"{report.max_abs:.2e} at most, {report.mean_abs:.2e} on average "
            f"(relative {report.max_rel:.2e})",
            "label flips": f"{report.label_flips} (ties: {report.ties})",
            "edge flips": f"{report.edge_flips} in {report.edge_rows:,} edge rows"
            if report.edge_rows
            else None,
            **{one.name: f"{one.onnx:.4g} (original {one.original:.4g})" for one in report.metrics},
            "gates": "; ".join(gate["reason"] for gate in report.gates) or None,
            "isolation": ", ".join(report.isolation),
            "notes": "; ".join(report.notes) or None,
            "model": slimmed.model.folder,
            "report": report.page,
        }
    )


def to_json(slimmed: Slimmed) -> dict[str, Any]:
    """Return plain data for `--output json`."""
    return {
        "model": str(slimmed.model.folder),
        "digest": slimmed.model.digest,
        "cached": slimmed.cached,
        "report": slimmed.report.to_json(),
    }
