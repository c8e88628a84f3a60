"""What the endpoint of one model answers, whatever brings the request."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

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

    `source` is a loaded model, or gives it, as `Opening` does. `version` is the model version that
    callers see; a body may have `limit` bytes.
    """

    source: Model | Callable[[], Model]
    name: str
    version: str
    limit: int = LIMIT

    @property
    def loaded(self) -> Model:
        """The model, which is loaded now if it was not.

        Raises:
            RefusalError: 503, it cannot be loaded; the reason names no path.

        """
        return self.source if isinstance(self.source, Model) else self.source()

    def predict(self, call: Call) -> Answer:
        """Answer rows by feature name."""
        model = self.loaded
        records = records_of(call.json(), model.signature)
        body = {
            "predictions": model.way(len(call.raw)).predict(records),
            "model_name": self.name,
            "model_version": self.version,
        }
        return Answer.of(body, rows=len(records))

    def infer(self, call: Call) -> Answer:
        """Answer the protocol's inference request."""
        way = self.opened(call).way(len(call.raw))
        request = _read(call, way)
        outputs = way.run(request.tensors, [asked.name for asked in request.outputs])
        body, binary = tensors.response(request, outputs, way, name=self.name, version=self.version)
        if binary is None:
            return Answer.of(body, rows=request.rows)
        head = Answer.of(body).body
        return Answer(head + binary, rows=request.rows, head=len(head))

    def model(self, call: Call) -> Answer:
        """Answer the model's metadata."""
        signature = self.opened(call).signature
        return Answer.of(tensors.metadata(signature, name=self.name, version=self.version))

    def model_ready(self, call: Call) -> Answer:
        """Say that this model is loaded."""
        self.opened(call)
        return Answer.of({"name": self.name, "ready": True})

    def opened(self, call: Call) -> Model:
        """Return the model, if the path names no other version.

        Raises:
            RefusalError: 404, it is another version; 503, it is not loaded.

        """
        if call.path.get("version", self.version) != self.version:
            raise RefusalError(404, f"there is no such version; this is {self.version!r}")
        return self.loaded


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
