"""Fairness figures equal fairlearn's; small groups are named, not judged; gates use the bound."""

import json
import time
from typing import Any

import numpy as np
import pytest

from fnmodel.errors import SlimError, UsageError
from fnmodel.slim.quality import fairness
from fnmodel.slim.quality.answers import Answers
from fnmodel.slim.quality.gates import FairnessGate, GateResult, Gates, judge

Array = np.ndarray[Any, np.dtype[Any]]

OF_LABELS = [name for name, one in fairness.METRICS.items() if not one.of_values]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def people(
    rows: int, *, shift: float = 0.15, seed: int = 0, groups: str = "FMX"
) -> tuple[Answers, Array, Array]:
    """Return answers, truth and groups; each group is selected `shift` more often than the last."""
    random = rng(seed)
    group = random.integers(0, len(groups), rows)
    truth = random.random(rows) < 0.4
    selected = random.random(rows) < 0.2 + 0.4 * truth + shift * group
    names = np.array(["<=50K", ">50K"], dtype=object)
    answers = Answers(names[selected.astype(int)], None, ("<=50K", ">50K"))
    return answers, names[truth.astype(int)], np.array(list(groups), dtype=object)[group]


def measured(
    name: str, answers: Answers, truth: Any, columns: dict[str, Array], **more: Any
) -> Any:
    found = fairness.assess(fairness.metric(name), answers, truth, columns, **more)
    assert found.statistic is not None
    return found.statistic.value(answers.rows)


def gated(gate: FairnessGate, answers: Answers, truth: Any, **columns: Array) -> GateResult:
    (result,) = judge(Gates(fairness=(gate,)), answers, truth, columns, None, None, None, rng())
    return result


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_figure_equals_fairlearns(name: str, seed: int) -> None:
    """Three groups, text labels."""
    oracle = getattr(pytest.importorskip("fairlearn.metrics"), name)
    answers, truth, group = people(2000, seed=seed)
    assert answers.labels is not None
    true, given = (np.array(labels == ">50K", int) for labels in (truth, answers.labels))

    expected = oracle(true, given, sensitive_features=group.astype(str))

    assert measured(name, answers, truth, {"sex": group}) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", ["demographic_parity_difference", "equalized_odds_ratio"])
def test_crossed_columns_equal_fairlearns(name: str) -> None:
    """Two columns make the combinations that occur."""
    oracle = getattr(pytest.importorskip("fairlearn.metrics"), name)
    pandas = pytest.importorskip("pandas")
    answers, truth, sex = people(4000)
    region = rng(9).integers(0, 2, 4000)
    true, given = (np.array(one == ">50K", int) for one in (truth, answers.labels))
    frame = pandas.DataFrame({"sex": sex.astype(str), "region": region})

    expected = oracle(true, given, sensitive_features=frame)

    columns = {"sex": sex, "region": region}
    assert measured(name, answers, truth, columns) == pytest.approx(expected, abs=1e-15)
    found = fairness.assess(fairness.metric(name), answers, truth, columns)
    assert len(found.groups) == 6
    assert found.groups[0].name == "sex=F, region=0"


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("mean_absolute_error_difference", "mean_absolute_error"),
        ("mean_absolute_error_ratio", "mean_absolute_error"),
        ("mean_error_difference", "mean_prediction"),
    ],
)
def test_a_gap_of_errors_equals_fairlearns(name: str, metric: str) -> None:
    """A model of numbers, judged by its errors in each group."""
    oracle = pytest.importorskip("fairlearn.metrics")
    metrics = pytest.importorskip("sklearn.metrics")
    _, _, group = people(900)
    truth = rng(1).normal(size=900)
    values = truth + rng(2).normal(size=900) * (1 + (group == "F")) + (group == "M")
    of = getattr(metrics, metric, None) or (lambda true, given: np.mean(given - true))
    frame = oracle.MetricFrame(
        metrics=of, y_true=truth, y_pred=values, sensitive_features=group.astype(str)
    )
    expected = frame.ratio() if name.endswith("ratio") else frame.difference()

    assert measured(name, Answers(values=values), truth, {"sex": group}) == pytest.approx(expected)


def test_one_label_of_many_is_compared_with_the_rest() -> None:
    """Three classes: the positive label against the two others, as fairlearn sees it after that."""
    oracle = pytest.importorskip("fairlearn.metrics").equalized_odds_difference
    random = rng(4)
    truth, given, group = (random.integers(0, size, 3000) for size in (3, 3, 2))
    given = np.where(random.random(3000) < 0.5, truth, given)

    expected = oracle(truth == 2, given == 2, sensitive_features=group)

    answers = Answers(given, None, (0, 1, 2))
    actual = measured("equalized_odds_difference", answers, truth, {"g": group}, positive=2)
    assert actual == pytest.approx(expected, abs=1e-15)
    with pytest.raises(SlimError, match="about one label"):
        measured("equalized_odds_difference", answers, truth, {"g": group})


