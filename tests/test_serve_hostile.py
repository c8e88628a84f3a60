"""Hostile requests: whatever a client sends, the answer is a 4xx with `{"error": …}`."""

import gc
import gzip
import json
import math
import resource
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from awslambdaric.lambda_runtime_marshaller import to_json
from serve_cases import error_of, event, gateway

from fnmodel.serve.body import LIMIT
from fnmodel.serve.endpoint import Answer
from fnmodel.serve.response import RESPONSE_LIMIT, response, too_long

PREDICT = "/predict"
INFER = "/v2/models/churn/infer"
CLASSIFIER = gateway("classifier")
MIXED = gateway("mixed")
TENSORS = gateway("tensors")


def record(**changes: Any) -> dict[str, Any]:
    return {"records": [{"a": 1.0, "b": 2, "c": 3.0, **changes}]}


def tensor(**changes: Any) -> dict[str, Any]:
    one = {"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3], **changes}
    return {"inputs": [{key: value for key, value in one.items() if value is not None}]}


def raw(text: str) -> bytes:
    """Return a request whose third field is this text."""
    return b'{"records": [{"a": 1.0, "b": 2, "c": ' + text.encode() + b"}]}"


# path, body, what the message says
REQUESTS: dict[str, tuple[str, Any, str]] = {
    "empty": (PREDICT, b"", "empty"),
    "no body": (PREDICT, None, "empty"),
    "blank": (PREDICT, b"   ", "not JSON"),
    "half": (PREDICT, b'{"records": [', "not JSON"),
    "two documents": (PREDICT, b"{}{}", "not JSON"),
    "single quotes": (PREDICT, b"{'records': []}", "not JSON"),
    "trailing comma": (PREDICT, b'{"records": [],}', "not JSON"),
    "byte order mark": (PREDICT, b'\xef\xbb\xbf{"records": []}', "not JSON"),
    "UTF-16": (PREDICT, '{"records": []}'.encode("utf-16"), "not JSON"),
    "invalid UTF-8": (PREDICT, b'{"records": [{"a": "\xff"}]}', "not JSON"),
    "nul bytes": (PREDICT, b"\x00" * 100, "not JSON"),
    "gzip": (PREDICT, b"\x1f\x8b\x08\x00" + b"\x00" * 40, "not JSON"),
    "NaN": (PREDICT, raw("NaN"), "not JSON"),
    "Infinity": (PREDICT, raw("Infinity"), "not JSON"),
    "1e999": (PREDICT, raw("1e999"), "not JSON"),
    "-1e999": (PREDICT, raw("-1e999"), "not JSON"),
    "5,000 digits": (PREDICT, raw("9" * 5000), "not JSON"),
    "lone surrogate value": (PREDICT, raw(r'"\ud800"'), "not JSON"),
    "lone surrogate key": (PREDICT, rb'{"\udfff": 1}', "not JSON"),
    "250,000 deep": (PREDICT, b"[" * 250_000, "not JSON"),
    "deep objects": (PREDICT, b'{"a":' * 5000 + b"1" + b"}" * 5000, "not JSON"),
    "an array": (PREDICT, [{"a": 1}], "not a JSON object"),
    "a string": (PREDICT, b'"records"', "not a JSON object"),
    "null": (PREDICT, b"null", "not a JSON object"),
    "no records": (PREDICT, {}, 'must be {"records"'),
    "a bare record": (PREDICT, {"a": 1, "b": 2, "c": 3}, 'must be {"records"'),
    "records is null": (PREDICT, {"records": None}, 'must be {"records"'),
    "records is an object": (PREDICT, {"records": {"a": 1}}, 'must be {"records"'),
    "another key": (PREDICT, {"records": [], "threshold": 1}, 'must be {"records"'),
    "row is a list": (PREDICT, {"records": [[1, 2, 3]]}, "row 0 is not an object"),
    "row is null": (PREDICT, {"records": [None]}, "row 0 is not an object"),
    "empty row": (PREDICT, {"records": [{}]}, "row 0: missing field 'a', 'b', 'c'"),
    "missing field": (PREDICT, {"records": [{"a": 1, "b": 2}]}, "row 0: missing field 'c'"),
    "unknown field": (PREDICT, record(d=1), "row 0: unknown field 'd'"),
    "null value": (PREDICT, record(c=None), "row 0, field 'c': a value is required"),
    "text for a number": (PREDICT, record(c="3"), "row 0, field 'c': expected a number"),
    "list for a number": (PREDICT, record(c=[3]), "row 0, field 'c': expected a number"),
    "object for a number": (PREDICT, record(c={}), "field 'c': expected a number, got an object"),
    "boolean for a float": (PREDICT, record(a=True), "row 0, field 'a': expected a number"),
    "too large for FP32": (PREDICT, record(a=1e39), "field 'a': 1e+39 is out of range for FP32"),
    "integer over 64 bits": (PREDICT, record(a=2**200), "e+60 is out of range for FP32"),
    "no inputs": (INFER, {}, "`inputs` is not a list"),
    "inputs is an object": (INFER, {"inputs": {}}, "`inputs` is not a list"),
    "empty inputs": (INFER, {"inputs": []}, "missing input 'X'"),
    "input is a string": (INFER, {"inputs": ["X"]}, "`inputs[0]` is not an object"),
    "input without name": (INFER, tensor(name=None), "`inputs[0]` is not an object with a `name`"),
    "unknown input": (INFER, tensor(name="Y"), "unknown input 'Y'; this model has 'X'"),
    "input twice": (INFER, {"inputs": tensor()["inputs"] * 2}, "input 'X' is given twice"),
    "wrong datatype": (INFER, tensor(datatype="FP64"), "`datatype` must be 'FP32'"),
    "no datatype": (INFER, tensor(datatype=None), "`datatype` must be 'FP32'"),
    "datatype is a list": (INFER, tensor(datatype=["FP32"]), "`datatype` must be 'FP32'"),
    "no shape": (INFER, tensor(shape=None), "`shape` must be a list"),
    "negative shape": (INFER, tensor(shape=[-1, 3]), "`shape` must be a list"),
    "fractional shape": (INFER, tensor(shape=[1.0, 3]), "`shape` must be a list"),
    "boolean shape": (INFER, tensor(shape=[True, 3]), "`shape` must be a list"),
    "overflowing shape": (INFER, tensor(shape=[2**62, 3], data=[]), "`shape` is too large"),
    "shape over 64 bits": (INFER, tensor(shape=[2**64, 3], data=[]), "`shape` must be a list"),
    "wrong rank": (INFER, tensor(shape=[3]), "`shape` must be [-1, 3]"),
    "wrong width": (INFER, tensor(shape=[1, 4]), "`shape` must be [-1, 3]"),
    "too little data": (INFER, tensor(data=[1, 2]), "does not fill `shape` [1, 3]"),
    "too much data": (INFER, tensor(data=[1, 2, 3, 4]), "does not fill `shape` [1, 3]"),
    "no data": (INFER, tensor(data=None), "`data` is not a list"),
    "data is a string": (INFER, tensor(data="1,2,3"), "`data` is not a list"),
    "ragged data": (
        INFER,
        tensor(shape=[2, 3], data=[[1, 2, 3], [4, 5]]),
        "level 1 of nesting should hold 3",
    ),
    "nested too deep": (INFER, tensor(data=[[[1, 2, 3]]]), "level 1 of nesting"),
    "half nested": (INFER, tensor(data=[[1, 2, 3], 4]), "level 0 of nesting"),
    "list among numbers": (INFER, tensor(data=[1, [2], 3]), "row 0, field 'b': expected a number"),
    "null in a required field": (INFER, tensor(data=[1, None, 3]), "row 0, field 'b': a value is"),
    "text in a tensor": (
        INFER,
        tensor(shape=[2, 3], data=[1, 2, 3, 4, 5, "6"]),
        "row 1, field 'c': expected a number, got a string",
    ),
    "FP32 overflow": (INFER, tensor(data=[1e39, 2, 3]), "row 0, field 'a': 1e+39 is out of range"),
    "id is a number": (INFER, {"id": 7, **tensor()}, "`id` is not a string"),
    "parameters is a list": (
        INFER,
        {"parameters": [], **tensor()},
        "`parameters` is not an object",
    ),
    "binary tensor without bytes": (
        INFER,
        tensor(data=None, parameters={"binary_data_size": 12}),
        "`binary_data_size` is 12, and 0 bytes are left",
    ),
    "parameter is a list": (
        INFER,
        {"parameters": {"sequence_id": [1]}, **tensor()},
        "the request: parameter 'sequence_id' is not a string, a number or a boolean",
    ),
    "binary_data_output is a number": (
        INFER,
        {"parameters": {"binary_data_output": 1}, **tensor()},
        "the request: `binary_data_output` is not true or false",
    ),
    "binary_data is a text": (
        INFER,
        {**tensor(), "outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]},
        "output 'label': `binary_data` is not true or false",
    ),
    "shared memory in": (
        INFER,
        tensor(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 12}),
        "there is no shared memory",
    ),
    "shared memory out": (
        INFER,
        {**tensor(), "outputs": [{"name": "label", "parameters": {"shared_memory_region": "r"}}]},
        "there is no shared memory",
    ),
    "unknown output": (INFER, {**tensor(), "outputs": [{"name": "nope"}]}, "unknown output 'nope'"),
    "output twice": (
        INFER,
        {**tensor(), "outputs": [{"name": "label"}] * 2},
        "output 'label' is given twice",
    ),
    "outputs is a string": (INFER, {**tensor(), "outputs": "label"}, "`outputs` is not a list"),
    "classes of texts": (
        INFER,
        {**tensor(), "outputs": [{"name": "label", "parameters": {"classification": 2}}]},
        "output 'label': `classification` needs numbers, and it is BYTES",
    ),
    "no classes": (
        INFER,
        {**tensor(), "outputs": [{"name": "probabilities", "parameters": {"classification": 0}}]},
        "`classification` is a number of classes of at least 1",
    ),
    "half a class": (
        INFER,
        {**tensor(), "outputs": [{"name": "probabilities", "parameters": {"classification": 1.5}}]},
        "`classification` is not an integer of at least 0",
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_hostile_request(name: str) -> None:
    """The answer is a 400 that says what to mend, and where."""
    path, body, message = REQUESTS[name]

    answer = CLASSIFIER(event(path=path, body=body), None)

    assert answer["statusCode"] == 400
    assert message in error_of(answer)


MIXED_ROW = {"age": 30, "income": 1.0, "plan": "gold", "visits": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": 5}, "row 1, field 'plan': expected a string, got a number"),
        ({"plan": None}, "row 1, field 'plan': a value is required, got null"),
        ({"plan": "a\x00b"}, "row 1, field 'plan': not a valid text"),
        ({"visits": 2.5}, "row 1, field 'visits': expected an integer, got 2.5"),
        ({"visits": 2**63}, "row 1, field 'visits': 9223372036854775808 is out of range for INT64"),
        ({"visits": None}, "row 1, field 'visits': a value is required, got null"),
        ({"income": "NaN"}, "row 1, field 'income': expected a number, got a string"),
        ({"incone": 1.0}, "row 1: unknown field 'incone'; did you mean 'income'?"),
    ],
)
def test_message_names_row_and_field(change: dict[str, Any], message: str) -> None:
    """An error in the second of three rows names that row and its field."""
    body = {"records": [MIXED_ROW, MIXED_ROW | change, MIXED_ROW]}

    answer = MIXED(event(body=body), None)

    assert (answer["statusCode"], error_of(answer)) == (400, message)


def identity(**changes: list[Any]) -> dict[str, Any]:
    values: dict[str, list[Any]] = {
        "FP32": [1.5, None], "INT8": [-128, 127], "UINT64": [0, 2**64 - 1],
        "BOOL": [True, False], "BYTES": ["é", ""], **changes,
    }  # fmt: skip
    return {
        "inputs": [
            {"name": f"in_{datatype}", "datatype": datatype, "shape": [1, 2], "data": data}
            for datatype, data in values.items()
        ]
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"INT8": [128, 0]}, "input 'in_INT8', element 0: 128 is out of range for INT8"),
        ({"INT8": [0, 0.5]}, "input 'in_INT8', element 1: expected an integer, got 0.5"),
        ({"INT8": [0, None]}, "input 'in_INT8', element 1: a value is required, got null"),
        ({"UINT64": [-1, 0]}, "input 'in_UINT64', element 0: -1 is out of range for UINT64"),
        ({"UINT64": [2**64, 0]}, "element 0: 1.8446744073709552e+19 is out of range for UINT64"),
        ({"BOOL": [1, True]}, "input 'in_BOOL', element 0: expected true or false, got a number"),
        ({"BYTES": ["a", 1]}, "input 'in_BYTES', element 1: expected a string, got a number"),
        ({"BYTES": ["a", None]}, "input 'in_BYTES', element 1: a value is required, got null"),
        ({"FP32": ["1", 2]}, "input 'in_FP32', element 0: expected a number, got a string"),
    ],
)
def test_message_names_input_and_element(change: dict[str, list[Any]], message: str) -> None:
    """In a model without features, an error names the input and the element."""
    answer = TENSORS(event(path=INFER, body=identity(**change)), None)

    assert answer["statusCode"] == 400
    assert message in error_of(answer)


