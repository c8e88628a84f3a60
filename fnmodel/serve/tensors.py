"""The Open Inference Protocol's inference request in, tensors out, and back again.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, NamedTuple

from fnmodel.encoding import Inference, T
from fnmodel.errors import InputError
from fnmodel.model import Signature, Tensor
from fnmodel.values import short

EXTENSIONS = ["binary_tensor_data", "classification"]
"""What of Triton's extensions is here, by the names that servers list."""

Parameters = Mapping[str, str | int | float | bool]


class Asked(NamedTuple):
    """An output that a request asks for: in binary or JSON, and of scores the best `classes`."""

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class InferRequest(Generic[T]):
    """A checked request: input tensors by name, the outputs asked for, the id to echo.

    `rows` is the length of the first dimension of the first input.
    """

    tensors: Mapping[str, T]
    outputs: Sequence[Asked]
    id: str | None
    rows: int


def read_request(body: Mapping[str, Any], binary: bytes, way: Inference[T]) -> InferRequest[T]:
    """Check an inference request against the signature and make its tensors.

    `binary` holds the tensors whose `data` is not in the body, in the order of the inputs.

    Raises:
        InputError: an input is missing, unknown, given twice, or its datatype, shape or data do
            not fit; an output is unknown, or cannot be given as asked; a parameter has another
            type; names the input, and row and field where it can.

    """
    signature = way.signature
    identity = body.get("id")
    if identity is not None and not isinstance(identity, str):
        raise InputError("`id` is not a string")
    parameters = _parameters(body, "the request")
    given = _by_name(body.get("inputs"), "inputs")
    known = {tensor.name: tensor for tensor in signature.inputs}
    _check_known(given, known, "input")
    missing = [name for name in known if name not in given]
    if missing:
        raise InputError(f"missing input {', '.join(map(repr, missing[:5]))}")
    outputs = _outputs(body, parameters, signature)
    parts = _binary(given, binary)
    tensors = {name: _tensor(way, known[name], given[name], parts.get(name)) for name in known}
    rows = [tensor.shape[0] if tensor.shape else 1 for tensor in tensors.values()]
    if signature.features and len(set(rows)) > 1:
        raise InputError("the inputs have different numbers of rows")
    return InferRequest(tensors, outputs, identity, rows[0] if rows else 0)


