"""Values in, HTML out: what is text stays text."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any


class Html(str):
    """Markup that a table takes as it is; any other value becomes text."""

    __slots__ = ()


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


def pill(words: str, kind: str = "") -> Html:
    """Return words on a ground of the kind's colour."""
    return Html(f"<span class='pill {kind}'>{text(words)}</span>")


def section(title: str, inside: str) -> str:
    """Return a section with its heading; nothing where it has nothing inside."""
    return f"<section><h2>{text(title)}</h2>{inside}</section>" if inside else ""


def note(words: str) -> str:
    """Return a paragraph that stands back; nothing for nothing."""
    return f"<p class=note>{text(words)}</p>" if words else ""


def absent(words: str) -> Html:
    """Return words on what is not there, told from what is."""
    return Html(f"<span class=absent>{text(words)}</span>")


def listed(items: Iterable[str]) -> str:
    """Return a list of texts; nothing where there are none."""
    points = "".join(f"<li>{text(item)}</li>" for item in items)
    return f"<ul>{points}</ul>" if points else ""


def figures(shown: Iterable[tuple[str, str]]) -> str:
    """Return figures with their names, as large as what is seen first."""
    cells = "".join(f"<div>{text(name)}<b>{text(value)}</b></div>" for name, value in shown)
    return f"<div class=figures>{cells}</div>"


def facts(pairs: Mapping[str, Any]) -> str:
    """Return names with their values, one a line."""
    rows = "".join(f"<tr><th scope=row>{text(k)}</th>{_cell(v)}</tr>" for k, v in pairs.items())
    return f"<table class=facts><tbody>{rows}</tbody></table>" if rows else ""


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    names: bool = False,
    caption: str = "",
) -> str:
    """Return a table of values; with `names` its lines can be searched by their first one."""
    lines = []
    for row in rows:
        mark = f" data-name='{escape(str(row[0]))}'" if names else ""
        cells = "".join(map(_cell, row[1:] if names else row))
        first = f"<th scope=row>{text(row[0])}</th>" if names else ""
        lines.append(f"<tr{mark}>{first}{cells}</tr>")
    head = "".join(f"<th scope=col>{text(name)}</th>" for name in heads)
    top = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    said = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f"<div class=wide><table>{said}{top}<tbody>{''.join(lines)}</tbody></table></div>"
        if lines
        else ""
    )


def folded(summary: str, inside: str, *, kind: str = "more", shown: bool = False) -> str:
    """Return markup that a click opens; nothing where there is nothing inside."""
    state = " open" if shown else ""
    return (
        f"<details class={kind}{state}><summary>{text(summary)}</summary>{inside}</details>"
        if inside
        else ""
    )


def text(value: Any) -> str:
    """Return a value as text that cannot become markup."""
    return escape(str(value))


def _cell(value: Any) -> str:
    return f"<td>{value if isinstance(value, Html) else text(value)}</td>"
