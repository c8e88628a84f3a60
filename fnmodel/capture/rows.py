"""A request's JSON and its answer's in, rows and their predictions out, as plain values.

Every dialect that the endpoint speaks has a list of rows, or tensors whose first dimension they
are. What has neither is not captured.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

Pairs = tuple[Sequence[Any], Sequence[Any]]


def pairs_of(
    request: Mapping[str, Any], answer: Mapping[str, Any], names: Sequence[str]
) -> Pairs | None:
    """Return rows and predictions, as many of each; None where they cannot be told apart.

    `names` are the features of a model that takes them side by side in one tensor.
    """
    if "inputs" in request and "outputs" in answer:
        rows = _of_tensors(request["inputs"], names)
        predictions = _of_tensors(answer["outputs"], ())
    else:
        lists = [request.get(name) for name in ("records", "instances")]
        rows = next((found for found in lists if isinstance(found, list)), [])
        predictions = answer.get("predictions") or []
    if not rows or len(rows) != len(predictions):
        return None
    return rows, predictions


def _of_tensors(tensors: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each index of the first dimension; none where tensors differ in it."""
    counts = {tensor["shape"][0] if tensor["shape"] else 0 for tensor in tensors}
    if len(counts) != 1:
        return []
    rows: list[dict[str, Any]] = [{} for _ in range(counts.pop())]
    for tensor in tensors:
        shape, data = tensor["shape"], tensor.get("data")
        width = prod(shape[1:])
        if not isinstance(data, list):  # binary, or in a shared memory
            return []
        nested = len(data) == len(rows) and len(data) > 0 and isinstance(data[0], list)
        for number, row in enumerate(rows):
            values = data[number] if nested else data[number * width : (number + 1) * width]
            if len(names) == width == len(values) and len(tensors) == 1:
                row.update(zip(names, values, strict=True))
            else:
                row[tensor["name"]] = values[0] if width == len(values) == 1 else values
    return rows
