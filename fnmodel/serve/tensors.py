"""The Open Inference Protocol's inference request in, tensors out, and back again.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic

from fnmodel.encoding import Inference, Kind, T
from fnmodel.errors import InputError
from fnmodel.model import Signature, Tensor


@dataclass(frozen=True)
class InferRequest(Generic[T]):
    """A checked request: input tensors by name, the outputs asked for, the id to echo.

    `rows` is the length of the first dimension of the first input.
    """

    tensors: Mapping[str, T]
    outputs: tuple[str, ...]
    id: str | None
    rows: int


def read_request(body: Mapping[str, Any], way: Inference[T]) -> InferRequest[T]:
    """Check an inference request against the signature and make its tensors.

    Raises:
        InputError: an input is missing, unknown, given twice, or its datatype, shape or data do
            not fit; an output is unknown; names the input, and row and field where it can.

    """
    signature = way.signature
    identity = body.get("id")
    if identity is not None and not isinstance(identity, str):
        raise InputError("`id` is not a string")
    _parameters(body, "the request")
    given = _by_name(body.get("inputs"), "inputs")
    known = {tensor.name: tensor for tensor in signature.inputs}
    _check_known(given, known, "input")
    missing = [name for name in known if name not in given]
    if missing:
        raise InputError(f"missing input {', '.join(map(repr, missing[:5]))}")
    outputs = _outputs(body, signature)
    tensors = {name: _tensor(way, known[name], given[name]) for name in known}
    rows = [tensor.shape[0] if tensor.shape else 1 for tensor in tensors.values()]
    if signature.features and len(set(rows)) > 1:
        raise InputError("the inputs have different numbers of rows")
    return InferRequest(tensors, outputs, identity, rows[0] if rows else 0)


def response(
    request: InferRequest[T],
    outputs: Mapping[str, T],
    kind: Kind[T],
    *,
    name: str,
    version: str,
) -> dict[str, Any]:
    """Return the inference response, its data flat."""
    answer: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = [
        {
            "name": output,
            "datatype": kind.datatype(tensor),
            "shape": tensor.shape,
            "data": kind.flat(tensor),
        }
        for output, tensor in outputs.items()
    ]
    return answer


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


def _outputs(body: Mapping[str, Any], signature: Signature) -> tuple[str, ...]:
    names = tuple(tensor.name for tensor in signature.outputs)
    asked = body.get("outputs")
    if asked is None or asked == []:
        return names
    chosen = _by_name(asked, "outputs")
    _check_known(chosen, names, "output")
    for name, item in chosen.items():
        if "classification" in _parameters(item, f"output {name!r}"):
            raise InputError(f"output {name!r}: the classification extension is not supported")
    return tuple(chosen)


def _by_name(items: Any, key: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(items, list):
        raise InputError(f"`{key}` is not a list")
    named: dict[str, Mapping[str, Any]] = {}
    for position, item in enumerate(items):
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(name, str):
            raise InputError(f"`{key}[{position}]` is not an object with a `name`")
        if name in named:
            raise InputError(f"{key[:-1]} {_short(name)} is given twice")
        named[name] = item
    return named


def _check_known(given: Mapping[str, Any], known: Any, noun: str) -> None:
    for name in given:
        if name not in known:
            listed = ", ".join(map(repr, list(known)[:10]))
            raise InputError(f"unknown {noun} {_short(name)}; this model has {listed}")


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")


def _parameters(item: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise InputError(f"{where}: `parameters` is not an object")
    return parameters


def _tensor(way: Inference[T], tensor: Tensor, given: Mapping[str, Any]) -> T:
    where = f"input {tensor.name!r}"
    if "binary_data_size" in _parameters(given, where):
        raise InputError(f"{where}: binary tensors are not supported; send `data`")
    if given.get("datatype") != tensor.datatype:
        raise InputError(f"{where}: `datatype` must be {tensor.datatype!r}")
    shape = _shape(tensor, given.get("shape"), where)
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
