"""A feature as a schema: its type and limits, its categories, and what of it was seen in training.

Ranges are told and not enforced, since the endpoint answers beyond them: in words, and as `x-seen`.
"""

import math
from collections.abc import Mapping
from typing import Any

from fnmodel.model import Feature
from fnmodel.serve.openapi.schema import Schema, element
from fnmodel.values import KINDS

Column = Mapping[str, Any]
"""A column of `reference.json`, as `fnmodel.profile` describes it; empty where there is none."""


def schema_of(feature: Feature, column: Column) -> Schema:
    """Return the schema of a feature's value.

    Known categories are an enum. Where they are not closed, the model answers for others, too, as
    for what it has never seen; the description says so.
    """
    schema = element(feature.datatype)
    if KINDS[feature.datatype] == "floating" and feature.integral:
        schema["type"] = "integer"
    if feature.categories:
        known: list[Any] = list(feature.categories)
        schema["enum"] = [*known, None] if feature.nullable else known
    if feature.nullable:
        schema["type"] = [schema["type"], "null"]
    schema["description"] = _described(feature, column)
    seen = seen_range(column)
    if seen and not feature.categories:
        schema["x-seen"] = seen
    return schema


def seen_range(column: Column) -> dict[str, Any]:
    """Return the least and the largest number of a column, or nothing."""
    least, largest = column.get("minimum"), column.get("maximum")
    if column.get("kind") != "number" or least is None or largest is None:
        return {}
    return {"minimum": _plain(least), "maximum": _plain(largest)}


def typical(feature: Feature, column: Column) -> Any:
    """Return a value that this feature accepts: where the sample is known, one from its middle.

    It is made from counts, so that no row of the sample is shown to callers.
    """
    if feature.categories:
        return _most_frequent(feature, column)
    kind = KINDS[feature.datatype]
    if kind == "text":
        categories = _counted(column) if column.get("kind") == "category" else {}
        return max(categories, key=lambda text: categories[text]) if categories else "text"
    middle = _middle_bin(column)
    if middle is None:
        return {"boolean": True, "integer": 0}.get(kind, 0 if feature.integral else 0.5)
    low, high = middle
    if kind == "boolean":
        return low + high >= 1
    if feature.integral or kind == "integer":
        return math.ceil(low)
    return _shortest(low, high)


def _described(feature: Feature, column: Column) -> str:
    parts = []
    seen = seen_range(column)
    if feature.categories:
        count = len(feature.categories)
        others = "no others" if feature.closed else "others are taken as never seen"
        parts.append(f"one of {count:,} categories; {others}")
    elif seen:
        parts.append(f"seen from {seen['minimum']:,} to {seen['maximum']:,} in training")
    elif column.get("kind") == "length" and column.get("maximum") is not None:
        longest = int(column["maximum"])
        parts.append(f"text; seen with up to {longest:,} characters in training")
    if feature.nullable:
        parts.append("null, or left out, where it is missing")
    text = "; ".join(parts) or _kind(feature)
    return f"{text[:1].upper()}{text[1:]}."


def _kind(feature: Feature) -> str:
    match KINDS[feature.datatype]:
        case "text":
            return "text"
        case "boolean":
            return "true or false"
        case "integer":
            return "a whole number"
        case "floating":
            return "a whole number" if feature.integral else "a number"


def _most_frequent(feature: Feature, column: Column) -> Any:
    counts = _counted(column)
    return max(feature.categories, key=lambda value: counts.get(str(value), -1))


def _counted(column: Column) -> dict[str, int]:
    return dict(zip(column.get("categories", ()), column.get("counts", ()), strict=False))


def _middle_bin(column: Column) -> tuple[float, float] | None:
    """Return the edges of the bin that holds the median."""
    edges, counts = column.get("edges", ()), column.get("counts", ())
    if column.get("kind") != "number" or len(edges) != len(counts) + 1 or not sum(counts):
        return None
    below = 0
    for at, count in enumerate(counts):
        below += count
        if 2 * below >= sum(counts):
            return edges[at], edges[at + 1]
    return None


def _shortest(low: float, high: float) -> float:
    """Return the number of fewest digits near the middle of two edges."""
    middle = low / 2 + high / 2
    for digits in range(1, 17):
        found = float(f"{middle:.{digits}g}")
        if low <= found < high:
            return found
    return middle


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number
