"""The same rows give the same FP32 bits in each dialect and form, over 1,000 random batches."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from dialect_cases import (
    EMBEDDINGS,
    HANDLERS,
    INFER,
    INVOCATIONS,
    JSON,
    PREDICT,
    Sent,
    binary,
    called,
    flat,
    forms,
    numbers,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_cases import VOCABULARY

SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Near the model's weights, where its answers differ from each other.
NUMBERS = SINGLES | st.floats(-8, 8, width=32)
NAMES = ("age", "income", "plan", "visits")
# An empty field of CSV is a missing value; and a first line that names features is a header.
TEXTS = st.sampled_from(["free", "gold"]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1
).filter(lambda text: text not in NAMES)

CLASSIFIED = st.fixed_dictionaries({"a": NUMBERS, "b": st.integers(-(2**24), 2**24), "c": NUMBERS})
MIXED = st.fixed_dictionaries(
    {"age": NUMBERS, "income": st.none() | NUMBERS, "plan": TEXTS,
     "visits": st.integers(-(2**63), 2**63 - 1)}
)  # fmt: skip
PROBABILITIES = {"params": {"predict_fn": "predict_proba"}}


def thousand(share: int) -> Any:
    return settings(
        max_examples=share, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip


def test_the_judge_of_bits() -> None:
    """Numbers of one bit's difference are told apart, and a missing one from any other."""
    near = [0.1, float(np.nextafter(np.float32(0.1), np.float32(1)))]
    bodies = [{"predictions": [value]} for value in (*near, None, 0.0, -0.0)]
    answers = [{"isBase64Encoded": False, "body": json.dumps(body)} for body in bodies]

    assert len({repr(numbers(answer, "value")) for answer in answers}) == len(bodies)


def agree(name: str, sent: dict[str, Sent], output: str, rows: int) -> None:
    """Send all forms, and hold their numbers against those of the first."""
    handler = HANDLERS[name].direct
    found = {}
    for form, (path, body, headers) in sent.items():
        found[form] = numbers(called(handler, path, body, headers), output)
    expected = found["predict"]
    assert len(expected) in (rows, 2 * rows)
    assert {form: bits for form, bits in found.items() if bits != expected} == {}


@thousand(300)
@given(rows=st.lists(MIXED, max_size=12))
def test_columns_of_every_kind(rows: list[dict[str, Any]]) -> None:
    """A regressor by column: numbers, texts, whole numbers of 64 bits, missing values."""
    sent = {**forms("mixed", rows), "V2 binary": binary("mixed", rows)}
    if not rows:  # what has no field has no rows to speak of
        sent = {form: one for form, one in sent.items() if one[1]}

    agree("mixed", sent, "variable", len(rows))


@thousand(300)
@given(rows=st.lists(CLASSIFIED, max_size=12))
def test_probabilities_of_a_stacked_model(rows: list[dict[str, Any]]) -> None:
    """A classifier of one tensor, whose probabilities MLflow's callers ask for by `params`."""
    probabilities(rows)


@pytest.mark.parametrize("seed", range(3))
def test_large_batches(seed: int) -> None:
    """What goes by numpy for its size has the bits of what does not."""
    chance = np.random.default_rng(seed)
    columns = chance.normal(size=2000), chance.integers(-9, 9, 2000), chance.normal(size=2000)
    table = zip(*(column.tolist() for column in columns), strict=True)
    rows = [dict(zip("abc", values, strict=True)) for values in table]

    probabilities(rows)


def probabilities(rows: list[dict[str, Any]]) -> None:
    sent = {**forms("classifier", rows), "V2 binary": binary("classifier", rows)}
    asked = {}
    for form, (path, body, headers) in sent.items():
        if path.endswith("/invocations"):
            if isinstance(body, dict):
                body = {**body, **PROBABILITIES}  # noqa: PLW2901
            else:  # which have no place for parameters
                wanted = {"x-amzn-sagemaker-custom-attributes": "predict_fn=predict_proba"}
                headers = {**headers, **wanted}  # noqa: PLW2901
        if rows or body:
            asked[form] = path, body, headers

    agree("classifier", asked, "probabilities", len(rows))


WORDS = st.sampled_from([*VOCABULARY[4:8], "c", "zebra", "a,b", "é", "[SEP]"])


@thousand(200)
@given(
    texts=st.lists(st.lists(WORDS, min_size=1, max_size=9).map(" ".join), min_size=1, max_size=9)
)
def test_vectors_of_texts(texts: list[str]) -> None:
    """An embedding model: OpenAI's two forms give the bits that all others give."""
    rows = [{"text": text} for text in texts]
    handler = HANDLERS["embedder"].direct
    sent = {**forms("embedder", rows), "V2 binary": binary("embedder", rows)}
    sent["inputs as a list"] = ("/invocations", {"inputs": texts}, JSON)
    sent["instances as a list"] = ("/v1/models/churn:predict", {"instances": texts}, JSON)
    found = {form: numbers(called(handler, *one), "embedding") for form, one in sent.items()}
    asked = {"model": "churn", "input": texts}
    for form in ("float", "base64"):
        answer = called(handler, EMBEDDINGS, {**asked, "encoding_format": form})
        vectors = [item["embedding"] for item in json.loads(answer["body"])["data"]]
        if form == "base64":
            vectors = [np.frombuffer(base64.b64decode(one), "<f4") for one in vectors]
        found[form] = [np.float32(value).tobytes() for one in vectors for value in one]

    assert len(found["predict"]) == 6 * len(texts)
    assert {form for form, bits in found.items() if bits != found["predict"]} == set()


PAIRS = {
    "FP32": SINGLES, "INT8": st.integers(-128, 127), "UINT64": st.integers(0, 2**64 - 1),
    "BOOL": st.booleans(), "BYTES": TEXTS,
}  # fmt: skip
TENSORS = st.fixed_dictionaries(
    {f"in_{kind}": st.tuples(value, value).map(list) for kind, value in PAIRS.items()}
)


@thousand(200)
@given(rows=st.lists(TENSORS, max_size=6))
def test_tensors_without_features(rows: list[dict[str, list[Any]]]) -> None:
    """Five tensors of two a row come back whole, by row and by column, in each dialect."""
    handler = HANDLERS["tensors"].direct
    columns = {f"in_{kind}": [row[f"in_{kind}"] for row in rows] for kind in PAIRS}
    inputs = [
        {"name": f"in_{kind}", "datatype": kind, "shape": [len(rows), 2],
         "data": columns[f"in_{kind}"]} for kind in PAIRS
    ]  # fmt: skip
    asked = {
        "V2": (INFER, {"inputs": inputs}, JSON),
        "inputs": (INVOCATIONS, {"inputs": columns}, JSON),
        "columns": (PREDICT, {"inputs": columns}, JSON),
    }
    if rows:
        asked["instances"] = INVOCATIONS, {"instances": rows}, JSON
        asked["rows"] = PREDICT, {"instances": rows}, JSON
    answers = {form: called(handler, *one) for form, one in asked.items()}

    for kind in PAIRS:
        given_values = [value for pair in columns[f"in_{kind}"] for value in pair]
        for form, answer in answers.items():
            if kind == "FP32":
                bits = [np.float32(value).tobytes() for value in given_values]
                assert numbers(answer, "out_FP32") == bits, form
            else:
                assert flat(answer, f"out_{kind}") == given_values, form
