"""Metrics by scikit-learn's names over a model's answers, with intervals by resampling.

The common ones are computed here for a thousand resamples at a time; every other scorer of
scikit-learn is called as it is, on 200 resamples.
"""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError, UsageError
from fnmodel.slim.quality.answers import Answers, Label, encode
from fnmodel.slim.quality.bootstrap import FEWEST, Estimate, Figure, Statistic, draw
from fnmodel.slim.quality.metrics import labels, scorer, scores, values

Array = NDArray[Any]

_SHORT = {
    "auc": "roc_auc",
    "brier": "brier_score",
    "brier_score_loss": "brier_score",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "r2_score": "r2",
    "rmse": "root_mean_squared_error",
}
_LOWER = values.ERRORS | scores.LOSSES
_OWN = labels.NAMES | scores.LOSSES | scores.RANKINGS | values.NAMES


@dataclass(frozen=True)
class Metric:
    """A metric by name: what is computed (`base`), times `sign`, and which way is better."""

    name: str
    base: str
    sign: int
    greater_is_better: bool


def metric(name: str) -> Metric:
    """Find a metric: a scorer of scikit-learn, the same without `neg_`, or a short name.

    `neg_log_loss` is greater where better, `log_loss` is less. The short names are `auc`, `brier`,
    `mae`, `mape`, `mse` and `rmse`.

    Raises:
        UsageError: there is no such metric; names the nearest.
        MissingExtraError: it is not among the common ones, and scikit-learn is not installed.

    """
    plain = name.removeprefix("neg_")
    negated = plain != name
    base = _SHORT.get(plain, plain)
    if base in _LOWER:
        return Metric(name, base, -1 if negated else 1, greater_is_better=negated)
    if base in _OWN and not negated:
        return Metric(name, base, 1, greater_is_better=True)
    known = scorer.names(name)
    if name in known:
        return Metric(name, name, 1, greater_is_better=True)
    if f"neg_{name}" in known:
        return Metric(name, f"neg_{name}", -1, greater_is_better=False)
    near = difflib.get_close_matches(name, sorted({*known, *_OWN, *_SHORT}), n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"there is no metric {name!r}{guess}",
        hint="use the name of a scorer of scikit-learn, such as roc_auc or neg_log_loss",
    )


def measure(name: str, answers: Answers, truth: Array, positive: Label | None = None) -> float:
    """Return a metric of a model's answers, NaN where it is undefined.

    `truth` has shape (n,), or (n, T) for T values a row. `positive` is the label that a metric of
    two classes is about: the second of the model's classes unless declared.

    Raises:
        UsageError, MissingExtraError: as `metric`.
        SlimError: the answers or the truth do not suit the metric.

    """
    return statistic(metric(name), answers, truth, positive).value(answers.rows)


def estimate(
    name: str,
    answers: Answers,
    truth: Array,
    rng: np.random.Generator,
    positive: Label | None = None,
) -> Estimate:
    """Return a metric with its 95 % percentile interval.

    Raises:
        UsageError, MissingExtraError, SlimError: as `measure`.

    """
    (drawn,) = draw([statistic(metric(name), answers, truth, positive)], answers.rows, rng)
    return drawn.estimate()


def statistic(
    found: Metric, answers: Answers, truth: Array, positive: Label | None = None
) -> Statistic:
    """Return a metric as a function of row weights.

    Raises:
        SlimError: the answers or the truth do not suit the metric.

    """
    truth = np.asarray(truth)
    if not answers.rows or len(truth) != answers.rows:
        raise SlimError(
            f"{found.name} needs a true answer for each row: there are {len(truth)} for "
            f"{answers.rows} rows",
            hint="give a sample with the column that `target:` names",
        )
    plain = _statistic(found.base, answers, truth, positive)
    return plain if found.sign > 0 else Statistic(_negated(plain.of), plain.most)


def _statistic(base: str, answers: Answers, truth: Array, positive: Label | None) -> Statistic:
    if base in values.NAMES:
        return Statistic(values.figure(base, *values.numbers(base, answers, truth)))
    if answers.values is not None:
        if base in _OWN:
            raise SlimError(
                f"{base} is about labels, and the model gives numbers",
                hint="use r2, mean_absolute_error or root_mean_squared_error",
            )
        return Statistic(scorer.of_values(base, answers, truth), FEWEST)
    coded = encode(answers, truth)
    if base in labels.NAMES:
        return Statistic(labels.figure(base, coded, positive))
    if base in scores.LOSSES:
        return Statistic(scores.loss(base, answers, coded))
    if base in scores.RANKINGS and (base != "average_precision" or coded.known == 2):
        return Statistic(scores.ranking(base, answers, coded, positive))
    return Statistic(scorer.of_labels(base, answers, coded, positive), FEWEST)


def _negated(of: Figure) -> Figure:
    return lambda weights: -of(weights)
