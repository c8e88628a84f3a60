"""The Open Inference Protocol's extensions: binary tensors, classification, compressed bodies.

Each event goes by the direct way and by the web framework, which have to answer the same bytes.
"""

import base64
import gzip
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from binary_cases import DTYPES, framed, outputs, packed, request
from serve_cases import BothWays, error_of, event, gateway, model

from fnmodel.binary import without_halves
from fnmodel.release.probe import infer_event
from fnmodel.serve.endpoint import Call
from fnmodel.serve.model import Model
from fnmodel.serve.service import Service

INFER = "/v2/models/churn/infer"
CLASSIFIER, MIXED, TENSORS, EVERY = map(gateway, ("classifier", "mixed", "tensors", "every"))
BINARY = {"binary_data_output": True}
ROW = packed("FP32", [1.5, 2, -0.5])

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    **{f"INT{bits}": [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": [0, 2**bits - 1] for bits in (8, 16, 32, 64)},
    "FP16": [65504.0, -0.5], "FP32": [0.5, -16777215.0], "FP64": [0.1, 1.7e308],
    "BYTES": ["é 模型 😀", ""],
}  # fmt: skip


def body_of(answer: Mapping[str, Any]) -> bytes:
    body: str = answer["body"]
    return base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()


def ask(
    way: BothWays, body: Any, headers: Mapping[str, str] | None = None, path: str = INFER
) -> dict[str, Any]:
    return way(event(path=path, body=body, headers=dict(headers or {})), None)


def values(answer: Mapping[str, Any]) -> dict[str, list[Any]]:
    assert answer["statusCode"] == 200, answer["body"]
    assert answer["headers"]["content-length"] == str(len(body_of(answer)))
    return outputs(body_of(answer), answer["headers"])


def identity(kinds: Mapping[str, list[Any]], **more: Any) -> tuple[bytes, dict[str, str]]:
    return request(
        [(f"in_{kind}", kind, (1, 2), packed(kind, data)) for kind, data in kinds.items()], **more
    )


@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_in_binary(binary: bool) -> None:
    """The ends of each datatype's range come back as they went in, in binary and in JSON."""
    answer = ask(EVERY, *identity(VALUES, parameters={"binary_data_output": binary}))

    assert values(answer) == {f"out_{kind}": data for kind, data in VALUES.items()}
    assert answer["isBase64Encoded"] == binary
    assert ("inference-header-content-length" in answer["headers"]) == binary
    kind = "application/octet-stream" if binary else "application/json"
    assert answer["headers"]["content-type"] == kind


def test_the_lean_way_takes_binary_tensors() -> None:
    """Without FP16, small binary requests are read and answered without numpy."""
    kinds = {kind: VALUES[kind] for kind in ("FP32", "INT8", "UINT64", "BOOL", "BYTES")}

    answer = ask(TENSORS, *identity(kinds, parameters=BINARY))

    assert values(answer) == {f"out_{kind}": data for kind, data in kinds.items()}


@pytest.mark.parametrize("binary", [True, False])
def test_some_inputs_and_outputs_in_binary(binary: bool) -> None:
    """Each input and each output is by itself in binary or in JSON; an output's word wins."""
    kinds = ("FP32", "INT8", "UINT64", "BOOL", "BYTES")
    parts = {kind: packed(kind, VALUES[kind]) for kind in kinds[::2]}
    inputs = [
        {"name": f"in_{kind}", "datatype": kind, "shape": [1, 2]}
        | (
            {"parameters": {"binary_data_size": len(parts[kind])}}
            if kind in parts
            else {"data": VALUES[kind]}
        )
        for kind in kinds
    ]
    asked = [
        {"name": "out_BYTES", "parameters": {"binary_data": not binary}},
        {"name": "out_FP32"},
    ]

    answer = ask(
        TENSORS,
        *framed(
            {"inputs": inputs, "outputs": asked, "parameters": {"binary_data_output": binary}},
            *parts.values(),
        ),
    )

    assert values(answer) == {"out_BYTES": VALUES["BYTES"], "out_FP32": VALUES["FP32"]}
    head = int(answer["headers"]["inference-header-content-length"])
    described = json.loads(body_of(answer)[:head])["outputs"]
    assert ["parameters" in item for item in described] == [not binary, binary]


def test_binary_and_json_agree() -> None:
    """A model says the same, whichever way a request and its answer are written."""
    rows = np.random.default_rng(7).normal(size=(500, 3)).astype("f4")
    data = {"name": "X", "datatype": "FP32", "shape": [500, 3], "data": rows.ravel().tolist()}
    binary = request([("X", "FP32", (500, 3), rows.tobytes())], parameters=BINARY)

    plain = values(ask(CLASSIFIER, {"inputs": [data]}))
    exact = values(ask(CLASSIFIER, *binary))

    assert exact["label"] == plain["label"]
    assert np.array_equal(np.float32(exact["probabilities"]), np.float32(plain["probabilities"]))


@pytest.mark.parametrize("rows", [0, 1, 100, 370_000])
def test_batches_of_any_size(rows: int) -> None:
    """From no row at all up to what a body may hold, wherever the tensor begins in the body."""
    data = np.full((rows, 3), 2.5, "<f4")
    asked = [{"name": "probabilities"}]

    for name in ("", "x", "xy", "xyz"):
        binary = request(
            [("X", "FP32", (rows, 3), data.tobytes())], id=name, outputs=asked, parameters=BINARY
        )
        answer = ask(CLASSIFIER, *binary)
        assert len(values(answer)["probabilities"]) == rows * 2


def test_not_a_number_in_binary() -> None:
    """Models without features get NaN and infinities as they are; JSON has null for them."""
    odd = [math.nan, -math.inf]
    kinds = {kind: VALUES[kind] for kind in ("INT8", "UINT64", "BOOL", "BYTES")} | {"FP32": odd}
    asked = [{"name": "out_FP32"}]

    exact = values(ask(TENSORS, *identity(kinds, outputs=asked, parameters=BINARY)))["out_FP32"]
    plain = values(ask(TENSORS, *identity(kinds, outputs=asked)))["out_FP32"]

    assert packed("FP32", exact) == packed("FP32", odd)
    assert plain == [None, None]


MIXED_ROW: dict[str, tuple[str, Any]] = {
    "age": ("FP32", 30), "income": ("FP32", 1.0), "plan": ("BYTES", "gold"), "visits": ("INT64", 2),
}  # fmt: skip


def mixed(**changes: Any) -> dict[str, Any]:
    return ask(
        MIXED,
        *request(
            [
                (name, kind, (1, 1), packed(kind, [changes.get(name, value)]))
                for name, (kind, value) in MIXED_ROW.items()
            ]
        ),
    )


def test_nan_is_a_missing_value() -> None:
    """Where a feature may be missing, NaN says so in binary as null does in JSON."""
    assert values(mixed()) == {"variable": [42.0]}
    assert values(mixed(income=math.nan)) == {"variable": [1042.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": math.nan}, "row 0, field 'age': a value is required, got null"),
        ({"age": math.inf}, "row 0, field 'age': inf is not a finite number"),
        ({"income": -math.inf}, "row 0, field 'income': -inf is not a finite number"),
        ({"plan": "a\x00b"}, "row 0, field 'plan': not a valid text"),
        ({"plan": b"\xff\xfe"}, "input 'plan', element 0: not UTF-8"),
    ],
)
def test_values_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    """Binary values are judged as those in JSON are."""
    answer = mixed(**change)

    assert (answer["statusCode"], error_of(answer)) == (400, message)


def one(raw: bytes, *, size: Any = None, shape: Any = (1, 3), **more: Any) -> tuple[Any, Any]:
    tensor = {
        "name": "X", "datatype": "FP32", "shape": list(shape),
        "parameters": {"binary_data_size": len(raw) if size is None else size}, **more,
    }  # fmt: skip
    return framed({"inputs": [tensor]}, raw)


BROKEN: dict[str, tuple[tuple[Any, Any], str]] = {
    "too short for the shape": (one(ROW[:-4]), "3 elements of FP32 are 12 bytes, not 8"),
    "too long for the shape": (one(ROW + ROW), "3 elements of FP32 are 12 bytes, not 24"),
    "size over the body": (one(ROW, size=13), "`binary_data_size` is 13, and 12 bytes are left"),
    "size beyond 64 bits": (one(ROW, size=2**63), "12 bytes are left"),
    "size under the body": (one(ROW, size=8), "4 bytes behind the JSON belong to no input"),
    "size is negative": (one(ROW, size=-12), "`binary_data_size` is not an integer"),
    "size is a fraction": (one(ROW, size=12.0), "`binary_data_size` is not an integer"),
    "size is true": (one(ROW, size=True), "`binary_data_size` is not an integer"),
    "size is a text": (one(ROW, size="12"), "`binary_data_size` is not an integer"),
    "data as well": (one(ROW, data=[1, 2, 3]), "give `data` or `binary_data_size`, not both"),
    "shape over 64 bits": (one(b"", shape=(2**62, 3)), "`shape` is too large"),
    "surplus": (one(ROW + b"x", size=12), "1 bytes behind the JSON belong to no input"),
    "head is no number": ((b"{}", {"Inference-Header-Content-Length": "x"}), "how much of the"),
    "head is negative": ((b"{}", {"Inference-Header-Content-Length": "-1"}), "how much of the"),
    "head over the body": ((b"{}", {"Inference-Header-Content-Length": "3"}), "how much of the"),
    "head of many digits": (
        (b"{}", {"Inference-Header-Content-Length": "1" * 5000}),
        "how much of the",
    ),
    "head is nothing": ((b"{}", {"Inference-Header-Content-Length": "0"}), "the body is empty"),
    "head cuts the JSON": ((b"{}", {"Inference-Header-Content-Length": "1"}), "not JSON"),
    "no head": ((one(ROW)[0], {}), "not JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_binary_requests(name: str) -> None:
    """The answer is a 400 that says what does not fit."""
    (body, headers), message = BROKEN[name]

    answer = ask(CLASSIFIER, body, headers)

    assert answer["statusCode"] == 400
    assert message in error_of(answer)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (packed("BYTES", ["a"]), "`shape` takes 2 elements, and there are 1"),
        (packed("BYTES", ["a", "b", "c"]), "there are bytes behind its 2 elements"),
        (packed("BYTES", ["a", "b"]) + b"\x00", "there are bytes behind its 2 elements"),
        (packed("BYTES", ["a"]) + b"\x01\x00", "element 1: longer than what is left"),
        (packed("BYTES", ["a"]) + b"\xff\xff\xff\xff", "element 1: longer than what is left"),
        (packed("BYTES", ["a", b"\x80"]), "element 1: not UTF-8"),
        (packed("BYTES", ["a", "\x00"]), "element 1: not a valid text"),
        (b"", "`shape` takes 2 elements, and there are 0"),
    ],
)
def test_broken_texts(raw: bytes, message: str) -> None:
    """The lengths in a BYTES tensor have to fill it, with as many texts as its shape has."""
    kinds = {kind: VALUES[kind] for kind in ("FP32", "INT8", "UINT64", "BOOL")}
    inputs = [(f"in_{kind}", kind, (1, 2), packed(kind, data)) for kind, data in kinds.items()]

    answer = ask(TENSORS, *request([*inputs, ("in_BYTES", "BYTES", (1, 2), raw)]))

    assert answer["statusCode"] == 400
    assert message in error_of(answer)
    assert "in_BYTES" in error_of(answer)


def test_a_boolean_is_a_byte_of_zero_or_one() -> None:
    """C would take any other byte for true, and for different kinds of true."""
    kinds = {kind: VALUES[kind] for kind in ("FP32", "INT8", "UINT64", "BYTES")}
    inputs = [(f"in_{kind}", kind, (1, 2), packed(kind, data)) for kind, data in kinds.items()]

    answer = ask(TENSORS, *request([*inputs, ("in_BOOL", "BOOL", (1, 2), b"\x00\x02")]))

    assert answer["statusCode"] == 400
    assert "a BOOL is a byte of 0 or 1" in error_of(answer)


def test_halves_only_in_binary() -> None:
    """FP16 has no form in JSON: such an input is a 400 that says what to do."""
    inputs = [
        {"name": f"in_{kind}", "datatype": kind, "shape": [1, 2], "data": data}
        for kind, data in VALUES.items()
    ]

    answer = ask(EVERY, {"inputs": inputs})

    assert answer["statusCode"] == 400
    assert error_of(answer) == "input 'in_FP16': JSON cannot carry FP16; send it in binary"


def test_the_probe_of_a_model_of_halves() -> None:
    """What proves a model is written in JSON; its FP16 inputs travel in binary."""
    given = VALUES | {"FP16": [[None, -0.5]]}
    probe = {
        "inputs": [
            {"name": f"in_{kind}", "datatype": kind, "shape": [1, 2], "data": data}
            for kind, data in given.items()
        ]
    }

    answer = EVERY(infer_event("churn", probe), None)

    assert values(answer)["out_FP16"] == [None, -0.5]
    assert without_halves({"inputs": probe["inputs"][1:2]})[1] is None


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("asked", "found"), [(1, 1), (2, 2), (9, 2)])
def test_classification(binary: bool, asked: int, found: int) -> None:
    """The best classes of each row, with value, index and label; never more than there are."""
    rows = [[1.5, 2, -0.5], [0, 0, 9]]
    inputs = [{"name": "X", "datatype": "FP32", "shape": [2, 3], "data": rows}]
    wanted = [
        {"name": "probabilities", "parameters": {"classification": asked, "binary_data": binary}}
    ]
    scores = values(ask(CLASSIFIER, {"inputs": inputs}))["probabilities"]

    texts = values(ask(CLASSIFIER, {"inputs": inputs, "outputs": wanted}))["probabilities"]

    assert len(texts) == 2 * found
    for row, classes in ((0, texts[:found]), (1, texts[found:])):
        expected = sorted(zip(scores[2 * row :], (0, 1), ("no", "yes"), strict=False), reverse=True)
        split = [text.split(":") for text in classes]
        assert [(float(v), int(at), label) for v, at, label in split] == expected[:found]


