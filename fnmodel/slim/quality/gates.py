"""Judges a model by declared rules: metrics, the champion, fairness, latency and size. Pure.

An absolute threshold is judged on the figure itself, since that is the number that people read and
agree on; `judge="bound"` asks that the unfavourable end of the 95 % interval holds too. The
comparison with the champion and fairness are judged on that bound unless `judge="point"`: both
are differences, and a difference of few rows proves nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import QualityError, SlimError, UsageError
from fnmodel.slim.quality import fairness, quality
from fnmodel.slim.quality.answers import Answers, Label
from fnmodel.slim.quality.bootstrap import RESAMPLES, Draws, Estimate, Statistic, draw

Array = NDArray[Any]
Judge = Literal["point", "bound"]
Kind = Literal["metric", "fairness", "latency", "size"]

MB = 1_000_000
"""Bytes of a megabyte, as file sizes and registries count it."""


@dataclass(frozen=True)
class Threshold:
    """The least and the most that a figure may be, and what is held against it."""

    at_least: float | None
    at_most: float | None
    judge: Judge

    def passes(self, estimate: Estimate) -> bool:
        """Whether the figure, or the unfavourable end of its interval, keeps the threshold."""
        bound = self.judge == "bound"
        low, high = (estimate.low, estimate.high) if bound else (estimate.value, estimate.value)
        # Written so that NaN fails.
        return (self.at_least is None or low >= self.at_least) and (
            self.at_most is None or high <= self.at_most
        )

    def verdict(self, estimate: Estimate) -> str:
        """Say how the figure stands to the threshold, after its name."""
        if not np.isfinite(estimate.value):
            return "is undefined on these rows"
        words = [_figure(estimate)]
        if self.judge == "bound" and not np.isfinite(estimate.low):
            words.append("has no interval, since it is undefined on too many resamples")
        if self.at_least is not None:
            words.append(_side(estimate.value, estimate.low, self.at_least, "below", "least"))
        if self.at_most is not None:
            words.append(_side(-estimate.value, -estimate.high, -self.at_most, "above", "most"))
        return ", ".join(words)


@dataclass(frozen=True)
class ChampionRule:
    """How much worse than the model that serves now, in the metric's own unit, is acceptable."""

    margin: float = 0.0
    judge: Judge = "bound"


