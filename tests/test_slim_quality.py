"""Metrics equal scikit-learn's; intervals cover; gates judge points, bounds and the champion."""

import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fnmodel.errors import QualityError, SlimError, UsageError
from fnmodel.model import Signature, Tensor
from fnmodel.slim.quality import quality
from fnmodel.slim.quality.answers import Answers
from fnmodel.slim.quality.bootstrap import FEWEST, RESAMPLES, resamples
from fnmodel.slim.quality.gates import (
    MB,
    ChampionRule,
    FairnessGate,
    GateResult,
    Gates,
    QualityGate,
    check,
    judge,
    require,
)

Array = np.ndarray[Any, np.dtype[Any]]

BINARY = (
    "accuracy balanced_accuracy matthews_corrcoef f1 precision recall jaccard f1_macro f1_micro "
    "f1_weighted precision_macro recall_weighted jaccard_micro roc_auc roc_auc_ovr "
    "average_precision neg_log_loss neg_brier_score d2_log_loss_score"
).split()
MULTI = (
    "accuracy balanced_accuracy matthews_corrcoef f1_macro f1_micro f1_weighted precision_macro "
    "precision_weighted recall_macro recall_micro jaccard_macro jaccard_weighted roc_auc_ovr "
    "roc_auc_ovr_weighted roc_auc_ovo average_precision neg_log_loss neg_brier_score "
    "adjusted_rand_score d2_brier_score d2_log_loss_score"
).split()
VALUES = (
    "r2 explained_variance neg_mean_squared_error neg_root_mean_squared_error "
    "neg_mean_absolute_error neg_mean_absolute_percentage_error neg_median_absolute_error "
    "neg_max_error neg_mean_squared_log_error neg_root_mean_squared_log_error "
    "d2_absolute_error_score neg_mean_poisson_deviance"
).split()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def classifier(
    rows: int, classes: tuple[Any, ...], *, seed: int = 0, dtype: Any = np.float64, skill: float = 1
) -> tuple[Answers, Array]:
    """Return answers with rounded, hence tied, probabilities, and the truth."""
    random = rng(seed)
    truth = random.integers(0, len(classes), rows)
    scores = random.random((rows, len(classes))) + skill * np.eye(len(classes))[truth] / 2
    given = np.round(scores / scores.sum(axis=1, keepdims=True), 2)
    given[:, -1] = 1 - given[:, :-1].sum(axis=1)
    names = np.array(classes, dtype=object)
    answers = Answers(names[given.argmax(axis=1)], given.astype(dtype), classes)
    return answers, names[truth]


def scored(name: str, answers: Answers, truth: Array) -> float:
    """Return what scikit-learn's scorer says of an estimator that gives these answers.

    scikit-learn takes the columns of probabilities to be in the order of sorted labels.
    """
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import get_scorer

    mixin: Any = RegressorMixin if answers.values is not None else ClassifierMixin

    order = sorted(range(len(answers.classes)), key=lambda at: answers.classes[at])

    class Given(mixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.array(sorted(answers.classes))

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, _: Any) -> Any:
            given = answers.values if answers.labels is None else answers.labels
            return np.asarray(given.tolist())  # type: ignore[union-attr]

        def predict_proba(self, _: Any) -> Any:
            return answers.probabilities[:, order]  # type: ignore[index]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = np.zeros((answers.rows, 1))
        return float(get_scorer(name)(Given(), rows, np.asarray(truth.tolist())))


@pytest.mark.parametrize("name", BINARY)
def test_a_metric_of_two_classes_equals_scikit_learns(name: str) -> None:
    """Labels 0 and 1, ties among the scores."""
    answers, truth = classifier(997, (0, 1))

    assert quality.measure(name, answers, truth) == pytest.approx(scored(name, answers, truth))


