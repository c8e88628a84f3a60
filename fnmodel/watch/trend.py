"""Windows of many hours in; each column against its limit over time, and what goes with it, out.

Pure. Stored windows are enough: where rows are at hand too (`Evidence`), what came true and groups
are told beside them. Each step is judged as a report judges its window: beyond chance over all
columns, and enough to matter.
"""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from fnmodel.model import Signature
from fnmodel.profile import Profile
from fnmodel.watch import seasons
from fnmodel.watch.drift import (
    ColumnDrift,
    Drift,
    Rules,
    Verdict,
    compare,
    measure,
    reaches,
    seasoned,
)
from fnmodel.watch.estimate import Estimate, from_windows
from fnmodel.watch.performance import Evidence, Question, worse
from fnmodel.watch.realised import Group, Interval
from fnmodel.watch.sample import Sample, sample
from fnmodel.watch.windows import Windows, between, pooled

SCHEMA = 1
_BACK = timedelta(days=28)
"""How far back the same hours are looked for."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of time; `hours` are its first and its last, `versions` have their rows."""

    time: str
    hours: tuple[str, str]
    rows: int
    represents: float
    versions: Mapping[str, int]
    drift: Drift
    estimated: float | None = None
    realised: Interval | None = None
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Course:
    """One column over the steps.

    `reach` is the largest of its measures as a multiple of its limit, 0 where it may be chance,
    None where it was not compared; `by` names that measure.
    """

    name: str
    role: Literal["feature", "prediction"]
    verdicts: tuple[Verdict, ...]
    reach: tuple[float | None, ...]
    by: tuple[str, ...]
    latest: ColumnDrift

    @property
    def judged(self) -> tuple[int, ...]:
        """The steps in which it was compared."""
        return tuple(at for at, value in enumerate(self.reach) if value is not None)

    @property
    def state(self) -> Verdict:
        """What was said of it last."""
        return self.verdicts[self.judged[-1]] if self.judged else self.verdicts[-1]

    @property
    def since(self) -> int | None:
        """The step from which on it has drifted without a break until now; None if it has not."""
        first = None
        for at in reversed(self.judged):
            if self.verdicts[at] is not Verdict.DRIFT:
                break
            first = at
        return first


