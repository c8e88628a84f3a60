"""A digest in, what is sent out: a subject, a text for e-mail and SNS, a page."""

import textwrap
from collections.abc import Sequence

from fnmodel.pages import frame
from fnmodel.pages.markup import figure, listed, moment, note, pill, section, table, text
from fnmodel.watch.digest import Alert, Digest, Week
from fnmodel.watch.realised import Interval

_WIDTH = 76
_SUBJECT = 99
"""Characters of a subject: SNS takes fewer than 100, of ASCII alone, in one line."""


def subject(digest: Digest) -> str:
    """Return the subject, fit for SNS."""
    name = digest.question.name or "model"
    line = f"{name}: {verdict(digest)}"
    return line.encode("ascii", "replace").decode().replace("\n", " ")[:_SUBJECT]


def verdict(digest: Digest) -> str:
    """Return what the week was, in a few words."""
    count = len(digest.alarms)
    if count:
        return f"{count} thing{'s' if count > 1 else ''} to look at"
    return "a quiet week" if digest.judged else "too few rows to say"


def plain(digest: Digest) -> str:
    """Return the text: what to look at first, then figures of both weeks."""
    blocks = [
        [f"{digest.question.name or 'model'}: {verdict(digest)}", _span(digest)],
        _bullets("To look at", digest.alarms),
        _bullets("What to do", digest.todo),
        _bullets("Drifted", [_line(one) for one in _columns(digest)]),
        _bullets("No longer drifted", digest.ended),
        _bullets("Alarms opened", [_alert(one, one.opened) for one in digest.opened]),
        _bullets("Alarms closed", [_alert(one, one.closed or "") for one in digest.closed]),
        _figures(digest),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _span(digest: Digest) -> str:
    return f"{moment(digest.question.since)} to {moment(digest.question.until)} UTC"


def _bullets(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    wrapped = [
        textwrap.fill(item, _WIDTH, initial_indent="- ", subsequent_indent="  ") for item in items
    ]
    return [title, *wrapped]


_TOP = 10


def _columns(digest: Digest) -> list[tuple[str, str, str, str]]:
    return [
        (
            one.name,
            one.since,
            f"{one.reach:.2g} times its limit ({one.by})",
            "new this week" if one.new else "",
        )
        for one in digest.drifted[:_TOP]
    ]


def _line(column: tuple[str, str, str, str]) -> str:
    name, since, reach, new = column
    return f"{name} since {since}: {reach}" + (f", {new}" if new else "")


def _alert(one: Alert, time: str) -> str:
    return f"{moment(time)} {one.name}: {one.text}"


def _figures(digest: Digest) -> list[str]:
    rows = rows_of(digest)
    width = max(len(name) for name, _, _ in rows)
    return [
        f"{'':<{width}}  {'this week':>20}  {'week before':>20}",
        *(f"{name:<{width}}  {now:>20}  {before:>20}" for name, now, before in rows),
    ]


def rows_of(digest: Digest) -> list[tuple[str, str, str]]:
    """Return each figure's name and what it is in both weeks; what nobody knows is left out."""

    def of(week: Week) -> dict[str, str]:
        done = week.operations
        known = {
            "rows captured": f"{week.rows:,}",
            "they stand for": f"{week.represents:,.0f}",
            "versions": ", ".join(week.versions),
            f"{digest.main}, estimated": figure(week.estimated),
            f"{digest.main}, realised": _interval(week.realised),
        }
        if done is None:
            return known
        rate = f" ({done.errors / done.requests:.2%})" if done.requests else ""
        return known | {
            "requests": f"{done.requests:,}",
            "errors": f"{done.errors:,}{rate}",
            "latency, median": f"{done.p50_ms:.1f} ms" if done.p50_ms is not None else "",
            "latency, p99 of the worst hour": f"{done.p99_ms:.1f} ms"
            if done.p99_ms is not None
            else "",
            "function's cost": f"${done.dollars:,.2f}" if done.dollars is not None else "",
        }

    now, before = of(digest.now), of(digest.before)
    names = list(dict.fromkeys([*now, *before]))
    rows = [(name, now.get(name, ""), before.get(name, "")) for name in names]
    return [row for row in rows if row[1] or row[2]]


def _interval(one: Interval | None) -> str:
    return f"{one.value:.3f} ({one.low:.3f}-{one.high:.3f})" if one else ""


def page(digest: Digest) -> str:
    """Return the page."""
    name = digest.question.name or "model"
    kind = "bad" if digest.alarms else "good" if digest.judged else ""
    times = [("opened", one, one.opened) for one in digest.opened]
    times += [("closed", one, one.closed or "") for one in digest.closed]
    alerts = [(moment(time), what, one.name, one.text) for what, one, time in times]
    calm = "Nothing has drifted beyond chance by as much as matters."
    body = [
        section("To look at", listed(digest.alarms) or note(calm if digest.judged else "")),
        section("What to do", listed(digest.todo)),
        section("Figures", table(("", "this week", "week before"), rows_of(digest))),
        section("Drifted", table(("column", "since", "now", ""), _columns(digest))),
        section("No longer drifted", listed(digest.ended)),
        section("Alarms", table(("time", "", "alarm", ""), sorted(alerts))),
        section("The data as data", listed(one.text for one in digest.findings)),
    ]
    header = f"<h1>Week of {text(name)} {pill(verdict(digest), kind)}</h1>{note(_span(digest))}"
    return frame.page(f"Week of {name}", header, body)
