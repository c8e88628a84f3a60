"""Figures without labels follow the truth, with labels they are it; detectors see changes."""

import csv
import io

import numpy as np
import pytest
import watch_cases as cases
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from fnmodel.errors import InputError
from fnmodel.watch import estimate, labels, multivariate, realised
from fnmodel.watch.detectors import Adwin, Ddm, PageHinkley
from fnmodel.watch.rows import Row, read
from fnmodel.watch.table import Table, cells_of, normal_scores, table


def made(scores, said=None, cells=None) -> Table:
    """Return rows of a binary classifier that gave these probabilities of yes."""
    scores = np.asarray(scores, dtype=np.float64)
    said = np.where(scores > 0.5, "yes", "no").astype(object) if said is None else said
    rows = tuple(
        Row(f"r{i}/0", f"2026-11-27T08:{i % 60:02}", "m", "1", "live", 1.0, {}, {})
        for i in range(len(scores))
    )
    cells = np.zeros((len(scores), 1), dtype=np.int16) if cells is None else cells
    names = tuple(f"x{i}" for i in range(cells.shape[1]))
    pair = np.stack([1 - scores, scores], axis=1)
    return Table(rows, names, cells, said, pair, np.ones(len(scores)))


def drawn(seed=0, rows=4000):
    rng = np.random.default_rng(seed)
    scores = rng.beta(1.5, 2, rows)
    true = np.where(rng.random(rows) < scores, "yes", "no").astype(object)
    return scores, true


def test_calibrated_scores_tell_their_own_figures():
    """Every estimated figure is near what labels say afterwards."""
    scores, true = drawn()

    found = estimate.classifier(made(scores), ("no", "yes"))
    came = realised.figures(made(scores), true, "classification", ("no", "yes"))

    for name in ("accuracy", "precision", "recall", "f1", "auc"):
        assert found.figures[name] == pytest.approx(came[name], abs=0.025), name
    assert abs(found.figures["accuracy"] - came["accuracy"]) <= 3.5 * found.spread


def test_realised_figures_are_scikit_learns():
    """Accuracy, precision, recall, F1, AUC and Brier score equal scikit-learn's."""
    scores, true = drawn(1)
    said, positive = scores > 0.5, true == "yes"

    came = realised.figures(made(scores), true, "classification", ("no", "yes"))

    assert came == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(positive, said),
            "precision": metrics.precision_score(positive, said),
            "recall": metrics.recall_score(positive, said),
            "f1": metrics.f1_score(positive, said),
            "auc": metrics.roc_auc_score(positive, scores),
            "brier": metrics.brier_score_loss(positive, scores),
        }
    )


def test_earlier_labels_calibrate_what_boasts():
    """Scores pushed to the ends are taken back to what they mean."""
    scores, true = drawn(2)
    boasting = scores**3 / (scores**3 + (1 - scores) ** 3)
    past, now = slice(0, 2000), slice(2000, 4000)
    classes = ("no", "yes")
    calibration = estimate.calibrate(made(boasting[past]), true[past], classes)

    naive = estimate.classifier(made(boasting[now]), classes)
    taught = estimate.classifier(made(boasting[now]), classes, calibration)
    came = realised.figures(made(boasting[now]), true[now], "classification", classes)

    assert naive.figures["accuracy"] > came["accuracy"] + 0.1
    assert taught.figures["accuracy"] == pytest.approx(came["accuracy"], abs=0.03)
    assert [naive.learned, taught.learned] == [0, 2000]
    assert estimate.calibrate(made(boasting[:50]), true[:50], classes) is None


def test_isotonic_regression_is_scikit_learns():
    """The rising function is the same, at knots and between them."""
    scores, true = drawn(3, 500)
    scores = scores.round(2)
    hits = (true == "yes").astype(np.float64)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, hits)
    grid = np.linspace(0, 1, 301)

    assert estimate.isotonic(scores, hits)(grid) == pytest.approx(theirs.predict(grid), abs=1e-9)


