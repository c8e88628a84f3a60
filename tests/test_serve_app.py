"""The endpoint through its ASGI door: good answers, metadata, health, headers, OpenAPI."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from serve_cases import model, predictor

from fnmodel.errors import InputError
from fnmodel.serve.app import create_app
from fnmodel.serve.models import Models
from fnmodel.serve.refusal import RefusalError
from fnmodel.serve.service import Service

ROW = {"a": 1.5, "b": 2, "c": -0.5}
INPUT = {"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [1.5, 2, -0.5]}


def app(name: str = "classifier", **settings: Any) -> FastAPI:
    return create_app(Models((Service(model(name), "churn", "3"),)), **settings)


def ask(application: FastAPI, method: str, path: str, **request: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def infer(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = ask(app(name), "POST", "/v2/models/churn/infer", json=body)
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()
    return outcome


def test_predict_answers_each_row_in_order() -> None:
    """Each record gets its label and probabilities, as the predictor gives them."""
    rows = [ROW, {"a": 0, "b": 0, "c": 9}, {"c": -9.0, "b": 3.0, "a": 0.25}]

    answer = ask(app(), "POST", "/predict", json={"records": rows})

    assert answer.json() == {
        "predictions": predictor("classifier").predict(rows),
        "model_name": "churn",
        "model_version": "3",
    }
    assert [p["label"] for p in answer.json()["predictions"]] == ["no", "yes", "no"]


def test_predict_without_rows() -> None:
    """No records, no predictions; not an error."""
    answer = ask(app(), "POST", "/predict", json={"records": []})

    assert answer.json()["predictions"] == []


def test_missing_value_of_a_nullable_feature() -> None:
    """A nullable feature may be null or left out; the model sees that it is missing."""
    row = {"age": 30, "plan": "gold", "visits": 2}

    answer = ask(app("mixed"), "POST", "/predict", json={
        "records": [row | {"income": 1.0}, row | {"income": None}, row]
    })  # fmt: skip

    assert [p["value"] for p in answer.json()["predictions"]] == [42.0, 1042.0, 1042.0]


def test_whole_floats_are_integers() -> None:
    """JSON Schema calls 3.0 an integer, so an integer feature takes it."""
    row = {"age": 0, "income": 0, "plan": "free", "visits": 3.0}

    answer = ask(app("mixed"), "POST", "/predict", json={"records": [row]})

    assert answer.json()["predictions"] == [{"value": 3.0}]


def test_answers_that_json_cannot_hold_are_null() -> None:
    """NaN and infinities of the model become null in /predict and /infer."""
    data = [[-1, 1], [0, 1], [1, 1]]

    predicted = ask(app("regressor"), "POST", "/predict", json={
        "records": [{"x": x, "y": y} for x, y in data]
    })  # fmt: skip
    inferred = infer(
        "regressor",
        {"inputs": [{"name": "X", "datatype": "FP32", "shape": [3, 2], "data": data}]},
    )

    assert [p["value"] for p in predicted.json()["predictions"]] == [None, None, 0.0]
    assert inferred["outputs"][0]["data"] == [None, None, 0.0]


def test_infer_agrees_with_predict() -> None:
    """Tensors and named features give the same probabilities, as FP32."""
    answer = infer("classifier", {"id": "x-1", "inputs": [INPUT]})

    label, scores = answer.pop("outputs")
    expected = predictor("classifier").predict([ROW])[0]
    assert answer == {"model_name": "churn", "model_version": "3", "id": "x-1"}
    assert label == {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["no"]}
    assert (scores["datatype"], scores["shape"]) == ("FP32", [1, 2])
    np.testing.assert_array_equal(
        np.array(scores["data"], np.float32),
        np.array(list(expected["probabilities"].values()), np.float32),
    )


def test_infer_takes_nested_and_flat_data() -> None:
    """Both forms of `data` mean the same."""
    flat = [1.5, 2, -0.5, 0, 0, 9]
    nested = [flat[:3], flat[3:]]

    answers = [
        infer("classifier", {"inputs": [INPUT | {"shape": [2, 3], "data": data}]})
        for data in (flat, nested)
    ]

    assert answers[0] == answers[1]
    assert answers[0]["outputs"][0]["data"] == ["no", "yes"]


def test_infer_returns_the_outputs_asked_for() -> None:
    """`outputs` chooses and orders; none at all means all of them."""

    def names(*asked: str) -> list[str]:
        body = {"inputs": [INPUT], "outputs": [{"name": name} for name in asked]}
        return [output["name"] for output in infer("classifier", body)["outputs"]]

    assert names("probabilities") == ["probabilities"]
    assert names("probabilities", "label") == ["probabilities", "label"]
    assert names() == ["label", "probabilities"]


def test_infer_without_rows() -> None:
    """An empty batch is a batch."""
    answer = infer("regressor", {"inputs": [INPUT | {"shape": [0, 2], "data": []}]})

    assert (answer["outputs"][0]["shape"], answer["outputs"][0]["data"]) == ([0, 1], [])


def test_null_is_nan_where_a_value_may_be_missing() -> None:
    """In /infer, a null in the input of a nullable feature is a missing value."""
    given = {"age": [30], "income": [None], "plan": ["gold"], "visits": [2]}
    kinds = {"age": "FP32", "income": "FP32", "plan": "BYTES", "visits": "INT64"}
    inputs = [
        {"name": name, "datatype": kinds[name], "shape": [1, 1], "data": data}
        for name, data in given.items()
    ]

    assert infer("mixed", {"inputs": inputs})["outputs"][0]["data"] == [1042.0]


SERVER = {"name": "fnmodel", "version": "3", "extensions": ["binary_tensor_data", "classification"]}
METADATA = {
    "name": "churn",
    "versions": ["3"],
    "platform": "onnx_onnxv1",
    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}],
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
    ],
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"live": True, "ready": True}),
        ("/v2", SERVER),
        ("/v2/", SERVER),
        ("/v2/models/churn", METADATA),
        ("/v2/models/churn/versions/3", METADATA),
        ("/v2/models/churn/ready", {"name": "churn", "ready": True}),
        ("/v2/models/churn/versions/3/ready", {"name": "churn", "ready": True}),
    ],
)
def test_health_and_metadata(path: str, expected: dict[str, Any]) -> None:
    """The GET paths of the Open Inference Protocol answer in its words."""
    answer = ask(app(), "GET", path)

    assert (answer.status_code, answer.json()) == (200, expected)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/health/ready"),
        ("GET", "/v2/models/churn"),
        ("GET", "/openapi.json"),
        ("POST", "/predict"),
        ("POST", "/v2/models/churn/infer"),
    ],
)
def test_without_a_model(method: str, path: str) -> None:
    """An endpoint without a model is alive, not ready, and says why."""

    def missing() -> NoReturn:
        raise RefusalError(503, "the model is missing")

    broken = create_app(Models((Service(missing, "churn", "3"),)))

    answer = ask(broken, method, path, content=b"{}")

    assert (answer.status_code, answer.json()) == (503, {"error": "the model is missing"})
    assert ask(broken, "GET", "/v2/health/live").status_code == 200


def test_headers_of_every_answer() -> None:
    """Good and bad answers carry the model version and a request id; a sane one is echoed."""
    good = ask(app(), "GET", "/v2", headers={"x-request-id": "abc-123"})
    bad = ask(app(), "GET", "/nope", headers={"x-request-id": "bad id\t<script>"})

    assert good.headers["x-model-version"] == bad.headers["x-model-version"] == "3"
    assert good.headers["x-request-id"] == "abc-123"
    assert len(bad.headers["x-request-id"]) == 36


def test_report_of_a_request() -> None:
    """Each request is reported once, with its status, rows and latency."""
    seen: list[dict[str, Any]] = []
    ticks = iter([10.0, 10.0125])

    ask(
        app(report=seen.append, clock=lambda: next(ticks)),
        *("POST", "/predict"),
        json={"records": [ROW, ROW]},
        headers={"x-request-id": "r1"},
    )

    assert seen == [
        {
            "method": "POST", "path": "/predict", "status": 200,
            "latency_ms": 12.5, "rows": 2, "request_id": "r1",
            "correlation_id": "r1",
        }
    ]  # fmt: skip


def test_failure_of_our_own() -> None:
    """An exception that is a bug is a 500 without its text, which goes to the report."""
    seen: list[dict[str, Any]] = []
    application = app(report=seen.append)

    @application.get("/bug")
    async def bug() -> None:
        raise RuntimeError("secret detail")

    answer = ask(application, "GET", "/bug")

    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    assert "secret" not in answer.text
    assert "secret detail" in seen[0]["exception"]
    assert answer.headers["x-request-id"] in answer.text


def test_routes_that_others_add_keep_the_error_form() -> None:
    """Validation errors of an ordinary FastAPI route are 400 with an error body, too."""
    application = app()

    @application.get("/square")
    async def square(side: int) -> int:
        return side * side

    @application.get("/refuse")
    async def refuse() -> None:
        raise InputError("no", hint="try yes")

    assert ask(application, "GET", "/square?side=3").json() == 9
    bad = ask(application, "GET", "/square?side=x")
    assert bad.status_code == 400
    assert bad.json()["error"].startswith("query.side: ")
    assert ask(application, "GET", "/refuse").json() == {"error": "no; try yes"}


def document(name: str) -> Any:
    answer = ask(app(name), "GET", "/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def test_openapi_is_typed_from_the_signature() -> None:
    """Features appear with their names, types, limits, categories and an example."""
    record = document("mixed")["components"]["schemas"]["Record"]

    properties = record["properties"]
    assert record["required"] == ["age", "plan", "visits"]
    assert record["additionalProperties"] is False
    assert properties["income"]["type"] == ["number", "null"]
    assert properties["plan"]["enum"] == ["free", "gold"]
    assert (properties["visits"]["type"], properties["visits"]["maximum"]) == ("integer", 2**63 - 1)
    assert properties["age"]["maximum"] == float(np.finfo(np.float32).max)


@pytest.mark.parametrize("name", ["classifier", "mixed", "regressor", "tensors"])
def test_openapi_paths_exist_and_references_resolve(name: str) -> None:
    """Each path and method of the document is answered, and each $ref has its schema."""
    described = document(name)
    application = app(name)

    for path, operations in described["paths"].items():
        for method in operations:
            assert ask(application, method.upper(), path).status_code in (200, 400)
    schemas = described["components"]["schemas"]
    references = [
        part.partition('"')[0] for part in json.dumps(described).split("#/components/schemas/")[1:]
    ]
    assert references
    assert set(references) == set(schemas)
    assert ("/predict" in described["paths"]) == (name != "tensors")


@pytest.mark.parametrize("name", ["classifier", "mixed", "regressor"])
def test_openapi_example_is_answered(name: str) -> None:
    """The example of the document is a request that works."""
    examples = document(name)["components"]["schemas"]["Record"]["examples"]

    answer = ask(app(name), "POST", "/predict", json={"records": examples})

    assert answer.status_code == 200
