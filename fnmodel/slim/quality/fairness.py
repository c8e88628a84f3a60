"""How a model treats groups of people: rates by group and the largest gap between two groups.

The names and figures are fairlearn's. A group that is too small to be judged is named and left
out of the gap; a rate needs enough rows of the kind that it counts.
"""

import difflib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError, UsageError
from fnmodel.slim.quality.answers import Answers, Label, encode, is_missing, positive_code
from fnmodel.slim.quality.bootstrap import Figure, Statistic, by_code
from fnmodel.slim.quality.metrics import values

Array = NDArray[Any]
Rate = Literal[
    "selection_rate", "true_positive_rate", "false_positive_rate", "accuracy",
    "mean_error", "mean_absolute_error",
]  # fmt: skip

LEAST = 30
"""Fewer rows, positives or negatives than this, and a group's rate is noise."""

_MOST_GROUPS = 50
_MISSING = "(missing)"


@dataclass(frozen=True)
class FairnessMetric:
    """The widest gap of some rates between two groups: their difference, or their ratio."""

    name: str
    rates: tuple[Rate, ...]
    ratio: bool

    @property
    def of_values(self) -> bool:
        """Whether it is about a model of numbers."""
        return self.rates[0] in {"mean_error", "mean_absolute_error"}

    @property
    def needs_truth(self) -> bool:
        """Whether it looks at the true answers."""
        return self.rates != ("selection_rate",)


_GAPS: Mapping[str, tuple[Rate, ...]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
    "false_positive_rate": ("false_positive_rate",),
    "accuracy_score": ("accuracy",),
    "mean_absolute_error": ("mean_absolute_error",),
    "mean_error": ("mean_error",),
}
METRICS: Mapping[str, FairnessMetric] = {
    f"{gap}_{kind}": FairnessMetric(f"{gap}_{kind}", rates, kind == "ratio")
    for gap, rates in _GAPS.items()
    for kind in ("difference", "ratio")
    # A mean error may be negative, which makes a ratio meaningless.
    if (gap, kind) != ("mean_error", "ratio")
}
"""Every fairness metric by its name."""


@dataclass(frozen=True)
class Group:
    """One group: its name, its rows, and its rates; `unjudged` says why it was left out.

    `positives` and `negatives` count true labels; a rate is None where nothing is counted.
    """

    name: str
    rows: int
    rates: Mapping[Rate, float | None]
    positives: int | None = None
    negatives: int | None = None
    unjudged: str = ""


@dataclass(frozen=True)
class Fairness:
    """A fairness metric as a function of row weights, and the groups that it compares.

    `statistic` is None when fewer than two groups are large enough.
    """

    groups: tuple[Group, ...]
    statistic: Statistic | None


def metric(name: str) -> FairnessMetric:
    """Find a fairness metric by its name.

    Raises:
        UsageError: there is no such metric; names the nearest.

    """
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"there is no fairness metric {name!r}{guess}", hint=f"known are {', '.join(METRICS)}"
    )


def assess(
    found: FairnessMetric,
    answers: Answers,
    truth: Array | None,
    columns: Mapping[str, Array],
    *,
    positive: Label | None = None,
    edges: Sequence[float] = (),
) -> Fairness:
    """Compare the groups that one column makes, or the combinations of several.

    Each column has shape (n,) and need not be a feature. `positive` is the label that counts as
    selected, all others do not; of two classes the second is it unless declared. `edges` cut
    columns of numbers into groups.

    Raises:
        SlimError: the answers, the truth or a column do not suit the metric.

    """
    names, codes = _groups(columns, edges, answers.rows)
    if truth is None and found.needs_truth:
        raise SlimError(
            f"{found.name} needs true answers",
            hint="name the label column of the sample with `target:`",
        )
    if truth is not None and len(truth) != answers.rows:
        raise SlimError(f"{found.name}: {len(truth)} true answers for {answers.rows} rows")
    if found.of_values:
        table = _of_values(found, answers, truth, codes, len(names))
    else:
        table = _of_labels(found, answers, truth, positive, codes, len(names))
    groups = _described(found, table, names)
    judged = np.array([at for at, group in enumerate(groups) if not group.unjudged], dtype=np.intp)
    if len(judged) < 2:
        return Fairness(groups, None)
    return Fairness(groups, Statistic(_gap(found, table, judged)))


def widest(found: FairnessMetric, groups: Sequence[Group]) -> str:
    """Name the two judged groups that lie farthest apart, with their rates."""
    gaps = []
    for rate in found.rates:
        known = [
            (value, group.name)
            for group in groups
            if not group.unjudged and (value := group.rates[rate]) is not None
        ]
        (low, least), (high, most) = min(known), max(known)
        words = f"{rate.replace('_', ' ')} is {low:.3g} for {least} and {high:.3g} for {most}"
        gaps.append((low / high if found.ratio and high else low - high, words))
    return min(gaps)[1]


@dataclass(frozen=True)
class _Table:
    """Rates by group as a function of row weights, shapes (b, G), and the counts behind them."""

    rates: Callable[[Array], Mapping[Rate, Array]]
    rows: Array
    positives: Array | None = None
    negatives: Array | None = None