def test_the_rates_of_each_group_are_told() -> None:
    """Rows, positives, and what the model does to them."""
    answers, truth, group = people(3000)
    found = fairness.assess(
        fairness.metric("equalized_odds_difference"), answers, truth, {"sex": group}
    )

    (first, *_) = found.groups

    here = group == "F"
    assert answers.labels is not None
    selected, true = answers.labels[here] == ">50K", truth[here] == ">50K"
    assert (first.name, first.rows, first.positives) == ("F", here.sum(), true.sum())
    assert first.rates["selection_rate"] == pytest.approx(selected.mean())
    assert first.rates["true_positive_rate"] == pytest.approx(selected[true].mean())
    assert first.rates["false_positive_rate"] == pytest.approx(selected[~true].mean())
    assert first.rates["accuracy"] == pytest.approx((selected == true).mean())


def test_a_gate_asks_that_the_bound_keeps_the_limit() -> None:
    """A gap of 0.1 in a few hundred rows is not proven to be below 0.12."""
    answers, truth, group = people(400, shift=0.1, groups="FM", seed=5)
    name = "demographic_parity_difference"
    value = measured(name, answers, truth, {"sex": group})
    limit = value + 0.02

    bound = gated(FairnessGate(("sex",), name, at_most=limit), answers, truth, sex=group)
    point = gated(
        FairnessGate(("sex",), name, at_most=limit, judge="point"), answers, truth, sex=group
    )

    assert (bound.passed, point.passed) == (False, True)
    assert bound.value == point.value == pytest.approx(value)
    assert bound.low is not None
    assert bound.high is not None
    assert bound.low < value < limit < bound.high
    assert "selection rate is" in bound.reason


def test_a_ratio_has_a_least_value() -> None:
    """The four-fifths rule."""
    answers, truth, group = people(8000, shift=0.3, groups="FM")
    gate = FairnessGate(("sex",), "demographic_parity_ratio", at_least=0.8)

    result = gated(gate, answers, truth, sex=group)

    assert not result.passed
    assert "below 0.8" in result.reason


def test_a_tiny_group_is_named_and_not_judged() -> None:
    """29 rows that are treated worst do not fail the gate, unless it is strict."""
    answers, truth, group = people(6000, shift=0.0, groups="FM")
    assert answers.labels is not None
    group[:29] = "X"
    answers.labels[:29] = "<=50K"
    gate = FairnessGate(("sex",), "demographic_parity_difference", at_most=0.1)

    lenient = gated(gate, answers, truth, sex=group)
    strict = gated(
        FairnessGate(("sex",), "demographic_parity_difference", at_most=0.1, strict=True),
        answers, truth, sex=group,
    )  # fmt: skip

    assert lenient.passed
    assert "not judged: X (29 rows)" in lenient.reason
    assert not strict.passed
    group[29] = "X"
    assert not gated(gate, answers, truth, sex=group).passed


@pytest.mark.parametrize(
    ("metric", "few"),
    [("equal_opportunity_difference", "29 positives"), ("equalized_odds_ratio", "29 positives")],
)
def test_a_group_with_few_positives_has_no_true_positive_rate(metric: str, few: str) -> None:
    """Many rows do not help a rate of which few are the denominator."""
    answers, truth, group = people(3000, groups="FMX")
    of_x = np.flatnonzero(group == "X")
    truth[of_x] = "<=50K"
    truth[of_x[:29]] = ">50K"

    found = fairness.assess(fairness.metric(metric), answers, truth, {"sex": group})
    parity = fairness.metric("demographic_parity_difference")

    assert [one.unjudged for one in found.groups] == ["", "", few]
    assert not any(g.unjudged for g in fairness.assess(parity, answers, truth, {"s": group}).groups)


@pytest.mark.parametrize("strict", [False, True])
def test_with_one_large_group_nothing_is_judged(*, strict: bool) -> None:
    """The result says so, and fails only if asked to be strict."""
    answers, truth, group = people(500, groups="F")
    gate = FairnessGate(("sex",), "equal_opportunity_difference", at_most=0.1, strict=strict)

    result = gated(gate, answers, truth, sex=group)

    assert (result.judged, result.passed, result.value) == (False, not strict, None)
    assert "compares nothing" in result.reason


