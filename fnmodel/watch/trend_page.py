"""The trend as one HTML page, in the frame that all pages have."""

from collections.abc import Mapping, Sequence

from fnmodel.pages import charts, frame
from fnmodel.pages.markup import (
    Html,
    figure,
    figures,
    folded,
    listed,
    moment,
    note,
    pill,
    section,
    table,
    text,
)
from fnmodel.watch import advice, seasons
from fnmodel.watch.drift import Verdict
from fnmodel.watch.realised import Interval
from fnmodel.watch.trend import Course, Trend

_DOTS = {Verdict.DRIFT: "hot", Verdict.USUAL: "warm"}
_STRIP = 20


def render(trend: Trend) -> str:
    """Return the page."""
    count = len(trend.alarms)
    judged = any(step.drift.judged for step in trend.steps)
    words, kind = f"{count} thing{'s' if count != 1 else ''} to look at", "bad"
    if not count:
        words, kind = ("quiet", "good") if judged else ("too few rows", "")
    title = f"Trend of {trend.question.name}" if trend.question.name else "Trend"
    body = [
        _figures(trend),
        section("What to do", _todo(trend, judged=judged)),
        section("Columns against their limits", _columns(trend)),
        section("How good predictions are", _performance(trend)),
        section("Fairness", _fairness(trend)),
        section("Volume and versions", _volume(trend)),
        section("Seasons", _seasons(trend)),
        section("How to read this", _rules(trend)),
    ]
    first, last = (moment(one) for one in (trend.question.since, trend.question.until))
    steps = f"{len(trend.steps)} steps, the last one from {moment(trend.steps[-1].time)}"
    header = f"<h1>{text(title)} {pill(words, kind)}</h1>{note(f'{first} to {last} UTC; {steps}.')}"
    return frame.page(title, header, body, searched=len(trend.courses) > frame.MUCH)


def _figures(trend: Trend) -> str:
    last = trend.steps[-1]
    shown = [
        ("captured rows", f"{sum(step.rows for step in trend.steps):,}"),
        ("they stand for", f"{sum(step.represents for step in trend.steps):,.0f}"),
        ("columns that drifted by now", f"{len(trend.drifted)} of {len(trend.courses)}"),
    ]
    if last.estimated is not None:
        shown.append((f"{trend.main}, estimated last", figure(last.estimated)))
    known = [step for step in trend.steps if step.realised]
    if known and known[-1].realised:
        value = known[-1].realised.value
        shown.append((f"{trend.main}, realised {moment(known[-1].time)}", figure(value)))
    return figures(shown)


def _todo(trend: Trend, *, judged: bool) -> str:
    if not judged:
        least = trend.question.rules.minimum
        return (
            f"<p>Nobody can say: no step has the {least:,} rows that a comparison needs. Capture "
            "a larger share.</p>"
        )
    return listed(advice.next_steps(trend)) or (
        "<p>Nothing: no column has drifted beyond chance by as much as matters.</p>"
    )


def _columns(trend: Trend) -> str:
    def order(one: Course) -> tuple[bool, float]:
        return one.state is not Verdict.DRIFT, -max(map(_known, one.reach), default=0.0)

    ever = [one for one in trend.courses if _DOTS.keys() & set(one.verdicts)]
    calm = [one for one in trend.courses if not _DOTS.keys() & set(one.verdicts)]
    return (
        frame.search("a column", len(trend.courses))
        + _lines(trend, sorted(ever, key=order))
        + folded(
            f"{len(calm)} column{'s' if len(calm) != 1 else ''} that never left their limits",
            _lines(trend, sorted(calm, key=order)),
            shown=not ever and len(calm) <= frame.MUCH,
        )
    )


def _lines(trend: Trend, courses: Sequence[Course]) -> str:
    times = [step.time for step in trend.steps]
    rows = [
        (
            one.name,
            Html(charts.spark(one.reach, _dots(one), _said(one, times))),
            pill(advice.WORDS[one.state], one.state),
            times[one.since] if one.since is not None else "",
            _multiple(one, one.judged[-1]) if one.judged else "",
            _most(one, times),
        )
        for one in courses
    ]
    heads = ("column", "over time", "now", "since", "last, in limits", "most, in limits")
    return table(heads, rows, names=True)


def _dots(one: Course) -> dict[int, str]:
    return {at: _DOTS[said] for at, said in enumerate(one.verdicts) if said in _DOTS}


def _said(one: Course, times: Sequence[str]) -> str:
    """Return what a line shows, for those who do not see it."""
    drifted = [times[at] for at, said in enumerate(one.verdicts) if said is Verdict.DRIFT]
    if not drifted:
        return f"{one.name}: within its limits in {len(one.judged)} of {len(times)} steps"
    some = f"{drifted[0]} to {drifted[-1]}" if len(drifted) > 1 else drifted[0]
    return f"{one.name}: drifted in {len(drifted)} of {len(times)} steps, {some}"


def _multiple(one: Course, at: int) -> str:
    value = one.reach[at]
    return f"{value:.2g} ({one.by[at]})" if value else ""


