"""Gives boosters the interface of a scikit-learn estimator that takes callers' frames."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.slim import original
from fnmodel.slim.original import Original
from fnmodel.slim.readers.category_maps import (
    category_maps,
    framework,
    is_categorical,
    lightgbm_booster,
    refuses_unseen,
)
from fnmodel.slim.trees import catboost as catboost_trees
from fnmodel.slim.trees import xgboost as xgboost_trees

Array = NDArray[Any]
Call = Callable[[Any], Array]
Known = Mapping[int, tuple[Any, ...]]
_UNSEEN = -1.0


@dataclass(eq=False)
class Served:
    """A booster that takes callers' frames: categories as text or whole numbers, not as codes.

    `known` gives the categories of a column by its position, in the order of the codes that the
    booster has for them. `to_rows` turns a frame into what the booster takes, and `answer` asks
    it. `names` is empty where the booster was trained on an array. A `closed` one fails on other
    categories.
    """

    estimator_: Any
    names: tuple[str, ...]
    n_features_in_: int
    known: Known
    to_rows: Callable[[Any], Any]
    answer: Call
    kind: str = "regressor"
    closed: bool = False

    @property
    def feature_names_in_(self) -> Array:
        """The names of the features, in order."""
        if not self.names:
            raise AttributeError("feature_names_in_")
        return np.array(self.names, dtype=object)

    def predict(self, rows: Any) -> Array:
        """Return what the booster answers."""
        return self.answer(self.to_rows(rows))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=self.kind, target_tags=TargetTags(required=True))

    def __sklearn_is_fitted__(self) -> bool:
        return True


@dataclass(eq=False)
class ServedClassifier(Served):
    """A booster that classifies: `classes_` is None where it gives several labels a row."""

    classes_: Any = None
    chances: Call = field(default=np.asarray)
    kind: str = "classifier"

    def predict_proba(self, rows: Any) -> Array:
        """Return the probability of each class, or of each label; shape (rows, classes)."""
        return self.chances(self.to_rows(rows))


def describe(model: Any, frame: Any = None) -> Original:
    """Say what a booster answers; see `served`.

    Raises:
        UnsupportedModelError: its categories cannot be found.

    """
    return original.describe(served(model, frame)[0])


def served(model: Any, frame: Any = None) -> tuple[Any, Any]:
    """Return a booster in scikit-learn's interface, and the frame as callers would send it.

    `frame` holds the sample's features, in the booster's order. Models that are no boosters come
    back as they are.

    Raises:
        UnsupportedModelError: its categories cannot be found.

    """
    root = framework(model)
    if root is None:
        return model, frame
    by_name = category_maps(model, frame)
    serve = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}[root]
    done = serve(model, by_name, frame)
    return done, None if frame is None else _plain(frame, by_name)


def feature_names(model: Any, columns: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of a booster's features as callers know them, none for an array's.

    `columns` are the names of the sample's columns.
    """
    match framework(model):
        case "xgboost":
            booster = model if type(model).__name__ == "Booster" else model.get_booster()
            return tuple(booster.feature_names or ())
        case "lightgbm":
            # LightGBM writes an underscore for each blank.
            own = {str(name).replace(" ", "_"): str(name) for name in columns}
            names = _sure(lightgbm_booster(model).feature_name(), "Column_{}")
            return tuple(own.get(name, name) for name in names)
        case "catboost":
            return _sure(model.feature_names_, "{}")
        case _:
            return tuple(str(name) for name in getattr(model, "feature_names_in_", ()))


def feature_count(model: Any) -> int:
    """Return how many features a booster takes."""
    match framework(model):
        case "xgboost":
            booster = model if type(model).__name__ == "Booster" else model.get_booster()
            return int(booster.num_features())
        case "lightgbm":
            return int(lightgbm_booster(model).num_feature())
        case _:
            return len(model.feature_names_)


def codes(values: Any, known: Sequence[Any]) -> Array:
    """Return the positions of a column's values among the known ones; -1 unseen, NaN missing."""
    place = {value: float(i) for i, value in enumerate(known)}
    missing = values.isna().tolist()
    return np.array(
        [
            np.nan if hole else place.get(value, _UNSEEN)
            for value, hole in zip(values.tolist(), missing, strict=True)
        ],
        dtype=np.float64,
    )


def _plain(frame: Any, known: Mapping[str, Any]) -> Any:
    """Return the frame with categories as what they are: text or numbers."""
    changed = {}
    for name in frame.columns:
        values = frame[name]
        if is_categorical(values):
            kind = values.cat.categories.dtype.kind
            dtype: Any = object if kind not in "iufb" else float if values.hasnans else np.int64
            changed[name] = values.astype(values.cat.categories.dtype if kind == "f" else dtype)
        elif name in known and values.dtype.kind == "b":
            changed[name] = values.astype(np.int64)
    return frame.assign(**changed) if changed else frame


def _column(rows: Any, position: int, known: Known) -> Array:
    values = rows.iloc[:, position]
    if position in known:
        return codes(values, known[position])
    numbers: Array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers


def _positions(names: Sequence[str], by_name: Mapping[str, tuple[Any, ...]]) -> Known:
    return {i: by_name[name] for i, name in enumerate(names) if name in by_name}


def _sure(names: Sequence[str], pattern: str) -> tuple[str, ...]:
    """Return the names, none where the booster has made them up."""
    made = [pattern.format(i) for i in range(len(names))]
    return () if list(names) == made else tuple(names)


