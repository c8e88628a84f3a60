"""The environment of a Lambda function in, a ready `Gateway` out, in as little time as it can be.

Measured in CPU time of the whole start: without garbage collection 0.77, with lazy schemas another
0.83. Opening the session in a thread while the web stack is imported gained nothing.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fnmodel.serve.capture import Capture
    from fnmodel.serve.direct import Handler
    from fnmodel.serve.model import Model
    from fnmodel.serve.models import Models
    from fnmodel.serve.record import Report
    from fnmodel.serve.tracing.export import Spans


def boot(environ: Mapping[str, str]) -> "tuple[Models, Handler]":
    """Return the models, and the handler of HTTP events.

    A single model is loaded now, several each with the first request for it, but before a snapshot.
    The web framework and numpy are loaded with the first request that needs them. A model that
    cannot be loaded answers 503: a function that crashes in its initialisation would be started,
    and would fail, again and again.
    """
    models = open_models(environ, environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"))
    if not models.named or environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        models.load()
    from fnmodel.serve import memory
    from fnmodel.serve.admission import Admission
    from fnmodel.serve.direct import Direct
    from fnmodel.serve.report import EmfReport

    name = None if models.named else models.first.name
    function = environ.get("AWS_LAMBDA_FUNCTION_NAME", models.first.name)
    report = EmfReport(model=name, function=function, version=models.version)

    def others() -> "Handler":
        app = framework(models, report)
        from fnmodel.serve.gateway import Gateway

        return Gateway(app)

    capture = capturing(environ, models, write=_print, dropped=report.dropped)
    if capture is not None:
        _after_responses(environ, capture.flush)
    memory.bound(environ)
    direct = Direct(models, report=report, clock=time.perf_counter, others=others, capture=capture)
    handler: Handler = Admission(direct, version=models.version, report=report)
    if _is_traced(environ):
        from fnmodel.serve.tracing.function import TracedHandler

        spans = tracing(environ, models)
        _after_responses(environ, spans.flush)
        handler = TracedHandler(handler, spans.take)
    return models, handler


def _after_responses(environ: Mapping[str, str], flush: Callable[[], None]) -> None:
    if "AWS_LAMBDA_RUNTIME_API" in environ:
        from fnmodel.serve.after import run_after_responses

        run_after_responses(flush)


def _is_traced(environ: Mapping[str, str]) -> bool:
    if not environ.get("OTEL_TRACES_EXPORTER"):
        return False  # most endpoints load nothing of it
    from fnmodel.serve.tracing.served import wanted

    return wanted(environ)


def _warn(text: str) -> None:
    from fnmodel.serve.lines import write_line

    write_line({"level": "WARNING", "message": text})


def tracing(
    environ: Mapping[str, str], models: "Models", *, warn: Callable[[str], object] = _warn
) -> "Spans":
    """Return what makes spans of requests; `warn` gets a text where some were lost."""
    from fnmodel.serve.dialects.routes import routes as dialects
    from fnmodel.serve.direct import routes
    from fnmodel.serve.tracing.export import Spans

    resource = {"service.version": models.version}
    name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
    if name:
        resource |= {
            "cloud.provider": "aws",
            "cloud.platform": "aws_lambda",
            "cloud.region": environ.get("AWS_REGION", ""),
            "faas.name": name,
            "faas.version": models.version,
            "faas.instance": environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
        }
    resource = {key: text for key, text in resource.items() if text}
    paths = [path for _, path in routes(models) | dialects(models)]
    endpoint = environ.get("FNMODEL_MODEL_NAME", models.first.name)
    return Spans(service=endpoint, resource=resource, routes=paths, warn=warn)


def capturing(
    environ: Mapping[str, str],
    models: "Models",
    *,
    write: Callable[[bytes], object],
    dropped: Callable[[int, str], object],
) -> "Capture | None":
    """Return what captures as FNMODEL_CAPTURE says; None where nothing is to be.

    A policy that cannot be read captures nothing: kept rows must be redacted as was said.
    """
    if not environ.get("FNMODEL_CAPTURE"):
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

    def names(model: str) -> "Sequence[str]":
        # Its rows have been answered, so it is loaded.
        signature = models.find(model).loaded.signature
        return [feature.name for feature in signature.features] if signature.stacked else ()

    return Capture(
        policy,
        version=models.version,
        names=names,
        write=write,
        dropped=dropped,
        point=random.random,
        now=time.time,
    )


def open_models(environ: Mapping[str, str], version: str, *, limit: int | None = None) -> "Models":
    """Return the models that the environment names, none of them loaded yet.

    `version` is what callers see, `limit` the bytes that a body may have.
    """
    # Read by pydantic and OpenBLAS on import; the image sets them too.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from fnmodel.serve.body import LIMIT
    from fnmodel.serve.models import Models, Opening, folders
    from fnmodel.serve.service import Service

    opened = _opener(environ)
    services = (
        Service(Opening(folder, opened), name, version, limit or LIMIT)
        for name, folder in folders(environ).items()
    )
    return Models(
        tuple(services),
        named=bool(environ.get("FNMODEL_MODELS")),
        takes_jobs=bool(environ.get("FNMODEL_JOBS")),
    )


def _opener(environ: Mapping[str, str]) -> "Callable[[Path], Model]":
    """Return what opens a model directory; with traces the model's runs are noted for them."""
    from fnmodel.serve.model import Model

    if not _is_traced(environ):
        return Model.load
    from fnmodel.serve.tracing.served import around

    def opened(folder: Path) -> Model:
        model = Model.load(folder)
        model.observe(around)
        return model

    return opened


def framework(models: "Models", report: "Report") -> "FastAPI":
    """Load the web framework and return the application that answers all paths."""
    with _lazy_schemas():
        from fnmodel.serve.app import create_app
    app = create_app(models, report=report)
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