def test_extreme_values_are_exact() -> None:
    """The ends of the ranges, a null in a float and non-ASCII text come back as they went in."""
    answer = TENSORS(event(path=INFER, body=identity()), None)

    assert answer["statusCode"] == 200
    outputs = {item["name"]: item["data"] for item in json.loads(answer["body"])["outputs"]}
    expected = {f"out_{i['datatype']}": i["data"] for i in identity()["inputs"]}
    assert outputs == expected


def test_rows_of_different_inputs_must_agree() -> None:
    """By-column inputs with different numbers of rows are refused before the graph runs."""
    inputs = [
        {"name": name, "datatype": datatype, "shape": [len(data), 1], "data": data}
        for name, datatype, data in [
            ("age", "FP32", [1, 2]), ("income", "FP32", [1]),
            ("plan", "BYTES", ["a"]), ("visits", "INT64", [1]),
        ]
    ]  # fmt: skip

    answer = MIXED(event(path=INFER, body={"inputs": inputs}), None)

    assert (answer["statusCode"], error_of(answer)) == (
        400,
        "the inputs have different numbers of rows",
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", PREDICT, 405),
        ("PUT", PREDICT, 405),
        ("DELETE", "/v2", 405),
        ("POST", "/v2/health/ready", 405),
        ("BREW", PREDICT, 405),
        ("POST", "/", 405),
        ("GET", "/invocations", 405),
        ("POST", "/ping", 405),
        ("PUT", "/v1/models", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/docs/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%00", 404),
        ("GET", "/%ff", 404),
        ("POST", "/predict/", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/churn/versions/4/infer", 404),
        ("GET", "/v2/models/churn/versions/latest", 404),
        ("GET", "/v2/models/churn/versions/4/ready", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/churn/versions/4", 404),
        ("GET", "/v1/models/churn:predict", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/churn:classify", 405),
        ("POST", "/v1/models/churn/versions/4:predict", 404),
        ("GET", "/v1/models/other/metadata", 404),
    ],
)
def test_wrong_path_or_method(method: str, path: str, status: int) -> None:
    """Unknown paths, models and versions are 404, wrong methods 405, both with an error body."""
    answer = CLASSIFIER(event(method=method, path=path), None)

    assert answer["statusCode"] == status
    assert error_of(answer)


@pytest.mark.parametrize("encoding", ["br", "identity, gzip", "gzip, gzip", "zstd", "gzip;q=1"])
def test_other_encodings_are_not_unpacked(encoding: str) -> None:
    """An encoding that is not known, or several, is a 415 that names those there are."""
    answer = CLASSIFIER(event(headers={"content-encoding": encoding}), None)

    assert answer["statusCode"] == 415
    assert "gzip, deflate" in error_of(answer)


GZIPPED = gzip.compress(json.dumps(record()).encode(), mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("gzip", record(), "the body is not gzip"),
        ("GZIP", b"xyz", "the body is not gzip"),
        ("deflate", GZIPPED, "the body is not deflate"),
        ("gzip", GZIPPED[:-1], "not one whole gzip stream"),
        ("gzip", GZIPPED[:20], "not one whole gzip stream"),
        ("gzip", GZIPPED + b"x", "not one whole gzip stream"),
        ("gzip", GZIPPED[:-8] + bytes(8), "the body is not gzip"),
        ("gzip", gzip.compress(GZIPPED, mtime=0), "not JSON"),
        ("gzip", b"", "empty"),
    ],
)
def test_broken_compression(encoding: str, body: Any, message: str) -> None:
    """A body that is not what its Content-Encoding says is a 400."""
    answer = CLASSIFIER(event(body=body, headers={"content-encoding": encoding}), None)

    assert answer["statusCode"] == 400
    assert message in error_of(answer)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bombs_are_not_unpacked(encoding: str) -> None:
    """What would be larger than a body may be is a 413, in little time and memory."""
    machine = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join(machine.compress(bytes(1 << 20)) for _ in range(1024)) + machine.flush()
    assert len(bomb) < 2_000_000
    tracemalloc.start()
    try:
        answer = CLASSIFIER.direct(event(body=bomb, headers={"content-encoding": encoding}), None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert answer["statusCode"] == 413
    assert peak < 32 << 20


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_content_type_is_not_looked_at(content_type: str) -> None:
    """JSON under a form's type, as curl -d sends it, is answered all the same."""
    answer = CLASSIFIER(event(headers={"content-type": content_type}), None)

    assert answer["statusCode"] == 200


@pytest.mark.parametrize("encoded", [False, True])
def test_body_at_the_limit(*, encoded: bool) -> None:
    """A body of exactly the limit is read; one byte more is a 413 that points to batch."""
    body = json.dumps(record()).encode()

    at, over = (
        CLASSIFIER(event(body=sent if encoded else sent.decode()), None)
        for sent in (body.ljust(LIMIT), body.ljust(LIMIT + 1))
    )

    assert at["statusCode"] == 200
    assert over["statusCode"] == 413
    assert "larger than 6,000,000 bytes" in error_of(over)
    assert "batch" in error_of(over)


@pytest.mark.parametrize("text", ["a", '"', "\\", "é", "漢", "🙂", "\x7f", "\u2028"])
def test_answer_at_the_limit_of_lambda(text: str) -> None:
    """The longest answer that Lambda carries, as its runtime writes it, passes; one more is 413."""

    def made(length: int, more: int) -> dict[str, Any]:
        answer = Answer((text * length + "a" * more).encode())
        return response(answer, version="3", identity="id")

    each = len(to_json(text)) - 2
    # The count of digits in content-length is the same for all of these.
    room = RESPONSE_LIMIT - len(to_json(made(RESPONSE_LIMIT // each - 1000, 0)))
    length, more = RESPONSE_LIMIT // each - 1000 + room // each, room % each

    longest = made(length, more)
    assert len(to_json(longest)) == RESPONSE_LIMIT
    assert too_long(longest) is longest
    refusal = too_long(made(length, more + 1))
    assert refusal["statusCode"] == 413
    assert "larger than 6,291,556 bytes" in error_of(refusal)


TEXTS = {"INT8": [0, 0], "UINT64": [0, 0], "BOOL": [True, True], "FP32": [0, 0]}


@pytest.mark.parametrize(
    ("called", "path", "body"),
    [
        (CLASSIFIER, PREDICT, {"records": [{"a": 1, "b": 2, "c": 3}] * 90_000}),
        # A third of the limit in UTF-8, and over it as Lambda's runtime escapes it.
        (TENSORS, INFER, identity(**TEXTS, BYTES=["🙂" * 530_000, ""])),
        (TENSORS, INFER, identity(**TEXTS, BYTES=['"' * 1_600_000, ""])),
    ],
    ids=["rows", "escapes", "quotes"],
)
def test_answer_above_the_limit_of_lambda(called: Any, path: str, body: dict[str, Any]) -> None:
    """A request whose answer Lambda would refuse is a 413 that points to batch, never a 502."""
    answer = called(event(path=path, body=json.dumps(body, ensure_ascii=False)), None)

    assert answer["statusCode"] == 413
    assert "batch" in error_of(answer)
    assert answer["headers"]["x-model-version"] == "3"


def bomb() -> bytes:
    """Return 1 GiB of spaces in 1 MiB of gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first, again = (
        packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return first + again * 1023 + packer.flush()


def many(**changes: Any) -> Callable[[], Any]:
    return lambda: {"inputs": [{**tensor()["inputs"][0], **changes}]}


# Its text says that it has four thousand million bytes.
LYING = json.dumps(
    {
        "inputs": [
            one if one["name"] != "in_BYTES"
            else {"name": "in_BYTES", "datatype": "BYTES", "shape": [1, 2],
                  "parameters": {"binary_data_size": 8}}
            for one in identity()["inputs"]
        ]
    }
).encode()  # fmt: skip


GZIP, CHAINED = {"content-encoding": "gzip"}, {"content-encoding": "gzip, br, gzip"}
Sent = tuple[Any, str, Callable[[], Any], dict[str, str], int, str]

# model, path, what makes the body, headers, status, what the message says
LARGE: dict[str, Sent] = {
    "gzip bomb": (CLASSIFIER, PREDICT, bomb, GZIP, 413, "larger than 6,000,000 bytes"),
    "gzip bomb unnamed": (CLASSIFIER, PREDICT, bomb, {}, 400, "not JSON"),
    "chained encodings": (CLASSIFIER, PREDICT, bomb, CHAINED, 415, "must be one of gzip, deflate"),
    "6 MB of brackets": (CLASSIFIER, PREDICT, lambda: b"[" * LIMIT, {}, 400, "not JSON"),
    "6 MB of objects": (CLASSIFIER, PREDICT, lambda: b'{"a":' * 10**6, {}, 400, "not JSON"),
    "6 MB of digits": (CLASSIFIER, PREDICT, lambda: raw("9" * 5_900_000), {}, 400, "not JSON"),
    "6 MB of decimals": (
        CLASSIFIER, PREDICT, lambda: raw("0." + "1" * 5_900_000 + "e999"), {}, 400, "not JSON",
    ),
    "6 MB of zeros": (CLASSIFIER, PREDICT, lambda: raw("[" + "0," * 2_900_000 + "0]"), {}, 400,
        "row 0, field 'c': expected a number"),
    "1,000 levels": (CLASSIFIER, PREDICT, lambda: raw("[" * 1000 + "]" * 1000), {}, 400,
        "row 0, field 'c': expected a number"),
    "a name of 5 MB": (CLASSIFIER, PREDICT, lambda: record(**{"x" * 5_000_000: 1}), {}, 400,
        "row 0: unknown field"),
    "a text of 5 MB": (CLASSIFIER, PREDICT, lambda: record(c="x" * 5_000_000), {}, 400,
        "row 0, field 'c': expected a number"),
    "a key of 5 MB": (CLASSIFIER, PREDICT, lambda: {"x" * 5_000_000: 1}, {}, 400, "must be"),
    "100,000 fields": (CLASSIFIER, PREDICT, lambda: record(**{f"x{n}": 1 for n in range(10**5)}),
        {}, 400, "row 0: unknown field"),
    "500,000 empty rows": (CLASSIFIER, PREDICT, lambda: {"records": [{}] * 500_000}, {}, 400,
        "row 0: missing field"),
    "the last row is wrong": (CLASSIFIER, PREDICT,
        lambda: {"records": [*record()["records"] * 99_999, 1]}, {}, 400, "row 99999 is not"),
    "100,000 inputs": (CLASSIFIER, INFER,
        lambda: {"inputs": [{"name": f"x{n}"} for n in range(10**5)]}, {}, 400, "unknown input"),
    "100,000 times one input": (CLASSIFIER, INFER,
        lambda: {"inputs": [{"name": "X"}] * 10**5}, {}, 400, "given twice"),
    "100,000 outputs": (CLASSIFIER, INFER,
        lambda: {**tensor(), "outputs": [{"name": f"x{n}"} for n in range(10**5)]}, {}, 400,
        "unknown output"),
    "an input's name of 5 MB": (CLASSIFIER, INFER, many(name="x" * 5_000_000), {}, 400,
        "unknown input"),
    "a datatype of 5 MB": (CLASSIFIER, INFER, many(datatype="x" * 5_000_000), {}, 400,
        "`datatype` must be 'FP32'"),
    "a rank of a million": (CLASSIFIER, INFER, many(shape=[1] * 10**6), {}, 400, "`shape` must"),
    "a shape of 2^64": (CLASSIFIER, INFER, many(shape=[2**62, 4]), {}, 400, "`shape`"),
    "a shape that wraps": (CLASSIFIER, INFER, many(shape=[2**63 - 1, 3]), {}, 400, "`shape`"),
    "a product of 2^64": (TENSORS, INFER, lambda: wrapping([2**63, 2]), {}, 400, "`shape`"),
    "a product that wraps to 2": (TENSORS, INFER, lambda: wrapping([2**63 + 1, 2]), {}, 400,
        "`shape`"),
    "rows of 2^40": (CLASSIFIER, INFER, many(shape=[2**40, 3]), {}, 400, "`shape` is too large"),
    "1,000 levels of data": (CLASSIFIER, INFER,
        lambda: b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1,3],"data":'
        + b"[" * 1000 + b"]" * 1000 + b"}]}", {}, 400, "level 1 of nesting"),
    "a million too many": (CLASSIFIER, INFER, many(data=[1] * 10**6), {}, 400, "does not fill"),
    "a lone surrogate in a tensor": (TENSORS, INFER,
        lambda: identity(BYTES=["\ud800", ""]), {}, 400, "not JSON"),
    "infinity in a tensor": (TENSORS, INFER, lambda: identity(FP32=[math.inf, 1]), {}, 400,
        "not JSON"),
    "binary BYTES of 2^32 - 1": (TENSORS, INFER, lambda: LYING + b"\xff" * 8,
        {"inference-header-content-length": str(len(LYING))}, 400, "in_BYTES"),
    "a header's length that lies": (TENSORS, INFER, lambda: b"{}",
        {"inference-header-content-length": "99999999999999999999"}, 400,
        "is not how much of the body is JSON"),
}  # fmt: skip


def wrapping(shape: list[int]) -> dict[str, Any]:
    body = identity()
    body["inputs"][0]["shape"] = shape
    return body


def send_large(name: str) -> tuple[dict[str, Any], float]:
    """Return the answer to a large request, and the seconds that this process worked for it."""
    called, path, body, headers, *_ = LARGE[name]
    sent = event(path=path, body=body(), headers=headers)
    started = time.process_time()
    return called.direct(sent, None), time.process_time() - started


@pytest.mark.parametrize("name", LARGE)
def test_large_hostile_request(name: str) -> None:
    """What is large, or claims to be, is refused in a second, by a short message."""
    *_, status, message = LARGE[name]

    answer, seconds = send_large(name)

    assert answer["statusCode"] == status
    assert message in error_of(answer)
    assert len(error_of(answer)) < 1000
    assert seconds < 1


def test_memory_after_hostile_requests() -> None:
    """All hostile requests, and then once more, leave the process as large as it was."""

    def send_all() -> None:
        for path, body, _ in REQUESTS.values():
            CLASSIFIER.direct(event(path=path, body=body), None)
        for name in LARGE:
            send_large(name)

    send_all()
    before = resident()
    send_all()

    assert resident() - before <= 32 << 20


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


EVENTS: dict[str, dict[str, Any]] = {
    "body is not base64": {"isBase64Encoded": True, "body": "é"},
    "body has a lone surrogate": {"isBase64Encoded": False, "body": "\ud800"},
    "header has a lone surrogate": {"headers": {"x": "\ud800"}},
    "host with two colons": {"headers": {"host": "a:b:c"}},
    "port is no number": {"headers": {"host": "a", "x-forwarded-port": "x"}},
    "headers is a list": {"headers": ["x"]},
    "no request context": {"requestContext": {}},
    "is not in base64": {"isBase64Encoded": True, "body": "a"},
    "body is a list": {"body": ["{}"]},
    "request context is a list": {"requestContext": []},
    "http is null": {"requestContext": {"http": None}},
    "request context is null": {"requestContext": None},
    "path is null": {"requestContext": {"http": {"method": "GET", "path": 5, "sourceIp": ""}}},
}


@pytest.mark.parametrize("name", EVENTS)
def test_malformed_event(name: str) -> None:
    """An event that cannot be turned into a request is a 400, not an error of the function."""
    odd = {**event(), "body": "{}", **EVENTS[name]}

    # The direct way does not look at the host, which makes no difference to the model.
    for answer in (CLASSIFIER.direct(odd, None), CLASSIFIER.framework(odd, None)):
        assert answer["statusCode"] == 400
        assert error_of(answer)


def test_event_without_headers() -> None:
    """`headers: null` is a request without headers."""
    answer = CLASSIFIER({**event(), "headers": None}, None)

    assert answer["statusCode"] == 200
