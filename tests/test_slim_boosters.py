"""XGBoost, LightGBM and CatBoost models answer in ONNX as they do at home, next to each split."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from boosters_cases import answers, compared, linear_answers, rows_at_splits, sample, targets

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.trees import catboost as catboost_trees
from fnmodel.slim.trees import lightgbm as lightgbm_trees
from fnmodel.slim.trees import xgboost as xgboost_trees

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")
cb = pytest.importorskip("catboost")

X = sample(500)
VALUE, TWO, THREE = targets(X)
POSITIVE = np.abs(VALUE) + 0.1
GROUPS = np.repeat(np.arange(10), 50)
NAMES = [f"x{i}" for i in range(X.shape[1])]

XGB: dict[str, Any] = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1, "verbosity": 0}
LGB: dict[str, Any] = {"n_estimators": 12, "num_leaves": 12, "n_jobs": 1, "verbose": -1}
CAT: dict[str, Any] = {
    "iterations": 12, "depth": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1,
}  # fmt: skip


def _own_objective(truth: Any, guess: Any) -> Any:
    return guess - truth, np.ones_like(guess)


def _stopped_xgb() -> Any:
    model = xgb.XGBClassifier(n_estimators=80, early_stopping_rounds=2, learning_rate=1.0, n_jobs=1)
    model.fit(X[:250], THREE[:250], eval_set=[(X[250:], THREE[250:])], verbose=0)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return model


def _stopped_lgb() -> Any:
    model = lgb.LGBMClassifier(**{**LGB, "n_estimators": 80, "learning_rate": 0.8})
    stop = lgb.early_stopping(2, verbose=False)
    model.fit(X[:250], THREE[:250], eval_X=X[250:], eval_y=THREE[250:], callbacks=[stop])
    assert 0 < model.best_iteration_ < 80
    return model


def _survival() -> Any:
    matrix = xgb.DMatrix(X)
    matrix.set_float_info("label_lower_bound", POSITIVE)
    matrix.set_float_info("label_upper_bound", POSITIVE * 1.5)
    return xgb.train({"objective": "survival:aft"}, matrix, 12)


def _thresholded() -> Any:
    model = cb.CatBoostClassifier(**CAT).fit(X, TWO)
    model.set_probability_threshold(0.8)
    return model


def _scaled() -> Any:
    model = cb.CatBoostClassifier(**CAT).fit(X, THREE)
    model.set_scale_and_bias(2.0, [0.5, -1.0, 3.0])
    return model


def _xgb_classifier(y: Any, **more: Any) -> Callable[[], Any]:
    return lambda: xgb.XGBClassifier(**{**XGB, **more}).fit(X, y)


def _xgb_regressor(y: Any, **more: Any) -> Callable[[], Any]:
    return lambda: xgb.XGBRegressor(**{**XGB, **more}).fit(X, y)


def _lgb_classifier(y: Any, fit: Any = None, **more: Any) -> Callable[[], Any]:
    return lambda: lgb.LGBMClassifier(**{**LGB, **more}).fit(X, y, **(fit or {}))


def _lgb_regressor(y: Any, **more: Any) -> Callable[[], Any]:
    return lambda: lgb.LGBMRegressor(**{**LGB, **more}).fit(X, y)


def _cat_classifier(y: Any, **more: Any) -> Callable[[], Any]:
    return lambda: cb.CatBoostClassifier(**{**CAT, **more}).fit(X, y)


def _cat_regressor(y: Any, **more: Any) -> Callable[[], Any]:
    return lambda: cb.CatBoostRegressor(**{**CAT, **more}).fit(X, y)


COLUMN_5 = {"categorical_feature": [5]}
MEMBERS: dict[str, Any] = {"min_data_per_group": 5, "cat_smooth": 1}
CODED: dict[str, Any] = {"enable_categorical": True, "feature_types": ["q"] * 5 + ["c"]}
TWO_VALUES = np.stack([VALUE, 3 * VALUE + 1], axis=1)
LABELS = np.stack([TWO, 1 - TWO, THREE == 2], axis=1).astype(int)
WORDS = np.array(["no", "yes", "später"])[THREE]

XGBOOST = {
    "binary": _xgb_classifier(TWO),
    "three classes": _xgb_classifier(THREE),
    "softmax": _xgb_classifier(THREE, objective="multi:softmax"),
    "logitraw": _xgb_classifier(TWO, objective="binary:logitraw"),
    "logitraw, base": _xgb_classifier(TWO, objective="binary:logitraw", base_score=0.3),
    "hinge": _xgb_classifier(TWO, objective="binary:hinge"),
    "forest": lambda: xgb.XGBRFClassifier(n_estimators=9, n_jobs=1).fit(X, THREE),
    "forest of values": lambda: xgb.XGBRFRegressor(n_estimators=9, n_jobs=1).fit(X, VALUE),
    "dart": _xgb_classifier(TWO, booster="dart", rate_drop=0.4),
    "linear": _xgb_regressor(TWO_VALUES, booster="gblinear"),
    "linear classes": _xgb_classifier(THREE, booster="gblinear"),
    "value": _xgb_regressor(VALUE),
    "large value": _xgb_regressor(3e6 + 1e6 * VALUE),
    "base score": _xgb_regressor(VALUE, base_score=-7.25),
    "poisson": _xgb_regressor(POSITIVE, objective="count:poisson"),
    "gamma": _xgb_regressor(POSITIVE, objective="reg:gamma"),
    "tweedie": _xgb_regressor(POSITIVE, objective="reg:tweedie"),
    "logistic": _xgb_regressor(POSITIVE / POSITIVE.max(), objective="reg:logistic"),
    "absolute": _xgb_regressor(VALUE, objective="reg:absoluteerror"),
    "huber": _xgb_regressor(VALUE, objective="reg:pseudohubererror"),
    "squared log": _xgb_regressor(POSITIVE, objective="reg:squaredlogerror"),
    "quantiles": _xgb_regressor(
        VALUE, objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]
    ),
    "cox": _xgb_regressor(POSITIVE, objective="survival:cox", learning_rate=0.01),
    "survival": _survival,
    "rank": lambda: xgb.XGBRanker(n_estimators=9, n_jobs=1).fit(X, TWO, qid=GROUPS),
    "two values": _xgb_regressor(TWO_VALUES),
    "two values a leaf": _xgb_regressor(TWO_VALUES, multi_strategy="multi_output_tree"),
    "classes a leaf": _xgb_classifier(THREE, multi_strategy="multi_output_tree"),
    "labels": _xgb_classifier(LABELS),
    "pruned": _xgb_regressor(VALUE, gamma=5.0),
    "one category a split": _xgb_classifier(THREE, max_cat_to_onehot=100, **CODED),
    "categories": _xgb_classifier(THREE, max_cat_to_onehot=1, **CODED),
    "stopped": _stopped_xgb,
    "not stopped": lambda: _stopped_xgb().get_booster(),
    "booster": lambda: _xgb_classifier(THREE)().get_booster(),
    "booster of two": lambda: _xgb_classifier(TWO)().get_booster(),
    "own objective": _xgb_regressor(VALUE, objective=_own_objective),
}
LIGHTGBM = {
    "binary": _lgb_classifier(TWO, objective="binary", sigmoid=2.5),
    "three classes": _lgb_classifier(WORDS),
    "one against all": _lgb_classifier(THREE, objective="multiclassova", sigmoid=0.7),
    "categories": _lgb_classifier(THREE, COLUMN_5, max_cat_to_onehot=1, **MEMBERS),
    "one category a split": _lgb_classifier(THREE, COLUMN_5, max_cat_to_onehot=99, **MEMBERS),
    "zero as missing": _lgb_classifier(THREE, COLUMN_5, zero_as_missing=True),
    "nothing missing": _lgb_classifier(THREE, use_missing=False),
    "random forest": _lgb_classifier(
        THREE, boosting="rf", bagging_freq=1, bagging_fraction=0.6, feature_fraction=0.7
    ),
    "dart": _lgb_classifier(TWO, boosting="dart", drop_rate=0.5),
    "linear leaves": _lgb_regressor(VALUE, linear_tree=True),
    "linear leaves, classes": _lgb_classifier(THREE, COLUMN_5, linear_tree=True),
    "value": _lgb_regressor(VALUE),
    "constant": _lgb_regressor(np.full(len(X), 2.5)),
    "square root": _lgb_regressor(VALUE, reg_sqrt=True),
    "poisson": _lgb_regressor(POSITIVE, objective="poisson"),
    "gamma": _lgb_regressor(POSITIVE, objective="gamma"),
    "tweedie": _lgb_regressor(POSITIVE, objective="tweedie"),
    "huber": _lgb_regressor(VALUE, objective="huber"),
    "quantile": _lgb_regressor(VALUE, objective="quantile", alpha=0.2),
    "cross entropy": _lgb_regressor(POSITIVE / POSITIVE.max(), objective="cross_entropy"),
    "cross entropy, lambda": _lgb_regressor(
        POSITIVE / POSITIVE.max(), objective="cross_entropy_lambda"
    ),
    "rank": lambda: lgb.LGBMRanker(**LGB).fit(X, TWO, group=[50] * 10),
    "stopped": _stopped_lgb,
    "booster": lambda: _stopped_lgb().booster_,
    "booster of two": lambda: _lgb_classifier(TWO)().booster_,
    "own objective": _lgb_regressor(VALUE, objective=_own_objective),
}
CATBOOST = {
    "missing is least": _cat_classifier(TWO, nan_mode="Min"),
    "missing is most": _cat_classifier(TWO, nan_mode="Max"),
    "three classes": _cat_classifier(WORDS),
    "one against all": _cat_classifier(THREE, loss_function="MultiClassOneVsAll"),
    "lossguide": _cat_classifier(THREE, grow_policy="Lossguide"),
    "depthwise": _cat_regressor(VALUE, grow_policy="Depthwise", nan_mode="Max"),
    "shares": _cat_classifier(POSITIVE / POSITIVE.max(), loss_function="CrossEntropy"),
    "labels": _cat_classifier(LABELS, loss_function="MultiLogloss"),
    "booleans": _cat_classifier(TWO > 0),
    "value": _cat_regressor(VALUE),
    "two values": _cat_regressor(TWO_VALUES, loss_function="MultiRMSE"),
    "poisson": _cat_regressor(POSITIVE, loss_function="Poisson"),
    "tweedie": _cat_regressor(POSITIVE, loss_function="Tweedie:variance_power=1.5"),
    "quantile": _cat_regressor(VALUE, loss_function="Quantile:alpha=0.2"),
    "rank": lambda: cb.CatBoostRanker(**CAT).fit(X, TWO, group_id=GROUPS),
    "bare": lambda: cb.CatBoost({"loss_function": "Logloss", **CAT}).fit(X, TWO),
    "bare value": lambda: cb.CatBoost({"loss_function": "Poisson", **CAT}).fit(X, POSITIVE),
    "other threshold": _thresholded,
    "other scale": _scaled,
}


@pytest.mark.parametrize("make", XGBOOST.values(), ids=XGBOOST.keys())
def test_an_xgboost_model_answers_alike(make: Callable[[], Any], tmp_path: Any) -> None:
    """Answers differ by float32's last digits, and no label differs, next to each split."""
    model = make()
    rows = rows_at_splits(_trees(model), X, 700)

    found = compared(model, _frame(X), _frame(rows), tmp_path)

    assert found.far < 1e-6
    assert found.flips == 0


