"""What each dialect takes and gives: forms of rows, shapes of answers, types, what probes read."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dialect_cases import CSV, EMBEDDINGS, HANDLERS, INVOCATIONS, JSON, LINES, PREDICT, called
from onnx import TensorProto, helper
from serve_cases import BothWays, error_of, event, model, model_folder, write_model

from fnmodel.model import PROCESSING, SIGNATURE, Feature, Signature, Tensor, read_signature
from fnmodel.serve.dialects.routes import routes
from fnmodel.serve.endpoint import Call, respond
from fnmodel.serve.model import Model
from fnmodel.serve.models import Models
from fnmodel.serve.service import Service

C, M, R, T, E = (HANDLERS[n] for n in ("classifier", "mixed", "regressor", "tensors", "embedder"))
ENDPOINT = "/endpoints/churn/invocations"
ROWS = [[1, 2, 3], [-4, 5, -6]]
PROBABILITIES = {"params": {"predict_fn": "predict_proba"}}


def answered(handler: Any, path: str, body: Any, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return json.loads(called(handler, path, body, {**JSON, **named})["body"])


def got(path: str, handler: BothWays = C) -> dict[str, Any]:
    answer: dict[str, Any] = handler(event(method="GET", path=path), None)
    assert answer["statusCode"] == 200, answer["body"]
    return answer


@pytest.mark.parametrize(
    ("path", "media", "body"),
    [
        ("/", "application/json", '{"status":"alive"}'),
        ("/ping", "text/plain; charset=utf-8", "\n"),
        ("/health", "text/plain; charset=utf-8", "\n"),
        ("/version", "text/plain; charset=utf-8", "3"),
    ],
)
def test_probes(path: str, media: str, body: str) -> None:
    """KServe's, SageMaker's and MLflow's probes have the bodies that their clients read."""
    answer = got(path)

    assert (answer["headers"]["content-type"], answer["body"]) == (media, body)


def test_the_list_of_models() -> None:
    """One object holds what KServe's clients and OpenAI's read of it."""
    named = {"id": "churn", "object": "model", "created": 0, "owned_by": "fnmodel"}

    assert json.loads(got("/v1/models")["body"]) == {
        "object": "list", "data": [named], "models": ["churn"],
    }  # fmt: skip


def test_the_state_of_a_model() -> None:
    """One object holds what TF-Serving's clients, KServe's and OpenAI's read, by version too."""
    found = json.loads(got("/v1/models/churn")["body"])

    state = {"version": "3", "state": "AVAILABLE",
             "status": {"error_code": "OK", "error_message": ""}}  # fmt: skip
    assert found["model_version_status"] == [state]
    assert (found["ready"], found["id"], found["object"]) == (True, "churn", "model")
    assert json.loads(got("/v1/models/churn/versions/3")["body"]) == found


def test_metadata() -> None:
    """Inputs and outputs stand in TF-Serving's signature, with its datatypes and dimensions."""
    found = json.loads(got("/v1/models/churn/metadata", M)["body"])

    assert found["model_spec"] == {"name": "churn", "signature_name": "", "version": "3"}
    served = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert {name: one["dtype"] for name, one in served["inputs"].items()} == {
        "age": "DT_FLOAT", "income": "DT_FLOAT", "plan": "DT_STRING", "visits": "DT_INT64",
    }  # fmt: skip
    dims = [dim["size"] for dim in served["outputs"]["variable"]["tensor_shape"]["dim"]]
    assert dims == ["-1", "1"]


@pytest.mark.parametrize(
    ("handler", "body", "expected"),
    [
        (C, {"inputs": ROWS}, ["yes", "no"]),
        (R, {"instances": [[1, 2], [0, 1]]}, [0.0, None]),
        (E, {"instances": []}, []),
        (C, {"inputs": {"a": 1, "b": 2, "c": 3}}, ["yes"]),
        (C, {"inputs": {"X": ROWS}}, ["yes", "no"]),
        (C, {"instances": {"a": [1], "b": [2], "c": [3]}}, ["yes"]),
        (C, {"inputs": [{"a": 1, "b": 2, "c": 3}], "params": None}, ["yes"]),
        (C, {"instances": ROWS, "params": {"temperature": 1}}, ["yes", "no"]),
        (C, {"instances": ROWS, "signature_name": "serving_default"}, ["yes", "no"]),
        (C, {"dataframe_split": {"columns": [0, 1, 2], "index": ["x", "y"], "data": ROWS}},
         ["yes", "no"]),
        (C, {"dataframe_split": {"columns": ["c", "a", "b"], "data": [[3, 1, 2]]}}, ["yes"]),
        (M, {"dataframe_records": [{"age": 1, "plan": "gold", "visits": 2}]}, [1013.0]),
    ],
)  # fmt: skip
def test_predictions(handler: BothWays, body: dict[str, Any], expected: list[Any]) -> None:
    """A classifier gives labels, a regressor numbers; other parameters than ours mean nothing."""
    assert answered(handler, INVOCATIONS, body) == {"predictions": expected}