@dataclass(frozen=True, slots=True)
class Trend:
    """Everything that the trend page shows.

    `began` has the versions that are first seen in a step, by its number. `seasons` has, for the
    hour of the day and the weekday, the columns that go with it: excess PSI by slot against all.
    """

    question: Question
    steps: tuple[Step, ...]
    courses: tuple[Course, ...]
    began: Mapping[int, tuple[str, ...]]
    seasons: Mapping[str, Mapping[str, tuple[float | None, ...]]]
    main: str
    learned: int
    worse: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[Course, ...]:
        """The columns that have drifted by the last step: features, then predictions, which follow.

        Of each the farthest comes first.
        """
        found = [one for one in self.courses if one.state is Verdict.DRIFT]
        return tuple(sorted(found, key=lambda one: (one.role, -(one.reach[one.judged[-1]] or 0.0))))

    @property
    def alarms(self) -> tuple[str, ...]:
        """What calls for a person, a line each."""
        lines = [
            f"{one.name} has drifted since {self.steps[one.since].time}"
            for one in self.drifted
            if one.since is not None
        ]
        return (*lines, *self.worse)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with `schema` and the alarms first."""
        data = {**asdict(self), "question": self.question.to_json()}
        data["began"] = {str(at): list(names) for at, names in self.began.items()}
        return {"schema": SCHEMA, "alarms": list(self.alarms), **data}


def trend(
    found: Windows,
    reference: Profile,
    signature: Signature,
    question: Question,
    evidence: Evidence | None = None,
) -> Trend | None:
    """Follow every column over the windows of [since, until); None where there is none.

    Earlier windows are what the same hours were like. `evidence` is of the same rows, where these
    are at hand.
    """
    first = question.since[:13]
    inside = between(found, question.since, question.until)
    if not inside:
        return None
    rules = replace(question.rules, draws=0)
    question = replace(question, rules=rules)
    trained = sample([(1.0, reference)])
    steps: list[Step] = []
    began: dict[str, str] = {}
    for time, hours in seasons.judgeable(inside, rules.minimum).items():
        steps.append(_step(time, hours, found, trained, question, evidence, began))
        began = _running(steps[-1], began)
    performance = evidence.performance() if evidence else None
    estimated = performance.estimated if performance else None
    return Trend(
        question,
        tuple(steps),
        _courses(steps, rules),
        _began(steps, found, first),
        _seasons(inside, question),
        "mae" if signature.task == "regression" else "accuracy",
        estimated.learned if estimated else 0,
        tuple(worse(performance, rules.alpha)) if performance else (),
    )


def _step(
    time: str,
    hours: Sequence[str],
    found: Windows,
    trained: Sample,
    question: Question,
    evidence: Evidence | None,
    began: Mapping[str, str],
) -> Step:
    chosen = set(hours)
    own = {key: one for key, one in found.items() if key.hour in chosen}
    current = pooled(own)
    judged = compare(trained, current, question.rules, unkept=question.unkept)
    since = {**{_id(one): hours[0] for one in judged.columns}, **began}
    drift = _seasoned(judged, current, own, found, since)
    versions: dict[str, int] = {}
    for key, one in own.items():
        versions[key.version] = versions.get(key.version, 0) + one.profile.rows
    guess, came = evidence.between(hours[0], hours[-1]) if evidence else (None, None)
    if guess is None:
        guess = _figure(from_windows(current))
    return Step(
        time,
        (hours[0], hours[-1]),
        current.rows,
        current.represents,
        versions,
        drift,
        guess,
        came,
        evidence.groups(hours[0], hours[-1]) if evidence else (),
    )


def _seasoned(
    judged: Drift, current: Sample, own: Windows, found: Windows, began: Mapping[str, str]
) -> Drift:
    """Return columns as usual that are as at these hours before, ere they began to drift.

    A report asks what was usual lately, and what lasts becomes so. A trend is about what lasts.
    """
    columns = list(judged.columns)
    for hour in {began[_id(one)] for one in judged.drifted}:
        oldest = (datetime.fromisoformat(f"{hour}:00") - _BACK).isoformat()[:13]
        before = {key: one for key, one in found.items() if oldest <= key.hour < hour}
        usual = seasons.usual(before, own)
        if usual is not None:
            against = seasoned(judged, current, usual).columns
            columns = [
                two if began[_id(one)] == hour else one
                for one, two in zip(columns, against, strict=True)
            ]
    return Drift(tuple(columns), judged.rules)


def _running(step: Step, began: Mapping[str, str]) -> dict[str, str]:
    """Return the first hours of columns that drift by now; too few rows change nothing."""
    running = {}
    for one in step.drift.columns:
        if one.verdict is Verdict.DRIFT or (one.verdict is Verdict.FEW and _id(one) in began):
            running[_id(one)] = began.get(_id(one), step.hours[0])
    return running


def _id(column: ColumnDrift) -> str:
    return f"{column.role}:{column.name}"


def _figure(estimate: Estimate | None) -> float | None:
    return estimate.figures[estimate.main] if estimate else None


def _courses(steps: Sequence[Step], rules: Rules) -> tuple[Course, ...]:
    courses = []
    for at, last in enumerate(steps[-1].drift.columns):
        own = [step.drift.columns[at] for step in steps]
        found = [_farthest(one, rules) for one in own]
        compared = [one for one in own if one.adjusted is not None]
        courses.append(
            Course(
                last.name,
                last.role,
                tuple(one.verdict for one in own),
                tuple(reach for reach, _ in found),
                tuple(by for _, by in found),
                compared[-1] if compared else last,
            )
        )
    return tuple(courses)


def _farthest(column: ColumnDrift, rules: Rules) -> tuple[float | None, str]:
    if column.adjusted is None:
        return None, ""
    found = reaches(column, rules)
    by = max(found, key=found.__getitem__)
    return (found[by] if column.adjusted <= rules.alpha else 0.0), by


def _began(steps: Sequence[Step], found: Windows, first: str) -> dict[int, tuple[str, ...]]:
    """Return the versions that come in a step and were not there before; not those at the start."""
    seen = {key.version for key in found if key.hour < first}
    result = {}
    for at, step in enumerate(steps):
        new = tuple(sorted(step.versions.keys() - seen))
        if new and (at or seen):
            result[at] = new
        seen |= step.versions.keys()
    return result


_FEWEST_DAYS = {"hour": 3, "weekday": 14}
"""Days from which on a slot was there more than once."""


def _seasons(found: Windows, question: Question) -> dict[str, dict[str, tuple[float | None, ...]]]:
    rules = question.rules
    days = {key.hour[:10] for key in found}
    whole = pooled(found)
    result: dict[str, dict[str, tuple[float | None, ...]]] = {}
    for kind, slots in seasons.by_slot({key.hour for key in found}).items():
        if len(days) < _FEWEST_DAYS[kind]:
            continue
        parts = [_of_hours(found, set(hours)) for hours in slots.values()]
        moved = {
            name: tuple(_apart(name, whole, part, rules) for part in parts)
            for name in whole.features
            if name not in question.unkept
        }
        result[kind] = {
            name: values for name, values in moved.items() if max(map(_known, values)) >= rules.psi
        }
    return {kind: names for kind, names in result.items() if names}


def _of_hours(found: Windows, hours: AbstractSet[str]) -> Sample | None:
    own = {key: one for key, one in found.items() if key.hour in hours}
    return pooled(own) if own else None


def _apart(name: str, whole: Sample, part: Sample | None, rules: Rules) -> float | None:
    if part is None or not part.features[name].rows:
        return None
    one = measure(name, "feature", whole.features[name], part.features[name], rules)
    if one.p is None or one.excess is None:
        return None
    return one.excess if one.p <= rules.alpha else 0.0


def _known(value: float | None) -> float:
    return -math.inf if value is None else value
