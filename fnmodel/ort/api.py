"""The functions of ONNX Runtime's C API that inference needs, by ctypes.

`import onnxruntime` costs a cold start numpy and a second module of 36 MB; the C library needs
neither. Its `OrtApi` is a table of pointers that grows at the end only, so that a function keeps
its place for ever:
https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/onnxruntime_c_api.h
"""

import os
import sys
from collections.abc import Callable, Sequence
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    PYFUNCTYPE,
    byref,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
)
from functools import cache
from pathlib import Path
from typing import Any

VERSIONS = {"1.32.0": 32}
"""The tested versions of ONNX Runtime, those of the locks, and the `ORT_API_VERSION` of each."""

_CODES = (
    "OK", "FAIL", "INVALID_ARGUMENT", "NO_SUCHFILE", "NO_MODEL", "ENGINE_ERROR",
    "RUNTIME_EXCEPTION", "INVALID_PROTOBUF", "MODEL_LOADED", "NOT_IMPLEMENTED", "INVALID_GRAPH",
    "EP_FAIL", "MODEL_LOAD_CANCELED", "MODEL_REQUIRES_COMPILATION", "NOT_FOUND",
)  # fmt: skip
"""The names of `OrtErrorCode`, by number."""

INVALID_ARGUMENT = 2

_IN, _OUT, _TEXT, _SIZE = c_void_p, c_void_p, c_char_p, c_size_t
_TEXTS, _COUNT = POINTER(c_char_p), POINTER(c_size_t)

# Place in the table, and the types of the arguments, in the header's order.
_CALLS: dict[str, tuple[int, tuple[Any, ...]]] = {
    "CreateEnv": (3, (c_int, _TEXT, _OUT)),
    "CreateSession": (7, (_IN, _TEXT, _IN, _OUT)),
    "CreateSessionFromArray": (8, (_IN, _TEXT, _SIZE, _IN, _OUT)),
    "Run": (9, (_IN, _IN, _TEXTS, _IN, _SIZE, _TEXTS, _SIZE, _OUT)),
    "CreateSessionOptions": (10, (_OUT,)),
    "SetSessionLogSeverityLevel": (22, (_IN, c_int)),
    "SetIntraOpNumThreads": (24, (_IN, c_int)),
    "SetInterOpNumThreads": (25, (_IN, c_int)),
    "SessionGetInputCount": (30, (_IN, _OUT)),
    "SessionGetOutputCount": (31, (_IN, _OUT)),
    "SessionGetInputTypeInfo": (33, (_IN, _SIZE, _OUT)),
    "SessionGetOutputTypeInfo": (34, (_IN, _SIZE, _OUT)),
    "SessionGetInputName": (36, (_IN, _SIZE, _IN, _OUT)),
    "SessionGetOutputName": (37, (_IN, _SIZE, _IN, _OUT)),
    "CreateRunOptions": (39, (_OUT,)),
    "RunOptionsSetTerminate": (46, (_IN,)),
    "CreateTensorAsOrtValue": (48, (_IN, _IN, _SIZE, c_int, _OUT)),
    "CreateTensorWithDataAsOrtValue": (49, (_IN, _IN, _SIZE, _IN, _SIZE, c_int, _OUT)),
    "GetTensorMutableData": (51, (_IN, _OUT)),
    "FillStringTensor": (52, (_IN, _TEXTS, _SIZE)),
    "GetStringTensorDataLength": (53, (_IN, _OUT)),
    "GetStringTensorContent": (54, (_IN, _OUT, _SIZE, _COUNT, _SIZE)),
    "CastTypeInfoToTensorInfo": (55, (_IN, _OUT)),
    "GetTensorElementType": (60, (_IN, _OUT)),
    "GetDimensionsCount": (61, (_IN, _OUT)),
    "GetDimensions": (62, (_IN, _OUT, _SIZE)),
    "GetSymbolicDimensions": (63, (_IN, _TEXTS, _SIZE)),
    "CreateCpuMemoryInfo": (69, (c_int, c_int, _OUT)),
    "AllocatorFree": (76, (_IN, _IN)),
    "GetAllocatorWithDefaultOptions": (78, (_OUT,)),
    "AddSessionConfigEntry": (130, (_IN, _TEXT, _TEXT)),
    "AddRunConfigEntry": (165, (_IN, _TEXT, _TEXT)),
    "GetResizedStringTensorElementBuffer": (252, (_IN, _SIZE, _SIZE, _OUT)),
    "GetTensorElementTypeAndShapeDataReference": (414, (_IN, _OUT, _OUT, _OUT)),
}
# These return nothing, or no status.
_OTHERS: dict[str, tuple[int, Any, tuple[Any, ...]]] = {
    "GetErrorCode": (1, c_int, (_IN,)),
    "GetErrorMessage": (2, _TEXT, (_IN,)),
    "ReleaseStatus": (93, None, (_IN,)),
    "ReleaseSession": (95, None, (_IN,)),
    "ReleaseValue": (96, None, (_IN,)),
    "ReleaseRunOptions": (97, None, (_IN,)),
    "ReleaseTypeInfo": (98, None, (_IN,)),
    "ReleaseSessionOptions": (100, None, (_IN,)),
}
# These take long, and other threads go on meanwhile. The rest is over in less time than it takes
# to give the interpreter's lock away and get it back.
_LONG = frozenset({"CreateSession", "CreateSessionFromArray", "Run"})

