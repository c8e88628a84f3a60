"""How good predictions are: estimated from rows without labels, realised from those with them."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from fnmodel.histogram import as_text
from fnmodel.model import Signature
from fnmodel.profile import Array, Profile
from fnmodel.watch import estimate, labels, multivariate, realised, statistics
from fnmodel.watch.drift import Rules
from fnmodel.watch.realised import Change, Group, Interval, Segment
from fnmodel.watch.rows import Row
from fnmodel.watch.table import Table, normal_scores, table


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be reported: rows in [since, until), ISO 8601 in UTC; earlier ones are a baseline.

    `unkept` are features that capture drops or hashes. `group` is a feature whose groups are
    compared for fairness, `positive` the answer that is good for people; else the last class.
    """

    since: str
    until: str
    name: str = ""
    rules: Rules = field(default_factory=Rules)
    unkept: AbstractSet[str] = frozenset()
    group: str | None = None
    positive: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "unkept": sorted(self.unkept)}


@dataclass(frozen=True, slots=True)
class Performance:
    """How good predictions are: estimated without labels, and realised where these have come."""

    main: str
    task: str
    estimated: estimate.Estimate | None = None
    realised: Mapping[str, float] = field(default_factory=dict)
    interval: Interval | None = None
    labelled: int = 0
    baseline: Interval | None = None
    segments: tuple[Segment, ...] = ()
    changes: tuple[Change, ...] = ()
    groups: tuple[Group, ...] = ()


def worse(found: Performance, alpha: float) -> list[str]:
    """Say that the realised figure is worse than before, where both are known."""
    now, before = found.interval, found.baseline
    if now is None or before is None:
        return []
    fell = before.value - now.value if found.main != "mae" else now.value - before.value
    spread = math.hypot(now.high - now.low, before.high - before.low) / (2 * 1.96)
    matters = fell >= (_FELL if found.main != "mae" else _FELL * before.value)
    if not (matters and spread and statistics.normal_tail(fell / spread) <= alpha):
        return []
    return [f"{found.main} is {now.value:.3g}, it was {before.value:.3g}"]


_FELL = 0.02
"""The least loss of accuracy that calls for a person; of a mean error, as a share of it."""


