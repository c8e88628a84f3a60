"""A model opened by the C API. Buffers go in by name and come out, or numpy arrays."""

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import (
    POINTER,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_void_p,
    memmove,
    string_at,
)
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from fnmodel.buffers import CODES, Buffer
from fnmodel.model import Datatype
from fnmodel.ort.api import Api, OrtError

_TYPES: dict[Datatype, tuple[int, str]] = {
    "FP32": (1, "float"), "UINT8": (2, "uint8"), "INT8": (3, "int8"), "UINT16": (4, "uint16"),
    "INT16": (5, "int16"), "INT32": (6, "int32"), "INT64": (7, "int64"), "BYTES": (8, "string"),
    "BOOL": (9, "bool"), "FP16": (10, "float16"), "FP64": (11, "double"), "UINT32": (12, "uint32"),
    "UINT64": (13, "uint64"),
}  # fmt: skip
"""`ONNXTensorElementDataType` and ONNX's name of each datatype."""
_DATATYPES = {number: datatype for datatype, (number, _) in _TYPES.items()}

_INVALID_ARGUMENT = 2
_INT64S = POINTER(c_int64)


@dataclass(frozen=True)
class Node:
    """An input or output as onnxruntime's Python describes it.

    `type` is `tensor(float)` and the like; a size in `shape` is a number, a name, or None.
    """

    name: str
    type: str
    shape: list[int | str | None]


class Session:
    """One opened model. `run` may be called from several threads at once.

    What goes in is borrowed until `run` returns; what comes out is copied from ONNX Runtime's
    memory, which is released before. The session itself is released with the object.
    """

    def __init__(self, api: Api, model: bytes | Path, *, threads: int) -> None:
        """Open a model from its bytes, or from a file that may name others beside it.

        Raises:
            OrtError: ONNX Runtime refuses it.

        """
        self._api = api
        self._handle = 0
        with _released(api.ReleaseSessionOptions, api.made("CreateSessionOptions")) as options:
            api.SetIntraOpNumThreads(options, threads)
            api.SetInterOpNumThreads(options, 1)
            api.SetSessionLogSeverityLevel(options, 3)
            api.AddSessionConfigEntry(options, b"session.intra_op.allow_spinning", b"0")
            if isinstance(model, bytes):
                created = "CreateSessionFromArray", api.env, model, len(model), options
            else:
                created = "CreateSession", api.env, bytes(model), options  # type: ignore[assignment]
            self._handle = api.made(*created)
        # By the names of Python, those of C: a name that is not here never gets there.
        self._inputs = {name: name.encode() for name in self._names("Input")}
        self._outputs = {name: name.encode() for name in self._names("Output")}
        # Not a method, which would keep the session alive until the garbage is collected.
        self._texts = lru_cache(maxsize=64)(partial(_texts_of, self._inputs, self._outputs))

    def __del__(self) -> None:
        """Release the session."""
        if self._handle:
            self._api.ReleaseSession(self._handle)

    def call(self, names: Sequence[str], feeds: Mapping[str, Buffer]) -> list[Buffer]:
        """Run the model on input tensors by name, and return the outputs of these names.

        Raises:
            OrtError: ONNX Runtime refuses an input, or a node fails.

        """
        api = self._api
        inputs, outputs = self._texts(tuple(feeds), tuple(names))
        given, made = (c_void_p * len(feeds))(), (c_void_p * len(names))()
        try:
            for position, buffer in enumerate(feeds.values()):
                given[position] = _value(api, buffer)
            api.Run(self._handle, None, inputs, given, len(feeds), outputs, len(names), made)
            return [_buffer(api, value or 0) for value in made]
        finally:
            for value in (*given, *made):
                if value:
                    api.ReleaseValue(value)

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
        """Run the model on numpy arrays, as `onnxruntime.InferenceSession.run`; None is all.

        Raises:
            OrtError: as `call`.
        InputError: an array has a dtype that ONNX has not.

        """
        # Who calls this has numpy loaded already; a cold start has not.
        from fnmodel.arrays import to_array, to_buffer

        given = {name: to_buffer(array) for name, array in feeds.items()}
        made = self.call([*self._outputs] if names is None else names, given)
        return [to_array(buffer) for buffer in made]

    def get_inputs(self) -> list[Node]:
        """Describe the inputs, in order."""
        return [self._node("Input", at, name) for at, name in enumerate(self._inputs)]

    def get_outputs(self) -> list[Node]:
        """Describe the outputs, in order."""
        return [self._node("Output", at, name) for at, name in enumerate(self._outputs)]

    def _names(self, side: str) -> list[str]:
        api, names = self._api, []
        for at in range(api.count(f"SessionGet{side}Count", self._handle)):
            text = api.made(f"SessionGet{side}Name", self._handle, at, api.allocator)
            names.append(string_at(text).decode())
            api.AllocatorFree(api.allocator, text)
        return names

    def _node(self, side: str, at: int, name: str) -> Node:
        api = self._api
        info = api.made(f"SessionGet{side}TypeInfo", self._handle, at)
        with _released(api.ReleaseTypeInfo, info):
            tensor = api.made("CastTypeInfoToTensorInfo", info)
            if not tensor:
                return Node(name, "not a tensor", [])
            datatype = _DATATYPES.get(api.count("GetTensorElementType", tensor))
            rank = api.count("GetDimensionsCount", tensor)
            sizes, names = (c_int64 * rank)(), (c_char_p * rank)()
            api.GetDimensions(tensor, sizes, rank)
            api.GetSymbolicDimensions(tensor, names, rank)
            shape = [
                size if size >= 0 else (symbol or b"").decode() or None
                for size, symbol in zip(sizes, names, strict=True)
            ]
        return Node(name, f"tensor({_TYPES[datatype][1] if datatype else 'unknown'})", shape)


