"""`template.yaml` and a project in, the CloudFormation template body and its parameters out."""

import copy
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from fnmodel.config import (
    Access,
    AccessMode,
    BatchJob,
    CaptureConfig,
    CorsConfig,
    FanoutConfig,
    FunctionConfig,
    JobsConfig,
    Project,
)
from fnmodel.errors import ProvisionError, UsageError
from fnmodel.provision import alarms, around, dashboard, watching
from fnmodel.provision.around import Around
from fnmodel.provision.bodies import LARGEST
from fnmodel.provision.rights import forbid
from fnmodel.provision.variables import variable

Template = dict[str, Any]

ALIAS = "live"
_NAME_LIMIT = 64  # of a Lambda function, and of a schedule group
_PATTERN = "Schedule"
# What only a stage that captures rows has.
_CAPTURE = (
    ("Resources", "CaptureStream"),
    ("Resources", "CaptureStreamRole"),
    ("Resources", "CaptureSubscription"),
    ("Resources", "CaptureSubscriptionRole"),
    ("Parameters", "Capture"),
    ("Parameters", "CaptureKey"),
    ("Parameters", "CaptureKmsKey"),
    ("Outputs", "CaptureStream"),
)
_AUDIT = (
    ("Resources", "AuditBucket"),
    ("Resources", "AuditBucketPolicy"),
    ("Parameters", "AuditRetention"),
    ("Parameters", "AuditMode"),
    ("Outputs", "AuditBucket"),
)
_MARK = "\0"
"""Stands in an event for the bucket's name."""
_NO_CAPTURE = CaptureConfig()
_PLAIN = Around()
_AUTHORIZER = (
    "KeyAuthorizer", "AuthorizerPermission", "AuthorizerLogs", "AuthorizerRole",
    "AuthorizerFunction", "AuthorizerAlarm",
)  # fmt: skip
# What only a stage whose rollouts go by themselves has.
_ROLLOUT = (
    ("Resources", "RolloutClock"),
    ("Resources", "RolloutClockPermission"),
    ("Resources", "RolloutAlarms"),
    ("Resources", "RolloutAlarmsPermission"),
    ("Resources", "CrashAlarm"),
    ("Resources", "ErrorAlarm"),
    ("Resources", "RolloutLogs"),
    ("Resources", "RolloutFailures"),
    ("Resources", "RolloutFailuresPolicy"),
    ("Resources", "ControllerAlarm"),
    ("Resources", "FailedLooksAlarm"),
    ("Resources", "RolloutRole"),
    ("Resources", "RolloutFunction"),
    ("Parameters", "ControllerImageUri"),
    ("Outputs", "RolloutClock"),
)
# What only a stage whose batch runs fan out has.
_FANOUT = (
    ("Resources", "BatchMachine"),
    ("Resources", "BatchMachineRole"),
    ("Resources", "BatchFailures"),
    ("Resources", "BatchFailuresPolicy"),
    ("Resources", "FailedSlicesAlarm"),
)
_HEALTH = ("LiveRoute", "ReadyRoute")
_DOCS = ("DocsRoute", "DocumentRoute")
_DOORS = (
    "ApiRoute", "ApiStage", "ApiPermission", "PreflightRoute", "TokenAuthorizer", *_HEALTH,
    *_DOCS, *_AUTHORIZER, *around.DOMAIN,
)  # fmt: skip
_AUTHORIZATION: Mapping[AccessMode, Mapping[str, Any]] = {
    "iam": {"AuthorizationType": "AWS_IAM"},
    "jwt": {"AuthorizationType": "JWT", "AuthorizerId": {"Ref": "TokenAuthorizer"}},
    "api_key": {"AuthorizationType": "CUSTOM", "AuthorizerId": {"Ref": "KeyAuthorizer"}},
    "public": {"AuthorizationType": "NONE"},
}
# What a page may send and read; the endpoint knows no cookies, so that none are allowed.
_CORS = {
    "AllowMethods": ["GET", "POST"],
    "AllowHeaders": [
        "content-type", "authorization", "x-api-key", "x-amz-date", "x-amz-security-token",
        "x-request-id", "x-correlation-id", "traceparent",
    ],
    "ExposeHeaders": ["x-model-version", "x-request-id", "x-correlation-id", "retry-after"],
    "AllowCredentials": False,
    "MaxAge": 600,
}  # fmt: skip


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