def response(
    request: InferRequest[T],
    outputs: Mapping[str, T],
    way: Inference[T],
    *,
    name: str,
    version: str,
) -> tuple[dict[str, Any], bytes | None]:
    """Return the inference response, its data flat, and what comes behind it in binary, if any."""
    answer: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    kind = way.kind
    parts: list[bytes] = []
    answer["outputs"] = described = []
    for asked in request.outputs:
        tensor = outputs[asked.name]
        if asked.classes:
            tensor = _classified(way, asked, tensor)
        item: dict[str, Any] = {
            "name": asked.name,
            "datatype": kind.datatype(tensor),
            "shape": tensor.shape,
        }
        if asked.binary:
            parts.append(kind.written(tensor))
            item["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            item["data"] = kind.flat(tensor)
        described.append(item)
    return answer, b"".join(parts) if parts else None


def _classified(way: Inference[T], asked: Asked, tensor: T) -> T:
    # Few ask for it, and a cold start pays for each module.
    from fnmodel.serve.classification import best

    signature = way.signature
    labels = signature.classes if asked.name == signature.scores else ()
    return best(way.kind, tensor, asked.classes, labels)


def metadata(signature: Signature, *, name: str, version: str) -> dict[str, Any]:
    """Return the model metadata response."""
    return {
        "name": name,
        "versions": [version],
        "platform": "onnx_onnxv1",
        "inputs": [_describe(tensor) for tensor in signature.inputs],
        "outputs": [_describe(tensor) for tensor in signature.outputs],
    }


def _describe(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _outputs(body: Mapping[str, Any], parameters: Parameters, signature: Signature) -> list[Asked]:
    binary = _flag(parameters, "binary_data_output", "the request", default=False)
    known = {tensor.name: tensor for tensor in signature.outputs}
    asked = body.get("outputs")
    if asked is None or asked == []:
        return [Asked(name, binary) for name in known]
    chosen = _by_name(asked, "outputs")
    _check_known(chosen, known, "output")
    return [_asked(known[name], item, binary=binary) for name, item in chosen.items()]


def _asked(tensor: Tensor, item: Mapping[str, Any], *, binary: bool) -> Asked:
    where = f"output {tensor.name!r}"
    parameters = _parameters(item, where)
    classes = _number(parameters, "classification", where)
    if classes is not None and classes < 1:
        raise InputError(f"{where}: `classification` is a number of classes of at least 1")
    if classes and tensor.datatype in ("BYTES", "BOOL"):
        raise InputError(f"{where}: `classification` needs numbers, and it is {tensor.datatype}")
    binary = _flag(parameters, "binary_data", where, default=binary)
    return Asked(tensor.name, binary, classes or 0)


def _by_name(items: Any, key: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(items, list):
        raise InputError(f"`{key}` is not a list")
    named: dict[str, Mapping[str, Any]] = {}
    for position, item in enumerate(items):
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(name, str):
            raise InputError(f"`{key}[{position}]` is not an object with a `name`")
        if name in named:
            raise InputError(f"{key[:-1]} {short(name)!r} is given twice")
        named[name] = item
    return named


def _check_known(given: Mapping[str, Any], known: Any, noun: str) -> None:
    for name in given:
        if name not in known:
            listed = ", ".join(map(repr, list(known)[:10]))
            raise InputError(f"unknown {noun} {short(name)!r}; this model has {listed}")


def _parameters(item: Mapping[str, Any], where: str) -> Parameters:
    """Return parameters of any name, since the protocol leaves them open; a null is none."""
    given = item.get("parameters")
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: `parameters` is not an object")
    parameters = {}
    for name, value in given.items():
        if isinstance(value, list | Mapping):
            raise InputError(
                f"{where}: parameter {short(name)!r} is not a string, a number or a boolean"
            )
        if name.startswith("shared_memory_"):
            raise InputError(f"{where}: there is no shared memory with this server")
        if value is not None:
            parameters[name] = value
    return parameters


def _flag(parameters: Parameters, name: str, where: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{where}: `{name}` is not true or false")
    return value


def _number(parameters: Parameters, name: str, where: str) -> int | None:
    value = parameters.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise InputError(f"{where}: `{name}` is not an integer of at least 0")
    return value


def _binary(given: Mapping[str, Mapping[str, Any]], raw: bytes) -> dict[str, bytes]:
    """Return the bytes of each input in binary, which have to be all of `raw`."""
    parts: dict[str, bytes] = {}
    at = 0
    for name, item in given.items():
        if "parameters" not in item:
            continue
        where = f"input {name!r}"
        size = _number(_parameters(item, where), "binary_data_size", where)
        if size is None:
            continue
        if item.get("data") is not None:  # KServe's client sends a null
            raise InputError(f"{where}: give `data` or `binary_data_size`, not both")
        if size > len(raw) - at:
            raise InputError(
                f"{where}: `binary_data_size` is {size:,}, and {len(raw) - at:,} bytes are left "
                "behind the JSON, which ends where the header Inference-Header-Content-Length says"
            )
        parts[name] = raw[at : at + size]
        at += size
    if at < len(raw):
        raise InputError(f"{len(raw) - at:,} bytes behind the JSON belong to no input")
    return parts


def _tensor(way: Inference[T], tensor: Tensor, given: Mapping[str, Any], raw: bytes | None) -> T:
    where = f"input {tensor.name!r}"
    if given.get("datatype") != tensor.datatype:
        raise InputError(f"{where}: `datatype` must be {tensor.datatype!r}")
    shape = _shape(tensor, given.get("shape"), where)
    if raw is not None:
        return way.encode_binary(tensor, shape, raw)
    if tensor.datatype == "FP16":
        raise InputError(f"{where}: JSON cannot carry FP16; send it in binary")
    data = given.get("data")
    if not isinstance(data, list):
        raise InputError(f"{where}: `data` is not a list")
    return way.encode_tensor(tensor, shape, _row_major(data, shape, where))


def _shape(tensor: Tensor, shape: Any, where: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise InputError(f"{where}: `shape` must be a list of integers of at least 0")
    fits = len(shape) == len(tensor.shape) and all(
        fixed in (-1, size) for fixed, size in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise InputError(f"{where}: `shape` must be {list(tensor.shape)}, where -1 is any number")
    # A zero hides what stands beside it from the product, and numpy counts in 63 bits.
    if math.prod(size or 1 for size in shape) >= 2**40:
        raise InputError(f"{where}: `shape` is too large")
    return tuple(shape)


def _row_major(data: list[Any], shape: Sequence[int], where: str) -> list[Any]:
    """Return flat values of nested or flat data, checked against the shape."""
    nested = len(shape) > 1 and bool(data) and isinstance(data[0], list)
    if not nested and len(data) == math.prod(shape):
        return data
    sizes = shape if nested else [math.prod(shape)]
    level = [data]
    for depth, size in enumerate(sizes):
        if not all(type(item) is list and len(item) == size for item in level):
            raise InputError(
                f"{where}: `data` does not fill `shape` {list(shape)}"
                + (f" (level {depth} of nesting should hold {size})" if nested else "")
            )
        level = list(chain.from_iterable(level))
    return level
