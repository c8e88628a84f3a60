"""What happens to the features before any of an ensemble's nodes looks at them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.trees.ensemble import Ensemble, Mode, Number

Array = NDArray[Any]

_FLOAT, _DOUBLE = 1, 11


def prepared(graph: Graph, ensemble: Ensemble, values: str, number: Number) -> str:
    """Write the values as the original compares them, in the float that it compares.

    Raises:
        UnsupportedModelError: a category is no whole number, or is split by order as well.

    """
    if number != ensemble.compares:
        wanted = _FLOAT if ensemble.compares == "FP32" else _DOUBLE
        values = str(graph.op("Cast", values, to=wanted))
    dtype = np.float32 if ensemble.compares == "FP32" else np.float64
    hole = graph.constant(np.array(np.nan, dtype=dtype)) if _needs_hole(ensemble) else ""

    def row(entries: dict[int, float], other: float) -> Array:
        filled = np.full((1, ensemble.features), other, dtype=dtype)
        filled[0, list(entries)] = list(entries.values())
        return filled

    def mask(features: Sequence[int]) -> str:
        chosen = np.zeros((1, ensemble.features), dtype=bool)
        chosen[0, list(features)] = True
        return graph.constant(chosen)

    if ensemble.absent:
        lowest = graph.constant(row({f: low for f, (low, _) in ensemble.absent.items()}, np.inf))
        highest = graph.constant(row({f: top for f, (_, top) in ensemble.absent.items()}, -np.inf))
        inside = graph.op(
            "And",
            graph.op("GreaterOrEqual", values, lowest),
            graph.op("LessOrEqual", values, highest),
        )
        values = graph.where(inside, hole, values)
    for rounding in ("floor", "truncate"):
        features = [f for f, chosen in ensemble.codes.items() if chosen == rounding]
        if features:
            values = graph.where(mask(features), _rounded(graph, values, rounding), values)
    exact = sorted(_member_features(ensemble) - set(ensemble.codes))
    if exact:
        # The runtime looks members up by bits, where 1.5 is 1; no member has a fraction.
        whole = graph.op("Equal", values, graph.op("Floor", values))
        broken = graph.op("And", mask(exact), graph.op("Not", whole))
        values = graph.where(broken, hole, values)
    return values


def _needs_hole(ensemble: Ensemble) -> bool:
    return bool(ensemble.absent) or bool(_member_features(ensemble) - set(ensemble.codes))


def _rounded(graph: Graph, values: str, rounding: str) -> str:
    if rounding == "floor":
        return str(graph.op("Floor", values))
    return graph.mul(graph.op("Sign", values), graph.op("Floor", graph.op("Abs", values)))


def _member_features(ensemble: Ensemble) -> set[int]:
    """Return the features that are looked up among members.

    Raises:
        UnsupportedModelError: a member is no whole number, or a feature is also split by order.

    """
    found: set[int] = set()
    ordered: set[int] = set()
    for tree in ensemble.trees:
        inner = tree.feature >= 0
        found |= set(tree.feature[inner & (tree.mode == Mode.MEMBER)].tolist())
        other = inner & (tree.mode != Mode.MEMBER) & np.isfinite(tree.threshold)
        ordered |= set(tree.feature[other].tolist())
        if any(value != np.floor(value) for values in tree.members.values() for value in values):
            raise UnsupportedModelError(
                "a tree splits by categories that are no whole numbers",
                hint="number the categories from 0 before training",
            )
    if found & ordered:
        raise UnsupportedModelError(
            f"feature {min(found & ordered)} is a category in some trees and a number in others",
            hint="continue training with the categorical features that it was begun with",
        )
    return found