def test_classification_of_what_has_no_labels() -> None:
    """Other outputs have no labels; NaN comes last, and equal values in their order."""
    data = [[2.0, 1.0], [math.nan, 1.0], [3.0, 3.0]]
    kinds = {"INT8": [1, 2], "UINT64": [2, 1], "BOOL": [True, True], "BYTES": ["", ""]}
    inputs = [
        (f"in_{kind}", kind, (3, 2), packed(kind, values * 3)) for kind, values in kinds.items()
    ]
    inputs.append(("in_FP32", "FP32", (3, 2), np.array(data, "f4").tobytes()))
    asked = [
        {"name": name, "parameters": {"classification": 2}} for name in ("out_FP32", "out_INT8")
    ]

    found = values(ask(TENSORS, *request(inputs, outputs=asked)))

    assert found["out_FP32"] == ["2.0:0", "1.0:1", "1.0:1", "nan:0", "3.0:0", "3.0:1"]
    assert found["out_INT8"] == ["2:1", "1:0"] * 3


def test_classification_without_rows() -> None:
    """No rows have no classes; the shape says how many there would be."""
    inputs = [{"name": "X", "datatype": "FP32", "shape": [0, 3], "data": []}]
    asked = [{"name": "probabilities", "parameters": {"classification": 1}}]

    answer = ask(CLASSIFIER, {"inputs": inputs, "outputs": asked})

    (output,) = json.loads(answer["body"])["outputs"]
    assert output == {"name": "probabilities", "datatype": "BYTES", "shape": [0, 1], "data": []}