def test_three_classes_have_an_estimated_accuracy():
    """It is the mean of the best class's probability."""
    rng = np.random.default_rng(4)
    scores = rng.dirichlet([1, 1, 1], 3000)
    said = np.array(list("abc"), dtype=object)[scores.argmax(axis=1)]
    base = made(scores[:, 1], said)
    three = Table(base.rows, base.names, base.cells, said, scores, base.weights)

    found = estimate.classifier(three, ("a", "b", "c"))

    assert found.figures == {"accuracy": pytest.approx(scores.max(axis=1).mean())}


def test_a_regressors_error_is_estimated_from_where_it_errs():
    """Rows move to a cell in which errors are large: the estimate follows the truth."""
    rng = np.random.default_rng(5)
    cells = rng.integers(-1, 5, (4000, 3)).astype(np.int16)
    spread = np.where(cells[:, 0] == 4, 5.0, 1.0)
    values = rng.normal(0, 1, 4000)
    true = values + rng.normal(0, 1, 4000) * spread
    past = made(np.zeros(4000), values, cells)
    model = estimate.loss_model(past, true)
    moved = cells.copy()
    moved[:2500, 0] = 4
    later = values + rng.normal(0, 1, 4000) * np.where(moved[:, 0] == 4, 5.0, 1.0)

    found = estimate.regressor(made(np.zeros(4000), values, moved), model)

    assert found.figures["mae"] == pytest.approx(np.abs(values - later).mean(), rel=0.06)
    assert found.figures["mae"] > 1.5 * np.abs(values - true).mean()
    assert estimate.loss_model(past.take(np.arange(50)), true[:50]) is None


# Labels


def test_labels_join_by_prediction_id():
    """CSV and JSON name the id in several ways; a request's id means its first row."""
    text = io.StringIO()
    csv.writer(text).writerows([["prediction_id", "target"], ["r1", "yes"], ["r3/0", "no"]])

    found = labels.read(text.getvalue().encode(), "a.csv")
    more = labels.read(b'{"inferenceId":"r1/0","actual":1}\n\n{"id":"r2/0","label":"no"}\n', "b")
    rows, true = labels.joined(made([0.9] * 5), found, numeric=False)

    assert found == {"r1/0": "yes", "r3/0": "no"}
    assert more == {"r1/0": 1, "r2/0": "no"}
    assert labels.read(labels.to_lines(found | more), "c") == found | more
    assert [[row.id for row in rows.rows], true.tolist()] == [["r1/0", "r3/0"], ["yes", "no"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"id,answer\nr1,yes\n", "line 2: a label needs an id and a value"),
        (b"id,label\nr1,\n", "line 2"),
        (b'{"id":"r1"}', "line 1"),
        (b'{"id":"r1","label":[1]}', "line 1"),
        (b'{"id":"r1","label":1}\nnone', "line 2"),
        (b"{}\n[1]", "line 1"),
        (b"id,label\n\xff,1\n", "not UTF-8"),
    ],
)
def test_a_file_of_labels_that_is_none_is_refused_by_its_line(content, words):
    """The message names file and line."""
    with pytest.raises(InputError, match=words) as caught:
        labels.read(content, "late.csv")
    assert "late.csv" in caught.value.message


def test_a_regressors_label_is_a_number():
    """A text is refused with its id."""
    with pytest.raises(InputError, match="r0/0"):
        labels.joined(made([0.5]), {"r0/0": "many"}, numeric=True)


# Concept drift


@pytest.mark.parametrize("detector", [Adwin, PageHinkley, Ddm])
def test_detectors_see_errors_that_double_and_are_silent_before(detector):
    """From 12 % to 40 % of errors: an alarm within 500 rows; none in 3,000 quiet ones."""
    late, early = [], 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        errors = np.concatenate([rng.random(3000) < 0.12, rng.random(1000) < 0.4]).astype(float)
        one = detector()
        alarms = [at for at, x in enumerate(errors.tolist()) if one.update(x)]
        early += any(at < 3000 for at in alarms)
        late.append(next((at - 3000 for at in alarms if at >= 3000), 9999))

    # DDM passes three deviations over its best rate by chance now and then; so it is no alarm.
    assert detector is Ddm or early == 0
    assert np.median(late) < 500