@pytest.mark.parametrize("name", MULTI)
def test_a_metric_of_four_classes_equals_scikit_learns(name: str) -> None:
    """Text labels that are not sorted, and a class that is predicted but never true."""
    answers, truth = classifier(600, ("ä", "b", "c", "d"))
    if not any(word in name for word in ("roc", "log", "brier", "average")):
        truth = np.where(truth == "d", "b", truth)

    assert quality.measure(name, answers, truth) == pytest.approx(scored(name, answers, truth))


@pytest.mark.parametrize(
    ("name", "outputs"),
    [(name, 1) for name in VALUES]
    + [(name, 3) for name in VALUES if name not in {"neg_max_error", "neg_mean_poisson_deviance"}],
)
def test_a_metric_of_numbers_equals_scikit_learns(name: str, outputs: int) -> None:
    """One value a row, and three where scikit-learn takes their mean."""
    random = rng(3)
    truth = random.gamma(2.0, 10.0, (501, outputs))
    given = truth * random.uniform(0.7, 1.2, truth.shape) + 0.1
    if outputs == 1:
        truth, given = truth[:, 0], given[:, 0]
    answers = Answers(values=given)

    assert quality.measure(name, answers, truth) == pytest.approx(scored(name, answers, truth))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_certain_and_wrong_answer_has_scikit_learns_log_loss(dtype: Any) -> None:
    """The loss of probability 0 is bounded by the precision of the scores."""
    answers, truth = classifier(50, (0, 1), dtype=dtype)
    assert answers.probabilities is not None
    answers.probabilities[0] = [1, 0] if truth[0] else [0, 1]

    expected = scored("neg_log_loss", answers, truth)

    assert quality.measure("neg_log_loss", answers, truth) == pytest.approx(expected, rel=1e-5)
    assert quality.measure("log_loss", answers, truth) == pytest.approx(-expected, rel=1e-5)


@pytest.mark.parametrize(
    ("short", "long", "greater"),
    [
        ("auc", "roc_auc", True),
        ("brier", "brier_score", False),
        ("mse", "mean_squared_error", False),
        ("rmse", "root_mean_squared_error", False),
        ("neg_mae", "mean_absolute_error", True),
        ("mean_poisson_deviance", "neg_mean_poisson_deviance", False),
        ("neg_max_error", "max_error", True),
        ("rand_score", "rand_score", True),
    ],
)
def test_a_name_says_which_way_is_better(short: str, long: str, *, greater: bool) -> None:
    """Short names and both signs are understood."""
    found = quality.metric(short)

    assert (found.base, found.greater_is_better) == (long, greater)


@pytest.mark.parametrize("name", ["rocauc", "neg_accuracy", "", "log-loss"])
def test_an_unknown_metric_is_refused_with_the_nearest(name: str) -> None:
    """A misspelt name is the user's to mend."""
    with pytest.raises(UsageError, match="there is no metric"):
        quality.metric(name)


def test_the_declared_positive_label_is_what_f1_is_about() -> None:
    """The other label has another F1; the area under the curve is the same from either side."""
    from sklearn.metrics import f1_score

    answers, truth = classifier(400, ("no", "yes"), skill=0.4)
    truth[:100] = "no"

    for label in ("no", "yes"):
        expected = f1_score(truth.tolist(), answers.labels.tolist(), pos_label=label)  # type: ignore[union-attr]
        assert quality.measure("f1", answers, truth, label) == pytest.approx(expected)
    areas = {round(quality.measure("roc_auc", answers, truth, one), 12) for one in ("no", "yes")}
    assert len(areas) == 1