def render(
    template_text: str,
    jobs: Sequence[BatchJob],
    *,
    access: Access,
    cors: CorsConfig | None = None,
    serving: bool = True,
    capture: CaptureConfig = _NO_CAPTURE,
    function: FunctionConfig | None = None,
    audit: bool = False,
    rollout: bool = False,
    replay: bool = False,
    fanout: FanoutConfig | None = None,
    requests: JobsConfig | None = None,
    watch: watching.Watching | None = None,
    surroundings: Around = _PLAIN,
) -> str:
    """Turn the template into a JSON body with one schedule for each job that has one.

    `access` says who may call the API, `cors` from which web pages, `function` how it is traced;
    with `rollout` there is a controller of rollouts, which with `replay` may ask both versions;
    with `fanout` there is a machine for large batch runs. `requests` are asynchronous ones, over
    HTTP. `watch` says how captured rows are watched. `surroundings` are alarms, keys, names, and
    what else is the same for a model of any kind.

    Without `serving` nobody can reach the alias: the body has neither schedules nor a way in from
    the API, and the stack no `Url`; nor is there a controller, which would run the new image. (Not
    a condition of the template, nor are the kinds of access: the embedded cloud's change sets do
    not see one that changes.)

    Pure and deterministic: the same arguments give the same bytes.

    Raises:
        ProvisionError: the body is larger than CloudFormation accepts.

    """
    template = read(template_text)
    resources = template["Resources"]
    pattern = resources.pop(_PATTERN)
    # Like the doors, the watch has no business before a first version has passed its gate.
    watching.fit(template, watch if serving else None)
    _admit(template, access, cors)
    if access.api_key is None and watch is None:
        del template["Parameters"]["AuthorizerImageUri"]
    if serving:
        for job in jobs:
            if job.schedule is not None:
                resources[_logical_id(job)] = _schedule(pattern, job, fanout)
    else:
        for door in _DOORS:
            resources.pop(door, None)
        template["Parameters"].pop("AuthorizerImageUri", None)
        for output in ("Url", "Access", "DomainTarget"):
            del template["Outputs"][output]
    _trim(template, capture, replay=replay)
    _replay(template, replay=replay)
    _leave_out(template, audit=audit, rollout=rollout and serving)
    settings = function or FunctionConfig()
    _fan_out(template, fanout)
    watched = [job.watched(settings.timeout, fanout) for job in jobs]
    _watch(template, [one for one in watched if one is not None] if serving else [])
    _take_requests(template, requests, settings)
    if not jobs:
        forbid(resources, "FunctionRole", "PublishEvents")
        del resources["Function"]["Properties"]["Environment"]["Variables"]["FNMODEL_EVENT_BUS"]
    _trace(template, settings)
    _surround(template, jobs, surroundings, settings, capture=capture, audit=audit)
    for parameter in template["Parameters"].values():
        parameter.pop("Description", None)  # for who reads the file; a request has a limit
    body = json.dumps(template, ensure_ascii=False, separators=(",", ":"))
    size = len(body.encode())
    if size > LARGEST:
        raise ProvisionError(
            f"the template has {size:,} bytes; CloudFormation accepts {LARGEST:,}",
            hint=f"declare fewer than the {len(jobs)} batch jobs in one project",
        )
    return body


