"""What people really save is read: every estimator of the libraries, in each form of file."""

import importlib
import inspect
import pickle
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, special, stats
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import RandomizedSearchCV
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import all_estimators

from fnmodel.slim.untrusted import skopsfile, unpickle

# scikit-learn warns of what it will rename, and of tables as small as these.
pytestmark = pytest.mark.filterwarnings("ignore")

FEWEST = 185
COMPRESSED = [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)]

# Made by hand, since they need more than a table and labels.
APART = {
    "ClassifierChain", "CountVectorizer", "DictVectorizer", "FeatureHasher", "HashingVectorizer",
    "IsotonicRegression", "LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer",
    "MultiOutputClassifier", "MultiOutputRegressor", "PatchExtractor", "RegressorChain",
    "TfidfTransformer", "TfidfVectorizer",
}  # fmt: skip


def _table():
    rows, labels = load_iris(return_X_y=True)
    return rows[::3], labels[::3]


def _settings(name, kind):
    asked = inspect.signature(kind).parameters
    regression = "Regress" in name
    plain = Ridge() if regression else LogisticRegression()
    given = {
        "estimator": plain,
        "estimators": [("a", plain), ("b", plain)],
        "steps": [("a", plain)],
        "transformer_list": [("a", StandardScaler())],
        "transformers": [("a", "passthrough", [0])],
        "param_grid": {"C": [0.1, 1.0]},
        "param_distributions": {"C": [0.1, 1.0]},
        "dictionary": _table()[0][:3],
    }
    needed = {name for name, value in asked.items() if value.default is inspect.Parameter.empty}
    settings = {name: value for name, value in given.items() if name in needed}
    if "n_estimators" in asked:
        settings["n_estimators"] = 3
    if "max_iter" in asked and name not in ("GaussianProcessClassifier", "TSNE"):
        settings["max_iter"] = 5
    if "n_components" in asked:
        settings["n_components"] = 1
    return settings


def _apart(name, kind):
    rows, labels = _table()
    match name:
        case "CountVectorizer" | "TfidfVectorizer" | "HashingVectorizer":
            return kind().fit(["a b", "b c dd ee"])
        case "TfidfTransformer":
            return kind().fit(rows)
        case "DictVectorizer":
            return kind().fit([{"a": 1, "b": "x"}])
        case "FeatureHasher" | "PatchExtractor":
            return kind()
        case "LabelBinarizer" | "LabelEncoder":
            return kind().fit(labels.astype(str))
        case "MultiLabelBinarizer":
            return kind().fit([["x"], ["y"]])
        case "IsotonicRegression":
            return kind().fit(rows[:, 0], labels)
        case _:
            both = np.c_[labels > 0, labels > 1].astype(int)
            return kind(**_settings(name, kind)).fit(rows, both)


def _fitted(name, kind):
    if name in APART:
        return _apart(name, kind)
    rows, labels = _table()
    for given in (labels, labels > 0, np.c_[labels + 1.0, labels * 2]):
        try:
            return kind(**_settings(name, kind)).fit(rows, given)
        except (ValueError, TypeError, AttributeError):
            continue
    return None


@pytest.fixture(scope="module")
def fitted():
    """Return every estimator of scikit-learn that a small table can fit, by name."""
    with warnings.catch_warnings():  # no mark reaches a fixture
        warnings.simplefilter("ignore")
        # IterativeImputer is there only where something asked for it.
        importlib.import_module("sklearn.experimental.enable_iterative_imputer")
        tried = {name: _fitted(name, kind) for name, kind in all_estimators()}
    return {name: model for name, model in tried.items() if model is not None}


def _same(read, model):
    assert type(read) is type(model)
    rows, _ = _table()
    for method in ("predict_proba", "predict", "transform", "score_samples"):
        if not hasattr(model, method):
            continue
        try:
            expected = getattr(model, method)(rows)
        except (ValueError, TypeError, AttributeError):
            continue
        got = getattr(read, method)(rows)
        if sparse.issparse(expected):
            expected, got = expected.toarray(), got.toarray()
        np.testing.assert_array_equal(got, expected)
        return