@pytest.mark.parametrize("make", LIGHTGBM.values(), ids=LIGHTGBM.keys())
def test_a_lightgbm_model_answers_alike(make: Callable[[], Any], tmp_path: Any) -> None:
    """Answers differ by float64's last digits, and no label differs, next to each split."""
    model = make()
    rows = rows_at_splits(_trees(model), X, 700)

    found = compared(model, _frame(X), _frame(rows), tmp_path)

    assert found.far < 1e-14
    assert found.flips == 0


@pytest.mark.parametrize("make", CATBOOST.values(), ids=CATBOOST.keys())
def test_a_catboost_model_answers_alike(make: Callable[[], Any], tmp_path: Any) -> None:
    """Answers differ by float64's last digits, and no label differs, next to each split."""
    model = make()
    rows = rows_at_splits(_trees(model), X, 700)

    found = compared(model, _frame(X), _frame(rows), tmp_path)

    assert found.far < 1e-14
    assert found.flips == 0


@pytest.mark.parametrize("kind", ["value", "two values", "quantiles", "rank"])
def test_xgboost_sums_are_equal_to_the_last_bit(kind: str, tmp_path: Any) -> None:
    """Trees are added in float32, in XGBoost's order."""
    model = XGBOOST[kind]()
    rows = rows_at_splits(_trees(model), X, 700)

    assert compared(model, _frame(X), _frame(rows), tmp_path).far == 0.0


