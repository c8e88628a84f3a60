"""The parity gate stops wrong conversions, and counts ties as what they are."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.neighbors import KNeighborsRegressor
from slim_cases import GOOD, TOLERANCE, convert, save

from fnmodel.errors import ParityError
from fnmodel.model import Tolerance
from fnmodel.slim.order import Budget
from fnmodel.slim.proof.parity import best_two_margin, compare
from fnmodel.slim.proof.report import ParityReport, WorstRow
from fnmodel.slim.proof.trial import ask
from fnmodel.slim.readers.open import open_subject


def _asked(folder, original, other, rows):
    """Ask the ONNX model of `other` what `original` answered, as if the converter had erred."""
    source, sample = save(folder, original, rows)
    questions = open_subject(source, **_opened(sample)).questions
    source, sample = save(folder, other, rows)
    converted = open_subject(source, **_opened(sample)).candidates[0].convert()
    return ask(converted, questions, Budget(TOLERANCE), folder / "model")


def _opened(sample):
    return {"sample": sample, "target": None, "trust": frozenset(), "progress": lambda _: None}


def test_wrong_conversion_is_stopped(tmp_path):
    """Answers of another model convert without a word: the gate sees them."""
    rows, target = load_diabetes(return_X_y=True)
    models = [
        KNeighborsRegressor(weights=weights).fit(rows[:100], target[:100])
        for weights in ("distance", "uniform")
    ]

    trial = _asked(tmp_path, *models, rows[100:200])

    assert not trial.passed
    assert trial.rows.max_abs > 1
    assert all(trial.batches.values())


def test_failed_report_names_rows_and_changes(tmp_path):
    """The error says which row differs, how the check had changed it, and where to read more."""
    rows, target = load_diabetes(return_X_y=True)
    report = convert(tmp_path, *save(tmp_path, LinearRegression().fit(rows, target), rows[:50]))
    worst = WorstRow(7, "value", 1.0, 2.0, origin="unseen", changed=("city",))

    with pytest.raises(ParityError, match="row 7 with an unknown city, value") as e:
        replace(report, passed=False, worst=(worst,)).check()
    assert e.value.exit_code == 4
    assert "parity.html" in e.value.hint


def test_wrong_label_with_right_scores_is_stopped(tmp_path):
    """A threshold that is left out: probabilities agree, labels do not."""
    rows, labels = load_breast_cancer(return_X_y=True)
    plain = LogisticRegression(max_iter=9999).fit(rows[:, :4], labels)
    moved = FixedThresholdClassifier(plain, threshold=0.2).fit(rows[:, :4], labels)

    trial = _asked(tmp_path, moved, plain, rows[:, :4])

    assert trial.rows.max_abs <= TOLERANCE.absolute
    assert int(trial.rows.flips.sum()) > 0
    assert not trial.passed


def test_budget_is_the_users(tmp_path):
    """A tolerance that no float can keep fails a conversion that is right otherwise."""
    case = GOOD["network"]()
    files = save(tmp_path, case.model, case.rows)

    assert convert(tmp_path, *files).passed
    assert not convert(tmp_path, *files, tolerance=Tolerance(0, 0)).passed


def test_the_most_faithful_precision_is_tried_first(tmp_path):
    """A bare model without trees computes in float64, as scikit-learn does."""
    rng = np.random.default_rng(7)
    rows = rng.uniform(1.7e9, 1.8e9, (200, 1))  # seconds since 1970
    model = LinearRegression().fit(rows[:100], rows[:100, 0] * 1e-3)
    report = convert(tmp_path, *save(tmp_path, model, rows[100:]), tolerance=Tolerance(1e-6, 0))

    assert (report.passed, report.how) == (True, "float64")


def test_report_survives_json(tmp_path):
    """A report that was written and read again says the same."""
    rows, target = load_diabetes(return_X_y=True)
    model = KNeighborsRegressor(weights="distance").fit(rows[:100], target[:100])
    report = convert(tmp_path, *save(tmp_path, model, rows[100:200]))
    path = tmp_path / "parity.json"
    path.write_text(json.dumps(report.to_json(), allow_nan=False))

    assert ParityReport.read(path) == report


def _classified(labels, probabilities):
    return {"label": np.array(labels), "probabilities": np.array(probabilities, dtype=float)}


def test_label_of_an_undecided_row_is_a_tie():
    """Where the original is undecided within rounding, another label is no flip."""
    original = _classified([0, 1], [[0.5, 0.5], [0.1, 0.9]])
    onnx = _classified([1, 1], [[0.4999999, 0.5000001], [0.1, 0.9]])
    margin = best_two_margin(original["probabilities"])

    compared = compare(original, onnx, TOLERANCE, margin)

    assert (compared.tied.tolist(), compared.flips.tolist()) == ([True, False], [False, False])
    assert compared.passes(0)


def test_label_of_a_decided_row_is_a_flip():
    """A label that differs where the original was sure counts, and one flip can be allowed."""
    original = _classified([0, 1], [[0.6, 0.4], [0.1, 0.9]])
    onnx = _classified([1, 1], [[0.6, 0.4], [0.1, 0.9]])
    margin = best_two_margin(original["probabilities"])

    compared = compare(original, onnx, TOLERANCE, margin)

    assert compared.flips.tolist() == [True, False]
    assert not compared.passes(0)
    assert compared.passes(1)
    assert compared.worst(5)[0] == 0


@pytest.mark.parametrize(
    ("original", "onnx", "passes"),
    [
        ([np.nan], [np.nan], True),
        ([np.nan], [0.0], False),
        ([0.0], [np.nan], False),
        ([np.inf], [np.inf], True),
        ([np.inf], [1e30], False),
        ([0.0], [9e-5], True),
        ([0.0], [2e-4], False),
        ([1000.0], [1000.9], True),
        ([1000.0], [1001.2], False),
    ],
)
def test_tolerance_of_one_value(original, onnx, passes):
    """The absolute and relative tolerance add up; NaN equals NaN only."""
    a, b = np.array([original]), np.array([onnx])

    assert compare({"value": a}, {"value": b}, TOLERANCE, None).passes(0) is passes


def test_other_shape_never_passes():
    """An output of another shape is wrong, however close its numbers are."""
    compared = compare({"v": np.zeros((3, 2))}, {"v": np.zeros((3, 1))}, TOLERANCE, None)

    assert not compared.passes(3)
