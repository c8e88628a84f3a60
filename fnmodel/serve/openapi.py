"""The OpenAPI 3.1 document of one model's endpoint, typed from its signature."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnmodel.arrays import DTYPES
from fnmodel.model import Feature, Signature, Tensor
from fnmodel.serve.body import LIMIT

_JSON, _BINARY = "application/json", "application/octet-stream"
_HEAD = "Inference-Header-Content-Length"
_NO_NUL = "^[^\\u0000]*$"


def document(signature: Signature, *, name: str, version: str) -> dict[str, Any]:
    """Return the document as plain data.

    `integer` admits 3.0, as JSON Schema says and the endpoint accepts. Known categories are an
    enum, although the model also answers for unknown ones.
    """
    base, pinned = f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"
    infer = _with_binary(
        _post("infer", "Infer from tensors", _ref("InferRequest"), _ref("InferResponse"))
    )
    paths: dict[str, Any] = {
        "/v2": _get("server", "Server metadata", _ref("ServerMetadata")),
        "/v2/health/live": _get("live", "Liveness", _flags("live")),
        "/v2/health/ready": _get("ready", "Readiness", _flags("live", "ready")),
        base: _get("model", "Model metadata", _ref("ModelMetadata")),
        f"{base}/ready": _get("modelReady", "Model readiness", _ref("ModelReady")),
        f"{base}/infer": infer,
        pinned: _get("version", "Model metadata", _ref("ModelMetadata")),
        f"{pinned}/ready": _get("versionReady", "Model readiness", _ref("ModelReady")),
        f"{pinned}/infer": _renamed(infer, "versionInfer"),
    }
    schemas = _protocol(signature)
    if signature.asked:
        predict = _post(
            "predict", "Predict from named features", _ref("Predict"), _ref("Predictions")
        )
        named = _renamed(predict, "modelPredict")
        paths = {"/predict": predict, f"/models/{name}/predict": named} | paths
        schemas |= {
            "Record": _record(signature.asked),
            "Predict": _object({"records": _array(_ref("Record"))}, "records", closed=True),
            "Prediction": _prediction(signature),
            "Predictions": _object(
                {
                    "predictions": _array(_ref("Prediction")),
                    "model_name": {"type": "string"},
                    "model_version": {"type": "string"},
                },
                *("predictions", "model_name", "model_version"),
            ),
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def together(documents: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return one document of several by the models' names, the first one first.

    Paths that name no model are the first one's. Schemas and operations have the model's name in
    front, since each model has its own.
    """
    whole: dict[str, Any] = {}
    for name, document in documents.items():
        text = json.dumps(document).replace(
            '"#/components/schemas/', f'"#/components/schemas/{name}.'
        )
        one = json.loads(text)
        named = {path: item for path, item in one["paths"].items() if f"/models/{name}" in path}
        for operation in (item for methods in named.values() for item in methods.values()):
            operation["operationId"] = f"{name}.{operation['operationId']}"
        schemas = {f"{name}.{key}": value for key, value in one["components"]["schemas"].items()}
        if not whole:
            whole = {**one, "components": {"schemas": {}}}
        whole["paths"] |= named
        whole["components"]["schemas"] |= schemas
    return whole


def example(feature: Feature) -> Any:
    """Return a value that this feature accepts."""
    if feature.categories:
        return feature.categories[0]
    return {"BYTES": "text", "BOOL": True}.get(feature.datatype, 0 if _whole(feature) else 0.5)


def _whole(feature: Feature) -> bool:
    return feature.integral or DTYPES[feature.datatype].kind in "iu"


def _record(features: tuple[Feature, ...]) -> dict[str, Any]:
    required = [feature.name for feature in features if not feature.nullable]
    return {
        **_object({f.name: _value(f) for f in features}, *required, closed=True),
        "examples": [{feature.name: example(feature) for feature in features}],
    }


def _value(feature: Feature) -> dict[str, Any]:
    schema = _element(feature.datatype)
    if feature.datatype not in ("BYTES", "BOOL"):
        schema["type"] = "integer" if _whole(feature) else "number"
    if feature.categories:
        known: list[Any] = list(feature.categories)
        schema["enum"] = [*known, None] if feature.nullable else known
    if feature.nullable:
        schema["type"] = [schema["type"], "null"]
    return schema


def _element(datatype: str) -> dict[str, Any]:
    """Return the schema of one value of a tensor."""
    dtype = DTYPES[datatype]
    if dtype.kind == "O":
        return {"type": "string", "pattern": _NO_NUL}
    if dtype.kind == "b":
        return {"type": "boolean"}
    whole = dtype.kind in "iu"
    limits: Any = np.iinfo(dtype) if whole else np.finfo(dtype)
    number = int if whole else float
    return {
        "type": "integer" if whole else "number",
        "minimum": number(limits.min),
        "maximum": number(limits.max),
    }


