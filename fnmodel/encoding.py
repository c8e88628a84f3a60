"""Records and JSON data in, tensors out, and back: whatever the tensors are made of.

`Predictor` makes them with numpy, for any number of rows; `Lean` without, for a few. Both follow
the code here, so that they accept, refuse and answer the same.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

from fnmodel.binary import check_numbers, texts
from fnmodel.errors import InputError
from fnmodel.model import Datatype, Feature, Signature, Tensor
from fnmodel.values import categories, check_names, one_by_one, place


class Shaped(Protocol):
    """A tensor: numpy's array, or a `Buffer`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each dimension."""

    def reshape(self, shape: Any, /) -> Any:
        """Return it in another shape."""

    def tolist(self) -> Any:
        """Return the values as nested lists."""


T = TypeVar("T", bound=Shaped)


class Kind(Protocol[T]):
    """What tensors are made of."""

    few: int
    """Up to so many values of a column, one by one is the faster way."""

    def make(self, datatype: Datatype, values: Sequence[Any]) -> T:
        """Make a tensor of one dimension of values that fit."""

    def at_once(self, datatype: Datatype, values: Sequence[Any], *, nullable: bool) -> T | None:
        """Make a tensor of one dimension if all values fit plainly, as `values.at_once`."""

    def plain(self, tensor: T) -> list[Any]:
        """Return nested lists of Python values, with None for NaN and infinities."""

    def datatype(self, tensor: T) -> Datatype:
        """Return the tensor's datatype."""

    def flat(self, tensor: T) -> Any:
        """Return the values in row-major order, as orjson writes them."""

    def read(self, datatype: Datatype, raw: bytes) -> T:
        """Make a tensor of one dimension of numbers in binary."""

    def written(self, tensor: T) -> bytes:
        """Return the values in binary."""

    def finite(self, tensor: T) -> bool:
        """Whether a floating tensor has no NaN and no infinity; of huge values it may say no."""


