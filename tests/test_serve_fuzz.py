"""Thousands of random requests: none may give a 5xx, an exception, or an answer that is no JSON."""

import json
import random
from typing import Any

import fuzz
import pytest
from binary_cases import packed, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_cases import error_of, event, gateway

PATHS = ("/predict", "/v2/models/churn/infer")
GATEWAYS = {name: gateway(name) for name in ("classifier", "mixed", "tensors")}

GOOD: dict[str, dict[str, Any]] = {
    "classifier": {
        "/predict": {"records": [{"a": 1.5, "b": 2, "c": -0.5}, {"a": 0, "b": 1, "c": 1e30}]},
        PATHS[1]: {
            "id": "7",
            "inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3] * 2}],
            "outputs": [{"name": "label"}],
        },
    },
    "mixed": {
        "/predict": {
            "records": [{"age": 30, "income": None, "plan": "gold", "visits": 2}],
        },
        PATHS[1]: {
            "inputs": [
                {"name": "age", "datatype": "FP32", "shape": [1, 1], "data": [[1]]},
                {"name": "income", "datatype": "FP32", "shape": [1, 1], "data": [None]},
                {"name": "plan", "datatype": "BYTES", "shape": [1, 1], "data": ["é"]},
                {"name": "visits", "datatype": "INT64", "shape": [1, 1], "data": [2]},
            ]
        },
    },
}

TOKENS = [
    b"NaN", b"1e999", b"-0", b"null", b"true", b'"\\ud800"', b"\x00", b"\xff", b"[", b"]", b"{}",
    b"-1", b"9223372036854775808", b"1e38", b'"', b"\\", b",", b"18446744073709551616", b"[[[]]]",
]  # fmt: skip


def check(name: str, path: str, body: Any) -> int:
    answer = GATEWAYS[name](event(path=path, body=body), None)
    status: int = answer["statusCode"]
    assert status == 200 or 400 <= status < 500, (status, body)
    if status == 200:
        json.loads(answer["body"])
    else:
        error_of(answer)
    return status


def mutate(good: bytes, chance: random.Random) -> bytes:
    """Flip, drop, repeat or insert at one to four places."""
    body = bytearray(good)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(5):
            case 0 if at < len(body):
                body[at] ^= 1 << chance.randrange(8)
            case 1:
                del body[at : at + chance.randint(1, 8)]
            case 2:
                body[at:at] = body[at : at + chance.randint(1, 30)]
            case 3:
                body[at : at + chance.randint(0, 3)] = chance.choice(TOKENS)
            case _:
                body[at:at] = chance.randbytes(chance.randint(1, 3))
    return bytes(body)


def test_requests_by_the_document() -> None:
    """A slice of `make fuzz`: each answer is one that the OpenAPI document lists."""
    result = fuzz.schema_driven(1200, seed=20260312)

    assert result["found"] == []
    assert result["statuses"][200] > 100
    assert result["statuses"][400] > 100


def test_events_gone_wrong() -> None:
    """A slice of `make fuzz`: an event of API Gateway with flaws is 200 or 4xx."""
    result = fuzz.events_gone_wrong(3000, seed=20260312)

    assert result["found"] == []
    assert {200, 400, 404, 405} <= set(result["statuses"])


@pytest.mark.parametrize("name", sorted(GOOD))
def test_the_judge_of_answers(name: str) -> None:
    """An answer that the document does not allow is found."""
    asked = event(method="GET", path="/openapi.json")
    document = fuzz.Document(GATEWAYS[name].direct(asked, None), random.Random(7))
    operations = json.loads(GATEWAYS[name].direct(asked, None)["body"])["paths"]
    predict = operations["/predict"]["post"]

    assert not document.violation(predict, {"statusCode": 400, "body": '{"error": "x"}'})
    assert "error" in document.violation(predict, {"statusCode": 400, "body": '{"detail": "x"}'})
    assert "502" in document.violation(predict, {"statusCode": 502, "body": "{}"})


@pytest.mark.parametrize("name", GOOD)
def test_mutated_bytes(name: str) -> None:
    """3,000 broken variants of good requests: 4xx, or 200 where they are still good."""
    chance = random.Random(20260312)
    seen: set[int] = set()

    for path, good in GOOD[name].items():
        assert check(name, path, good) == 200
        encoded = json.dumps(good).encode()
        seen.update(check(name, path, mutate(encoded, chance)) for _ in range(1500))

    assert seen == {200, 400}


def test_mutated_binary_requests() -> None:
    """1,500 broken variants of a good binary request: 4xx, or 200 where they are still good."""
    chance = random.Random(20260312)
    rows = packed("FP32", [30.0]), packed("FP32", [1.0]), packed("BYTES", ["gold"])
    names = ("age", "FP32"), ("income", "FP32"), ("plan", "BYTES")
    inputs = [(*name, (1, 1), raw) for name, raw in zip(names, rows, strict=True)]
    body, headers = request([*inputs, ("visits", "INT64", (1, 1), packed("INT64", [2]))])
    seen: set[int] = set()

    for _ in range(1500):
        asked = event(path=PATHS[1], body=mutate(body, chance), headers=headers)
        answer = GATEWAYS["mixed"](asked, None)
        seen.add(answer["statusCode"])
        if answer["statusCode"] != 200:
            error_of(answer)

    assert seen == {200, 400}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["X", "FP32", "label", "in_BYTES", "BYTES"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "records inputs outputs name shape data datatype parameters id a b c".split()
            )
            | st.text(max_size=8),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)

TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["X", "in_FP32", "in_BYTES", "age"]) | JSON,
        "datatype": st.sampled_from(["FP32", "BYTES", "INT64"]) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | st.just([1, 3]) | JSON,
        "data": st.lists(st.floats(width=32) | st.integers() | st.none(), max_size=6) | JSON,
        "parameters": JSON,
    },
)

BODY = (
    JSON
    | st.fixed_dictionaries(
        {"inputs": st.lists(TENSOR, max_size=3)}, optional={"outputs": JSON, "id": JSON}
    )
    | st.fixed_dictionaries(
        {"records": st.lists(st.dictionaries(st.sampled_from("abcd"), JSON), max_size=3)}
    )
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    body=BODY | st.binary(max_size=40),
    path=st.sampled_from(PATHS),
    name=st.sampled_from(sorted(GATEWAYS)),
)
def test_generated_bodies(body: Any, path: str, name: str) -> None:
    """Any JSON value, in or near the form of a request, gives 200 or 4xx."""
    check(name, path, body)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "HEAD"]) | st.text(max_size=5),
    path=st.text(max_size=12).map(lambda tail: f"/v2/models/churn/{tail}") | st.text(max_size=12),
    headers=st.dictionaries(st.text(max_size=6), st.text(max_size=6) | st.none(), max_size=3),
)
def test_generated_paths_and_headers(
    method: str, path: str, headers: dict[str, str | None]
) -> None:
    """No method, path or header gives an exception or a 5xx."""
    answer = GATEWAYS["classifier"](event(method=method, path=path, headers=headers), None)

    assert answer["statusCode"] < 500