def _surround(
    template: Template,
    jobs: Sequence[BatchJob],
    given: Around,
    function: FunctionConfig,
    *,
    capture: CaptureConfig,
    audit: bool,
) -> None:
    """Put around the function what is the same for a model of any kind."""
    resources, stack = template["Resources"], given.stack
    if function.reserved_concurrency is not None:
        reserved = function.reserved_concurrency
        resources["Function"]["Properties"]["ReservedConcurrentExecutions"] = reserved
    _keep_started(template, given.provisioned)
    around.name(template, None if given.local else given.domain)
    limits = alarms.Limits(function, given.account_concurrency)
    told = given.alarms.model_copy(update={"email": ()}) if given.local else given.alarms
    alarms.ring(template, told, limits, math=not given.local)
    if stack.dashboard:
        resources["Dashboard"]["Properties"]["DashboardBody"] = dashboard.body(
            jobs,
            rollout="RolloutFunction" in resources,
            keyed="AuthorizerFunction" in resources,
            captures=bool(capture.rate),
        )
    else:
        del resources["Dashboard"], template["Outputs"]["Dashboard"]
    around.retain(template, stack, capture.retention if capture.rate else None)
    around.bound(template, stack)
    plain = stack.model_copy(update={"kms_key": None})
    around.encrypt(template, plain if given.local else stack, kept=audit)


def _keep_started(template: Template, count: int) -> None:
    """Have the controller keep environments started; without any it may not.

    The output lets a stack whose number has changed differ from the one before.
    """
    resources, outputs = template["Resources"], template["Outputs"]
    controller = resources.get("RolloutFunction")
    if count:
        outputs["Provisioned"]["Value"] = str(count)
    else:
        del outputs["Provisioned"]
    if controller is None:
        return
    variables = controller["Properties"]["Environment"]["Variables"]
    if count:
        variables["FNMODEL_PROVISIONED"] = str(count)
        return
    del variables["FNMODEL_PROVISIONED"]
    for right in ("KeepStarted", "ListStarted"):
        forbid(resources, "RolloutRole", right)


def _admit(template: Template, access: Access, cors: CorsConfig | None) -> None:
    """Leave in the template what lets in the callers that `access` names, and nothing else."""
    resources, outputs = template["Resources"], template["Outputs"]
    outputs["Access"]["Value"] = access.mode
    gone: list[str] = []
    if access.api_key is None:
        gone += [*_AUTHORIZER, "Keys"]
        del outputs["KeysTable"]
    if access.jwt is None:
        gone.append("TokenAuthorizer")
    if access.health == "protected" or access.mode == "public":
        gone += _HEALTH
    if access.docs == "protected" or access.mode == "public":
        gone += _DOCS
    if cors is None:
        gone.append("PreflightRoute")
    for name in gone:
        del resources[name]
    resources["ApiRoute"]["Properties"] |= _AUTHORIZATION[access.mode]
    if access.jwt is not None:
        resources["TokenAuthorizer"]["Properties"]["JwtConfiguration"] = {
            "Issuer": access.jwt.issuer,
            "Audience": list(access.jwt.audience),
        }
        if access.jwt.scopes:
            resources["ApiRoute"]["Properties"]["AuthorizationScopes"] = list(access.jwt.scopes)
    if cors is not None:
        configuration = {"AllowOrigins": list(cors.origins), **_CORS}
        resources["Api"]["Properties"]["CorsConfiguration"] = configuration


def read(template_text: str) -> Template:
    """Read a CloudFormation template in YAML; `!Ref X` becomes `{"Ref": "X"}`, and so on."""
    return copy.deepcopy(_parsed(template_text))


@cache
def _parsed(template_text: str) -> Template:
    # A deploy renders it up to three times, and PyYAML is slow.
    template: Template = yaml.load(template_text, _Loader)  # noqa: S506 - a SafeLoader
    return template


