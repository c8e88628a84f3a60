"""The paths of the Open Inference Protocol, with a model's own tensors.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from typing import Any

from fnmodel.model import Signature, Tensor
from fnmodel.serve import tensors
from fnmodel.serve.openapi.described import Described
from fnmodel.serve.openapi.operation import BINARY, Part, PathItem, get, post, renamed
from fnmodel.serve.openapi.schema import TEXT, Names, Schema, array, element, obj, ref

_TAG = "inference"
_ABOUT = "The Open Inference Protocol: tensors in, tensors out."
_HEAD = "Inference-Header-Content-Length"
_SIZE: dict[str, Any] = {
    "schema": {"type": "integer", "minimum": 1},
    "description": "Bytes of the body that are JSON; binary tensors follow.",
}
_SHAPE = array({"type": "integer"}, description="-1 is any length.")
_DESCRIBED = obj({"name": TEXT, "datatype": TEXT, "shape": _SHAPE}, "name", "datatype", "shape")
SCHEMAS: dict[str, Schema] = {
    "ModelReady": obj({"name": TEXT, "ready": {"type": "boolean"}}, "name", "ready"),
    "ModelMetadata": obj(
        {
            "name": TEXT,
            "versions": array(TEXT),
            "platform": TEXT,
            "inputs": array(_DESCRIBED),
            "outputs": array(_DESCRIBED),
        },
        *("name", "platform", "inputs", "outputs"),
    ),
}


def inference_part(model: Described, names: Names) -> Part:
    """Return a model's paths below /v2/models, with and without its version."""
    base, pinned = f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/{model.version}"
    request = model.tensors
    answer = request and model.answer(model.service.infer, request, model=model.name)
    infer = _with_binary(
        post(
            names("infer"),
            f"Infer from tensors with {model.name}",
            names.ref("InferRequest"),
            names.ref("InferResponse"),
            (request, answer) if answer else None,
        )
    )
    metadata = tensors.metadata(model.signature, name=model.name, version=model.version)
    about = get(
        names("model"), f"Inputs and outputs of {model.name}", ref("ModelMetadata"), metadata,
        loaded=True,
    )  # fmt: skip
    ready = get(
        names("modelReady"), f"Whether {model.name} is loaded", ref("ModelReady"),
        {"name": model.name, "ready": True}, loaded=True,
    )  # fmt: skip
    paths = {
        base: about,
        f"{base}/ready": ready,
        f"{base}/infer": infer,
        pinned: renamed(about, names("version")),
        f"{pinned}/ready": renamed(ready, names("versionReady")),
        f"{pinned}/infer": renamed(infer, names("versionInfer")),
    }
    own = {
        names("InferRequest"): _request(model.signature),
        names("InferResponse"): _response(model.signature),
    }
    return Part(_TAG, _ABOUT, paths, {**SCHEMAS, **own})


def _request(signature: Signature) -> Schema:
    inputs = [_input(tensor, signature) for tensor in signature.inputs]
    outputs = [tensor.name for tensor in signature.outputs]
    asked = obj({"name": {"enum": outputs}, "parameters": _asked()}, "name")
    return obj(
        {
            "id": {"type": "string", "description": "Echoed."},
            "parameters": obj({"binary_data_output": {"type": "boolean"}}),
            "inputs": array(
                {"oneOf": inputs} if len(inputs) > 1 else inputs[0],
                minItems=len(inputs),
                maxItems=len(inputs),
            ),
            "outputs": array(asked, description="The outputs asked for, in order; else all."),
        },
        "inputs",
    )


def _response(signature: Signature) -> Schema:
    output = obj(
        {
            "name": {"enum": [tensor.name for tensor in signature.outputs]},
            "datatype": TEXT,
            "shape": array({"type": "integer"}),
            "data": array({}, description="Row-major and flat; NaN and infinities are null."),
        },
        *("name", "datatype", "shape", "data"),
    )
    return obj(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "id": {"type": "string", "description": "That of the request."},
            "outputs": array(output),
        },
        *("model_name", "outputs"),
    )


def _asked() -> Schema:
    classes = {"type": "integer", "minimum": 1, "description": "The best so many, with labels."}
    return obj({"binary_data": {"type": "boolean"}, "classification": classes})


def _input(tensor: Tensor, signature: Signature) -> Schema:
    sizes = [
        {"type": "integer", "minimum": 0} if size < 0 else {"const": size} for size in tensor.shape
    ]
    shape = {
        "type": "array",
        **({"prefixItems": sizes} if sizes else {}),
        "minItems": len(sizes),
        "maxItems": len(sizes),
    }
    known = {"name": {"const": tensor.name}, "datatype": {"const": tensor.datatype}, "shape": shape}
    if tensor.datatype == "FP16":  # JSON has no digits for it that all servers agree on
        size = obj({"binary_data_size": {"type": "integer", "minimum": 0}}, "binary_data_size")
        return obj({**known, "parameters": size}, *known, "parameters")
    return obj({**known, "data": _data(tensor, signature)}, *known, "data")


def _data(tensor: Tensor, signature: Signature) -> Schema:
    value = element(tensor.datatype)
    features = signature.features
    if any(one.nullable for one in features) or (not features and value["type"] == "number"):
        value["type"] = [value["type"], "null"]
    nested = {"type": "array", "description": "Values of one more dimension."}
    return array({"anyOf": [value, nested]}, description="Row-major, nested or flat.")


def _with_binary(item: PathItem) -> PathItem:
    """Add the binary tensor extension: JSON of so many bytes, then the tensors."""
    body = {"schema": {"type": "string", "contentMediaType": BINARY}}
    asked = item["post"]
    good = asked["responses"]["200"]
    asked["parameters"].append({"name": _HEAD, "in": "header", "required": False, **_SIZE})
    asked["requestBody"]["content"][BINARY] = body
    good["content"][BINARY] = body
    good["headers"][_HEAD] = _SIZE
    return item
