"""Many numbers by another parser: the same tensors to the bit, or the usual way."""

import base64
import itertools
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from serve_cases import model_folder

from fnmodel.errors import InputError
from fnmodel.inference import Arrays
from fnmodel.model import Signature, Tensor
from fnmodel.serve import bulk, octets, tensors
from fnmodel.serve.body import LIMIT, read_object
from fnmodel.serve.endpoint import Answer, Call, respond
from fnmodel.serve.model import Model
from fnmodel.serve.service import Service

pytestmark = pytest.mark.skipif(bulk.Parser is None, reason="simdjson has no wheel for this Python")

CHECKED = settings(max_examples=400, deadline=None, derandomize=True, database=None)


class Way:
    """As much of an `Inference` as reading a request needs."""

    def __init__(self, datatype: str, shape: tuple[int, ...]) -> None:
        tensor = Tensor("X", datatype, shape)  # type: ignore[arg-type]
        self.signature = Signature(task="other", inputs=(tensor,), outputs=(tensor,))


def way_of(datatype: str, shape: tuple[int, ...] = (-1,)) -> Any:
    from fnmodel.encoding import Inference

    class Read(Inference[Any]):
        def run(self, tensors: Any, outputs: Any = None) -> Any:
            raise NotImplementedError

    return Read(Way(datatype, shape).signature, Arrays())


def meaning(body: dict[str, Any], binary: bytes, way: Any) -> Any:
    """Return all that a request says, its numbers as bits."""
    request = tensors.read_request(body, binary, way)
    bits = {name: (a.dtype, a.shape, a.tobytes()) for name, a in request.tensors.items()}
    return bits, request.outputs, request.id, request.rows


def agree(raw: bytes, way: Any) -> bool:
    """Compare both ways, and say whether the quick one was taken."""
    moved = bulk.in_binary(raw)
    if moved is None:
        return False
    try:
        found = meaning(*moved, way)
    except InputError:
        return False  # the service reads it again
    assert found == meaning(read_object(raw), b"", way)
    return True


def infer(data: str, *, datatype: str = "FP32", shape: str = "[3]", more: str = "") -> bytes:
    return (
        f'{{"inputs": [{{"name": "X", "shape": {shape}, "datatype": "{datatype}", '
        f'"data": {data}}}]{more}}}'
    ).encode()


DIGITS = st.text("0123456789", min_size=1, max_size=25)
TEXT_OF_NUMBER = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr)
    | st.integers(-(2**70), 2**70).map(str)
    | st.builds("{}.{}e{}".format, DIGITS.map(lambda d: str(int(d))), DIGITS, st.integers(-60, 40))
    | st.sampled_from(["0", "-0", "-0.0", "1E5", "16777217", "9007199254740993", "1e-400",
                       "18446744073709551615", "18446744073709551616", "-9223372036854775808",
                       "340282356779733661637539395458142568447", "3.4028235677973366e38",
                       "2.2250738585072011e-308", "5e-324", "1e22", "0.1e-6"])
)  # fmt: skip
ODD = st.sampled_from(
    [
        "null",
        "true",
        "NaN",
        "1e999",
        '"1"',
        "[1]",
        "[]",
        "{}",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "",
        "[[",
    ]
)
DATATYPES = st.sampled_from(["FP32", "FP64", "INT64", "INT8", "UINT64", "UINT16"])


@CHECKED
@given(st.lists(TEXT_OF_NUMBER | st.integers(0, 200).map(str), min_size=3, max_size=3), DATATYPES)
@example(["1", "2", "3"], "UINT64")
def test_every_number_is_the_same_to_the_bit(texts: list[str], datatype: str) -> None:
    """Whatever digits and exponents a number is written with, both parsers make the same of it."""
    agree(infer(f"[{', '.join(texts)}]", datatype=datatype), way_of(datatype))


@CHECKED
@given(st.lists(TEXT_OF_NUMBER | ODD, min_size=1, max_size=5), DATATYPES)
def test_what_is_no_number_is_left_to_the_usual_way(texts: list[str], datatype: str) -> None:
    """Nothing is accepted that orjson's way refuses, and nothing is flattened."""
    raw = infer(f"[{', '.join(texts)}]", datatype=datatype, shape=f"[{len(texts)}]")
    agree(raw, way_of(datatype))


@CHECKED
@given(st.integers(0, 150), st.binary(min_size=1, max_size=3), st.integers(0, 3))
def test_a_damaged_body_is_never_read_in_another_way(at: int, put: bytes, take: int) -> None:
    """Bytes put in and taken out anywhere, among them brackets, quotes and broken UTF-8."""
    raw = infer("[1.5, 2, -3]", more=', "id": "a", "outputs": [{"name": "X"}]')
    agree(raw[:at] + put + raw[at + take :], way_of("FP32"))


