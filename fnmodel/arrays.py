"""numpy's dtype of each datatype, and arrays as buffers and back."""

from typing import Any

import numpy as np

from fnmodel.buffers import Buffer
from fnmodel.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
"""numpy's dtype for each datatype of the Open Inference Protocol; BYTES is an object of str."""

DATATYPES: dict[np.dtype[Any], Any] = {dtype: datatype for datatype, dtype in DTYPES.items()}


def to_buffer(array: Array) -> Buffer:
    """Return an array as a buffer over the same memory, copied where it is not contiguous.

    An array of texts may be of numpy's own text type; what else an object holds becomes text.

    Raises:
        InputError: the dtype is none of `DTYPES`.

    """
    if array.dtype.kind in "OU":
        return Buffer("BYTES", array.shape, [*map(str, array.reshape(-1).tolist())])
    datatype = DATATYPES.get(array.dtype)
    if datatype is None:
        raise InputError(f"an array of {array.dtype} is none of ONNX's tensors")
    # numpy's function for this makes an array of no dimension one of one.
    kept = array if array.flags.c_contiguous else array.copy()
    return Buffer(datatype, array.shape, kept)


def to_array(buffer: Buffer) -> Array:
    """Return a buffer as an array over the same memory; texts as an object array."""
    if buffer.datatype == "BYTES":
        return objects(buffer.data).reshape(buffer.shape)
    return np.frombuffer(buffer.data, DTYPES[buffer.datatype]).reshape(buffer.shape)


def objects(values: Any) -> Array:
    """Return values as an object array of one dimension."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
