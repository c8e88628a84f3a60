"""Boosters inside scikit-learn's models answer in ONNX as they do at home."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from boosters_cases import asked_inside, sample, targets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)  # fmt: skip
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fnmodel.errors import UnsupportedModelError

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")
cb = pytest.importorskip("catboost")

NUMBERS = list("abcdef")
FRAME = pd.DataFrame(np.nan_to_num(sample(400)), columns=NUMBERS)
VALUE, TWO, THREE = targets(FRAME.to_numpy())
MIXED = FRAME.assign(s=np.random.default_rng(1).choice(np.array(["u", "v", "é"], object), 400))

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "xgboost": lambda: xgb.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1),
    "lightgbm": lambda: lgb.LGBMClassifier(n_estimators=8, num_leaves=7, n_jobs=1, verbose=-1),
    "catboost": lambda: cb.CatBoostClassifier(
        iterations=8, depth=3, verbose=0, allow_writing_files=False, thread_count=1
    ),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "xgboost": lambda: xgb.XGBRegressor(n_estimators=8, max_depth=3, n_jobs=1),
    "lightgbm": lambda: lgb.LGBMRegressor(n_estimators=8, num_leaves=7, n_jobs=1, verbose=-1),
    "catboost": lambda: cb.CatBoostRegressor(
        iterations=8, depth=3, verbose=0, allow_writing_files=False, thread_count=1
    ),
}
# XGBoost answers in float32, and an isotonic step multiplies its last digit.
FAR = {"xgboost": 2e-5, "lightgbm": 1e-13, "catboost": 1e-13}


def _mixed(**encoder: Any) -> Any:
    return ColumnTransformer(
        [("n", StandardScaler(), NUMBERS), ("s", OneHotEncoder(**encoder), ["s"])]
    )


INSIDE: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
    "scaler": (lambda c, _: make_pipeline(StandardScaler(), c()), THREE),
    "mixed": (lambda c, _: make_pipeline(_mixed(sparse_output=False), c()), THREE),
    "voting": (
        lambda c, _: VotingClassifier([("a", c()), ("b", LogisticRegression())], voting="soft"),
        THREE,
    ),
    "stacking": (
        lambda c, _: StackingClassifier([("a", c()), ("b", LogisticRegression())], cv=2), TWO
    ),
    "stacking values": (
        lambda _, r: StackingRegressor([("a", r()), ("b", Ridge())], cv=2), VALUE
    ),
    "sigmoid": (lambda c, _: CalibratedClassifierCV(c(), method="sigmoid", cv=2), THREE),
    "sigmoid of two": (lambda c, _: CalibratedClassifierCV(c(), method="sigmoid", cv=2), TWO),
    "isotonic": (lambda c, _: CalibratedClassifierCV(c(), method="isotonic", cv=2), THREE),
    "several values": (
        lambda _, r: MultiOutputRegressor(r()), np.stack([VALUE, 2 * VALUE], axis=1)
    ),
    "search": (lambda c, _: GridSearchCV(c(), {"learning_rate": [0.1, 0.3]}, cv=2), THREE),
    "bagging": (lambda c, _: BaggingClassifier(c(), n_estimators=2, random_state=0), TWO),
    "one against rest": (lambda c, _: OneVsRestClassifier(c()), THREE),
    "logarithm": (
        lambda _, r: TransformedTargetRegressor(r(), func=np.log1p, inverse_func=np.expm1),
        np.abs(VALUE),
    ),
}  # fmt: skip


@pytest.mark.parametrize("inside", INSIDE.keys())
@pytest.mark.parametrize("framework", CLASSIFIERS.keys())
def test_a_booster_inside_answers_alike(framework: str, inside: str, tmp_path: Path) -> None:
    """No label differs on the sample's rows nor next to the booster's splits."""
    make, y = INSIDE[inside]
    frame = MIXED if inside == "mixed" else FRAME
    model = make(CLASSIFIERS[framework], REGRESSORS[framework]).fit(frame, y)

    found = asked_inside(model, frame, tmp_path)

    assert found.far < FAR[framework]
    assert found.flips == 0


@pytest.mark.parametrize("framework", ["xgboost", "lightgbm"])
def test_several_labels_beside_each_other(framework: str, tmp_path: Path) -> None:
    """One classifier an output; CatBoost's own answers have too many axes for that."""
    y = np.stack([TWO, THREE], axis=1)
    model = MultiOutputClassifier(CLASSIFIERS[framework]()).fit(FRAME, y)

    found = asked_inside(model, FRAME, tmp_path)

    assert found.far < FAR[framework]
    assert found.flips == 0


@pytest.mark.parametrize("framework", CLASSIFIERS.keys())
def test_a_sparse_matrix_before_a_booster(framework: str, tmp_path: Path) -> None:
    """Where scikit-learn hands on a sparse matrix, its zeros are missing to XGBoost alone."""
    sparse = ColumnTransformer(
        [("n", StandardScaler(), ["a"]), ("s", OneHotEncoder(), ["s", "f"])], sparse_threshold=1.0
    )
    model = make_pipeline(sparse, CLASSIFIERS[framework]()).fit(MIXED, THREE)
    assert model[0].sparse_output_

    found = asked_inside(model, MIXED, tmp_path)

    assert found.far < FAR[framework]
    assert found.flips == 0


def test_a_sparse_matrix_and_a_missing_value_of_choice(tmp_path: Path) -> None:
    """Zeros and that value would both be missing, which is refused by name."""
    sparse = make_pipeline(OneHotEncoder(), xgb.XGBClassifier(n_estimators=3, missing=1.0))
    model = sparse.fit(MIXED[["s"]], TWO)

    with pytest.raises(UnsupportedModelError, match=r"zeros and 1\.0"):
        asked_inside(model, MIXED[["s"]], tmp_path)


def test_a_subclass_is_refused_by_name(tmp_path: Path) -> None:
    """Its methods may do anything."""

    class Louder(xgb.XGBRegressor):  # type: ignore[misc, name-defined]
        def predict(self, *args: Any, **more: Any) -> Any:
            return 2 * super().predict(*args, **more)

    model = make_pipeline(StandardScaler(), Louder(n_estimators=3)).fit(FRAME, VALUE)

    with pytest.raises(UnsupportedModelError, match="Louder"):
        asked_inside(model, FRAME, tmp_path)


def test_too_few_columns_are_refused_by_name(tmp_path: Path) -> None:
    """A booster behind a step that was changed afterwards gets other columns than it knows."""
    model = make_pipeline(_mixed(), lgb.LGBMRegressor(n_estimators=3, verbose=-1))
    model.fit(MIXED, VALUE)
    model.steps[0] = ("other", StandardScaler().fit(FRAME))

    with pytest.raises(UnsupportedModelError, match="9 columns, and 6 come"):
        asked_inside(model, FRAME, tmp_path, edges=False)
