"""The batch side of the model's Lambda function; imported with the first batch event.

Powertools writes its log lines and metrics here, where a run takes seconds; the endpoint's single
line a request is `fnmodel.serve.report`.
"""

import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from fnmodel.aws import Cloud
from fnmodel.batch.job import JobRequest
from fnmodel.batch.objects import S3Objects
from fnmodel.batch.run import Host, Model, run
from fnmodel.engine import TWO_VCPU_MEMORY_MB
from fnmodel.errors import BatchError
from fnmodel.inference import Predictor
from fnmodel.model import OnnxModel
from fnmodel.serve.models import Models, folders
from fnmodel.serve.refusal import RefusalError

logger = Logger(service="fnmodel")
_MOST_INPUTS = 1000

metrics = Metrics(namespace="fnmodel", service="batch")


def run_batch(event: Mapping[str, Any], context: Any, models: Models) -> dict[str, Any]:
    """Run the job of one batch event and return its manifest.

    Raises:
        BatchError: the event, its model, an input, or the share of bad rows does not allow it.

    """
    request = JobRequest.from_event(event)
    name = request.model or models.first.name
    try:
        predictor = models.find(name).loaded.predictor
    except RefusalError as error:
        raise BatchError(f"job {request.job!r}, model {name!r}: {error.text}") from error
    folder = folders(os.environ)[name]
    model = Model(
        name=name,
        version=getattr(context, "function_version", "$LATEST"),
        digest=OnnxModel.load(folder).digest,
    )
    client = Cloud().client("s3")
    try:
        manifest = run(
            request,
            S3Objects(client, request.bucket),
            _of_one_thread(predictor, folder),
            model=model,
            host=Host(
                clock=lambda: datetime.now(UTC),
                remaining=lambda: _remaining(context),
                sleep=time.sleep,
                log=lambda message, fields: logger.info(message, job=request.job, **fields),
            ),
        )
    except BatchError as error:
        logger.error(error.message, job=request.job, hint=error.hint)  # noqa: TRY400
        raise
    logger.info("finished", job=request.job, run_id=manifest["run_id"], **manifest["totals"])
    if not manifest.get("already_done"):
        metrics.add_dimension(name="job", value=request.job)
        for name in ("rows", "scored", "errors"):
            metrics.add_metric(name=name, unit=MetricUnit.Count, value=manifest["totals"][name])
        metrics.flush_metrics()
    return _short(manifest)


def _of_one_thread(predictor: Predictor, folder: Path) -> Predictor:
    """Open the model again where the engine has threads of its own: a run's would share cores."""
    memory = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
    return predictor if memory < TWO_VCPU_MEMORY_MB else Predictor(folder, threads=1)


def _short(manifest: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a long manifest what Lambda's 6 MB of an answer may not hold."""
    if len(manifest["inputs"]) <= _MOST_INPUTS:
        return manifest
    return {name: value for name, value in manifest.items() if name not in ("inputs", "errors")}


def _remaining(context: Any) -> float:
    """Return the seconds that Lambda leaves this invocation; elsewhere there is no end."""
    left = getattr(context, "get_remaining_time_in_millis", None)
    return left() / 1000 if left else math.inf
