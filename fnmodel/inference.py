"""Rows in, predictions out: the one path from named values to ONNX and back.

The parity check, the endpoint and batch scoring all go through `Predictor`, so that what was
proven is what is served.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fnmodel.errors import InputError
from fnmodel.model import (
    FRONT,
    MISSING_TEXT,
    MODEL,
    PROCESSING,
    WEIGHTS,
    Datatype,
    Feature,
    Signature,
    Tensor,
    read_signature,
)

if TYPE_CHECKING:
    from fnmodel.front.front import Front
    from fnmodel.processing import Processing

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

# Under two vCPUs (3,538 MB) a second thread only spins; above, spinning is what costs.
_TWO_VCPU_MEMORY_MB = 3538


def open_session(model: Path | bytes, *, threads: int | None = None) -> Any:
    """Open an `onnxruntime.InferenceSession` with settings that fit a Lambda function's memory.

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
        content = model if isinstance(model, bytes) else _given(model)
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises about ten classes of its own here, without a common base.
        name = "the model" if isinstance(model, bytes) else model
        raise InputError(f"{name} cannot be loaded: {error}") from error


def _given(model: Path) -> bytes | str:
    """Return the bytes of a whole model, or the path of one whose weights are to be mapped.

    `slim` has checked that neither names other files: ONNX Runtime would open them.
    """
    return str(model) if model.with_name(WEIGHTS).is_file() else model.read_bytes()


