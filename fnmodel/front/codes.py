"""Steps on columns of categories: strings to codes, strings for missing ones, columns to one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnmodel.errors import InputError
from fnmodel.front.column import MANY, one, texts
from fnmodel.model import MISSING_TEXT

Array = np.ndarray[Any, np.dtype[Any]]

_NUMBERS: Mapping[str, np.dtype[Any]] = {
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
}


@dataclass(frozen=True)
class Codes:
    """Strings, shape (rows, 1), to numbers, shape (rows, 1).

    `codes` maps the known strings; `missing` and `unseen` are the codes of what is not known, which
    may be NaN.
    """

    codes: Mapping[str, float]
    unseen: float
    dtype: np.dtype[Any]
    source: int = 0
    rows_at_once: int = MANY

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Codes":
        """Read `categories`, `codes`, `unseen`, `missing` and `datatype`.

        Without `codes` they are 0, 1, …; a code of None is NaN.
        """
        categories = data["categories"]
        given = data.get("codes")
        numbers = range(len(categories)) if given is None else map(_number, given)
        codes: dict[str, float] = dict(zip(categories, numbers, strict=True))
        if len(codes) < len(categories):
            message = "a category occurs twice"
            raise ValueError(message)
        codes.setdefault(MISSING_TEXT, _number(data["missing"]))
        dtype = _NUMBERS[data["datatype"]]
        unseen = _number(data["unseen"])
        if dtype.kind == "i" and any(math.isnan(code) for code in (unseen, *codes.values())):
            message = f"{data['datatype']} has no NaN"
            raise ValueError(message)
        return Codes(codes, unseen, dtype, int(data.get("column", 0)))

    def weight(self, outputs: Sequence[Array]) -> int:  # noqa: ARG002 - of the protocol
        """Return 0: the outputs are as small as the inputs."""
        return 0

    def __call__(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Return the codes.

        Raises:
            InputError: the input is not text.

        """
        get, unseen = self.codes.get, self.unseen
        found = [get(text, unseen) for text in texts(inputs[0], self.source)]
        return (np.array(found, dtype=self.dtype).reshape(-1, 1),)


@dataclass(frozen=True)
class Fill:
    """Strings, shape (rows, 1), with `value` for the missing ones."""

    value: str
    source: int = 0
    rows_at_once: int = MANY

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Fill":
        """Read `value`."""
        if not isinstance(data["value"], str):
            message = f"{data['value']!r} is no string"
            raise TypeError(message)
        return Fill(data["value"], int(data.get("column", 0)))

    def weight(self, outputs: Sequence[Array]) -> int:  # noqa: ARG002 - of the protocol
        """Return 0: the output is as small as the input."""
        return 0

    def __call__(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Return the filled column.

        Raises:
            InputError: the input is not text.

        """
        filled = [
            self.value if text == MISSING_TEXT else text for text in texts(inputs[0], self.source)
        ]
        return (np.array(filled, dtype=object).reshape(-1, 1),)


@dataclass(frozen=True)
class Stack:
    """Columns of numbers, each of shape (rows, 1), side by side in one array (rows, F)."""

    dtype: np.dtype[Any]
    rows_at_once: int = MANY

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Stack":
        """Read `datatype`."""
        return Stack(_NUMBERS[data["datatype"]])

    def weight(self, outputs: Sequence[Array]) -> int:  # noqa: ARG002 - of the protocol
        """Return 0: the output is as small as the inputs."""
        return 0

    def __call__(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Return the columns side by side.

        Raises:
            InputError: an input is not a column of numbers, or they differ in length.

        """
        rows = len(inputs[0])
        stacked = np.empty((rows, len(inputs)), dtype=self.dtype)
        for position, array in enumerate(inputs):
            column = one(array)
            if column.dtype.kind not in "biuf" or len(column) != rows:
                raise InputError(f"expected {rows} numbers, got {len(column)} of {column.dtype}")
            stacked[:, position] = column
        return (stacked,)


def _number(code: Any) -> float:
    if code is None:
        return math.nan
    if isinstance(code, bool) or not isinstance(code, int | float):
        message = f"{code!r} is no number"
        raise TypeError(message)
    return code
