"""`template.yaml` and a project in, the CloudFormation template body and its parameters out."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fnmodel.config import BatchJob, FunctionConfig, Project
from fnmodel.errors import ProvisionError, UsageError

Template = dict[str, Any]

ALIAS = "live"
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
_BODY_LIMIT = 51_200
_NAME_LIMIT = 64  # of a Lambda function, and of a schedule group
_PATTERN = "Schedule"
_DOORS = ("ApiRoute", "ApiStage", "ApiPermission")


def stack_name(project: str, stage: str) -> str:
    """Return the name of a stage's stack, function, API and schedule group.

    Raises:
        UsageError: Lambda would refuse a name this long.

    """
    name = f"fnmodel-{project}-{stage}"
    if len(name) > _NAME_LIMIT:
        raise UsageError(
            f"{name!r} has {len(name)} characters; a function's name may have {_NAME_LIMIT}",
            hint="shorten the project's name or the stage's",
        )
    return name


def render(template_text: str, jobs: Sequence[BatchJob], *, serving: bool = True) -> str:
    """Turn the template into a JSON body with one schedule for each job that has one.

    Without `serving` nobody can reach the alias: the body has neither schedules nor a way in from
    the API, and the stack no `Url`. (Not a condition of the template: the embedded cloud's change
    sets do not see one that changes.)

    Pure and deterministic: the same text and jobs give the same bytes.

    Raises:
        ProvisionError: the body is larger than CloudFormation accepts.

    """
    template = read(template_text)
    resources = template["Resources"]
    pattern = resources.pop(_PATTERN)
    if serving:
        for job in jobs:
            if job.schedule is not None:
                resources[_logical_id(job)] = _schedule(pattern, job)
    else:
        for door in _DOORS:
            del resources[door]
        del template["Outputs"]["Url"]
    body = json.dumps(template, ensure_ascii=False, separators=(",", ":"))
    size = len(body.encode())
    if size > _BODY_LIMIT:
        raise ProvisionError(
            f"the template has {size:,} bytes; CloudFormation accepts {_BODY_LIMIT:,}",
            hint=f"declare fewer than the {len(jobs)} batch jobs in one project",
        )
    return body


def read(template_text: str) -> Template:
    """Read a CloudFormation template in YAML; `!Ref X` becomes `{"Ref": "X"}`, and so on."""
    template: Template = yaml.load(template_text, _Loader)  # noqa: S506 - a SafeLoader
    return template


def parameters(
    project: Project,
    stage: str,
    image_uri: str,
    function: FunctionConfig | None = None,
) -> dict[str, str]:
    """Return the stack's parameters; `function` stands in for the project's own settings."""
    settings = function or project.function
    return {
        "Project": project.name,
        "Stage": stage,
        "ImageUri": image_uri,
        "Architecture": project.image.architecture,
        "Memory": str(settings.memory),
        "Timeout": str(settings.timeout),
        "SnapStart": "PublishedVersions" if settings.snapstart else "None",
    }


def tags(project: str, stage: str) -> dict[str, str]:
    """Return the stack's tags, which CloudFormation copies to every resource that has tags.

    They never change between deploys: a changed stack tag would modify all of them.
    """
    return {"fnmodel:project": project, "fnmodel:stage": stage}


def _logical_id(job: BatchJob) -> str:
    # A hyphen, which a logical id cannot hold, becomes Z; a job's name is lower-case, so that
    # two jobs never share an id.
    return _PATTERN + job.name.replace("-", "Z")


def _schedule(pattern: Mapping[str, Any], job: BatchJob) -> dict[str, Any]:
    schedule = copy.deepcopy(dict(pattern))
    properties = schedule["Properties"]
    properties["Name"] = job.name
    properties["Description"] = f"Scores {job.input} into {job.output}"
    properties["ScheduleExpression"] = job.schedule
    properties["ScheduleExpressionTimezone"] = job.timezone
    properties["Target"]["Input"] = _input(job)
    return schedule


def _input(job: BatchJob) -> dict[str, Any]:
    """Return the job's event as an intrinsic, since only CloudFormation knows the bucket's name.

    EventBridge Scheduler replaces the words in angle brackets. The scheduled time, unlike the
    execution id, is the same in every attempt.
    """
    mark = "\0"
    event = {
        "fnmodel": "batch",
        "job": job.name,
        "bucket": mark,
        "input": job.input,
        "output": job.output,
        "error_budget": job.error_budget,
        "scheduled_time": "<aws.scheduler.scheduled-time>",
        "schedule_arn": "<aws.scheduler.schedule-arn>",
    }
    # Join, not Sub: a prefix may hold `${…}`, which Sub would take for a reference.
    before, after = json.dumps(event).split(json.dumps(mark)[1:-1])
    return {"Fn::Join": ["", [before, {"Ref": "Bucket"}, after]]}


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, and without YAML 1.1's dates."""


def _short_form(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if name in {"Ref", "Condition"}:
        return {name: value}
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _short_form)
