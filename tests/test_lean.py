"""The way without numpy, held byte for byte against the one with it."""

import atexit
import functools
import json
import math
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from binary_cases import packed, request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import helper
from serve_cases import model_folder, write_model

from fnmodel.binary import SIZES
from fnmodel.buffers import Buffer
from fnmodel.engine import by_package
from fnmodel.model import MODEL, Feature, Signature, Tensor
from fnmodel.serve.body import LIMIT
from fnmodel.serve.endpoint import Answer, Call, respond
from fnmodel.serve.lean import Lean
from fnmodel.serve.model import Model
from fnmodel.serve.service import Service
from fnmodel.serve.singles import singles

CHECKED = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def write_table(folder: Path) -> Path:
    """Write a stacked FP64 model of other outputs: numbers with a null, whole ones, closed ones."""
    signature = Signature(
        task="other",
        inputs=(Tensor("X", "FP64", (-1, 3)),),
        outputs=(
            Tensor("same", "FP64", (-1, 3)),
            Tensor("single", "FP32", (-1, 3)),
            Tensor("whole", "INT64", (-1, 3)),
            Tensor("known", "BOOL", (-1, 1, 3)),
        ),
        features=(
            Feature("a", "FP64", nullable=True),
            Feature("b", "FP64", integral=True, nullable=True),
            Feature("c", "FP64", nullable=True, categories=(1.0, 2.5), closed=True),
        ),
    )
    nodes = [
        helper.make_node("Identity", ["X"], ["same"]),
        helper.make_node("Cast", ["X"], ["single"], to=1),
        helper.make_node("IsNaN", ["X"], ["gone"]),
        helper.make_node("Cast", ["gone"], ["whole"], to=7),
        helper.make_node("Reshape", ["gone", "shape"], ["known"]),
    ]
    return write_model(folder, signature, nodes, {"shape": np.array([-1, 1, 3])})


def write_columns(folder: Path) -> Path:
    """Write a model by column: a boolean, a nullable and a closed text, integers of two sizes."""
    types: dict[str, Any] = {"yes": "BOOL", "note": "BYTES", "kind": "BYTES", "n": "INT64"}
    features = (
        Feature("yes", "BOOL"),
        Feature("note", "BYTES", nullable=True),
        Feature("kind", "BYTES", categories=("x", "é"), closed=True),
        Feature("n", "INT64", integral=True),
        Feature("small", "INT8"),
    )
    types["small"] = "INT8"
    signature = Signature(
        task="other",
        inputs=tuple(Tensor(name, kind, (-1, 1)) for name, kind in types.items()),
        outputs=tuple(Tensor(f"{name}_out", kind, (-1, 1)) for name, kind in types.items()),
        features=features,
    )
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in types]
    return write_model(folder, signature, nodes, {})


WRITERS = {"table": write_table, "columns": write_columns}
NAMES = ("classifier", "mixed", "regressor", "tensors", *WRITERS)


@functools.cache
def folder_of(name: str) -> Path:
    if name not in WRITERS:
        return model_folder(name)
    root = Path(tempfile.mkdtemp(prefix="fnmodel-test-"))
    atexit.register(shutil.rmtree, root)
    return WRITERS[name](root / name)


@functools.cache
def services(name: str) -> tuple[Service, Service]:
    """Return the endpoint of a model that goes without numpy, and of one that never does."""
    lean = Model.load(folder_of(name))
    plain = Model(lean.signature, lambda: lean.predictor)
    return Service(lean, "m", "1"), Service(plain, "m", "1")


def compare(name: str, path: str, body: Any) -> Answer:
    """Ask both for the same, and return the one answer."""
    raw = orjson.dumps(body, default=str)
    answers = []
    for service in services(name):
        answer = service.predict if path == "predict" else service.infer
        answers.append(respond(answer, Call({"model": "m"}, {}, raw), LIMIT))
    assert answers[0] == answers[1]
    return answers[0]


