"""Rows next to the splits of a model's trees, where a conversion goes wrong first.

A row's value is set next to a threshold that the row meets on its way through a tree. Where steps
stand before the tree, the value is searched for in the caller's features: the two neighbouring
float64 numbers between which the original itself changes sides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.trees.ensemble import Ensemble, Mode, Tree
from fnmodel.slim.trees.read import read

Array = NDArray[Any]

# A value further away than this is no float32.
_FARTHEST = 1e38
# Relative distance at which a float32 rounds to a neighbour.
_NEAR = 3e-8
_PROBED_ROWS = 5
_PREPARED_ROWS = 400
# How far from a border rows stay, as a share of the column's range, where the steps before the
# trees compute with rounding that no other program repeats.
_ROUNDING = 1e-9
_EXACT = (
    "ColumnTransformer", "FunctionTransformer", "MaxAbsScaler", "MinMaxScaler", "OneHotEncoder",
    "OrdinalEncoder", "Pipeline", "RobustScaler", "SelectKBest", "SimpleImputer",
    "StandardScaler", "VarianceThreshold",
)  # fmt: skip
_META = (
    "estimators_", "estimator_", "best_estimator_", "regressor_", "calibrated_classifiers_",
    "estimator", "base_estimator_",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Trees, and the fitted steps that the caller's features pass through before them.

    A step is a transformer, or an array of the columns that are passed on.
    """

    steps: tuple[Any, ...]
    ensemble: Ensemble


@dataclass(frozen=True)
class _Pick:
    """One split to go next to: the base row, the feature and the threshold."""

    row: int
    feature: int
    threshold: float


def rows(ensemble: Ensemble, base: Array, count: int, seed: int) -> tuple[Array, list[int]]:
    """Return copies of the base rows with one feature next to a threshold, and which feature.

    `base` has shape (n, features) and float64. Row k is a copy of `base[k % n]`; there are at most
    `count`, fewer where no tree splits by order.
    """
    picks = _picks(ensemble, base, count, seed)
    copies = base[[pick.row for pick in picks]].astype(np.float64)
    for k, pick in enumerate(picks):
        above = float(np.nextafter(pick.threshold, np.inf))
        copies[k, pick.feature] = _beside(pick.threshold, above, k)
    return copies, [pick.feature for pick in picks]


def find(model: Any) -> list[Ensemble]:
    """Return the ensembles of a model that look at its features, prepared or not."""
    return [found.ensemble for found in _found(model, ())]


def of(model: Any, frame: Any, count: int, seed: int) -> tuple[Any, list[str], list[int]]:
    """Return changed copies of a frame's rows, the name of the feature changed in each, its row.

    There are no rows where the model has no trees, or where no value of a feature reaches one of
    their thresholds.
    """
    if not len(frame):
        return frame.head(0), [], []
    groups = _together(_found(model, ()))
    moves: list[tuple[int, str, float]] = []
    for number, group in enumerate(groups):
        share = (count - len(moves)) // (len(groups) - number)
        moves += _moves(model, group, frame, share, seed + number)
    if not moves:
        return frame.head(0), [], []
    copies = frame.iloc[[row for row, _, _ in moves]].reset_index(drop=True)
    for name in {name for _, name, _ in moves}:
        own = {k: value for k, (_, changed, value) in enumerate(moves) if changed == name}
        copies[name] = _with(copies[name], own)
    return copies, [name for _, name, _ in moves], [row for row, _, _ in moves]


# Where the trees are.


def _found(model: Any, steps: tuple[Any, ...]) -> Iterator[Found]:
    try:
        ensemble = read(model)
    except UnsupportedModelError:
        return
    if ensemble is not None:
        yield Found(steps, ensemble)
        return
    if hasattr(model, "steps"):
        before = [step for _, step in model.steps[:-1]]
        passed = [step for step in before if step is not None and not isinstance(step, str)]
        yield from _found(model.steps[-1][1], (*steps, *passed))
        return
    if hasattr(model, "support_") and hasattr(model, "estimator_"):
        steps = (*steps, np.flatnonzero(model.support_))
    columns = getattr(model, "estimators_features_", None)
    for number, member in enumerate(_members(model)):
        seen = steps if columns is None else (*steps, np.asarray(columns[number]))
        yield from _found(member, seen)