PARAMETERS = {"sequence_id": 7, "priority": 0.5, "content_type": "np", "flag": True, "none": None}


def test_parameters_that_mean_nothing_here() -> None:
    """Parameters of other servers are allowed on everything, as the protocol leaves them open."""
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    asked = [{"name": "label", "parameters": PARAMETERS}]

    answer = ask(
        CLASSIFIER,
        {
            "parameters": PARAMETERS, "inputs": [{**tensor, "parameters": PARAMETERS}],
            "outputs": asked,
        },
    )  # fmt: skip

    assert list(values(answer)) == ["label"]


@pytest.mark.parametrize("path", ["/predict", INFER])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP", "identity", ""])
def test_compressed_requests(path: str, encoding: str) -> None:
    """A body in gzip or deflate is answered as the plain one is."""
    body = {
        "/predict": {"records": [{"a": 1, "b": 2, "c": 3}]},
        INFER: {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]},
    }[path]
    raw = json.dumps(body).encode()
    if encoding.lower().endswith("gzip"):
        raw = gzip.compress(raw)
    elif encoding == "deflate":
        raw = zlib.compress(raw)

    answer = ask(CLASSIFIER, raw, {"content-encoding": encoding}, path)

    assert answer["statusCode"] == 200
    assert answer["body"] == ask(CLASSIFIER, body, path=path)["body"]


