"""The paths of all dialects, each loaded with its first request: most endpoints never see one.

Where a path names no model, a header or the body may; else the first one is meant.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fnmodel.serve.endpoint import Answer, Call, Dialect
from fnmodel.serve.models import Answering, Models
from fnmodel.serve.service import Service

Answers = Callable[[Call], Answer]

_TEXT = "text/plain; charset=utf-8"


def table(models: Models) -> list[tuple[str, str, Answers]]:
    """Return method, path and answer of each route; {model} and {version} stand for names."""
    found: list[tuple[str, str, Answers]] = []
    for method, path, answer, error in _SERVER:
        bound: Answers = partial(answer, models)
        if error is not None:
            named = partial(_known, models) if answer is _invocations else None
            bound = Dialect(bound, error, named)
        found.append((method, path, bound))
    for method, path, of_one in _MODEL:
        found.append((method, path, models.called(of_one)))
    return found


def routes(models: Models) -> dict[tuple[str, str], tuple[Answers, Mapping[str, str]]]:
    """Return what answers each method and path, and the names in the path."""
    found: dict[tuple[str, str], tuple[Answers, Mapping[str, str]]] = {}
    for method, path, answer in table(models):
        for service in models.services:
            known = {"model": service.name, "version": service.version}
            names = {key: known[key] for key in known if f"{{{key}}}" in path}
            found[method, path.format_map(known)] = answer, names
    return found


def _alive(models: Models, call: Call) -> Answer:
    # KServe's V1 clients read it; load balancers ask it whether the models are loaded.
    for service in models.services:
        service.opened(call)
    return Answer.of({"status": "alive"})


def _ping(models: Models, call: Call) -> Answer:
    for service in models.services:
        service.opened(call)
    return Answer(b"\n", media=_TEXT)


def _version(models: Models, _: Call) -> Answer:
    return Answer(models.version.encode(), media=_TEXT)


def _models(models: Models, _: Call) -> Answer:
    # KServe's clients read `models`, OpenAI's the rest.
    names = list(models.by_name)
    known = {"object": "model", "created": 0, "owned_by": "fnmodel"}
    data = [{"id": name, **known} for name in names]
    return Answer.of({"object": "list", "data": data, "models": names})


def _invocations(models: Models, call: Call) -> Answer:
    from fnmodel.serve.dialects.invocations import answer

    if "model" in call.path:
        models.find(call.path["model"])
    return answer(models.find(_target(models, call)), call)


def _target(models: Models, call: Call) -> str:
    """Return the name that a call of /invocations gives: by its header, its path, or by neither."""
    target = call.headers.get(b"x-amzn-sagemaker-target-model")
    if target is not None:
        return target.decode("latin-1")
    return call.path.get("model", models.first.name)


def _known(models: Models, call: Call) -> str:
    """Return the model that a call of /invocations is for; empty where there is none."""
    name = _target(models, call)
    return name if name in models.by_name else ""


def _embeddings(models: Models, call: Call) -> Answer:
    from fnmodel.serve.dialects.openai import embeddings

    return embeddings(models.find, call)


def _predict(service: Service, call: Call) -> Answer:
    from fnmodel.serve.dialects.tfserving import predict

    return predict(service, call)


def _status(service: Service, call: Call) -> Answer:
    from fnmodel.serve.dialects.tfserving import status

    return status(service, call)


def _metadata(service: Service, call: Call) -> Answer:
    from fnmodel.serve.dialects.tfserving import metadata

    return metadata(service, call)


_MLFLOW = {404: "ENDPOINT_NOT_FOUND", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


def _mlflow_error(status: int, text: str) -> Answer:
    """Return an error as MLflow's servers word it."""
    code = _MLFLOW.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
    return _error(status, text, {"error_code": code, "message": text})


def _sagemaker_error(status: int, text: str) -> Answer:
    """Return an error that boto3 raises as ModelError, or ValidationError of a wrong name."""
    if status == 404:
        return _error(status, text, {"code": "ValidationError", "message": text})
    body = {"code": "ModelError", "message": text, "OriginalStatusCode": status}
    return _error(status, text, {**body, "OriginalMessage": text})


def _openai_error(status: int, text: str) -> Answer:
    """Return an error as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    code = "model_not_found" if status == 404 else None
    error = {"message": text, "type": kind, "param": None, "code": code}
    return Answer.of({"error": error}, status=status)


def _error(status: int, text: str, body: dict[str, Any]) -> Answer:
    # Who reads this server's own errors finds them in every dialect.
    return Answer.of({**body, "error": text}, status=status)


Error = Callable[[int, str], Answer]

# MLflow's, SageMaker's, KServe's and OpenAI's paths, for which not the path alone says the model.
_SERVER: tuple[tuple[str, str, Callable[[Models, Call], Answer], Error | None], ...] = (
    ("GET", "/", _alive, None),
    ("GET", "/ping", _ping, None),
    ("GET", "/health", _ping, None),
    ("GET", "/version", _version, None),
    ("GET", "/v1/models", _models, None),
    ("POST", "/invocations", _invocations, _mlflow_error),
    ("POST", "/endpoints/{model}/invocations", _invocations, _sagemaker_error),
    ("POST", "/v1/embeddings", _embeddings, _openai_error),
)
# TF-Serving's and KServe's V1 paths of one model; errors are this server's own.
_MODEL: tuple[tuple[str, str, Answering], ...] = (
    ("POST", "/v1/models/{model}:predict", _predict),
    ("GET", "/v1/models/{model}", _status),
    ("GET", "/v1/models/{model}/metadata", _metadata),
    ("POST", "/v1/models/{model}/versions/{version}:predict", _predict),
    ("GET", "/v1/models/{model}/versions/{version}", _status),
    ("GET", "/v1/models/{model}/versions/{version}/metadata", _metadata),
)
