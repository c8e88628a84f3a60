"""An inference request of many numbers in JSON becomes one of binary tensors.

orjson makes a Python object of each number, which takes longer than a model of trees needs for all
of them. simdjson leaves them in one block of memory. It takes only what surely means the same, and
for anything else there is the usual way, which also says what is wrong with a request.
"""

from typing import Any, Literal

import numpy as np

from fnmodel.arrays import DTYPES

try:
    from simdjson import Array, Object, Parser
except ImportError:  # there is no wheel for this Python
    Parser = None  # type: ignore[assignment, misc]

Moved = tuple[dict[str, Any], bytes]
"""The JSON object of a request, and the binary tensors behind it."""

_INPUT = {"name", "shape", "datatype", "data"}
# simdjson gives numbers of 64 bits, by a letter. JSON may not carry FP16.
_WIDE: dict[Any, tuple[Literal["d", "i", "u"], Any]] = {
    "FP32": ("d", np.float64),
    "FP64": ("d", np.float64),
    "UINT64": ("u", np.uint64),
    **dict.fromkeys(
        ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"), ("i", np.int64)
    ),
}


def in_binary(raw: bytes) -> Moved | None:
    """Return the same request with its numbers in binary; None where that is not for certain.

    `raw` is JSON alone. What is returned has still to be checked, as any request.
    """
    if Parser is None or not raw.startswith(b"{"):  # simdjson passes over a byte order mark
        return None
    try:
        request = Parser().parse(raw)
    except (ValueError, RuntimeError):  # not JSON, or an integer of more than 64 bits
        return None
    body, parts = _members(request), []
    inputs = body.get("inputs")
    if not isinstance(inputs, Array) or not len(inputs):
        return None
    arrays, described = 1, []
    for item in inputs:
        given = _members(item)
        if given.keys() != _INPUT or not isinstance(given["data"], Array):
            return None
        block = _block(given)
        if block is None:
            return None
        arrays += 2 + (len(given["data"]) if _is_nested(given["data"]) else 0)
        parts.append(block.tobytes())
        described.append(
            {
                "name": given["name"],
                "datatype": given["datatype"],
                "shape": _plain(given["shape"]),
                "parameters": {"binary_data_size": len(parts[-1])},
            }
        )
    others = {name: _plain(value) for name, value in body.items() if name != "inputs"}
    # simdjson flattens whatever is nested: there must be no arrays but those that were looked at.
    if _has_more(raw, arrays + isinstance(others.get("outputs"), list)):
        return None
    return {**others, "inputs": described}, b"".join(parts)


def _members(value: Any) -> dict[str, Any]:
    """Return an object's members, arrays and objects still in simdjson's hands; none of others."""
    if not isinstance(value, Object):
        return {}
    names = list(value)
    # Of a name given twice simdjson finds the first value, and orjson the last.
    return {name: value[name] for name in names} if len({*names}) == len(names) else {}


def _block(given: dict[str, Any]) -> Any:
    """Return the numbers of an input in one array of its datatype; None if they are not all such.

    Whether they fill the shape is left to others, unless they are nested, which is lost here.
    """
    datatype, data = given["datatype"], given["data"]
    if datatype not in _WIDE:
        return None
    code, dtype = _WIDE[datatype]
    if _is_nested(data) and _sizes(data) != _plain(given["shape"]):
        return None
    try:
        wide = np.frombuffer(data.as_buffer(of_type=code), dtype)
    except (TypeError, ValueError):  # a null, a text, a boolean; no integer, or out of range
        return None
    with np.errstate(over="ignore"):
        block = wide.astype(DTYPES[datatype], copy=False)
    fits = np.isfinite(block) if code == "d" else block == wide
    return block if fits.all() else None


def _is_nested(data: Any) -> bool:
    return len(data) > 0 and isinstance(data[0], Array)


def _sizes(rows: Any) -> list[int] | None:
    """Return the number of rows and the one length that all have; None if they have not."""
    lengths = {len(row) if isinstance(row, Array) else -1 for row in rows}
    return None if len(lengths) > 1 else [len(rows), *lengths]


def _plain(value: Any) -> Any:
    if isinstance(value, Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, Array) else value


def _has_more(raw: bytes, arrays: int) -> bool:
    """Whether JSON has more than so many opening brackets, be it in texts."""
    at = -1
    for _ in range(arrays + 1):
        at = raw.find(b"[", at + 1)
        if at < 0:
            return False
    return True
