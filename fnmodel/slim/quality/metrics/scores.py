"""Metrics of class probabilities: losses, and how well the scores rank."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError
from fnmodel.slim.quality.answers import Answers, Coded, Label, positive_code
from fnmodel.slim.quality.bootstrap import Figure, by_code

Array = NDArray[Any]

LOSSES = frozenset({"brier_score", "log_loss"})
RANKINGS = frozenset({"average_precision", "roc_auc", "roc_auc_ovr", "roc_auc_ovr_weighted"})

# Rounding in float16 and in a softmax of many classes stays below this.
_SLACK = 1e-3


def probabilities(name: str, answers: Answers, coded: Coded) -> Array:
    """Return one column a class, shape (n, C); a lone column is that of the second of two.

    Raises:
        SlimError: there are no scores, they do not fit the classes, or a true label has none.

    """
    if answers.probabilities is None:
        raise SlimError(
            f"{name} needs probabilities, and the model gives none",
            hint="judge it by its labels, such as accuracy or f1_macro",
        )
    given = answers.probabilities.reshape(answers.rows, -1)
    if given.dtype.kind != "f":
        given = given.astype(np.float64)
    if given.shape[1] == 1 and coded.known == 2:
        given = np.concatenate([1 - given, given], axis=1)
    if given.shape[1] != coded.known:
        raise SlimError(
            f"{name}: the model gives {given.shape[1]} scores a row for {coded.known} classes"
        )
    if (coded.truth >= coded.known).any():
        strange = coded.classes[int(coded.truth.max())]
        raise SlimError(
            f"{name}: the true label {strange!r} is not among the model's classes",
            hint="mend the labels of the sample, or train the model on them",
        )
    if not np.isfinite(given).all():
        row = int(np.flatnonzero(~np.isfinite(given).all(axis=1))[0])
        raise SlimError(f"{name}: the model's scores of row {row} hold NaN or infinities")
    return given


def loss(name: str, answers: Answers, coded: Coded) -> Figure:
    """Return the log loss or the Brier score; the latter is halved for two classes.

    Raises:
        SlimError: as `probabilities`, or the scores are not probabilities.

    """
    given = probabilities(name, answers, coded)
    total = given.sum(axis=1, dtype=np.float64)
    if given.min() < -_SLACK or np.abs(total - 1).max() > _SLACK:
        raise SlimError(
            f"{name}: the model's scores are not probabilities (none below 0, sum 1)",
            hint="judge its ranking (roc_auc) or its labels (accuracy) instead",
        )
    rows = np.arange(len(given))
    if name == "log_loss":
        smallest = float(np.finfo(given.dtype).eps)
        of_truth = given[rows, coded.truth].astype(np.float64)
        losses = -np.log(np.clip(of_truth, smallest, 1 - smallest))
    else:
        apart = np.clip(given.astype(np.float64), 0.0, 1.0)
        apart[rows, coded.truth] -= 1
        losses = (apart**2).sum(axis=1) * (0.5 if coded.known < 3 else 1.0)
    return lambda weights: weights @ losses / weights.sum(axis=1)


def ranking(name: str, answers: Answers, coded: Coded, positive: Label | None) -> Figure:
    """Return the area under the ROC or the precision-recall curve.

    Raises:
        SlimError: as `probabilities`, or there are more than two classes and no average is named.

    """
    scores = probabilities(name, answers, coded)
    if coded.known == 2:
        at = positive_code(coded.classes, positive, name)
        area = _average_precision if name == "average_precision" else _roc_auc
        return area(scores[:, at], coded.truth == at)
    if name in {"average_precision", "roc_auc"}:
        raise SlimError(
            f"{name} is about two classes, and there are {coded.known}", hint="use roc_auc_ovr"
        )
    each = [_roc_auc(scores[:, at], coded.truth == at) for at in range(coded.known)]
    if name == "roc_auc_ovr":
        return lambda weights: np.mean([area(weights) for area in each], axis=0)
    shares = by_code(coded.truth, coded.known)

    def weighted(weights: Array) -> Array:
        areas = np.stack([area(weights) for area in each], axis=1)
        return np.asarray((areas * shares(weights)).sum(axis=1) / weights.sum(axis=1))

    return weighted


def _roc_auc(scores: Array, hit: Array) -> Figure:
    """Return the share of pairs of a hit and another row that are ranked right; ties count half."""
    hits, others = np.flatnonzero(hit), np.flatnonzero(~hit)
    others = others[np.argsort(scores[others], kind="stable")]
    below = np.searchsorted(scores[others], scores[hits], side="left")
    upto = np.searchsorted(scores[others], scores[hits], side="right")

    def area(weights: Array) -> Array:
        summed = np.zeros((len(weights), len(others) + 1))
        np.cumsum(np.take(weights, others, axis=1), axis=1, out=summed[:, 1:])
        ranked = np.take(summed, below, axis=1)
        ranked += np.take(summed, upto, axis=1)
        of_hits = np.take(weights, hits, axis=1)
        won = np.einsum("ij,ij->i", ranked, of_hits) / 2
        return np.asarray(won / (of_hits.sum(axis=1) * summed[:, -1]))

    return area


def _average_precision(scores: Array, hit: Array) -> Figure:
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = hit[order].astype(np.float64)

    def area(weights: Array) -> Array:
        ranked = np.take(weights, order, axis=1)
        found = np.cumsum(ranked * hits, axis=1)[:, ends]
        seen = np.cumsum(ranked, axis=1)[:, ends]
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
        gained = np.diff(found, axis=1, prepend=0.0)
        return np.asarray((gained * precision).sum(axis=1) / found[:, -1])

    return area
