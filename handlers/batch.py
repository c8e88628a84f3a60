"""The batch side of the model's Lambda function; imported with the first batch event.

Powertools writes its log lines and metrics here, where a run takes seconds; the endpoint's single
line a request is `fnmodel.serve.report`.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from fnmodel.aws import Cloud
from fnmodel.batch.job import JobRequest
from fnmodel.batch.objects import S3Objects
from fnmodel.batch.run import Model, run
from fnmodel.errors import BatchError
from fnmodel.model import OnnxModel
from fnmodel.serve.models import Models, folders
from fnmodel.serve.refusal import RefusalError

logger = Logger(service="fnmodel")
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
    model = Model(
        name=name,
        version=getattr(context, "function_version", "$LATEST"),
        digest=OnnxModel.load(folders(os.environ)[name]).digest,
    )
    client = Cloud().client("s3")
    try:
        manifest = run(
            request,
            S3Objects(client, request.bucket),
            predictor,
            model=model,
            clock=lambda: datetime.now(UTC),
            log=lambda message, fields: logger.info(message, job=request.job, **fields),
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
    return manifest
