"""Holds the place of a text vectorizer in a model, and of its columns in a graph.

ONNX cannot cut texts into words as Python does. A `Slot` stands for a vectorizer while the rest of
the model is written; its columns, which are zeros until then, are what the front's input replaces.
"""

from functools import cache
from typing import Any

import numpy as np

from fnmodel.slim.converters.emit import Emitter, Table, Writers

MARK = "fnmodel.text"


@cache
def slot_class() -> type:
    """Return the estimator `Slot(number, width)`: text in, `width` columns of float64 out."""
    from sklearn.base import BaseEstimator, TransformerMixin

    class Slot(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        """Column block `number`, made of one column of texts."""

        def __init__(self, number: int = -1, width: int = 0) -> None:
            self.number = number
            self.width = width

        def __sklearn_is_fitted__(self) -> bool:
            return True

    return Slot


def writers() -> Writers:
    """Return the writers by method and class."""
    return {"transform": {slot_class(): _zeros}}


def _zeros(e: Emitter, slot: Any, table: Table) -> Table:
    """Write zeros, (rows, width), whose node says in its doc string which slot they are of."""
    from onnx import numpy_helper

    if [(block.kind, block.width) for block in table.blocks] != [("text", 1)]:
        e.refuse(slot, "a vectorizer reads one column of texts")
    rows = e.graph.op("Shape", table.blocks[0].name, start=0, end=1)
    shape = e.graph.op("Concat", rows, np.array([slot.width]), axis=0)
    zeros = e.graph.op(
        "ConstantOfShape",
        shape,
        value=numpy_helper.from_array(np.zeros(1)),
        doc_string=f"{MARK} {slot.number}",
    )
    return Table.numbers(zeros, slot.width)