def _most(one: Course, times: Sequence[str]) -> str:
    if not one.judged:
        return ""
    at = max(one.judged, key=lambda step: one.reach[step] or 0.0)
    said = _multiple(one, at)
    return f"{said}, {times[at]}" if said else ""


def _performance(trend: Trend) -> str:
    guesses = [step.estimated for step in trend.steps]
    came = [step.realised for step in trend.steps]
    if not (any(value is not None for value in guesses) or any(came)):
        return ""
    times = [step.time for step in trend.steps]
    label = f"{trend.main} over time: estimated as a line, realised as points"
    rows = [
        (step.time, figure(step.estimated), _interval(step.realised), step.realised.rows)
        if step.realised
        else (step.time, figure(step.estimated), "", "")
        for step in trend.steps
    ]
    basis = (
        f"Estimated with {trend.learned:,} earlier labels"
        if trend.learned
        else "Estimated by taking the model's probabilities at their word"
    )
    return (
        f"<div class=wide>{charts.lines(times, guesses, came, label, _marks(trend))}</div>"
        + note(f"{basis}. Only labels show that the world answers differently.")
        + folded("Data", table(("from", "estimated", "realised", "labels"), rows), kind="data")
    )


def _fairness(trend: Trend) -> str:
    name = trend.question.group
    if name is None:
        return ""
    members = sorted({group.name for step in trend.steps for group in step.groups})
    if not members:
        return "<p class=absent>No rows of these groups are at hand: windows do not hold them.</p>"
    parts = []
    for title, kind in (("positive answers", "selected"), ("true ones found", "found")):
        paths = {one: _of_group(trend, one, kind) for one in members}
        known = [value for path in paths.values() for value in path if value is not None]
        if not known:
            continue
        low, high = min(one.low for one in known), max(one.high for one in known)
        rows = [
            (
                one,
                Html(charts.band(path, low, high, f"{title} of {one} over time")),
                _interval(_ends(path, 0)),
                _interval(_ends(path, -1)),
            )
            for one, path in paths.items()
        ]
        caption = f"{title}, {low:.1%} to {high:.1%}"
        parts.append(table((name, "over time", "first", "last"), rows, caption=caption))
    return "".join(parts)


def _of_group(trend: Trend, name: str, kind: str) -> list[Interval | None]:
    by_step = [{group.name: getattr(group, kind) for group in step.groups} for step in trend.steps]
    return [groups.get(name) for groups in by_step]


def _ends(path: Sequence[Interval | None], at: int) -> Interval | None:
    known = [one for one in path if one is not None]
    return known[at] if known else None


def _interval(one: Interval | None) -> str:
    return f"{one.value:.3g} ({one.low:.3g} to {one.high:.3g})" if one else ""


def _volume(trend: Trend) -> str:
    times = [step.time for step in trend.steps]
    rows = [
        (
            step.time,
            f"{step.rows:,}",
            f"{step.represents:,.0f}",
            ", ".join(f"{name}: {rows:,}" for name, rows in step.versions.items()),
            ", ".join(trend.began.get(at, ())),
        )
        for at, step in enumerate(trend.steps)
    ]
    counts = [step.represents for step in trend.steps]
    chart = charts.bars(times, counts, "Requests' rows over time", _marks(trend))
    began = [
        f"version {', '.join(names)} came {moment(times[at])}" for at, names in trend.began.items()
    ]
    heads = ("from", "captured", "stand for", "rows by version", "new")
    return (
        f"<div class=wide>{chart}</div>{listed(began)}"
        f"{folded('Data', table(heads, rows), kind='data')}"
    )


def _marks(trend: Trend) -> Mapping[int, str]:
    return {at: f"version {', '.join(names)}" for at, names in trend.began.items()}


_SLOTS = {"hour": "Hour of the day (UTC)", "weekday": "Day of the week"}


def _seasons(trend: Trend) -> str:
    parts = []
    for kind, names in trend.seasons.items():
        most = sorted(names, key=lambda name: -max(map(_known, names[name])))[:_STRIP]
        title = f"{_SLOTS[kind]}: distance from all hours together"
        rows = [(name, names[name]) for name in most]
        parts.append(f"<h3>{_SLOTS[kind]}</h3><div class=wide>")
        parts.append(f"{charts.strip(rows, seasons.SLOTS[kind], title)}</div>")
    if parts:
        parts.append(note("Such columns are compared with the same hours before, too."))
    return "".join(parts)


def _rules(trend: Trend) -> str:
    rules = trend.question.rules
    return listed(
        (
            (
                "A line is the measure that is farthest over its limit: "
                f"PSI without its noise ({rules.psi:g}), distance moved ({rules.distance:g} "
                f"deviations), missing or unknown values ({rules.share:.0%}). The dashed middle is "
                "the limit itself; the scale ends at infinity, so all lines can be compared."
            ),
            (
                "What may be chance is drawn as nothing. Red dots: drifted; yellow ones: as drift, "
                "but so it was at these hours before; a gap: too few rows."
            ),
            (
                f"In a step without drift any column is called drifted with a chance of at most "
                f"{rules.alpha:.1%}."
            ),
            "An upright line in a chart is a version's first request.",
        )
    )


def _known(value: float | None) -> float:
    return 0.0 if value is None else value