class Inference(ABC, Generic[T]):
    """Encodes the inputs of one signature, runs its graph, and decodes the outputs.

    May be used from several threads: nothing in it changes after it was made.
    """

    def __init__(self, signature: Signature, kind: Kind[T]) -> None:
        self.signature = signature
        self.kind = kind
        # What would be looked up in the features at each request.
        features = signature.features
        self._names = [feature.name for feature in features]
        self._values_of = _getter(self._names)
        self._stacked = signature.stacked
        self._closed = any(feature.closed for feature in features)
        self._nullable = all(feature.nullable for feature in features)

    def encode(self, records: Sequence[Mapping[str, Any]]) -> dict[str, T]:
        """Turn records, one mapping of feature name to value a row, into input tensors.

        Returns tensors of shape (rows, F) for a stacked model, else one of shape (rows, 1) for
        each feature. A missing value of a nullable feature is NaN, or MISSING_TEXT in BYTES.

        Raises:
            InputError: a field is unknown, missing, of another type, or out of range; the message
                names row and field.

        """
        features = self.signature.features
        if not features:
            raise InputError(
                "this model has no named features", hint="send tensors to /v2/models/{model}/infer"
            )
        rows = [self._row(number, record) for number, record in enumerate(records)]
        if self._stacked:
            # One tensor for the whole table: thirty small ones would cost more than the model.
            tensor = self.signature.inputs[0]
            values = [*chain.from_iterable(rows)]
            return {tensor.name: self.encode_tensor(tensor, (len(rows), len(features)), values)}
        columns = [
            encode_column(self.kind, feature, values)
            for feature, values in zip(features, _transposed(rows, len(features)), strict=True)
        ]
        return {
            tensor.name: column.reshape((len(records), 1))
            for tensor, column in zip(self.signature.inputs, columns, strict=True)
        }

    def _row(self, number: int, record: Any) -> Sequence[Any]:
        """Return the values of a record in the order of the features."""
        if type(record) is dict and len(record) == len(self._names):
            try:
                return self._values_of(record)
            except KeyError:
                return self._checked_row(number, record)
        return self._checked_row(number, record)

    def _checked_row(self, number: int, record: Any) -> Sequence[Any]:
        if not isinstance(record, Mapping):
            raise InputError(f"row {number} is not an object of feature names and values")
        check_names(number, record, self.signature.features)
        return [record.get(name) for name in self._names]

    def encode_tensor(self, tensor: Tensor, shape: Sequence[int], values: Sequence[Any]) -> T:
        """Turn the row-major `values` of one input into a tensor of `shape`.

        The caller has checked that `shape` fits the input and holds as many values. A null is
        allowed where the feature behind it is nullable, and in the floating inputs of a model
        without features.

        Raises:
            InputError: a value does not fit; names row and field, or input and element.

        """
        made = self.kind.at_once(tensor.datatype, values, nullable=self._nullable)
        if made is None or not self._closed_hold(tensor, values):
            made = self.kind.make(tensor.datatype, one_by_one(values, *self._slots(tensor)))
        shaped: T = made.reshape(shape)
        return shaped

    def encode_binary(self, tensor: Tensor, shape: Sequence[int], raw: bytes) -> T:
        """Turn the bytes of one input into a tensor of `shape`, which the caller has checked.

        Values have to fit as in `encode_tensor`, where a NaN is a null. Models without features
        get NaN and infinities as they are.

        Raises:
            InputError: the bytes do not fill the shape, or a value does not fit.

        """
        count = math.prod(shape)
        where = f"input {tensor.name!r}"
        if tensor.datatype == "BYTES":
            return self.encode_tensor(tensor, shape, texts(raw, count, where))
        check_numbers(tensor.datatype, raw, count, where)
        made = self.kind.read(tensor.datatype, raw)
        floating = tensor.datatype.startswith("FP")
        if self.signature.features and (self._closed or (floating and not self.kind.finite(made))):
            values = [None if value != value else value for value in made.tolist()]
            return self.encode_tensor(tensor, shape, values)
        shaped: T = made.reshape(shape)
        return shaped

    def _closed_hold(self, tensor: Tensor, values: Sequence[Any]) -> bool:
        """Whether the features with closed categories have only these, in row-major values."""
        if not self._closed:
            return True
        features = self.signature.features
        if not self.signature.stacked:
            features = (features[self.signature.inputs.index(tensor)],)
        width = len(features)
        return all(
            categories(feature).issuperset(values[position::width])
            for position, feature in enumerate(features)
            if feature.closed
        )

    def _slots(self, tensor: Tensor) -> tuple[Callable[[int], Feature], Callable[[int], str]]:
        """Return what the value at a row-major index of this input is, and how to name it."""
        signature = self.signature
        if not signature.features:
            floating = tensor.datatype.startswith("FP")
            plain = Feature(tensor.name, tensor.datatype, nullable=floating)
            return lambda _: plain, lambda index: f"input {tensor.name!r}, element {index}"
        features = signature.features
        if not signature.stacked:
            features = (features[signature.inputs.index(tensor)],)
        width = len(features)
        return (
            lambda index: features[index % width],
            lambda index: place(index // width, features[index % width]),
        )

    @abstractmethod
    def run(self, tensors: Mapping[str, T], outputs: Sequence[str] | None = None) -> dict[str, T]:
        """Run the graph on input tensors by name and return its output tensors by name.

        Raises:
            InputError: ONNX Runtime refuses a tensor's datatype, rank or size.

        """

    def no_rows(self, names: Sequence[str]) -> dict[str, T]:
        """Return answers of zero rows, which not every operator gives."""
        known = {tensor.name: tensor for tensor in self.signature.outputs}
        return {
            name: self.kind.make(known[name].datatype, ()).reshape(
                (0, *(max(size, 0) for size in known[name].shape[1:]))
            )
            for name in names
        }

    def predict(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Encode, run and decode records; an empty list gives an empty list.

        Raises:
            InputError: as `encode` and `run`.

        """
        return self.decode(self.run(self.encode(records))) if records else []

    def decode(self, outputs: Mapping[str, T]) -> list[dict[str, Any]]:
        """Turn output tensors into one prediction a row.

        A classifier's is `{"label": …, "probabilities": {class: p}}`, a regressor's
        `{"value": …}`, another model's its outputs by name. NaN and infinities become None, since
        JSON has none.
        """
        signature, plain = self.signature, self.kind.plain
        if signature.label is not None:
            labels = plain(outputs[signature.label].reshape(-1))
            if signature.scores is None:
                return [{"label": label} for label in labels]
            names = [str(name) for name in signature.classes]
            scores = plain(outputs[signature.scores])
            return [
                {"label": label, "probabilities": dict(zip(names, row, strict=True))}
                for label, row in zip(labels, scores, strict=True)
            ]
        if signature.one_value:
            tensor = outputs[signature.outputs[0].name]
            single = math.prod(tensor.shape[1:]) == 1
            return [{"value": value} for value in plain(tensor.reshape(-1) if single else tensor)]
        columns = {name: plain(tensor) for name, tensor in outputs.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Return what gets the values of these names out of a record, or raises KeyError."""
    if len(names) > 1:
        return itemgetter(*names)  # in a third of the time
    return lambda record: [record[name] for name in names]


def _transposed(rows: Sequence[Sequence[Any]], width: int) -> Iterable[Sequence[Any]]:
    return zip(*rows, strict=True) if rows else [()] * width


def encode_column(kind: Kind[T], feature: Feature, values: Sequence[Any]) -> T:
    """Turn one feature's values into a tensor of shape (rows,) and the feature's datatype.

    Raises:
        InputError: a value is missing, of another type, or out of range; names row and field.

    """
    made = None
    if len(values) > kind.few:
        made = kind.at_once(feature.datatype, values, nullable=feature.nullable)
    if made is None or (feature.closed and not categories(feature).issuperset(values)):
        fitted = one_by_one(values, lambda _: feature, lambda row: place(row, feature))
        made = kind.make(feature.datatype, fitted)
    return made
