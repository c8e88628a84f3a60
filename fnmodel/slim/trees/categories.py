"""How a CatBoost model turns categories into numbers, and a graph that does the same.

A category is known by a hash of its text. A split asks whether it is a certain one, or whether a
number that training counted for it, or for a combination of categories and other splits, exceeds
a border. https://catboost.ai/docs/en/concepts/algorithm-main-stages_cat-to-numberic
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.trees import catboost
from fnmodel.slim.trees.catboost import Condition
from fnmodel.slim.trees.ensemble import Ensemble

Array = NDArray[Any]

_FACTOR = 0x4906BA494954CB65
_BITS = 1 << 64
# The key of an empty place in the tables.
_NOWHERE = _BITS - 1
_FLOAT, _INT64 = 1, 7


@dataclass(frozen=True)
class Projection:
    """What is counted together: categories, numbers above a border, and certain categories.

    `categories` are columns, `above` conditions on numbers, `equal` columns and hashes.
    """

    categories: tuple[int, ...]
    above: tuple[Condition, ...] = ()
    equal: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Counted:
    """Numbers that stand for what a projection gives.

    `keys`, shape (K,), are the combined hashes that training saw, as signed integers; row i of
    `values`, shape (K + 1, C) and float32, stands for key i, and the last row for all others.
    """

    projection: Projection
    keys: Array
    values: Array


@dataclass(frozen=True)
class Categorical:
    """An ensemble over the model's columns and, behind them, numbers made of categories.

    `kinds` says of each column whether it is `float` or `categorical`. Behind them come a column
    for each of `equal`, 1 where the column has that hash, then the columns of each of `counted`.
    """

    ensemble: Ensemble
    kinds: tuple[str, ...]
    equal: tuple[tuple[int, int], ...]
    counted: tuple[Counted, ...]

    def columns(self) -> tuple[int, ...]:
        """Return the columns of categories that the trees look at."""
        used = {column for column, _ in self.equal}
        for table in self.counted:
            used |= {*table.projection.categories, *(c for c, _ in table.projection.equal)}
        return tuple(sorted(used))

    def known(self, column: int) -> frozenset[int] | None:
        """Return the hashes of a column that make a difference, None where that cannot be said."""
        found = {value for at, value in self._equalities() if at == column}
        alone = False
        for table in self.counted:
            if table.projection == Projection((column,)):
                found |= {_alone(int(key)) for key in table.keys}
                alone = True
        together = any(column in table.projection.categories for table in self.counted)
        return frozenset(found) if alone or not together else None

    def _equalities(self) -> Iterator[tuple[int, int]]:
        yield from self.equal
        for table in self.counted:
            yield from table.projection.equal


def read(model: Any, content: Mapping[str, Any] | None = None) -> Categorical | None:
    """Return a CatBoost model that looks at categories, or None where it is no such model.

    `content` is what the model exports, where that is at hand.

    Raises:
        UnsupportedModelError: it looks at texts or embeddings, or answers in a way that is not
            known here.

    """
    library = sys.modules.get("catboost")
    if library is None or not isinstance(model, library.CatBoost):
        return None
    content = content or catboost.exported(model)
    information = content["features_info"]
    if not information.get("categorical_features"):
        return None
    kinds = tuple(catboost.columns(content))
    flat = {
        kind: {
            int(feature["feature_index"]): int(feature["flat_feature_index"])
            for feature in information.get(kind) or ()
        }
        for kind in ("float_features", "categorical_features")
    }
    numbers = catboost.conditions(content)
    equal = tuple(
        (int(feature["flat_feature_index"]), int(value))
        for feature in information["categorical_features"]
        for value in feature.get("values") or ()
    )
    counted: list[Counted] = []
    place: dict[int, int] = {}
    width = len(kinds) + len(equal)
    for table, indices in _tables(content, flat, numbers):
        place |= {index: width + i for i, index in enumerate(indices)}
        width += len(indices)
        counted.append(table)
    found = [*numbers, *((len(kinds) + i, 0.5, False) for i in range(len(equal)))]
    for index, ctr in enumerate(information.get("ctrs") or ()):
        found += [(place[index], border, False) for border in ctr["borders"]]
    ensemble = catboost.ensemble(content, model, found, width)
    return Categorical(ensemble, kinds, equal, tuple(counted))


def prepared(graph: Graph, model: Categorical, numbers: str, hashes: Callable[[int], str]) -> str:
    """Write the columns that the ensemble looks at, float64 of shape (rows, features).

    `numbers`, float64 of shape (rows, columns), holds anything where the columns are categories;
    `hashes` gives the hashes of such a column, int64 of shape (rows, 1).
    """
    made: dict[Any, str] = {}

    def asked(condition: Condition | tuple[int, int]) -> str:
        if condition not in made:
            made[condition] = _asked(graph, condition, numbers, hashes)
        return made[condition]

    def combined(projection: Projection) -> str:
        if projection not in made:
            parts = [hashes(column) for column in projection.categories]
            parts += [asked(condition) for condition in projection.above]
            parts += [asked(condition) for condition in projection.equal]
            total = graph.mul(_wrapped(_FACTOR * _FACTOR), parts[0])
            for part in parts[1:]:
                scaled = graph.mul(_wrapped(_FACTOR), part)
                total = graph.mul(_wrapped(_FACTOR), graph.add(total, scaled))
            made[projection] = total
        return made[projection]

    parts = [numbers]
    if model.equal:
        parts.append(graph.double(graph.concat([asked(condition) for condition in model.equal])))
    for table in model.counted:
        row = graph.op(
            "LabelEncoder",
            combined(table.projection),
            domain="ai.onnx.ml",
            keys_int64s=table.keys.tolist(),
            values_floats=[float(i) for i in range(len(table.keys))],
            default_float=float(len(table.keys)),
        )
        index = graph.reshape(graph.integer(row), -1)
        values = graph.gather(graph.constant(table.values), index, axis=0)
        parts.append(graph.double(values))
    return graph.concat(parts)


def combine(parts: Sequence[Array]) -> Array:
    """Return combined hashes of columns of int64, wrapping as 64-bit integers do."""
    factor = np.uint64(_FACTOR)
    total = np.zeros_like(parts[0], dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            total = factor * (total + factor * part.astype(np.int64).view(np.uint64))
    return total.view(np.int64)


def _asked(
    graph: Graph,
    condition: Condition | tuple[int, int],
    numbers: str,
    hashes: Callable[[int], str],
) -> str:
    if len(condition) == 2:
        column, value = condition
        return graph.integer(graph.op("Equal", hashes(column), np.array(value)))
    column, border, missing = condition
    number = graph.op("Cast", graph.gather(numbers, np.array([column])), to=_FLOAT)
    limit = graph.constant(np.array(border, dtype=np.float32))
    true = graph.op("Greater", number, limit)
    if missing:
        true = graph.op("Or", true, graph.op("IsNaN", number))
    return graph.integer(true)


def _tables(
    content: Mapping[str, Any],
    flat: Mapping[str, Mapping[int, int]],
    numbers: Sequence[Condition],
) -> Iterator[tuple[Counted, list[int]]]:
    """Yield each table that training counted, with the positions of the `ctrs` made of it."""
    missing = {column: treated for column, _, treated in numbers}
    by_table: dict[str, list[int]] = {}
    ctrs = content["features_info"].get("ctrs") or ()
    for index, ctr in enumerate(ctrs):
        by_table.setdefault(ctr["identifier"], []).append(index)
    for identifier, indices in by_table.items():
        data = content["ctr_data"][identifier]
        stride = int(data["hash_stride"])
        cells = data["hash_map"]
        rows = {int(cells[i]): cells[i + 1 : i + stride] for i in range(0, len(cells), stride)}
        rows.pop(_NOWHERE, None)
        counts = np.array([*rows.values(), [0] * (stride - 1)], dtype=np.float32)
        denominator = float(data.get("counter_denominator", 0))
        columns = [_value(ctrs[index], counts, denominator) for index in indices]
        keys = np.array(list(rows), dtype=np.uint64).view(np.int64)
        projection = _projection(ctrs[indices[0]]["elements"], flat, missing)
        yield Counted(projection, keys, np.stack(columns, axis=1)), indices


def _projection(
    elements: Sequence[Mapping[str, Any]],
    flat: Mapping[str, Mapping[int, int]],
    missing: Mapping[int, bool],
) -> Projection:
    categories: list[int] = []
    above: list[Condition] = []
    equal: list[tuple[int, int]] = []
    for element in elements:
        match element["combination_element"]:
            case "cat_feature_value":
                categories.append(flat["categorical_features"][element["cat_feature_index"]])
            case "float_feature":
                column = flat["float_features"][element["float_feature_index"]]
                above.append((column, float(element["border"]), missing.get(column, False)))
            case "cat_feature_exact_value":
                column = flat["categorical_features"][element["cat_feature_index"]]
                equal.append((column, int(element["value"])))
            case other:
                raise UnsupportedModelError(
                    f"this CatBoost model combines categories with {other!r}, which is not known "
                    "here",
                    hint="train with max_ctr_complexity=1",
                )
    return Projection(tuple(categories), tuple(above), tuple(equal))


def _value(ctr: Mapping[str, Any], counts: Array, denominator: float) -> Array:
    """Return a table's column in float32: for each of its rows, the last one is what is unknown."""
    kind, border = ctr["ctr_type"], int(ctr["target_border_idx"])
    match kind:
        case "Borders":
            good, total = counts[:, border + 1 :].sum(axis=1), counts.sum(axis=1)
        case "Buckets":
            good, total = counts[:, border], counts.sum(axis=1)
        case "BinarizedTargetMeanValue" | "FloatTargetMeanValue":
            good, total = counts[:, 0], counts[:, 1]
        case "Counter" | "FeatureFreq":
            good, total = counts[:, 0], np.full(len(counts), denominator, dtype=np.float32)
        case _:
            raise UnsupportedModelError(
                f"this CatBoost model counts categories by {kind!r}, which is not known here",
                hint="train with simple_ctr and combinations_ctr of Borders, Buckets or Counter",
            )
    prior, weight = np.float32(ctr["prior_numerator"]), np.float32(ctr["prior_denomerator"])
    share = (good.astype(np.float32) + prior) / (total.astype(np.float32) + weight)
    done: Array = (share + np.float32(ctr["shift"])) * np.float32(ctr["scale"])
    return done


def _alone(key: int) -> int:
    """Return the category's hash from the combined hash of it alone."""
    back = pow(_FACTOR, -1, _BITS)
    value = key * back * back % _BITS
    return value - _BITS if value >> 63 else value


def _wrapped(value: int) -> Array:
    return np.array(value % _BITS, dtype=np.uint64).view(np.int64)
