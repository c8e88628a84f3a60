"""Numbers in, small SVG out: shares by cell, a strip of effects over time, lines with a band.

Colours are classes, so that the page's style decides for light and dark. Each chart says what it
shows to a reader that sees no picture.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol


class Bounded(Protocol):
    """A figure with its bounds."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def low(self) -> float:
        """The lower end of its interval."""

    @property
    def high(self) -> float:
        """The upper end of its interval."""


_WIDTH, _HEIGHT = 460, 110
LEVELS = (0.02, 0.05, 0.1, 0.25)
"""Bounds of excess PSI between the strip's five shades."""


def shares(before: Sequence[float], now: Sequence[float], label: str) -> str:
    """Return bars of now behind the outline of before; each cell is as wide."""
    top = max(*before, *now, 1e-9)
    step = _WIDTH / len(now)

    def y(share: float) -> str:
        return _short(_HEIGHT - share / top * (_HEIGHT - 4))

    bars = "".join(
        f"M{_short(at * step + 1)} {_HEIGHT}V{y(share)}h{_short(step - 2)}V{_HEIGHT}z"
        for at, share in enumerate(now)
        if share
    )
    line = f"M0 {y(before[0])}" + "".join(
        f"V{y(share)}H{_short((at + 1) * step)}" for at, share in enumerate(before)
    )
    inside = f"<path class=now d='{bars}'/><path class=was d='{line}'/>"
    return _svg(_WIDTH, _HEIGHT + 1, inside, label)


def histogram(counts: Sequence[float], label: str) -> str:
    """Return small bars, one a cell, in the order of the cells."""
    width, height = 160, 28
    step, top = width / max(len(counts), 1), max(*counts, 1e-9)
    bars = "".join(
        f"M{_short(at * step)} {height}v-{_short(count / top * (height - 2))}"
        f"h{_short(step * 0.9)}V{height}z"
        for at, count in enumerate(counts)
        if count
    )
    return _svg(width, height, f"<path class=now d='{bars}'/>", label, kind="bins")


