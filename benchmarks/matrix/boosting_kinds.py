"""XGBoost, LightGBM and CatBoost, fitted small."""

from collections.abc import Callable, Iterator
from typing import Any

import data
import numpy as np
from sklearn import calibration, compose, multioutput, pipeline, preprocessing

Kind = tuple[str, Callable[[], tuple[Any, Any]]]


def _fit(model: Any, source: tuple[Any, Any]) -> Callable[[], tuple[Any, Any]]:
    rows, target = source
    return lambda: (model.fit(rows, target), rows)


def _table(model: Any, **more: Any) -> Any:
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore", **more)
    columns = compose.make_column_transformer(
        (encoder, ["city", "plan"]),
        (preprocessing.StandardScaler(), ["age (years)", "income", "score"]),
    )
    return pipeline.make_pipeline(columns, model)


def _categories() -> tuple[Any, Any]:
    frame, labels = data.table()
    kinds = {name: frame[name].astype("category") for name in ("city", "plan")}
    return frame.assign(**kinds), labels


def _codes() -> tuple[Any, Any]:
    rows, labels = data.classes()
    return np.c_[np.arange(1500) * 7 % 11, rows], labels


def _unit() -> tuple[Any, Any]:
    rows, target = data.numbers()
    return rows, 1 / (1 + np.exp(-target / np.abs(target).max() * 3))


def xgboost() -> Iterator[Kind]:
    """Yield XGBoost's boosters, objectives and inputs."""
    import xgboost as x

    small: dict[str, Any] = {"n_estimators": 25, "max_depth": 4, "n_jobs": 1}
    two, three, flat = data.cancer(), data.classes(), data.numbers()
    classifier, regressor = x.XGBClassifier, x.XGBRegressor
    yield "XGBoost, two classes", _fit(classifier(**small), two)
    yield "XGBoost, three classes", _fit(classifier(**small), three)
    yield "XGBoost, missing values", _fit(classifier(**small), data.holed())
    yield "XGBoost regressor", _fit(regressor(**small), flat)
    yield "XGBoost regressor, base score", _fit(regressor(base_score=100.0, **small), flat)
    for objective in ("count:poisson", "reg:gamma", "reg:tweedie"):
        yield f"XGBoost, {objective}", _fit(regressor(objective=objective, **small), data.counts())
    yield "XGBoost, reg:logistic", _fit(regressor(objective="reg:logistic", **small), _unit())
    yield (
        "XGBoost, quantile",
        _fit(regressor(objective="reg:quantileerror", quantile_alpha=0.9, **small), flat),
    )
    yield "XGBoost, three targets", _fit(regressor(**small), data.numbers(3))
    yield (
        "XGBoost, vector leaves",
        _fit(
            regressor(multi_strategy="multi_output_tree", tree_method="hist", **small),
            data.numbers(3),
        ),
    )
    yield "XGBoost random forest", _fit(x.XGBRFClassifier(**small), two)
    yield "XGBoost, dart", _fit(classifier(booster="dart", rate_drop=0.2, **small), two)
    yield (
        "XGBoost, gblinear",
        _fit(classifier(booster="gblinear", n_estimators=20, n_jobs=1), data.iris()),
    )
    yield "XGBoost, categories", _fit(classifier(enable_categorical=True, **small), _categories())
    yield (
        "XGBoost, feature names",
        _fit(classifier(**small), (data.table()[0][["age (years)", "income"]], data.table()[1])),
    )
    yield (
        "scaler, XGBoost",
        _fit(pipeline.make_pipeline(preprocessing.StandardScaler(), classifier(**small)), two),
    )
    yield "one-hot, XGBoost", _fit(_table(classifier(**small)), data.table())
    yield (
        "one-hot (dense), XGBoost",
        _fit(_table(classifier(**small), sparse_output=False), data.table()),
    )
    yield (
        "scaler, XGBoost regressor",
        _fit(pipeline.make_pipeline(preprocessing.StandardScaler(), regressor(**small)), flat),
    )

    def stopped() -> tuple[Any, Any]:
        rows, labels = data.classes()
        model = classifier(early_stopping_rounds=3, **{**small, "n_estimators": 200})
        return model.fit(rows[:1000], labels[:1000], eval_set=[(rows[1000:], labels[1000:])]), rows

    yield "XGBoost, stopped early", stopped
    yield "XGBoost booster", lambda: (classifier(**small).fit(*two).get_booster(), two[0])