def _texts_of(
    inputs: Mapping[str, bytes],
    outputs: Mapping[str, bytes],
    given: tuple[str, ...],
    asked: tuple[str, ...],
) -> tuple[Any, Any]:
    """Return names as C has them; ONNX Runtime itself does not notice that an input is missing."""
    unknown = [f"input name: {name}" for name in given if name not in inputs]
    unknown += [f"output name:{name}" for name in asked if name not in outputs]
    if unknown:
        raise OrtError(_INVALID_ARGUMENT, f"Invalid {unknown[0]}")
    missing = [name for name in inputs if name not in given]
    if missing:
        message = f"Required inputs ({missing}) are missing from input feed ({[*given]})."
        raise OrtError(_INVALID_ARGUMENT, message)
    return (
        (c_char_p * len(given))(*(inputs[name] for name in given)),
        (c_char_p * len(asked))(*(outputs[name] for name in asked)),
    )


@contextmanager
def _released(release: Callable[[int], None], handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        release(handle)


@lru_cache(maxsize=256)
def _sizes(shape: tuple[int, ...]) -> Any:
    return (c_int64 * len(shape))(*shape)


def _value(api: Api, buffer: Buffer) -> int:
    """Return an `OrtValue` that the caller has to release, and before it the buffer."""
    number, shape = _TYPES[buffer.datatype][0], buffer.shape
    out = c_void_p()
    sizes = _sizes(shape)
    if buffer.datatype == "BYTES":
        api.CreateTensorAsOrtValue(api.allocator, sizes, len(shape), number, byref(out))
        try:
            _fill(api, out, [text.encode() for text in buffer.data])
        except BaseException:
            api.ReleaseValue(out)
            raise
    else:
        address, size = _place(buffer.data)
        api.CreateTensorWithDataAsOrtValue(
            api.memory, address, size, sizes, len(shape), number, byref(out)
        )
    return out.value or 0


def _place(data: Any) -> tuple[int, int]:
    """Return where the values of an array lie, and how many bytes they are."""
    if isinstance(data, array):
        address, count = data.buffer_info()
        return address, count * data.itemsize
    return data.__array_interface__["data"][0], data.nbytes


def _fill(api: Api, value: c_void_p, texts: Sequence[bytes]) -> None:
    api.FillStringTensor(value, (c_char_p * len(texts))(*texts), len(texts))
    for position, text in enumerate(texts):
        if b"\x00" in text:  # C ends a text there: MISSING_TEXT
            out = c_void_p()
            api.GetResizedStringTensorElementBuffer(value, position, len(text), byref(out))
            memmove(out, text, len(text))


def _buffer(api: Api, value: int) -> Buffer:
    """Return a copy of what an `OrtValue` holds."""
    number, sizes, rank = c_int(), _INT64S(), c_size_t()
    api.GetTensorElementTypeAndShapeDataReference(value, byref(number), byref(sizes), byref(rank))
    datatype = _DATATYPES.get(number.value)
    if datatype is None:
        raise OrtError(_INVALID_ARGUMENT, f"an output is of element type {number.value}")
    shape = tuple(sizes[: rank.value]) if rank.value else ()
    count = math.prod(shape)
    if datatype == "BYTES":
        return Buffer(datatype, shape, _texts(api, value, count))
    data, out = array(CODES[datatype]), c_void_p()
    if count:
        api.GetTensorMutableData(value, byref(out))
        data.frombytes((c_char * (count * data.itemsize)).from_address(out.value))
    return Buffer(datatype, shape, data)


def _texts(api: Api, value: int, count: int) -> list[str]:
    size = api.count("GetStringTensorDataLength", value)
    content, starts = (c_char * size)(), (c_size_t * (count + 1))()
    starts[count] = size
    api.GetStringTensorContent(value, content, size, starts, count)
    raw = bytes(content)
    return [raw[starts[at] : starts[at + 1]].decode() for at in range(count)]
