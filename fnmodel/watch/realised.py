"""Labelled rows in; figures that came true out: over time, by segment, by group. Pure.

Rows are weighted by what they stand for. Intervals are at 95 %: Wilson's of shares, normal of
means, at the effective size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fnmodel.profile import Array
from fnmodel.watch import statistics
from fnmodel.watch.columns import texts
from fnmodel.watch.detectors import Adwin, Ddm, Detector, PageHinkley
from fnmodel.watch.table import Table

Task = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its bounds, and the rows behind it."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows of one cell of one feature: their mean loss against the others'."""

    feature: str
    cell: int
    rows: int
    loss: float
    others: float
    adjusted: float


@dataclass(frozen=True, slots=True)
class Change:
    """A detector's alarm: which, at which labelled row, and when that was asked."""

    detector: str
    row: int
    time: str


@dataclass(frozen=True, slots=True)
class Group:
    """Rates of one group: positive answers, and, among true positives, those that were found.

    `earlier` is the rate of positive answers in the baseline, where the group is there.
    """

    name: str
    rows: int
    selected: Interval
    found: Interval | None
    earlier: Interval | None = None


def losses(table: Table, labels: Array, task: Task) -> Array:
    """Return each row's loss: 1 for a wrong label, a regressor's absolute error."""
    if task == "classification":
        return np.asarray(texts(table.answers) != labels, dtype=np.float64)
    return np.asarray(np.abs(table.answers.astype(np.float64) - labels))


def figures(table: Table, labels: Array, task: Task, classes: Sequence[str]) -> dict[str, float]:
    """Return the metrics of labelled rows, by name."""
    weights = table.weights / table.weights.sum()
    loss = losses(table, labels, task)
    if task == "regression":
        error = table.answers.astype(np.float64) - labels
        return {
            "mae": float(weights @ loss),
            "rmse": math.sqrt(float(weights @ error**2)),
            "bias": float(weights @ error),
        }
    result = {"accuracy": 1 - float(weights @ loss)}
    if len(classes) == 2:
        said, true = texts(table.answers) == classes[1], labels == classes[1]
        hits = float(weights[said & true].sum())
        if hits:
            precision, recall = hits / float(weights[said].sum()), hits / float(weights[true].sum())
            result |= {"precision": precision, "recall": recall}
            result["f1"] = 2 * precision * recall / (precision + recall)
        if table.scores is not None:
            result["brier"] = float(weights @ (table.scores[:, 1] - true) ** 2)
            if 0 < true.sum() < len(true):
                result["auc"] = statistics.area(table.scores[:, 1], weights * true, weights * ~true)
    return result


def interval(values: Array, weights: Array, *, share: bool) -> Interval:
    """Return the weighted mean of values, shape (n,), with its bounds."""
    total = float(weights.sum())
    mean = float(weights @ values) / total
    size = total**2 / float(weights @ weights)
    if share:
        z2 = 1.96**2
        middle = (mean + z2 / (2 * size)) / (1 + z2 / size)
        half = 1.96 / (1 + z2 / size) * math.sqrt(mean * (1 - mean) / size + z2 / (4 * size**2))
        return Interval(mean, max(middle - half, 0.0), min(middle + half, 1.0), len(values))
    spread = math.sqrt(float(weights @ (values - mean) ** 2) / total / size)
    return Interval(mean, mean - 1.96 * spread, mean + 1.96 * spread, len(values))


def segments(table: Table, loss: Array, *, least: int = 50) -> list[Segment]:
    """Return the cells of features in which the loss is higher than elsewhere, worst first.

    A cell is looked at when it has `least` labelled rows; p-values are adjusted by Holm,
    and at most 0.01.
    """
    found: list[Segment] = []
    chances: list[float] = []
    for at, name in enumerate(table.names):
        cells = table.cells[:, at]
        for cell in np.unique(cells).tolist():
            inside = cells == cell
            count = int(inside.sum())
            if min(count, len(loss) - count) < least:
                continue
            one, other = loss[inside], loss[~inside]
            spread = math.sqrt(one.var() / len(one) + other.var() / len(other))
            apart = float(one.mean() - other.mean())
            found.append(Segment(name, cell, count, float(one.mean()), float(other.mean()), 1.0))
            chances.append(statistics.normal_tail(apart / spread) if spread else 1.0)
    if not found:
        return []
    adjusted = statistics.holm(np.array(chances)).tolist()
    judged = [
        Segment(one.feature, one.cell, one.rows, one.loss, one.others, chance)
        for one, chance in zip(found, adjusted, strict=True)
        if chance <= 0.01
    ]
    return sorted(judged, key=lambda one: one.others - one.loss)


def changes(loss: Array, times: Sequence[str], task: Task) -> list[Change]:
    """Return the alarms of each detector over losses in order of time.

    Absolute errors are cut at ten times their median and scaled to at most 1, which ADWIN's bound
    and Page-Hinkley's threshold are for; DDM is for errors of 0 and 1 alone.
    """
    detectors: dict[str, Detector] = {"adwin": Adwin(), "page-hinkley": PageHinkley()}
    scaled = loss
    if task == "classification":
        detectors["ddm"] = Ddm()
    else:
        most = 10 * float(np.median(loss)) or float(loss.max(initial=0.0)) or 1.0
        scaled = np.minimum(loss / most, 1.0)
    found = []
    for row, (x, time) in enumerate(zip(scaled.tolist(), times, strict=True)):
        found += [Change(name, row, time) for name, one in detectors.items() if one.update(x)]
    return found


def groups(
    table: Table, labels: Array | None, members: Sequence[str], positive: str, *, least: int = 50
) -> list[Group]:
    """Return the rates of each group of `least` rows; `members` names each row's group."""
    said = (texts(table.answers) == positive).astype(np.float64)
    names = np.array(members, dtype=object)
    result = []
    for name in sorted(set(members)):
        own = names == name
        if own.sum() < least:
            continue
        found = None
        if labels is not None:
            true = own & (labels == positive)
            if true.sum() >= least:
                found = interval(said[true], table.weights[true], share=True)
        selected = interval(said[own], table.weights[own], share=True)
        result.append(Group(name, int(own.sum()), selected, found))
    return result
