"""Inference requests and answers with binary tensors, made and read by other code than ours."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


def packed(datatype: str, values: Sequence[Any]) -> bytes:
    """Return row-major values in binary; texts may be bytes."""
    if datatype != "BYTES":
        return np.array(values, DTYPES[datatype]).tobytes()
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def unpacked(datatype: str, raw: bytes) -> list[Any]:
    """Return the values of a binary tensor."""
    if datatype != "BYTES":
        values: list[Any] = np.frombuffer(raw, DTYPES[datatype]).tolist()
        return values
    found = []
    while raw:
        size = 4 + int.from_bytes(raw[:4], "little")
        found.append(raw[4:size].decode())
        raw = raw[size:]
    return found


def request(
    inputs: Sequence[tuple[str, str, Sequence[int], bytes]], **more: Any
) -> tuple[bytes, dict[str, str]]:
    """Return body and header of a request: inputs of name, datatype, shape and bytes."""
    described = [
        {"name": name, "datatype": datatype, "shape": list(shape),
         "parameters": {"binary_data_size": len(raw)}}
        for name, datatype, shape, raw in inputs
    ]  # fmt: skip
    return framed({"inputs": described, **more}, *(raw for *_, raw in inputs))


def framed(body: Mapping[str, Any], *parts: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a body of JSON and bytes behind it, and the header that says where they part."""
    head = json.dumps(body, ensure_ascii=False).encode()
    return b"".join((head, *parts)), {"Inference-Header-Content-Length": str(len(head))}


def outputs(body: bytes, headers: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the values of each output of an answer, whether it is in JSON or in binary."""
    size = int(headers.get("inference-header-content-length", len(body)))
    head, rest = json.loads(body[:size]), body[size:]
    found = {}
    for output in head["outputs"]:
        assert ("data" in output) != ("parameters" in output)
        if "data" in output:
            found[output["name"]] = output["data"]
            continue
        size = output["parameters"]["binary_data_size"]
        found[output["name"]] = unpacked(output["datatype"], rest[:size])
        rest = rest[size:]
    assert not rest
    return found
