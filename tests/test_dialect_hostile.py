"""Hostile requests in each dialect: a 4xx in the words that its clients read, in little time."""

import gzip
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from dialect_cases import CSV, EMBEDDINGS, HANDLERS, INVOCATIONS, JSON, LINES, PREDICT
from serve_cases import event
from test_serve_hostile import bomb, resident

from fnmodel.serve.body import LIMIT

ENDPOINT = "/endpoints/churn/invocations"
ROW = [1, 2, 3]
NAMED = {"a": 1, "b": 2, "c": 3}
SPLIT = {"columns": ["a", "b", "c"], "data": [ROW]}


def split(**changes: Any) -> dict[str, Any]:
    return {"dataframe_split": {**SPLIT, **changes}}


def every_input(value: Any) -> dict[str, Any]:
    return {"inputs": {f"in_{kind}": value for kind in ("FP32", "INT8", "UINT64", "BOOL", "BYTES")}}


def error_of(path: str, answer: dict[str, Any]) -> str:
    """Return the message of an error, after checking the form that the path's clients read."""
    assert answer["headers"]["content-type"] == "application/json"
    body = json.loads(answer["body"])
    if path == EMBEDDINGS:
        assert body["error"]["type"] == "invalid_request_error"
        message = body["error"]["message"]
    elif path == PREDICT:
        assert list(body) == ["error"]
        message = body["error"]
    else:
        message = body["message"]
        assert body["error"] == message
        assert ("error_code" if path == INVOCATIONS else "code") in body
    for leak in ("Traceback", 'File "', "/fnmodel", "/tmp", "site-packages", ".py", "arn:"):
        assert leak not in message
    assert 0 < len(message) < 1000
    found: str = message
    return found


# model, path, body, headers, what the message says; the status is 400.
Case = tuple[str, str, Any, dict[str, str], str]
C, M, T, E = "classifier", "mixed", "tensors", "embedder"


def cases(
    model: str, path: str, headers: dict[str, str], rows: dict[str, tuple[Any, str]]
) -> dict[str, Case]:
    """Return cases that differ in their bodies, and in what is said of them."""
    return {name: (model, path, body, headers, says) for name, (body, says) in rows.items()}