@pytest.mark.parametrize("truth", [[0.0, 1.0, 1.0], ["0", "1", "1"], [False, True, True]])
def test_labels_of_another_type_are_the_same_labels(truth: list[Any]) -> None:
    """A CSV gives text or floats where the model gives integers."""
    answers = Answers(np.array([0, 1, 0]), None, (0, 1))

    assert quality.measure("accuracy", answers, np.array(truth)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "answers", "truth", "words"),
    [
        ("r2", Answers(np.array(["a"]), None, ("a", "b")), ["a"], "about numbers"),
        ("accuracy", Answers(values=np.array([1.0])), [1.0], "about labels"),
        ("log_loss", Answers(np.array(["a"]), None, ("a", "b")), ["a"], "needs probabilities"),
        ("roc_auc", Answers(None, np.ones((2, 3)) / 3, (0, 1, 2)), [0, 1], "about two classes"),
        ("f1", Answers(np.array([0, 1, 2]), None, (0, 1, 2)), [0, 1, 2], "about one label"),
        ("log_loss", Answers(None, np.array([[3.0, -2.0]]), (0, 1)), [0], "not probabilities"),
        ("log_loss", Answers(None, np.array([[0.3, 0.7]]), (0, 1)), [2], "not among the model's"),
        ("roc_auc", Answers(None, np.array([[0.3, np.nan]]), (0, 1)), [0], "NaN"),
        ("accuracy", Answers(np.array([0, 1]), None, (0, 1)), [0, None], "no true label"),
        ("mse", Answers(values=np.array([0.0, 1.0])), [0.0, np.nan], "true value of row 1"),
        ("mse", Answers(values=np.array([0.0])), ["x"], "the truth is not"),
        ("mse", Answers(values=np.ones((2, 2))), [1.0, 2.0], "2 values a row"),
        ("accuracy", Answers(np.array([0, 1]), None, (0, 1)), [0], "a true answer for each row"),
        ("accuracy", Answers(np.array([]), None, (0, 1)), [], "a true answer for each row"),
        ("f1", Answers(np.array([0, 1]), None, (0, 1)), [0, 1], "'x' is not among"),
    ],
)
def test_what_a_metric_cannot_judge_is_refused(
    name: str, answers: Answers, truth: list[Any], words: str
) -> None:
    """The message names the metric and what is wrong."""
    positive = "x" if "not among" in words and name == "f1" else None
    with pytest.raises(SlimError, match=words):
        quality.measure(name, answers, np.array(truth, dtype=object), positive)


def test_an_interval_covers_the_true_value_as_often_as_it_says() -> None:
    """Of 200 samples of a known accuracy about 95 % have it in their interval."""
    random = rng(7)
    inside = 0
    for seed in range(200):
        truth = np.zeros(200, dtype=int)
        answers = Answers((random.random(200) > 0.8).astype(int), None, (0, 1))
        found = quality.estimate("accuracy", answers, truth, rng(seed))
        inside += found.low <= 0.8 <= found.high

    assert 178 <= inside <= 199


@pytest.mark.parametrize("name", ["roc_auc", "f1_macro", "average_precision", "log_loss"])
def test_weights_count_rows_as_if_they_were_repeated(name: str) -> None:
    """A resample's figure is scikit-learn's on the rows that it drew."""
    answers, truth = classifier(60, (0, 1))
    weights = rng(1).integers(0, 4, 60)
    rows = np.repeat(np.arange(60), weights)
    assert answers.labels is not None
    assert answers.probabilities is not None
    drawn = Answers(answers.labels[rows], answers.probabilities[rows], (0, 1))

    found = quality.metric(name)
    figure = quality.statistic(found, answers, truth).of(weights[None].astype(float))

    sign = 1 if found.greater_is_better else -1
    expected = sign * scored(name if sign > 0 else f"neg_{name}", drawn, truth[rows])
    assert figure[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["r2", "median_absolute_error", "max_error"])
def test_weights_count_numbers_as_if_they_were_repeated(name: str) -> None:
    """Also where the figure is no mean."""
    random = rng(2)
    truth, values = random.normal(size=(2, 41))
    weights = random.integers(0, 3, 41)
    rows = np.repeat(np.arange(41), weights)

    found = quality.metric(name)
    figure = quality.statistic(found, Answers(values=values), truth).of(weights[None].astype(float))

    expected = quality.measure(name, Answers(values=values[rows]), truth[rows])
    assert figure[0] == pytest.approx(expected)