@pytest.mark.parametrize("protocol", [2, 5])
def test_every_estimator_is_read_from_a_pickle(tmp_path, fitted, protocol):
    """All of scikit-learn that can be fitted is read, and answers as Python's own pickle does."""
    assert len(fitted) >= FEWEST
    path = tmp_path / "model.pkl"
    for model in fitted.values():
        path.write_bytes(pickle.dumps(model, protocol))
        assert unpickle.scan(path) == frozenset()
        _same(unpickle.load(path), pickle.loads(path.read_bytes()))


def test_every_estimator_is_read_from_joblib(tmp_path, fitted):
    """The arrays that joblib writes between the instructions are read, compressed or not."""
    path = tmp_path / "model.joblib"
    for position, model in enumerate(fitted.values()):
        joblib.dump(model, path, compress=COMPRESSED[position % len(COMPRESSED)])
        assert type(unpickle.load(path)) is type(model)


def test_estimators_are_read_from_skops(tmp_path, fitted):
    """The same list of names holds for skops files."""
    skops = pytest.importorskip("skops.io")
    path = tmp_path / "model.skops"
    for name in sorted({*fitted} - {"Birch"})[::6]:
        skops.dump(fitted[name], path)
        assert type(skopsfile.load(path)) is type(fitted[name])


@pytest.mark.parametrize("compress", COMPRESSED, ids=str)
@pytest.mark.parametrize(
    "model", [RandomForestClassifier(5), HistGradientBoostingClassifier(max_iter=3)], ids=str
)
def test_trees_are_read_in_every_form(tmp_path, model, compress):
    """Trees keep structured arrays: their answers stay the same to the last bit."""
    rows, labels = _table()
    path = tmp_path / "model.joblib"
    joblib.dump(model.fit(rows, labels), path, compress=compress)

    np.testing.assert_array_equal(
        unpickle.load(path).predict_proba(rows), model.predict_proba(rows)
    )


def _boosters():
    rows, labels = _table()
    xgboost = pytest.importorskip("xgboost")
    lightgbm = pytest.importorskip("lightgbm")
    catboost = pytest.importorskip("catboost")
    quiet = {"iterations": 3, "verbose": 0, "allow_writing_files": False}
    yield from (
        kind(n_estimators=3).fit(rows, labels)
        for kind in (xgboost.XGBClassifier, xgboost.XGBRegressor, xgboost.XGBRFClassifier)
    )
    for kind in (lightgbm.LGBMClassifier, lightgbm.LGBMRegressor):
        yield kind(n_estimators=3, verbose=-1, n_jobs=1).fit(rows, labels)
    for kind in (catboost.CatBoostClassifier, catboost.CatBoostRegressor):
        yield kind(**quiet, thread_count=1).fit(rows, labels)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_boosters_are_read(tmp_path, protocol):
    """XGBoost, LightGBM and CatBoost keep their own formats inside the pickle."""
    rows, _ = _table()
    path = tmp_path / "model.pkl"
    for model in _boosters():
        path.write_bytes(pickle.dumps(model, protocol))
        np.testing.assert_array_equal(unpickle.load(path).predict(rows), model.predict(rows))


def _frame():
    return pd.DataFrame(
        {
            "number": [1.5, np.nan],
            "text": ["größer", None],
            "category": pd.Categorical(["u", "v"]),
            "day": pd.date_range("2026-01-01", periods=2),
            "zone": pd.date_range("2026-01-01", periods=2, tz="Europe/Berlin"),
            "whole": pd.array([1, None], dtype="Int64"),
            "truth": pd.array([True, None], dtype="boolean"),
            "object": pd.Series([1, "x"], dtype=object),
            "delta": pd.to_timedelta([1, 2]),
            "interval": pd.interval_range(0, 2),
        }
    ).set_index(["text", "number"], drop=False)