def test_adwin_keeps_the_window_in_which_the_mean_stays():
    """After a change the old part is dropped; sums stay right; memory is logarithmic."""
    rng = np.random.default_rng(6)
    one = Adwin()
    for x in [*rng.normal(0.2, 0.1, 5000), *rng.normal(0.7, 0.1, 700)]:
        one.update(float(x))

    assert 650 <= one.width <= 800
    assert one.mean == pytest.approx(0.7, abs=0.05)
    assert sum(map(len, one._levels)) < 6 * 14


def test_errors_that_fall_are_no_alarm():
    """A model that became better is no reason to wake somebody."""
    rng = np.random.default_rng(7)
    errors = np.concatenate([rng.random(2000) < 0.4, rng.random(2000) < 0.05]).astype(float)

    found = realised.changes(errors, ["t"] * 4000, "classification")

    assert [one for one in found if one.detector != "ddm"] == []


def test_the_segment_that_errs_is_named():
    """One cell of one feature errs three times as often; nothing else is named."""
    rng = np.random.default_rng(8)
    cells = rng.integers(0, 4, (3000, 5)).astype(np.int16)
    loss = (rng.random(3000) < np.where(cells[:, 2] == 1, 0.3, 0.1)).astype(float)
    calm = (rng.random(3000) < 0.1).astype(float)
    rows = made(np.zeros(3000), cells=cells)

    (found,) = realised.segments(rows, loss)

    assert [found.feature, found.cell] == ["x2", 1]
    assert found.loss == pytest.approx(0.3, abs=0.04)
    assert realised.segments(rows, calm) == []


def test_groups_have_rates_with_intervals():
    """Positive answers and true positives found, by group; small groups are left out."""
    members = ["a"] * 400 + ["b"] * 400 + ["c"] * 10
    scores = np.array([0.9] * 300 + [0.1] * 100 + [0.9] * 100 + [0.1] * 300 + [0.9] * 10)
    true = np.array((["yes", "no"] * 405)[:810], dtype=object)

    a, b = realised.groups(made(scores), true, members, "yes")

    assert [a.name, b.name] == ["a", "b"]
    assert [a.selected.value, b.selected.value] == [0.75, 0.25]
    assert a.selected.low < 0.75 < a.selected.high
    assert [a.found.value, b.found.value] == [0.75, 0.25]


# Several columns at once


def test_a_broken_correlation_is_seen_and_named():
    """Each column stays as it was; the pair that came apart is named. Quiet rows are quiet."""
    rng = np.random.default_rng(9)

    def rows(together):
        x = rng.normal(0, 1, (1500, 6))
        x[:, 1] = 0.8 * x[:, 0] * together + np.sqrt(1 - 0.64 * together) * x[:, 1]
        return x

    names = tuple("abcdef")
    found = multivariate.separate(rows(1), rows(0), names)
    quiet = [multivariate.separate(rows(1), rows(1), names, seed=s).p for s in range(100)]

    assert found.p < 1e-6
    assert found.terms[0][0] == "a with b"
    assert 0.005 < np.mean(np.array(quiet) < 0.05) < 0.12
    assert multivariate.separate(rows(1)[:50], rows(1), names) is None


def test_tables_hold_the_cells_that_profiles_count():
    """A value's cell is the one in which a profile counts it; -1 is missing."""
    reference = cases.trained(cases.world(np.random.default_rng(10), 2000))
    columns = cases.world(np.random.default_rng(11), 400)
    rows = read(cases.lines(columns)).rows

    found = table(rows, reference, cases.SIGNATURE)

    for at, (name, column) in enumerate(reference.features.items()):
        counted = column.empty().count([row.features[name] for row in rows])
        cells = found.cells[:, at]
        inner = [int((cells == i + (column.kind != "category")).sum())
                 for i in range(len(counted.counts))]  # fmt: skip
        assert inner == list(counted.counts), name
        assert (cells == -1).sum() == counted.missing
    assert found.scores.shape == (400, 2)
    assert normal_scores(reference, found.cells)[:, 0].std() == pytest.approx(1, abs=0.1)
    assert cells_of(reference.features["city"], ["w001", "?", None]).tolist()[1:] == [12, -1]
