"""A model file in, a session out: ONNX Runtime through its C API, or its Python package.

Both have `run(names, arrays)`, `get_inputs` and `get_outputs`, and give the same answers to the
bit. The C API takes a third of the time to load, and `Lean` needs it.
"""

import os
import re
from pathlib import Path
from typing import Any

from fnmodel.errors import CapacityError, DeadlineError, InputError
from fnmodel.model import WEIGHTS
from fnmodel.ort.api import OrtStoppedError, installed, load
from fnmodel.ort.session import Session

# Under two vCPUs (3,538 MB) a second thread only spins; above, spinning is what costs.
TWO_VCPU_MEMORY_MB = 3538

LESS = "send fewer rows, or use batch"
_NO_MEMORY = re.compile(r"Failed to allocate memory|bad_?\s?alloc", re.IGNORECASE)


def open_session(model: Path | bytes, *, threads: int | None = None) -> Any:
    """Open a model with settings that fit a Lambda function's memory.

    Returns a `fnmodel.ort.session.Session`, or an `onnxruntime.InferenceSession` where the C
    library is not of a version that we tested.

    Raises:
        InputError: ONNX Runtime refuses the model.
        CapacityError: there is no memory for it.

    """
    # The Linux builds report to Microsoft unless this is set before they are loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if threads is None:
        memory = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
        threads = 2 if memory >= TWO_VCPU_MEMORY_MB else 1
    library = installed()
    try:
        content = model if isinstance(model, bytes) else _given(model)
        if library is None:
            return by_package(content, threads)
        return Session(load(*library), content, threads=threads)
    except Exception as error:
        # onnxruntime raises about ten classes of its own here, without a common base.
        name = "the model" if isinstance(model, bytes) else model
        kind = CapacityError if _starved(error) else InputError
        raise kind(f"{name} cannot be loaded: {error}") from error


def _given(model: Path) -> bytes | Path:
    """Return the bytes of a whole model, or the path of one whose weights are to be mapped.

    `slim` has checked that neither names other files: ONNX Runtime would open them.
    """
    return model if model.with_name(WEIGHTS).is_file() else model.read_bytes()


def by_package(content: bytes | Path, threads: int) -> Any:
    """Open a model with the Python package, and the settings that `Session` has."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def refused(error: Exception) -> InputError:
    """Return an error of a run as one of the input, in one line."""
    if isinstance(error, OrtStoppedError):
        return DeadlineError("the model needs more time than there is", hint=LESS)
    if _starved(error):
        return CapacityError("the model needs more memory than there is", hint=LESS)
    return InputError(f"the model refuses this input: {_first_line(error)}")


def _starved(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def _first_line(error: Exception) -> str:
    # Some graphs stop at a node that says why.
    said = re.search(r"Name:'(\w+ takes finite numbers only)'", str(error))
    if said:
        return f"{said[1]}, and a step before it makes another one of a value"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # ONNX Runtime names its own source files, which tell a caller nothing.
    return re.sub(r"(?:/[\w.+-]+){2,}(?::\d+)?\S*", "…", lines[0])[:300]
