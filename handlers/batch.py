"""The batch side of the model's Lambda function; imported with the first batch event.

Powertools writes its log lines and metrics here, where a run takes seconds; the endpoint's single
line a request is `fnmodel.serve.report`.
"""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from fnmodel.aws import Cloud
from fnmodel.batch import completion
from fnmodel.batch.job import JobRequest
from fnmodel.batch.objects import S3Objects
from fnmodel.batch.run import Model, listed, run
from fnmodel.batch.slices import fans_out
from fnmodel.batch.work import Host
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
    """Run the job of one batch event and return its manifest; or begin, or do, a step of it.

    Raises:
        BatchError: the event, its model, an input, or the share of bad rows does not allow it.

    """
    step = event.get("step")
    if step == "look":
        return _look(event, context)
    request = JobRequest.from_event(event if step is None else event.get("event", {}))
    work = Invocation(request, context, models)
    try:
        if step == "request":
            from handlers.requested import run_requested

            return run_requested(event, work)
        if step is not None:
            from handlers.fanout import run_step

            return run_step(step, event, work)
        if request.fanout is not None:
            inputs = listed(request, work.objects)
            if fans_out(inputs, request.fanout):
                from handlers.fanout import start

                return short(start(event, inputs, work))
        manifest = run(request, work.objects, work.predictor(), model=work.model, host=work.host)
    except BatchError as error:
        logger.error(error.message, job=request.job, hint=error.hint)  # noqa: TRY400
        raise
    logger.info("finished", job=request.job, run_id=manifest["run_id"], **manifest["totals"])
    return short(manifest)


@dataclass(frozen=True)
class Invocation:
    """What a batch event is answered with: its bucket, its model, and this Lambda invocation."""

    request: JobRequest
    context: Any
    models: Models

    @property
    def name(self) -> str:
        """The model's name."""
        return self.request.model or self.models.first.name

    @property
    def objects(self) -> S3Objects:
        """The bucket."""
        return S3Objects(_client("s3"), self.request.bucket)

    @property
    def model(self) -> Model:
        """The model as manifests name it."""
        folder = folders(os.environ).get(self.name)
        if folder is None:
            raise BatchError(f"job {self.request.job!r}: this image has no model {self.name!r}")
        version = getattr(self.context, "function_version", "$LATEST")
        return Model(self.name, version, OnnxModel.load(folder).digest)

    @property
    def host(self) -> Host:
        """The clock, the time that Lambda leaves, the log."""
        return Host(
            clock=lambda: datetime.now(UTC),
            remaining=lambda: _remaining(self.context),
            sleep=time.sleep,
            log=lambda message, fields: logger.info(message, job=self.request.job, **fields),
            finished=lambda manifest: _tell(manifest, self.request, self.context),
        )

    def predictor(self) -> Predictor:
        """Return the model, ready to score.

        Raises:
            BatchError: it cannot be loaded.

        """
        try:
            predictor = self.models.find(self.name).loaded.predictor
        except RefusalError as error:
            raise BatchError(
                f"job {self.request.job!r}, model {self.name!r}: {error.text}"
            ) from error
        memory = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
        if memory < TWO_VCPU_MEMORY_MB:
            return predictor
        # The engine has threads of its own here: a run's would share cores with them.
        return _of_one_thread(folders(os.environ)[self.name])


@cache
def _of_one_thread(folder: Path) -> Predictor:
    """Open the model a second time, for all runs; `fnmodel/pack/memory.py` counts it."""
    return Predictor(folder, threads=1)


@cache
def _client(service: str) -> Any:
    return Cloud().client(service)


def _tell(manifest: Mapping[str, Any], request: JobRequest, context: Any) -> None:
    """Count a run that is over, once, and publish its event."""
    if not manifest.get("already_done"):
        metrics.add_dimension(name="job", value=request.job)
        for name in ("rows", "scored", "errors"):
            metrics.add_metric(name=name, unit=MetricUnit.Count, value=manifest["totals"][name])
        failed = manifest["status"] == "failed"
        metrics.add_metric(name="failed_runs", unit=MetricUnit.Count, value=int(failed))
        metrics.flush_metrics()
    bus = os.environ.get("FNMODEL_EVENT_BUS")
    if bus:
        function = getattr(context, "function_name", request.job)
        event = completion.cloud_event(manifest, function=function, bucket=request.bucket)
        completion.publish(_client("events"), bus, event, time.sleep)


def _look(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Count the jobs that are overdue; without this metric, too, an alarm rings."""
    from fnmodel.batch.overdue import Watched, overdue

    bucket = S3Objects(_client("s3"), str(event.get("bucket")))
    late = overdue(Watched.of(event.get("jobs")), bucket, datetime.now(UTC))
    for job, last in late:
        logger.error("no run in time", job=job.job, last=last.isoformat(), within=job.within)
    metrics.add_dimension(name="function_name", value=getattr(context, "function_name", ""))
    metrics.add_metric(name="overdue_jobs", unit=MetricUnit.Count, value=len(late))
    metrics.flush_metrics()
    return {"overdue": [job.job for job, _ in late]}


def short(manifest: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a long manifest what Lambda's 6 MB of an answer may not hold."""
    if len(manifest.get("inputs", ())) <= _MOST_INPUTS:
        return manifest
    return {name: value for name, value in manifest.items() if name not in ("inputs", "errors")}


def _remaining(context: Any) -> float:
    """Return the seconds that Lambda leaves this invocation; elsewhere there is no end."""
    left = getattr(context, "get_remaining_time_in_millis", None)
    return left() / 1000 if left else math.inf
