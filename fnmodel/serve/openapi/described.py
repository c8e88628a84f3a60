"""A model as its part of the document is written from: its service, and what its folder tells."""

import json
import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnmodel.deadline import current
from fnmodel.model import REFERENCE, Signature
from fnmodel.serve.endpoint import Answer, Call, contain
from fnmodel.serve.openapi.features import Column, typical
from fnmodel.values import KINDS

if TYPE_CHECKING:
    from fnmodel.serve.model import Model
    from fnmodel.serve.service import Service

# For one example; a document without examples is still a document.
_SECONDS = 2.0
_LONGEST_EXAMPLE = 1000
"""Values in a tensor, or characters of an answer per such value, that readers are spared."""


class Described:
    """One model for the document; its examples are its own answers, asked for when it is written.

    `predict_at` are the paths under which the model takes rows by feature name.
    """

    def __init__(
        self, service: "Service", loaded: "Model", *, predict_at: tuple[str, ...] = ("/predict",)
    ) -> None:
        self.service = service
        self.signature: Signature = loaded.signature
        self.predict_at = predict_at if self.signature.asked else ()
        self._reference = _read(loaded.folder)

    @property
    def name(self) -> str:
        """The model's name in paths."""
        return self.service.name

    @property
    def version(self) -> str:
        """The version that callers see."""
        return self.service.version

    @property
    def rows(self) -> int:
        """How many rows of the training sample are counted in `column`; 0 if that is not known."""
        return int(self._reference.get("rows", 0))

    def column(self, feature: str) -> Column:
        """Return what is known of a feature's values in the training sample."""
        found: Column = self._reference.get("features", {}).get(feature, {})
        return found

    @cached_property
    def record(self) -> dict[str, Any]:
        """One row by feature name, made of typical values."""
        return {one.name: typical(one, self.column(one.name)) for one in self.signature.asked}

    @cached_property
    def tensors(self) -> dict[str, Any] | None:
        """An inference request for one row; None where readers could not take it in."""
        inputs = []
        for tensor in self.signature.inputs:
            shape = [max(size, 1) if size else 0 for size in tensor.shape]
            data = self._data(tensor.name, shape)
            if data is None or tensor.datatype == "FP16":
                return None
            inputs.append(
                {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data}
            )
        return {"id": "example", "inputs": inputs}

    def answer(self, function: Callable[[Call], Answer], request: Any, **path: str) -> Any:
        """Return what the model answers to a request, as plain data; None if it refuses.

        It may be the project's own code that refuses a row made of typical values.
        """
        outer = current.moment
        due = min(outer or math.inf, time.monotonic() + _SECONDS)
        call = Call(path, {}, json.dumps(request).encode(), due)
        made, _ = contain(function, call, "example", self.service.limit)
        current.moment = outer
        if made.status != 200 or len(made.body) > _LONGEST_EXAMPLE * 20:
            return None
        return json.loads(made.body)

    def _data(self, name: str, shape: list[int]) -> list[Any] | None:
        count = math.prod(shape)
        if count > _LONGEST_EXAMPLE:
            return None
        signature = self.signature
        features = signature.features
        if not features:
            kinds = {tensor.name: KINDS[tensor.datatype] for tensor in signature.inputs}
            return [{"text": "text", "boolean": True}.get(kinds[name], 0)] * count
        if not signature.stacked:
            at = [tensor.name for tensor in signature.inputs].index(name)
            features = features[at : at + 1]
        return [typical(one, self.column(one.name)) for one in features]


def _read(folder: Path | None) -> Mapping[str, Any]:
    """Return `reference.json`'s data; nothing where there was no training sample."""
    try:
        data = json.loads((folder / REFERENCE).read_bytes()) if folder else {}
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
