"""Files and samples that cannot be converted end in an error that says what to do."""

import json
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from slim_cases import GOOD, convert, save

from fnmodel.errors import MissingExtraError, SlimError, UnsupportedModelError
from fnmodel.slim.source import check_extra


def _numbers(seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(80, 3))
    rows[:, 0] = rng.integers(0, 5, 80)
    return rows, rows[:, 1] > 0


UNSUPPORTED = {
    "GaussianProcessClassifier": lambda x, y: GaussianProcessClassifier().fit(x, y),
}


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_unsupported_step_is_named(tmp_path, reason):
    """A step without a converter, or with one known to be wrong, is refused by name."""
    rows, labels = _numbers()
    files = save(tmp_path, UNSUPPORTED[reason](rows, labels), rows)

    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        convert(tmp_path, *files)
    assert caught.value.hint


BROKEN = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is no model", "not a complete pickle|no trained model"),
    "html": (b"<!doctype html><title>404</title>", "a web page"),
    "zip": (b"PK\x03\x04 and so on", "damaged zip archive"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "dict": (pickle.dumps({"weights": [1, 2]}), "holds a dict"),
    "missing-module": (b"cno_such_module\nThing\n.", "no_such_module.Thing"),
    "missing-class": (b"csklearn.linear_model\nNoSuchModel\n.", "NoSuchModel"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_file_is_named(tmp_path, kind):
    """A file that holds no estimator is refused in words, whatever is in it."""
    content, words = BROKEN[kind]
    path = tmp_path / "model.pkl"
    path.write_bytes(content)

    with pytest.raises(SlimError, match=words):
        convert(tmp_path, path, None)


def test_truncated_file_is_refused(tmp_path):
    """A half-written model file is not read half."""
    case = GOOD["string-labels"]()
    source, sample = save(tmp_path, case.model, case.rows)
    source.write_bytes(source.read_bytes()[:-1000])

    with pytest.raises(SlimError, match="not a complete pickle or joblib file"):
        convert(tmp_path, source, sample)


def test_unfitted_model_is_refused(tmp_path):
    """An estimator must have been fitted before it was saved."""
    path = tmp_path / "model.joblib"
    joblib.dump(make_pipeline(StandardScaler(), Ridge()), path)

    with pytest.raises(SlimError, match="not fitted"):
        convert(tmp_path, path, None)


def test_missing_columns_are_named(tmp_path):
    """A misspelt column of the sample is named together with the nearest one."""
    case = GOOD["columns-boosting"]()
    frame = case.rows.rename(columns={"tenure": "tenures"})

    with pytest.raises(SlimError, match=r"no column 'tenure' \(did you mean 'tenures'\?\)"):
        convert(tmp_path, *save(tmp_path, case.model, frame))


def test_target_must_be_a_column(tmp_path):
    """A misspelt target is an error, not silently another feature."""
    case = GOOD["columns-boosting"]()
    files = save(tmp_path, case.model, case.rows.assign(churned=1))

    with pytest.raises(SlimError, match=r"'churn' to leave out \(did you mean 'churned'\?\)"):
        convert(tmp_path, *files, target="churn")


def test_target_is_left_out_of_an_unnamed_sample(tmp_path):
    """With a target, a model without names takes the other columns in order."""
    rows, labels = _numbers()
    model = LogisticRegression().fit(rows, labels)
    frame = pd.DataFrame(rows, columns=["a", "b", "c"]).assign(answer=labels)
    source, sample = save(tmp_path, model, frame)

    with pytest.raises(SlimError, match="4 columns, the model takes 3") as caught:
        convert(tmp_path, source, sample)
    assert "target" in caught.value.hint
    assert convert(tmp_path, source, sample, target="answer").passed


def test_sample_is_asked_for(tmp_path):
    """A model that does not know its features' range, or takes text, needs a sample."""
    rows, _ = _numbers()
    linear, _ = save(tmp_path, LinearRegression().fit(rows, rows[:, 1]), rows)
    with pytest.raises(SlimError, match="what its features look like") as caught:
        convert(tmp_path, linear, None)
    assert "sample:" in caught.value.hint

    case = GOOD["columns-boosting"]()
    table, _ = save(tmp_path, case.model, case.rows)
    with pytest.raises(SlimError, match="takes text columns") as caught:
        convert(tmp_path, table, None)
    assert "sample:" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.csv", b"", "No columns"),
        ("rows.csv", b"a,b,c\n", "no rows"),
        ("rows.csv", b"\xff\xfe\x00", "cannot be read"),
        ("rows.json", b"{not json", "cannot be read"),
        ("rows.npz", b"PK nothing", "cannot be read"),
        ("rows.npy", b"\x93NUMPY", "cannot be read"),
        ("rows.xlsx", b"PK", "cannot be a .xlsx"),
        ("rows.parquet", b"PAR1", "pyarrow|cannot be read"),
    ],
)
def test_broken_sample_is_named(tmp_path, name, content, words):
    """A sample that cannot be read is an error of its own, without a traceback."""
    rows, labels = _numbers()
    source, _ = save(tmp_path, LogisticRegression().fit(rows, labels), rows)
    sample = tmp_path / name
    sample.write_bytes(content)

    with pytest.raises(SlimError) as caught:
        convert(tmp_path, source, sample)
    error = caught.value
    assert any(word in error.message + error.hint for word in words.split("|"))


def test_object_array_is_not_unpickled_as_a_sample(tmp_path):
    """A sample of Python objects would run code; it is refused instead."""
    rows, labels = _numbers()
    source, _ = save(tmp_path, LogisticRegression().fit(rows, labels), rows)
    sample = tmp_path / "rows.npy"
    np.save(sample, np.array([[object()]], dtype=object), allow_pickle=True)

    with pytest.raises(SlimError, match=r"rows\.npy cannot be read"):
        convert(tmp_path, source, sample)


def test_json_sample_is_read(tmp_path):
    """A list of records is a sample, null being a missing value."""
    case = GOOD["columns-boosting"]()
    source, _ = save(tmp_path, case.model, case.rows)
    sample = tmp_path / "rows.json"
    sample.write_text(json.dumps(json.loads(case.rows.to_json(orient="records"))))

    assert convert(tmp_path, source, sample).passed


def test_sample_that_the_model_refuses(tmp_path):
    """When the original itself fails on the sample, its words are passed on."""
    rows, labels = _numbers()
    source, _ = save(tmp_path, LogisticRegression().fit(rows, labels), rows)
    sample = tmp_path / "rows.csv"
    sample.write_text("a,b,c\nx,y,z\n")

    with pytest.raises(SlimError, match="original model fails on the sample"):
        convert(tmp_path, source, sample)


def test_missing_extra_is_named():
    """Without onnx the error names it and the extra that brings it."""
    with pytest.raises(MissingExtraError, match="needs onnx") as caught:
        check_extra(lambda name: name != "onnx")
    assert caught.value.hint == "pip install 'fnmodel[sklearn]'"
