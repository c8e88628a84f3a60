"""Tensors as bytes, as the protocol's binary tensor extension has them.

Little-endian and row-major; a BOOL is one byte, a text its length in four bytes and its UTF-8.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from fnmodel.errors import InputError
from fnmodel.model import Datatype

SIZES: dict[Datatype, int] = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2,
    "INT32": 4, "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
"""Bytes of an element of each datatype that is not BYTES."""

_LENGTH = struct.Struct("<I")


def texts(raw: bytes, count: int, where: str) -> list[str]:
    """Return the elements of a BYTES tensor, which have to be `count` texts; `where` names it.

    Raises:
        InputError: they are more or fewer, one is cut short, or is not UTF-8.

    """
    found: list[str] = []
    at, end = 0, len(raw)
    while at < end:
        if len(found) == count:
            raise InputError(f"{where}: there are bytes behind its {count} elements")
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(raw, at)[0] if start <= end else end + 1
        if at > end:
            raise InputError(
                f"{where}, element {len(found)}: longer than what is left of the tensor"
            )
        try:
            found.append(raw[start:at].decode())
        except UnicodeDecodeError:
            # ONNX's texts are UTF-8; other bytes would mean something else to each operator.
            raise InputError(f"{where}, element {len(found)}: not UTF-8") from None
    if len(found) != count:
        raise InputError(f"{where}: `shape` takes {count} elements, and there are {len(found)}")
    return found


def of_texts(values: Iterable[str]) -> bytes:
    """Return texts as the elements of a BYTES tensor."""
    encoded = [value.encode() for value in values]
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))


def check_numbers(datatype: Datatype, raw: bytes, count: int, where: str) -> None:
    """Compare a tensor's bytes with the number of its elements; `where` names it.

    Raises:
        InputError: there are more or fewer, or a BOOL is neither 0 nor 1.

    """
    expected = count * SIZES[datatype]
    if len(raw) != expected:
        raise InputError(
            f"{where}: {count:,} elements of {datatype} are {expected:,} bytes, not {len(raw):,}"
        )
    if datatype == "BOOL" and raw.translate(None, b"\x00\x01"):
        raise InputError(f"{where}: a BOOL is a byte of 0 or 1")


def without_halves(request: Mapping[str, Any]) -> tuple[bytes, int | None]:
    """Return an inference request in JSON as a body, and how much of it is JSON if not all.

    FP16 tensors, which JSON may not carry, stand behind it in binary.
    """
    inputs, parts = [], []
    for tensor in request["inputs"]:
        if tensor["datatype"] == "FP16":
            values = [math.nan if value is None else value for value in _flat(tensor["data"])]
            parts.append(struct.pack(f"<{len(values)}e", *values))
            kept = {key: value for key, value in tensor.items() if key != "data"}
            tensor = {**kept, "parameters": {"binary_data_size": len(parts[-1])}}  # noqa: PLW2901
        inputs.append(tensor)
    head = orjson.dumps({**request, "inputs": inputs})
    return b"".join((head, *parts)), len(head) if parts else None


def _flat(data: Sequence[Any]) -> list[Any]:
    return [v for item in data for v in (_flat(item) if isinstance(item, list) else (item,))]