def _prediction(signature: Signature) -> dict[str, Any]:
    number = {"type": ["number", "null"]}
    if signature.label is not None:
        label = {"enum": list(signature.classes)} if signature.classes else {}
        if signature.scores is None:
            return _object({"label": label}, "label")
        names = [str(name) for name in signature.classes]
        scores = _object(dict.fromkeys(names, number), *names)
        return _object({"label": label, "probabilities": scores}, "label", "probabilities")
    if signature.task == "regression" and len(signature.outputs) == 1:
        return _object({"value": {}}, "value")
    names = [tensor.name for tensor in signature.outputs]
    return _object({name: {} for name in names}, *names)


def _protocol(signature: Signature) -> dict[str, Any]:
    """Return the schemas of the Open Inference Protocol, with this model's tensors."""
    text = {"type": "string"}
    described = _object({"name": text, "datatype": text, "shape": _array({"type": "integer"})})
    inputs = [_input(tensor) for tensor in signature.inputs]
    outputs = [tensor.name for tensor in signature.outputs]
    return {
        "Error": _object({"error": text}, "error"),
        "ServerMetadata": _object({"name": text, "version": text, "extensions": _array(text)}),
        "ModelReady": _object({"name": text, "ready": {"type": "boolean"}}),
        "ModelMetadata": _object(
            {
                "name": text,
                "versions": _array(text),
                "platform": text,
                "inputs": _array(described),
                "outputs": _array(described),
            },
            *("name", "platform"),
        ),
        "InferRequest": _object(
            {
                "id": text,
                "parameters": _object({"binary_data_output": {"type": "boolean"}}),
                "inputs": {
                    **_array({"oneOf": inputs} if len(inputs) > 1 else inputs[0]),
                    "minItems": len(inputs),
                    "maxItems": len(inputs),
                },
                "outputs": _array(
                    _object({"name": {"enum": outputs}, "parameters": _asked()}, "name")
                ),
            },
            "inputs",
        ),
        "InferResponse": _object(
            {
                "model_name": text,
                "model_version": text,
                "id": text,
                "outputs": _array(
                    _object(
                        {
                            "name": {"enum": outputs},
                            "datatype": text,
                            "shape": _array({"type": "integer"}),
                            "data": _array({}),
                        },
                        *("name", "datatype", "shape", "data"),
                    )
                ),
            },
            *("model_name", "outputs"),
        ),
    }


def _asked() -> dict[str, Any]:
    classes = {"type": "integer", "minimum": 1}
    return _object({"binary_data": {"type": "boolean"}, "classification": classes})


def _input(tensor: Tensor) -> dict[str, Any]:
    sizes = [
        {"type": "integer", "minimum": 0} if size < 0 else {"const": size} for size in tensor.shape
    ]
    return _object(
        {
            "name": {"const": tensor.name},
            "datatype": {"const": tensor.datatype},
            "shape": {
                "type": "array",
                **({"prefixItems": sizes} if sizes else {}),
                "minItems": len(sizes),
                "maxItems": len(sizes),
            },
            "data": {"type": "array", "description": "row-major, nested or flat"},
        },
        *("name", "datatype", "shape", "data"),
    )


def _object(properties: dict[str, Any], *required: str, closed: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    if closed:
        schema["additionalProperties"] = False
    return schema


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _flags(*names: str) -> dict[str, Any]:
    return _object({name: {"type": "boolean"} for name in names}, *names)


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _get(operation: str, summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"get": _operation(operation, summary, schema, "503")}


def _post(
    operation: str, summary: str, request: dict[str, Any], answer: dict[str, Any]
) -> dict[str, Any]:
    description = f"at most {LIMIT:,} bytes"
    return {
        "post": {
            **_operation(operation, summary, answer, "400", "413", "415", "503", "504", "507"),
            "requestBody": {
                "required": True,
                "description": description,
                "content": {_JSON: {"schema": request}},
            },
        }
    }


def _operation(
    operation: str, summary: str, schema: dict[str, Any], *statuses: str
) -> dict[str, Any]:
    texts = {
        "400": "the request does not fit the model",
        "413": "the request or its answer is too large; use batch",
        "415": "the body is compressed, and neither in gzip nor in deflate",
        "503": "the model is not loaded",
        "504": "the model was stopped, since its answer would have come too late",
        "507": "the model asks for more memory than there is",
    }
    failures = {
        status: {
            "description": texts[status],
            "content": {_JSON: {"schema": _ref("Error")}},
        }
        for status in statuses
    }
    good = {"description": "the answer", "content": {_JSON: {"schema": schema}}}
    return {"operationId": operation, "summary": summary, "responses": {"200": good, **failures}}


def _with_binary(item: dict[str, Any]) -> dict[str, Any]:
    """Add the binary tensor extension: JSON of so many bytes, then the tensors."""
    size = {"schema": {"type": "integer", "minimum": 1}, "description": "bytes of the body's JSON"}
    post = item["post"]
    good = post["responses"]["200"]
    post["parameters"] = [{"name": _HEAD, "in": "header", **size}]
    post["requestBody"]["content"][_BINARY] = {}
    good["content"][_BINARY] = {}
    good["headers"] = {_HEAD: size}
    return item


def _renamed(item: dict[str, Any], operation: str) -> dict[str, Any]:
    return {method: {**value, "operationId": operation} for method, value in item.items()}