@dataclass(frozen=True)
class QualityGate:
    """A metric with thresholds, a comparison with the champion, both, or none: then it is reported.

    `positive` is the label that a metric of two classes is about.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    judge: Judge = "point"
    champion: ChampionRule | None = None
    positive: Label | None = None

    @property
    def threshold(self) -> Threshold:
        """The absolute rule."""
        return Threshold(self.at_least, self.at_most, self.judge)


@dataclass(frozen=True)
class FairnessGate:
    """A fairness metric over the groups that columns of the sample make, crossed if several.

    `positive` is the label that counts as selected, `edges` cut a column of numbers. `strict` fails
    the gate when a group is too small to be judged.
    """

    columns: tuple[str, ...]
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    judge: Judge = "bound"
    positive: Label | None = None
    strict: bool = False
    edges: tuple[float, ...] = ()

    @property
    def threshold(self) -> Threshold:
        """The rule for the gap."""
        return Threshold(self.at_least, self.at_most, self.judge)


@dataclass(frozen=True)
class Gates:
    """Every rule that a model must keep; `one_row_ms` is a median, `model_mb` is in 10^6 bytes."""

    metrics: tuple[QualityGate, ...] = ()
    fairness: tuple[FairnessGate, ...] = ()
    one_row_ms: float | None = None
    model_mb: float | None = None


def from_json(data: Mapping[str, Any]) -> Gates:
    """Read plain data, as a project file has it."""
    fair = [{**one, "columns": tuple(one["columns"])} for one in data.get("fairness", ())]
    return Gates(
        metrics=tuple(
            QualityGate(**{**one, "champion": _rule(one.get("champion"))})
            for one in data.get("metrics", ())
        ),
        fairness=tuple(
            FairnessGate(**{**one, "edges": tuple(one.get("edges", ()))}) for one in fair
        ),
        one_row_ms=data.get("one_row_ms"),
        model_mb=data.get("model_mb"),
    )


def _rule(data: Mapping[str, Any] | None) -> ChampionRule | None:
    return None if data is None else ChampionRule(**data)


@dataclass(frozen=True)
class Champion:
    """The serving model's figure on the same rows, and how much better the new one is.

    `gain` is positive where the new model is better, whichever way the metric counts; `low` and
    `high` are its paired 95 % interval.
    """

    value: float
    gain: float
    low: float
    high: float
    margin: float
    judge: Judge

    @property
    def passed(self) -> bool:
        """Whether the new model is worse by no more than the margin."""
        return (self.low if self.judge == "bound" else self.gain) >= -self.margin

    def verdict(self) -> str:
        """Say how the new model stands to the champion."""
        way = "better" if self.gain >= 0 else "worse"
        words = (
            f"{abs(self.gain):.4g} {way} than the champion's {self.value:.4g} "
            f"(gain {self.low:.4g} to {self.high:.4g})"
        )
        if self.passed:
            return words
        what = "proven" if self.judge == "bound" else "kept"
        return f"{words}; at most {self.margin:g} worse is not {what}"


@dataclass(frozen=True)
class GateResult:
    """What one gate found, and why it passed or not, in words.

    `low` and `high` are the 95 % interval, None where there is none. `judged` is false when there
    was nothing to hold against the rule; `value` is then None.
    """

    kind: Kind
    name: str
    value: float | None
    threshold: Threshold
    passed: bool
    reason: str
    low: float | None = None
    high: float | None = None
    resamples: int = 0
    judged: bool = True
    champion: Champion | None = None
    groups: tuple[fairness.Group, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with None for figures that are not finite."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def check(gates: Gates) -> None:
    """Refuse gates that no model could be judged by, before any work is done for them.

    Raises:
        UsageError: a metric does not exist, or a fairness limit is on the wrong side; names it.
        MissingExtraError: a metric needs scikit-learn, which is not installed.

    """
    for gate in gates.metrics:
        quality.metric(gate.metric)
    for rule in gates.fairness:
        ratio = fairness.metric(rule.metric).ratio
        if (rule.at_most if ratio else rule.at_least) is not None:
            kind, side = ("ratio", "at_least") if ratio else ("difference", "at_most")
            raise UsageError(
                f"the gate on {rule.metric} limits the wrong side: a {kind} is fair when it is "
                f"{'near 1' if ratio else 'small'}",
                hint=f"use `{side}:`",
            )


def judge(
    gates: Gates,
    answers: Answers | None,
    truth: Array | None,
    groups: Mapping[str, Array],
    champion: Answers | None,
    latency_ms: float | None,
    size_bytes: int | None,
    rng: np.random.Generator,
) -> tuple[GateResult, ...]:
    """Judge a model by every gate, in their order.

    `answers`, `truth`, the columns of `groups` and `champion`, the serving model's answers, are all
    about the same rows. Every interval comes from the same resamples. Without a champion its rule
    is not judged, since a first model has none.

    Raises:
        SlimError: what a gate needs is not given, or does not suit it; names the gate.
        UsageError: a gate names a metric that does not exist.

    """
    asked = [_quality(gate, answers, truth, champion) for gate in gates.metrics]
    asked += [_fairness(gate, answers, truth, groups) for gate in gates.fairness]
    statistics = [one for question in asked for one in question.statistics]
    drawn = iter(draw(statistics, answers.rows, rng) if answers and statistics else ())
    results = [question.answer([next(drawn) for _ in question.statistics]) for question in asked]
    if gates.one_row_ms is not None:
        results.append(_budget("latency", "one_row_ms", latency_ms, gates.one_row_ms, "ms"))
    if gates.model_mb is not None:
        size = None if size_bytes is None else size_bytes / MB
        results.append(_budget("size", "model_mb", size, gates.model_mb, "MB"))
    return tuple(results)


def against_champion(
    gates: Gates, answers: Answers, champion: Answers, truth: Array, rng: np.random.Generator
) -> tuple[GateResult, ...]:
    """Judge a model by the rules that compare it with the champion, and by nothing else.

    All three are about the same rows.

    Raises:
        SlimError: the answers or the truth do not suit a metric; names it.

    """
    rules = tuple(
        replace(gate, at_least=None, at_most=None) for gate in gates.metrics if gate.champion
    )
    return judge(Gates(metrics=rules), answers, truth, {}, champion, None, None, rng)


def require(results: Sequence[GateResult], what: str = "the model") -> None:
    """Refuse a model that failed a gate.

    Raises:
        QualityError: lists every failed gate with its figures.

    """
    failed = [result for result in results if not result.passed]
    if not failed:
        return
    count = "1 gate" if len(failed) == 1 else f"{len(failed)} gates"
    of = f" of {len(results)}" if len(results) > len(failed) else ""
    lines = [f"{what} failed {count}{of}:", *(result.reason for result in failed)]
    kinds = dict.fromkeys(result.kind for result in failed)
    raise QualityError("\n  ".join(lines), hint="; ".join(_HINTS[kind] for kind in kinds))


_HINTS: Mapping[Kind, str] = {
    "metric": "train a better model, or judge it on more rows if the interval is wide",
    "fairness": "look at the groups in the report: more rows narrow the interval, "
    "reweighting or other thresholds close the gap",
    "latency": "try a smaller model, or raise `gates.one_row_ms`",
    "size": "try a smaller model, or raise `gates.model_mb`",
}


@dataclass(frozen=True)
class _Question:
    """The figures that a gate wants resampled, and what it makes of them."""

    statistics: tuple[Statistic, ...]
    answer: Callable[[Sequence[Draws]], GateResult]


def _quality(
    gate: QualityGate, answers: Answers | None, truth: Array | None, champion: Answers | None
) -> _Question:
    found = quality.metric(gate.metric)
    if answers is None or truth is None:
        raise SlimError(
            f"the gate on {gate.metric} needs rows with true answers",
            hint="give a sample, and name its label column with `target:`",
        )
    statistics = [quality.statistic(found, answers, truth, gate.positive)]
    if gate.champion is not None and champion is not None:
        statistics.append(quality.statistic(found, champion, truth, gate.positive))

    def answer(drawn: Sequence[Draws]) -> GateResult:
        estimate = drawn[0].estimate()
        passed = gate.threshold.passes(estimate)
        reason = f"{gate.metric} {gate.threshold.verdict(estimate)}"
        rival = None
        if gate.champion is not None and len(drawn) == 2:
            gain = drawn[0].minus(drawn[1]).times(1 if found.greater_is_better else -1)
            rival = _champion(gate.champion, drawn[1].value, gain.estimate())
            passed = passed and rival.passed
            reason += f"; {rival.verdict()}"
        elif gate.champion is not None:
            reason += "; the champion is asked when this is deployed"
        return _result(
            "metric", gate.metric, estimate, gate.threshold, passed, reason, champion=rival
        )

    return _Question(tuple(statistics), answer)


def _champion(rule: ChampionRule, value: float, gain: Estimate) -> Champion:
    return Champion(value, gain.value, gain.low, gain.high, rule.margin, rule.judge)


def _fairness(
    gate: FairnessGate, answers: Answers | None, truth: Array | None, groups: Mapping[str, Array]
) -> _Question:
    found = fairness.metric(gate.metric)
    name = f"{gate.metric} by {' and '.join(gate.columns)}"
    lacking = [column for column in gate.columns if column not in groups]
    if lacking or answers is None:
        listed = ", ".join(repr(column) for column in groups) or "none"
        raise SlimError(
            f"the gate on {name} needs the column {(lacking or gate.columns)[0]!r}; the sample "
            f"has {listed}",
            hint="mend `column:` of the gate, or add the column to the sample",
        )
    columns = {column: groups[column] for column in gate.columns}
    assessed = fairness.assess(
        found, answers, truth, columns, positive=gate.positive, edges=gate.edges
    )
    small = [f"{one.name} ({one.unjudged})" for one in assessed.groups if one.unjudged]
    aside = f"; not judged: {', '.join(small)}" if small else ""

    def answer(drawn: Sequence[Draws]) -> GateResult:
        if not drawn:
            return GateResult(
                kind="fairness",
                name=name,
                value=None,
                threshold=gate.threshold,
                passed=not gate.strict,
                reason=f"{name} compares nothing: fewer than two groups are large enough{aside}",
                judged=False,
                groups=assessed.groups,
            )
        estimate = drawn[0].estimate()
        passed = gate.threshold.passes(estimate) and not (gate.strict and small)
        widest = fairness.widest(found, assessed.groups)
        reason = f"{name} {gate.threshold.verdict(estimate)}; {widest}{aside}"
        return _result(
            "fairness", name, estimate, gate.threshold, passed, reason, groups=assessed.groups
        )

    return _Question((assessed.statistic,) if assessed.statistic else (), answer)


def _budget(kind: Kind, name: str, value: float | None, limit: float, unit: str) -> GateResult:
    if value is None:
        raise SlimError(f"the gate on {kind} needs a measured {kind}")
    passed = value <= limit
    verdict = "within" if passed else "above"
    return GateResult(
        kind=kind,
        name=name,
        value=value,
        threshold=Threshold(None, limit, "point"),
        passed=passed,
        reason=f"{kind} {value:.4g} {unit} is {verdict} the limit of {limit:g} {unit}",
    )


def _result(
    kind: Kind,
    name: str,
    estimate: Estimate,
    threshold: Threshold,
    passed: bool,
    reason: str,
    *,
    champion: Champion | None = None,
    groups: tuple[fairness.Group, ...] = (),
) -> GateResult:
    if estimate.resamples < RESAMPLES:
        reason += f" ({estimate.resamples} resamples)"
    return GateResult(
        kind=kind,
        name=name,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        resamples=estimate.resamples,
        threshold=threshold,
        passed=passed,
        reason=reason,
        champion=champion,
        groups=groups,
    )


def _side(value: float, bound: float, limit: float, wrong: str, edge: str) -> str:
    """Say on which side of a limit a figure lies; all three may be negated for the other side."""
    asked = f"{limit if edge == 'least' else -limit:g}"
    if value < limit:
        return f"{wrong} {asked}"
    if bound < limit:
        return f"at {edge} {asked}, but its interval reaches {wrong} that"
    return f"at {edge} {asked}"


def _figure(estimate: Estimate) -> str:
    if not np.isfinite(estimate.low):
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g})"


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not np.isfinite(data) else data
