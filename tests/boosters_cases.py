"""What the tests of boosters share: an evaluator of ensembles, and rows next to splits."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fnmodel.inference import Predictor
from fnmodel.model import Signature
from fnmodel.slim import signature
from fnmodel.slim.convert import convert
from fnmodel.slim.original import Original, describe
from fnmodel.slim.proof.rows import records
from fnmodel.slim.readers.boosters import served
from fnmodel.slim.trees.edges import of as find_edges
from fnmodel.slim.trees.ensemble import Ensemble, Mode, Tree
from fnmodel.slim.trees.linear_leaves import LinearLeaves

Array = NDArray[Any]


def sample(count: int) -> Array:
    """Return rows of six features: numbers with holes, a rounded one, one with zeros, codes."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, 6))
    rows[:, 3] *= random.random(count) > 0.4
    rows[:, 4] = np.round(rows[:, 4], 1)
    rows[:, 5] = random.integers(0, 40, count)
    holes = random.random(rows.shape) < 0.1
    holes[:, 0] = False
    rows[holes] = np.nan
    return rows


def targets(rows: Array) -> tuple[Array, Array, Array]:
    """Return a value, one of two classes, and one of three, for each row."""
    full = np.nan_to_num(rows)
    value = full[:, 0] + np.sin(3 * full[:, 1].clip(-2, 2)) + full[:, 5] % 3 + (full[:, 3] == 0)
    return value, (value > 1.5).astype(int), np.digitize(value, [0.5, 2.0])


def raw_scores(ensemble: Ensemble, rows: Array) -> Array:
    """Return the sums of all trees and the base, shape (rows, targets), added up in float64."""
    seen = seen_by(ensemble, rows)
    total = np.zeros((len(rows), ensemble.targets))
    for tree in ensemble.trees:
        leaf = _leaves(tree, seen)
        total[:, tree.target : tree.target + tree.values.shape[1]] += tree.values[leaf]
    if ensemble.weights is not None:
        total += np.nan_to_num(seen) @ ensemble.weights
    return total / ensemble.divide + ensemble.base


def answers(ensemble: Ensemble, rows: Array) -> Array:
    """Return what the ensemble answers, shape (rows, targets)."""
    return linked(ensemble, raw_scores(ensemble, rows))


def linked(ensemble: Ensemble, scores: Array) -> Array:
    """Return raw scores as answers."""
    x = scores * ensemble.scale
    with np.errstate(over="ignore"):
        match ensemble.link:
            case "identity":
                return x
            case "logistic":
                return 1 / (1 + np.exp(-x))
            case "softmax":
                powers = np.exp(x - x.max(axis=1, keepdims=True))
                return powers / powers.sum(axis=1, keepdims=True)
            case "exp":
                return np.exp(x)
            case "softplus":
                return np.log1p(np.exp(x))
            case "signed_square":
                return x * np.abs(x)
            case "step":
                return (x > 0).astype(float)


def linear_answers(leaves: LinearLeaves, rows: Array) -> Array:
    """Return what trees with linear leaves answer, shape (rows, targets)."""
    numbers = raw_scores(leaves.index, rows).astype(int)
    outer = leaves.outer
    total = np.zeros((len(rows), outer.targets))
    for i in range(numbers.shape[1]):
        leaf = numbers[:, i]
        columns = leaves.columns[leaf]
        x = np.take_along_axis(rows, columns, axis=1) if columns.size else columns
        counted = np.arange(columns.shape[1]) < leaves.used[leaf][:, None]
        holes = (np.isnan(x) & counted).any(axis=1)
        terms = np.where(counted, leaves.coefficients[leaf] * x, 0.0)
        value = np.where(holes, leaves.plain[leaf], leaves.constant[leaf] + terms.sum(axis=1))
        total[:, i % outer.targets] += value
    return linked(outer, total / outer.divide + outer.base)


def seen_by(ensemble: Ensemble, rows: Array) -> Array:
    """Return the rows as the trees compare them."""
    with np.errstate(over="ignore"):
        seen = rows.astype(np.float32 if ensemble.compares == "FP32" else np.float64)
    seen = seen.astype(np.float64)
    for feature, (low, high) in ensemble.absent.items():
        column = seen[:, feature]
        seen[(column >= low) & (column <= high), feature] = np.nan
    for feature, rounding in ensemble.codes.items():
        seen[:, feature] = (np.floor if rounding == "floor" else np.trunc)(seen[:, feature])
    return seen


