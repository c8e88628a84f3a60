"""The paths of other servers' clients, as `fnmodel.serve.dialects` answers them."""

from functools import partial
from typing import Any

from fnmodel.serve.dialects import invocations, routes, tfserving
from fnmodel.serve.endpoint import Call
from fnmodel.serve.models import Models
from fnmodel.serve.openapi import operation
from fnmodel.serve.openapi.described import Described
from fnmodel.serve.openapi.operation import JSON, Part, PathItem, get, post, renamed
from fnmodel.serve.openapi.schema import TEXT, Names, Schema, array, obj, ref

_V1, _V1_ABOUT = "tf-serving", "TF-Serving's REST API and KServe's V1, for their clients."
_ML, _ML_ABOUT = "mlflow-sagemaker", "MLflow's and SageMaker's paths, for their clients."
_PLAIN = "text/plain; charset=utf-8"
_MLFLOW, _SAGEMAKER = "MlflowError", "SagemakerError"
_SAID = {"error": TEXT, "message": TEXT}
_ERRORS: dict[str, Schema] = {
    _MLFLOW: obj({"error_code": TEXT, **_SAID}, "error_code", *_SAID),
    _SAGEMAKER: obj(
        {
            "code": {"enum": ["ModelError", "ValidationError"]},
            **_SAID,
            "OriginalStatusCode": {"type": "integer"},
            "OriginalMessage": TEXT,
        },
        *("code", *_SAID),
    ),
}


def tfserving_part(model: Described, names: Names) -> Part:
    """Return a model's paths below /v1/models, with and without its version."""
    base, pinned = f"/v1/models/{model.name}", f"/v1/models/{model.name}/versions/{model.version}"
    request = _typical(model)
    answer = request and model.answer(partial(tfserving.predict, model.service), request)
    predict = post(
        names("v1Predict"), f"Predict with {model.name}, as TF-Serving",
        names.ref("V1Request"), ref("V1Response"), (request, answer) if answer else None,
    )  # fmt: skip
    about, state = (
        get(names(name), f"{text} {model.name}, as TF-Serving", {"type": "object"},
            model.answer(partial(function, model.service), None), loaded=True)
        for name, text, function in (
            ("v1Metadata", "Inputs and outputs of", tfserving.metadata),
            ("v1Status", "State of", tfserving.status),
        )
    )  # fmt: skip
    paths = {}
    for root, prefix in ((base, "v1"), (pinned, "v1Version")):
        paths[f"{root}:predict"] = renamed(predict, names(f"{prefix}Predict"))
        paths[root] = renamed(state, names(f"{prefix}Status"))
        paths[f"{root}/metadata"] = renamed(about, names(f"{prefix}Metadata"))
    rows, columns = _rows(model, names)
    schemas = {
        names("V1Request"): {"anyOf": [_one("instances", rows), _one("inputs", columns)]},
        "V1Response": {"anyOf": [obj({key: {}}, key) for key in ("predictions", "outputs")]},
    }
    return Part(_V1, _V1_ABOUT, paths, schemas, folded=True)


def sagemaker_part(model: Described, names: Names) -> Part:
    """Return the path that SageMaker's runtime has for a model."""
    item = _invocations(model, names, names("endpointInvocations"), _SAGEMAKER)
    rows, columns = _rows(model, names)
    forms = {"dataframe_records": rows, "instances": rows, "inputs": columns}
    split = obj({"columns": array(TEXT), "data": array(array({}))}, "data")
    schemas = {
        names("Invocations"): {
            "anyOf": [_one(key, form) for key, form in {**forms, "dataframe_split": split}.items()]
        },
        "Invoked": obj({"predictions": {}}, "predictions"),
        **_ERRORS,
    }
    paths = {f"/endpoints/{model.name}/invocations": item}
    return Part(_ML, _ML_ABOUT, paths, schemas, folded=True)


def shared_part(models: list[Described], names: Names) -> Part:
    """Return the paths that name no model; rows are the first one's, `names` its names."""
    first = models[0]
    listed = routes.table(Models(tuple(model.service for model in models)))
    answers = {path: answer for _, path, answer in listed}
    paths = {"/invocations": _invocations(first, names, "invocations", _MLFLOW)}
    for path, name, text in (
        ("/", "alive", "Whether the models are loaded, as KServe"),
        ("/v1/models", "v1Models", "The models, as KServe and OpenAI"),
    ):
        example = first.answer(answers[path], None)
        paths[path] = get(name, text, {"type": "object"}, example, loaded=path == "/")
    for path, name, text, example in (
        ("/ping", "ping", "Whether the models are loaded, as SageMaker", "\n"),
        ("/health", "health", "Whether the models are loaded, as MLflow", "\n"),
        ("/version", "versionText", "The model's version, as MLflow", first.version),
    ):
        item = get(name, text, TEXT, example, loaded=path != "/version")
        good = item["get"]["responses"]["200"]
        good["content"] = {_PLAIN: good["content"][JSON]}
        paths[path] = item
    return Part(_ML, _ML_ABOUT, paths, _ERRORS, folded=True)


def _invocations(model: Described, names: Names, name: str, error: str) -> PathItem:
    request = _typical(model)

    def answered(call: Call) -> Any:
        return invocations.answer(model.service, call)

    answer = request and model.answer(answered, request)
    item = post(
        name, f"Predict with {model.name}, by JSON, CSV or JSON Lines",
        names.ref("Invocations"), ref("Invoked"), (request, answer) if answer else None,
    )  # fmt: skip
    asked = item["post"]
    for kind in (invocations.CSV, invocations.LINES[0]):
        asked["requestBody"]["content"][kind] = {"schema": TEXT}
    good = asked["responses"]["200"]["content"]
    good[f"{invocations.CSV}; charset=utf-8"] = good[invocations.LINES[0]] = {"schema": TEXT}
    failed = sorted({*asked["responses"], "404", "406"} - {"200"})
    asked["responses"] |= {status: operation.failure(status, ref(error)) for status in failed}
    return item


def _typical(model: Described) -> dict[str, Any] | None:
    """Return one row, as TF-Serving's and MLflow's clients both send it."""
    if model.signature.asked:
        return {"instances": [model.record]}
    asked = model.tensors
    return asked and {
        "inputs": {one["name"]: _nested(one["data"], one["shape"]) for one in asked["inputs"]}
    }


def _nested(data: list[Any], shape: list[int]) -> list[Any]:
    if len(shape) < 2 or not shape[0]:
        return data
    size = len(data) // shape[0]
    return [_nested(data[at * size :][:size], shape[1:]) for at in range(shape[0])]


def _rows(model: Described, names: Names) -> tuple[Schema, Schema]:
    """Return the schemas of an entry a row, and of a list a feature or input."""
    if not model.predict_at:
        inputs = [tensor.name for tensor in model.signature.inputs]
        return array({}), obj({name: {} for name in inputs}, *inputs)
    rows = array(names.ref("Record"))
    columns: dict[str, Any] = {one.name: array({}) for one in model.signature.asked}
    needed = [one.name for one in model.signature.asked if not one.nullable]
    return rows, obj(columns, *needed, closed=True)


def _one(key: str, form: Schema) -> Schema:
    return obj({key: form}, key)