def _members(model: Any) -> list[Any]:
    for name in _META:
        value = getattr(model, name, None)
        if name == "estimator" and hasattr(model, "fit"):
            continue  # what was to be fitted, not what was
        if isinstance(value, np.ndarray):
            return list(value.flat)
        if isinstance(value, list | tuple):
            return [member for member in value if not isinstance(member, str)]
        if value is not None and not isinstance(value, str):
            return [value]
    return []


@dataclass
class _Group:
    """Ensembles that look at the same prepared features in the same float."""

    steps: tuple[Any, ...]
    ensemble: Ensemble
    trees: list[Tree] = field(default_factory=list)


def _together(found: Iterator[Found]) -> list[_Group]:
    groups: dict[tuple[Any, ...], _Group] = {}
    for one in found:
        steps = tuple(
            step.tobytes() if isinstance(step, np.ndarray) else id(step) for step in one.steps
        )
        key = (*steps, one.ensemble.compares, one.ensemble.features)
        group = groups.setdefault(key, _Group(one.steps, one.ensemble))
        group.trees += one.ensemble.trees
    return list(groups.values())


# Which splits.


def _picks(ensemble: Ensemble, base: Array, count: int, seed: int) -> list[_Pick]:
    """Return splits that base rows meet, those that were picked least before others."""
    trees = [tree for tree in ensemble.trees if tree.feature[0] >= 0]
    if not trees or not len(base):
        return []
    random = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        seen = base.astype(np.float32 if ensemble.compares == "FP32" else np.float64)
    by_feature: dict[int, int] = {}
    by_split: dict[tuple[int, float], int] = {}
    picks: list[_Pick] = []
    for k in range(count):
        tree = trees[int(random.integers(len(trees)))]
        met = [
            (int(tree.feature[node]), float(tree.threshold[node]))
            for node in _path(tree, seen[k % len(base)])
            if tree.mode[node] < Mode.EQ and abs(tree.threshold[node]) < _FARTHEST
        ]
        if not met:
            continue
        chosen = min(met, key=lambda split: (by_split.get(split, 0), by_feature.get(split[0], 0)))
        by_split[chosen] = by_split.get(chosen, 0) + 1
        by_feature[chosen[0]] = by_feature.get(chosen[0], 0) + 1
        picks.append(_Pick(k % len(base), *chosen))
    return picks


def _path(tree: Tree, row: Array) -> Iterator[int]:
    node = 0
    while tree.feature[node] >= 0:
        yield node
        value = float(row[tree.feature[node]])
        node = int((tree.when_true if _holds(tree, node, value) else tree.when_false)[node])


def _holds(tree: Tree, node: int, value: float) -> bool:
    if np.isnan(value):
        return bool(tree.missing_true[node])
    threshold = float(tree.threshold[node])
    match Mode(int(tree.mode[node])):
        case Mode.LEQ:
            return value <= threshold
        case Mode.LT:
            return value < threshold
        case Mode.GTE:
            return value >= threshold
        case Mode.GT:
            return value > threshold
        case Mode.EQ:
            return value == threshold
        case Mode.NEQ:
            return value != threshold
        case Mode.MEMBER:
            return value in tree.members[node]


def _next(frame: Any, name: str, below: float, kind: int) -> float:
    """Return a value next to a border that the column can hold."""
    from pandas.api import types

    if types.is_integer_dtype(frame[name]):
        return float(np.floor(below)) + kind % 2
    return _beside(below, float(np.nextafter(below, np.inf)), kind)


