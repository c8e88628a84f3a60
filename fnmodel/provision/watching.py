"""The watch of a stage in its template: what `watch:` asks for, and nothing else. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from fnmodel.config import CaptureConfig, RetrainConfig, WatchConfig, seconds
from fnmodel.errors import UsageError
from fnmodel.provision.rights import forbid, statement
from fnmodel.provision.variables import variable

_WATCH = (
    "WatchClock", "WatchClockPermission", "WatchTopic", "DriftAlarm", "QualityAlarm",
    "WatchFailsAlarm", "WatchLogs", "WatchFailures", "WatchRole", "WatchFunction",
    "WatchTopicPolicy", "WatchFailuresPolicy", "FailedWatchAlarm",
)  # fmt: skip
_RETRAIN = (
    "RetrainRule", "RetrainRuleRole", "RetrainLogs", "RetrainRole", "RetrainProject",
)  # fmt: skip
_OUTPUTS = ("WatchFunction", "AlertTopic")


@dataclass(frozen=True)
class Watching:
    """How a stage is watched.

    `folder` is the project's folder where the stage is in the embedded cloud, None in AWS; there
    `release` is the version of fnmodel that CodeBuild installs.
    """

    watch: WatchConfig
    unkept: tuple[str, ...]
    folder: str | None
    release: str

    @staticmethod
    def of(
        watch: WatchConfig, capture: CaptureConfig, folder: str | None, release: str
    ) -> "Watching | None":
        """Return how a stage is watched, None where it is not."""
        if watch.off or not capture.rate:
            return None
        return Watching(watch, unkept(capture), folder, release)


def unkept(capture: CaptureConfig) -> tuple[str, ...]:
    """Return the fields that captured rows cannot tell of."""
    gone = {name for name, treatment in capture.fields.items() if treatment != "keep"}
    return tuple(sorted(gone | ({capture.subject} if capture.subject else set())))


def fit(template: dict[str, Any], watching: Watching | None) -> None:
    """Leave in the template what this stage's watch needs, filled in.

    Raises:
        UsageError: in AWS, retraining has no source; or there is too much for a variable.

    """
    resources = template["Resources"]
    email = resources.pop("WatchEmail")
    retrain = watching.watch.retrain if watching else None
    gone = [*(() if watching else _WATCH), *(() if retrain else _RETRAIN)]
    for name in gone:
        del resources[name]
    if watching is None:
        for name in _OUTPUTS:
            del template["Outputs"][name]
        return
    resources["WatchClock"]["Properties"]["ScheduleExpression"] = (
        f"cron({watching.watch.grace} * * * ? *)"
    )
    for number, address in enumerate(watching.watch.email):
        properties = {**email["Properties"], "Endpoint": address}
        resources[f"WatchEmail{number}"] = {**email, "Properties": properties}
    variables = resources["WatchFunction"]["Properties"]["Environment"]["Variables"]
    variables["FNMODEL_WATCH"] = policy(watching)
    _secret(resources, watching)
    if retrain is None:
        forbid(resources, "WatchRole", "DecideOnRetraining")
        del variables["FNMODEL_LEDGER"]
    else:
        _pipeline(resources, watching, retrain)


def policy(watching: Watching) -> str:
    """Return what the watch's function reads of `watch:`, as JSON."""
    watch = watching.watch
    said: dict[str, Any] = watch.model_dump(
        include={"grace", "false_alarm_rate", "minimum", "close_after"}
    )
    said |= {"remind": seconds(watch.remind), "unkept": watching.unkept}
    if watch.webhook:
        said["webhook"] = {**watch.webhook.model_dump(), "inside": watching.folder is not None}
    if watch.retrain:
        guards = watch.retrain.model_dump(include={"budget", "approve", "on_quality"})
        said["retrain"] = {**guards, "cooldown": seconds(watch.retrain.cooldown)}
    return variable(said, "watch: and capture.fields")


def _secret(resources: dict[str, Any], watching: Watching) -> None:
    hook = watching.watch.webhook
    if hook is None:
        forbid(resources, "WatchRole", "ReadSecret")
        return
    kind, _, name = hook.secret.partition(":")
    right = statement(resources, "WatchRole", "ReadSecret")
    place = "arn:${AWS::Partition}:%s:${AWS::Region}:${AWS::AccountId}:"
    if kind == "ssm":
        right["Resource"] = {"Fn::Sub": place % "ssm" + f"parameter{name}"}
    else:
        right["Action"] = "secretsmanager:GetSecretValue"
        # A secret's ARN ends in a hyphen and six characters of AWS's own.
        right["Resource"] = {"Fn::Sub": place % "secretsmanager" + f"secret:{name}-??????"}


def _pipeline(resources: dict[str, Any], watching: Watching, retrain: RetrainConfig) -> None:
    properties = resources["RetrainProject"]["Properties"]
    properties["TimeoutInMinutes"] = retrain.timeout
    environment = properties["Environment"]
    environment["Image"] = retrain.image
    environment["ComputeType"] = f"BUILD_GENERAL1_{retrain.compute}"
    role = resources["RetrainRole"]["Properties"]
    role["ManagedPolicyArns"] = list(retrain.policies)
    if not retrain.policies:
        del role["ManagedPolicyArns"]
    if watching.folder is not None:
        # The embedded cloud runs the pipeline where the project is; see fnmodel/local/pipeline.py.
        environment["EnvironmentVariables"].append(
            {"Name": "FNMODEL_PROJECT", "Value": watching.folder}
        )
        properties["Source"] = {"Type": "NO_SOURCE", "BuildSpec": _buildspec(watching)}
        forbid(resources, "RetrainRole", "ReadSource")
        return
    if retrain.source is None:
        raise UsageError(
            "watch.retrain.source: CodeBuild has to find the project somewhere",
            hint="name s3://BUCKET/KEY.zip, or the repository's URL",
        )
    kind, location = _source(retrain.source)
    properties["Source"] = {
        "Type": kind, "Location": location, "BuildSpec": _buildspec(watching)
    }  # fmt: skip
    if kind == "GITHUB":
        forbid(resources, "RetrainRole", "ReadSource")
        return
    right = statement(resources, "RetrainRole", "ReadSource")
    if kind == "S3":
        right["Resource"] = {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{location}"}
    else:
        name = location.rpartition("/")[2]
        right["Action"] = "codecommit:GitPull"
        place = "arn:${AWS::Partition}:codecommit:${AWS::Region}:${AWS::AccountId}:"
        right["Resource"] = {"Fn::Sub": place + name}


def _source(given: str) -> tuple[str, str]:
    """Return the type and location of a source, as CodeBuild names them."""
    if given.startswith("s3://"):
        return "S3", given.removeprefix("s3://")
    return ("GITHUB" if "github.com/" in given else "CODECOMMIT"), given


def _buildspec(watching: Watching) -> str:
    """Return the build specification; it is JSON, which is YAML, too."""
    return json.dumps(
        {
            "version": "0.2",
            "phases": {
                "install": {"commands": [f"python3 -m pip install 'fnmodel=={watching.release}'"]},
                "build": {"commands": ["fnmodel run"]},
            },
        }
    )