def test_missing_values_are_a_group_of_their_own() -> None:
    """None, NaN and pandas.NA alike: who gives no answer can be treated unfairly too."""
    pandas = pytest.importorskip("pandas")
    answers, truth, group = people(900, groups="FM")
    group[:100], group[100:200], group[200:300] = None, np.nan, pandas.NA

    parity = fairness.metric("demographic_parity_difference")
    found = fairness.assess(parity, answers, truth, {"sex": group})

    assert [one.name for one in found.groups] == ["(missing)", "F", "M"]
    assert found.groups[0].rows == 300


def test_demographic_parity_needs_no_truth() -> None:
    """It looks at the model's answers alone; what needs the truth says so."""
    answers, truth, group = people(900)
    name = "demographic_parity_difference"

    with_truth = measured(name, answers, truth, {"sex": group})

    assert measured(name, answers, None, {"sex": group}) == with_truth
    with pytest.raises(SlimError, match="needs true answers"):
        measured("equalized_odds_difference", answers, None, {"sex": group})


def test_a_column_of_numbers_is_cut_into_groups() -> None:
    """Edges belong to the group above them."""
    answers, truth, _ = people(1000)
    age = np.r_[np.full(200, 29.9), np.full(300, 30.0), np.full(400, 50.0), np.full(100, np.nan)]
    parity = fairness.metric("demographic_parity_ratio")

    found = fairness.assess(parity, answers, truth, {"age": age}, edges=(30, 50))

    sizes = {one.name: one.rows for one in found.groups}
    assert sizes == {"below 30": 200, "30 to 50": 300, "50 and above": 400, "(missing)": 100}
    crossed = fairness.assess(
        parity, answers, truth, {"age": age, "sex": np.array(["F", "M"] * 500)}, edges=(30, 50)
    )
    assert len(crossed.groups) == 8
    with pytest.raises(SlimError, match="make 1000 groups"):
        fairness.assess(parity, answers, truth, {"age": np.arange(1000) / 7})


def test_groups_that_are_never_selected_are_treated_alike() -> None:
    """0 / 0 is a ratio of 1, so that a model which selects nobody is not called unfair."""
    _, truth, group = people(300, groups="FM")
    nobody = Answers(np.full(300, "<=50K", dtype=object), None, ("<=50K", ">50K"))

    assert measured("demographic_parity_ratio", nobody, truth, {"sex": group}) == 1
    assert measured("demographic_parity_difference", nobody, truth, {"sex": group}) == 0


@pytest.mark.parametrize(
    ("metric", "near"),
    [("equalised_odds_difference", "equalized_odds_difference"), ("parity", "known are")],
)
def test_an_unknown_fairness_metric_is_refused(metric: str, near: str) -> None:
    """With the nearest name, or all of them."""
    with pytest.raises(UsageError) as refusal:
        fairness.metric(metric)

    assert near in f"{refusal.value.message} {refusal.value.hint}"


@pytest.mark.parametrize(
    ("column", "words"), [("seks", "the sample has 'sex'"), ("sex", "3 values for 90 rows")]
)
def test_a_column_that_does_not_fit_is_refused(column: str, words: str) -> None:
    """The gate's name and the sample's columns are in the message."""
    answers, truth, group = people(90)
    gate = FairnessGate((column,), "demographic_parity_difference", at_most=0.1)

    with pytest.raises(SlimError, match=words):
        gated(gate, answers, truth, sex=group[:3])


def test_a_metric_of_the_other_task_is_refused() -> None:
    """Numbers have no selection rate, labels no mean error."""
    answers, truth, group = people(90)

    with pytest.raises(SlimError, match="about labels"):
        measured("demographic_parity_ratio", Answers(values=np.ones(90)), None, {"sex": group})
    with pytest.raises(SlimError, match="about numbers"):
        measured("mean_error_difference", answers, truth, {"sex": group})


def test_a_fairness_result_becomes_json() -> None:
    """With every group, the small ones too."""
    answers, truth, group = people(200)
    group[:3] = "Ö"
    gate = FairnessGate(("sex",), "equalized_odds_difference", at_most=0.5)

    plain = json.loads(json.dumps(gated(gate, answers, truth, sex=group).to_json()))

    assert plain["name"] == "equalized_odds_difference by sex"
    assert [one["name"] for one in plain["groups"]] == ["F", "M", "X", "Ö"]
    assert plain["groups"][-1]["unjudged"] == "3 rows"


def test_an_interval_over_ten_thousand_rows_takes_less_than_a_second() -> None:
    """A thousand resamples of six groups, in CPU time."""
    answers, truth, group = people(10_000, shift=0.05, groups="ABCDEF")
    gate = FairnessGate(("sex",), "equalized_odds_difference", at_most=0.9)

    started = time.process_time()
    result = gated(gate, answers, truth, sex=group)

    assert result.resamples == 1000
    assert time.process_time() - started < 2.0
