"""XGBoost, LightGBM and CatBoost models from the frameworks' own files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from boosters_cases import compared, sample, targets

from fnmodel.errors import MissingExtraError, SlimError
from fnmodel.slim.readers.boosters import check_extra, describe, open_native

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")
cb = pytest.importorskip("catboost")

X = np.nan_to_num(sample(300))
VALUE, TWO, THREE = targets(X)
NAMES = list("abcdef")
FRAME = pd.DataFrame(X, columns=NAMES)
CAT: dict[str, Any] = {
    "iterations": 8, "depth": 3, "verbose": 0, "allow_writing_files": False, "thread_count": 1,
}  # fmt: skip


def _xgb(suffix: str) -> Callable[[Path], Any]:
    def save(folder: Path) -> Any:
        model = xgb.XGBClassifier(n_estimators=8, n_jobs=1).fit(FRAME, THREE)
        model.save_model(folder / f"m{suffix}")
        return model

    return save


def _xgb_native(objective: str, y: Any, **more: Any) -> Callable[[Path], Any]:
    def save(folder: Path) -> Any:
        matrix = xgb.DMatrix(FRAME, y)
        booster = xgb.train({"objective": objective, "nthread": 1, **more}, matrix, 8)
        booster.save_model(folder / "m.json")
        return booster

    return save


def _lgb(folder: Path) -> Any:
    model = lgb.LGBMClassifier(n_estimators=8, n_jobs=1, verbose=-1).fit(FRAME, THREE)
    model.booster_.save_model(folder / "m.txt")
    return model


def _cat(kind: str, model: Any, y: Any) -> Callable[[Path], Any]:
    def save(folder: Path) -> Any:
        made = model(**CAT).fit(FRAME, y)
        made.save_model(str(folder / f"m.{kind}"), format=kind)
        return made

    return save


WORDS = np.array(["no", "yes", "später"])[THREE]
CLASSIFIERS = {
    "xgboost json": _xgb(".json"),
    "xgboost ubj": _xgb(".ubj"),
    "booster of three": _xgb_native("multi:softprob", THREE, num_class=3),
    "booster of three, softmax": _xgb_native("multi:softmax", THREE, num_class=3),
    "lightgbm": _lgb,
    "catboost cbm": _cat("cbm", cb.CatBoostClassifier, WORDS),
    "catboost json": _cat("json", cb.CatBoostClassifier, WORDS),
}


@pytest.mark.parametrize("save", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_a_classifier_comes_back_from_its_file(save: Callable[[Path], Any], tmp_path: Path) -> None:
    """Whatever the file is called, it opens, knows its names and classes, and answers alike."""
    saved = save(tmp_path)
    path = _renamed(tmp_path)

    model = open_native(path)

    original = describe(model, FRAME)
    assert original.task == "classification"
    assert original.names == tuple(NAMES)
    assert len(original.classes) == 3
    if hasattr(saved, "predict_proba"):
        given = original.answer(FRAME)["probabilities"]
        assert np.allclose(given, saved.predict_proba(FRAME), rtol=0, atol=1e-7)
    found = compared(model, FRAME, FRAME, tmp_path / "onnx")
    assert found.far < 1e-6
    assert found.flips == 0


VALUES = {
    "booster": _xgb_native("reg:squarederror", VALUE),
    "catboost": _cat("cbm", cb.CatBoostRegressor, VALUE),
    "poisson": _cat(
        "cbm", lambda **more: cb.CatBoostRegressor(loss_function="Poisson", **more), np.abs(VALUE)
    ),
}


@pytest.mark.parametrize("save", VALUES.values(), ids=VALUES.keys())
def test_a_regressor_comes_back_from_its_file(save: Callable[[Path], Any], tmp_path: Path) -> None:
    """It answers with what the saved one predicts."""
    saved = save(tmp_path)
    given = saved.predict(xgb.DMatrix(FRAME) if type(saved).__name__ == "Booster" else FRAME)

    model = open_native(_renamed(tmp_path))

    original = describe(model, FRAME)
    assert original.task == "regression"
    assert np.array_equal(original.answer(FRAME)["value"], given)
    assert compared(model, FRAME, FRAME, tmp_path / "onnx").far < 1e-6


def test_a_booster_of_two_classes_says_which(tmp_path: Path) -> None:
    """Its one number is the second class's probability."""
    booster = _xgb_native("binary:logistic", TWO)(tmp_path)
    second = booster.predict(xgb.DMatrix(FRAME))

    answer = describe(open_native(_renamed(tmp_path)), FRAME).answer(FRAME)

    assert np.array_equal(answer["label"], second > 0.5)
    assert np.array_equal(answer["probabilities"][:, 1], second)


def test_an_estimator_that_stopped_early_says_so_in_its_file(tmp_path: Path) -> None:
    """The file of an estimator answers with its best iteration, that of a Booster with all."""
    model = xgb.XGBRegressor(n_estimators=60, early_stopping_rounds=2, learning_rate=1.0, n_jobs=1)
    model.fit(X[:150], VALUE[:150], eval_set=[(X[150:], VALUE[150:])], verbose=0)
    model.save_model(tmp_path / "m.json")
    whole = model.get_booster().predict(xgb.DMatrix(X))

    given = describe(open_native(tmp_path / "m.json")).answer(FRAME)["value"]

    assert np.array_equal(given, model.predict(X))
    assert not np.array_equal(given, whole)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04K\x01.", b"hello", b"{", b'{"a": 1}', b"[1]", b"\x08\x0a", b'{"trees": []}'],
)
def test_other_files_are_none(content: bytes, tmp_path: Path) -> None:
    """Neither a pickle nor ONNX nor any other JSON is taken for one of these."""
    path = tmp_path / "model.json"
    path.write_bytes(content)

    assert open_native(path) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.cbm", b"CBM1" + b"\x00" * 40),
        ("m.txt", b"tree\nversion=v4\nnum_class=1\n"),
        ("m.json", json.dumps({"learner": {}, "version": [3, 2, 0]}).encode()),
        ("m.ubj", b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"),
        ("c.json", json.dumps({"features_info": {}, "trees": []}).encode()),
    ],
)
def test_a_broken_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    """The framework's own words come with it, and no traceback."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(SlimError, match=f"{name} is a broken .* file"):
        open_native(path)


@pytest.mark.parametrize("framework", ["xgboost", "lightgbm", "catboost"])
@pytest.mark.parametrize("absent", ["framework", "onnx"])
def test_a_missing_framework_comes_with_its_command(framework: str, absent: str) -> None:
    """The hint installs the extra of that framework."""
    name = framework if absent == "framework" else absent

    with pytest.raises(MissingExtraError, match=name) as caught:
        check_extra(framework, lambda module: module != name)
    assert caught.value.hint == f"pip install 'fnmodel[{framework}]'"


def _renamed(folder: Path) -> Path:
    """Return the one file of a folder, under a name that says nothing."""
    (path,) = folder.iterdir()
    return path.rename(folder / "model")