def strip(
    rows: Sequence[tuple[str, Sequence[float | None]]],
    times: Sequence[str],
    title: str = "Distance from the reference over time",
) -> str:
    """Return a line of cells for each name, the darker the farther from the reference."""
    left, step, line = 170, max(6, min(40, 560 // max(len(times), 1))), 18
    parts = []
    for at, (name, effects) in enumerate(rows):
        y = at * line
        paths: dict[int, list[str]] = {}
        for column, effect in enumerate(effects):
            if effect is not None:
                corner = f"M{left + column * step} {y + 2}h{step - 1}v{line - 3}h-{step - 1}z"
                paths.setdefault(sum(effect >= bound for bound in LEVELS), []).append(corner)
        shown = name if len(name) <= 24 else f"{name[:23]}…"
        parts.append(f"<text x={left - 8} y={y + 14} text-anchor=end>{escape(shown)}</text>")
        parts += [f"<path class=e{level} d='{''.join(d)}'/>" for level, d in sorted(paths.items())]
    height = len(rows) * line + 18
    for column, anchor in _ends(times):
        x = left + (column + (anchor == "end")) * step
        parts.append(
            f"<text x={x} y={height - 4} text-anchor={anchor}>{escape(times[column])}</text>"
        )
    width = left + max(len(times) * step, 200)
    names = ", ".join(name for name, _ in rows)
    return _svg(width, height, "".join(parts), f"{title}: {names}")


def lines(
    times: Sequence[str],
    estimated: Sequence[float | None],
    realised: Sequence[Bounded | None],
    label: str,
    marks: Mapping[int, str] | None = None,
) -> str:
    """Return the estimate as a dashed line, what came true as points with their intervals."""
    values = [value for value in estimated if value is not None]
    values += [bound for one in realised if one for bound in (one.low, one.high)]
    if not values:
        return ""
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or abs(high) * 0.05 or 0.05
    low, high = low - pad, high + pad
    left, width, height = 52, 640, 150
    step = (width - left - 10) / max(len(times) - 1, 1)

    def x(at: int) -> str:
        return _short(left + at * step)

    def y(value: float) -> str:
        return _short((high - value) / (high - low) * height)

    parts = [
        f"<path class=grid d='M{left} {y(v)}H{width}'/>"
        f"<text x={left - 6} y={float(y(v)) + 4:.0f} text-anchor=end>{v:.3g}</text>"
        for v in (low + pad, (low + high) / 2, high - pad)
    ]
    parts += [_mark(x(at), height, words) for at, words in (marks or {}).items()]
    known = [None if v is None else f"{x(at)} {y(v)}" for at, v in enumerate(estimated)]
    parts.append(f"<path class=guess d='{_joined(known)}'/>")
    bars = "".join(f"M{x(at)} {y(one.low)}V{y(one.high)}" for at, one in enumerate(realised) if one)
    dots = "".join(
        f"<circle class=dot cx={x(at)} cy={y(one.value)} r=3 />"
        for at, one in enumerate(realised)
        if one
    )
    parts.append(f"<path class=range d='{bars}'/>{dots}")
    for at, anchor in _ends(times):
        parts.append(
            f"<text x={x(at)} y={height + 16} text-anchor={anchor}>{escape(times[at])}</text>"
        )
    return _svg(width, height + 20, "".join(parts), label)


def bars(
    times: Sequence[str], counts: Sequence[float], label: str, marks: Mapping[int, str]
) -> str:
    """Return a bar for each step, with a line where something began."""
    left, width, height = 52, 640, 70
    step = (width - left - 10) / max(len(counts), 1)
    top = max(*counts, 1.0)
    made = "".join(
        f"M{_short(left + at * step)} {height}v-{_short(count / top * (height - 4))}"
        f"h{_short(step * 0.85)}V{height}z"
        for at, count in enumerate(counts)
        if count
    )
    parts = [
        f"<text x={left - 6} y=12 text-anchor=end>{top:,.0f}</text>",
        f"<path class=now d='{made}'/>",
        *(_mark(_short(left + at * step), height, words) for at, words in marks.items()),
    ]
    for at, anchor in _ends(times):
        x = left + (at + (anchor == "end")) * step
        parts.append(
            f"<text x={_short(x)} y={height + 16} text-anchor={anchor}>{escape(times[at])}</text>"
        )
    return _svg(width, height + 20, "".join(parts), label)


_SPARK = (220, 30)


def spark(values: Sequence[float | None], hot: Mapping[int, str], label: str) -> str:
    """Return a line of ratios to a limit, which is the middle; the top is without end.

    `hot` has the class of a dot by step. All such lines have one scale, r / (1 + r).
    """
    width, height = _SPARK
    step = (width - 6) / max(len(values) - 1, 1)

    def place(at: int, value: float) -> tuple[str, str]:
        share = value / (1 + value)
        return _short(3 + at * step), _short(height - 3 - share * (height - 6))

    points = [None if v is None else " ".join(place(at, v)) for at, v in enumerate(values)]
    dots = "".join(
        f"<circle class={kind} cx={x} cy={y} r=2.2 />"
        for at, kind in hot.items()
        if (value := values[at]) is not None
        for x, y in [place(at, value)]
    )
    middle = f"<path class=limit d='M0 {height / 2:g}H{width}'/>"
    inside = f"{middle}<path class=line d='{_joined(points)}'/>{dots}"
    return _svg(width, height, inside, label, kind="spark")


def band(values: Sequence[Bounded | None], low: float, high: float, label: str) -> str:
    """Return a figure over time with its intervals, between two bounds of the scale."""
    width, height = _SPARK
    step = (width - 6) / max(len(values) - 1, 1)
    span = (high - low) or 1.0

    def y(value: float) -> str:
        return _short(3 + (high - value) / span * (height - 6))

    spread, points = "", list[str | None]()
    for at, one in enumerate(values):
        x = _short(3 + at * step)
        points.append(None if one is None else f"{x} {y(one.value)}")
        spread += "" if one is None else f"M{x} {y(one.low)}V{y(one.high)}"
    inside = f"<path class=range d='{spread}'/><path class=line d='{_joined(points)}'/>"
    return _svg(width, height, inside, label, kind="spark")


def _joined(points: Sequence[str | None]) -> str:
    """Return a path through points; where one is missing, it is broken. A lone one is a dash."""
    parts, run = [], list[str]()
    for point in (*points, None):
        if point is not None:
            run.append(point)
        elif run:
            parts.append(f"M{'L'.join(run)}" + ("h2" if len(run) == 1 else ""))
            run = []
    return "".join(parts)


def _mark(x: str, height: int, words: str) -> str:
    return f"<path class=mark d='M{x} 0V{height}'><title>{escape(words)}</title></path>"


def _ends(times: Sequence[str]) -> list[tuple[int, str]]:
    """Return the times that are written out, and the side on which each text is held."""
    return [(0, "start"), (len(times) - 1, "end")] if len(times) > 1 else [(0, "start")]


def _svg(width: float, height: float, inside: str, label: str, kind: str = "") -> str:
    named = f" class={kind}" if kind else ""
    return (
        f'<svg{named} viewBox="0 0 {width} {height}" width={width} role=img>'
        f"<title>{escape(label)}</title>{inside}</svg>"
    )


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
