"""The parts of a card on data: what the training sample looked like, what goes in and comes out."""

from fnmodel.card.facts import Facts
from fnmodel.histogram import Categories, Column
from fnmodel.model import Feature
from fnmodel.pages import charts, frame
from fnmodel.pages.markup import Html, absent, figure, folded, note, table, text
from fnmodel.watch.sample import histogram

_SHOWN = 12
"""Columns that are seen at once; what a search finds among the others is shown."""


def searched(card: Facts) -> bool:
    """Whether there are so many columns that the page can be searched."""
    return card.reference is not None and len(card.reference.features) > frame.MUCH


def training(card: Facts) -> str:
    """Return the reference profile: a line with a histogram for each feature and prediction."""
    words = card.said.get("training_data", "")
    said = f"<p>{text(words)}</p>" if words else absent("Not said: `card.training_data`.")
    found = card.reference
    if found is None:
        return said + absent(f"No profile of the training sample: {card.why('reference')}.")
    rows = [_line(name, column, found.rows) for name, column in found.features.items()]
    heads = ("feature", "kind", "shares by bin", "range", "mean ± deviation", "missing")
    answers = [_line(name, column, found.rows) for name, column in found.outputs.items()]
    return (
        said
        + note(f"{found.rows:,} rows; ranges are rounded outward, rare categories are joined.")
        + frame.search("a feature", len(found.features))
        + table(heads, rows[:_SHOWN], names=True)
        + folded(f"{len(rows) - _SHOWN} more", table(heads, rows[_SHOWN:], names=True))
        + "<h3>What the model answered to them</h3>"
        + table(("prediction", *heads[1:]), answers)
    )


def _line(name: str, column: Column, rows: int) -> tuple[object, ...]:
    found = histogram(column)
    label = f"{name}: shares of {', '.join(found.names[:3])} …"
    picture = Html(charts.histogram(found.counts.tolist(), label))
    missing = f"{column.missing / rows:.1%}" if rows else ""
    if isinstance(column, Categories):
        known = ", ".join(column.categories[:4]) + (" …" if len(column.categories) > 4 else "")
        return name, f"{len(column.categories)} categories", picture, known, "", missing
    span = f"{figure(column.minimum)} to {figure(column.maximum)}"
    spread = f"{figure(found.mean)} ± {figure(found.deviation)}" if found.mean is not None else ""
    return name, column.kind, picture, span, spread, missing


def signature(card: Facts) -> str:
    """Return what callers send and get."""
    own = card.signature
    asked = table(
        ("feature", "type", "missing", "values"),
        [(one.name, one.datatype, _nullable(one), _values(one)) for one in own.asked],
    )
    tensors = table(
        ("tensor", "type", "shape"),
        [
            (f"{side} {one.name}", one.datatype, " × ".join(map(str, one.shape)))  # noqa: RUF001
            for side, found in (("in", own.inputs), ("out", own.outputs))
            for one in found
        ],
    )
    classes = ", ".join(map(str, own.classes))
    return (
        folded(f"{len(own.asked)} features that callers send", asked)
        + folded("Tensors", tensors)
        + (note(f"Classes: {classes}.") if classes else "")
    )


def _nullable(one: Feature) -> str:
    return "allowed" if one.nullable else "refused"


def _values(one: Feature) -> str:
    if not one.categories:
        return "whole numbers" if one.integral else ""
    some = ", ".join(map(str, one.categories[:6])) + (" …" if len(one.categories) > 6 else "")
    return f"{some}; no other" if one.closed else some