def _beside(below: float, above: float, kind: int) -> float:
    """Return one of the values next to the border between two neighbouring float64 numbers."""
    single = np.float32(below)
    near = (
        below,
        above,
        float(np.nextafter(below, -np.inf)),
        float(np.nextafter(single, np.float32(np.inf))),
        float(np.nextafter(single, np.float32(-np.inf))),
        float(single),
        below + _NEAR * abs(below),
        below - _NEAR * abs(below),
    )
    return near[kind % len(near)]


# What the caller has to send.


def _moves(
    model: Any, group: _Group, frame: Any, count: int, seed: int
) -> list[tuple[int, str, float]]:
    ensemble = replace(group.ensemble, trees=tuple(group.trees))
    numeric = _numeric(frame)
    if not group.steps:
        names = [str(name) for name in getattr(model, "feature_names_in_", frame.columns)]
        if len(names) != ensemble.features or set(names) != set(frame.columns):
            return []
        holes = np.full(len(frame), np.nan)
        base = np.column_stack([numeric.get(name, holes) for name in names])
        picks = [p for p in _picks(ensemble, base, count, seed) if names[p.feature] in numeric]
        return [
            (p.row, names[p.feature], _next(frame, names[p.feature], p.threshold, k))
            for k, p in enumerate(picks)
        ]
    prepare = _Preparation(model, group.steps, ensemble.compares)
    prepared = prepare(frame)
    if prepared is None or prepared.shape[1] != ensemble.features:
        return []
    picks = _picks(ensemble, prepared, min(count, _PREPARED_ROWS), seed)
    movers = _movers(prepare, frame, numeric, ensemble.features)
    placed = [(pick, movers[pick.feature]) for pick in picks if pick.feature in movers]
    return _searched(prepare, frame, numeric, placed)


@dataclass(frozen=True)
class _Preparation:
    """What the steps before the trees make of a frame."""

    model: Any
    steps: tuple[Any, ...]
    compares: str

    @property
    def exact(self) -> bool:
        """Whether each step computes each number from one number, in a single way."""
        return all(isinstance(step, np.ndarray) or _is_exact(step) for step in self.steps)

    def __call__(self, frame: Any) -> Array | None:
        """Return shape (rows, features) as the trees compare it, or None where a step refuses."""
        values = frame if hasattr(self.model, "feature_names_in_") else frame.to_numpy()
        try:
            for step in self.steps:
                if isinstance(step, np.ndarray):
                    values = values.iloc[:, step] if hasattr(values, "iloc") else values[:, step]
                else:
                    values = step.transform(values)
            dense = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
            dense = dense.astype(np.float64)
        except Exception:  # a step may refuse in any way what the sample does not hold
            return None
        if self.compares == "FP32":
            with np.errstate(over="ignore"):
                dense = dense.astype(np.float32).astype(np.float64)
        return dense


def _is_exact(step: Any) -> bool:
    kind = type(step).__name__
    if isinstance(step, str) or step is None:
        return True
    if kind not in _EXACT or getattr(step, "func", None) is not None:
        return False
    inner = [part for _, part in getattr(step, "steps", ())]
    inner += [part for _, part, _ in getattr(step, "transformers_", ())]
    return all(_is_exact(part) for part in inner)


def _numeric(frame: Any) -> dict[str, Array]:
    """Return the columns that hold numbers, as float64."""
    from pandas.api import types

    return {
        name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in frame.columns
        if types.is_numeric_dtype(frame[name])
        and not types.is_bool_dtype(frame[name])
        and not types.is_complex_dtype(frame[name])
    }


def _movers(
    prepare: _Preparation, frame: Any, numeric: dict[str, Array], features: int
) -> dict[int, str]:
    """Return, for each prepared feature, the column that moves it most."""
    probed = frame.head(_PROBED_ROWS)
    strongest = np.zeros(features)
    movers: dict[int, str] = {}
    for name, values in numeric.items():
        low, high = _range(values)
        ends = [prepare(_assigned(probed, {name: np.full(len(probed), v)})) for v in (low, high)]
        if ends[0] is None or ends[1] is None:
            continue
        moved = np.nan_to_num(np.abs(ends[1] - ends[0])).max(axis=0)
        for feature in np.flatnonzero(moved > strongest):
            movers[int(feature)] = name
        strongest = np.maximum(strongest, moved)
    return movers


