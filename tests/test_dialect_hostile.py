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
CASES: dict[str, Case] = {
    "no body": (C, INVOCATIONS, None, JSON, "empty"),
    "no rows of CSV": (C, INVOCATIONS, b" \n\n", CSV, "empty"),
    "an array": (C, INVOCATIONS, [ROW], JSON, "not a JSON object"),
    "no form": (C, INVOCATIONS, {}, JSON, "exactly one of dataframe_split"),
    "two forms": (C, INVOCATIONS, {**split(), "inputs": [ROW]}, JSON, "exactly one of"),
    "another key": (C, INVOCATIONS, {**split(), "x": 1}, JSON, "'x' is none of them"),
    "params is a list": (C, INVOCATIONS, {**split(), "params": [1]}, JSON, "`params` is not"),
    "another function": (C, INVOCATIONS, {**split(), "params": {"predict_fn": "x"}}, JSON,
        "`predict_fn` must be"),
    "a function of no name": (C, INVOCATIONS, {**split(), "params": {"predict_fn": [1]}}, JSON,
        "`predict_fn` must be"),
    "no probabilities": (M, INVOCATIONS,
        {"inputs": [[1, 2, "x", 3]], "params": {"predict_fn": "predict_proba"}}, JSON,
        "gives no probabilities"),
    "Infinity": (C, INVOCATIONS, b'{"inputs": [[1, 2, Infinity]]}', JSON, "not JSON"),
    "NaN where a value is needed": (C, INVOCATIONS, b'{"inputs": [[1, 2, NaN]]}', JSON,
        "row 0, field 'c': a value is required"),
    "NaN as a key": (C, INVOCATIONS, b'{NaN: 1}', JSON, "not JSON"),
    "NaN, and a text without end": (C, INVOCATIONS, b'{"inputs": NaN, "x\\', JSON, "not JSON"),
    "NaN in a word": (C, INVOCATIONS, b'{"inputs": xNaNx}', JSON, "not JSON"),
    "1e999": (C, INVOCATIONS, b'{"inputs": [[1, 2, 1e999]]}', JSON, "not JSON"),
    "lone surrogate": (C, INVOCATIONS, rb'{"inputs": [["\ud800", NaN, 1]]}', JSON, "not JSON"),
    "split is a list": (C, INVOCATIONS, {"dataframe_split": [ROW]}, JSON, "`dataframe_split` must"),
    "split without data": (C, INVOCATIONS, {"dataframe_split": {"columns": ["a"]}}, JSON,
        "`dataframe_split` must"),
    "split with more": (C, INVOCATIONS, split(dtype=1), JSON, "unknown field 'dtype'"),
    "a row that is none": (C, INVOCATIONS, split(data=[5]), JSON, "row 0 is not a list"),
    "a short row": (C, INVOCATIONS, split(data=[ROW, [1]]), JSON,
        "row 1 has 1 values, and there are 3 columns"),
    "columns is a text": (C, INVOCATIONS, split(columns="abc"), JSON, "`columns` is not a list"),
    "columns is a number": (C, INVOCATIONS, split(columns=3), JSON, "`columns` is not a list"),
    "columns is true": (C, INVOCATIONS, split(columns=True), JSON, "`columns` is not a list"),
    "columns of lists": (C, INVOCATIONS, split(columns=[[], [], []]), JSON, "`columns` is not"),
    "a column twice": (C, INVOCATIONS, split(columns=["a", "b", "a"]), JSON, "'a' is given twice"),
    "an index too short": (C, INVOCATIONS, split(index=[]), JSON, "`index` does not name"),
    "an unknown column": (C, INVOCATIONS, split(columns=["a", "b", "d"]), JSON,
        "row 0: unknown field 'd'"),
    "records is an object": (C, INVOCATIONS, {"dataframe_records": {}}, JSON, "is not a list of"),
    "a record is a list": (C, INVOCATIONS, {"dataframe_records": [ROW]}, JSON, "row 0 is not an"),
    "a list for a number": (C, INVOCATIONS, {"dataframe_records": [{**NAMED, "a": [1]}]}, JSON,
        "row 0, field 'a': expected a number, got an array"),
    "instances is a number": (C, INVOCATIONS, {"instances": 5}, JSON, "`instances` is not a list"),
    "instances is null": (C, INVOCATIONS, {"instances": None}, JSON, "`instances` is not a list"),
    "an instance is null": (C, INVOCATIONS, {"instances": [None]}, JSON, "row 0 has 1 values"),
    "too many values": (C, INVOCATIONS, {"instances": [ROW, [1] * 4]}, JSON, "row 1 has 4 values"),
    "two values for one": (C, INVOCATIONS, {"instances": [{**NAMED, "a": [1, 2]}]}, JSON,
        "row 0, field 'a': expected a number, got an array"),
    "columns of different lengths": (C, INVOCATIONS,
        {"inputs": {"a": [1, 2], "b": [1], "c": [1, 2]}}, JSON,
        "column 'b' has 1 values, and 'a' 2"),
    "a column is a number": (C, INVOCATIONS, {"inputs": {"a": [1], "b": 2, "c": [1]}}, JSON,
        "column 'b' is not a list"),
    "no columns": (C, INVOCATIONS, {"inputs": {"a": [1]}}, JSON, "row 0: missing field 'b', 'c'"),
    "an unknown feature": (C, INVOCATIONS, {"inputs": {**{n: [1] for n in "abc"}, "d": [1]}}, JSON,
        "unknown field 'd'"),
    "columns in columns": (C, INVOCATIONS, b'{"inputs":' + b'{"X":' * 900 + b"1" + b"}" * 901, JSON,
        "row 0 has 1 values"),
    "an unknown input": (T, INVOCATIONS, {"inputs": {"nope": [1]}}, JSON, "unknown input 'nope'"),
    "a missing input": (T, INVOCATIONS, {"inputs": {"in_FP32": [[1, 2]]}}, JSON,
        "missing input 'in_INT8'"),
    "several inputs by none": (T, INVOCATIONS, {"instances": [[1, 2]]}, JSON,
        "this model has the inputs 'in_FP32'"),
    "an instance of other inputs": (T, INVOCATIONS, {"instances": [{"in_FP32": [1, 2]}, 5]}, JSON,
        "row 0: missing input"),
    "DataFrame of tensors": (T, INVOCATIONS, split(), JSON, "row 0: unknown input 'a'"),
    "CSV of tensors": (T, INVOCATIONS, b"1,2\n", CSV, "CSV has no place for this model's inputs"),
    "a text for a number": (C, INVOCATIONS, b"a,b,c\n1,2,x\n", CSV,
        "row 0, field 'c': 'x' is not a number"),
    "1_000": (C, INVOCATIONS, b"a,b,c\n1,2,1_000\n", CSV, "'1_000' is not a number"),
    "nan": (C, INVOCATIONS, b"a,b,c\n1,2,nan\n", CSV, "field 'c': nan is not a finite number"),
    "inf": (C, INVOCATIONS, b"1,2,-inf\n", CSV, "field 'c': -inf is not a finite number"),
    "out of range": (C, INVOCATIONS, b"1,2,1e39\n", CSV, "1e+39 is out of range for FP32"),
    "5,000 digits": (C, INVOCATIONS, b"1,2," + b"9" * 5000, CSV, "inf is not a finite number"),
    "an empty field": (C, INVOCATIONS, b"1,2,\n", CSV, "field 'c': a value is required"),
    "a short line": (C, INVOCATIONS, b"1,2,3\n1,2\n", CSV, "row 1 has 2 fields, and 3 are"),
    "a long line": (C, INVOCATIONS, b"a,b,c\n1,2,3,4\n", CSV, "row 0 has 4 fields, and 3 are"),
    "a header twice": (C, INVOCATIONS, b"a,b,b\n1,2,3\n", CSV, "column 'b' is given twice"),
    "a misspelt header": (C, INVOCATIONS, b"a,b,cc\n1,2,3\n", CSV, "unknown field 'cc'"),
    "a header alone": (C, INVOCATIONS, b"a,b\n", CSV, "missing field 'c'"),
    "a quote without end": (C, INVOCATIONS, b'a,b,c\n1,2,"3\n', CSV, "not CSV: line 2"),
    "text behind a quote": (C, INVOCATIONS, b'a,b,c\n1,2,"3"4\n', CSV, "not CSV: line 2"),
    "a field of 200,000": (C, INVOCATIONS, b"1,2," + b"3" * 200_000, CSV, "field larger than"),
    "CSV is not UTF-8": (C, INVOCATIONS, b"1,2,\xff\n", CSV, "not UTF-8"),
    "NUL in CSV": (M, INVOCATIONS, b"1,2,a\x00b,3\n", CSV, "field 'plan': not a valid text"),
    "an integer over 64 bits": (M, INVOCATIONS, b"1,2,a,9223372036854775808\n", CSV,
        "is out of range for INT64"),
    "a line is no JSON": (C, INVOCATIONS, b"[1,2,3]\n[1,2", LINES, "line 1 is not JSON"),
    "a line is short": (C, INVOCATIONS, b"[1,2,3]\n[1,2]", LINES, "row 1 has 2 values"),
    "another endpoint's form": (C, ENDPOINT, {"records": [NAMED]}, JSON, "exactly one of"),
    "an endpoint's CSV": (C, ENDPOINT, b"1,2\n", CSV, "row 0 has 2 fields"),
    "neither form": (C, PREDICT, {}, JSON, "either `instances` or `inputs`"),
    "both forms": (C, PREDICT, {"instances": [], "inputs": []}, JSON, "either `instances` or"),
    "MLflow's form": (C, PREDICT, split(), JSON, "unknown field 'dataframe_split'"),
    "instances by name": (C, PREDICT, {"instances": {"a": [1]}}, JSON, "`instances` is not a list"),
    "another signature": (C, PREDICT, {"instances": [], "signature_name": "x"}, JSON,
        "`signature_name` must be 'serving_default'"),
    "signature is a list": (C, PREDICT, {"instances": [], "signature_name": []}, JSON,
        "`signature_name` must be"),
    "not base64": (M, PREDICT, {"instances": [[1, 2, {"b64": "é"}, 3]]}, JSON, "`b64` is not"),
    "base64 of a number": (M, PREDICT, {"instances": [[1, 2, {"b64": 5}, 3]]}, JSON,
        "`b64` is not"),
    "base64 of no text": (M, PREDICT, {"instances": [[1, 2, {"b64": "/w=="}, 3]]}, JSON,
        "`b64` is not"),
    "deep base64": (M, PREDICT, b'{"instances": ' + b'[' * 900 + b'{"b64": ""}' + b"]" * 900 + b"}",
        JSON, "row 0 has 1 values"),
    "ragged tensors": (T, PREDICT, {"inputs": {f"in_{kind}": [[1, 2], [3]] for kind in
        ("FP32", "INT8", "UINT64", "BOOL", "BYTES")}}, JSON, "at depth 2 must have 2 entries"),
    "flat tensors": (T, PREDICT, {"inputs": {f"in_{kind}": [1, 2] for kind in
        ("FP32", "INT8", "UINT64", "BOOL", "BYTES")}}, JSON, "expected lists 2 deep, and 1 are"),
    "a deep tensor": (T, PREDICT, {"inputs": {f"in_{kind}": [[[1], [2]]] for kind in
        ("FP32", "INT8", "UINT64", "BOOL", "BYTES")}}, JSON, "element 0: expected a number"),
    "no embeddings": (C, EMBEDDINGS, {"model": "churn", "input": "a"}, JSON, "makes no embeddings"),
    "no input": (E, EMBEDDINGS, {"model": "churn"}, JSON, "`input` must be a text"),
    "no texts": (E, EMBEDDINGS, {"model": "churn", "input": []}, JSON, "`input` must be a text"),
    "tokens": (E, EMBEDDINGS, {"model": "churn", "input": [1, 2]}, JSON, "tokens are not taken"),
    "lists of tokens": (E, EMBEDDINGS, {"model": "churn", "input": [[1]]}, JSON, "tokens are not"),
    "an empty text": (E, EMBEDDINGS, {"model": "churn", "input": ["a", ""]}, JSON,
        "`input[1]` is empty"),
    "dimensions": (E, EMBEDDINGS, {"model": "churn", "input": "a", "dimensions": 2}, JSON,
        "`dimensions` cannot be chosen"),
    "another encoding": (E, EMBEDDINGS, {"model": "churn", "input": "a", "encoding_format": "x"},
        JSON, "`encoding_format` must be"),
    "an unknown parameter": (E, EMBEDDINGS, {"model": "churn", "input": "a", "n": 2}, JSON,
        "unknown parameter 'n'"),
    "NUL in a text": (E, EMBEDDINGS, {"model": "churn", "input": "a\x00b"}, JSON, "not a valid"),
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
        (EMBEDDINGS, b'{"model": "x", "input": "a"}', JSON, 404, "there is 'churn'"),
        (EMBEDDINGS, b'{"model": ["x"], "input": "a"}', JSON, 404, "there is 'churn'"),
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