def test_probabilities() -> None:
    """`predict_proba` gives probabilities, by MLflow's params or SageMaker's attributes."""
    by_params = answered(C, INVOCATIONS, {"inputs": ROWS, **PROBABILITIES})["predictions"]
    attributes = {"X_Amzn_SageMaker_Custom_Attributes": "trace=1, predict_fn=predict_proba"}

    assert np.shape(by_params) == (2, 2)
    assert np.sum(by_params, axis=1).tolist() == pytest.approx([1, 1])
    assert answered(C, ENDPOINT, {"inputs": ROWS}, **attributes)["predictions"] == by_params


def test_several_outputs() -> None:
    """Tensors come by name from /invocations, and by row or by name from :predict."""
    tensors = {"in_FP32": [[1, 2]], "in_INT8": [[3, 4]], "in_UINT64": [[5, 6]],
               "in_BOOL": [[True, False]], "in_BYTES": [["a", ""]]}  # fmt: skip
    expected = {name.replace("in", "out"): values for name, values in tensors.items()}
    rows = [{name: values[0] for name, values in tensors.items()}]

    assert answered(T, INVOCATIONS, {"inputs": tensors}) == {"predictions": expected}
    assert answered(T, PREDICT, {"inputs": tensors}) == {"outputs": expected}
    assert answered(T, PREDICT, {"instances": rows}) == {
        "predictions": [{name: values[0] for name, values in expected.items()}]
    }
    assert answered(C, PREDICT, {"instances": ROWS[:1]})["predictions"][0]["label"] == "yes"


def test_one_output_keeps_its_shape() -> None:
    """TF-Serving leaves the name of a single output out, and its dimensions as they are."""
    assert answered(R, PREDICT, {"instances": [[1, 2]]}) == {"predictions": [[0.0]]}
    assert answered(R, PREDICT, {"inputs": {"X": [[1, 2]]}}) == {"outputs": [[0.0]]}


def test_bytes_in_base64() -> None:
    """TF-Serving's `b64` is a text, alone, in a row, and in a tensor."""
    gold = {"b64": "Z29sZA=="}
    row = {"age": [1], "income": [None], "plan": gold, "visits": [2]}
    columns = {"age": [[1]], "income": [[None]], "plan": [[gold]], "visits": [[2]]}

    for body in ({"instances": [row]}, {"instances": [[1, None, gold, 2]]}):
        assert answered(M, PREDICT, body) == {"predictions": [[1013.0]]}
    assert answered(M, PREDICT, {"inputs": columns}) == {"outputs": [[1013.0]]}


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b"age,income,plan,visits\n1,,gold,2\n", ""),
        (b"\xef\xbb\xbfvisits,plan,age\r\n2,gold,1\r\n", ""),
        (b",age,income,plan,visits\n0,1,,gold,2\n", "; charset=UTF-8"),
        (b"1,,gold,2\n\n", "; label_size=0"),
        (b"1.0,,gold,2.0", "; header=absent"),
        (b'"1","","gold","2"\n', ""),
        (b"age,income,plan,visits\n1,,gold,2\n", "; header=present"),
    ],
)
def test_csv(body: bytes, options: str) -> None:
    """A header names columns in any order; without one they are in that of the features."""
    assert answered(M, INVOCATIONS, body, content_type=f"text/csv{options}") == {
        "predictions": [1013.0]
    }


def test_a_row_that_looks_like_a_header() -> None:
    """`header=absent` says that a text that is a feature's name is a value."""
    body = b"1,2,plan,3\n1,2,x,3\n"

    assert answered(M, INVOCATIONS, body, content_type="text/csv;header=absent") == {
        "predictions": [4.0, 4.0]
    }
    refused = M(event(path=INVOCATIONS, body=body, headers=CSV), None)
    assert "unknown field '1'" in json.loads(refused["body"])["message"]


