"""Small models for the ladder, each with rows to ask and a judge over its answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from fnmodel.engine import open_session
from fnmodel.errors import InputError
from fnmodel.slim.ladder import Judgement, Ladder, Measured, Options, climb, rungs
from fnmodel.slim.rungs.closeness import Closeness, close
from fnmodel.slim.rungs.rung import Rung
from fnmodel.slim.subject import Family

Array = np.ndarray[Any, np.dtype[Any]]


LIMIT = Closeness(spread=0.02)
FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Case:
    """A serialised model, rows to ask, and the labels of the rows where there are any."""

    onnx: bytes
    feeds: Mapping[str, Array]
    family: Family
    labels: Array | None = None
    limit: Closeness = LIMIT

    def judge(self, form: bytes) -> Judgement:
        """Compare with the model as converted: closeness, labels by the largest score, accuracy."""
        expected, actual = answers(self.onnx, self.feeds), answers(form, self.feeds)
        before, after = (next(reversed(found.values())) for found in (expected, actual))
        changes, metric = 0, None
        if self.labels is not None:
            chosen = after.argmax(axis=1)
            changes = int((chosen != before.argmax(axis=1)).sum())
            metric = float((chosen == self.labels).mean())
        far = float(np.abs(before - after).max()) if before.shape == after.shape else np.inf
        return Judgement(close(expected, actual, self.limit), far, changes, metric)

    def climb(
        self, *, ladder: tuple[Rung, ...] | None = None, **options: Any
    ) -> tuple[bytes, Ladder]:
        """Climb with these options, or a ladder of one's own."""
        chosen = Options(**options)
        return climb(
            self.onnx,
            rungs(self.family, chosen) if ladder is None else ladder,
            judge=self.judge,
            feeds=self.feeds,
            options=chosen,
            progress=lambda _: None,
        )


def answers(form: bytes, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model on rows.

    Raises InputError where ONNX Runtime refuses.
    """
    session = open_session(form, threads=1)
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:
        raise InputError(str(error)) from error


def row_of(ladder: Ladder, name: str) -> Measured:
    """Return one row of a ladder."""
    return next(row for row in ladder.rows if row.name == name)


@cache
def digits() -> tuple[Array, Array]:
    """Return 64 pixels between 0 and 1 for each digit, float32, and which digit it is."""
    pixels, labels = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), labels


@cache
def perceptron(dtype: str) -> Case:
    """Train a small perceptron on the digits and write it with MatMul and Add by hand."""
    pixels, labels = digits()
    model = MLPClassifier((192, 192), max_iter=25, tol=1.0, n_iter_no_change=12, random_state=0)
    model.fit(pixels[:1200], labels[:1200])
    kind = np.dtype(dtype)
    nodes, tensors, value = [], [], "x"
    for number, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        tensors += [
            numpy_helper.from_array(weight.astype(kind), f"w{number}"),
            numpy_helper.from_array(bias.astype(kind), f"b{number}"),
        ]
        last = number == len(model.coefs_) - 1
        nodes += [
            helper.make_node("MatMul", [value, f"w{number}"], [f"m{number}"]),
            helper.make_node("Add", [f"m{number}", f"b{number}"], [f"a{number}"]),
            helper.make_node("Softmax" if last else "Relu", [f"a{number}"], [f"r{number}"]),
        ]
        value = f"r{number}"
    nodes[-1].output[0] = "probabilities"
    return Case(
        model_of(nodes, tensors, ("x", 64), ("probabilities", 10), kind),
        {"x": pixels.astype(kind)},
        "mlp",
        labels,
    )


def model_of(
    nodes: list[Any],
    tensors: list[Any],
    given: tuple[str, int],
    answered: tuple[str, int],
    kind: np.dtype[Any] = FLOAT32,
) -> bytes:
    """Write a model from rows of numbers to rows of numbers."""
    number = TensorProto.DOUBLE if kind == np.float64 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(given[0], number, ["n", given[1]])],
        [helper.make_tensor_value_info(answered[0], number, ["n", answered[1]])],
        tensors,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="tests"
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def product(rows: int = 128, columns: int = 256, scale: float = 1.0) -> Case:
    """Write one matrix product of random weights, large enough to be worth a ladder."""
    weight = np.random.default_rng(5).normal(size=(rows, columns)).astype(np.float32) * scale
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    onnx_bytes = model_of(
        nodes, [numpy_helper.from_array(weight, "w")], ("x", rows), ("y", columns)
    )
    asked = np.random.default_rng(6).normal(size=(20, rows)).astype(np.float32)
    return Case(onnx_bytes, {"x": asked}, "mlp")


def changed(form: bytes, change: Callable[[Any], None]) -> bytes:
    """Return the model after a change to its proto."""
    model = onnx.load_model_from_string(form)
    change(model)
    return bytes(model.SerializeToString())
