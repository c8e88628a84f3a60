"""The environment of a Lambda function in, a ready `Gateway` out, in as little time as it can be.

Measured in CPU time of the whole start: without garbage collection 0.77, with lazy schemas another
0.83. Opening the session in a thread while the web stack is imported gained nothing.
"""

import gc
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fnmodel.errors import FnmodelError

if TYPE_CHECKING:
    from fnmodel.inference import Predictor
    from fnmodel.serve.admission import Admission
    from fnmodel.serve.direct import Handler


def boot(environ: Mapping[str, str]) -> "tuple[Predictor | None, Admission]":
    """Load the model; return the predictor and the handler of HTTP events.

    The web framework is loaded with the first request that needs it. A model that cannot be loaded
    gives no predictor and a handler that answers 503: a function that crashes in its initialisation
    would be started, and would fail, again and again.
    """
    # Read by pydantic and OpenBLAS on import; the image sets them too.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    predictor, reason = _load(environ.get("FNMODEL_MODEL_DIR", "/opt/ml/model"))
    from fnmodel.serve.admission import Admission
    from fnmodel.serve.direct import Direct
    from fnmodel.serve.report import EmfReport
    from fnmodel.serve.service import Service

    name = environ.get("FNMODEL_MODEL_NAME", "model")
    version = environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
    report = EmfReport(
        model=name, function=environ.get("AWS_LAMBDA_FUNCTION_NAME", name), version=version
    )

    def others() -> "Handler":
        with _lazy_schemas():
            from fnmodel.serve.app import create_app
        from fnmodel.serve.gateway import Gateway

        app = create_app(predictor, name=name, version=version, reason=reason, report=report)
        app.middleware_stack = app.build_middleware_stack()
        return Gateway(app)

    service = Service(predictor, name, version, reason)
    direct = Direct(service, report=report, clock=time.perf_counter, others=others)
    return predictor, Admission(direct, version=version, report=report)


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Collect no garbage inside the block, then leave what it made out of later collections."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _load(folder: str) -> "tuple[Predictor | None, str]":
    try:
        from fnmodel.inference import Predictor

        return Predictor(Path(folder)), ""
    except (FnmodelError, OSError) as error:
        traceback.print_exception(error, file=sys.stderr)
        code = error.code if isinstance(error, FnmodelError) else type(error).__name__
        return None, f"the model in this image cannot be loaded ({code}); its log has the reason"


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