TAKEN = {
    "floats": infer("[1.5, -2e-3, 0]"),
    "whole numbers": infer("[1, 2, 3]"),
    "nested as the shape says": infer("[[1, 2], [3, 4], [5, 6]]", shape="[3, 2]"),
    "flat, of two dimensions": infer("[1, 2, 3, 4, 5, 6]", shape="[3, 2]"),
    "an id and outputs": infer("[1, 2, 3]", more=', "id": "7", "outputs": [{"name": "X"}]'),
    "parameters": infer("[1, 2, 3]", more=', "parameters": {"binary_data_output": true}'),
}
LEFT = {
    "a null": infer("[1, null, 3]"),
    "a boolean": infer("[1, true, 3]"),
    "a text": infer('[1, "2", 3]'),
    "too large for FP32": infer("[1, 1e39, 3]"),
    "nested otherwise": infer("[[1, 2, 3], [4, 5, 6]]", shape="[3, 2]"),
    "rows of two lengths": infer("[[1, 2], [3], [4, 5, 6]]", shape="[3, 2]"),
    "a list among numbers": infer("[1, [2, 3], []]"),
    "lists of one": infer("[[1], 2, [3]]"),
    "three levels": infer("[[[1], [2]], [[3], [4]]]", shape="[2, 2]"),
    "a name given twice": infer("[1, 2, 3]").replace(b'"name": "X"', b'"name": "Y", "name": "X"'),
    "data given twice": infer("[1, 2, 3]").replace(b'"data"', b'"data": [4, 5, 6], "data"'),
    "a byte order mark": b"\xef\xbb\xbf" + infer("[1, 2, 3]"),
    "parameters of an input": infer("[1, 2, 3]").replace(b'"X"', b'"X", "parameters": {}'),
    "no inputs": b'{"inputs": []}',
    "inputs that are none": b'{"inputs": [1, [2]]}',
    "something behind it": infer("[1, 2, 3]") + b"{}",
    "a list": b"[1]",
    "nested too deeply": infer("[" * 2000 + "]" * 2000),
    "FP16": infer("[1, 2, 3]", datatype="FP16"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_plain_numbers_are_taken(case: str) -> None:
    """Each usual form of a request goes the quick way."""
    raw = TAKEN[case]
    shape = (-1, 2) if b"[3, 2]" in raw else (-1,)
    assert agree(raw, way_of("FP32", shape))


@pytest.mark.parametrize("case", LEFT)
def test_anything_else_is_left(case: str) -> None:
    """What would have to be refused, or could mean something else, is not taken."""
    assert bulk.in_binary(LEFT[case]) is None


def test_a_large_request_has_the_answer_of_the_usual_way() -> None:
    """Of 3,000 rows, the bytes are those that the same rows have in parts; so are refusals."""
    model = Model.load(model_folder("classifier"))
    service = Service(model, "m", "1", "")

    def ask(data: list[Any]) -> Answer:
        shape = [len(data) // 3, 3]
        tensor = {"name": "X", "shape": shape, "datatype": "FP32", "data": data}
        raw = json.dumps({"inputs": [tensor]}).encode()
        return respond(service.infer, Call({"model": "m"}, {}, raw), LIMIT)

    data = [round(0.37 * n % 11 - 5, 3) for n in range(9000)]
    assert len(json.dumps(data)) > 1 << 15
    whole = orjson.loads(ask(data).body)["outputs"]
    parts = [orjson.loads(ask(data[at : at + 30]).body)["outputs"] for at in range(0, 9000, 30)]
    for position, output in enumerate(whole):
        joined = itertools.chain.from_iterable(part[position]["data"] for part in parts)
        assert output["data"] == [*joined]
    for wrong in (None, True, "x", 1e39, 10**39):
        refused = ask([*data[:-1], wrong])
        assert refused.status == 400
        assert b"row 2999, field 'c'" in refused.body


@given(st.binary(max_size=60), st.sampled_from([1, 3000]))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_base64_is_the_standard_librarys(raw: bytes, times: int) -> None:
    """Short and long bodies are written and read as `base64` does."""
    many = raw * times
    text = base64.b64encode(many).decode()

    assert octets.to_text(many) == text
    assert octets.of_text(text) == many


@pytest.mark.parametrize("broken", ["\n", "=", "é", "*", "A"])
@pytest.mark.parametrize("size", [30, 60_000])
def test_broken_base64_is_read_as_the_standard_library_reads_it(broken: str, size: int) -> None:
    """What is passed over and what is refused does not depend on the length."""

    def outcome(read: Any, text: str) -> Any:
        try:
            return read(text)
        except ValueError:
            return ValueError

    text = base64.b64encode(bytes(size)).decode()
    for wrong in (text[:8] + broken + text[8:], text + broken, text[:-1] + broken):
        assert outcome(octets.of_text, wrong) == outcome(base64.b64decode, wrong)
