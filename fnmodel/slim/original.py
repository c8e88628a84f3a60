"""What the original model answers, as arrays under the names of the ONNX model's outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.model import Task
from fnmodel.slim.learned import learned_none
from fnmodel.slim.proof.parity import best_two_margin

Array = NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """One output: its name, the method that gives it, and which of a list of arrays it is."""

    name: str
    method: str
    part: int | None = None


@dataclass(frozen=True)
class Original:
    """A fitted estimator and the functions that give its answers, in the order of ONNX outputs.

    `names` are its feature names, empty when it was fitted on an array of `count` columns.
    `score` gives what the tie rule looks at: probabilities or a decision function. `outputs` says
    which methods the answers come from. `none` names the columns where the model learned None,
    not NaN, as the missing text.
    """

    model: Any
    task: Task
    answers: tuple[tuple[str, Callable[[Any], Any]], ...]
    names: tuple[str, ...]
    count: int | None
    classes: tuple[str | int | float | bool, ...] = ()
    score: Callable[[Any], Any] | None = None
    latency: Callable[[Any], Any] = field(default=len)
    outputs: tuple[Answer, ...] = ()
    none: frozenset[str] = frozenset()

    def rows(self, frame: Any) -> Any:
        """Return a frame in the form that the model was fitted on."""
        if not self.names:
            return frame.to_numpy()
        holed = [n for n in frame.columns if n in self.none and frame[n].isna().any()]
        columns = {n: frame[n].astype(object).where(frame[n].notna(), None) for n in holed}
        return frame.assign(**columns) if columns else frame

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
    names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    count = int(model.n_features_in_) if hasattr(model, "n_features_in_") else None
    task, outputs = _outputs(model)
    calls = tuple((output.name, _call(model, output)) for output in outputs)
    classes: tuple[str | int | float | bool, ...] = ()
    score = None
    if task == "classification":
        classes = plain_classes(model.classes_)
        method = "predict_proba" if len(outputs) > 1 else "decision_function"
        score = getattr(model, method, None)
    return Original(
        model=model,
        task=task,
        answers=calls,
        names=names,
        count=count,
        classes=classes,
        score=score,
        latency=calls[-1][1],
        outputs=outputs,
        none=frozenset(learned_none(model, names)),
    )


def _call(model: Any, output: Answer) -> Callable[[Any], Any]:
    method: Callable[[Any], Any] = getattr(model, output.method)
    if output.part is not None:
        return lambda rows: method(rows)[output.part]
    if output.method != "transform":
        return method

    def dense(rows: Any) -> Any:
        answer = method(rows)
        return answer.toarray() if hasattr(answer, "toarray") else answer

    return dense


def _outputs(model: Any) -> tuple[Task, tuple[Answer, ...]]:
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
    from sklearn.mixture._base import BaseMixture

    if is_classifier(model):
        if not _one_label(model):
            return "other", (Answer("labels", "predict"), *_several_chances(model))
        if hasattr(model, "predict_proba"):
            return "classification", (
                Answer("label", "predict"),
                Answer("probabilities", "predict_proba"),
            )
        return "classification", (Answer("label", "predict"),)
    if is_regressor(model):
        return "regression", (Answer("value", "predict"),)
    if is_outlier_detector(model) and hasattr(model, "predict"):
        return "other", (Answer("label", "predict"), Answer("score", "decision_function"))
    if hasattr(model, "predict") and (
        is_clusterer(model) or isinstance(final_step(model), BaseMixture)
    ):
        if hasattr(model, "predict_proba"):
            chances = Answer("probabilities", "predict_proba")
            return "other", (Answer("cluster", "predict"), chances)
        return "other", (Answer("cluster", "predict"),)
    if hasattr(model, "predict"):
        return "other", (Answer("value", "predict"),)
    if hasattr(model, "transform"):
        return "other", (Answer("transformed", "transform"),)
    raise UnsupportedModelError(
        f"a {type(model).__name__} has neither predict nor transform",
        hint="fnmodel serves models that answer for rows they have not seen",
    )


def _one_label(model: Any) -> bool:
    classes = getattr(model, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        return False
    return not is_multilabel(model)


def is_multilabel(model: Any) -> bool:
    """Whether the model gives several labels of 0 or 1 a row, side by side."""
    final = final_step(model)
    for name in ("label_binarizer_", "_label_binarizer"):
        if str(getattr(getattr(final, name, None), "y_type_", "")).startswith("multilabel"):
            return True
    return False


def final_step(model: Any) -> Any:
    """Return the estimator at the end of pipelines and searches."""
    while True:
        if hasattr(model, "steps"):
            model = model.steps[-1][1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model


def _several_chances(model: Any) -> tuple[Answer, ...]:
    if not hasattr(model, "predict_proba"):
        return ()
    classes = getattr(model, "classes_", None)
    final = final_step(model)
    lists = isinstance(classes, list) and type(final).__name__ != "ClassifierChain"
    if not lists:
        return (Answer("probabilities", "predict_proba"),)
    return tuple(
        Answer(f"probabilities_{number}", "predict_proba", number)
        for number in range(len(classes or ()))
    )


def plain_classes(classes: Array) -> tuple[str | int | float | bool, ...]:
    """Return class labels as plain values; whole floats become integers, as ONNX has them."""
    plain: Sequence[Any] = classes.tolist()
    if classes.dtype.kind == "f" and (classes == np.round(classes)).all():
        plain = [int(value) for value in plain]
    return tuple(plain)