class Evidence:
    """The rows of now and before as arrays, those with labels, and what earlier labels taught."""

    def __init__(
        self,
        now: Sequence[Row],
        before: Sequence[Row],
        reference: Profile,
        signature: Signature,
        question: Question,
        known: Mapping[str, labels.Label],
    ) -> None:
        self._reference = reference
        self._question = question
        self._classes = tuple(as_text(value) for value in signature.classes)
        self._task: realised.Task | None = (
            "classification"
            if signature.label is not None
            else "regression"
            if signature.one_value
            else None
        )
        self.now = table(now, reference, signature)
        self.before = table(before, reference, signature)
        numeric = self._task == "regression"
        self._labelled, self._labels = labels.joined(self.now, known, numeric=numeric)
        self._earlier, self._earlier_labels = labels.joined(self.before, known, numeric=numeric)
        self._calibration: estimate.Calibration | None = None
        self._losses: estimate.LossModel | None = None
        if self._task == "classification":
            self._calibration = estimate.calibrate(
                self._earlier, self._earlier_labels, self._classes
            )
        elif self._task == "regression":
            self._losses = estimate.loss_model(self._earlier, self._earlier_labels)

    @property
    def _main(self) -> str:
        return "mae" if self._task == "regression" else "accuracy"

    def _estimate(self, rows: Table) -> estimate.Estimate | None:
        if self._task == "regression":
            return estimate.regressor(rows, self._losses)
        return estimate.classifier(rows, self._classes, self._calibration)

    def _interval(self, rows: Table, true: Any) -> Interval | None:
        if self._task is None or not len(true):
            return None
        loss = realised.losses(rows, true, self._task)
        wrong = self._task == "classification"
        return realised.interval(1 - loss if wrong else loss, rows.weights, share=wrong)

    def between(self, first: str, last: str) -> tuple[float | None, Interval | None]:
        """Return the main figure of a stretch of hours, as estimated and as realised."""
        expected, came = None, None
        for whole, labelled, known in (
            (self.before, self._earlier, self._earlier_labels),
            (self.now, self._labelled, self._labels),
        ):
            inside = _hours(whole, first, last)
            if inside.any():
                found = self._estimate(whole.take(inside))
                expected = found.figures[found.main] if found else expected
            own = _hours(labelled, first, last)
            if own.any():
                came = self._interval(labelled.take(own), known[own])
        return expected, came

    def performance(self) -> Performance:
        """Return what is known of how good predictions are."""
        estimated = self._estimate(self.now)
        result = Performance(self._main, self._task or "other", estimated)
        if self._task is None:
            return result
        true = self._labels if len(self._labels) else None
        result = replace(result, groups=self._groups(true))
        if true is None:
            return result
        loss = realised.losses(self._labelled, true, self._task)
        earlier = self._interval(self._earlier, self._earlier_labels)
        return replace(
            result,
            realised=realised.figures(self._labelled, true, self._task, self._classes),
            interval=self._interval(self._labelled, true),
            labelled=len(true),
            baseline=earlier,
            segments=tuple(realised.segments(self._labelled, loss)[:5]),
            changes=tuple(self._changes(self._task, loss)),
        )

    def _changes(self, task: realised.Task, loss: Array) -> list[Change]:
        """Return the alarms since the report begins; detectors learn from all rows before."""
        past = realised.losses(self._earlier, self._earlier_labels, task)
        times = [*self._earlier.times, *self._labelled.times]
        found = realised.changes(np.concatenate([past, loss]), times, task)
        return [one for one in found if one.time >= self._question.since][:20]

    def _groups(self, true: Any) -> tuple[Group, ...]:
        name = self._question.group
        if name is None or self._task != "classification":
            return ()
        positive = self._question.positive or (self._classes[-1] if self._classes else "")
        rows = self.now if true is None else self._labelled
        found = realised.groups(rows, true, _members(rows, name), positive)
        before = realised.groups(self.before, None, _members(self.before, name), positive)
        earlier = {one.name: one.selected for one in before}
        return tuple(replace(one, earlier=earlier.get(one.name)) for one in found[:20])

    def groups(self, first: str, last: str) -> tuple[Group, ...]:
        """Return the rates of a stretch of hours by the groups that are asked about."""
        found: list[Group] = []
        for rows, labelled, true in (
            (self.before, self._earlier, self._earlier_labels),
            (self.now, self._labelled, self._labels),
        ):
            own = _hours(labelled, first, last)
            some = labelled.take(own), true[own]
            found += self._rates(rows.take(_hours(rows, first, last)), *some)
        return tuple(found)

    def _rates(self, rows: Table, labelled: Table, true: Array) -> tuple[Group, ...]:
        """Return groups with the positive answers of all rows, and those found of labelled ones."""
        name = self._question.group
        if name is None or self._task != "classification" or not len(rows.rows):
            return ()
        positive = self._question.positive or (self._classes[-1] if self._classes else "")
        known = realised.groups(labelled, true, _members(labelled, name), positive)
        came = {one.name: one.found for one in known}
        every = realised.groups(rows, None, _members(rows, name), positive)
        return tuple(replace(one, found=came.get(one.name)) for one in every[:20])

    def separation(self) -> multivariate.Separation | None:
        """Return how well a classifier tells rows of now from earlier ones."""
        kept = [at for at, name in enumerate(self.now.names) if name not in self._question.unkept]
        names = tuple(self.now.names[at] for at in kept)
        sides = [
            normal_scores(self._reference, one.cells)[:, kept] for one in (self.before, self.now)
        ]
        return multivariate.separate(sides[0], sides[1], names)


def _hours(rows: Table, first: str, last: str) -> Array:
    return (rows.hours >= first) & (rows.hours <= last)


def _members(rows: Table, name: str) -> list[str]:
    return [as_text(row.features.get(name)) for row in rows.rows]
