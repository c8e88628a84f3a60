"""Finds the categories of the columns that a booster knows by categories."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.trees import categories as catboost_categories
from fnmodel.slim.trees import xgboost as xgboost_trees

_GIVE_ALL = "give a sample as Parquet with category columns, or one in which each category occurs"


def category_maps(model: Any, frame: Any = None) -> dict[str, tuple[Any, ...]]:
    """Return the categories of each column that a booster knows by categories.

    They are text, or whole numbers where the training frame held these, in the order of the
    booster's codes. `frame` holds the sample's features, in the booster's order; CatBoost and
    some XGBoost models do not tell their categories themselves.

    Raises:
        UnsupportedModelError: neither model nor frame tells them.

    """
    readers = {"xgboost": _xgboost_maps, "lightgbm": _lightgbm_maps, "catboost": _catboost_maps}
    root = framework(model)
    return readers[root](model, frame) if root else {}


def is_categorical(column: Any) -> bool:
    """Whether a frame's column is of pandas' category dtype."""
    return type(column.dtype).__name__ == "CategoricalDtype"


def framework(model: Any) -> str | None:
    """Return whose booster it is, or None where it is none; a subclass of theirs is none."""
    root = type(model).__module__.partition(".")[0]
    return root if root in ("xgboost", "lightgbm", "catboost") else None


def refuses_unseen(model: Any) -> bool:
    """Whether a booster fails on a category that it has not learned, as XGBoost does from 3.1."""
    return framework(model) == "xgboost" and any(_kept(xgboost_trees.learner(model)))


def _kept(told: Mapping[str, Any]) -> Sequence[Any]:
    boosted = told["gradient_booster"]
    kept: Sequence[Any] = (
        boosted.get("gbtree", boosted).get("model", {}).get("cats", {}).get("enc", [])
    )
    return kept


def _xgboost_maps(model: Any, frame: Any) -> dict[str, tuple[Any, ...]]:
    told = xgboost_trees.learner(model)
    kept = _kept(told)
    names = told["feature_names"] or ([] if frame is None else list(frame.columns))
    found: dict[str, tuple[Any, ...]] = {}
    for i, kind in enumerate(told["feature_types"]):
        if kind != "c" or i >= len(names):
            continue
        column = None if frame is None else frame.iloc[:, i]
        encoded = kept[i] if i < len(kept) else {}
        if encoded.get("values") and "offsets" not in encoded:
            found[names[i]] = tuple(encoded["values"])
        elif encoded.get("offsets"):
            found[names[i]] = _texts(encoded, column, names[i])
        elif column is not None and is_categorical(column):
            # Before version 3.1 it took the codes of the frame that it was given.
            found[names[i]] = tuple(column.cat.categories.tolist())
        elif column is not None and column.dtype.kind not in "iufb":
            raise _unknown(names[i], "XGBoost did not keep its categories")
    return found


def _texts(encoded: Mapping[str, Sequence[int]], column: Any, name: str) -> tuple[str, ...]:
    """Return the texts that XGBoost keeps as bytes and the places where each begins."""
    content = bytes(value % 256 for value in encoded["values"])
    offsets = list(encoded["offsets"])
    if content.isascii():
        return tuple(content[start:stop].decode() for start, stop in pairwise(offsets))
    # XGBoost 3.2 counts letters where it should count bytes, and so cuts these texts wrongly.
    for texts in _proposals(column):
        whole = "".join(texts).encode()
        for lengths in ([len(t) for t in texts], [len(t.encode()) for t in texts]):
            if np.cumsum([0, *lengths]).tolist() == offsets and whole.startswith(content):
                return tuple(texts)
    raise _unknown(name, "XGBoost keeps texts with other letters than a-z wrongly")


def _proposals(column: Any) -> list[list[str]]:
    if column is None:
        return []
    if is_categorical(column):
        texts = column.cat.categories.tolist()
    else:
        texts = sorted(set(column.dropna().tolist()), key=str)
    return [texts] if all(isinstance(text, str) for text in texts) else []


def _unknown(name: str, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the categories of column {name!r} are not known: {reason}", hint=_GIVE_ALL
    )


def lightgbm_booster(model: Any) -> Any:
    """Return the Booster of a LightGBM model."""
    return model if type(model).__name__ == "Booster" else model.booster_


def _lightgbm_maps(model: Any, frame: Any) -> dict[str, tuple[Any, ...]]:
    booster = lightgbm_booster(model)
    lists = booster.pandas_categorical or []
    if not lists:
        return {}
    names = booster.feature_name() if frame is None else list(frame.columns)
    columns = _lightgbm_columns(booster, frame, len(lists))
    return {names[i]: _whole(values) for i, values in zip(columns, lists, strict=True)}


def _whole(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values with booleans as 0 and 1, as callers send them."""
    return tuple(int(value) if isinstance(value, bool) else value for value in values)


def _lightgbm_columns(booster: Any, frame: Any, count: int) -> list[int]:
    """Return the columns that had categories in training; ordered ones LightGBM does not name."""
    if frame is not None:
        columns = [i for i, name in enumerate(frame.columns) if is_categorical(frame[name])]
        if len(columns) == count:
            return columns
    told = booster.model_to_string(num_iteration=1).partition("[categorical_feature: ")[2]
    columns = [int(i) for i in told.partition("]")[0].split(",") if i.strip()]
    if len(columns) == count:
        return columns
    if frame is not None:
        kinds = [frame[name].dtype.kind for name in frame.columns]
        columns = [i for i, kind in enumerate(kinds) if kind not in "iufb"]
        if len(columns) == count:
            return columns
    raise UnsupportedModelError(
        f"this LightGBM model knows {count} columns by categories, and does not tell which",
        hint="give a sample as Parquet, with the category columns of the training frame",
    )


def _catboost_maps(model: Any, frame: Any) -> dict[str, tuple[Any, ...]]:
    read = catboost_categories.read(model)
    if read is None:
        return {}
    categorical = [i for i, kind in enumerate(read.kinds) if kind == "categorical"]
    if frame is None:
        raise UnsupportedModelError(
            "CatBoost keeps only hashes of its categories, so that rows are needed to know them",
            hint=_GIVE_ALL,
        )
    found: dict[str, tuple[Any, ...]] = {}
    for i in categorical:
        name, column = frame.columns[i], frame.iloc[:, i]
        values = set(column.dropna().tolist())
        if is_categorical(column):
            values |= set(column.cat.categories.tolist())
        if all(isinstance(value, str) for value in values):
            found[name] = tuple(sorted(values))
        elif all(isinstance(value, int | np.integer) for value in values):
            found[name] = tuple(sorted({int(value) for value in values}))
        else:
            raise _unknown(str(name), "CatBoost takes categories that are text or whole numbers")
    return found