def test_compressed_binary_requests() -> None:
    """The header counts bytes of the body as it was before it was compressed."""
    body, headers = one(ROW)

    answer = ask(CLASSIFIER, gzip.compress(body), headers | {"content-encoding": "gzip"})

    assert values(answer) == values(ask(CLASSIFIER, body, headers))


def large(*, binary: bool = False) -> tuple[bytes, dict[str, str]]:
    rows = np.zeros((2000, 3), "<f4")
    parameters = {"binary_data_output": binary}
    return request([("X", "FP32", rows.shape, rows.tobytes())], parameters=parameters)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0.5, br", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("*", "gzip"),
        ("gzip; q=0.0, *;q=0", None),
        ("br, zstd", None),
        ("identity", None),
        ("", None),
    ],
)
def test_compressed_answers(accepted: str, encoding: str | None, binary: bool) -> None:
    """A large answer is compressed for who takes that, and is the same inside."""
    body, headers = large(binary=binary)
    plain = ask(CLASSIFIER, body, headers)

    answer = ask(CLASSIFIER, body, headers | {"accept-encoding": accepted})

    assert answer["headers"].get("content-encoding") == encoding
    assert answer["headers"]["content-length"] == str(len(body_of(answer)))
    raw = body_of(answer)
    if encoding:
        assert answer["headers"]["vary"] == "accept-encoding"
        assert len(raw) * 3 < len(body_of(plain))
        raw = gzip.decompress(raw) if encoding == "gzip" else zlib.decompress(raw)
    assert raw == body_of(plain)