def test_a_thousand_resamples_of_ten_thousand_rows_take_less_than_a_second() -> None:
    """The slowest of the common metrics, in CPU time."""
    answers, truth = classifier(10_000, (0, 1))

    started = time.process_time()
    found = quality.estimate("average_precision", answers, truth, rng())

    assert found.resamples == RESAMPLES
    assert time.process_time() - started < 2.0


def test_other_scorers_have_fewer_resamples_and_say_so() -> None:
    """A scorer of scikit-learn is called for each resample."""
    truth = rng(0).gamma(2.0, size=50)

    found = quality.estimate("d2_absolute_error_score", Answers(values=truth + 0.1), truth, rng())

    assert found.resamples == FEWEST
    assert found.low < found.value < found.high


def test_more_rows_than_the_budget_have_fewer_resamples() -> None:
    """A thousand up to 50,000 rows, never fewer than 200."""
    assert [resamples(rows) for rows in (1, 50_000, 100_000, 10**8)] == [1000, 1000, 500, 200]


def test_a_metric_that_is_undefined_on_many_resamples_has_no_interval() -> None:
    """With one positive row, a third of the resamples have none."""
    answers, truth = classifier(50, (0, 1))
    truth = np.zeros(50, dtype=int)
    truth[3] = 1

    found = quality.estimate("roc_auc", answers, truth, rng())

    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high]).all()


def test_the_same_seed_gives_the_same_interval() -> None:
    """A gate does not pass on the second try."""
    answers, truth = classifier(100, (0, 1))

    first, second = (quality.estimate("roc_auc", answers, truth, rng(5)) for _ in range(2))

    assert first == second


# Gates


def run(gate: QualityGate, answers: Answers, truth: Array, champion: Answers | None = None) -> Any:
    (result,) = judge(Gates((gate,)), answers, truth, {}, champion, None, None, rng())
    return result


def right_on(share: float, rows: int, *, seed: int = 0) -> tuple[Answers, Array]:
    """Return answers that are right on that share of the rows."""
    truth = rng(seed).integers(0, 2, rows)
    labels = truth.copy()
    labels[: round((1 - share) * rows)] ^= 1
    return Answers(labels, None, (0, 1)), truth


def test_a_threshold_is_judged_on_the_figure_or_on_its_bound() -> None:
    """0.82 on 200 rows is at least 0.8, but the interval reaches below it."""
    answers, truth = right_on(0.82, 200)

    point = run(QualityGate("accuracy", at_least=0.8), answers, truth)
    bound = run(QualityGate("accuracy", at_least=0.8, judge="bound"), answers, truth)

    assert point.passed
    assert "its interval reaches below" in point.reason
    assert not bound.passed
    assert point.low < 0.8 < point.value < point.high


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (QualityGate("accuracy", at_least=0.9), False),
        (QualityGate("accuracy", at_most=0.9), True),
        (QualityGate("accuracy", at_least=0.82), True),
        (QualityGate("accuracy"), True),
        (QualityGate("zero_one", at_least=0.1), None),
    ],
)
def test_a_threshold_may_be_met_exactly(gate: QualityGate, *, passed: bool | None) -> None:
    """At least and at most include the limit; without one the figure is only reported."""
    answers, truth = right_on(0.82, 200)
    if passed is None:
        with pytest.raises(UsageError):
            run(gate, answers, truth)
        return

    assert run(gate, answers, truth).passed is passed


@pytest.mark.parametrize(
    ("metric", "better"), [("log_loss", False), ("neg_log_loss", False), ("roc_auc", True)]
)
def test_a_worse_model_does_not_replace_the_champion(metric: str, *, better: bool) -> None:
    """The gain is negative whichever way the metric counts."""
    worse, truth = classifier(2000, (0, 1), skill=0.3)
    champion, _ = classifier(2000, (0, 1), skill=1.0)
    gate = QualityGate(metric, champion=ChampionRule(margin=0.01))

    result, swapped = run(gate, worse, truth, champion), run(gate, champion, truth, worse)

    assert not result.passed
    assert result.champion.gain < 0
    assert "worse than the champion" in result.reason
    assert swapped.passed
    assert swapped.champion.gain == pytest.approx(-result.champion.gain)
    assert quality.metric(metric).greater_is_better is (better or metric.startswith("neg"))


