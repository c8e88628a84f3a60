"""Metrics of predicted labels: accuracy, and what follows from hits, true and given counts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError
from fnmodel.slim.quality.answers import Coded, Label, positive_code
from fnmodel.slim.quality.bootstrap import Figure, by_code

Array = NDArray[Any]

AVERAGED = ("f1", "jaccard", "precision", "recall")
_AVERAGES = ("macro", "micro", "weighted")
NAMES = frozenset(
    {"accuracy", "balanced_accuracy", "matthews_corrcoef", *AVERAGED}
    | {f"{name}_{average}" for name in AVERAGED for average in _AVERAGES}
)


def figure(name: str, coded: Coded, positive: Label | None) -> Figure:
    """Return the metric of that name, as scikit-learn defines it; 0 / 0 is 0.

    Raises:
        SlimError: there are no labels, or f1 and its like have no positive label to be about.

    """
    if coded.predicted is None:
        raise SlimError(f"{name} needs labels, and the model gives none")
    right = (coded.truth == coded.predicted).astype(np.float64)
    if name == "accuracy":
        return lambda weights: weights @ right / weights.sum(axis=1)
    size = len(coded.classes)
    at = positive_code(coded.classes, positive, name) if name in AVERAGED else 0
    true_of, given_of = by_code(coded.truth, size), by_code(coded.predicted, size)

    def of(weights: Array) -> Array:
        true, given, hits = true_of(weights), given_of(weights), true_of(weights * right)
        if name == "balanced_accuracy":
            return _mean_where(hits / true, true > 0)
        if name == "matthews_corrcoef":
            return _matthews(hits.sum(axis=1), true, given)
        return _averaged(name, at, true, given, hits)

    return of


def _averaged(name: str, at: int, true: Array, given: Array, hits: Array) -> Array:
    base, _, average = name.partition("_")
    below = {"precision": given, "recall": true, "f1": (true + given) / 2}.get(
        base, true + given - hits
    )
    if average == "micro":
        return _share(hits.sum(axis=1), below.sum(axis=1))
    shares = _share(hits, below)
    if average == "macro":
        return _mean_where(shares, true + given > 0)
    if average == "weighted":
        return np.asarray((shares * true).sum(axis=1) / true.sum(axis=1))
    return np.asarray(shares[:, at])


def _matthews(hits: Array, true: Array, given: Array) -> Array:
    rows = true.sum(axis=1)
    above = hits * rows - (true * given).sum(axis=1)
    below = (rows**2 - (given**2).sum(axis=1)) * (rows**2 - (true**2).sum(axis=1))
    return np.where(below > 0, above / np.sqrt(below), 0.0)


def _share(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _mean_where(values: Array, counted: Array) -> Array:
    total = np.where(counted, values, 0.0).sum(axis=1)
    return np.asarray(total / counted.sum(axis=1))
