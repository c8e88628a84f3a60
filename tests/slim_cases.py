"""Small trained models of many kinds, and ways to write model files, good and hostile."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC

from fnmodel.model import Tolerance
from fnmodel.slim.content import content_sha256
from fnmodel.slim.job import run
from fnmodel.slim.order import Budget, Job, Order
from fnmodel.slim.proof.report import ParityReport

TOLERANCE = Tolerance(absolute=1e-4, relative=1e-3)


@dataclass(frozen=True)
class Case:
    """A fitted model and the features it was fitted on."""

    model: Any
    rows: Any


def customers(count: int = 300) -> pd.DataFrame:
    """Make a table of text, booleans, codes, integers and missing values under awkward names."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "plan": rng.choice(["basic", "plus", "größer"], count),
            "zip": rng.choice(["01067", "99084"], count),
            "Senior Citizen (é)": rng.random(count) < 0.3,
            "code": rng.integers(1, 5, count),
            "tenure": rng.integers(0, 70, count),
            "label": rng.normal(60, 20, count),
            "unused": rng.normal(size=count),
        }
    )
    frame.loc[rng.random(count) < 0.1, "label"] = np.nan
    frame.loc[rng.random(count) < 0.1, "plan"] = np.nan
    return frame


def leavers(frame: pd.DataFrame) -> Any:
    """Say which of the customers leave, as booleans."""
    noise = np.random.default_rng(4).normal(0, 5, len(frame))
    return (frame["label"].fillna(60) + 12 * (frame["plan"] == "plus") + noise > 62).to_numpy()


def columns(text: Any = None, numbers: Any = None) -> ColumnTransformer:
    """Make a column transformer over `customers()` that leaves one column out."""
    return ColumnTransformer(
        [
            ("text", text or OneHotEncoder(handle_unknown="ignore"), ["plan", "zip"]),
            ("codes", OneHotEncoder(handle_unknown="ignore"), ["Senior Citizen (é)", "code"]),
            ("numbers", numbers or _numbers(), ["tenure", "label"]),
        ]
    )


def _numbers() -> Any:
    return make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())


def holed() -> tuple[Any, Any]:
    """Return the breast cancer table as an array with 5 % of its values missing."""
    rows, labels = load_breast_cancer(return_X_y=True)
    rows = rows[:300].copy()
    rows[np.random.default_rng(5).random(rows.shape) < 0.05] = np.nan
    return rows, labels[:300]


def _on_customers(model: Any) -> Case:
    frame = customers()
    return Case(model.fit(frame, leavers(frame)), frame)


def _string_labels() -> Case:
    iris = load_iris(as_frame=True)
    labels = iris.target_names[iris.target]
    return Case(RandomForestClassifier(20, random_state=0).fit(iris.data, labels), iris.data)


def _voting() -> Case:
    rows, labels = load_iris(return_X_y=True)
    members = [("linear", LogisticRegression(max_iter=5000)), ("bayes", GaussianNB())]
    return Case(VotingClassifier(members, voting="soft").fit(rows, labels), rows)


def _linear_svc() -> Case:
    rows, labels = load_iris(return_X_y=True)
    return Case(make_pipeline(StandardScaler(), LinearSVC()).fit(rows, labels), rows)


def _network() -> Case:
    rows, labels = load_iris(return_X_y=True)
    network = MLPClassifier((8,), learning_rate_init=0.02, max_iter=2000, random_state=0)
    return Case(make_pipeline(MinMaxScaler(), network).fit(rows, labels), rows)


def _regression() -> Case:
    table = load_diabetes(as_frame=True)
    return Case(LinearRegression().fit(table.data, table.target), table.data)


def _two_targets() -> Case:
    rows, target = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(10, random_state=0)
    return Case(forest.fit(rows, np.c_[target, -target]), rows)


def _forest_with_holes() -> Case:
    rows, labels = holed()
    return Case(RandomForestClassifier(20, random_state=0).fit(rows, labels), rows)


def _boosting_with_holes() -> Case:
    rows, labels = holed()
    return Case(HistGradientBoostingClassifier(max_iter=10).fit(rows, labels), rows)


def _large_numbers() -> Case:
    # Seconds since 1970 have no fraction left in float32: only float64 scales them right.
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"time": 1.7e9 + rng.integers(0, 10**5, 300), "size": rng.random(300)})
    late = frame["time"] % 10**5 > 50_000
    forest = RandomForestClassifier(20, random_state=0)
    return Case(make_pipeline(StandardScaler(), forest).fit(frame, late), frame)


GOOD: dict[str, Callable[[], Case]] = {
    "columns-boosting": lambda: _on_customers(
        make_pipeline(columns(), GradientBoostingClassifier(n_estimators=15, random_state=0))
    ),
    "text-imputer": lambda: _on_customers(
        make_pipeline(
            columns(
                make_pipeline(
                    SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
                )
            ),
            LogisticRegression(),
        )
    ),
    "ordinal-histogram-boosting": lambda: _on_customers(
        make_pipeline(
            columns(OrdinalEncoder(encoded_missing_value=-2), "passthrough"),
            HistGradientBoostingClassifier(max_iter=10),
        )
    ),
    "string-labels": _string_labels,
    "voting": _voting,
    "linear-svc": _linear_svc,
    "network": _network,
    "regression": _regression,
    "two-targets": _two_targets,
    "forest-with-holes": _forest_with_holes,
    "boosting-with-holes": _boosting_with_holes,
    "large-numbers": _large_numbers,
}


def save(folder: Path, model: Any, rows: Any) -> tuple[Path, Path]:
    """Write a model file and a sample file; return both paths."""
    source = folder / "model.joblib"
    joblib.dump(model, source)
    if isinstance(rows, pd.DataFrame):
        sample = folder / "sample.csv"
        rows.to_csv(sample, index=False)
    else:
        sample = folder / "sample.npz"
        np.savez(sample, X=rows)
    return source, sample


def convert(
    folder: Path,
    source: Path,
    sample: Path | None,
    *,
    target: str | None = None,
    tolerance: Tolerance = TOLERANCE,
) -> ParityReport:
    """Run the child's work in this process; the model directory is `folder/model`."""
    order = Order(source, sample, target, Budget(tolerance))
    return run(Job(order, content_sha256(source), folder / "model"), lambda _: None)


class Hostile:
    """An object whose pickle runs Python code when it is read."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


def hostile_file(path: Path, code: str) -> Path:
    """Write a pickle that runs `code`."""
    path.write_bytes(pickle.dumps(Hostile(code)))
    return path