def test_the_comparison_with_the_champion_is_paired() -> None:
    """Two models that differ on few rows are told apart where their own intervals overlap."""
    answers, truth = right_on(0.80, 1000)
    champion = Answers(answers.labels.copy(), None, (0, 1))  # type: ignore[union-attr]
    champion.labels[-12:] ^= 1  # type: ignore[index]
    gate = QualityGate("accuracy", champion=ChampionRule(margin=0.0))

    result = run(gate, answers, truth, champion)

    assert result.passed
    assert 0 < result.champion.low <= result.champion.gain == pytest.approx(0.012)
    assert result.low < result.champion.value


def test_the_same_model_keeps_any_margin() -> None:
    """A redeploy of the champion has a gain of exactly 0."""
    answers, truth = classifier(300, ("a", "b", "c"))

    result = run(QualityGate("roc_auc_ovr", champion=ChampionRule()), answers, truth, answers)

    assert (result.champion.gain, result.champion.low, result.champion.high) == (0, 0, 0)
    assert result.passed


def test_a_gain_that_few_rows_cannot_prove_fails_on_its_bound_alone() -> None:
    """0.01 worse on 100 rows is within a margin of 0.02, but not provably."""
    champion, truth = right_on(0.80, 100)
    labels = np.array(champion.labels)
    labels[[3, 90, 91]] ^= 1  # one right, two wrong

    bound = run(
        QualityGate("accuracy", champion=ChampionRule(0.02)), Answers(labels, None, (0, 1)),
        truth, champion,
    )  # fmt: skip
    point = run(
        QualityGate("accuracy", champion=ChampionRule(0.02, judge="point")),
        Answers(labels, None, (0, 1)), truth, champion,
    )  # fmt: skip

    assert bound.champion.gain == pytest.approx(-0.01)
    assert (bound.passed, point.passed) == (False, True)
    assert "not proven" in bound.reason


def test_a_first_model_has_no_champion_to_beat() -> None:
    """The rule passes and says so."""
    answers, truth = right_on(0.9, 100)

    result = run(QualityGate("accuracy", 0.8, champion=ChampionRule()), answers, truth)

    assert result.passed
    assert "the champion is asked when this is deployed" in result.reason


def test_an_undefined_metric_fails_its_gate() -> None:
    """NaN keeps no threshold."""
    answers, _ = classifier(50, (0, 1))

    result = run(QualityGate("roc_auc", at_least=0.5), answers, np.zeros(50, dtype=int))

    assert not result.passed
    assert "undefined" in result.reason
    assert result.to_json()["value"] is None


def test_budgets_of_latency_and_size_include_their_limit() -> None:
    """A megabyte is a million bytes."""
    gates = Gates(one_row_ms=5.0, model_mb=100.0)

    kept = judge(gates, None, None, {}, None, 5.0, 100 * MB, rng())
    broken = judge(gates, None, None, {}, None, 5.1, 100 * MB + 1, rng())

    assert [result.passed for result in kept] == [True, True]
    assert [result.passed for result in broken] == [False, False]
    assert "5.1 ms is above the limit of 5 ms" in broken[0].reason


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        (Gates((QualityGate("accuracy"),)), "rows with true answers"),
        (Gates(one_row_ms=1.0), "measured latency"),
    ],
)
def test_a_gate_without_its_facts_is_refused(gates: Gates, words: str) -> None:
    """A gate that cannot be judged never passes silently."""
    with pytest.raises(SlimError, match=words):
        judge(gates, None, None, {}, None, None, None, rng())


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        (Gates((QualityGate("accurcy"),)), "did you mean 'accuracy'"),
        (Gates(fairness=(FairnessGate(("a",), "demographic_parity"),)), "did you mean"),
        (
            Gates(fairness=(FairnessGate(("a",), "demographic_parity_ratio", at_most=0.1),)),
            "wrong side: a ratio",
        ),
        (
            Gates(fairness=(FairnessGate(("a",), "equalized_odds_difference", at_least=0.1),)),
            "wrong side: a difference",
        ),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused_before_the_work(gates: Gates, words: str) -> None:
    """No conversion is spent on a typing error."""
    with pytest.raises(UsageError, match=words):
        check(gates)

    check(Gates((QualityGate("neg_log_loss"), QualityGate("rand_score"))))


