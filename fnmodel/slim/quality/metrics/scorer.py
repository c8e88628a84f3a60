"""Any other scorer of scikit-learn, over answers that were given before: no model is needed."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import MissingExtraError, SlimError
from fnmodel.slim.quality.answers import Answers, Coded, Label, positive_code
from fnmodel.slim.quality.bootstrap import Figure
from fnmodel.slim.quality.metrics import scores, values

Array = NDArray[Any]


def names(wanted: str) -> list[str]:
    """Return the names of scikit-learn's scorers.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    """
    try:
        from sklearn.metrics import get_scorer_names
    except ImportError as error:
        raise MissingExtraError(
            f"the metric {wanted!r} needs scikit-learn", hint='pip install "fnmodel[sklearn]"'
        ) from error
    return list(get_scorer_names())


def of_labels(name: str, answers: Answers, coded: Coded, positive: Label | None) -> Figure:
    """Return a scorer of labels or probabilities, called once for each resample.

    Labels are given as their positions; of two classes the positive one is 1, which is what
    scikit-learn takes it to be.
    """
    place = np.arange(len(coded.classes))
    if len(place) == 2 and positive_code(coded.classes, positive, name) == 0:
        place = place[::-1].copy()

    def predict(rows: Array) -> Array:
        if coded.predicted is None:
            raise SlimError(f"{name} needs labels, and the model gives none")
        return np.asarray(place[coded.predicted[rows]])

    def predict_proba(rows: Array) -> Array:
        given = scores.probabilities(name, answers, coded)
        return np.asarray(np.clip(given[:, place], 0.0, 1.0)[rows])

    return _called(name, _classifier(place, predict, predict_proba), place[coded.truth])


def of_values(name: str, answers: Answers, truth: Array) -> Figure:
    """Return a scorer of numbers, called once for each resample."""
    given, true = (_lone(array) for array in values.numbers(name, answers, truth))
    return _called(name, _regressor(lambda rows: np.asarray(given[rows])), true)


def _lone(array: Array) -> Array:
    return array[:, 0] if array.shape[1] == 1 else array


def _called(name: str, estimator: Any, truth: Array) -> Figure:
    from sklearn.metrics import get_scorer

    scorer, every = get_scorer(name), np.arange(len(truth))

    def score(weights: Array) -> float:
        rows = np.repeat(every, weights.astype(np.intp))
        try:
            return float(scorer(estimator, rows.reshape(-1, 1), truth[rows]))
        except ValueError as error:
            if (weights == 1).all():
                raise SlimError(f"{name}: {_first_line(error)}") from error
            return math.nan  # a resample may lack a class

    def of(weights: Array) -> Array:
        with warnings.catch_warnings():
            # What is undefined comes back as NaN; the interval leaves it out.
            warnings.simplefilter("ignore")
            return np.array([score(row) for row in weights])

    return of


def _classifier(
    classes: Array, predict: Callable[[Array], Array], predict_proba: Callable[[Array], Array]
) -> Any:
    """Return a fitted estimator whose features are row numbers."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.sort(classes)

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, rows: Array) -> Array:
            return predict(rows[:, 0])

        def predict_proba(self, rows: Array) -> Array:
            return predict_proba(rows[:, 0])

    return Given()


def _regressor(predict: Callable[[Array], Array]) -> Any:
    from sklearn.base import BaseEstimator, RegressorMixin

    class Given(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, rows: Array) -> Array:
            return predict(rows[:, 0])

    return Given()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