THINGS = {
    "python": [
        OrderedDict(a=1), Counter("aab"), deque([1]), {1, "a"}, frozenset([2]), slice(1, 2),
        range(3), 1j, b"a", bytearray(b"b"), 10**30, Decimal("1.5"), Fraction(1, 3), None, ...,
        UUID(int=5), Path("a/b"), date(2026, 1, 2), timedelta(1), int, float, str,
        datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
        defaultdict(list, a=[1]),
    ],
    "numpy": [
        np.float64(1.5), np.str_("a"), np.datetime64("2026-01-01"), np.dtype("f4"), np.float32,
        np.dtype([("a", "<f8"), ("b", "O"), ("c", "i4", (2, 3))]), np.dtype("M8[ns]"),
        np.log1p, np.clip, np.mean, special.expit, partial(np.clip, a_min=0, a_max=1),
    ],
    "arrays": [
        np.array(["a", "bc"]), np.array(["a", None], object), np.zeros((0, 3)), np.array(5.0),
        np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(3, dtype=">i4"),
        np.zeros(2, dtype=[("a", "f8"), ("b", "O")]), np.array(["2026-01-01"], "M8[ns]"),
    ],
    "pandas": [_frame(), _frame()["category"], pd.RangeIndex(3), pd.Timestamp("2026-01-01")],
}  # fmt: skip


@pytest.mark.parametrize("form", ["pickle-2", "pickle-5", "joblib", "joblib-zlib"])
@pytest.mark.parametrize("kind", THINGS)
def test_values_in_a_model_are_read(tmp_path, kind, form):
    """What estimators keep beside their arrays comes back equal."""
    path, things = tmp_path / "model", THINGS[kind]
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps(things, int(form[-1])))
    else:
        joblib.dump(things, path, compress=3 if form.endswith("zlib") else 0)

    for read, thing in zip(unpickle.load(path), things, strict=True):
        if isinstance(thing, pd.DataFrame | pd.Series):
            (pd.testing.assert_frame_equal if thing.ndim == 2 else pd.testing.assert_series_equal)(
                read, thing
            )
        elif isinstance(thing, np.ndarray):
            np.testing.assert_array_equal(read, thing)
        elif isinstance(thing, pd.Index):
            assert read.equals(thing)
        elif isinstance(thing, partial):
            assert (read.func, read.args, read.keywords) == (
                thing.func, thing.args, thing.keywords,
            )  # fmt: skip
        else:
            assert read == thing
            assert type(read) is type(thing)


def test_generators_go_on_where_they_were(tmp_path):
    """Random generators inside estimators keep their state."""
    path = tmp_path / "model.pkl"
    things = [np.random.RandomState(3), np.random.default_rng(4)]
    path.write_bytes(pickle.dumps(things))

    old, new = unpickle.load(path)

    assert old.rand() == things[0].rand()
    assert new.random() == things[1].random()


def test_sparse_matrices_are_read(tmp_path):
    """Every format of scipy.sparse is read."""
    path = tmp_path / "model.pkl"
    for name in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil"):
        for ending in ("array", "matrix"):
            matrix = getattr(sparse, f"{name}_{ending}")(np.diag([1.0, 2.0]))
            path.write_bytes(pickle.dumps(matrix))
            np.testing.assert_array_equal(unpickle.load(path).toarray(), matrix.toarray())


def test_search_over_distributions_is_read(tmp_path):
    """The distributions of a search are left behind; the estimator that it found is whole."""
    rows, labels = _table()
    search = RandomizedSearchCV(
        LogisticRegression(max_iter=500), {"C": stats.uniform(0.1, 1)}, n_iter=2, random_state=0
    ).fit(rows, labels)
    path = tmp_path / "model.joblib"
    joblib.dump(search, path)

    read = unpickle.load(path)

    np.testing.assert_array_equal(read.predict_proba(rows), search.predict_proba(rows))


def test_function_transformer_of_numpy_is_read(tmp_path):
    """Functions of numpy that only compute need no trust."""
    path = tmp_path / "model.joblib"
    for function in (np.log1p, np.square, partial(np.clip, a_min=0, a_max=1)):
        joblib.dump(FunctionTransformer(function).fit(np.ones((2, 2))), path)
        read = unpickle.load(path)
        np.testing.assert_array_equal(
            read.transform(np.full((1, 2), 3.0)), function(np.full((1, 2), 3.0))
        )


def test_file_that_another_version_of_numpy_wrote_is_read(tmp_path):
    """What numpy 1 called `numpy.core` and numpy 2 calls `numpy._core` is the same."""
    path = tmp_path / "model.pkl"
    data = pickle.dumps(np.arange(3.0), 2)
    assert b"numpy._core.multiarray" in data
    path.write_bytes(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))

    np.testing.assert_array_equal(unpickle.load(path), np.arange(3.0))
