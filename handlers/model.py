"""The model's Lambda function: HTTP API requests and batch jobs.

It is built once, at import, from FNMODEL_MODEL_DIR and FNMODEL_MODEL_NAME or FNMODEL_MODELS.
"""

import os
from typing import Any

from fnmodel.errors import InputError
from fnmodel.serve.boot import boot, frozen_heap

with frozen_heap():
    models, gateway = boot(os.environ)

if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
    from fnmodel.serve import snapshot

    snapshot.register(models)


def handler(event: Any, context: Any) -> Any:
    """Answer one event: an HTTP API request (payload 2.0), or `{"fnmodel": "batch", …}`.

    Raises:
        InputError: the event is neither.
        BatchError: the batch job failed.

    """
    if isinstance(event, dict):
        if event.get("version") == "2.0" and "requestContext" in event:
            return gateway(event, context)
        if event.get("fnmodel") == "batch":
            from handlers.batch import run_batch

            return run_batch(event, context, models)
    raise InputError("this event is neither an HTTP API request (payload 2.0) nor a batch job")