def _of_values(
    found: FairnessMetric, answers: Answers, truth: Array | None, codes: Array, size: int
) -> _Table:
    given, true = values.numbers(found.name, answers, np.asarray(truth))
    errors, far = (given - true).mean(axis=1), np.abs(given - true).mean(axis=1)
    totals = by_code(codes, size)

    def rates(weights: Array) -> dict[Rate, Array]:
        rows = totals(weights)
        return {
            "mean_error": totals(weights * errors) / rows,
            "mean_absolute_error": totals(weights * far) / rows,
        }

    return _Table(rates, np.bincount(codes, minlength=size))


def _of_labels(
    found: FairnessMetric,
    answers: Answers,
    truth: Array | None,
    positive: Label | None,
    codes: Array,
    size: int,
) -> _Table:
    if answers.labels is None:
        raise SlimError(
            f"{found.name} is about labels, and the model gives numbers",
            hint="use mean_error_difference or mean_absolute_error_difference",
        )
    coded = encode(answers, answers.labels if truth is None else truth)
    at = positive_code(coded.classes, positive, found.name)
    true, selected = coded.truth == at, coded.predicted == at
    right = coded.truth == coded.predicted
    # One code for each combination, so that one pass over the weights counts them all.
    totals = by_code(codes * 8 + true * 4 + selected * 2 + right, size * 8)

    def rates(weights: Array) -> dict[Rate, Array]:
        # Axes: resample, group, is positive, was selected, is right.
        cells = totals(weights).reshape(len(weights), size, 2, 2, 2)
        rows, chosen = cells.sum(axis=(2, 3, 4)), cells.sum(axis=4)
        of: dict[Rate, Array] = {"selection_rate": chosen[:, :, :, 1].sum(axis=2) / rows}
        if truth is not None:
            of["true_positive_rate"] = chosen[:, :, 1, 1] / chosen[:, :, 1].sum(axis=2)
            of["false_positive_rate"] = chosen[:, :, 0, 1] / chosen[:, :, 0].sum(axis=2)
            of["accuracy"] = cells[..., 1].sum(axis=(2, 3)) / rows
        return of

    rows = np.bincount(codes, minlength=size)
    if truth is None:
        return _Table(rates, rows)
    positives = np.bincount(codes[true], minlength=size)
    return _Table(rates, rows, positives, rows - positives)


def _described(found: FairnessMetric, table: _Table, names: Sequence[str]) -> tuple[Group, ...]:
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = table.rates(np.ones((1, int(table.rows.sum()))))
    groups = []
    for at, name in enumerate(names):
        counted = {"rows": int(table.rows[at])}
        if table.positives is not None and "true_positive_rate" in found.rates:
            counted["positives"] = int(table.positives[at])
        if table.negatives is not None and "false_positive_rate" in found.rates:
            counted["negatives"] = int(table.negatives[at])
        few = [f"{count} {what}" for what, count in counted.items() if count < LEAST]
        groups.append(
            Group(
                name,
                int(table.rows[at]),
                {rate: _plain(figures[0, at]) for rate, figures in whole.items()},
                None if table.positives is None else int(table.positives[at]),
                None if table.negatives is None else int(table.negatives[at]),
                few[0] if few else "",
            )
        )
    return tuple(groups)


def _gap(found: FairnessMetric, table: _Table, judged: Array) -> Figure:
    """Return the widest gap between judged groups, the worst over the metric's rates."""

    def of(weights: Array) -> Array:
        rates = table.rates(weights)
        gaps = []
        for rate in found.rates:
            low, high = rates[rate][:, judged].min(axis=1), rates[rate][:, judged].max(axis=1)
            # Groups that all have a rate of 0 are treated alike.
            gaps.append(np.where(high == 0, 1.0, low / high) if found.ratio else high - low)
        return np.asarray(np.min(gaps, axis=0) if found.ratio else np.max(gaps, axis=0))

    return of


def _groups(
    columns: Mapping[str, Array], edges: Sequence[float], rows: int
) -> tuple[list[str], Array]:
    """Return the groups' names, sorted, and each row's position among them."""
    texts = []
    for name, column in columns.items():
        array = np.asarray(column)
        if len(array) != rows:
            raise SlimError(f"column {name!r} has {len(array)} values for {rows} rows")
        # Of several columns the edges cut those of numbers.
        cut = edges and (len(columns) == 1 or array.dtype.kind in "iuf")
        listed = _between(name, array, edges) if cut else [_text(v) for v in array.tolist()]
        texts.append(listed if len(columns) == 1 else [f"{name}={text}" for text in listed])
    joined = [", ".join(parts) for parts in zip(*texts, strict=True)]
    found = sorted(set(joined))
    if len(found) > _MOST_GROUPS:
        raise SlimError(
            f"{' and '.join(columns)} make {len(found)} groups; up to {_MOST_GROUPS} are compared",
            hint="cut a column of numbers with `edges:`, such as edges: [30, 50]",
        )
    position = {name: at for at, name in enumerate(found)}
    return found, np.fromiter((position[name] for name in joined), dtype=np.intp, count=rows)


def _between(name: str, array: Array, edges: Sequence[float]) -> list[str]:
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise SlimError(f"column {name!r} is not numbers, so edges cannot cut it") from error
    cuts = [f"{edge:g}" for edge in edges]
    middle = [f"{low} to {high}" for low, high in itertools.pairwise(cuts)]
    names = [f"below {cuts[0]}", *middle, f"{cuts[-1]} and above", _MISSING]
    places = np.digitize(numbers, edges)
    places[np.isnan(numbers)] = len(names) - 1
    return [names[place] for place in places]


def _text(value: Any) -> str:
    if is_missing(value):
        return _MISSING
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
