"""ONNX files go through `slim` as they are: tidied, named, compared, made smaller."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from slim_cases import convert

from fnmodel.errors import SlimError, UnsupportedModelError
from fnmodel.inference import Predictor
from fnmodel.model import OnnxModel

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.normal(size=(3, 2)).astype(np.float32)
FLOAT = TensorProto.FLOAT


def _model(
    nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], *tensors: Any
) -> Any:
    graph = helper.make_graph(list(nodes), "somebody's", list(inputs), list(outputs), list(tensors))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="/home/me")


def _value(name: str, shape: Any, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _product(rows: Any = "N", width: Any = 2) -> Any:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weights = numpy_helper.from_array(WEIGHTS, "w")
    return _model([node], [_value("x", [rows, 3])], [_value("y", [rows, width])], weights)


def _slim(folder: Path, model: Any, sample: Any = None) -> tuple[Any, OnnxModel]:
    source = folder / "given.onnx"
    source.write_bytes(model.SerializeToString())
    path = None
    if isinstance(sample, pd.DataFrame):
        path = folder / "sample.csv"
        sample.to_csv(path, index=False)
    elif sample is not None:
        path = folder / "sample.npz"
        np.savez(path, **sample)
    report = convert(folder, source, path)
    return report, OnnxModel.load(folder / "model")


@pytest.mark.parametrize("rows", ["N", None, 1, 4], ids=["named", "open", "one", "four"])
def test_any_number_of_rows_is_answered(rows: Any, tmp_path: Path) -> None:
    """A first axis that an exporter froze is opened where the graph copes; nothing else changes."""
    report, model = _slim(tmp_path, _product(rows))

    assert report.passed
    assert report.framework == "ONNX"
    assert model.signature.inputs[0].shape == (-1, 3)
    assert model.signature.outputs[0].shape == (-1, 2)
    asked = RANDOM.normal(size=(5, 3)).astype(np.float32)
    answer = Predictor(model.folder).run({"x": asked})["y"]
    assert np.allclose(answer, asked @ WEIGHTS, atol=1e-6)
    content = (model.folder / "model.onnx").read_bytes()
    assert b"/home/me" not in content
    assert b"somebody" not in content


def test_a_table_names_the_features(tmp_path: Path) -> None:
    """Columns of the sample become what callers send."""
    frame = pd.DataFrame(RANDOM.normal(size=(20, 3)), columns=["größe", "b m i", "age"])

    _, model = _slim(tmp_path, _product(), frame)

    assert [feature.name for feature in model.signature.features] == list(frame.columns)
    rows = frame.head(2).to_dict("records")
    answers = Predictor(model.folder).predict(rows)
    expected = frame.head(2).to_numpy(np.float32) @ WEIGHTS
    assert np.allclose([answer["y"] for answer in answers], expected, atol=1e-6)


def test_a_classifier_of_scikit_learn_keeps_labels_and_classes(tmp_path: Path) -> None:
    """One input a column, text among them, and dictionaries of scores: a caller sees none of it."""
    convert_sklearn = pytest.importorskip("skl2onnx").convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pd.DataFrame(
        {"plan": RANDOM.choice(["a", "b"], 80), "age": RANDOM.normal(40, 9, 80).astype(np.float32)}
    )
    labels = np.array(["no", "später", "yes"])[RANDOM.integers(0, 3, 80)]
    steps = make_column_transformer((OneHotEncoder(), ["plan"]), (StandardScaler(), ["age"]))
    pipeline = make_pipeline(steps, LogisticRegression()).fit(frame, labels)
    kinds = [("plan", StringTensorType([None, 1])), ("age", FloatTensorType([None, 1]))]

    report, model = _slim(tmp_path, convert_sklearn(pipeline, initial_types=kinds), frame)

    assert report.passed
    assert model.signature.task == "classification"
    assert model.signature.classes == ("no", "später", "yes")
    answers = Predictor(model.folder).predict(frame.head(9).to_dict("records"))
    assert [a["label"] for a in answers] == pipeline.predict(frame.head(9)).tolist()
    chances = [list(a["probabilities"].values()) for a in answers]
    assert np.allclose(chances, pipeline.predict_proba(frame.head(9)), atol=1e-5)


def test_several_inputs_of_several_kinds(tmp_path: Path) -> None:
    """Whole numbers and fractions of other shapes, compared on arrays by name."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axis"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "beside"], ["y"]),
    ]
    model = _model(
        nodes,
        [_value("ids", ["N", "L"], TensorProto.INT64), _value("beside", ["N", 4])],
        [_value("y", None)],
        numpy_helper.from_array(RANDOM.normal(size=(30, 4)).astype(np.float32), "table"),
        numpy_helper.from_array(np.array([1]), "axis"),
    )
    sample = {
        "ids": RANDOM.integers(0, 30, (12, 5)),
        "beside": RANDOM.normal(size=(12, 4)).astype(np.float32),
    }

    report, made = _slim(tmp_path, model, sample)

    assert report.passed
    assert made.signature.inputs[0].shape == (-1, -1)
    assert made.signature.outputs[0].shape[0] == -1


