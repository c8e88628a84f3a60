"""Lambda functions with what belongs to them, IAM roles, and schedules, as they stand."""

from collections.abc import Mapping
from typing import Any

from fnmodel.provision.live.found import Client, Found, document, pick, tags


def function(client: Client, name: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read `$LATEST`: what the next version is made of."""
    aws = client("lambda")
    answer = aws.get_function(FunctionName=name)
    settings = answer["Configuration"]
    properties = pick(
        settings, "MemorySize", "Timeout", "Role", "Architectures", "DeadLetterConfig",
        "Description", "PackageType", "TracingConfig", "EphemeralStorage",
    )  # fmt: skip
    network = settings.get("VpcConfig") or {}
    image = (settings.get("ImageConfigResponse") or {}).get("ImageConfig")
    concurrency = answer.get("Concurrency") or {}
    return Found(
        properties
        | {
            "Code": {"ImageUri": answer["Code"].get("ImageUri")},
            "Environment": {"Variables": (settings.get("Environment") or {}).get("Variables", {})},
            "SnapStart": pick(settings.get("SnapStart") or {}, "ApplyOn"),
            "LoggingConfig": pick(settings.get("LoggingConfig") or {}, "LogGroup"),
            "VpcConfig": pick(network, "SubnetIds", "SecurityGroupIds"),
            "ImageConfig": image,
            "KmsKeyArn": settings.get("KMSKeyArn"),
            "ReservedConcurrentExecutions": concurrency.get("ReservedConcurrentExecutions"),
        },
        beside=_urls(aws, name) | _sources(aws, name) | _statements(aws, name, None),
        tags=tags(answer.get("Tags")),
        defaults={
            **_FUNCTION,
            "LoggingConfig": {"LogGroup": f"/aws/lambda/{name}"},
        },
    )


# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-lambda-function.html
_FUNCTION: Mapping[str, Any] = {
    "MemorySize": 128,
    "Timeout": 3,
    "Architectures": ["x86_64"],
    "PackageType": "Zip",
    "TracingConfig": {"Mode": "PassThrough"},
    "EphemeralStorage": {"Size": 512},
    "SnapStart": {"ApplyOn": "None"},
}


def alias(client: Client, arn: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read what stands on an alias; where it sends requests is not the stack's to say."""
    aws = client("lambda")
    name, qualifier = arn.rsplit(":", 1)
    aws.get_alias(FunctionName=name, Name=qualifier)
    return Found({}, beside=_statements(aws, name, qualifier))


def permission(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read one statement of the policy of a function or an alias."""
    aws = client("lambda")
    statement = _policy(aws, *_target(asked["FunctionName"])).get(identity.rsplit("|", 1)[-1])
    if statement is None:
        return None
    return Found(_granted(statement))


def invocations(client: Client, _identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read how often asynchronous invocations are tried, and where failed ones go."""
    answer = client("lambda").get_function_event_invoke_config(
        FunctionName=asked["FunctionName"], Qualifier=asked["Qualifier"]
    )
    return Found(
        pick(answer, "MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
    )


def role(client: Client, name: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read who may take a role, and what it may do."""
    aws = client("iam")
    answer = aws.get_role(RoleName=name)["Role"]
    inline = [
        {
            "PolicyName": policy,
            "PolicyDocument": document(
                aws.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            ),
        }
        for page in aws.get_paginator("list_role_policies").paginate(RoleName=name)
        for policy in page["PolicyNames"]
    ]
    attached = [
        policy["PolicyArn"]
        for page in aws.get_paginator("list_attached_role_policies").paginate(RoleName=name)
        for policy in page["AttachedPolicies"]
    ]
    boundary = answer.get("PermissionsBoundary") or {}
    return Found(
        {
            "Description": answer.get("Description") or None,
            "AssumeRolePolicyDocument": document(answer["AssumeRolePolicyDocument"]),
            "Policies": inline,
            "ManagedPolicyArns": attached,
            "PermissionsBoundary": boundary.get("PermissionsBoundaryArn"),
        },
        tags=tags(answer.get("Tags")),
    )


def schedule(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read a schedule."""
    answer = client("scheduler").get_schedule(
        Name=identity.rsplit("|", 1)[-1], GroupName=asked.get("GroupName", "default")
    )
    found = pick(
        answer, "ScheduleExpression", "Description", "StartDate", "EndDate", "KmsKeyArn",
        "ScheduleExpressionTimezone", "State", "FlexibleTimeWindow", "Target",
    )  # fmt: skip
    return Found(found, defaults={"ScheduleExpressionTimezone": "UTC", "State": "ENABLED"})


def schedule_group(client: Client, name: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read which schedules there are in a group."""
    aws = client("scheduler")
    group = aws.get_schedule_group(Name=name)
    pages = aws.get_paginator("list_schedules").paginate(GroupName=name)
    return Found(
        {},
        beside={
            ("AWS::Scheduler::Schedule", one["Name"]): f"schedule {one['Name']}"
            for page in pages
            for one in page["Schedules"]
        },
        tags=tags(aws.list_tags_for_resource(ResourceArn=group["Arn"])["Tags"]),
    )


def _target(function: str) -> tuple[str, str | None]:
    """Return the name of a function, and the alias, from either one's name or ARN."""
    parts = function.split(":")
    if len(parts) == 8 or len(parts) == 2:
        return ":".join(parts[:-1]), parts[-1]
    return function, None


def _policy(aws: Any, name: str, qualifier: str | None) -> dict[str, Mapping[str, Any]]:
    where = {"Qualifier": qualifier} if qualifier else {}
    try:
        answer = aws.get_policy(FunctionName=name, **where)
    except aws.exceptions.ResourceNotFoundException:
        return {}
    return {one["Sid"]: one for one in document(answer["Policy"])["Statement"]}


def _granted(statement: Mapping[str, Any]) -> dict[str, Any]:
    principal = statement["Principal"]
    conditions = {
        key.lower(): value
        for test in (statement.get("Condition") or {}).values()
        for key, value in test.items()
    }
    if isinstance(principal, Mapping):
        principal = principal.get("Service", principal.get("AWS"))
    return {
        "Action": statement["Action"],
        "Principal": principal,
        "SourceAccount": conditions.get("aws:sourceaccount"),
        "SourceArn": conditions.get("aws:sourcearn"),
        "FunctionUrlAuthType": conditions.get("lambda:functionurlauthtype"),
    }


def _statements(aws: Any, name: str, qualifier: str | None) -> dict[tuple[str, str], str]:
    return {
        ("AWS::Lambda::Permission", sid): _words(_granted(statement))
        for sid, statement in _policy(aws, name, qualifier).items()
    }


def _words(granted: Mapping[str, Any]) -> str:
    source = granted["SourceArn"] or granted["SourceAccount"]
    return f"{granted['Principal']} may {granted['Action']}" + (f" from {source}" if source else "")


def _urls(aws: Any, name: str) -> dict[tuple[str, str], str]:
    pages = aws.get_paginator("list_function_url_configs").paginate(FunctionName=name)
    return {
        ("AWS::Lambda::Url", one["FunctionArn"]): f"a function URL, AuthType {one['AuthType']}"
        for page in pages
        for one in page["FunctionUrlConfigs"]
    }


def _sources(aws: Any, name: str) -> dict[tuple[str, str], str]:
    pages = aws.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
    return {
        ("AWS::Lambda::EventSourceMapping", one["UUID"]): f"events of {one.get('EventSourceArn')}"
        for page in pages
        for one in page["EventSourceMappings"]
    }