def _range(values: Array) -> tuple[float, float]:
    """Return the bounds of a column, with room on both sides."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 0.0
    low, high = float(finite.min()), float(finite.max())
    room = (high - low) / 4
    return low - room, high + room


def _searched(
    prepare: _Preparation,
    frame: Any,
    numeric: dict[str, Array],
    placed: Sequence[tuple[_Pick, str]],
) -> list[tuple[int, str, float]]:
    """Return, for each pick, a value of its column next to where the trees change sides."""
    from pandas.api import types

    if not placed:
        return []
    base = frame.iloc[[pick.row for pick, _ in placed]].reset_index(drop=True)
    features = np.array([pick.feature for pick, _ in placed])
    thresholds = np.array([pick.threshold for pick, _ in placed])
    names = [name for _, name in placed]
    every = np.arange(len(placed))

    def below(values: Array) -> Array | None:
        changed = {
            name: np.where([n == name for n in names], values, numeric_of(name))
            for name in set(names)
        }
        prepared = prepare(_assigned(base, changed))
        return None if prepared is None else prepared[every, features] <= thresholds

    def numeric_of(name: str) -> Array:
        return numeric[name][[pick.row for pick, _ in placed]]

    bounds = {name: _range(numeric[name]) for name in set(names)}
    low = _ordered(np.array([bounds[name][0] for name in names]))
    high = _ordered(np.array([bounds[name][1] for name in names]))
    first, last = below(_value(low)), below(_value(high))
    if first is None or last is None:
        return []
    crossing = first != last
    for _ in range(64):
        middle = low // 2 + high // 2 + (low % 2 + high % 2) // 2
        side = below(_value(middle))
        if side is None:
            return []
        low, high = np.where(side == first, middle, low), np.where(side == first, high, middle)
        if np.all((high - low <= 1) | ~crossing):
            break
    apart = 0.0 if prepare.exact else _ROUNDING
    moves = []
    for at, k in enumerate(np.flatnonzero(crossing).tolist()):
        border, bound = float(_value(low)[k]), bounds[names[k]]
        value = _next(frame, names[k], border, at)
        if apart and not types.is_integer_dtype(frame[names[k]]):
            value = border + (bound[1] - bound[0]) * (apart if at % 2 else -apart)
        moves.append((placed[k][0].row, names[k], value))
    return moves


def _assigned(frame: Any, columns: dict[str, Array]) -> Any:
    return frame.assign(
        **{name: _cast(values, frame[name].dtype) for name, values in columns.items()}
    )


def _with(column: Any, changed: dict[int, float]) -> Any:
    import pandas as pd

    values = column.to_numpy(dtype=np.float64, na_value=np.nan).copy()
    values[list(changed)] = list(changed.values())
    kept = column.copy()
    new = pd.Series(_cast(values, column.dtype), index=column.index)
    kept.iloc[list(changed)] = new.iloc[list(changed)]
    return kept


def _cast(values: Array, dtype: Any) -> Any:
    """Return the values in a column's own dtype; integers are the next ones below."""
    import pandas as pd
    from pandas.api import types

    if types.is_integer_dtype(dtype):
        holes = np.isnan(values)
        whole = np.floor(np.where(holes, 0.0, values)).astype(np.int64)
        if holes.any():
            return pd.array(np.where(holes, np.nan, whole), dtype=dtype)
        return pd.array(whole).astype(dtype)
    return values.astype(dtype) if isinstance(dtype, np.dtype) else pd.array(values, dtype=dtype)


def _ordered(values: Array) -> Array:
    """Return integers in the order of float64 numbers, neighbours one apart."""
    bits = (np.asarray(values, dtype=np.float64) + 0.0).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def _value(ordered: Array) -> Array:
    bits = np.where(ordered < 0, np.int64(-(2**63)) - ordered, ordered).astype(np.int64)
    return bits.view(np.float64)
