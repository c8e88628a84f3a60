"""The endpoint of one model: a FastAPI application whose every answer, good or bad, is JSON.

    POST /predict                                {"records": [{feature: value}, …]}
    GET  /v2, /v2/health/live, /v2/health/ready
    GET  /v2/models/{model}[/versions/{version}][/ready]
    POST /v2/models/{model}[/versions/{version}]/infer
    GET  /openapi.json

The /v2 paths are the Open Inference Protocol's. There is no page of documentation under /docs:
FastAPI's loads its scripts from elsewhere.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fnmodel.errors import InputError
from fnmodel.inference import Predictor
from fnmodel.serve import tensors
from fnmodel.serve.endpoint import Answer, Call, Endpoint
from fnmodel.serve.envelope import Clock, Envelope, Report
from fnmodel.serve.predict import records_of


def create_app(
    predictor: Predictor | None,
    *,
    name: str,
    version: str,
    reason: str = "",
    report: Report = lambda record: None,  # noqa: ARG005
    clock: Clock = time.perf_counter,
) -> FastAPI:
    """Return the application that serves one model.

    `version` is the model version that callers see. Without a predictor it answers 503 with the
    `reason`, which callers see too, so it names no path. `report` gets one record a request.
    """
    service = _Service(predictor, name, version, reason)
    app = FastAPI(
        title=name,
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        middleware=[Middleware(Envelope, version=version, report=report, clock=clock)],
        exception_handlers={
            InputError: _on_input_error,
            HTTPException: _on_http_exception,
            RequestValidationError: _on_validation_error,
        },
    )
    app.router.routes.extend(_routes(service))
    return app


def _routes(service: "_Service") -> list[Route]:
    get, post = ["GET"], ["POST"]
    table: list[tuple[str, Callable[[Call], Answer], list[str]]] = [
        ("/predict", service.predict, post),
        ("/v2/health/live", service.live, get),
        ("/v2/health/ready", service.ready, get),
        ("/v2", service.server, get),
        ("/v2/", service.server, get),
        ("/openapi.json", service.openapi, get),
    ]
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        table += [
            (f"{model}/infer", service.infer, post),
            (model, service.model, get),
            (f"{model}/ready", service.model_ready, get),
        ]
    return [Route(path, Endpoint(answer), methods=methods) for path, answer, methods in table]


@dataclass(frozen=True)
class _Service:
    """The answers, one method a route."""

    predictor: Predictor | None
    name: str
    version: str
    reason: str

    def predict(self, call: Call) -> Answer:
        predictor = self._loaded()
        records = records_of(call.json(), predictor.signature)
        body = {
            "predictions": predictor.predict(records),
            "model_name": self.name,
            "model_version": self.version,
        }
        return Answer.of(body, rows=len(records))

    def infer(self, call: Call) -> Answer:
        self._check(call)
        predictor = self._loaded()
        request = tensors.read_request(call.json(), predictor)
        outputs = predictor.run(request.tensors, request.outputs)
        body = tensors.response(request, outputs, name=self.name, version=self.version)
        return Answer.of(body, rows=request.rows)

    def live(self, _: Call) -> Answer:
        return Answer.of({"live": True})

    def ready(self, _: Call) -> Answer:
        self._loaded()
        # The text of the protocol asks for `live`, its clients for `ready`.
        return Answer.of({"live": True, "ready": True})

    def server(self, _: Call) -> Answer:
        return Answer.of({"name": "fnmodel", "version": self.version, "extensions": []})

    def model(self, call: Call) -> Answer:
        self._check(call)
        signature = self._loaded().signature
        return Answer.of(tensors.metadata(signature, name=self.name, version=self.version))

    def model_ready(self, call: Call) -> Answer:
        self._check(call)
        self._loaded()
        return Answer.of({"name": self.name, "ready": True})

    def openapi(self, _: Call) -> Answer:
        return Answer(self._openapi)

    @cached_property
    def _openapi(self) -> bytes:
        from fnmodel.serve.openapi import document

        signature = self._loaded().signature
        return orjson.dumps(document(signature, name=self.name, version=self.version))

    def _check(self, call: Call) -> None:
        if call.path["model"] != self.name:
            raise HTTPException(404, f"there is no such model; this is {self.name!r}")
        if call.path.get("version", self.version) != self.version:
            raise HTTPException(404, f"there is no such version; this is {self.version!r}")

    def _loaded(self) -> Predictor:
        if self.predictor is None:
            self._unavailable()
        return self.predictor

    def _unavailable(self) -> NoReturn:
        raise HTTPException(503, self.reason or "the model is not loaded")


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
    hint = f"; {error.hint}" if error.hint else ""
    return _Failure(f"{error.message}{hint}", 400)


async def _on_http_exception(_: Request, error: Any) -> Response:
    from http import HTTPStatus

    plain = error.detail == HTTPStatus(error.status_code).phrase
    text = _TEXTS.get(error.status_code) if plain else None
    return _Failure(text or str(error.detail), error.status_code, error.headers)


async def _on_validation_error(_: Request, error: Any) -> Response:
    problems: Sequence[Any] = error.errors()
    listed = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in problems[:5])
    return _Failure("; ".join(listed), 400)
