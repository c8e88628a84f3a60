"""Buffers as ONNX Runtime's tensors, and back."""

import math
from array import array
from collections.abc import Sequence
from ctypes import (
    Structure,
    addressof,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_void_p,
    memmove,
)
from functools import lru_cache
from typing import Any

from fnmodel.buffers import CODES, Buffer
from fnmodel.model import Datatype
from fnmodel.ort.api import INVALID_ARGUMENT, Api, OrtError

TYPES: dict[Datatype, tuple[int, str]] = {
    "FP32": (1, "float"), "UINT8": (2, "uint8"), "INT8": (3, "int8"), "UINT16": (4, "uint16"),
    "INT16": (5, "int16"), "INT32": (6, "int32"), "INT64": (7, "int64"), "BYTES": (8, "string"),
    "BOOL": (9, "bool"), "FP16": (10, "float16"), "FP64": (11, "double"), "UINT32": (12, "uint32"),
    "UINT64": (13, "uint64"),
}  # fmt: skip
"""`ONNXTensorElementDataType` and ONNX's name of each datatype."""
DATATYPES = {number: datatype for datatype, (number, _) in TYPES.items()}


@lru_cache(maxsize=256)
def _sizes(shape: tuple[int, ...]) -> Any:
    return (c_int64 * len(shape))(*shape)


def to_value(api: Api, buffer: Buffer) -> int:
    """Return an `OrtValue` that the caller has to release, and before it the buffer."""
    datatype, shape, data = buffer
    number, sizes = TYPES[datatype][0], _sizes(shape)
    if datatype == "BYTES":
        value = api.made("CreateTensorAsOrtValue", api.allocator, sizes, len(shape), number)
        try:
            _fill(api, value, [text.encode() for text in data])
        except BaseException:
            api.ReleaseValue(value)
            raise
        return value
    address, size = _place(data)
    out = c_void_p()
    failed = api.CreateTensorWithDataAsOrtValue(
        api.memory, address, size, sizes, len(shape), number, byref(out)
    )
    if failed:
        raise api.error(failed)
    return out.value or 0


def _place(data: Any) -> tuple[int, int]:
    """Return where the values of an array lie, and how many bytes they are."""
    if type(data) is array:
        address, count = data.buffer_info()
        return address, count * data.itemsize
    return data.__array_interface__["data"][0], data.nbytes


def _fill(api: Api, value: int, texts: Sequence[bytes]) -> None:
    api.do("FillStringTensor", value, (c_char_p * len(texts))(*texts), len(texts))
    for position, text in enumerate(texts):
        if b"\x00" in text:  # C ends a text there: MISSING_TEXT
            place = api.made("GetResizedStringTensorElementBuffer", value, position, len(text))
            memmove(place, text, len(text))


class _Seen(Structure):
    """What is asked of an `OrtValue`: one place for four answers, since each costs its making."""

    _fields_ = (("number", c_int), ("sizes", c_void_p), ("rank", c_size_t), ("data", c_void_p))


_SIZES, _RANK, _DATA = _Seen.sizes.offset, _Seen.rank.offset, _Seen.data.offset


def of_value(api: Api, value: int) -> Buffer:
    """Return a copy of what an `OrtValue` holds."""
    seen = _Seen()
    at = addressof(seen)
    failed = api.GetTensorElementTypeAndShapeDataReference(value, at, at + _SIZES, at + _RANK)
    if failed:
        raise api.error(failed)
    datatype, rank = DATATYPES.get(seen.number), seen.rank
    if datatype is None:
        raise OrtError(INVALID_ARGUMENT, f"an output is of element type {seen.number}")
    shape = tuple((c_int64 * rank).from_address(seen.sizes)) if rank else ()
    count = math.prod(shape)
    if datatype == "BYTES":
        return Buffer(datatype, shape, _texts(api, value, count))
    data = array(CODES[datatype])
    if count:
        failed = api.GetTensorMutableData(value, at + _DATA)
        if failed:
            raise api.error(failed)
        data.frombytes((c_char * (count * data.itemsize)).from_address(seen.data))
    return Buffer(datatype, shape, data)


def _texts(api: Api, value: int, count: int) -> list[str]:
    size = api.count("GetStringTensorDataLength", value)
    content, starts = (c_char * size)(), (c_size_t * (count + 1))()
    starts[count] = size
    api.do("GetStringTensorContent", value, content, size, starts, count)
    raw, ends = bytes(content), iter(starts)
    start = next(ends)
    return [raw[start : (start := end)].decode() for end in ends]
