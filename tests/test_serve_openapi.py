"""The OpenAPI document: valid, typed from the signature, and true: its examples are answered."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fuzz import resolved
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from serve_cases import event, model, model_folder, write_classifier

from fnmodel.model import REFERENCE
from fnmodel.serve.app import create_app
from fnmodel.serve.direct import Direct
from fnmodel.serve.gateway import Gateway
from fnmodel.serve.model import Model
from fnmodel.serve.models import Models
from fnmodel.serve.openapi.described import Described
from fnmodel.serve.openapi.document import document as written
from fnmodel.serve.service import Service

MODELS = ("classifier", "mixed", "regressor", "embedder", "tensors", "every")
NUMBER = {
    "kind": "number", "edges": [0.5, 17.5, 40.5, 90.5], "counts": [5, 20, 6], "low": 0, "high": 0,
    "missing": 0, "infinite": 0, "origin": 30.0, "unit": 0.001, "sum": 0, "squares": 0,
    "minimum": 1, "maximum": 90,
}  # fmt: skip
CATEGORY = {
    "kind": "category", "categories": ["free", "gold"], "counts": [5, 26], "other": 0, "missing": 0,
}  # fmt: skip


def handler(loaded: Model, called: str = "churn") -> Direct:
    models = Models((Service(loaded, called, "3"),))
    return Direct(
        models,
        report=lambda _: None,
        clock=time.perf_counter,
        others=lambda: Gateway(create_app(models)),
    )


def ask(one: Direct, method: str, path: str, body: Any = None, **changes: Any) -> dict[str, Any]:
    return one(event(method=method, path=path, body=body, **changes), None)


def document(loaded: Model, **changes: Any) -> Any:
    answer = ask(handler(loaded), "GET", "/openapi.json", **changes)
    assert answer["statusCode"] == 200, answer["body"]
    return json.loads(answer["body"])


def with_reference(tmp_path: Path, name: str, features: Mapping[str, Any]) -> Model:
    """Return one of the models, opened from a folder that has a reference too."""
    for file in model_folder(name).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    reference = {"version": 1, "rows": 31, "features": features, "outputs": {}}
    (tmp_path / REFERENCE).write_text(json.dumps(reference))
    return Model.load(tmp_path)


def operations(described: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in described["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


@pytest.mark.parametrize("name", MODELS)
def test_the_document_is_valid(name: str) -> None:
    """It is OpenAPI 3.1, its examples fit its schemas, and each component is referred to."""
    described = document(model(name))

    assert [str(error) for error in OpenAPIV31SpecValidator(described).iter_errors()] == []
    text = json.dumps(described)
    for kind, components in described["components"].items():
        if kind != "securitySchemes":
            unused = [one for one in components if f'"#/components/{kind}/{one}"' not in text]
            assert not unused


@pytest.mark.parametrize("name", MODELS)
def test_every_example_is_answered_as_it_says(name: str) -> None:
    """Each example is accepted with 200, and the answer is the example of the response."""
    loaded = model(name)
    one, described = handler(loaded), document(loaded)
    tried = 0

    for method, path, operation in operations(described):
        content = operation["responses"]["200"]["content"]
        content = content.get("application/json") or content["text/plain; charset=utf-8"]
        body = None
        if method == "POST":
            examples = operation["requestBody"]["content"]["application/json"].get("examples")
            if examples is None:
                assert name == "every"  # FP16, which JSON cannot carry
                continue
            body = examples["typical"]["value"]
            expected = content["examples"]["typical"]["value"]
        else:
            expected = content["example"]
        answer = ask(one, method, path, body)
        plain = answer["headers"]["content-type"].startswith("text/plain")
        shown = answer["body"] if plain else json.loads(answer["body"])
        assert (answer["statusCode"], shown) == (200, expected), path
        judge = Draft202012Validator({**content["schema"], "components": described["components"]})
        judge.validate(expected)
        tried += 1
    assert tried >= 7
    record = described["components"]["schemas"].get("Record")
    if record is not None:
        assert ask(one, "POST", "/predict", {"records": record["examples"]})["statusCode"] == 200


def test_features_are_typed_from_the_signature() -> None:
    """Features appear with their names, types, limits, categories and whether they are needed."""
    record = document(model("mixed"))["components"]["schemas"]["Record"]

    properties = record["properties"]
    assert record["required"] == ["age", "plan", "visits"]
    assert record["additionalProperties"] is False
    assert properties["income"]["type"] == ["number", "null"]
    assert properties["plan"]["enum"] == ["free", "gold"]
    assert "others are taken as never seen" in properties["plan"]["description"]
    assert (properties["visits"]["type"], properties["visits"]["maximum"]) == ("integer", 2**63 - 1)
    assert properties["age"]["maximum"] == pytest.approx(3.4028235e38)


def test_what_was_seen_in_training_is_told_and_not_enforced(tmp_path: Path) -> None:
    """Ranges stand in words and in `x-seen`; a value beyond them still fits, here and there."""
    loaded = with_reference(tmp_path, "mixed", {"age": NUMBER, "visits": NUMBER, "plan": CATEGORY})
    described = document(loaded)
    record = described["components"]["schemas"]["Record"]

    age = record["properties"]["age"]
    assert age["x-seen"] == {"minimum": 1, "maximum": 90}
    assert age["description"] == "Seen from 1 to 90 in training."
    assert "31 rows" in record["description"]
    assert record["examples"] == [{"age": 30.0, "income": 0.5, "plan": "gold", "visits": 18}]
    beyond = {"age": 1e6, "plan": "gold", "visits": -5}
    Draft202012Validator(record).validate(beyond)
    answer = ask(handler(loaded), "POST", "/predict", {"records": [beyond]})
    assert answer["statusCode"] == 200


def test_a_reference_that_cannot_be_read_is_done_without(tmp_path: Path) -> None:
    """A broken reference leaves the ranges out, and nothing else."""
    loaded = with_reference(tmp_path, "classifier", {})
    (tmp_path / REFERENCE).write_text("{")

    assert document(loaded) == document(model("classifier"))


def test_a_row_that_the_project_refuses_is_no_example(tmp_path: Path) -> None:
    """Where the project's own code refuses typical values, the document has no examples."""
    folder = write_classifier(tmp_path)
    (folder / "processing.py").write_text(
        "def preprocess(records):\n    raise RuntimeError('not these')\n"
    )

    described = document(Model.load(folder))

    content = described["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert "examples" not in content["application/json"]
    assert "examples" not in described["components"]["schemas"]["Record"]
    assert [str(error) for error in OpenAPIV31SpecValidator(described).iter_errors()] == []


@pytest.mark.parametrize(
    ("authorizer", "scheme", "kind"),
    [
        ({"iam": {"accountId": "1"}}, "iam", "apiKey"),
        ({"jwt": {"claims": {}, "scopes": None}}, "jwt", "http"),
        ({"lambda": {"key": "k"}}, "api_key", "apiKey"),
    ],
)
def test_the_security_is_that_of_the_stage(
    authorizer: dict[str, Any], scheme: str, kind: str
) -> None:
    """A stage's access stands in the document: API Gateway says with each request which it was."""
    asked = event(method="GET", path="/openapi.json")
    asked["requestContext"]["authorizer"] = authorizer

    described = json.loads(handler(model("classifier"))(asked, None)["body"])

    assert described["security"] == [{scheme: []}]
    assert described["components"]["securitySchemes"][scheme]["type"] == kind
    assert {"401", "403"} <= set(described["paths"]["/predict"]["post"]["responses"])
    assert [str(error) for error in OpenAPIV31SpecValidator(described).iter_errors()] == []


@pytest.mark.parametrize("authorizer", [None, [], "iam", {"other": 1}])
def test_security_that_is_not_known(authorizer: Any) -> None:
    """Whatever stands in the place of an authorizer, the document is written."""
    asked = event(method="GET", path="/openapi.json")
    asked["requestContext"] |= {"authorizer": authorizer, "domainName": "x y\n", "routeKey": None}

    described = json.loads(handler(model("classifier"))(asked, None)["body"])

    assert "security" not in described
    assert described["servers"] == [{"url": "."}]
    assert "401" not in described["paths"]["/predict"]["post"]["responses"]


def test_the_server_is_the_one_that_was_asked() -> None:
    """Behind API Gateway paths begin at its URL, and a public stage says so."""
    described = document(model("classifier"))

    [server] = described["servers"]
    assert server["url"].startswith("https://")
    assert described["security"] == []


def test_several_models_in_one_document() -> None:
    """Each model has schemas and operations of its own name; what they share is there once."""
    one, other = Service(model("mixed"), "churn", "3"), Service(model("regressor"), "a b", "4")

    described = written(
        [
            Described(one, model("mixed"), predict_at=("/predict", "/churn/predict")),
            Described(other, model("regressor"), predict_at=("/a/predict",)),
        ]
    )

    assert [str(error) for error in OpenAPIV31SpecValidator(described).iter_errors()] == []
    identities = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(set(identities)) == len(identities)
    assert {"churn.Record", "a-b.Record", "ModelMetadata"} <= set(
        described["components"]["schemas"]
    )
    assert {"/predict", "/churn/predict", "/a/predict", "/v2"} <= set(described["paths"])
    resolved(described, described["paths"]["/a/predict"]["post"]["responses"]["400"])


@pytest.mark.parametrize("path", ["/invocations", "/endpoints/churn/invocations"])
def test_invocations_answer_as_documented(path: str) -> None:
    """CSV and JSON Lines are answered in a type that is listed, errors in the dialect's shape."""
    described = document(model("mixed"))
    operation = described["paths"][path]["post"]
    one = handler(model("mixed"))
    sent = {"text/csv": "30,,gold,2\n", "application/jsonlines": '[30, null, "gold", 2]\n'}

    for kind, body in sent.items():
        assert kind in operation["requestBody"]["content"]
        for wanted in sent:
            answer = ask(one, "POST", path, body, headers={"content-type": kind, "accept": wanted})
            assert answer["statusCode"] == 200, answer["body"]
            assert answer["headers"]["content-type"] in operation["responses"]["200"]["content"]

    for status, headers in (
        (400, {}),
        (404, {"x-amzn-sagemaker-target-model": "other"}),
        (406, {"accept": "image/png"}),
        (415, {"content-type": "image/png"}),
    ):
        answer = ask(one, "POST", path, "{}", headers=headers)
        assert answer["statusCode"] == status
        [content] = operation["responses"][str(status)]["content"].values()
        judge = Draft202012Validator({**content["schema"], "components": described["components"]})
        judge.validate(json.loads(answer["body"]))


def test_embeddings_are_told_of_models_that_make_them() -> None:
    """The path stands where a model makes vectors, and takes the names of those that do."""
    loaded = [Described(Service(model(one), one, "3"), model(one)) for one in ("mixed", "embedder")]
    described = written(loaded)
    path = "/v1/embeddings"
    asked = described["components"]["schemas"]["EmbeddingsRequest"]["properties"]

    assert asked["model"] == {"enum": ["embedder"]}
    assert path not in written(loaded[:1])["paths"]
    failed = described["paths"][path]["post"]["responses"]["404"]["content"]["application/json"]
    one = handler(model("embedder"))
    answer = ask(one, "POST", path, {"model": "nobody", "input": "good"})
    assert answer["statusCode"] == 404
    judge = Draft202012Validator({**failed["schema"], "components": described["components"]})
    judge.validate(json.loads(answer["body"]))
