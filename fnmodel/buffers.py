"""A tensor without numpy: an array of the standard library, or texts, and its shape.

A request of a few values is encoded, run and decoded in it before numpy would be imported.
"""

import math
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from fnmodel.model import Datatype

CODES: dict[Datatype, str] = {
    "BOOL": "B", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b",
    "INT16": "h", "INT32": "i", "INT64": "q", "FP16": "H", "FP32": "f", "FP64": "d",
}  # fmt: skip
"""The typecode of `array` for each datatype that is not BYTES; FP16 as its bits."""


class Buffer(NamedTuple):
    """A tensor in row-major order: `data` is an array by `CODES`, or a list of str for BYTES.

    On its way into a session `data` may also be a contiguous numpy array of the datatype.
    """

    datatype: Datatype
    shape: tuple[int, ...]
    data: Any

    @staticmethod
    def of(datatype: Datatype, values: Sequence[Any]) -> "Buffer":
        """Make a tensor of one dimension; FP16 takes bits.

        Raises:
            OverflowError: an integer is out of range.

        """
        data = list(values) if datatype == "BYTES" else array(CODES[datatype], values)
        return Buffer(datatype, (len(values),), data)

    def reshape(self, shape: int | Sequence[int]) -> "Buffer":
        """Return the same data in another shape; -1 is all in one dimension."""
        if isinstance(shape, int):
            return Buffer(self.datatype, (len(self.data),), self.data)
        return Buffer(self.datatype, tuple(shape), self.data)

    def flat(self) -> list[Any]:
        """Return the values as a list, in row-major order; FP16 as bits."""
        if self.datatype == "BYTES":
            return list(self.data)
        return [*map(bool, self.data)] if self.datatype == "BOOL" else self.data.tolist()

    def tolist(self) -> Any:
        """Return the values as nested lists, and one value for a shape without dimensions."""
        return nested(self.flat(), self.shape)


def nested(flat: Sequence[Any], shape: Sequence[int]) -> Any:
    """Return row-major values as nested lists of a shape."""
    if len(shape) < 2:
        return flat if shape else flat[0]
    size = math.prod(shape[1:])
    rows = [flat[at : at + size] for at in range(0, shape[0] * size, size or 1)]
    if not size:
        rows = [[] for _ in range(shape[0])]
    return rows if len(shape) == 2 else [nested(row, shape[1:]) for row in rows]
