"""Rows of any dialect through the model, and its answers in the shapes that dialects share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import orjson

from fnmodel.encoding import Inference, T
from fnmodel.errors import InputError
from fnmodel.model import Tensor
from fnmodel.serve.dialects.given import Given, shape_of
from fnmodel.serve.model import Model


@dataclass(frozen=True)
class Scored(Generic[T]):
    """What the model made of `rows` rows: output tensors by name.

    Where the project's own `postprocess` answers, `own` has what it says of each row instead.
    """

    way: Inference[T]
    rows: int
    outputs: Mapping[str, T]
    own: list[Any] | None = None

    def values(self, *, scores: bool = False) -> Any:
        """Return what the model's own `predict` would: labels, numbers, or tensors.

        Several tensors are by name. With `scores` it is a classifier's `predict_proba`.

        Raises:
            InputError: there are no probabilities.

        """
        signature, kind = self.way.signature, self.way.kind
        if self.own is not None:
            return self.own
        if scores:
            if signature.scores is None:
                raise InputError("this model gives no probabilities")
            return kind.plain(self.outputs[signature.scores])
        if signature.label is not None:
            return kind.plain(self.outputs[signature.label].reshape(-1))
        if len(self.outputs) > 1:
            return {name: kind.plain(tensor) for name, tensor in self.outputs.items()}
        (tensor,) = self.outputs.values()
        if signature.task == "regression" and tensor.shape[1:] == (1,):
            tensor = tensor.reshape(-1)
        return kind.plain(tensor)

    def tensors(self) -> Any:
        """Return the outputs as they are: by name, or the one there is."""
        if self.own is not None:
            return self.own
        found = {name: self.way.kind.plain(tensor) for name, tensor in self.outputs.items()}
        return next(iter(found.values())) if len(found) == 1 else found

    def by_row(self, values: Any) -> list[Any]:
        """Return values as one entry a row, of several outputs an object.

        Raises:
            InputError: an output has no entry a row.

        """
        if not isinstance(values, Mapping):
            values, named = {"": values}, False
        else:
            named = True
        for name, found in values.items():
            if not isinstance(found, list) or len(found) != self.rows:
                where = f"output {name!r}" if named else "the output"
                raise InputError(f"{where} has no entry for each row; ask for tensors by `inputs`")
        if not named:
            return list(values[""])
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def score(model: Model, given: Given, size: int) -> Scored[Any]:
    """Run the model on what a body of `size` bytes gave.

    Raises:
        InputError: a value does not fit, or the model refuses it; names row and field.
        ProcessingError: the project's own steps fail.

    """
    way = model.way(size)
    if given.tensors is not None:
        tensors = {
            tensor.name: _tensor(way, tensor, given.tensors[tensor.name])
            for tensor in model.signature.inputs
        }
        shapes = [tensor.shape for tensor in tensors.values()]
        return Scored(way, shapes[0][0] if shapes and shapes[0] else 1, way.run(tensors))
    records = given.records
    if model.signature.raw:
        steps = model.predictor.processing
        if steps is not None and steps.postprocess is not None:
            # The project's code may answer with numbers of numpy, and with NaN.
            written = orjson.dumps(way.predict(records), option=orjson.OPT_SERIALIZE_NUMPY)
            return Scored(way, len(records), {}, orjson.loads(written))
        if steps is not None:
            records = steps.before(model.predictor.checked(records))
    return Scored(way, len(given.records), way.run(way.encode(records)))


def _tensor(way: Inference[T], tensor: Tensor, value: Any) -> T:
    shape, values = shape_of(value, tensor.shape, f"input {tensor.name!r}")
    return way.encode_tensor(tensor, shape, values)


def entries(rows: Sequence[Any], answered: Any) -> tuple[Sequence[Any], Sequence[Any]] | None:
    """Return rows and their predictions for the capture; None where they do not pair up.

    Several outputs, lists by name, become one object a row.
    """
    if isinstance(answered, Mapping):
        if not all(isinstance(value, list) for value in answered.values()):
            return None
        if any(len(value) != len(rows) for value in answered.values()):
            return None
        parts = zip(*answered.values(), strict=True)
        answered = [dict(zip(answered, part, strict=True)) for part in parts]
    if not isinstance(answered, list) or not rows or len(rows) != len(answered):
        return None
    return rows, answered