NUMBER = (
    st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.floats(-1e3, 1e3)
    | st.integers(-5, 5)
    | st.sampled_from([0.0, -0.0, 1e-7, 3.4028235e38, 3.4028236e38, 1e300, 2**63 - 1, 2.5, 1])
)
VALUE = NUMBER | st.none() | st.booleans() | st.text(max_size=4) | st.sampled_from(["x", "é", "\0"])
FITTING: dict[str, Any] = {
    "FP32": NUMBER, "FP64": NUMBER, "BOOL": st.booleans(), "BYTES": st.text(max_size=4),
    "INT64": st.integers(-(2**63), 2**63 - 1), "INT8": st.integers(-128, 127),
    "UINT64": st.integers(0, 2**64 - 1),
}  # fmt: skip


def values_of(datatype: str, feature: Feature | None) -> Any:
    """Return values that mostly fit."""
    if feature and feature.categories:
        fit: Any = st.sampled_from(feature.categories)
    else:
        fit = FITTING[datatype]
    rare = st.integers(0, 30)
    return st.tuples(rare, fit, VALUE).map(lambda drawn: drawn[2] if drawn[0] == 30 else drawn[1])


def records_of(name: str) -> Any:
    features = services(name)[0].loaded.signature.features  # type: ignore[union-attr]
    row = st.fixed_dictionaries(
        {f.name: values_of(f.datatype, f) for f in features if not f.nullable},
        optional={f.name: values_of(f.datatype, f) | st.none() for f in features if f.nullable},
    )
    odd = st.dictionaries(st.sampled_from([f.name for f in features] + ["z"]), VALUE)
    return st.lists(row, max_size=6) | st.lists(row | odd, max_size=3)


def request_of(name: str) -> Any:
    signature = services(name)[0].loaded.signature  # type: ignore[union-attr]

    def tensors(rows: int) -> Any:
        return st.tuples(*(tensor(item, at, rows) for at, item in enumerate(signature.inputs)))

    def tensor(item: Tensor, at: int, rows: int) -> Any:
        width = math.prod(item.shape[1:])
        feature = signature.features[at] if signature.features and width == 1 else None
        data = st.lists(
            values_of(item.datatype, feature), min_size=rows * width, max_size=rows * width
        )
        given = {"name": item.name, "datatype": item.datatype, "shape": [rows, *item.shape[1:]]}
        return data.map(lambda data: {**given, "data": data})

    return st.integers(0, 4).flatmap(tensors).map(lambda inputs: {"id": "7", "inputs": inputs})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tensors"])
def test_predict_answers_to_the_byte(name: str) -> None:
    """Records, good and bad, get the same answer with numpy and without."""
    seen: set[int] = set()

    @CHECKED
    @given(records_of(name))
    def check(records: Any) -> None:
        seen.add(compare(name, "predict", {"records": records}).status)

    check()

    assert seen == {200, 400}


@pytest.mark.parametrize("name", NAMES)
def test_infer_answers_to_the_byte(name: str) -> None:
    """Tensors, good and bad, get the same answer with numpy and without."""
    seen: set[int] = set()

    @CHECKED
    @given(request_of(name))
    def check(body: Any) -> None:
        seen.add(compare(name, "infer", body).status)

    check()

    assert seen == {200, 400}