@pytest.mark.parametrize("missing", [0.0, -1.0, 0.3])
def test_xgboost_takes_a_chosen_value_for_missing(missing: float, tmp_path: Any) -> None:
    """`missing` is compared in float32: its float64 neighbours are missing too, NaN always is."""
    filled = np.where(np.isnan(X), missing, X)
    model = xgb.XGBRegressor(missing=missing, **XGB).fit(filled, VALUE)
    rows = rows_at_splits(_trees(model), filled, 700)
    rows[::3, 1] = np.nextafter(missing, 9)
    rows[1::3, 1] = np.float32(missing)
    rows[2::3, 1] = np.nextafter(np.float32(missing), np.float32(9))

    assert compared(model, _frame(filled), _frame(rows), tmp_path).far == 0.0


@pytest.mark.parametrize("table", [XGBOOST, LIGHTGBM, CATBOOST], ids=["xgb", "lgb", "cat"])
def test_the_trees_read_are_the_models_own(table: dict[str, Callable[[], Any]]) -> None:
    """What is read answers alike when plain numpy walks the trees, without any graph."""
    model = table["three classes"]()
    ensemble = _trees(model)
    rows = rows_at_splits(ensemble, X, 700)

    frame = pd.DataFrame(rows, columns=getattr(model, "feature_name_", NAMES))
    assert np.abs(answers(ensemble, rows) - model.predict_proba(frame)).max() < 1e-6


