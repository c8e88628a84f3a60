"""Rows in, predictions out: the one path from named values to ONNX and back.

The parity check, the endpoint and batch scoring all go through `Predictor`, so that what was
proven is what is served.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import InputError
from fnmodel.model import MODEL, Feature, Signature, read_signature

Array = NDArray[Any]

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

# Under two vCPUs (3,538 MB) a second thread only spins; above, spinning is what costs.
_TWO_VCPU_MEMORY_MB = 3538


def open_session(path: Path, *, threads: int | None = None) -> Any:
    """Open an `onnxruntime.InferenceSession` with settings that fit a Lambda function's memory.

    The model is given as bytes, so that ONNX Runtime resolves no file name inside it.

    Raises:
        InputError: ONNX Runtime refuses the model.

    """
    # The Linux wheels report to Microsoft unless this is set before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime as ort

    if threads is None:
        memory = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
        threads = 2 if memory >= _TWO_VCPU_MEMORY_MB else 1
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises about ten classes of its own here, without a common base.
        raise InputError(f"{path} cannot be loaded: {error}") from error


class Predictor:
    """A loaded model directory: encodes rows, runs the graph, decodes its answers.

    Not thread-safe in `encode` and `decode` only in that they share nothing; `run` may be called
    from several threads, as ONNX Runtime allows.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.signature: Signature = read_signature(folder)
        self._session = open_session(folder / MODEL, threads=threads)
        self._outputs = [tensor.name for tensor in self.signature.outputs]

    def encode(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        """Turn records, one mapping of feature name to value a row, into input tensors.

        Returns arrays of shape (rows, F) for a stacked model, else one of shape (rows, 1) for each
        feature. A missing value of a nullable feature is NaN, or the empty string in BYTES.

        Raises:
            InputError: a field is unknown, missing, of another type, or out of range; the message
                names row and field.

        """
        features = self.signature.features
        if not features:
            raise InputError(
                "this model has no named features", hint="send tensors to /v2/models/{model}/infer"
            )
        known = {feature.name for feature in features}
        for row, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise InputError(f"row {row} is not an object of feature names and values")
            # A count first: rows are many, and nearly all of them are right.
            if len(record) != len(known) or not known.issuperset(record):
                _check_names(row, record, features)
        columns = [
            encode_column(feature, [record.get(feature.name) for record in records])
            for feature in features
        ]
        return self.assemble(columns)

    def assemble(self, columns: Sequence[Array]) -> dict[str, Array]:
        """Place encoded feature columns, each of shape (rows,), into the model's inputs."""
        inputs = self.signature.inputs
        if self.signature.stacked:
            dtype = DTYPES[inputs[0].datatype]
            rows = len(columns[0]) if columns else 0
            stacked = np.empty((rows, len(columns)), dtype)
            for position, column in enumerate(columns):
                stacked[:, position] = column
            return {inputs[0].name: stacked}
        return {
            tensor.name: column.reshape(-1, 1)
            for tensor, column in zip(inputs, columns, strict=True)
        }

    def run(
        self, tensors: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run the graph on input tensors by name and return its output tensors by name.

        Raises:
            InputError: ONNX Runtime refuses a tensor's dtype, rank or size.

        """
        names = list(outputs) if outputs is not None else self._outputs
        try:
            values = self._session.run(names, dict(tensors))
        except Exception as error:
            # onnxruntime's Fail, InvalidArgument … share no base class.
            raise InputError(f"the model refuses this input: {_first_line(error)}") from error
        return dict(zip(names, values, strict=True))

    def predict(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Encode, run and decode records; an empty list gives an empty list.

        Raises:
            InputError: as `encode` and `run`.

        """
        return self.decode(self.run(self.encode(records))) if records else []

    def decode(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        """Turn output tensors into one prediction a row.

        A classifier's is `{"label": …, "probabilities": {class: p}}`, a regressor's
        `{"value": …}`, another model's its outputs by name. NaN and infinities become None, since
        JSON has none.
        """
        signature = self.signature
        if signature.label is not None:
            labels = _plain(outputs[signature.label].reshape(-1))
            if signature.scores is None:
                return [{"label": label} for label in labels]
            names = [str(name) for name in signature.classes]
            scores = _plain(outputs[signature.scores])
            return [
                {"label": label, "probabilities": dict(zip(names, row, strict=True))}
                for label, row in zip(labels, scores, strict=True)
            ]
        if signature.task == "regression" and len(signature.outputs) == 1:
            array = outputs[signature.outputs[0].name]
            values = _plain(array.reshape(-1) if array.size == len(array) else array)
            return [{"value": value} for value in values]
        columns = {name: _plain(array) for name, array in outputs.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def encode_column(feature: Feature, values: Sequence[Any]) -> Array:
    """Turn one feature's values into an array of shape (rows,) and the feature's dtype.

    Raises:
        InputError: a value is missing, of another type, or out of range; names row and field.

    """
    if feature.datatype == "BYTES":
        return _encode_strings(feature, values)
    dtype = DTYPES[feature.datatype]
    if all(type(value) in (int, float) for value in values):
        try:
            wide = np.array(values, dtype=np.float64)
        except OverflowError:
            wide = None  # an integer beyond float64: the careful path names its row
        if wide is not None and np.isfinite(wide).all():
            narrow = wide.astype(dtype, copy=False) if dtype.kind == "f" else None
            if narrow is not None and np.isfinite(narrow).all():
                return narrow
    return np.array([_number(feature, dtype, row, v) for row, v in enumerate(values)], dtype=dtype)


def _encode_strings(feature: Feature, values: Sequence[Any]) -> Array:
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        if isinstance(value, str):
            if "\x00" in value or not _encodable(value):
                raise InputError(f"row {row}, field {feature.name!r}: not a valid text")
            column[row] = value
        elif value is None and feature.nullable:
            column[row] = ""
        else:
            raise InputError(
                f"row {row}, field {feature.name!r}: expected a string, got {_kind(value)}"
            )
    return column


def _number(feature: Feature, dtype: np.dtype[Any], row: int, value: Any) -> Any:
    where = f"row {row}, field {feature.name!r}"
    if value is None:
        if feature.nullable and dtype.kind == "f":
            return math.nan
        raise InputError(f"{where}: a value is required, got null")
    if dtype.kind == "b":
        if isinstance(value, bool):
            return value
        raise InputError(f"{where}: expected true or false, got {_kind(value)}")
    if isinstance(value, bool) and (feature.integral or dtype.kind in "iu"):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: expected a number, got {_kind(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value} is not a finite number")
    whole = dtype.kind in "iu"
    if whole and value != int(value):
        raise InputError(f"{where}: expected an integer, got {value}")
    limits = np.iinfo(dtype) if whole else np.finfo(dtype)
    if not limits.min <= value <= limits.max:
        raise InputError(f"{where}: {_short(value)} is out of range for {feature.datatype}")
    return int(value) if whole else float(value)


def _check_names(row: int, record: Mapping[str, Any], features: Iterable[Feature]) -> None:
    names = [feature.name for feature in features]
    unknown = [name for name in record if name not in names]
    if unknown:
        import difflib

        near = difflib.get_close_matches(str(unknown[0]), names, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"row {row}: unknown field {_short(unknown[0])!r}{guess}")
    missing = [f.name for f in features if f.name not in record and not f.nullable]
    if missing:
        listed = ", ".join(repr(name) for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(f"row {row}: missing field {listed}{more}")


def _plain(array: Array) -> list[Any]:
    """Return nested lists of Python values, with None for NaN and infinities."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        values = array.astype(object)
        values[~np.isfinite(array)] = None
        array = values
    nested: list[Any] = array.tolist()
    return nested


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "an array"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else "a number")


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
