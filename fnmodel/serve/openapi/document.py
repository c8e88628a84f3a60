"""The OpenAPI 3.1 document: one part for each group of paths, joined."""

from collections.abc import Sequence
from typing import Any

from fnmodel.serve.openapi import operation
from fnmodel.serve.openapi.described import Described
from fnmodel.serve.openapi.dialects import sagemaker_part, shared_part, tfserving_part
from fnmodel.serve.openapi.embeddings import embeddings_part
from fnmodel.serve.openapi.inference import inference_part
from fnmodel.serve.openapi.jobs import jobs_part
from fnmodel.serve.openapi.operation import Part, get
from fnmodel.serve.openapi.predict import predict_part
from fnmodel.serve.openapi.schema import TEXT, Names, Schema, array, obj, ref
from fnmodel.serve.tensors import EXTENSIONS

Document = dict[str, Any]

PARTS = (predict_part, inference_part, tfserving_part, sagemaker_part)
"""What each model has, each a function of the model and its names."""

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-authtype.html
_SCHEMES: dict[str, Schema] = {
    "iam": {
        "type": "apiKey", "name": "Authorization", "in": "header",
        "x-amazon-apigateway-authtype": "awsSigv4",
        "description": "A Signature Version 4 for the service execute-api, with AWS credentials.",
    },
    "jwt": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "A token of the issuer that the stage trusts.",
    },
    "api_key": {
        "type": "apiKey", "name": "x-api-key", "in": "header",
        "description": "A key that `fnmodel keys add` printed.",
    },
}  # fmt: skip


def document(
    models: Sequence[Described], *, access: str = "", server: str = ".", jobs: bool = False
) -> Document:
    """Return the document of an endpoint as plain data.

    With several models, names of schemas and operations begin with the model's. `access` is how
    this endpoint lets callers in (iam, jwt, api_key, public), empty where it cannot know; `server`
    is the URL that paths begin at. With `jobs` it takes asynchronous requests.
    """
    names = [Names.of(model.name, alone=len(models) == 1) for model in models]
    parts = [make(model, own) for model, own in zip(models, names, strict=True) for make in PARTS]
    if jobs:
        parts += [jobs_part(model, own) for model, own in zip(models, names, strict=True)]
    parts.append(_server_part(models[0].version))
    parts.append(shared_part(list(models), names[0]))
    parts.append(embeddings_part(models))
    doors = access in _SCHEMES
    return {
        "openapi": "3.1.0",
        "info": _info(models),
        "servers": [{"url": server}],
        "tags": _tags(parts),
        "paths": {path: _told(item, part.tag, doors) for part in parts for path, item in
                  part.paths.items()},
        "components": _components(parts, access),
        **({"security": [{access: []}]} if doors else {}),
        **({"security": []} if access == "public" else {}),
    }  # fmt: skip


def _info(models: Sequence[Described]) -> dict[str, Any]:
    first = models[0]
    sentences = [
        f"`{model.name}`: {model.signature.task} with {len(model.signature.asked):,} features."
        if model.signature.asked
        else f"`{model.name}`: tensors in, tensors out."
        for model in models
    ]
    return {
        "title": first.name,
        "version": first.version,
        "summary": "A trained model as an HTTP endpoint.",
        "description": "\n\n".join(sentences),
    }


def _tags(parts: Sequence[Part]) -> list[dict[str, Any]]:
    found = {part.tag: part for part in parts if part.paths}
    return [
        {"name": tag, "description": part.about, **({"x-folded": True} if part.folded else {})}
        for tag, part in found.items()
    ]


def _told(item: dict[str, Any], tag: str, doors: bool) -> dict[str, Any]:
    """Return a path with its tag, and with what it answers to callers who may not come in."""
    told = {}
    for method, one in item.items():
        responses = {**one["responses"], **(operation.refused(*operation.DOORS) if doors else {})}
        told[method] = {**one, "tags": [tag], "responses": dict(sorted(responses.items()))}
    return told


def _components(parts: Sequence[Part], access: str) -> dict[str, Any]:
    schemas = dict(operation.SCHEMAS)
    for part in parts:
        schemas |= part.schemas
    doors = access in _SCHEMES
    return {
        "schemas": schemas,
        "responses": operation.failures(doors=doors),
        "headers": operation.HEADERS,
        "parameters": operation.PARAMETERS,
        **({"securitySchemes": {access: _SCHEMES[access]}} if doors else {}),
    }


def _server_part(version: str) -> Part:
    """Return what is asked of the server, whatever its models."""
    server = {"name": "fnmodel", "version": version, "extensions": EXTENSIONS}
    paths = {
        "/v2": get("server", "What this server is", ref("ServerMetadata"), server, loaded=False),
        "/v2/health/live": get(
            "live", "Whether the process answers", ref("Live"), {"live": True}, loaded=False
        ),
        "/v2/health/ready": get(
            "ready", "Whether the model is loaded", ref("Ready"), {"live": True, "ready": True},
            loaded=True,
        ),
    }  # fmt: skip
    flag = {"type": "boolean"}
    schemas = {
        "ServerMetadata": obj(
            {"name": TEXT, "version": TEXT, "extensions": array(TEXT)},
            *("name", "version", "extensions"),
        ),
        "Live": obj({"live": flag}, "live"),
        "Ready": obj({"live": flag, "ready": flag}, "live", "ready"),
    }
    return Part("server", "Health and metadata of the server.", paths, schemas)