def test_all_failed_gates_are_listed_at_once() -> None:
    """With their figures, and exit code 4."""
    answers, truth = right_on(0.7, 100)
    gates = Gates(
        (QualityGate("accuracy", 0.8), QualityGate("f1", 0.9), QualityGate("recall", 0.1)),
        model_mb=1.0,
    )
    results = judge(gates, answers, truth, {}, None, None, 3 * MB, rng())

    with pytest.raises(QualityError) as failure:
        require(results, "churn")

    assert failure.value.exit_code == 4
    lines = failure.value.message.splitlines()
    assert lines[0] == "churn failed 3 gates of 4:"
    assert "accuracy 0.7 (" in lines[1]
    assert "below 0.8" in lines[1]
    assert "size 3 MB" in lines[3]
    assert failure.value.hint


def test_results_become_json() -> None:
    """Without NaN, whatever was undefined."""
    answers, truth = right_on(0.9, 100)
    gates = Gates((QualityGate("accuracy", 0.5, champion=ChampionRule()),), one_row_ms=9.0)
    results = judge(gates, answers, truth, {}, answers, 1.0, None, rng())

    plain = json.loads(json.dumps([one.to_json() for one in results], allow_nan=False))

    assert plain[0]["champion"]["gain"] == 0
    assert plain[0]["threshold"] == {"at_least": 0.5, "at_most": None, "judge": "point"}
    assert plain[1]["low"] is None
    require(results)


CLASSES = Signature(
    "classification",
    (Tensor("x", "FP32", (-1, 2)),),
    (Tensor("label", "BYTES", (-1,)), Tensor("scores", "FP32", (-1, 2))),
    classes=("a", "b"),
    label="label",
    scores="scores",
)
NUMBER = Signature("regression", CLASSES.inputs, (Tensor("y", "FP32", (-1, 1)),))


@pytest.mark.parametrize(
    ("signature", "outputs", "check"),
    [
        (
            CLASSES,
            {"label": np.array(["a", "b"], object), "scores": np.eye(2, dtype=np.float32)},
            lambda given: given.classes == ("a", "b") and given.probabilities.shape == (2, 2),
        ),
        (NUMBER, {"y": np.ones((3, 1))}, lambda given: given.values.shape == (3, 1)),
    ],
)
def test_answers_are_read_from_the_outputs_of_a_model(
    signature: Signature, outputs: dict[str, Array], check: Callable[[Answers], bool]
) -> None:
    """The signature says which output is what."""
    assert check(Answers.of(signature, outputs))


def test_a_model_of_vectors_has_nothing_that_a_metric_judges() -> None:
    """An embedding is neither a label nor a value."""
    signature = Signature("other", CLASSES.inputs, (Tensor("vector", "FP32", (-1, 8)),))

    with pytest.raises(SlimError, match="neither a label nor a value"):
        Answers.of(signature, {"vector": np.ones((2, 8))})


def test_a_result_without_resamples_is_a_plain_value() -> None:
    """Results compare by value, so that reports can be tested."""
    gates = Gates(model_mb=1.0)

    first, second = (judge(gates, None, None, {}, None, None, 5, rng()) for _ in range(2))

    assert first == second
    assert isinstance(first[0], GateResult)