CASES: dict[str, Case] = {
    **cases(C, INVOCATIONS, JSON, {
        "no body": (None, "empty"),
        "an array": ([ROW], "not a JSON object"),
        "no form": ({}, "exactly one of dataframe_split"),
        "two forms": ({**split(), "inputs": [ROW]}, "exactly one of"),
        "another key": ({**split(), "x": 1}, "'x' is none of them"),
        "params is a list": ({**split(), "params": [1]}, "`params` is not"),
        "another function": ({**split(), "params": {"predict_fn": "x"}}, "`predict_fn` must be"),
        "a function of no name": ({**split(), "params": {"predict_fn": [1]}},
            "`predict_fn` must be"),
        "Infinity": (b'{"inputs": [[1, 2, Infinity]]}', "not JSON"),
        "NaN where a value is needed": (b'{"inputs": [[1, 2, NaN]]}',
            "row 0, field 'c': a value is required"),
        "NaN as a key": (b'{NaN: 1}', "not JSON"),
        "NaN, and a text without end": (b'{"inputs": NaN, "x\\', "not JSON"),
        "NaN in a word": (b'{"inputs": xNaNx}', "not JSON"),
        "1e999": (b'{"inputs": [[1, 2, 1e999]]}', "not JSON"),
        "lone surrogate": (rb'{"inputs": [["\ud800", NaN, 1]]}', "not JSON"),
        "split is a list": ({"dataframe_split": [ROW]}, "`dataframe_split` must"),
        "split without data": ({"dataframe_split": {"columns": ["a"]}}, "`dataframe_split` must"),
        "split with more": (split(dtype=1), "unknown field 'dtype'"),
        "a row that is none": (split(data=[5]), "row 0 is not a list"),
        "a short row": (split(data=[ROW, [1]]), "row 1 has 1 values, and there are 3 columns"),
        "columns is a text": (split(columns="abc"), "`columns` is not a list"),
        "columns is a number": (split(columns=3), "`columns` is not a list"),
        "columns is true": (split(columns=True), "`columns` is not a list"),
        "columns of lists": (split(columns=[[], [], []]), "`columns` is not"),
        "a column twice": (split(columns=["a", "b", "a"]), "'a' is given twice"),
        "an index too short": (split(index=[]), "`index` does not name"),
        "an unknown column": (split(columns=["a", "b", "d"]), "row 0: unknown field 'd'"),
        "records is an object": ({"dataframe_records": {}}, "is not a list of"),
        "a record is a list": ({"dataframe_records": [ROW]}, "row 0 is not an"),
        "a list for a number": ({"dataframe_records": [{**NAMED, "a": [1]}]},
            "row 0, field 'a': expected a number, got an array"),
        "instances is a number": ({"instances": 5}, "`instances` is not a list"),
        "instances is null": ({"instances": None}, "`instances` is not a list"),
        "an instance is null": ({"instances": [None]}, "row 0 has 1 values"),
        "too many values": ({"instances": [ROW, [1] * 4]}, "row 1 has 4 values"),
        "two values for one": ({"instances": [{**NAMED, "a": [1, 2]}]},
            "row 0, field 'a': expected a number, got an array"),
        "columns of different lengths": ({"inputs": {"a": [1, 2], "b": [1], "c": [1, 2]}},
            "column 'b' has 1 values, and 'a' 2"),
        "a column is a number": ({"inputs": {"a": [1], "b": 2, "c": [1]}},
            "column 'b' is not a list"),
        "no columns": ({"inputs": {"a": [1]}}, "row 0: missing field 'b', 'c'"),
        "an unknown feature": ({"inputs": {**{n: [1] for n in "abc"}, "d": [1]}},
            "unknown field 'd'"),
        "columns in columns": (b'{"inputs":' + b'{"X":' * 900 + b"1" + b"}" * 901,
            "row 0 has 1 values"),
    }),
    **cases(C, INVOCATIONS, CSV, {
        "no rows of CSV": (b" \n\n", "empty"),
        "a text for a number": (b"a,b,c\n1,2,x\n", "row 0, field 'c': 'x' is not a number"),
        "1_000": (b"a,b,c\n1,2,1_000\n", "'1_000' is not a number"),
        "nan": (b"a,b,c\n1,2,nan\n", "field 'c': nan is not a finite number"),
        "inf": (b"1,2,-inf\n", "field 'c': -inf is not a finite number"),
        "out of range": (b"1,2,1e39\n", "1e+39 is out of range for FP32"),
        "5,000 digits": (b"1,2," + b"9" * 5000, "inf is not a finite number"),
        "an empty field": (b"1,2,\n", "field 'c': a value is required"),
        "a short line": (b"1,2,3\n1,2\n", "row 1 has 2 fields, and 3 are"),
        "a long line": (b"a,b,c\n1,2,3,4\n", "row 0 has 4 fields, and 3 are"),
        "a header twice": (b"a,b,b\n1,2,3\n", "column 'b' is given twice"),
        "a misspelt header": (b"a,b,cc\n1,2,3\n", "unknown field 'cc'"),
        "a header alone": (b"a,b\n", "missing field 'c'"),
        "a quote without end": (b'a,b,c\n1,2,"3\n', "not CSV: line 2"),
        "text behind a quote": (b'a,b,c\n1,2,"3"4\n', "not CSV: line 2"),
        "a field of 200,000": (b"1,2," + b"3" * 200_000, "field larger than"),
        "CSV is not UTF-8": (b"1,2,\xff\n", "not UTF-8"),
    }),
    **cases(M, INVOCATIONS, JSON, {
        "no probabilities": (
            {"inputs": [[1, 2, "x", 3]], "params": {"predict_fn": "predict_proba"}},
            "gives no probabilities"),
    }),
    **cases(T, INVOCATIONS, JSON, {
        "an unknown input": ({"inputs": {"nope": [1]}}, "unknown input 'nope'"),
        "a missing input": ({"inputs": {"in_FP32": [[1, 2]]}}, "missing input 'in_INT8'"),
        "several inputs by none": ({"instances": [[1, 2]]}, "this model has the inputs 'in_FP32'"),
        "an instance of other inputs": ({"instances": [{"in_FP32": [1, 2]}, 5]},
            "row 0: missing input"),
        "DataFrame of tensors": (split(), "row 0: unknown input 'a'"),
    }),
    **cases(T, INVOCATIONS, CSV, {
        "CSV of tensors": (b"1,2\n", "CSV has no place for this model's inputs"),
    }),
    **cases(M, INVOCATIONS, CSV, {
        "NUL in CSV": (b"1,2,a\x00b,3\n", "field 'plan': not a valid text"),
        "an integer over 64 bits": (b"1,2,a,9223372036854775808\n", "is out of range for INT64"),
    }),
    **cases(C, INVOCATIONS, LINES, {
        "a line is no JSON": (b"[1,2,3]\n[1,2", "line 1 is not JSON"),
        "a line is short": (b"[1,2,3]\n[1,2]", "row 1 has 2 values"),
    }),
    **cases(C, ENDPOINT, JSON, {
        "another endpoint's form": ({"records": [NAMED]}, "exactly one of"),
    }),
    **cases(C, ENDPOINT, CSV, {
        "an endpoint's CSV": (b"1,2\n", "row 0 has 2 fields"),
    }),
    **cases(C, PREDICT, JSON, {
        "neither form": ({}, "either `instances` or `inputs`"),
        "both forms": ({"instances": [], "inputs": []}, "either `instances` or"),
        "MLflow's form": (split(), "unknown field 'dataframe_split'"),
        "instances by name": ({"instances": {"a": [1]}}, "`instances` is not a list"),
        "another signature": ({"instances": [], "signature_name": "x"},
            "`signature_name` must be 'serving_default'"),
        "signature is a list": ({"instances": [], "signature_name": []},
            "`signature_name` must be"),
    }),
    **cases(M, PREDICT, JSON, {
        "not base64": ({"instances": [[1, 2, {"b64": "é"}, 3]]}, "`b64` is not"),
        "base64 of a number": ({"instances": [[1, 2, {"b64": 5}, 3]]}, "`b64` is not"),
        "base64 of no text": ({"instances": [[1, 2, {"b64": "/w=="}, 3]]}, "`b64` is not"),
        "deep base64": (b'{"instances": ' + b'[' * 900 + b'{"b64": ""}' + b"]" * 900 + b"}",
            "row 0 has 1 values"),
    }),
    **cases(T, PREDICT, JSON, {
        "ragged tensors": (every_input([[1, 2], [3]]), "at depth 2 must have 2 entries"),
        "flat tensors": (every_input([1, 2]), "expected lists 2 deep, and 1 are"),
        "a deep tensor": (every_input([[[1], [2]]]), "element 0: expected a number"),
    }),
    **cases(C, EMBEDDINGS, JSON, {
        "no embeddings": ({"model": "churn", "input": "a"}, "makes no embeddings"),
    }),
    **cases(E, EMBEDDINGS, JSON, {
        "no input": ({"model": "churn"}, "`input` must be a text"),
        "no texts": ({"model": "churn", "input": []}, "`input` must be a text"),
        "tokens": ({"model": "churn", "input": [1, 2]}, "tokens are not taken"),
        "lists of tokens": ({"model": "churn", "input": [[1]]}, "tokens are not"),
        "an empty text": ({"model": "churn", "input": ["a", ""]}, "`input[1]` is empty"),
        "dimensions": ({"model": "churn", "input": "a", "dimensions": 2},
            "`dimensions` cannot be chosen"),
        "another encoding": ({"model": "churn", "input": "a", "encoding_format": "x"},
            "`encoding_format` must be"),
        "an unknown parameter": ({"model": "churn", "input": "a", "n": 2}, "unknown parameter 'n'"),
        "NUL in a text": ({"model": "churn", "input": "a\x00b"}, "not a valid"),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_hostile_request(name: str) -> None:
    """The answer is a 400 that says what to mend, and where, by either way."""
    model, path, body, headers, message = CASES[name]

    answer = HANDLERS[model](event(path=path, body=body, headers=headers), None)

    assert (answer["statusCode"], message in error_of(path, answer)) == (400, True), answer["body"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "message"),
    [
        (INVOCATIONS, b"PAR1", {"content-type": "application/vnd.apache.parquet"}, 415, "text/csv"),
        (
            INVOCATIONS,
            b"a=1",
            {"content-type": "application/x-www-form-urlencoded"},
            415,
            "Content",
        ),
        (INVOCATIONS, b"1,2,3", {"content-type": "text/csv; charset=latin-1"}, 415, "UTF-8 alone"),
        (INVOCATIONS, b"1,2,3", {**CSV, "accept": "application/x-npy"}, 406, "Accept must name"),
        (INVOCATIONS, b"1,2,3", {**CSV, "accept": "text/csv;q=0"}, 406, "Accept must name"),
        (INVOCATIONS, b"1,2,3", {**CSV, "accept": "text/csv;q=x"}, 406, "Accept must name"),
        (INVOCATIONS, b"1,2,3", {**CSV, "content-encoding": "br"}, 415, "gzip, deflate"),
        (INVOCATIONS, b"1" * (LIMIT + 1), CSV, 413, "batch"),
        (ENDPOINT, b"{}", {"x-amzn-sagemaker-target-model": "other"}, 404, "no such model"),
        ("/endpoints/other/invocations", b"{}", JSON, 404, "no such model"),
        (EMBEDDINGS, b'{"model": "x", "input": "a"}', JSON, 404, "this is 'churn'"),
        (EMBEDDINGS, b'{"model": ["x"], "input": "a"}', JSON, 404, "this is 'churn'"),
        (EMBEDDINGS, b" " * (LIMIT + 1), JSON, 413, "batch"),
        (PREDICT, b" " * (LIMIT + 1), JSON, 413, "batch"),
    ],
)
def test_other_refusals(
    path: str, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    """Types, encodings, sizes and names are refused in the dialect's own words."""
    handler = HANDLERS["embedder" if path == EMBEDDINGS else "classifier"]

    answer = handler(event(path=path, body=body, headers=headers), None)

    assert answer["statusCode"] == status
    assert message in error_of(path, answer)


MILLION = 1_000_000
LARGE: dict[str, tuple[str, str, Callable[[], bytes], dict[str, str], int]] = {
    "gzip bomb": (C, INVOCATIONS, bomb, {**CSV, "content-encoding": "gzip"}, 413),
    "6 MB of brackets": (C, INVOCATIONS, lambda: b"[" * LIMIT, JSON, 400),
    "6 MB of lines": (C, INVOCATIONS, lambda: b"1\n" * (LIMIT // 2), CSV, 400),
    "6 MB of commas": (C, INVOCATIONS, lambda: b"," * LIMIT, CSV, 400),
    "6 MB of quotes": (C, INVOCATIONS, lambda: b'"' * LIMIT, CSV, 400),
    "6 MB of empty lines": (C, INVOCATIONS, lambda: b"\n" * LIMIT, CSV, 400),
    "6 MB of JSON lines": (C, INVOCATIONS, lambda: b"1\n" * (LIMIT // 2), LINES, 400),
    "a million NaN": (C, INVOCATIONS, lambda: b'{"inputs": [' + b"NaN," * MILLION + b"1]}", JSON,
        400),
    "NaN, and quotes": (C, INVOCATIONS, lambda: b'NaN"' + b"\\" * (LIMIT - 10), JSON, 400),
    "NaN, and starts of NaN": (C, INVOCATIONS, lambda: b"NaN" + b"N" * (LIMIT - 10), JSON, 400),
    "NaN, and texts": (C, INVOCATIONS, lambda: b"NaN" + b'""' * (LIMIT // 2 - 9), JSON, 400),
    "300,000 columns": (C, INVOCATIONS,
        lambda: json.dumps({"inputs": {f"x{n}": [] for n in range(300_000)}}).encode(), JSON, 400),
    "100,000 unknown columns": (C, INVOCATIONS,
        lambda: json.dumps({"inputs": {f"x{n}": [1] for n in range(100_000)}}).encode(), JSON, 400),
    "a wide header": (C, INVOCATIONS,
        lambda: ",".join(["a", *(f"x{n}" for n in range(500_000))]).encode(), CSV, 400),
    "deep tensors": (T, PREDICT, lambda: b'{"inputs": {"in_FP32": ' + b"[" * 1000 + b"]" * 1000
        + b"}}", JSON, 400),
    "a million ragged rows": (T, PREDICT, lambda: b'{"inputs": {"in_FP32": [[1,2],' + b"[1],"
        * MILLION + b"[]]}}", JSON, 400),
    "a million empty texts": (E, EMBEDDINGS, lambda: b'{"model": "churn", "input": ["a",'
        + b'"",' * MILLION + b'""]}', JSON, 400),
    "a name of 5 MB": (E, EMBEDDINGS, lambda: b'{"model": "churn", "' + b"x" * 5 * MILLION
        + b'": 1}', JSON, 400),
}  # fmt: skip


def send_large(name: str) -> tuple[str, dict[str, Any], float]:
    model, path, body, headers, _ = LARGE[name]
    sent = event(path=path, body=body(), headers=headers)
    started = time.process_time()
    return path, HANDLERS[model].direct(sent, None), time.process_time() - started


@pytest.mark.parametrize("name", LARGE)
def test_large_hostile_request(name: str) -> None:
    """What is large is refused in little time, by a short message."""
    path, answer, seconds = send_large(name)

    assert answer["statusCode"] == LARGE[name][-1]
    assert error_of(path, answer)
    assert seconds < 10  # quadratic work would take minutes


def test_memory_after_hostile_requests() -> None:
    """A second round of them leaves the process as large as it was after the first."""
    chosen = ("gzip bomb", "6 MB of commas", "6 MB of quotes", "a million NaN", "deep tensors")
    for name in chosen:
        send_large(name)
    before = resident()
    for name in chosen:
        send_large(name)

    assert resident() - before <= 32 << 20


GOOD: tuple[tuple[str, str, bytes, dict[str, str]], ...] = (
    (C, INVOCATIONS, json.dumps(split()).encode(), JSON),
    (C, INVOCATIONS, json.dumps({"inputs": {n: [1, 2] for n in "abc"}}).encode(), JSON),
    (M, INVOCATIONS, b'age,income,plan,visits\n1,,"go""ld",2\n3,4.5,free,5\n', CSV),
    (M, ENDPOINT, b'{"age": 1, "plan": "x", "visits": 3}\n[1, NaN, "gold", 3]\n', LINES),
    (M, PREDICT, b'{"instances": [[1, null, {"b64": "Z29sZA=="}, 2]]}', JSON),
    (C, PREDICT, b'{"inputs": {"X": [[1, 2, 3], [4, 5, 6]]}}', JSON),
    (E, EMBEDDINGS, b'{"model": "churn", "input": ["good wine", "bad"], "user": "x"}', JSON),
)
TOKENS = (b"NaN", b"1e999", b"null", b'"\\ud800"', b"\x00", b"\xff", b"[", b"]", b"{}", b"-1",
          b'"', b"\\", b",", b"\n", b"[[[]]]", b'"b64"', b"9223372036854775808")  # fmt: skip


@pytest.mark.parametrize("case", range(len(GOOD)))
def test_mutated_bytes(case: int) -> None:
    """700 broken variants of a good request: 4xx, or 200 where they are still good."""
    model, path, good, headers = GOOD[case]
    chance = random.Random(case)
    seen = set()
    for turn in range(701):
        body = bytearray(good)
        for _ in range(min(turn, chance.randint(1, 4))):
            at = chance.randrange(len(body) + 1)
            match chance.randrange(4):
                case 0:
                    del body[at : at + chance.randint(1, 8)]
                case 1:
                    body[at:at] = body[at : at + chance.randint(1, 30)]
                case 2:
                    body[at : at + chance.randint(0, 3)] = chance.choice(TOKENS)
                case _:
                    body[at : at + 1] = chance.randbytes(1)
        answer = HANDLERS[model].direct(event(path=path, body=bytes(body), headers=headers), None)
        seen.add(answer["statusCode"])
        assert answer["statusCode"] in (200, 400, 404, 413), (bytes(body), answer["body"])
        if answer["statusCode"] != 200:
            error_of(path, answer)

    assert {200, 400} <= seen


def test_a_compressed_body() -> None:
    """A body in gzip is read in every dialect, as its type says."""
    headers = {**CSV, "content-encoding": "gzip"}

    answer = HANDLERS[C](event(path=INVOCATIONS, body=gzip.compress(b"1,2,3\n"), headers=headers))

    assert json.loads(answer["body"]) == {"predictions": ["yes"]}