_ORT_LOGGING_LEVEL_ERROR = 3
_ORT_ARENA_ALLOCATOR = 1
_ORT_MEM_TYPE_DEFAULT = 0


class OrtError(Exception):
    """What an `OrtStatus` says, in the words that the package onnxruntime gives it."""

    def __init__(self, code: int, message: str) -> None:
        name = _CODES[code] if code < len(_CODES) else "UNKNOWN"
        super().__init__(f"[ONNXRuntimeError] : {code} : {name} : {message}")
        self.code = code


class OrtStoppedError(OrtError):
    """A run was stopped, since its moment had passed."""


class Api:
    """A loaded library: its functions by the header's names, and one environment.

    A function returns its `OrtStatus`, nothing where all is well; `do`, `made` and `count` call one
    and raise what it refuses, and a caller in a hurry hands it to `error`. The environment, the
    default allocator and the description of memory live as long as the process: sessions need
    them, and there is one of each. May be used from several threads.
    """

    def __init__(self, library: Path, version: int) -> None:
        base = CDLL(str(library)).OrtGetApiBase
        base.restype = POINTER(c_void_p)
        self._table = CFUNCTYPE(c_void_p, c_uint32)(base()[0])(version)
        if not self._table:
            message = f"{library.name} does not have version {version} of the C API"
            raise OrtError(_CODES.index("NOT_IMPLEMENTED"), message)
        self.env = self.made("CreateEnv", _ORT_LOGGING_LEVEL_ERROR, b"fnmodel")
        self.allocator = self.made("GetAllocatorWithDefaultOptions")
        self.memory = self.made("CreateCpuMemoryInfo", _ORT_ARENA_ALLOCATOR, _ORT_MEM_TYPE_DEFAULT)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a function of the table, made when it is first asked for."""
        if name in _CALLS:
            index, arguments = _CALLS[name]
            result: Any = c_void_p
        elif name in _OTHERS:
            index, result, arguments = _OTHERS[name]
        else:
            raise AttributeError(name)
        kind = CFUNCTYPE if name in _LONG else PYFUNCTYPE
        address = POINTER(c_void_p).from_buffer(c_void_p(self._table))[index]
        function = kind(result, *arguments)(address)
        setattr(self, name, function)
        return function

    def do(self, name: str, *arguments: Any) -> None:
        """Call a function for what it does."""
        status = getattr(self, name)(*arguments)
        if status:
            raise self.error(status)

    def made(self, name: str, *arguments: Any) -> int:
        """Return the pointer that a function leaves in its last argument; the caller owns it."""
        out = c_void_p()
        self.do(name, *arguments, byref(out))
        return out.value or 0

    def count(self, name: str, *arguments: Any) -> int:
        """Return the number that a function leaves in its last argument."""
        out = c_int64()
        self.do(name, *arguments, byref(out))
        return out.value

    def error(self, status: int) -> OrtError:
        """Return what a status says, and release it."""
        code, said = self.GetErrorCode(status), self.GetErrorMessage(status)
        self.ReleaseStatus(status)
        return OrtError(code, said.decode("utf-8", "replace"))


@cache
def load(library: Path, version: int) -> Api:
    """Return the library, loaded once a process.

    Raises:
        OSError: it cannot be loaded.
        OrtError: it is of another version.

    """
    return Api(library, version)


def installed(path: Sequence[str] | None = None) -> tuple[Path, int] | None:
    """Return the C library beside the package onnxruntime, and the version of its API.

    `path` is where packages lie, `sys.path` if it is not given. None where there is no such file
    of a tested version. The package is not imported.
    """
    for folder in sys.path if path is None else path:
        beside = os.path.join(folder, "onnxruntime", "capi")  # noqa: PTH118
        if os.path.isdir(beside):  # noqa: PTH112
            # The first package on the path is the one that `import onnxruntime` would find.
            for name, version in VERSIONS.items():
                library = Path(beside, f"libonnxruntime.so.{name}")
                if library.is_file():
                    return library, version
            return None
    return None
