"""`POST /v1/embeddings`: texts in, a vector each out, as OpenAI's clients ask for them.

A model can answer where it takes one text a row, and of its outputs one is a vector of numbers.
https://platform.openai.com/docs/api-reference/embeddings/create
"""

import base64
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from fnmodel.encoding import Inference, T
from fnmodel.errors import InputError
from fnmodel.model import Signature, Tensor
from fnmodel.serve.body import read_object
from fnmodel.serve.endpoint import Answer, Call
from fnmodel.serve.model import Model
from fnmodel.serve.refusal import RefusalError
from fnmodel.serve.service import Service

if TYPE_CHECKING:
    from fnmodel.capture.rows import Pairs

_KEYS = ("input", "model", "encoding_format", "dimensions", "user")


def embeddings(chosen: Callable[[Any], Service], call: Call) -> Answer:
    """Answer a vector for each text of a request; `chosen` gives the model of a name."""
    body = read_object(call.raw)
    service = chosen(body.get("model"))
    model = service.opened(call)
    name, output = vectors_of(model.signature)
    texts = _texts(body)
    packed = _packed(body)
    way = model.way(len(call.raw))
    made, tokens = _run(way, model, [{name: text} for text in texts], output.name)
    vectors = _base64(way, made) if packed else way.kind.plain(made)
    answer = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "model": service.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Answer(
        orjson.dumps(answer), rows=len(texts), pairs=partial(_pairs, name), model=service.name
    )


def vectors_of(signature: Signature) -> tuple[str, Tensor]:
    """Return the name of the text that a row takes, and the output that is a vector.

    Raises:
        RefusalError: 400, the model takes or gives something else.

    """
    asked = signature.asked
    takes = [feature.name for feature in asked if feature.datatype == "BYTES"]
    gives = [
        tensor
        for tensor in signature.outputs
        if tensor.datatype in ("FP16", "FP32", "FP64") and len(tensor.shape) == 2
    ]
    if signature.task != "other" or len(asked) != 1 or not takes or len(gives) != 1:
        raise RefusalError(
            400, "this model makes no embeddings: it would take one text and give one vector a row"
        )
    return takes[0], gives[0]


def _texts(body: Mapping[str, Any]) -> list[str]:
    extra = next((key for key in body if key not in _KEYS), None)
    if extra is not None:
        raise InputError(f"unknown parameter {extra[:60]!r}")
    if body.get("dimensions") is not None:
        raise InputError("`dimensions` cannot be chosen: this model's vectors have one length")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InputError("`input` must be a text, or a list of texts")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"`input[{index}]` is not a text; tokens are not taken here")
        if not text:
            raise InputError(f"`input[{index}]` is empty")
    return texts


def _packed(body: Mapping[str, Any]) -> bool:
    form = body.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise InputError("`encoding_format` must be 'float' or 'base64'")
    return bool(form == "base64")


def _run(
    way: Inference[Any], model: Model, records: list[dict[str, Any]], output: str
) -> tuple[Any, int]:
    """Return the vectors of texts, and of how many tokens they were; 0 without a tokenizer."""
    if model.signature.raw:
        steps = model.predictor.processing
        if steps is not None and steps.postprocess is not None:
            raise RefusalError(400, "this model's own code answers, so that it makes no embeddings")
        if steps is not None:
            records = steps.before(model.predictor.checked(records))
    tensors = way.encode(records)
    if way is not model.predictor:
        return way.run(tensors, [output])[output], 0
    tokens = 0

    def counted(parts: Iterable[Any]) -> Iterator[Any]:
        nonlocal tokens
        for part in parts:
            if "attention_mask" in part:
                tokens += int(part["attention_mask"].sum())
            yield part

    made = model.predictor.join(counted(model.predictor.parts(tensors)), [output])
    return made[output], tokens


def _base64(way: Inference[T], vectors: T) -> list[str]:
    """Return each vector's FP32 numbers, little-endian, in base64."""
    rows, width = vectors.shape
    if way.kind.datatype(vectors) == "FP32":
        raw = way.kind.written(vectors)
    else:
        raw = struct.pack(f"<{rows * width}f", *map(_single, vectors.reshape(-1).tolist()))
    size = 4 * width
    return [base64.b64encode(raw[at * size : (at + 1) * size]).decode() for at in range(rows)]


def _single(value: float) -> float:
    """Return what FP32 can hold of an FP64."""
    try:
        struct.pack("<f", value)
    except OverflowError:
        return math.copysign(math.inf, value)
    return value


def _pairs(name: str, raw: bytes, body: bytes) -> "Pairs | None":
    """Return texts and vectors of a request that was answered."""
    rows = [{name: text} for text in _texts(read_object(raw))]
    return rows, [_floats(item["embedding"]) for item in orjson.loads(body)["data"]]


def _floats(vector: Any) -> Any:
    if not isinstance(vector, str):
        return vector
    raw = base64.b64decode(vector)
    return [*struct.unpack(f"<{len(raw) // 4}f", raw)]