def _frozen() -> Any:
    shape = numpy_helper.from_array(np.array([1, 3]), "shape")
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    return _model([node], [_value("x", [1, 3])], [_value("y", [1, 3])], shape)


def _mixing() -> Any:
    zero = numpy_helper.from_array(np.array([0]), "zero")
    nodes = [
        helper.make_node("ReduceMean", ["x", "zero"], ["mean"]),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return _model(nodes, [_value("x", ["N", 3])], [_value("y", ["N", 3])], zero)


def _random() -> Any:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    return _model(nodes, [_value("x", ["N", 3])], [_value("y", ["N", 3])])


def _summing() -> Any:
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    return _model([node], [_value("x", ["N", 3])], [_value("y", [])])


def _constant() -> Any:
    value = numpy_helper.from_array(np.ones((1, 3), np.float32))
    return _model([helper.make_node("Constant", [], ["y"], value=value)], [], [_value("y", [1, 3])])


def _complex() -> Any:
    node = helper.make_node("Identity", ["x"], ["y"])
    kind = TensorProto.COMPLEX64
    return _model([node], [_value("x", ["N", 3], kind)], [_value("y", ["N", 3], kind)])


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (_frozen, "one number of rows"),
        (_mixing, "depends on the rows beside it"),
        (_random, "differently each time"),
        (_summing, "rows must be its first axis"),
        (_constant, "no inputs"),
        (_complex, "COMPLEX64|cannot load"),
    ],
)
def test_what_cannot_be_asked_in_rows_is_refused(build: Any, reason: str, tmp_path: Path) -> None:
    """Each refusal says why."""
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        _slim(tmp_path, build())
    assert caught.value.hint


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ({"x": np.ones((4, 5), np.float32)}, r"shape \[4, 5\] for input 'x'"),
        ({"z": np.ones((4, 3), np.float32)}, "no input of the model"),
        (pd.DataFrame(np.ones((4, 2)), columns=["a", "b"]), r"shape \[4, 2\]"),
        (pd.DataFrame({"a": ["x"], "b": [1], "c": [2]}), "not a column of numbers"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(sample: Any, reason: str, tmp_path: Path) -> None:
    """The error names the input and both shapes."""
    with pytest.raises(SlimError, match=reason):
        _slim(tmp_path, _product(), sample)


def test_a_large_product_is_made_smaller(tmp_path: Path) -> None:
    """The ladder climbs for a file of anybody's."""
    weights = numpy_helper.from_array(RANDOM.normal(size=(256, 256)).astype(np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = _model([node], [_value("x", ["N", 256])], [_value("y", ["N", 256])], weights)

    report, made = _slim(tmp_path, model)

    assert report.passed
    assert len(report.ladder["rows"]) > 1
    assert any(row["name"] == report.ladder["kept"] for row in report.ladder["rows"])
    assert onnx.load(made.folder / "model.onnx").graph.name == "model"


def _recurrent(batch: Any = "N") -> Any:
    """Return what recurrent networks look like: a state of (layers, rows, units), and a rate."""
    nodes = [
        helper.make_node("Cast", ["rate"], ["r"], to=FLOAT),
        helper.make_node("MatMul", ["x", "w"], ["driven"]),
        helper.make_node("Mul", ["driven", "r"], ["scaled"]),
        helper.make_node("ReduceSum", ["state", "layers"], ["kept"], keepdims=0),
        helper.make_node("Add", ["scaled", "kept"], ["y"]),
        helper.make_node("Unsqueeze", ["y", "layers"], ["one"]),
        helper.make_node("Concat", ["one", "one"], ["both"], axis=0),
        helper.make_node("Add", ["both", "state"], ["next"]),
    ]
    inputs = [_value("x", [batch, 3]), _value("state", [2, batch, 2]),
              _value("rate", [], TensorProto.INT64)]  # fmt: skip
    outputs = [_value("y", [batch, 2]), _value("next", [None, None, None])]
    weights = numpy_helper.from_array(WEIGHTS, "w")
    return _model(nodes, inputs, outputs, weights,
                  numpy_helper.from_array(np.array([0]), "layers"))  # fmt: skip


@pytest.mark.parametrize("batch", ["N", None])
def test_rows_on_another_axis_are_brought_to_the_first(batch: Any, tmp_path: Path) -> None:
    """A state goes in and comes out a row at a time, and a single value becomes a constant."""
    rows = RANDOM.normal(size=(12, 3)).astype(np.float32)
    state = RANDOM.normal(size=(2, 12, 2)).astype(np.float32)
    sample = {"x": rows, "state": state, "rate": np.int64(16)}

    report, model = _slim(tmp_path, _recurrent(batch), sample)
    told = {tensor.name: tensor.shape for tensor in model.signature.inputs}
    answer = Predictor(model.folder).run({"x": rows[:5], "state": np.moveaxis(state, 1, 0)[:5]})

    assert report.passed
    assert told == {"x": (-1, 3), "state": (-1, 2, 2)}
    assert [tensor.shape for tensor in model.signature.outputs] == [(-1, 2), (-1, 2, 2)]
    y = 16 * (rows[:5] @ WEIGHTS) + state.sum(axis=0)[:5]
    assert np.allclose(answer["y"], y, atol=1e-4)
    assert np.allclose(answer["next"], y[:, None] + np.moveaxis(state, 1, 0)[:5], atol=1e-4)
    assert any("'rate' is fixed at 16" in note for note in report.notes)
    assert any("'state' takes rows on its first axis" in note for note in report.notes)


@pytest.mark.parametrize(
    ("rate", "words"),
    [(None, "does not say the value of the input 'rate'"), (np.arange(3), "value of the input"),
     (np.array("fast"), "value of the input")],
)  # fmt: skip
def test_a_single_value_has_to_be_told(rate: Any, words: str, tmp_path: Path) -> None:
    """Without it the model is not asked; with something else there is no guessing."""
    rows = {"x": np.ones((4, 3), np.float32), "state": np.ones((2, 4, 2), np.float32)}
    sample = rows if rate is None else {**rows, "rate": rate}

    with pytest.raises(SlimError, match=words):
        _slim(tmp_path, _recurrent(), sample)
    with pytest.raises(UnsupportedModelError, match="'rate' has no axis of rows") as caught:
        _slim(tmp_path, _recurrent())
    assert "--sample" in caught.value.hint


def test_random_inputs_are_of_sizes_that_the_model_takes(tmp_path: Path) -> None:
    """A picture that is made smaller and joined again needs a size that can be divided."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["half"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Resize", ["half", "", "twice"], ["large"], mode="nearest"),
        helper.make_node("Add", ["x", "large"], ["y"]),
    ]
    twice = numpy_helper.from_array(np.array([1, 1, 8, 8], np.float32), "twice")
    model = _model(
        nodes, [_value("x", ["N", 1, "H", "W"])], [_value("y", ["N", 1, "H", "W"])], twice
    )

    assert _slim(tmp_path, model)[0].passed


def test_labels_of_probabilities_alone(tmp_path: Path) -> None:
    """A graph that ends in names for its scores, and has no label, keeps the names."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node(
            "ZipMap", ["scores"], ["named"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]
        ),
    ]
    scores = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(FLOAT, [])
    )
    named = helper.make_value_info("named", helper.make_sequence_type_proto(scores))
    weights = numpy_helper.from_array(WEIGHTS, "w")

    report, model = _slim(tmp_path, _model(nodes, [_value("x", ["N", 3])], [named], weights))

    signature = model.signature
    assert report.passed
    assert (signature.classes, signature.label) == (("no", "yes"), None)
    assert signature.scores == signature.outputs[0].name == "scores"
    assert signature.outputs[0].shape == (-1, 2)