def lightgbm() -> Iterator[Kind]:
    """Yield LightGBM's boosters, objectives and inputs."""
    import lightgbm as g

    small: dict[str, Any] = {"n_estimators": 25, "verbose": -1, "n_jobs": 1}
    two, three, flat = data.cancer(), data.classes(), data.numbers()
    classifier, regressor = g.LGBMClassifier, g.LGBMRegressor
    yield "LightGBM, two classes", _fit(classifier(**small), two)
    yield "LightGBM, three classes", _fit(classifier(**small), three)
    yield "LightGBM, one against all", _fit(classifier(objective="multiclassova", **small), three)
    yield "LightGBM, missing values", _fit(classifier(**small), data.holed())
    yield (
        "LightGBM, zero as missing",
        _fit(classifier(zero_as_missing=True, **small), data.digits()),
    )
    yield "LightGBM regressor", _fit(regressor(**small), flat)
    for objective in ("poisson", "gamma", "tweedie"):
        yield f"LightGBM, {objective}", _fit(regressor(objective=objective, **small), data.counts())
    yield "LightGBM, quantile", _fit(regressor(objective="quantile", alpha=0.8, **small), flat)
    yield "LightGBM, cross entropy", _fit(regressor(objective="cross_entropy", **small), _unit())
    yield (
        "LightGBM, random forest",
        _fit(classifier(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, **small), two),
    )
    yield "LightGBM, dart", _fit(classifier(boosting_type="dart", **small), two)
    yield "LightGBM, linear trees", _fit(regressor(linear_tree=True, **small), flat)
    yield "LightGBM, square root target", _fit(regressor(reg_sqrt=True, **small), data.counts())
    yield "LightGBM, categorical codes", lambda: (
        classifier(**small).fit(*_codes(), categorical_feature=[0]), _codes()[0]
    )  # fmt: skip
    yield "LightGBM, categories", _fit(classifier(**small), _categories())
    yield "one-hot, LightGBM", _fit(_table(classifier(**small)), data.table())
    yield (
        "calibrated LightGBM, sigmoid",
        _fit(calibration.CalibratedClassifierCV(classifier(**small), cv=3), two),
    )
    yield (
        "calibrated LightGBM, isotonic",
        _fit(calibration.CalibratedClassifierCV(classifier(**small), cv=3, method="isotonic"), two),
    )
    yield (
        "multi-output LightGBM",
        _fit(multioutput.MultiOutputRegressor(regressor(**small)), data.numbers(3)),
    )
    yield "LightGBM booster", lambda: (classifier(**small).fit(*two).booster_, two[0])


def catboost() -> Iterator[Kind]:
    """Yield CatBoost's boosters, objectives and inputs."""
    import catboost as c

    small: dict[str, Any] = {
        "iterations": 25, "depth": 4, "verbose": False, "thread_count": 1,
        "allow_writing_files": False,
    }  # fmt: skip
    two, three, flat = data.cancer(), data.classes(), data.numbers()
    classifier, regressor = c.CatBoostClassifier, c.CatBoostRegressor
    yield "CatBoost, two classes", _fit(classifier(**small), two)
    yield "CatBoost, three classes", _fit(classifier(**small), three)
    yield (
        "CatBoost, one against all",
        _fit(classifier(loss_function="MultiClassOneVsAll", **small), three),
    )
    yield (
        "CatBoost, string labels",
        _fit(classifier(**small), (two[0], np.array(["böse", "gut"])[two[1]])),
    )
    yield "CatBoost, missing values", _fit(classifier(**small), data.holed())
    yield "CatBoost regressor", _fit(regressor(**small), flat)
    yield "CatBoost, Poisson", _fit(regressor(loss_function="Poisson", **small), data.counts())
    yield "CatBoost, leaf by leaf", _fit(classifier(grow_policy="Lossguide", **small), two)
    yield "CatBoost, depth by depth", _fit(regressor(grow_policy="Depthwise", **small), flat)
    yield (
        "CatBoost, three targets",
        _fit(regressor(loss_function="MultiRMSE", **small), data.numbers(3)),
    )
    one_hot = {"cat_features": ["city", "plan"], "one_hot_max_size": 10}
    frame = data.table()[0].drop(columns="member")
    yield (
        "CatBoost, categories (one-hot)",
        _fit(classifier(**one_hot, **small), (frame, data.table()[1])),
    )
    yield (
        "CatBoost, categories (statistics)",
        _fit(
            classifier(cat_features=["city", "plan"], one_hot_max_size=2, **small),
            (frame, data.table()[1]),
        ),
    )
    yield (
        "scaler, CatBoost",
        _fit(pipeline.make_pipeline(preprocessing.StandardScaler(), classifier(**small)), two),
    )