def _frame(rows: Any) -> Any:
    import pandas as pd

    return rows if hasattr(rows, "iloc") else pd.DataFrame(np.asarray(rows))


# XGBoost.


def _xgboost(model: Any, by_name: Mapping[str, Any], frame: Any) -> Served:
    booster = model if type(model).__name__ == "Booster" else model.get_booster()
    names = feature_names(model)
    width = int(booster.num_features())
    known = _positions(names or list(frame.columns if frame is not None else ()), by_name)

    closed = refuses_unseen(model)

    def to_rows(rows: Any) -> Array:
        # As codes, since XGBoost itself compares some texts by the wrong bytes.
        table = _frame(rows)
        columns = [_column(table, i, known) for i in range(width)]
        if closed and any((columns[i] == _UNSEEN).any() for i in known):
            message = "a category that is not in the training data"
            raise ValueError(message)
        return np.column_stack(columns)

    common = (model, names, width, known, to_rows)
    told = xgboost_trees.learner(booster)
    several = int(told["learner_model_param"].get("num_target", "1")) > 1
    if model is not booster:
        if not hasattr(model, "predict_proba"):
            return Served(*common, model.predict, closed=closed)
        classes = None if several else np.arange(model.n_classes_)
        return ServedClassifier(
            *common,
            model.predict,
            classes_=classes,
            chances=model.predict_proba,
            closed=closed,
        )
    objective = told["objective"]["name"]
    if objective == "binary:logistic" and not several:
        return ServedClassifier(
            *common,
            lambda rows: (_asked(booster, rows) > 0.5).astype(np.int64),
            classes_=np.arange(2),
            chances=lambda rows: _both(_asked(booster, rows)),
            closed=closed,
        )
    if objective in ("multi:softprob", "multi:softmax"):
        return ServedClassifier(
            *common,
            lambda rows: _softmax(_asked(booster, rows, margin=True)).argmax(axis=1),
            classes_=np.arange(xgboost_trees.targets(told)),
            chances=lambda rows: _softmax(_asked(booster, rows, margin=True)),
            closed=closed,
        )
    return Served(*common, lambda rows: _asked(booster, rows), closed=closed)


def _asked(booster: Any, rows: Array, *, margin: bool = False) -> Array:
    import xgboost

    matrix = xgboost.DMatrix(
        rows,
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
    return np.asarray(booster.predict(matrix, output_margin=margin))


def _both(second: Array) -> Array:
    return np.stack([1 - second, second], axis=1)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


# LightGBM.


def _lightgbm(model: Any, by_name: Mapping[str, Any], frame: Any) -> Served:
    booster = lightgbm_booster(model)
    trained = booster.feature_name()
    names = feature_names(model, () if frame is None else frame.columns)
    known = _positions(frame.columns if frame is not None else trained, by_name)
    lists = dict(zip(sorted(known), booster.pandas_categorical or [], strict=True))

    def to_rows(rows: Any) -> Any:
        import pandas as pd

        table = _frame(rows)
        columns = {}
        for i, name in enumerate(trained):
            column = _column(table, i, known)
            if i in known:
                whole = np.nan_to_num(column, nan=-1).astype(np.int64)
                columns[name] = pd.Categorical.from_codes(whole, categories=lists[i])
            else:
                columns[name] = column
        return pd.DataFrame(columns)

    common = (model, names, len(trained), known, to_rows)
    if model is not booster:
        if hasattr(model, "predict_proba"):
            return ServedClassifier(
                *common, model.predict, classes_=model.classes_, chances=model.predict_proba
            )
        return Served(*common, model.predict)

    def chances(rows: Any) -> Array:
        answer = np.asarray(booster.predict(rows))
        return answer if answer.ndim == 2 else _both(answer)

    objective = str(booster.dump_model(num_iteration=1).get("objective", "none"))
    if objective.partition(" ")[0] in ("binary", "multiclass", "multiclassova"):
        return ServedClassifier(
            *common,
            lambda rows: chances(rows).argmax(axis=1),
            classes_=np.arange(max(2, booster.num_model_per_iteration())),
            chances=chances,
        )
    return Served(*common, lambda rows: np.asarray(booster.predict(rows)))


# CatBoost.


def _catboost(model: Any, by_name: Mapping[str, Any], frame: Any) -> Served:
    trained = list(model.feature_names_)
    names = feature_names(model)
    known = _positions(frame.columns if frame is not None else trained, by_name)

    def to_rows(rows: Any) -> Any:
        import pandas as pd

        table = _frame(rows)
        columns = {}
        for i, name in enumerate(trained):
            values = table.iloc[:, i]
            if i not in known:
                columns[name] = _column(table, i, known)
            elif values.dtype.kind == "f" and bool((values % 1 == 0).all()):
                columns[name] = values.astype(np.int64)
            else:
                columns[name] = values
        return pd.DataFrame(columns)

    common = (model, names, len(trained), known, to_rows)
    loss = catboost_trees.loss(catboost_trees.exported(model))
    if loss not in catboost_trees.PROBABILITIES:
        return Served(*common, lambda rows: np.asarray(model.predict(rows)))
    several = loss in ("MultiLogloss", "MultiCrossEntropy")

    def label(rows: Any) -> Array:
        answer = np.asarray(model.predict(rows, prediction_type="Class"))
        return answer if several else answer.reshape(-1)

    return ServedClassifier(
        *common,
        label,
        classes_=None if several else np.asarray(model.classes_),
        chances=lambda rows: np.asarray(model.predict(rows, prediction_type="Probability")),
    )
