"""The endpoint as a FastAPI application whose answers, good or bad, are JSON.

    POST /predict, /models/{model}/predict       {"records": [{feature: value}, …]}
    GET  /v2, /v2/health/live, /v2/health/ready
    GET  /v2/models/{model}[/versions/{version}][/ready]
    POST /v2/models/{model}[/versions/{version}]/infer
    POST /models/{model}/jobs[/{job}/start|cancel], GET /models/{model}/jobs/{job}
    GET  /openapi.json, /docs

The /v2 paths are the Open Inference Protocol's; `fnmodel.serve.dialects` has other servers' paths.
The page under /docs is our own: FastAPI's loads its scripts from elsewhere.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fnmodel.errors import InputError
from fnmodel.serve.dialects.routes import table as dialects
from fnmodel.serve.endpoint import Answer, Call, Endpoint, status_of, worded
from fnmodel.serve.envelope import Envelope
from fnmodel.serve.models import Models
from fnmodel.serve.record import Clock, Report
from fnmodel.serve.service import Service


def create_app(
    models: Models,
    *,
    report: Report = lambda record: None,  # noqa: ARG005
    clock: Clock = time.perf_counter,
) -> FastAPI:
    """Return the application that serves the models; `report` gets one record a request."""
    version = models.version
    app = FastAPI(
        title=models.first.name,
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        middleware=[
            Middleware(
                Envelope,
                version=version,
                report=report,
                clock=clock,
                models=models.by_name if models.named else (),
            )
        ],
        exception_handlers={
            InputError: _on_input_error,
            HTTPException: _on_http_exception,
            RequestValidationError: _on_validation_error,
        },
    )
    app.router.routes.extend(_routes(models))
    return app


def _routes(models: Models) -> list[Route]:
    get, post = ["GET"], ["POST"]
    table: list[tuple[str, Callable[[Call], Answer], list[str]]] = [
        ("/predict", models.first.predict, post),
        ("/models/{model}/predict", models.called(Service.predict), post),
        ("/v2/health/live", models.live, get),
        ("/v2/health/ready", models.ready, get),
        ("/v2", models.server, get),
        ("/v2/", models.server, get),
        ("/openapi.json", models.openapi, get),
        ("/docs", models.docs, get),
    ]
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        table += [
            (f"{model}/infer", models.called(Service.infer), post),
            (model, models.called(Service.model), get),
            (f"{model}/ready", models.called(Service.model_ready), get),
        ]
    table += [(path, answer, [method]) for method, path, answer in dialects(models)]
    if models.takes_jobs:
        from fnmodel.serve.jobs.routes import table as jobs

        table += [(path, answer, [method]) for method, path, answer in jobs(models)]
    return [
        Route(path, Endpoint(answer, models.limit), methods=methods)
        for path, answer, methods in table
    ]


class _Failure(Response):
    """`{"error": …}`, the protocol's error body."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps({"error": content})


_TEXTS = {
    404: "there is nothing at this path; POST /predict, or GET /openapi.json for the others",
    405: "this path does not take this method; GET /openapi.json lists the methods",
}


async def _on_input_error(_: Request, error: Any) -> Response:
    # Of routes that others add; ours say it themselves.
    return _Failure(worded(error), status_of(error))


async def _on_http_exception(_: Request, error: Any) -> Response:
    from http import HTTPStatus

    plain = error.detail == HTTPStatus(error.status_code).phrase
    text = _TEXTS.get(error.status_code) if plain else None
    headers = dict(error.headers or {})
    if "Allow" in headers:
        # Starlette keeps methods in a set, whose order is another one in each process.
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return _Failure(text or str(error.detail), error.status_code, headers)


async def _on_validation_error(_: Request, error: Any) -> Response:
    problems: Sequence[Any] = error.errors()
    listed = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in problems[:5])
    return _Failure("; ".join(listed), 400)