def test_small_answers_are_not_compressed() -> None:
    """Where it would spare nothing, an answer is plain whatever is accepted."""
    body, headers = one(ROW)

    answer = ask(CLASSIFIER, body, headers | {"accept-encoding": "gzip"})

    assert "content-encoding" not in answer["headers"]
    assert values(answer)["label"] == ["no"]


def test_a_binary_answer_over_the_limit_of_lambda() -> None:
    """Base64 counts: an answer that Lambda could not carry is a 413, and fits when compressed."""
    kinds = {kind: VALUES[kind] for kind in ("INT8", "UINT64", "BOOL", "BYTES")}
    inputs = [(f"in_{kind}", kind, (1, 2), packed(kind, data)) for kind, data in kinds.items()]
    inputs.append(("in_FP32", "FP32", (600_000, 2), bytes(4_800_000)))
    body, headers = request(inputs, parameters=BINARY)

    refused = ask(TENSORS, body, headers)
    compressed = ask(TENSORS, body, headers | {"accept-encoding": "gzip"})

    assert refused["statusCode"] == 413
    assert "batch" in error_of(refused)
    assert compressed["statusCode"] == 200
    assert bytes(4_800_000) in gzip.decompress(body_of(compressed))


@pytest.mark.parametrize("kind", sorted(DTYPES))
def test_both_ways_of_each_datatype_are_one(kind: str) -> None:
    """With numpy and without, the same bytes are read and written."""
    loaded = model("every") if kind == "FP16" else model("tensors")
    always = Model(loaded.signature, lambda: loaded.predictor)
    kinds = [tensor.datatype for tensor in loaded.signature.inputs]
    body, headers = identity({name: VALUES[name] for name in kinds}, parameters=BINARY)
    call = Call({"model": "m"}, {k.lower().encode(): v.encode() for k, v in headers.items()}, body)

    answers = [Service(way, "m", "1").infer(call) for way in (loaded, always)]

    assert answers[0] == answers[1]
