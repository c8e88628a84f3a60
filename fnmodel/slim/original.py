"""What the original model answers, as arrays under the names of the ONNX model's outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.model import Task
from fnmodel.slim.parity import best_two_margin

Array = NDArray[Any]


@dataclass(frozen=True)
class Original:
    """A fitted estimator and the functions that give its answers, in the order of ONNX outputs.

    `names` are its feature names, empty when it was fitted on an array of `count` columns.
    `score` gives what the tie rule looks at: probabilities or a decision function.
    """

    model: Any
    task: Task
    answers: tuple[tuple[str, Callable[[Any], Any]], ...]
    names: tuple[str, ...]
    count: int | None
    classes: tuple[str | int | float | bool, ...] = ()
    score: Callable[[Any], Any] | None = None
    latency: Callable[[Any], Any] = field(default=len)

    def rows(self, frame: Any) -> Any:
        """Return a frame in the form that the model was fitted on."""
        return frame if self.names else frame.to_numpy()

    def answer(self, frame: Any) -> dict[str, Array]:
        """Return the answers to a frame of features."""
        rows = self.rows(frame)
        return {name: np.asarray(call(rows)) for name, call in self.answers}

    def margin(self, frame: Any) -> Array | None:
        """Return how decided the model is on each row, shape (rows,), or None without scores."""
        if self.score is None:
            return None
        return best_two_margin(np.asarray(self.score(self.rows(frame))))


def describe(model: Any) -> Original:
    """Say what kind of model this is and which of its methods the ONNX outputs stand for.

    Raises:
        UnsupportedModelError: it neither predicts nor transforms.

    """
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor

    names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    count = int(model.n_features_in_) if hasattr(model, "n_features_in_") else None

    def original(task: Task, *answers: tuple[str, str], **more: Any) -> Original:
        calls = tuple((name, getattr(model, method)) for name, method in answers)
        return Original(model, task, calls, names, count, latency=calls[-1][1], **more)

    if is_classifier(model):
        classes = getattr(model, "classes_", None)
        if not isinstance(classes, np.ndarray) or classes.ndim != 1:
            return original("other", ("labels", "predict"))
        plain = plain_classes(classes)
        if hasattr(model, "predict_proba"):
            probabilities = ("probabilities", "predict_proba")
            return original(
                "classification",
                ("label", "predict"),
                probabilities,
                classes=plain,
                score=model.predict_proba,
            )
        score = getattr(model, "decision_function", None)
        return original("classification", ("label", "predict"), classes=plain, score=score)
    if is_regressor(model):
        return original("regression", ("value", "predict"))
    if is_outlier_detector(model) and hasattr(model, "predict"):
        return original("other", ("label", "predict"), ("score", "decision_function"))
    if is_clusterer(model) and hasattr(model, "predict"):
        return original("other", ("cluster", "predict"))
    if hasattr(model, "predict"):
        return original("other", ("value", "predict"))
    if hasattr(model, "transform"):
        return original("other", ("transformed", "transform"))
    raise UnsupportedModelError(
        f"a {type(model).__name__} has neither predict nor transform",
        hint="fnmodel serves models that answer for rows they have not seen",
    )


def plain_classes(classes: Array) -> tuple[str | int | float | bool, ...]:
    """Return class labels as plain values; whole floats become integers, as ONNX has them."""
    plain: Sequence[Any] = classes.tolist()
    if classes.dtype.kind == "f" and (classes == np.round(classes)).all():
        plain = [int(value) for value in plain]
    return tuple(plain)
