"""OpenAI's path for vectors of texts, where a model makes them."""

from collections.abc import Sequence

from fnmodel.serve.dialects.openai import embeddings, vectors_of
from fnmodel.serve.models import Models
from fnmodel.serve.openapi import operation
from fnmodel.serve.openapi.described import Described
from fnmodel.serve.openapi.operation import Part, post
from fnmodel.serve.openapi.schema import TEXT, Schema, array, obj, ref
from fnmodel.serve.refusal import RefusalError

_ERROR = "OpenaiError"
_COUNT: Schema = {"type": "integer", "minimum": 0}


def embeddings_part(models: Sequence[Described]) -> Part:
    """Return `/v1/embeddings`, for which a request names the model; nothing where none fits."""
    made = [model for model in models if _makes_vectors(model)]
    if not made:
        return Part("openai", "", {})
    first = made[0]
    request = {"model": first.name, "input": ["text"]}
    find = Models(tuple(model.service for model in made)).find
    answer = first.answer(lambda call: embeddings(find, call), request)
    item = post(
        "embeddings", "Vectors of texts, as OpenAI",
        ref("EmbeddingsRequest"), ref("EmbeddingsResponse"), (request, answer) if answer else None,
    )  # fmt: skip
    responses = item["post"]["responses"]
    for status in sorted({*responses, "404"} - {"200"}):
        responses[status] = operation.failure(status, ref(_ERROR))
    schemas = _schemas([model.name for model in made])
    about = "OpenAI's path, for its clients."
    return Part("openai", about, {"/v1/embeddings": item}, schemas, folded=True)


def _makes_vectors(model: Described) -> bool:
    try:
        vectors_of(model.signature)
    except RefusalError:
        return False
    return True


def _schemas(names: list[str]) -> dict[str, Schema]:
    asked: dict[str, Schema] = {
        "model": {"enum": names},
        "input": {"anyOf": [TEXT, {**array(TEXT), "minItems": 1}]},
        "encoding_format": {"enum": ["float", "base64"]},
        "user": TEXT,
    }
    vector = {"anyOf": [array({"type": "number"}), TEXT]}
    one = {"object": {"const": "embedding"}, "index": _COUNT, "embedding": vector}
    tokens = {"prompt_tokens": _COUNT, "total_tokens": _COUNT}
    answer: dict[str, Schema] = {
        "object": {"const": "list"},
        "data": array(obj(one, *one)),
        "model": TEXT,
        "usage": obj(tokens, *tokens),
    }
    error = {
        "message": TEXT,
        "type": TEXT,
        "param": {"type": "null"},
        "code": {"anyOf": [TEXT, {"type": "null"}]},
    }
    return {
        "EmbeddingsRequest": obj(asked, "model", "input"),
        "EmbeddingsResponse": obj(answer, *answer),
        _ERROR: obj({"error": obj(error, *error)}, "error"),
    }
