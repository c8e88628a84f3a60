"""Reads the one column of a step's input."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fnmodel.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]

MANY = 1 << 30
"""As good as no bound on the rows of a batch."""


def texts(array: Array, column: int = 0) -> list[str]:
    """Return one column of an array of shape (rows,) or (rows, F) as a list of str.

    Raises:
        InputError: it holds something else, or has no such column.

    """
    values: Sequence[Any] = one(array, column).tolist()
    for row, value in enumerate(values):
        if type(value) is not str:
            raise InputError(f"row {row}: expected a string, got {type(value).__name__}")
    return list(values)


def one(array: Array, column: int = 0) -> Array:
    """Return one column, shape (rows,), of an array of shape (rows,) or (rows, F).

    Raises:
        InputError: the array has no such column.

    """
    if array.ndim == 1 and column == 0:
        return array
    if array.ndim != 2 or column >= array.shape[1]:
        raise InputError(f"shape {array.shape} has no column {column}")
    return array[:, column]
