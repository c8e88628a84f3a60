"""Batch runs that fan out: the start of their state machine, and its steps."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fnmodel.aws import Cloud, translated
from fnmodel.batch import fanout
from fnmodel.batch.fanout import Started, Steps
from fnmodel.batch.objects import Object
from fnmodel.batch.run import lease_of
from fnmodel.errors import BatchError, FnmodelError

if TYPE_CHECKING:
    from handlers.batch import Invocation

# What finish returns has to fit into 256 KiB beside nothing else.
_TOLD = ("job", "run_id", "status", "scheduled_time", "totals", "already_done")
_MOST_ATTEMPTS = 100


def start(event: Mapping[str, Any], inputs: Sequence[Object], work: "Invocation") -> dict[str, Any]:
    """Begin a run and its execution; returns the execution's ARN, or a manifest that is there.

    Raises:
        BatchError: the run that was done has failed, or was tried too often.
        UnfinishedError: another run of the job is under way.

    """
    started = fanout.start(work.request, work.objects, inputs, work.model, work.host)
    if not isinstance(started, Started):
        return started
    _, partition, _, region, account, _, name, *_ = work.context.invoked_function_arn.split(":")
    version = work.context.function_version
    given = {
        "function": f"arn:{partition}:lambda:{region}:{account}:function:{name}:{version}",
        "event": dict(event),
        "run_id": started.run_id,
        "folder": started.folder,
        "marks": started.marks,
    }
    home = f"arn:{partition}:states:{region}:{account}"
    try:
        execution = _execution(Cloud().client("stepfunctions"), home, name, given)
    except FnmodelError:
        # Or no other run of the job could begin for as long as this one might have lasted.
        lease_of(work.request, work.objects).give_back()
        raise
    return {
        "job": work.request.job,
        "run_id": started.run_id,
        "status": "running",
        "execution": execution,
    }


def _execution(client: Any, home: str, machine: str, given: Mapping[str, Any]) -> str:
    """Start an execution, or find the one that another delivery of the event has started.

    A name is used once: the first attempt of a run is 1, and another follows when one has failed.
    """
    for attempt in range(1, _MOST_ATTEMPTS):
        name = f"{given['run_id']}-{attempt}"
        arn = f"{home}:execution:{machine}:{name}"
        with translated():
            try:
                client.start_execution(
                    stateMachineArn=f"{home}:stateMachine:{machine}",
                    name=name,
                    input=json.dumps(given),
                )
            except client.exceptions.ExecutionAlreadyExists:
                if client.describe_execution(executionArn=arn)["status"] != "RUNNING":
                    continue
        return arn
    raise BatchError(f"run {given['run_id']} has failed {_MOST_ATTEMPTS} times")


def run_step(step: str, event: Mapping[str, Any], work: "Invocation") -> dict[str, Any]:
    """Do one step of a run.

    Raises:
        BatchError: as the step; or there is no such step.
        UnfinishedError: there is no more time; another attempt goes on.

    """
    steps = Steps(work.request, event["run_id"], work.objects, work.host)
    if step == "score":
        return steps.score(event["item"], work.predictor())
    if step == "mark":
        return steps.mark(event["item"])
    if step == "finish":
        manifest = steps.finish(work.model)
        return {name: manifest[name] for name in _TOLD if name in manifest}
    if step == "plan":
        return steps.plan()
    if step == "abandon":
        return steps.abandon()
    raise BatchError(f"a batch run has no step {step!r}")
