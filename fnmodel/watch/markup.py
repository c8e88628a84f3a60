"""Values in, HTML out: what is text stays text."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def chance(p: float | None) -> str:
    """Return a probability as people read it; nothing for None."""
    if p is None:
        return ""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def figure(value: float | None) -> str:
    """Return three digits of a figure; nothing for None."""
    return "" if value is None else f"{value:.3g}"


def moment(time: str) -> str:
    """Return a time of ISO 8601 to the minute, as people read it."""
    return time[:16].replace("T", " ")


def section(title: str, inside: str) -> str:
    """Return a section with its heading; nothing where it has nothing inside."""
    return f"<section><h2>{text(title)}</h2>{inside}</section>" if inside else ""


def listed(items: Iterable[str]) -> str:
    """Return a list of texts; nothing where there are none."""
    points = "".join(f"<li>{text(item)}</li>" for item in items)
    return f"<ul>{points}</ul>" if points else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of texts."""
    head = "".join(f"<th>{text(name)}</th>" for name in heads)
    lines = "".join(
        "<tr>" + "".join(f"<td>{text(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def text(value: Any) -> str:
    """Return a value as text that cannot become markup."""
    return escape(str(value))
