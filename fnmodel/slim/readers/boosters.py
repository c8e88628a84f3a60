"""Opens XGBoost, LightGBM and CatBoost models from the frameworks' own files."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fnmodel.errors import MissingExtraError, SlimError
from fnmodel.slim.readers.category_maps import category_maps
from fnmodel.slim.readers.served import describe, feature_count, feature_names, served
from fnmodel.slim.trees import catboost as catboost_trees

__all__ = [
    "category_maps", "check_extra", "describe", "feature_count", "feature_names", "open_native",
    "served",
]  # fmt: skip

_CATBOOST_MAGIC = b"CBM1"
_LIGHTGBM_MAGIC = b"tree\n"


def open_native(path: Path) -> Any | None:
    """Return the model in a framework's own file, or None where it is no such file.

    XGBoost's JSON and UBJSON, LightGBM's text, CatBoost's CBM and JSON are told by their content.
    What an estimator has saved comes back as that kind of estimator.

    Raises:
        MissingExtraError: the framework is not installed.
        SlimError: the file is broken.

    """
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_CATBOOST_MAGIC):
        return _opened(path, "catboost", lambda: _catboost(path, "cbm"))
    if head.startswith(_LIGHTGBM_MAGIC):
        return _opened(path, "lightgbm", lambda: _lightgbm(path))
    if head[:1] == b"{" and head[1:2] in (b"L", b"l", b"i", b"U", b"I"):
        return _opened(path, "xgboost", lambda: _xgboost(path))
    if head[:1] == b"{":
        try:
            keys = set(json.loads(path.read_bytes()))
        except (ValueError, RecursionError, TypeError):
            return None
        if "learner" in keys:
            return _opened(path, "xgboost", lambda: _xgboost(path))
        if "features_info" in keys and keys & {"oblivious_trees", "trees"}:
            return _opened(path, "catboost", lambda: _catboost(path, "json"))
    return None


def check_extra(framework: str, installed: Callable[[str], bool] | None = None) -> None:
    """Return when a framework and what its conversion needs are installed.

    `installed` answers for the name of a module.

    Raises:
        MissingExtraError: one of them is not; names it.

    """
    installed = installed or (lambda name: find_spec(name) is not None)
    for name in (framework, "sklearn", "pandas", "onnx"):
        if not installed(name):
            raise MissingExtraError(
                f"converting {framework} models needs {name}, which is not installed",
                hint=f"pip install 'fnmodel[{framework}]'",
            )


def _opened(path: Path, framework: str, read: Callable[[], Any]) -> Any:
    check_extra(framework)
    try:
        return read()
    except Exception as error:
        # Each framework raises its own class, derived from nothing but Exception or ValueError.
        words = str(error).strip().splitlines()
        raise SlimError(
            f"{path.name} is a broken {framework} file" + (f": {words[0][:200]}" if words else ""),
            hint="save the model again",
        ) from error


def _xgboost(path: Path) -> Any:
    import xgboost

    # XGBoost tells JSON from UBJSON by the name of a file, and by the content of a buffer.
    content = bytearray(path.read_bytes())
    booster = xgboost.Booster()
    booster.load_model(content)
    told = booster.attr("scikit_learn")
    kinds = {
        "classifier": xgboost.XGBClassifier,
        "ranker": xgboost.XGBRanker,
        "regressor": xgboost.XGBRegressor,
    }
    kind = kinds.get(json.loads(told).get("_estimator_type", "")) if told else None
    if kind is None:
        return booster
    estimator = kind()
    estimator.load_model(content)
    return estimator


def _lightgbm(path: Path) -> Any:
    import lightgbm

    return lightgbm.Booster(model_str=path.read_text("utf-8"))


def _catboost(path: Path, kind: str) -> Any:
    import catboost

    bare = catboost.CatBoost()
    bare.load_model(str(path), format=kind)
    name = catboost_trees.loss(catboost_trees.exported(bare))
    if name in catboost_trees.PROBABILITIES:
        estimator: Any = catboost.CatBoostClassifier()
    elif catboost.CatBoost._is_ranking_objective(name):  # noqa: SLF001
        estimator = catboost.CatBoostRanker()
    else:
        estimator = catboost.CatBoostRegressor()
    estimator.load_model(str(path), format=kind)
    return estimator
