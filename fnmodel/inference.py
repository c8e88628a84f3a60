"""Rows in, predictions out: the one path from named values to ONNX and back.

The parity check and batch scoring go through `Predictor`, and so does the endpoint where `Lean`,
which answers the same, is not for it: what was proven is what is served.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fnmodel.arrays import DATATYPES, DTYPES, Array, objects
from fnmodel.binary import of_texts
from fnmodel.encoding import Inference
from fnmodel.encoding import encode_column as column_of
from fnmodel.engine import open_session, refused
from fnmodel.errors import InputError
from fnmodel.model import FRONT, MODEL, PROCESSING, Datatype, Feature, read_signature
from fnmodel.values import KINDS, TOO_LARGE, at_once, check_names, encode_value, place

if TYPE_CHECKING:
    from fnmodel.front.front import Front
    from fnmodel.processing import Processing


class Predictor(Inference[Array]):
    """A loaded model directory: encodes rows, runs the graph, decodes its answers.

    `session` is that of its model, where it is open already. May be used from several threads:
    nothing in it changes after it was made.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, session: Any = None) -> None:
        super().__init__(read_signature(folder), Arrays())
        self._session = session or open_session(folder / MODEL, threads=threads)
        self._outputs = [tensor.name for tensor in self.signature.outputs]
        # Outputs as long as the longest text can only be joined when all rows were padded alike.
        self._joins = all(-1 not in tensor.shape[1:] for tensor in self.signature.outputs)
        self._front = _front(folder)
        self.processing = _processing(folder)

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

        Where the model has a front, it comes first, with many rows a part at a time.

        Raises:
            InputError: ONNX Runtime refuses a tensor's dtype, rank or size.

        """
        names = list(outputs) if outputs is not None else self._outputs
        if any(array.shape[:1] == (0,) for array in tensors.values()):
            return self.no_rows(names)
        return self.join(self.parts(tensors), names)

    def parts(self, tensors: Mapping[str, Array]) -> Iterable[Mapping[str, Array]]:
        """Return the graph's own inputs, where there is a front for a few rows at a time.

        Raises:
            InputError: an input is missing, or holds what the front cannot read.

        """
        if self._front is None:
            return (tensors,)
        if not self._joins:
            return (self._front(tensors),)
        return self._front.batches(tensors)

    def join(self, parts: Iterable[Mapping[str, Array]], names: Sequence[str]) -> dict[str, Array]:
        """Run the graph on each part, and return its outputs as of one.

        Raises:
            InputError: as `run`.

        """
        made = [self._run(part, names) for part in parts]
        if len(made) == 1:
            return made[0]
        return {name: np.concatenate([part[name] for part in made]) for name in names}

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
            raise refused(error) from error
        return dict(zip(names, values, strict=True))

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
            check_names(row, record, raw)
            for feature in raw:
                if record.get(feature.name) is None:
                    continue
                try:
                    encode_value(feature, record[feature.name])
                except InputError as error:
                    raise InputError(f"{place(row, feature)}: {error.message}") from error
        return [{feature.name: record.get(feature.name) for feature in raw} for record in records]


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
    return column_of(Arrays(), feature, values)


# Up to here Python looks at each number as fast as numpy does at all of them.
_SMALL = 128


class Arrays:
    """`Kind` of the tensors that are numpy arrays."""

    few = 4

    def make(self, datatype: Datatype, values: Sequence[Any]) -> Array:
        """As `Kind.make`."""
        if datatype == "BYTES":
            return objects(values)
        return np.array(values, DTYPES[datatype])

    def at_once(self, datatype: Datatype, values: Sequence[Any], *, nullable: bool) -> Array | None:
        """As `Kind.at_once`."""
        kind = KINDS[datatype]
        if len(values) > _SMALL and kind in ("floating", "integer"):
            kinds = set(map(type, values))
            if kind == "floating":
                return _many_floats(datatype, values, kinds, nullable=nullable)
            return _many_integers(datatype, values) if kinds == {int} else None
        fitted = at_once(datatype, values, nullable=nullable)
        return None if fitted is None else self.make(datatype, fitted)

    def plain(self, tensor: Array) -> list[Any]:
        """As `Kind.plain`."""
        nested: list[Any] = tensor.tolist()
        if tensor.dtype.kind != "f" or _all_finite(tensor):
            return nested
        values = tensor.astype(object)
        values[~np.isfinite(tensor)] = None
        plain: list[Any] = values.tolist()
        return plain

    def datatype(self, tensor: Array) -> Datatype:
        """As `Kind.datatype`."""
        datatype: Datatype = DATATYPES[tensor.dtype]
        return datatype

    def flat(self, tensor: Array) -> Any:
        """As `Kind.flat`: orjson writes straight from an array."""
        if tensor.dtype.kind == "O":
            return tensor.reshape(-1).tolist()
        return np.ascontiguousarray(tensor).reshape(-1)

    def read(self, datatype: Datatype, raw: bytes) -> Array:
        """As `Kind.read`: an array over the same memory."""
        return np.frombuffer(raw, DTYPES[datatype])

    def written(self, tensor: Array) -> bytes:
        """As `Kind.written`."""
        return of_texts(tensor.flat) if tensor.dtype.kind == "O" else tensor.tobytes()

    def finite(self, tensor: Array) -> bool:
        """As `Kind.finite`."""
        return _all_finite(tensor)


def _many_integers(datatype: Datatype, values: Sequence[Any]) -> Array | None:
    try:
        return np.array(values, dtype=DTYPES[datatype])
    except OverflowError:
        return None


def _many_floats(
    datatype: Datatype, values: Sequence[Any], kinds: set[type], *, nullable: bool
) -> Array | None:
    missing = values.count(None) if nullable and type(None) in kinds else 0
    if not kinds <= ({int, float, type(None)} if missing else {int, float}):
        return None
    try:
        if missing:
            wide = np.array(values, dtype=np.float64)  # None becomes NaN
        else:  # in a third of the time
            wide = np.fromiter(values, np.float64, len(values))
        limit = float(TOO_LARGE[datatype]) if datatype != "FP64" else math.inf
    except OverflowError:
        return None
    # A NaN is not less than anything, so that only the missing values may fail.
    if np.count_nonzero(np.abs(wide) < limit) != len(values) - missing:
        return None
    return wide.astype(DTYPES[datatype], copy=False)


def _all_finite(array: Array) -> bool:
    if array.size <= _SMALL:
        return math.isfinite(sum(array.ravel().tolist()))
    return bool(np.isfinite(array).all())
