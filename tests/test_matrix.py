"""The matrix's own functions, on a few kinds: each is the same, and a wrong one is found."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fnmodel.slim.content import content_sha256
from fnmodel.slim.job import run
from fnmodel.slim.order import Job, Order

MATRIX = Path(__file__).parents[1] / "benchmarks" / "matrix"
SAMPLED = {
    "linear": ("logistic regression, string labels", "GammaRegressor"),
    "trees": ("decision tree", "histogram boosting, categorical codes", "extra tree"),
    "ensembles": ("voting, soft", "calibrated, isotonic"),
    "others": ("nearest neighbours, by distance", "Gaussian process classifier"),
    "preparations": ("SimpleImputer, median, indicator, logistic regression",),
    "tables": ("one-hot (errors), logistic regression", "missing text as a category"),
    "text": ("TF-IDF of words, logistic regression", "text column and number column"),
}
REFUSED = {"Gaussian process classifier"}


@pytest.fixture(scope="module")
def matrix():
    """Import the modules of the matrix, which is a folder of scripts and not a package."""
    sys.path.insert(0, str(MATRIX))
    names = ("fresh", "page", "result", "sklearn_kinds", "text_kinds", "run")
    yield {name: importlib.import_module(name) for name in names}
    sys.path.remove(str(MATRIX))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", SAMPLED)
def test_sampled_kinds_keep_their_verdict(matrix, group):
    """Kinds across the families are the same on rows never seen, or refused by name."""
    kinds = matrix["text_kinds"].kinds if group == "text" else None
    made = dict((kinds or getattr(matrix["sklearn_kinds"], group))())

    for name in SAMPLED[group]:
        row = matrix["run"].row_of(name, made[name])

        assert row.verdict == ("refused" if name in REFUSED else "same"), row
        assert name in REFUSED or row.fresh >= 200


def test_a_wrong_conversion_is_silent_no_more(matrix, tmp_path):
    """What is served for one model does not pass as the conversion of another."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 3))
    labels = (rows[:, 0] > 0).astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    other = make_pipeline(StandardScaler(), LogisticRegression(C=0.9)).fit(rows, labels)
    source, sample = matrix["run"]._saved(tmp_path, model, rows)
    run(Job(Order(source, sample), content_sha256(source), tmp_path / "made"), lambda _: None)

    assert matrix["fresh"].ask(model, rows, tmp_path / "made").differs == ""
    assert "predict_proba differs" in matrix["fresh"].ask(other, rows, tmp_path / "made").differs


def test_an_answer_where_the_original_refuses_is_found(matrix, tmp_path):
    """A conversion that answers a missing value differs from an original that refuses it."""

    class Strict(LinearRegression):
        def predict(self, X):  # noqa: N803 - scikit-learn's name
            if (np.abs(X) > 100).any():
                raise ValueError("too large")
            return super().predict(X)

    rows = np.random.default_rng(0).normal(size=(200, 3))
    model = LinearRegression().fit(rows, rows[:, 0])
    strict = Strict().fit(rows, rows[:, 0])
    source, sample = matrix["run"]._saved(tmp_path, model, rows)
    run(Job(Order(source, sample), content_sha256(source), tmp_path / "made"), lambda _: None)

    assert matrix["fresh"].ask(model, rows, tmp_path / "made").differs == ""
    found = matrix["fresh"].ask(strict, rows, tmp_path / "made").differs
    assert "is answered, the original refuses it" in found


def test_results_are_kept_and_shown(matrix, tmp_path):
    """Results survive their file, and the page counts them by verdict without timings."""
    result, page = matrix["result"], matrix["page"]
    rows = [
        result.Result("A", "one", "same", "float64", 3e-7, edges=500, edge_flips=1, fresh=400),
        result.Result("A", "two", "refused", "it has | no way\nat all", seconds=3.21),
    ]
    result.write(tmp_path / "kept.json", rows)

    kept = result.read(tmp_path / "kept.json")
    shown = page.render({"A": list(kept.values())}, ["Keras needs keras"], {"onnx": "1.0"})

    assert list(kept.values()) == rows
    assert "| one | same | < 1e-6 | 0 (0) | 1 of 500 | 2 | 400 same | float64 |" in shown
    assert "| two | refused | | | | | | it has \\| no way |" in shown
    assert "| silent | 0 |" in shown
    assert "Keras needs keras" in shown
    assert "3.21" not in shown