def test_linear_leaves_are_read_as_they_are() -> None:
    """A leaf's function is left out where one of its features is missing."""
    model = LIGHTGBM["linear leaves"]()
    leaves = lightgbm_trees.linear(model)
    assert leaves is not None
    assert leaves.used.max() > 1
    rows = rows_at_splits(leaves.index, X, 700)

    expected = model.booster_.predict(rows)

    assert np.abs(linear_answers(leaves, rows)[:, 0] - expected).max() < 1e-13


def test_many_categories_are_told_apart(tmp_path: Any) -> None:
    """A split over thousands of codes, unseen and negative ones among the rows."""
    random = np.random.default_rng(3)
    many = X.copy()
    many[:, 5] = random.integers(0, 3000, len(X))
    more = {"max_cat_threshold": 500, "min_data_in_bin": 1, "min_data_in_leaf": 5, **MEMBERS}
    model = lgb.LGBMRegressor(**LGB, **more).fit(many, many[:, 5] % 7, categorical_feature=[5])
    ensemble = lightgbm_trees.read(model)
    assert ensemble is not None
    assert max(max(m) for tree in ensemble.trees for m in tree.members.values()) > 2000
    rows = rows_at_splits(ensemble, many, 700)

    assert compared(model, _frame(many), _frame(rows), tmp_path).far < 1e-14


def test_one_row_and_one_column(tmp_path: Any) -> None:
    """A model of one feature answers a single row."""
    for model in (
        xgb.XGBRegressor(**XGB).fit(X[:, :1], VALUE),
        lgb.LGBMRegressor(**LGB).fit(X[:, :1], VALUE),
        cb.CatBoostRegressor(**CAT).fit(X[:, :1], VALUE),
    ):
        frame = _frame(X[:, :1])
        found = compared(model, frame, frame.head(1), tmp_path / type(model).__name__)
        assert found.far < 1e-6


def test_an_unknown_objective_is_refused_by_name() -> None:
    """RMSEWithUncertainty answers with two kinds of numbers, so the message names it."""
    model = cb.CatBoostRegressor(loss_function="RMSEWithUncertainty", **CAT).fit(X, VALUE)

    with pytest.raises(UnsupportedModelError, match="RMSEWithUncertainty"):
        catboost_trees.read(model)


def test_a_classifier_with_its_own_objective_is_refused(tmp_path: Any) -> None:
    """LightGBM gives raw scores for probabilities then, which a signature cannot say."""

    def logistic(truth: Any, guess: Any) -> Any:
        share = 1 / (1 + np.exp(-guess))
        return share - truth, share * (1 - share)

    model = lgb.LGBMClassifier(objective=logistic, **LGB).fit(X, TWO)

    with pytest.raises(UnsupportedModelError, match="objective of its own"):
        compared(model, _frame(X), _frame(X[:5]), tmp_path)


def test_a_single_class_is_refused(tmp_path: Any) -> None:
    """There is nothing to choose from."""
    model = lgb.LGBMClassifier(**LGB).fit(X, np.zeros(len(X), dtype=int))

    with pytest.raises(UnsupportedModelError, match="single class"):
        compared(model, _frame(X), _frame(X[:5]), tmp_path)


def test_arguments_that_change_predictions_are_refused() -> None:
    """`pred_early_stop` leaves trees out, row by row."""
    model = lgb.LGBMClassifier(**LGB, pred_early_stop=True).fit(X, TWO)

    with pytest.raises(UnsupportedModelError, match="pred_early_stop"):
        lightgbm_trees.read(model)


def test_texts_are_refused_by_name() -> None:
    """CatBoost's dictionaries of words are not in its export."""
    frame = pd.DataFrame({"t": ["good day", "bad night"] * 60, "x": np.arange(120.0)})
    model = cb.CatBoostClassifier(**CAT).fit(frame, [1, 0] * 60, text_features=["t"])

    with pytest.raises(UnsupportedModelError, match="texts"):
        catboost_trees.read(model)


def test_other_models_are_left_to_other_readers() -> None:
    """Each reader says None of what is not its framework's."""
    model = XGBOOST["value"]()

    assert lightgbm_trees.read(model) is None
    assert lightgbm_trees.linear(model) is None
    assert catboost_trees.read(model) is None
    assert xgboost_trees.read(LIGHTGBM["value"]()) is None


def _trees(model: Any) -> Any:
    leaves = lightgbm_trees.linear(model)
    if leaves is not None:
        return leaves.index
    found = (r.read(model) for r in (xgboost_trees, lightgbm_trees, catboost_trees))
    return next(ensemble for ensemble in found if ensemble is not None)


def _frame(rows: Any) -> Any:
    return pd.DataFrame(np.asarray(rows), columns=NAMES[: rows.shape[1]])