def rows_at_splits(ensemble: Ensemble, rows: Array, count: int, seed: int = 0) -> Array:
    """Return rows whose values lie on thresholds or one step beside them, some of them missing.

    A step is one unit in the last place of float64 or of float32; category columns get codes,
    fractions, negative and unseen ones.
    """
    generator = np.random.default_rng(seed)
    chosen = rows[generator.integers(len(rows), size=count)].astype(np.float64)
    for feature, limits in ensemble.thresholds().items():
        finite = limits[np.abs(limits) < 1e38]
        if not len(finite):
            continue
        near = finite[generator.integers(len(finite), size=count)]
        single = near.astype(np.float32)
        ways = np.stack(
            [
                near,
                np.nextafter(near, np.inf),
                np.nextafter(near, -np.inf),
                np.nextafter(single, np.float32(np.inf)).astype(np.float64),
                np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
                chosen[:, feature],
            ]
        )
        chosen[:, feature] = ways[generator.integers(len(ways), size=count), np.arange(count)]
    for feature in ensemble.codes:
        odd = np.array([-1, -0.5, -0.0, 0.5, 2.7, 31, 32, 33, 63.9, 1e6, 1e12, 2.0**31, np.nan])
        swap = generator.random(count) < 0.4
        chosen[swap, feature] = generator.choice(odd, size=int(swap.sum()))
    special = np.array([0.0, -0.0, 1e-35, -1e-35, 1.0000000180025095e-35, 2e-35, np.nan, np.nan])
    swap = generator.random(chosen.shape) < 0.1
    chosen[swap] = generator.choice(special, size=int(swap.sum()))
    return chosen


def _leaves(tree: Tree, seen: Array) -> Array:
    """Return the leaf that each row falls into."""
    at = np.zeros(len(seen), dtype=int)
    while (inner := tree.feature[at] >= 0).any():
        value = seen[np.arange(len(seen)), np.maximum(tree.feature[at], 0)]
        true = _holds(tree, at, value)
        true = np.where(np.isnan(value), tree.missing_true[at], true)
        at = np.where(inner, np.where(true, tree.when_true[at], tree.when_false[at]), at)
    return at


def _holds(tree: Tree, at: Array, value: Array) -> Array:
    mode, limit = tree.mode[at], tree.threshold[at]
    compare = {
        Mode.LEQ: np.less_equal, Mode.LT: np.less, Mode.GTE: np.greater_equal,
        Mode.GT: np.greater, Mode.EQ: np.equal, Mode.NEQ: np.not_equal,
    }  # fmt: skip
    true = np.select(
        [mode == chosen for chosen in compare],
        [call(value, limit) for call in compare.values()],
        default=False,
    )
    for node, codes in tree.members.items():
        true = np.where(at == node, np.isin(value, codes), true)
    return true


@dataclass(frozen=True)
class Compared:
    """How far answers lie apart: the scores' largest relative difference, and labels that differ.

    Differences of scores below 1 are absolute.
    """

    far: float
    flips: int
    signature: Signature
    size: int


def compared(model: Any, frame: Any, asked: Any, folder: Path) -> Compared:
    """Convert a model that was trained on `frame`'s columns, and ask both the rows `asked`."""
    ready, plain = served(model, frame)
    original = describe(ready)
    rows = _as_sent(asked, plain)
    nullable = frozenset(rows.columns)
    known = {str(plain.columns[i]): v for i, v in getattr(ready, "known", {}).items()}
    columns = signature.columns(rows, known, nullable)
    return _compare(original, rows, columns, folder)


def _compare(original: Original, rows: Any, columns: Any, folder: Path) -> Compared:
    done = convert(original, columns)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(done.onnx)
    (folder / "signature.json").write_text(json.dumps(done.signature.to_json()))
    predictor = Predictor(folder, threads=1)
    used = {feature.name for feature in done.signature.features}
    sent = records(rows, [column for column in columns if column.name in used])
    answers = predictor.run(predictor.encode(sent))
    expected = original.answer(rows)
    far, flips = 0.0, 0
    for output, value in zip(done.signature.outputs, expected.values(), strict=True):
        actual = answers[output.name]
        wanted = value.reshape(actual.shape)
        if wanted.dtype.kind == "f":
            scale = np.maximum(np.abs(wanted.astype(np.float64)), 1.0)
            far = max(far, float((np.abs(actual - wanted) / scale).max()))
        else:
            flips += int((actual != wanted).sum())
    return Compared(far, flips, done.signature, len(done.onnx))


def _as_sent(asked: Any, plain: Any) -> Any:
    return asked.set_axis(list(plain.columns), axis=1)


def asked_inside(model: Any, frame: Any, folder: Path, *, edges: bool = True) -> Compared:
    """Convert a scikit-learn model, and ask the frame's rows and rows next to its splits."""
    original = describe(model)
    moved = find_edges(model, frame, 300, 0)[0] if edges else frame.head(0)
    rows = pd.concat([frame, moved], ignore_index=True) if len(moved) else frame
    columns = signature.columns(rows, signature.encoded_columns(original))
    return _compare(original, rows, columns, folder)
