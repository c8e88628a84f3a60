"""Metrics of predicted numbers; of several outputs a row, the mean of each one's metric."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError
from fnmodel.slim.quality.answers import Answers
from fnmodel.slim.quality.bootstrap import Figure

Array = NDArray[Any]

ERRORS = frozenset(
    {
        "max_error", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error",
        "mean_squared_log_error", "median_absolute_error", "root_mean_squared_error",
        "root_mean_squared_log_error",
    }
)  # fmt: skip
NAMES = ERRORS | {"explained_variance", "r2"}


def numbers(name: str, answers: Answers, truth: Array) -> tuple[Array, Array]:
    """Return values and truth as float64 of one shape (n, T).

    Raises:
        SlimError: one of them is not numbers, their shapes differ, or a true value is missing.

    """
    if answers.values is None:
        raise SlimError(
            f"{name} is about numbers, and the model gives labels",
            hint="use accuracy, f1_macro or roc_auc",
        )
    values = answers.values.astype(np.float64).reshape(answers.rows, -1)
    try:
        true = np.asarray(truth).astype(np.float64).reshape(answers.rows, -1)
    except (TypeError, ValueError) as error:
        raise SlimError(f"{name} is about numbers, and the truth is not") from error
    if values.shape != true.shape:
        raise SlimError(
            f"{name}: the model gives {values.shape[1]} values a row, the truth has {true.shape[1]}"
        )
    if not np.isfinite(true).all():
        row = int(np.flatnonzero(~np.isfinite(true).all(axis=1))[0])
        raise SlimError(
            f"{name}: the true value of row {row} is missing or not finite",
            hint="leave rows without a true value out of the sample",
        )
    return values, true


def figure(name: str, values: Array, truth: Array) -> Figure:
    """Return the metric of that name, as scikit-learn defines it; arrays of shape (n, T).

    Raises:
        SlimError: a logarithmic error of values that have no logarithm.

    """
    apart = truth - values
    if name in {"explained_variance", "r2"}:
        return _explained(truth, apart, shifted=name != "r2")
    far = np.abs(apart)
    if name == "max_error":
        largest = far.max(axis=1)
        return lambda weights: np.where(weights > 0, largest, 0.0).max(axis=1)
    if name == "median_absolute_error":
        return _median_of(far)
    if name == "mean_absolute_percentage_error":
        far = far / np.maximum(np.abs(truth), np.finfo(np.float64).eps)
    if name.endswith("squared_log_error"):
        if (truth <= -1).any() or (values <= -1).any():
            raise SlimError(f"{name} needs values above -1")
        apart = np.log1p(truth) - np.log1p(values)
    squared = "squared" in name
    return _mean_of(apart**2 if squared else far, np.sqrt if name.startswith("root") else None)


def _mean_of(losses: Array, then: Callable[[Array], Array] | None) -> Figure:
    def of(weights: Array) -> Array:
        means = weights @ losses / weights.sum(axis=1, keepdims=True)
        return np.asarray((then(means) if then else means).mean(axis=1))

    return of


def _median_of(far: Array) -> Figure:
    orders = np.argsort(far, axis=0, kind="stable")

    def of(weights: Array) -> Array:
        count = weights.sum(axis=1, keepdims=True)
        medians = []
        for column, order in zip(far.T, orders.T, strict=True):
            upto = np.cumsum(np.take(weights, order, axis=1), axis=1)
            lower = np.argmax(upto >= np.floor((count + 1) / 2), axis=1)
            upper = np.argmax(upto >= np.floor(count / 2) + 1, axis=1)
            medians.append((column[order][lower] + column[order][upper]) / 2)
        return np.asarray(np.mean(medians, axis=0))

    return of


def _explained(truth: Array, apart: Array, *, shifted: bool) -> Figure:
    """Return the share of the truth's variance that is explained; `shifted` forgives a bias."""
    centred = truth - truth.mean(axis=0)

    def of(weights: Array) -> Array:
        rows = weights.sum(axis=1, keepdims=True)
        left = weights @ apart**2
        if shifted:
            left = left - (weights @ apart) ** 2 / rows
        spread = weights @ centred**2
        whole = spread - (weights @ centred) ** 2 / rows
        # Rounding leaves a constant truth a variance of next to nothing.
        constant = whole <= 1e-12 * spread
        shares = np.where(constant, np.where(left > 0, 0.0, 1.0), 1 - left / whole)
        return np.asarray(shares.mean(axis=1))

    return of
