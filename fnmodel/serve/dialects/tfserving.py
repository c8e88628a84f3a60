"""TF-Serving's REST API, which is KServe's V1 protocol, too: `POST /v1/models/{model}:predict`.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from fnmodel.errors import InputError
from fnmodel.model import Datatype, Signature, Tensor
from fnmodel.serve.body import read_object
from fnmodel.serve.dialects import given
from fnmodel.serve.dialects.given import Given
from fnmodel.serve.dialects.scored import entries, score
from fnmodel.serve.endpoint import Answer, Call
from fnmodel.serve.service import Service

if TYPE_CHECKING:
    from fnmodel.capture.rows import Pairs

_KEYS = ("instances", "inputs", "signature_name")

_DTYPES: dict[Datatype, str] = {
    "BOOL": "DT_BOOL", "BYTES": "DT_STRING", "FP16": "DT_HALF", "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE", "INT8": "DT_INT8", "INT16": "DT_INT16", "INT32": "DT_INT32",
    "INT64": "DT_INT64", "UINT8": "DT_UINT8", "UINT16": "DT_UINT16", "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
}  # fmt: skip


def predict(service: Service, call: Call) -> Answer:
    """Answer `instances` by `predictions`, an entry a row, and `inputs` by `outputs`."""
    model = service.opened(call)
    rows, key = _read(model.signature, call.raw)
    scored = score(model, rows, len(call.raw))
    found = scored.tensors()
    if key == "predictions":
        found = scored.by_row(found)
    body = orjson.dumps({key: found})
    return Answer(body, rows=scored.rows, pairs=partial(_pairs, model.signature))


def status(service: Service, call: Call) -> Answer:
    """Answer what state the model is in, as TF-Serving's, KServe's and OpenAI's clients read it."""
    service.opened(call)
    known = {"error_code": "OK", "error_message": ""}
    return Answer.of(
        {
            "model_version_status": [
                {"version": service.version, "state": "AVAILABLE", "status": known}
            ],
            "name": service.name,
            "ready": True,
            "id": service.name,
            "object": "model",
            "created": 0,
            "owned_by": "fnmodel",
        }
    )


def metadata(service: Service, call: Call) -> Answer:
    """Answer inputs and outputs as TF-Serving's one signature."""
    signature = service.opened(call).signature
    served = {
        "inputs": {tensor.name: _described(tensor) for tensor in signature.inputs},
        "outputs": {tensor.name: _described(tensor) for tensor in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    spec = {"name": service.name, "signature_name": "", "version": service.version}
    known = {"signature_def": {"signature_def": {"serving_default": served}}}
    return Answer.of({"model_spec": spec, "metadata": known})


def _described(tensor: Tensor) -> dict[str, Any]:
    # Numbers of 64 bits are texts in the JSON of protocol buffers.
    dim = [{"size": str(size), "name": ""} for size in tensor.shape]
    return {
        "dtype": _DTYPES[tensor.datatype],
        "tensor_shape": {"dim": dim, "unknown_rank": False},
        "name": tensor.name,
    }


def _read(signature: Signature, raw: bytes) -> tuple[Given, str]:
    """Return the rows of a body, and the key of its answer."""
    body = read_object(given.without_nan(raw))
    extra = next((key for key in body if key not in _KEYS), None)
    if extra is not None:
        raise InputError(f"the body has an unknown field {extra[:60]!r}; it takes {_LISTED}")
    if ("instances" in body) == ("inputs" in body):
        raise InputError("the body must have either `instances` or `inputs`")
    given.check_signature_name(body)
    if b'"b64"' in raw:
        # Texts stand as deep as the deepest tensor, below rows and names; what is deeper is wrong.
        deepest = max(len(tensor.shape) for tensor in signature.inputs)
        body = _decoded(body, deepest + 4)
    if "instances" in body:
        if not isinstance(body["instances"], list):
            raise InputError("`instances` is not a list")
        return given.of_instances(body["instances"], signature), "predictions"
    return given.of_inputs(body["inputs"], signature), "outputs"


_LISTED = ", ".join(_KEYS)


def _decoded(value: Any, depth: int) -> Any:
    """Return a value with each `{"b64": …}`, by which TF-Serving sends bytes, as a text."""
    if not depth:
        return value
    if isinstance(value, list):
        return [_decoded(item, depth - 1) for item in value]
    if not isinstance(value, Mapping):
        return value
    if list(value) != ["b64"]:
        return {name: _decoded(inner, depth - 1) for name, inner in value.items()}
    try:
        return base64.b64decode(value["b64"], validate=True).decode()
    except (TypeError, ValueError):
        raise InputError("`b64` is not the base64 of a text in UTF-8") from None


def _pairs(signature: Signature, raw: bytes, body: bytes) -> "Pairs | None":
    """Return rows and predictions of a request that was answered."""
    rows, key = _read(signature, raw)
    return entries(rows.rows(), orjson.loads(body)[key])
