"""What the endpoint of one model answers, whatever brings the request."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import orjson

from fnmodel.encoding import Inference, T
from fnmodel.errors import InputError
from fnmodel.serve import tensors
from fnmodel.serve.body import LIMIT, read_object, split
from fnmodel.serve.endpoint import Answer, Call
from fnmodel.serve.model import Model
from fnmodel.serve.predict import records_of
from fnmodel.serve.refusal import RefusalError


@dataclass(frozen=True)
class Service:
    """The answers of one model, one method a route; no web framework is needed for them.

    `version` is the model version that callers see; a body may have `limit` bytes. Without a
    loaded model all but `live` and `server` refuse with 503 and the `reason`, which names no path.
    """

    loaded: Model | None
    name: str
    version: str
    reason: str = ""
    limit: int = LIMIT

    def predict(self, call: Call) -> Answer:
        """Answer `POST /predict`."""
        model = self._loaded()
        records = records_of(call.json(), model.signature)
        body = {
            "predictions": model.way(len(call.raw)).predict(records),
            "model_name": self.name,
            "model_version": self.version,
        }
        return Answer.of(body, rows=len(records))

    def infer(self, call: Call) -> Answer:
        """Answer the protocol's inference request."""
        self._check(call)
        way = self._loaded().way(len(call.raw))
        request = _read(call, way)
        outputs = way.run(request.tensors, [asked.name for asked in request.outputs])
        body, binary = tensors.response(request, outputs, way, name=self.name, version=self.version)
        if binary is None:
            return Answer.of(body, rows=request.rows)
        head = Answer.of(body).body
        return Answer(head + binary, rows=request.rows, head=len(head))

    def live(self, _: Call) -> Answer:
        """Say that the process answers."""
        return Answer.of({"live": True})

    def ready(self, _: Call) -> Answer:
        """Say that the model is loaded."""
        self._loaded()
        # The text of the protocol asks for `live`, its clients for `ready`.
        return Answer.of({"live": True, "ready": True})

    def server(self, _: Call) -> Answer:
        """Answer what the server is."""
        return Answer.of(
            {"name": "fnmodel", "version": self.version, "extensions": tensors.EXTENSIONS}
        )

    def model(self, call: Call) -> Answer:
        """Answer the model's metadata."""
        self._check(call)
        signature = self._loaded().signature
        return Answer.of(tensors.metadata(signature, name=self.name, version=self.version))

    def model_ready(self, call: Call) -> Answer:
        """Say that this model is loaded."""
        self._check(call)
        self._loaded()
        return Answer.of({"name": self.name, "ready": True})

    def openapi(self, _: Call) -> Answer:
        """Answer the OpenAPI document."""
        return Answer(self._openapi)

    @cached_property
    def _openapi(self) -> bytes:
        from fnmodel.serve.openapi import document

        signature = self._loaded().signature
        return orjson.dumps(document(signature, name=self.name, version=self.version))

    def _check(self, call: Call) -> None:
        if call.path["model"] != self.name:
            raise RefusalError(404, f"there is no such model; this is {self.name!r}")
        if call.path.get("version", self.version) != self.version:
            raise RefusalError(404, f"there is no such version; this is {self.version!r}")

    def _loaded(self) -> Model:
        if self.loaded is None:
            self._unavailable()
        return self.loaded

    def _unavailable(self) -> NoReturn:
        raise RefusalError(503, self.reason or "the model is not loaded")


# Bytes of JSON from which on numbers are worth another parser than orjson.
_MANY = 1 << 15


def _read(call: Call, way: Inference[T]) -> tensors.InferRequest[T]:
    """Read an inference request, or raise as `tensors.read_request`."""
    head, binary = split(call.raw, call.headers)
    if not binary and len(head) > _MANY:
        from fnmodel.serve.bulk import in_binary

        moved = in_binary(head)
        if moved is not None:
            # What is wrong with it is said below, in the words for JSON.
            with suppress(InputError):
                return tensors.read_request(*moved, way)
    return tensors.read_request(read_object(head), binary, way)
