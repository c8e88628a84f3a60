"""What a model said of the rows whose truth is known: the arrays that every gate judges."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError
from fnmodel.model import Signature

Array = NDArray[Any]
Label = str | int | float | bool


@dataclass(frozen=True)
class Answers:
    """The answers to n rows.

    `labels` has shape (n,). `probabilities` has shape (n, C), with columns in the order of
    `classes`. `values` has shape (n,) or (n, T), for models of numbers.
    """

    labels: Array | None = None
    probabilities: Array | None = None
    classes: tuple[Label, ...] = ()
    values: Array | None = None

    @staticmethod
    def of(signature: Signature, outputs: Mapping[str, Array]) -> "Answers":
        """Read the output tensors of an ONNX model by what its signature says of them.

        Raises:
            SlimError: the model has neither a label nor one output of numbers.

        """
        if signature.label is not None:
            scores = None if signature.scores is None else outputs[signature.scores]
            labels = outputs[signature.label].reshape(-1)
            return Answers(labels, scores, signature.classes)
        first = outputs[signature.outputs[0].name]
        array = first.reshape(len(first), int(np.prod(first.shape[1:], dtype=int)))
        if signature.task == "regression" and array.dtype.kind in "fiu":
            return Answers(values=array)
        if array.shape[1] == 1 and array.dtype.kind in "iuOUSb":
            return Answers(labels=array[:, 0])
        raise _no_metric(f"output {signature.outputs[0].name!r}")

    @staticmethod
    def of_predictions(predictions: Sequence[Any]) -> "Answers":
        """Read what an endpoint answers to records: one prediction a row.

        Raises:
            SlimError: there is none, or they hold neither labels nor numbers.

        """
        if not predictions or not all(isinstance(one, Mapping) for one in predictions):
            raise _no_metric("what the model answers")
        first = predictions[0]
        try:
            if "label" in first:
                labels = np.array([one["label"] for one in predictions], dtype=object)
                if "probabilities" not in first:
                    return Answers(labels)
                classes = tuple(first["probabilities"])
                scores = [[one["probabilities"][name] for name in classes] for one in predictions]
                return Answers(labels, np.array(scores, dtype=np.float64), classes)
            values = np.array([one["value"] for one in predictions], dtype=np.float64)
            return Answers(values=values.reshape(len(values), -1))
        except (KeyError, TypeError, ValueError) as error:
            raise _no_metric("what the model answers") from error

    @property
    def rows(self) -> int:
        """The number of rows."""
        given = (self.labels, self.probabilities, self.values)
        return next((len(array) for array in given if array is not None), 0)


def _no_metric(what: str) -> SlimError:
    return SlimError(
        f"{what} is neither a label nor a value, so no metric can judge it",
        hint="take the gates away, or give a model that predicts labels or numbers",
    )


@dataclass(frozen=True)
class Coded:
    """Labels as positions in `classes`: the model's own first, then those it never learned.

    `truth` and `predicted` are integers of shape (n,).
    """

    classes: tuple[Label, ...]
    known: int
    truth: Array
    predicted: Array | None


def encode(answers: Answers, truth: Iterable[Any]) -> Coded:
    """Turn true and predicted labels into positions; `1`, `1.0`, `True` and "1" are one label.

    Without declared classes their order is the sorted one.

    Raises:
        SlimError: a true label is missing.

    """
    true = _listed(truth)
    gone = [row for row, label in enumerate(true) if is_missing(label)]
    if gone:
        raise SlimError(
            f"{len(gone)} of {len(true)} rows have no true label, the first is row {gone[0]}",
            hint="leave rows without a label out of the sample",
        )
    given = [] if answers.labels is None else _listed(answers.labels)
    position = {label: index for index, label in enumerate(answers.classes or _sorted(true, given))}
    by_text = {_text(label): index for label, index in position.items()}
    classes = list(position)

    def at(label: Any) -> int:
        index = position.get(label)
        if index is None:
            index = by_text.setdefault(_text(label), len(classes))
            if index == len(classes):
                classes.append(label)
            position[label] = index
        return index

    codes = _codes(true, at)
    predicted = None if answers.labels is None else _codes(given, at)
    # Only now are all labels known.
    return Coded(tuple(classes), len(answers.classes), codes, predicted)


def positive_code(classes: tuple[Label, ...], positive: Label | None, what: str) -> int:
    """Return the position of the declared positive label; of two classes the second is it.

    Raises:
        SlimError: there is no such label, or none was declared among three or more.

    """
    if positive is not None:
        texts = [_text(label) for label in classes]
        if _text(positive) in texts:
            return texts.index(_text(positive))
        listed = ", ".join(repr(label) for label in classes[:8])
        raise SlimError(
            f"{what}: the label {positive!r} is not among {listed}", hint="mend `positive:`"
        )
    if len(classes) == 2:
        return 1
    raise SlimError(
        f"{what} is about one label, and there are {len(classes)}",
        hint="name it with `positive:`, or use an averaged metric such as f1_macro",
    )


def _codes(labels: list[Any], at: Any) -> Array:
    return np.fromiter(map(at, labels), dtype=np.intp, count=len(labels))


def _sorted(*labels: list[Any]) -> list[Any]:
    found = {label for some in labels for label in some}
    try:
        return sorted(found)
    except TypeError:  # labels of several types have no order of their own
        return sorted(found, key=_text)


def _listed(labels: Iterable[Any]) -> list[Any]:
    return list(labels.tolist() if hasattr(labels, "tolist") else labels)


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or one of their kin."""
    # Only NaN and NaT are not equal to themselves; pandas.NA refuses the question.
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _text(label: Any) -> str:
    if isinstance(label, bool):
        return str(int(label))
    if isinstance(label, bytes):
        return label.decode(errors="replace")
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)