class Predictor:
    """A loaded model directory: encodes rows, runs the graph, decodes its answers.

    May be used from several threads: nothing in it changes after it was made.
    """

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.signature: Signature = read_signature(folder)
        self._session = open_session(folder / MODEL, threads=threads)
        self._outputs = [tensor.name for tensor in self.signature.outputs]
        # Outputs as long as the longest text can only be joined when all rows were padded alike.
        self._joins = all(-1 not in tensor.shape[1:] for tensor in self.signature.outputs)
        self._front = _front(folder)
        self.processing = _processing(folder)
        # What would be looked up in the features at each request.
        features = self.signature.features
        self._names = [feature.name for feature in features]
        self._known = frozenset(self._names)
        self._stacked = self.signature.stacked
        self._closed = any(feature.closed for feature in features)
        self._nullable = all(feature.nullable for feature in features)

    def encode(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        """Turn records, one mapping of feature name to value a row, into input tensors.

        Returns arrays of shape (rows, F) for a stacked model, else one of shape (rows, 1) for each
        feature. A missing value of a nullable feature is NaN, or MISSING_TEXT in BYTES.

        Raises:
            InputError: a field is unknown, missing, of another type, or out of range; the message
                names row and field.

        """
        features = self.signature.features
        if not features:
            raise InputError(
                "this model has no named features", hint="send tensors to /v2/models/{model}/infer"
            )
        names, known = self._names, self._known
        for row, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise InputError(f"row {row} is not an object of feature names and values")
            # A count first: rows are many, and nearly all of them are right.
            if len(record) != len(known) or not known.issuperset(record):
                _check_names(row, record, features)
        if self._stacked:
            # One array for the whole table: thirty small ones would cost more than the model.
            tensor = self.signature.inputs[0]
            values = [record.get(name) for record in records for name in names]
            return {tensor.name: self.encode_tensor(tensor, (len(records), len(names)), values)}
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

    def encode_tensor(self, tensor: Tensor, shape: Sequence[int], values: Sequence[Any]) -> Array:
        """Turn the row-major `values` of one input into an array of `shape`.

        The caller has checked that `shape` fits the tensor and holds as many values. A null is
        allowed where the feature behind it is nullable, and in the floating inputs of a model
        without features.

        Raises:
            InputError: a value does not fit; names row and field, or input and element.

        """
        array = _bulk(tensor.datatype, values, nullable=self._nullable)
        if array is None or not self._closed_hold(tensor, values):
            array = _one_by_one(tensor.datatype, values, *self._slots(tensor))
        return array.reshape(shape)

    def _closed_hold(self, tensor: Tensor, values: Sequence[Any]) -> bool:
        """Whether the features with closed categories have only these, in row-major values."""
        if not self._closed:
            return True
        features = self.signature.features
        if not self.signature.stacked:
            features = (features[self.signature.inputs.index(tensor)],)
        width = len(features)
        return all(
            _known(feature).issuperset(values[position::width])
            for position, feature in enumerate(features)
            if feature.closed
        )

    def _slots(self, tensor: Tensor) -> tuple[Callable[[int], Feature], Callable[[int], str]]:
        """Return what the value at a row-major index of this input is, and how to name it."""
        signature = self.signature
        if not signature.features:
            floating = DTYPES[tensor.datatype].kind == "f"
            plain = Feature(tensor.name, tensor.datatype, nullable=floating)
            return lambda _: plain, lambda index: f"input {tensor.name!r}, element {index}"
        features = signature.features
        if not signature.stacked:
            features = (features[signature.inputs.index(tensor)],)
        width = len(features)
        return (
            lambda index: features[index % width],
            lambda index: _place(index // width, features[index % width]),
        )

    def run(
        self, tensors: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run the graph on input tensors by name and return its output tensors by name.

        Where the model has a front, it comes first, with many rows a part at a time.

        Raises:
            InputError: ONNX Runtime refuses a tensor's dtype, rank or size.

        """
        names = list(outputs) if outputs is not None else self._outputs
        if any(array.shape[:1] == (0,) for array in tensors.values()):
            return self._no_rows(names)
        if self._front is None:
            return self._run(tensors, names)
        if not self._joins:
            return self._run(self._front(tensors), names)
        parts = [self._run(part, names) for part in self._front.batches(tensors)]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def feeds(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the graph's own inputs, which a front makes of the signature's.

        Raises:
            InputError: an input is missing, or holds what the front cannot read.

        """
        return tensors if self._front is None else self._front(tensors)

    def _run(self, tensors: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        try:
            values = self._session.run(names, dict(tensors))
        except Exception as error:
            # onnxruntime's Fail, InvalidArgument … share no base class.
            raise InputError(f"the model refuses this input: {_first_line(error)}") from error
        return dict(zip(names, values, strict=True))

    def _no_rows(self, names: Sequence[str]) -> dict[str, Array]:
        """Return answers of zero rows, which not every operator gives."""
        shapes = {tensor.name: tensor for tensor in self.signature.outputs}
        return {
            name: np.empty(
                (0, *(max(d, 0) for d in shapes[name].shape[1:])), DTYPES[shapes[name].datatype]
            )
            for name in names
        }

    def predict(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Encode, run and decode records; an empty list gives an empty list.

        The project's own steps, where there are any, stand before and after.

        Raises:
            InputError: as `encode` and `run`.
            ProcessingError: the project's own steps fail.

        """
        if not records:
            return []
        if self.processing is None:
            return self.decode(self.run(self.encode(records)))
        given = self.checked(records)
        features = self.processing.before(given)
        return self.processing.after(self.decode(self.run(self.encode(features))), given)

    def checked(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return what callers sent, its names and types compared with `signature.raw`.

        Raises:
            InputError: a field is unknown, missing, or of another type; names row and field.

        """
        raw = self.signature.raw
        for row, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise InputError(f"row {row} is not an object of names and values")
            _check_names(row, record, raw)
            for feature in raw:
                if record.get(feature.name) is None:
                    continue
                try:
                    encode_value(feature, record[feature.name])
                except InputError as error:
                    raise InputError(f"{_place(row, feature)}: {error.message}") from error
        return [{feature.name: record.get(feature.name) for feature in raw} for record in records]

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


def _processing(folder: Path) -> "Processing | None":
    if not (folder / PROCESSING).is_file():
        return None
    from fnmodel.processing import Processing

    return Processing.load(folder)


def _front(folder: Path) -> "Front | None":
    if not (folder / FRONT).is_file():
        return None
    # Most models have none, and a cold start pays for each module.
    from fnmodel.front.front import Front

    return Front.load(folder)


def encode_column(feature: Feature, values: Sequence[Any]) -> Array:
    """Turn one feature's values into an array of shape (rows,) and the feature's dtype.

    Raises:
        InputError: a value is missing, of another type, or out of range; names row and field.

    """
    datatype, array = feature.datatype, None
    if len(values) > _FEW:
        array = _bulk(datatype, values, nullable=feature.nullable)
    if array is None or (feature.closed and not _known(feature).issuperset(values)):
        array = _one_by_one(datatype, values, lambda _: feature, lambda row: _place(row, feature))
    return array


# From here on numpy's own cost is less than that of the values.
_FEW = 4
# Up to here Python looks at each number as fast as numpy does at all of them.
_SMALL = 128

# A number of this size or more becomes infinite: the largest one and half of its last digit.
_TOO_LARGE: dict[str, int] = {
    "FP16": 2**16 - 2**4,
    "FP32": 2**128 - 2**103,
    "FP64": 2**1024 - 2**970,
}


def _place(row: int, feature: Feature) -> str:
    return f"row {row}, field {feature.name!r}"


def _bulk(datatype: Datatype, values: Sequence[Any], *, nullable: bool) -> Array | None:
    """Return the array if every value is of the datatype's own JSON type and in range, else None.

    None sends the caller on the careful path, which accepts a little more (3.0 for an integer)
    and otherwise finds the value to name.
    """
    dtype = DTYPES[datatype]
    kinds = set(map(type, values))
    if dtype.kind == "f":
        return _bulk_floats(datatype, values, kinds, nullable=nullable)
    if dtype.kind in "iu" and kinds <= {int}:
        try:
            return np.array(values, dtype=dtype)
        except OverflowError:
            return None
    if dtype.kind == "b" and kinds <= {bool}:
        return np.array(values, dtype=dtype)
    if dtype.kind == "O" and kinds <= {str} and all(map(_is_text, values)):
        return _array(dtype, values)
    return None


def _bulk_floats(
    datatype: Datatype, values: Sequence[Any], kinds: set[type], *, nullable: bool
) -> Array | None:
    if len(values) <= _SMALL and kinds <= {int, float}:
        return _small_floats(datatype, values)
    missing = values.count(None) if nullable and type(None) in kinds else 0
    if not kinds <= ({int, float, type(None)} if missing else {int, float}):
        return None
    try:
        wide = np.array(values, dtype=np.float64)  # None becomes NaN
        limit = float(_TOO_LARGE[datatype]) if datatype != "FP64" else math.inf
    except OverflowError:
        return None
    # A NaN is not less than anything, so that only the missing values may fail.
    if np.count_nonzero(np.abs(wide) < limit) != len(values) - missing:
        return None
    return wide.astype(DTYPES[datatype], copy=False)


def _small_floats(datatype: Datatype, values: Sequence[Any]) -> Array | None:
    """Return a few numbers as an array if all are in range: each call of numpy is a microsecond."""
    if not values:
        return np.empty(0, DTYPES[datatype])
    limit = _TOO_LARGE[datatype]
    try:
        # A NaN makes the sum one; a sum that overflows only sends the caller on the careful path.
        if math.isfinite(sum(values)) and -limit < min(values) and max(values) < limit:
            return np.array(values, dtype=DTYPES[datatype])
    except OverflowError:  # an integer that no float can be
        return None
    return None


def _array(dtype: np.dtype[Any], values: Sequence[Any]) -> Array:
    array = np.empty(len(values), dtype=dtype)
    array[:] = values
    return array


def _one_by_one(
    datatype: Datatype,
    values: Sequence[Any],
    feature_at: Callable[[int], Feature],
    place: Callable[[int], str],
) -> Array:
    fitted = []
    for index, value in enumerate(values):
        try:
            fitted.append(encode_value(feature_at(index), value))
        except InputError as error:
            raise InputError(f"{place(index)}: {error.message}") from None
    return _array(DTYPES[datatype], fitted)


def encode_value(feature: Feature, value: Any) -> Any:
    """Return one value as its array holds it.

    Raises:
        InputError: it does not fit; the message is the reason alone.

    """
    fitted = _fit(feature, value)
    if feature.closed and value is not None and fitted not in _known(feature):
        known = _listed(feature.categories)
        raise InputError(f"expected one of {known}, got {_short(repr(value))}")
    return fitted


def _fit(feature: Feature, value: Any) -> Any:
    dtype = DTYPES[feature.datatype]
    if value is None:
        if feature.nullable and dtype.kind in "fO":
            return math.nan if dtype.kind == "f" else MISSING_TEXT
        raise InputError("a value is required, got null")
    if dtype.kind == "O":
        return _fit_text(value)
    if dtype.kind == "b":
        if isinstance(value, bool):
            return value
        raise InputError(f"expected true or false, got {_kind(value)}")
    if isinstance(value, bool) and (feature.integral or dtype.kind in "iu"):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"expected a number, got {_kind(value)}")
    return _fit_number(feature.datatype, value)


@lru_cache(maxsize=256)
def _known(feature: Feature) -> frozenset[Any]:
    """Return what a feature with closed categories can be; a null is judged elsewhere."""
    return frozenset(feature.categories) | {None}


def _listed(categories: Sequence[Any]) -> str:
    shown = ", ".join(_short(repr(value)) for value in categories[:10])
    return shown + (f" and {len(categories) - 10} more" if len(categories) > 10 else "")


def _fit_text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"expected a string, got {_kind(value)}")
    if not _is_text(value):
        raise InputError("not a valid text")
    return value


def _fit_number(datatype: Datatype, value: Any) -> Any:
    dtype = DTYPES[datatype]
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{value} is not a finite number")
    if dtype.kind in "iu":
        if value != int(value):
            raise InputError(f"expected an integer, got {value}")
        limits = np.iinfo(dtype)
        if limits.min <= value <= limits.max:
            return int(value)
    elif -_TOO_LARGE[datatype] < value < _TOO_LARGE[datatype]:
        return float(value)
    raise InputError(f"{_short(value)} is out of range for {datatype}")


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
    nested: list[Any] = array.tolist()
    if array.dtype.kind != "f" or _all_finite(array):
        return nested
    values = array.astype(object)
    values[~np.isfinite(array)] = None
    plain: list[Any] = values.tolist()
    return plain


def _all_finite(array: Array) -> bool:
    if array.size <= _SMALL:
        return math.isfinite(sum(array.ravel().tolist()))
    return bool(np.isfinite(array).all())


def _is_text(text: str) -> bool:
    if "\x00" in text:  # ONNX Runtime would cut the string there
        return False
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
    # Some graphs stop at a node that says why.
    said = re.search(r"Name:'(\w+ takes finite numbers only)'", str(error))
    if said:
        return f"{said[1]}, and a step before it makes another one of a value"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # ONNX Runtime names its own source files, which tell a caller nothing.
    return re.sub(r"(?:/[\w.+-]+){2,}(?::\d+)?\S*", "…", lines[0])[:300]
