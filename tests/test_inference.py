"""From values to arrays: what fits, what is refused with which reason, and what comes out exact."""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve_cases import model_folder, predictor, write_model

from fnmodel.errors import InputError
from fnmodel.inference import Predictor, encode_column
from fnmodel.model import MISSING_TEXT, MODEL, Datatype, Feature, Signature, Tensor
from fnmodel.values import encode_value

LARGEST_FP32 = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        ("FP32", [1, 2.5, -0.0], np.array([1, 2.5, -0.0], np.float32)),
        ("FP32", [LARGEST_FP32, 3.4028235e38], np.array([LARGEST_FP32] * 2, np.float32)),
        ("FP64", [2**53 + 1, 1e308], np.array([2.0**53, 1e308])),
        ("FP16", [65504, 1], np.array([65504, 1], np.float16)),
        ("INT64", [2**63 - 1, -(2**63)], np.array([2**63 - 1, -(2**63)])),
        ("INT64", [2**53 + 1, 3.0, True], np.array([2**53 + 1, 3, 1])),
        ("UINT64", [2**64 - 1, 0], np.array([2**64 - 1, 0], np.uint64)),
        ("INT8", [-128, 127], np.array([-128, 127], np.int8)),
        ("BOOL", [True, False], np.array([True, False])),
        ("BYTES", ["é", ""], np.array(["é", ""], object)),
        ("FP32", [], np.array([], np.float32)),
    ],
)
def test_values_that_fit(datatype: Datatype, values: list[Any], expected: Any) -> None:
    """Values arrive exactly, in the feature's own dtype."""
    column = encode_column(Feature("f", datatype), values)

    assert column.dtype == expected.dtype
    assert column.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("datatype", "value", "reason"),
    [
        ("FP32", 3.41e38, "3.41e+38 is out of range for FP32"),
        ("FP16", 65520, "65520 is out of range for FP16"),
        ("FP64", 10**400, "is out of range for FP64"),
        ("FP64", math.inf, "inf is not a finite number"),
        ("FP32", math.nan, "nan is not a finite number"),
        ("FP32", True, "expected a number, got a boolean"),
        ("FP32", "1", "expected a number, got a string"),
        ("INT64", 2.0**63, "is out of range for INT64"),
        ("INT64", 10**400, "is out of range for INT64"),
        ("INT64", 0.5, "expected an integer, got 0.5"),
        ("UINT8", -1, "-1 is out of range for UINT8"),
        ("BOOL", 1, "expected true or false, got a number"),
        ("BOOL", None, "a value is required, got null"),
        ("BYTES", 1, "expected a string, got a number"),
        ("BYTES", "\ud800", "not a valid text"),
        ("BYTES", "a\x00b", "not a valid text"),
        ("BYTES", [], "expected a string, got an array"),
    ],
)
def test_values_that_do_not_fit(datatype: Datatype, value: Any, reason: str) -> None:
    """A value is refused with its reason; in a column, with its row and field, too."""
    feature = Feature("f", datatype)
    good = {"BYTES": "text", "BOOL": True}.get(datatype, 1)

    with pytest.raises(InputError) as alone:
        encode_value(feature, value)
    with pytest.raises(InputError) as in_column:
        encode_column(feature, [good, value])

    assert reason in alone.value.message
    assert in_column.value.message == f"row 1, field 'f': {alone.value.message}"


@pytest.mark.parametrize(
    ("datatype", "missing"), [("FP32", math.nan), ("FP64", math.nan), ("BYTES", MISSING_TEXT)]
)
def test_missing_values(datatype: Datatype, missing: Any) -> None:
    """A nullable feature's missing value is NaN, or the text that no caller can send."""
    good = "text" if datatype == "BYTES" else 1.0

    column = encode_column(Feature("f", datatype, nullable=True), [None, good])

    assert column.tolist()[1] == good
    assert repr(column.tolist()[0]) == repr(missing)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False) | st.none(), max_size=9))
def test_bulk_and_single_encoding_agree(values: list[float | None]) -> None:
    """A column is encoded as its values are, one by one, bit for bit."""
    feature = Feature("f", "FP32", nullable=True)

    column = encode_column(feature, values)

    single = np.array([encode_value(feature, value) for value in values], np.float32)
    assert column.tobytes() == single.tobytes()


def test_columns_land_in_their_places() -> None:
    """Records are taken by name, whatever the order of their keys."""
    tensors = predictor("classifier").encode([{"c": 3, "a": 1, "b": 2}, {"b": 5, "c": 6, "a": 4}])

    assert tensors["X"].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_model_without_features_has_no_records() -> None:
    """A model of tensors says where tensors are taken."""
    with pytest.raises(InputError, match="no named features") as caught:
        predictor("tensors").predict([{"x": 1}])

    assert "/infer" in caught.value.hint


def test_wrong_tensors_are_input_errors() -> None:
    """What ONNX Runtime refuses is an InputError of one line."""
    for tensors in ({}, {"X": np.zeros((1, 4), np.float32)}, {"X": np.zeros((1, 3))}):
        with pytest.raises(InputError, match="the model refuses this input") as caught:
            predictor("classifier").run(tensors)
        assert "\n" not in caught.value.message


def test_run_errors_name_no_source_files(tmp_path: Path) -> None:
    """ONNX Runtime's message of a failing node loses the path of the C++ file."""
    from onnx import helper

    signature = Signature(
        task="other",
        inputs=(Tensor("i", "INT64", (-1,)),),
        outputs=(Tensor("o", "FP32", (-1,)),),
    )
    node = helper.make_node("Gather", ["table", "i"], ["o"])
    folder = write_model(tmp_path / "m", signature, [node], {"table": np.zeros(2, np.float32)})

    with pytest.raises(InputError) as caught:
        Predictor(folder).run({"i": np.array([7])})

    assert "Gather" in caught.value.message
    assert ".cc" not in caught.value.message
    assert "/onnxruntime" not in caught.value.message


def test_broken_model_file(tmp_path: Path) -> None:
    """A file that is no ONNX model is an InputError that names it."""
    folder = tmp_path / "m"
    folder.mkdir()
    for file in model_folder("classifier").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / MODEL).write_bytes(b"\x00garbage")

    with pytest.raises(InputError, match=r"model\.onnx cannot be loaded"):
        Predictor(folder)