def parameters(
    project: Project,
    stage: str,
    image_uri: str,
    function: FunctionConfig | None = None,
    authorizer_uri: str | None = None,
    *,
    controller_uri: str | None = None,
    capture_key: str = "",
    capture: CaptureConfig | None = None,
) -> dict[str, str]:
    """Return the stack's parameters; `function`, `capture` stand in for the project's settings.

    `authorizer_uri` is the image of authorizer and watch, where the stack has one of them,
    `controller_uri` that of the rollout controller. `capture_key` is the stage's secret for keyed
    hashes, in hex.
    """
    settings = function or project.function
    captured = capture or project.capture
    authorizer = {"AuthorizerImageUri": authorizer_uri} if authorizer_uri else {}
    controller = {"ControllerImageUri": controller_uri} if controller_uri else {}
    given = {
        **authorizer,
        **controller,
        "Project": project.name,
        "Stage": stage,
        "ImageUri": image_uri,
        "Architecture": project.image.architecture,
        "Memory": str(settings.memory),
        "Timeout": str(settings.timeout),
        "SnapStart": "PublishedVersions" if settings.snapstart else "None",
        "Tracing": "Active" if settings.tracing == "xray" else "PassThrough",
        "CaptureRetention": str(captured.retention),
    }
    if project.audit.retention:
        given |= {
            "AuditRetention": str(project.audit.retention),
            "AuditMode": project.audit.mode.upper(),
        }
    if captured.rate:
        given |= {
            "Capture": policy(captured),
            "CaptureKey": capture_key,
        }
        if captured.kms_key:
            given["CaptureKmsKey"] = captured.kms_key
    return given


def policy(capture: CaptureConfig) -> str:
    """Return what the function reads of `capture:`, as JSON.

    Raises:
        UsageError: it is too long for an environment variable.

    """
    said = capture.model_dump(include={"rate", "fields", "patterns", "subject"})
    return variable(said, "capture.fields")


