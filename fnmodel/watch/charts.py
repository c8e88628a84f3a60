"""Numbers in, small SVG out: shares by cell, a strip of effects over time, lines with a band.

Colours are classes, so that the page's style decides for light and dark. Each chart says what it
shows to a reader that sees no picture.
"""

from collections.abc import Sequence
from html import escape

from fnmodel.watch.realised import Interval

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


def strip(rows: Sequence[tuple[str, Sequence[float | None]]], times: Sequence[str]) -> str:
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
    return _svg(width, height, "".join(parts), f"Distance from the reference over time: {names}")


def lines(
    times: Sequence[str],
    estimated: Sequence[float | None],
    realised: Sequence[Interval | None],
    label: str,
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
    known = [f"{x(at)} {y(value)}" for at, value in enumerate(estimated) if value is not None]
    if known:
        parts.append(f"<path class=guess d='M{'L'.join(known)}'/>")
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


def _ends(times: Sequence[str]) -> list[tuple[int, str]]:
    """Return the times that are written out, and the side on which each text is held."""
    return [(0, "start"), (len(times) - 1, "end")] if len(times) > 1 else [(0, "start")]


def _svg(width: float, height: float, inside: str, label: str) -> str:
    said = escape(label, quote=True)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{said}">'
        f"<title>{escape(label)}</title>{inside}</svg>"
    )


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