@pytest.mark.parametrize(
    ("accept", "media", "body"),
    [
        ("text/csv", "text/csv; charset=utf-8", "yes\nno\n"),
        ("application/jsonlines", "application/jsonlines", '"yes"\n"no"\n'),
        ("text/*", "text/csv; charset=utf-8", "yes\nno\n"),
        ("application/json;q=0.1, text/csv", "text/csv; charset=utf-8", "yes\nno\n"),
        ("text/csv;q=0.5, */*", "application/json", '{"predictions":["yes","no"]}'),
        ("application/x-npy, application/json", "application/json", None),
        ("", "application/json", None),
    ],
)
def test_accept(accept: str, media: str, body: str | None) -> None:
    """The Accept header chooses JSON, CSV or JSON Lines, by weight."""
    for path in (INVOCATIONS, ENDPOINT):
        answer = called(C, path, {"instances": ROWS}, {**JSON, "accept": accept})

        assert answer["headers"]["content-type"] == media
        assert answer["body"] == body or body is None


def test_csv_of_several_values() -> None:
    """Probabilities, and several outputs, stand side by side on a line."""
    answer = called(
        C, INVOCATIONS, {"inputs": ROWS, **PROBABILITIES}, {**JSON, "accept": "text/csv"}
    )

    lines = [[*map(float, line.split(","))] for line in answer["body"].splitlines()]
    assert lines == answered(C, INVOCATIONS, {"inputs": ROWS, **PROBABILITIES})["predictions"]


def handler_of(folder: Path) -> BothWays:
    return BothWays(Model.load(folder), "churn", "3")


def test_csv_without_features(tmp_path: Path) -> None:
    """A model of one tensor takes rows of CSV, with a header that is no number or without."""
    signature = Signature(
        task="other",
        inputs=(Tensor("INPUT0", "FP32", (-1, 3)),),
        outputs=(Tensor("OUTPUT0", "FP32", (-1,)),),
    )
    node = helper.make_node("ReduceMax", ["INPUT0"], ["OUTPUT0"], axes=[1], keepdims=0)
    handler = handler_of(write_model(tmp_path, signature, [node], {}))

    for body in (b"1,2,3\n4,6,5\n", b"x,y,z\n1,2,3\n4,6,5\n"):
        assert answered(handler, ENDPOINT, body, content_type="text/csv") == {
            "predictions": [3.0, 6.0]
        }
    short = handler(event(path=ENDPOINT, body=b"1,2\n", headers=CSV), None)
    assert "row 0 has 2 fields, and 3 are expected" in json.loads(short["body"])["message"]
    lines = b"[1,2,3]\n[4,6,5]"
    assert answered(handler, ENDPOINT, lines, content_type=LINES["content-type"]) == {
        "predictions": [3.0, 6.0]
    }


def test_an_output_without_rows(tmp_path: Path) -> None:
    """What is no entry a row is refused by row, and given by name."""
    signature = Signature(
        task="other",
        inputs=(Tensor("x", "FP32", (-1,)),),
        outputs=(Tensor("total", "FP32", ()), Tensor("same", "FP32", (-1,))),
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Identity", ["x"], ["same"]),
    ]
    handler = handler_of(write_model(tmp_path, signature, nodes, {}))

    assert answered(handler, PREDICT, {"inputs": [1, 2]}) == {
        "outputs": {"total": 3.0, "same": [1.0, 2.0]}
    }
    refused = handler(event(path=PREDICT, body={"instances": [1, 2]}), None)
    assert "output 'total' has no entry for each row" in error_of(refused)


PREPROCESS = """
def preprocess(records):
    return [{"x": record["n"], "y": 1} for record in records]
"""
POSTPROCESS = """
import numpy

def postprocess(predictions, records):
    return [{"n": numpy.float32(record["n"])} for record in records]
"""