@pytest.mark.parametrize("name", NAMES)
def test_binary_infer_answers_to_the_byte(name: str) -> None:
    """Binary tensors, also of bytes by chance, get the same answer with numpy and without."""
    signature = services(name)[0].loaded.signature  # type: ignore[union-attr]
    asked = [
        {"name": t.name, "parameters": {"classification": 2, "binary_data": False}}
        for t in signature.outputs
        if t.datatype not in ("BYTES", "BOOL")
    ]
    seen: set[int] = set()

    def raw(tensor: Tensor, rows: int) -> Any:
        count = rows * math.prod(tensor.shape[1:])
        if tensor.datatype != "BYTES":
            size = count * SIZES[tensor.datatype]
            numbers = st.lists(
                st.sampled_from([0, 1, math.nan, 2.5]), min_size=count, max_size=count
            )
            given = numbers.map(lambda values: packed(tensor.datatype, whole(tensor, values)))
            return given | st.binary(min_size=size, max_size=size)
        texts = st.lists(st.sampled_from(["x", "é", "", "gold"]), min_size=count, max_size=count)
        return texts.map(lambda values: packed("BYTES", values)) | st.binary(max_size=9)

    def whole(tensor: Tensor, values: list[Any]) -> list[Any]:
        return values if tensor.datatype.startswith("FP") else [int(v == 1) for v in values]

    def inputs(rows: int) -> Any:
        return st.tuples(*(raw(t, rows).map(described(t, rows)) for t in signature.inputs))

    def described(tensor: Tensor, rows: int) -> Any:
        return lambda found: (tensor.name, tensor.datatype, (rows, *tensor.shape[1:]), found)

    @CHECKED
    @given(st.integers(0, 3).flatmap(inputs), st.sampled_from([[], asked]))
    def check(given: Any, outputs: Any) -> None:
        body, headers = request(given, outputs=outputs, parameters={"binary_data_output": True})
        sent = {key.lower().encode(): value.encode() for key, value in headers.items()}
        call = Call({"model": "m"}, sent, body)
        lean, plain = (respond(service.infer, call, LIMIT) for service in services(name))
        assert lean == plain
        seen.add(lean.status)

    check()

    assert 200 in seen


def test_infinite_answers_are_null() -> None:
    """NaN and infinities become null on both ways."""
    rows = [{"x": -1, "y": 1}, {"x": 0, "y": 1}, {"x": 1, "y": 2}]

    answer = compare("regressor", "predict", {"records": rows})

    assert json.loads(answer.body)["predictions"] == [
        {"value": None}, {"value": None}, {"value": 0.0},
    ]  # fmt: skip


def test_lean_is_for_small_requests_of_plain_models() -> None:
    """A large body goes by numpy, and so does every one of another engine's session."""
    model = Model.load(folder_of("classifier"))
    session = by_package((folder_of("classifier") / MODEL).read_bytes(), 1)

    assert isinstance(model.way(100), Lean)
    assert model.way(100_000) is model.predictor
    assert not Lean.fits(model.signature, session)


SINGLE = st.floats(width=32)


@settings(max_examples=2000, deadline=None, derandomize=True, database=None)
@given(st.lists(SINGLE, max_size=3) | st.lists(st.floats(-1, 1, width=32), max_size=3))
@example([1e-6, 1e-5, 1e13, 1e-20])
def test_singles_are_written_as_numpy_has_them(values: list[float]) -> None:
    """What is written is what orjson writes of an FP32 array, or left to that."""
    written = singles(values)

    assert written is None or orjson.dumps(written) == orjson.dumps(
        np.array(values, np.float32), option=orjson.OPT_SERIALIZE_NUMPY
    )


def test_singles_at_powers_of_two_and_ten() -> None:
    """Powers of two have a nearer neighbour below than above; powers of ten change the format."""
    powers = [*(2.0**n for n in range(-149, 128)), *(10.0**n for n in range(-45, 39))]
    near = [struct.unpack("f", struct.pack("f", power))[0] for power in powers]
    values = [float(np.nextafter(np.float32(n), np.float32(s))) for n in near for s in (0, n, 1e38)]
    known = [value for value in values if singles([value]) is not None]

    assert orjson.dumps(singles(known)) == orjson.dumps(
        np.array(known, np.float32), option=orjson.OPT_SERIALIZE_NUMPY
    )
    assert all(value in known for value in values if 1e-19 < value < 1e12)


def test_buffers_nest_as_arrays_do() -> None:
    """Lists of a buffer are those of an array of its shape, without rows and dimensions too."""
    for shape in ((6,), (2, 3), (1, 2, 3), (3, 1, 2), (0,), (0, 2), (2, 0), (2, 0, 3), (), (1, 1)):
        array = np.arange(math.prod(shape), dtype=np.float32)
        buffer = Buffer.of("FP32", array.tolist()).reshape(shape)

        assert buffer.tolist() == array.reshape(shape).tolist()
        assert buffer.reshape(-1).shape == array.shape
