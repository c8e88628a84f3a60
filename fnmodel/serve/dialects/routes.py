"""The paths of all dialects, each loaded with its first request: most endpoints never see one.

A path without a model's name is the server's. Routes that take no body are answered here.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fnmodel.serve.endpoint import Answer, Call, Dialect
from fnmodel.serve.models import Answering, Models
from fnmodel.serve.service import Service

Table = list[tuple[str, str, Callable[[Call], Answer]]]
"""Method, path and what answers it; {model} and {version} stand in paths for the names."""

_TEXT = "text/plain; charset=utf-8"


Called = Callable[[Answering], Callable[[Call], Answer]]
"""Makes what answers a call of what answers for one model."""


def of_server(models: Models) -> Table:
    """Return the paths that name no model: MLflow's, SageMaker's, KServe's and OpenAI's."""

    def alive(call: Call) -> Answer:
        # KServe's V1 clients read it; load balancers ask it whether the models are loaded.
        models.ready(call)
        return Answer.of({"status": "alive"})

    def ping(call: Call) -> Answer:
        models.ready(call)
        return Answer(b"\n", media=_TEXT)

    def version(_: Call) -> Answer:
        return Answer(models.version.encode(), media=_TEXT)

    def listed(_: Call) -> Answer:
        # KServe's clients read `models`, OpenAI's the rest.
        names = list(models.by_name)
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "fnmodel"} for name in names
        ]
        return Answer.of({"object": "list", "data": data, "models": names})

    def invocations(call: Call) -> Answer:
        service = _meant(models, call)
        return replace(_invocations(service, call), model=service.name)

    def embeddings(call: Call) -> Answer:
        from fnmodel.serve.dialects.openai import embeddings

        return embeddings(models, call)

    return [
        ("GET", "/", alive),
        ("GET", "/ping", ping),
        ("GET", "/health", ping),
        ("GET", "/version", version),
        ("GET", "/v1/models", listed),
        ("POST", "/invocations", Dialect(invocations, _mlflow)),
        ("POST", "/v1/embeddings", Dialect(embeddings, _openai)),
    ]


def of_model(called: Called) -> Table:
    """Return the paths of one model: TF-Serving's, KServe's V1 and SageMaker's."""

    def predict(service: Service, call: Call) -> Answer:
        from fnmodel.serve.dialects.tfserving import predict

        return predict(service, call)

    def status(service: Service, call: Call) -> Answer:
        from fnmodel.serve.dialects.tfserving import status

        return status(service, call)

    def metadata(service: Service, call: Call) -> Answer:
        from fnmodel.serve.dialects.tfserving import metadata

        return metadata(service, call)

    routes: Table = [
        ("POST", "/endpoints/{model}/invocations", Dialect(called(_invocations), _sagemaker)),
    ]
    for model in ("/v1/models/{model}", "/v1/models/{model}/versions/{version}"):
        routes += [
            ("POST", f"{model}:predict", called(predict)),
            ("GET", model, called(status)),
            ("GET", f"{model}/metadata", called(metadata)),
        ]
    return routes


def _invocations(service: Service, call: Call) -> Answer:
    from fnmodel.serve.dialects.invocations import answer

    return answer(service, call)


def _meant(models: Models, call: Call) -> Service:
    """Return the service that SageMaker's header names, else the first.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
    """
    target = call.headers.get(b"x-amzn-sagemaker-target-model")
    return models.first if target is None else models.find(target.decode("latin-1"))


_MLFLOW = {404: "ENDPOINT_NOT_FOUND", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


def _mlflow(status: int, text: str) -> Answer:
    """Return an error as MLflow's servers word it."""
    code = _MLFLOW.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
    return _error(status, text, {"error_code": code, "message": text})


def _sagemaker(status: int, text: str) -> Answer:
    """Return an error that boto3 raises as ModelError, or ValidationError of a wrong name."""
    if status == 404:
        return _error(status, text, {"code": "ValidationError", "message": text})
    body = {"code": "ModelError", "message": text, "OriginalStatusCode": status}
    return _error(status, text, {**body, "OriginalMessage": text})


def _openai(status: int, text: str) -> Answer:
    """Return an error as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    code = "model_not_found" if status == 404 else None
    error = {"message": text, "type": kind, "param": None, "code": code}
    return Answer.of({"error": error}, status=status)


def _error(status: int, text: str, body: dict[str, Any]) -> Answer:
    # Who reads this server's own errors finds them in every dialect.
    return Answer.of({**body, "error": text}, status=status)
