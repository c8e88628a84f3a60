"""The environment of a Lambda function in, a ready `Gateway` out, in as little time as it can be.

Measured in CPU time of the whole start: without garbage collection 0.77, with lazy schemas another
0.83. Opening the session in a thread while the web stack is imported gained nothing.
"""

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fnmodel.errors import FnmodelError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fnmodel.serve.capture import Capture
    from fnmodel.serve.direct import Handler
    from fnmodel.serve.model import Model
    from fnmodel.serve.record import Report
    from fnmodel.serve.service import Service
    from fnmodel.serve.tracing.export import Spans


def boot(environ: Mapping[str, str]) -> "tuple[Model | None, Handler]":
    """Load the model; return it and the handler of HTTP events.

    The web framework and numpy are loaded with the first request that needs them. A model that
    cannot be loaded gives None and a handler that answers 503: a function that crashes in its
    initialisation would be started, and would fail, again and again.
    """
    service = load(environ, environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"))
    from fnmodel.serve import memory
    from fnmodel.serve.admission import Admission
    from fnmodel.serve.direct import Direct
    from fnmodel.serve.report import EmfReport

    name = service.name
    report = EmfReport(
        model=name, function=environ.get("AWS_LAMBDA_FUNCTION_NAME", name), version=service.version
    )

    def others() -> "Handler":
        app = framework(service, report)
        from fnmodel.serve.gateway import Gateway

        return Gateway(app)

    capture = capturing(environ, service, write=_print, dropped=report.dropped)
    if capture is not None and "AWS_LAMBDA_RUNTIME_API" in environ:
        from fnmodel.serve.after import run_after_responses

        run_after_responses(capture.flush)
    memory.bound(environ)
    direct = Direct(service, report=report, clock=time.perf_counter, others=others, capture=capture)
    handler: Handler = Admission(direct, version=service.version, report=report)
    if environ.get("OTEL_TRACES_EXPORTER"):
        handler = _traced(handler, environ, service)
    return service.loaded, handler


def _traced(handler: "Handler", environ: Mapping[str, str], service: "Service") -> "Handler":
    from fnmodel.serve.tracing.served import wanted

    if not wanted(environ):
        return handler
    from fnmodel.serve.tracing.function import TracedHandler

    spans = tracing(environ, service, warn=_warn)
    if "AWS_LAMBDA_RUNTIME_API" in environ:
        from fnmodel.serve.after import run_after_responses

        run_after_responses(spans.flush)
    return TracedHandler(handler, spans.take)


def tracing(
    environ: Mapping[str, str], service: "Service", *, warn: Callable[[str], object]
) -> "Spans":
    """Return what makes spans of requests, and have the model's runs noted for them."""
    from fnmodel.serve.direct import routes
    from fnmodel.serve.tracing.export import Spans
    from fnmodel.serve.tracing.served import around

    if service.loaded is not None:
        service.loaded.observe(around)
    resource = {"service.version": service.version}
    name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
    if name:
        resource |= {
            "cloud.provider": "aws",
            "cloud.platform": "aws_lambda",
            "cloud.region": environ.get("AWS_REGION", ""),
            "faas.name": name,
            "faas.version": service.version,
            "faas.instance": environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
        }
    resource = {key: text for key, text in resource.items() if text}
    paths = [path for _, path in routes(service)]
    return Spans(service=service.name, resource=resource, routes=paths, warn=warn)


def capturing(
    environ: Mapping[str, str],
    service: "Service",
    *,
    write: Callable[[bytes], object],
    dropped: Callable[[int, str], object],
) -> "Capture | None":
    """Return what captures as FNMODEL_CAPTURE says; None where nothing is to be.

    A policy that cannot be read captures nothing: kept rows must be redacted as was said.
    """
    if not environ.get("FNMODEL_CAPTURE") or service.loaded is None:
        return None
    import random

    from fnmodel.capture.redact import Policy
    from fnmodel.serve.capture import Capture

    try:
        policy = Policy.of(environ)
    except (ValueError, TypeError) as error:
        dropped(0, f"FNMODEL_CAPTURE cannot be read: {error}")
        return None
    if policy is None:
        return None
    signature = service.loaded.signature
    return Capture(
        policy,
        model=service.name,
        version=service.version,
        names=[feature.name for feature in signature.features] if signature.stacked else (),
        write=write,
        dropped=dropped,
        point=random.random,
        now=time.time,
    )


def load(environ: Mapping[str, str], version: str) -> "Service":
    """Load the model of FNMODEL_MODEL_DIR; what cannot be loaded answers 503."""
    # Read by pydantic and OpenBLAS on import; the image sets them too.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    model, reason = _load(environ.get("FNMODEL_MODEL_DIR", "/opt/ml/model"))
    from fnmodel.serve.service import Service

    return Service(model, environ.get("FNMODEL_MODEL_NAME", "model"), version, reason)


def framework(service: "Service", report: "Report") -> "FastAPI":
    """Load the web framework and return the application that answers all paths."""
    with _lazy_schemas():
        from fnmodel.serve.app import create_app
    app = create_app(service, report=report)
    app.middleware_stack = app.build_middleware_stack()
    return app


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Collect no garbage inside the block, then leave what it made out of later collections."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _load(folder: str) -> "tuple[Model | None, str]":
    try:
        from fnmodel.serve.model import Model

        return Model.load(Path(folder)), ""
    except (FnmodelError, OSError) as error:
        traceback.print_exception(error, file=sys.stderr)
        code = error.code if isinstance(error, FnmodelError) else type(error).__name__
        return None, f"the model in this image cannot be loaded ({code}); its log has the reason"


def _warn(text: str) -> None:
    from fnmodel.serve.lines import write_line

    write_line({"level": "WARNING", "message": text})


def _print(lines: bytes) -> None:
    sys.stdout.write(lines.decode())


@contextmanager
def _lazy_schemas() -> Iterator[None]:
    """Let pydantic build the schemas of classes made inside the block when they are first used.

    FastAPI makes about 40 models for OpenAPI documents, which this endpoint writes itself.
    """
    from pydantic import BaseModel

    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
