"""A run's manifest in, one page of HTML for a person out; it loads nothing and runs nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

_MOST = 500
_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left }}
.number {{ text-align: right; font-variant-numeric: tabular-nums }}
</style>
<title>{title}</title>
<h1>{title}</h1>
"""


def page(manifest: Mapping[str, Any]) -> bytes:
    """Return the report of a run; the same manifest gives the same bytes."""
    counts = manifest["totals"]
    seconds = (
        datetime.fromisoformat(manifest["finished"]) - datetime.fromisoformat(manifest["started"])
    ).total_seconds()
    facts = {
        "Status": manifest["status"],
        "Scheduled for": manifest["scheduled_time"],
        "Took": f"{seconds:,.1f} s"
        + (f", {counts['rows'] / seconds:,.0f} rows/s" if seconds else ""),
        "Rows": f"{counts['rows']:,}: {counts['scored']:,} scored, {counts['errors']:,} bad",
        "Error budget": f"{manifest['error_budget']:.2%}",
        "Model": "{name} {version}, {digest}".format(**manifest["model"]),
        "Run": manifest["run_id"],
    }
    inputs = manifest["inputs"]
    title = escape(f"Job {manifest['job']}: {manifest['status']}")
    parts = [
        _HEAD.format(title=title),
        _table((), [[name, value] for name, value in facts.items()]),
        "<h2>Inputs</h2>\n",
        _table(
            ("object", "rows", "scored", "bad", "problem"),
            [
                [one["key"], one["rows"], one["scored"], one["errors"], one.get("problem", "")]
                for one in inputs[:_MOST]
            ],
        ),
    ]
    if len(inputs) > _MOST:
        parts.append(f"<p>and {len(inputs) - _MOST:,} more, in manifest.json\n")
    if manifest["errors"]:
        parts.append("<h2>Files of bad rows</h2>\n")
        parts.append(_table((), [[key] for key in manifest["errors"][:_MOST]]))
    return "".join(parts).encode("utf-8", "backslashreplace")


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(name)}" for name in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "\n" for row in rows)
    return f"<table>\n{f'<tr>{head}' if head else ''}\n{body}</table>\n"


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}'
    return f"<td>{escape(str(value))}"
