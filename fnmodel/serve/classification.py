"""The classification extension: scores in, the best classes of each row out, as texts.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

import math
from collections.abc import Sequence
from typing import Any

from fnmodel.encoding import Kind, T
from fnmodel.serve.singles import shortest


def best(kind: Kind[T], scores: T, count: int, labels: Sequence[Any]) -> T:
    """Return up to `count` texts `value:index[:label]` a row, the largest value first.

    `scores` are numbers of shape (rows, …), whose other dimensions are taken as one. The BYTES
    tensor is of shape (rows, min(count, classes)). Of equal values the first index comes first; a
    NaN is less than anything. `labels` are those of the indices, or none.
    """
    rows = scores.shape[0] if scores.shape else 1
    classes = math.prod(scores.shape[1:])
    values = scores.reshape(-1).tolist()
    if kind.datatype(scores) == "FP32":
        values = shortest(values)
    count = min(count, classes)
    texts: list[str] = []
    for start in range(0, rows * classes, classes or 1):
        row = values[start : start + classes]
        order = sorted(range(classes), key=lambda at: (row[at] != row[at], -row[at]))
        texts += [_text(row[at], at, labels) for at in order[:count]]
    made: T = kind.make("BYTES", texts).reshape((rows, count))
    return made


def _text(value: Any, index: int, labels: Sequence[Any]) -> str:
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{value}:{index}{label}"