def tags(project: str, stage: str, own: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the stack's tags, which CloudFormation copies to every resource that has tags.

    fnmodel's own never change between deploys: a changed stack tag modifies all of them. `own` are
    those of `stack.tags`.
    """
    return {**(own or {}), "fnmodel:project": project, "fnmodel:stage": stage}


def _replay(template: Template, *, replay: bool) -> None:
    """Let the controller replay requests, or take its right to."""
    if replay:
        # Twenty seconds of replaying, and the last pair of answers, each of which may take thirty.
        template["Resources"]["RolloutFunction"]["Properties"]["Timeout"] = 120
        return
    for right in ("ReplayRequests", "ReadProof"):
        forbid(template["Resources"], "RolloutRole", right)


def _leave_out(template: Template, *, audit: bool, rollout: bool) -> None:
    """Take out copies of the ledger and the controller of rollouts, where a stage has none."""
    if not audit:
        for right in ("CopyLedger", "ListCopies"):
            forbid(template["Resources"], "RolloutRole", right)
        controller = template["Resources"]["RolloutFunction"]["Properties"]
        del controller["Environment"]["Variables"]["FNMODEL_AUDIT"]
    gone = [*(() if audit else _AUDIT), *(() if rollout else _ROLLOUT)]
    for section, name in gone:
        del template[section][name]


def _fan_out(template: Template, fanout: FanoutConfig | None) -> None:
    """Say how many invocations a run may have at once, or take the machine out."""
    if fanout is None:
        for section, name in _FANOUT:
            del template[section][name]
        for right in ("StartFanOut", "SeeFanOut"):
            forbid(template["Resources"], "FunctionRole", right)
        return
    states = template["Resources"]["BatchMachine"]["Properties"]["Definition"]["States"]
    for state in states.values():
        if state["Type"] == "Map":
            state["MaxConcurrency"] = fanout.concurrency


def _watch(template: Template, watched: Sequence[Mapping[str, Any]]) -> None:
    """Tell the look for overdue jobs of which; with none there is no look, and no alarm."""
    if not watched:
        for name in ("OverdueLook", "OverdueAlarm"):
            del template["Resources"][name]
        return
    target = template["Resources"]["OverdueLook"]["Properties"]["Target"]
    event = {"fnmodel": "batch", "step": "look", "bucket": _MARK, "jobs": [*watched]}
    target["Input"] = _with_bucket(event)


def _take_requests(
    template: Template, requests: JobsConfig | None, function: FunctionConfig
) -> None:
    """Let the function take asynchronous requests, and call itself for them; or neither."""
    resources = template["Resources"]
    if requests is None:
        forbid(resources, "FunctionRole", "StartRequests")
        # The bucket's rules stay: jobs that were taken before still have to go.
        return
    said = {**requests.model_dump(mode="json"), "timeout": function.timeout}
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    variables["FNMODEL_JOBS"] = json.dumps(said, sort_keys=True, separators=(",", ":"))
    for rule in resources["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]:
        if rule["Id"] == "forget-jobs":
            rule["ExpirationInDays"] = requests.days


def _trim(template: Template, capture: CaptureConfig, *, replay: bool) -> None:
    """Take out what this stage does not have of capture."""
    resources = template["Resources"]
    if not capture.rate:
        for section, name in _CAPTURE:
            del template[section][name]
        # A replay takes what was captured before, and sees that there is nothing.
        for right in ("UseKey", *(() if replay else ("ReadCapturedRows", "ListCapturedRows"))):
            forbid(resources, "RolloutRole", right)
        variables = resources["Function"]["Properties"]["Environment"]["Variables"]
        del variables["FNMODEL_CAPTURE"], variables["FNMODEL_CAPTURE_KEY"]
        # The bucket's rule stays: rows that were captured before still have to go.
        return
    if not capture.kms_key:
        del template["Parameters"]["CaptureKmsKey"]
        destination = resources["CaptureStream"]["Properties"]["ExtendedS3DestinationConfiguration"]
        del destination["EncryptionConfiguration"]
        forbid(resources, "CaptureStreamRole", "UseKey")
        forbid(resources, "RolloutRole", "UseKey")
        if "WatchRole" in resources:
            forbid(resources, "WatchRole", "UseKey")


def _trace(template: Template, settings: FunctionConfig) -> None:
    """Give the function what it needs to be traced as its settings say, and nothing else."""
    if settings.tracing == "otlp":
        variables = template["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
        variables |= {"OTEL_TRACES_EXPORTER": "otlp", **settings.otel}
    if settings.tracing != "xray":
        forbid(template["Resources"], "FunctionRole", "WriteTraces")


def _logical_id(job: BatchJob) -> str:
    # A hyphen, which a logical id cannot hold, becomes Z; a job's name is lower-case, so that
    # two jobs never share an id.
    return _PATTERN + job.name.replace("-", "Z")


def _schedule(
    pattern: Mapping[str, Any], job: BatchJob, fanout: FanoutConfig | None
) -> dict[str, Any]:
    schedule = copy.deepcopy(dict(pattern))
    properties = schedule["Properties"]
    properties["Name"] = job.name
    properties["Description"] = f"Scores {job.input} into {job.output}"
    properties["ScheduleExpression"] = job.schedule
    properties["ScheduleExpressionTimezone"] = job.timezone
    if job.window:
        properties["FlexibleTimeWindow"] = {
            "Mode": "FLEXIBLE",
            "MaximumWindowInMinutes": job.window,
        }
    properties["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"] = job.late * 60
    properties["Target"]["Input"] = _input(job, fanout)
    return schedule


def _input(job: BatchJob, fanout: FanoutConfig | None) -> dict[str, Any]:
    """Return the job's event as an intrinsic, since only CloudFormation knows the bucket's name.

    EventBridge Scheduler replaces the words in angle brackets. The scheduled time, unlike the
    execution id, is the same in every attempt.
    """
    event = job.event(
        _MARK, "<aws.scheduler.scheduled-time>", "<aws.scheduler.schedule-arn>", fanout
    )
    return _with_bucket(event)


def _with_bucket(event: Mapping[str, Any]) -> dict[str, Any]:
    # Join, not Sub: a prefix may hold `${…}`, which Sub would take for a reference.
    before, after = json.dumps(event).split(json.dumps(_MARK)[1:-1])
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
