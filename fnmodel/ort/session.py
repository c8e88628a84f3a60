"""A model opened by the C API. Buffers go in by name and come out, or numpy arrays."""

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import (
    Structure,
    addressof,
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
            api.do("SetIntraOpNumThreads", options, threads)
            api.do("SetInterOpNumThreads", options, 1)
            api.do("SetSessionLogSeverityLevel", options, 3)
            api.do("AddSessionConfigEntry", options, b"session.intra_op.allow_spinning", b"0")
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
            failed = api.Run(
                self._handle, None, inputs, given, len(feeds), outputs, len(names), made
            )
            if failed:
                raise api.error(failed)
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
            api.do("AllocatorFree", api.allocator, text)
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
            api.do("GetDimensions", tensor, sizes, rank)
            api.do("GetSymbolicDimensions", tensor, names, rank)
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
    datatype, shape, data = buffer
    number, sizes = _TYPES[datatype][0], _sizes(shape)
    if datatype == "BYTES":
        value = api.made("CreateTensorAsOrtValue", api.allocator, sizes, len(shape), number)
        try:
            _fill(api, value, [text.encode() for text in data])
        except BaseException:
            api.ReleaseValue(value)
            raise
        return value
    address, size = _place(data)
    out = c_void_p()
    failed = api.CreateTensorWithDataAsOrtValue(
        api.memory, address, size, sizes, len(shape), number, byref(out)
    )
    if failed:
        raise api.error(failed)
    return out.value or 0


def _place(data: Any) -> tuple[int, int]:
    """Return where the values of an array lie, and how many bytes they are."""
    if type(data) is array:
        address, count = data.buffer_info()
        return address, count * data.itemsize
    return data.__array_interface__["data"][0], data.nbytes


def _fill(api: Api, value: int, texts: Sequence[bytes]) -> None:
    api.do("FillStringTensor", value, (c_char_p * len(texts))(*texts), len(texts))
    for position, text in enumerate(texts):
        if b"\x00" in text:  # C ends a text there: MISSING_TEXT
            place = api.made("GetResizedStringTensorElementBuffer", value, position, len(text))
            memmove(place, text, len(text))


class _Seen(Structure):
    """What is asked of an `OrtValue`: one place for four answers, since each costs its making."""

    _fields_ = (("number", c_int), ("sizes", c_void_p), ("rank", c_size_t), ("data", c_void_p))


_SIZES, _RANK, _DATA = _Seen.sizes.offset, _Seen.rank.offset, _Seen.data.offset


def _buffer(api: Api, value: int) -> Buffer:
    """Return a copy of what an `OrtValue` holds."""
    seen = _Seen()
    at = addressof(seen)
    failed = api.GetTensorElementTypeAndShapeDataReference(value, at, at + _SIZES, at + _RANK)
    if failed:
        raise api.error(failed)
    datatype, rank = _DATATYPES.get(seen.number), seen.rank
    if datatype is None:
        raise OrtError(_INVALID_ARGUMENT, f"an output is of element type {seen.number}")
    shape = tuple((c_int64 * rank).from_address(seen.sizes)) if rank else ()
    count = math.prod(shape)
    if datatype == "BYTES":
        return Buffer(datatype, shape, _texts(api, value, count))
    data = array(CODES[datatype])
    if count:
        failed = api.GetTensorMutableData(value, at + _DATA)
        if failed:
            raise api.error(failed)
        data.frombytes((c_char * (count * data.itemsize)).from_address(seen.data))
    return Buffer(datatype, shape, data)


def _texts(api: Api, value: int, count: int) -> list[str]:
    size = api.count("GetStringTensorDataLength", value)
    content, starts = (c_char * size)(), (c_size_t * (count + 1))()
    starts[count] = size
    api.do("GetStringTensorContent", value, content, size, starts, count)
    raw, ends = bytes(content), iter(starts)
    start = next(ends)
    return [raw[start : (start := end)].decode() for end in ends]