@pytest.mark.parametrize(
    ("more", "invoked", "predicted"),
    [
        ("", [0.0, None], [[0.0], [None]]),
        (POSTPROCESS, [{"n": 1.0}, {"n": 0.0}], [{"n": 1.0}, {"n": 0.0}]),
    ],
)
def test_a_project_s_own_steps(
    tmp_path: Path, more: str, invoked: list[Any], predicted: list[Any]
) -> None:
    """Callers of each dialect send what `preprocess` takes, and get what `postprocess` makes."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder("regressor"), folder)
    signature = replace(read_signature(folder), raw=(Feature("n", "FP32"),))
    (folder / SIGNATURE).write_text(json.dumps(signature.to_json()))
    (folder / PROCESSING).write_text(PREPROCESS + more)
    handler = handler_of(folder)
    rows = [{"n": 1}, {"n": 0}]

    for body in ({"dataframe_records": rows}, {"inputs": {"n": [1, 0]}}, {"instances": [[1], [0]]}):
        assert answered(handler, INVOCATIONS, body) == {"predictions": invoked}
    assert answered(handler, PREDICT, {"instances": rows}) == {"predictions": predicted}


def test_several_models() -> None:
    """A model is named by the path, SageMaker's target header or OpenAI's body; else the first."""
    names = ("classifier", "regressor", "embedder")
    table = routes(Models(tuple(Service(model(name), name, "3") for name in names)))
    rows = b'{"instances": [[1, 2]]}'

    def told(method: str, path: str, raw: bytes = b"", **headers: str) -> Any:
        answer, found = table[method, path]
        sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        made = respond(answer, Call(found, sent, raw), 1000)
        return json.loads(made.body) if made.status == 200 else made.status

    assert told("GET", "/v1/models")["models"] == [*names]
    for path in ("/v1/models/regressor:predict", "/v1/models/regressor/versions/3:predict"):
        assert told("POST", path, rows) == {"predictions": [[0.0]]}
    assert told("POST", "/endpoints/regressor/invocations", rows) == {"predictions": [0.0]}
    target = {"x_amzn_sagemaker_target_model": "regressor"}
    assert told("POST", "/invocations", rows, **target) == {"predictions": [0.0]}
    assert told("POST", "/invocations", rows) == 400
    assert told("POST", "/invocations", b'{"instances": [[1, 2, 3]]}') == {"predictions": ["yes"]}
    for name, status in (("classifier", 400), ("nobody", 404)):
        asked = json.dumps({"model": name, "input": "good"}).encode()
        assert told("POST", "/v1/embeddings", asked) == status
    asked = json.dumps({"model": "embedder", "input": "good"}).encode()
    assert told("POST", "/v1/embeddings", asked)["model"] == "embedder"


def test_vectors() -> None:
    """Embeddings have OpenAI's form, with the tokens that the texts were."""
    asked = {"model": "churn", "input": ["good wine", "badly"], "user": "me"}
    found = answered(E, EMBEDDINGS, asked)

    assert [item["index"] for item in found["data"]] == [0, 1]
    assert {item["object"] for item in found["data"]} == {"embedding"}
    assert [len(item["embedding"]) for item in found["data"]] == [6, 6]
    assert (found["object"], found["model"]) == ("list", "churn")
    assert found["usage"] == {"prompt_tokens": 8, "total_tokens": 8}


@pytest.mark.parametrize("kind", ["FP16", "FP64"])
def test_vectors_of_other_numbers(tmp_path: Path, kind: str) -> None:
    """Vectors in base64 are FP32 whatever the model gives; without a tokenizer, no token counts."""
    types = {"FP16": TensorProto.FLOAT16, "FP64": TensorProto.DOUBLE}
    signature = Signature(
        task="other",
        inputs=(Tensor("text", "BYTES", (-1, 1)),),
        outputs=(Tensor("vector", kind, (-1, 1)),),  # type: ignore[arg-type]
        features=read_signature(model_folder("embedder")).features,
    )
    cast = helper.make_node("Cast", ["text"], ["vector"], to=types[kind])
    handler = handler_of(write_model(tmp_path, signature, [cast], {}))
    asked = {"model": "churn", "input": ["1.5", "-2"]}

    found = answered(handler, EMBEDDINGS, {**asked, "encoding_format": "base64"})
    assert [item["embedding"] for item in found["data"]] == ["AADAPw==", "AAAAwA=="]
    found = answered(handler, EMBEDDINGS, asked)
    assert [item["embedding"] for item in found["data"]] == [[1.5], [-2.0]]
    assert found["usage"]["total_tokens"] == 0
