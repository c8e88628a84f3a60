"""How good predictions probably are, before any label is there.

A classifier that says 0.8 and is right in 80 of 100 such cases tells its own accuracy: the mean of
what it says (confidence-based estimation, CBPE). A regressor does not say how sure it is; where
labels of earlier rows are there, a small model of its errors does (direct loss estimation, DLE).

Both see what a change of the inputs does to the figures. Neither sees that the world now answers
differently to the same inputs: only labels do. Scores that are not calibrated give a biased
estimate; with labels of earlier rows they are calibrated here, by isotonic regression.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fnmodel.profile import Array
from fnmodel.watch import statistics
from fnmodel.watch.columns import texts
from fnmodel.watch.sample import Sample
from fnmodel.watch.table import Table


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected figures by name; `spread` is the standard deviation that chance gives `main`.

    `learned` is how many labelled rows taught the calibration or the model of errors.
    """

    main: str
    figures: Mapping[str, float]
    spread: float
    rows: int
    learned: int = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising function from scores to shares of hits, between `scores` linear."""

    scores: Array
    shares: Array
    rows: int

    def __call__(self, scores: Array) -> Array:
        """Return calibrated probabilities, of the same shape."""
        return np.asarray(np.interp(scores, self.scores, self.shares))


def isotonic(scores: Array, hits: Array) -> Calibration:
    """Fit the rising function nearest to `hits` (0 or 1), shape (n,), by pooling violators."""
    values, at = np.unique(scores, return_inverse=True)
    weights = np.bincount(at).astype(np.float64)
    means = np.bincount(at, weights=hits) / weights
    blocks: list[list[float]] = []  # mean, weight, first score, last score
    for value, mean, weight in zip(values.tolist(), means.tolist(), weights.tolist(), strict=True):
        blocks.append([mean, weight, value, value])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (m, w, _, last), before = blocks.pop(), blocks[-1]
            before[0] = (before[0] * before[1] + m * w) / (before[1] + w)
            before[1] += w
            before[3] = last
    knots = [(edge, block[0]) for block in blocks for edge in dict.fromkeys(block[2:])]
    places, shares = map(np.array, zip(*knots, strict=True))
    return Calibration(places, shares, len(scores))


def calibrate(table: Table, labels: Array, classes: tuple[str, ...]) -> Calibration | None:
    """Fit what a classifier's scores mean, from labelled rows; None from fewer than 100.

    Of two classes it is the second's probability, of more that of the label that was given.
    """
    if table.scores is None or len(labels) < _FEWEST:
        return None
    if len(classes) == 2:
        return isotonic(table.scores[:, 1], (labels == classes[1]).astype(np.float64))
    said = texts(table.answers)
    return isotonic(table.scores.max(axis=1), (labels == said).astype(np.float64))


_FEWEST = 100


def classifier(
    table: Table, classes: tuple[str, ...], calibration: Calibration | None = None
) -> Estimate | None:
    """Estimate a classifier's figures; None where it gives no probabilities.

    Two classes: accuracy, precision, recall, f1 and auc, the second class being the positive one.
    More: accuracy alone.
    """
    if table.scores is None or not len(table.rows):
        return None
    weights = table.weights / table.weights.sum()
    learned = calibration.rows if calibration else 0
    if len(classes) == 2:
        chance = table.scores[:, 1]
        chance = calibration(chance) if calibration else chance
        positive = texts(table.answers) == classes[1]
        right = np.where(positive, chance, 1 - chance)
        figures = _binary(chance, positive, table.scores[:, 1], weights)
    else:
        right = table.scores.max(axis=1)
        right = calibration(right) if calibration else right
        figures = {"accuracy": float(weights @ right)}
    spread = math.sqrt(float((weights**2) @ (right * (1 - right))))
    return Estimate("accuracy", figures, spread, len(table.rows), learned)


def _binary(chance: Array, positive: Array, scores: Array, weights: Array) -> dict[str, float]:
    hit, miss = weights * chance, weights * (1 - chance)
    true, false = float(hit[positive].sum()), float(miss[positive].sum())
    lost, left = float(hit[~positive].sum()), float(miss[~positive].sum())
    figures = {"accuracy": true + left}
    if true + false and true + lost:
        figures |= {
            "precision": true / (true + false),
            "recall": true / (true + lost),
            "f1": 2 * true / (2 * true + false + lost),
        }
    return figures | (
        {"auc": statistics.area(scores, hit, miss)} if true + lost and false + left else {}
    )


def from_windows(rows: Sample) -> Estimate | None:
    """Estimate a classifier's accuracy from histograms alone; None where it gives no probabilities.

    The label is taken to be the likeliest class, whose probability is `confidence`, or, of two
    classes, (1 + `margin`) / 2. Sums of both are exact, so this is what the rows would have said.
    """
    column = rows.outputs.get("confidence") or rows.outputs.get("margin")
    if column is None or column.mean is None or column.deviation is None:
        return None
    mean, spread = column.mean, column.deviation
    if "confidence" not in rows.outputs:
        mean, spread = (1 + mean) / 2, spread / 2
    chance = mean * (1 - mean) - spread**2  # the mean of p (1 - p)
    deviation = math.sqrt(max(chance, 0.0) / column.rows)
    return Estimate("accuracy", {"accuracy": mean}, deviation, rows.rows)


@dataclass(frozen=True, slots=True)
class LossModel:
    """Predicts a regressor's absolute error from the cells of its features, additively."""

    base: float
    effects: tuple[Array, ...]
    cells: tuple[int, ...]
    rows: int

    def __call__(self, cells: Array) -> Array:
        """Return the expected absolute error of each row, shape (rows,); never negative."""
        total = np.full(len(cells), self.base)
        for at, effect in enumerate(self.effects):
            total += effect[np.minimum(cells[:, at], len(effect) - 2)]
        return np.asarray(np.maximum(total, 0.0))


def loss_model(table: Table, labels: Array, *, ridge: float = 10.0) -> LossModel | None:
    """Learn where a regressor errs, from labelled rows; None from fewer than 100.

    Each feature has an effect a cell, shrunk towards none as if `ridge` rows had said so.
    """
    if len(labels) < _FEWEST:
        return None
    losses = np.abs(table.answers.astype(np.float64) - labels.astype(np.float64))
    base = float(losses.mean())
    sizes = tuple(int(table.cells[:, at].max(initial=0)) + 2 for at in range(len(table.names)))
    effects = [np.zeros(size) for size in sizes]
    left = losses - base
    for _ in range(_ROUNDS):  # backfitting: each effect on what the others leave
        for at, effect in enumerate(effects):
            cells = table.cells[:, at].astype(np.intp) % len(effect)
            left += effect[cells]
            counts = np.bincount(cells, minlength=len(effect))
            effect[:] = np.bincount(cells, weights=left, minlength=len(effect)) / (counts + ridge)
            left -= effect[cells]
    return LossModel(base, tuple(effects), sizes, len(labels))


_ROUNDS = 10


def regressor(table: Table, model: LossModel | None) -> Estimate | None:
    """Estimate a regressor's mean absolute error; None without a model of its errors."""
    if model is None or not len(table.rows):
        return None
    losses = model(table.cells)
    weights = table.weights / table.weights.sum()
    mean = float(weights @ losses)
    spread = float(losses.std()) / math.sqrt(len(losses))
    return Estimate("mae", {"mae": mean}, spread, len(losses), model.rows)
