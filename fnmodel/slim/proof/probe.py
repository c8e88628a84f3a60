"""The probe: an Open Inference Protocol request and the original model's answers to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.model import MISSING_TEXT, Feature, OnnxModel, Signature, Tensor, Tolerance

Array = NDArray[Any]

PROBE_ROWS = 20
REQUEST_ROWS = 2


def build(
    signature: Signature,
    tensors: Mapping[str, Array],
    answers: Mapping[str, Array],
    tolerance: Tolerance,
) -> dict[str, Any]:
    """Return `probe.json`'s data from encoded rows and what the original answered to them."""
    return {
        "request": {
            "id": "probe",
            "inputs": [_plain(tensor, tensors[tensor.name]) for tensor in signature.inputs],
        },
        "expected": [_plain(tensor, answers[tensor.name]) for tensor in signature.outputs],
        "tolerance": {"absolute": tolerance.absolute, "relative": tolerance.relative},
    }


def around(records: Sequence[Mapping[str, Any]], answers: Sequence[Any]) -> dict[str, Any]:
    """Return what `probe.json` holds besides where the project's own code runs around the model.

    `records` are as callers send them, `answers` what `/predict` must say to them.
    """
    count = min(PROBE_ROWS, len(answers))
    return {"records": [dict(record) for record in records[:count]], "answers": answers[:count]}


def choose(labels: Sequence[Any], usable: Array, missing: Array, count: int = PROBE_ROWS) -> Array:
    """Return the positions of the rows to probe with, in order.

    Takes labels in turn, so that a rare class is there, and leaves a quarter to rows with missing
    values. `usable` and `missing` are masks of shape (rows,).
    """
    holes = np.flatnonzero(usable & missing)[: count // 4]
    seen: dict[Any, int] = {}
    turns = []
    for position in np.flatnonzero(usable & ~missing).tolist():
        label = labels[position]
        seen[label] = turn = seen.get(label, -1) + 1
        turns.append((turn, position))
    chosen = [position for _, position in sorted(turns)[: count - len(holes)]]
    return np.array(sorted([*chosen, *holes]), dtype=int)


def sample_request(model: OnnxModel) -> dict[str, Any]:
    """Return a body for `/predict` with the probe's first rows: `{"records": [{feature: value}]}`.

    A model without named features gives an empty list.
    """
    content = model.probe()
    if "records" in content:
        return {"records": content["records"][:REQUEST_ROWS]}
    inputs = {tensor["name"]: tensor for tensor in content["request"]["inputs"]}
    signature = model.signature
    features = signature.features
    if not features:
        return {"records": []}
    if signature.stacked:
        width = len(features)
        data = inputs[signature.inputs[0].name]["data"]
        rows = [data[i : i + width] for i in range(0, len(data), width)]
    else:
        columns = [inputs[tensor.name]["data"] for tensor in signature.inputs]
        rows = [list(row) for row in zip(*columns, strict=True)]
    return {
        "records": [
            {f.name: _named(f, value) for f, value in zip(features, row, strict=True)}
            for row in rows[:REQUEST_ROWS]
        ]
    }


def _plain(tensor: Tensor, array: Array) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(array.shape),
        "data": [_value(value) for value in array.reshape(-1).tolist()]
        if array.dtype != np.float32
        # The shortest decimal that is the same float32: 0.1, not 0.10000000149011612.
        else [_value(float(str(value))) for value in array.reshape(-1)],
    }


def _value(value: Any) -> Any:
    if value == MISSING_TEXT:
        return None
    return value if not isinstance(value, float) or np.isfinite(value) else None


def _named(feature: Feature, value: Any) -> Any:
    if feature.datatype == "BYTES":
        return None if value == MISSING_TEXT else value
    return int(value) if feature.integral and isinstance(value, float) else value
