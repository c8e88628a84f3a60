"""What the resources of a stack have in common, given to them by their type, whoever declared them.

Encryption by one key, retention of logs, bounds and path of roles: a resource that is added to the
template has them without being named here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from fnmodel.config import AlarmsConfig, DomainConfig, StackConfig
from fnmodel.config.stack import LogDays

Template = dict[str, Any]
Properties = dict[str, Any]

DOMAIN = "Domain", "DomainMapping", "DomainRecord"
_KEY = "Key"
_OWN_KEY = {"Fn::GetAtt": [_KEY, "Arn"]}
# What a role may do with the key, by the service that takes it. Those of logs take none: what they
# send is encrypted by its receiver.
_USERS = (
    "lambda.amazonaws.com", "scheduler.amazonaws.com", "firehose.amazonaws.com",
    "states.amazonaws.com", "codebuild.amazonaws.com",
)  # fmt: skip
_USES = ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
_USE_KEY = "UseStackKey"


@dataclass(frozen=True)
class Around:
    """A stage's settings of everything around its function.

    `account_concurrency` is the account's quota of requests at once, None where it is not known;
    `provisioned` is how many environments of each version are kept started, as the stack says it.
    What the embedded cloud cannot do is left out with `local`; `left_out` says what.
    """

    alarms: AlarmsConfig = field(default_factory=AlarmsConfig)
    stack: StackConfig = field(default_factory=StackConfig)
    domain: DomainConfig | None = None
    account_concurrency: int | None = None
    provisioned: int = 0
    local: bool = False

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of these settings a stage in the embedded cloud does not have."""
        if not self.local:
            return ()
        asked = {
            "domain": self.domain is not None,
            "stack.kms_key": self.stack.kms_key is not None,
            "alarms.email": bool(self.alarms.email),
        }
        return tuple(name for name, given in asked.items() if given)


def encrypt(template: Template, stack: StackConfig, *, kept: bool) -> None:
    """Encrypt what the stack keeps by its key, if it has one; with `kept` its own key stays, too.

    (Locked copies of the ledger outlive the stage; without their key nobody could read them.)
    """
    resources = template["Resources"]
    if stack.kms_key != "own":
        del resources[_KEY]
    if stack.kms_key is None:
        return
    key: Any = _OWN_KEY if stack.kms_key == "own" else stack.kms_key
    if kept and stack.kms_key == "own":
        resources[_KEY]["DeletionPolicy"] = "Retain"
    for resource in resources.values():
        change = _ENCRYPTED.get(resource["Type"])
        if change is not None:
            change(resource["Properties"], key)


def _logs(properties: Properties, key: Any) -> None:
    properties["KmsKeyId"] = key


def _bucket(properties: Properties, key: Any) -> None:
    by_key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    # One data key for many objects: else each object is a call that KMS bills.
    rule = {"ServerSideEncryptionByDefault": by_key, "BucketKeyEnabled": True}
    properties["BucketEncryption"] = {"ServerSideEncryptionConfiguration": [rule]}


def _table(properties: Properties, key: Any) -> None:
    properties["SSESpecification"] = {
        "SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": key
    }  # fmt: skip


def _topic(properties: Properties, key: Any) -> None:
    properties["KmsMasterKeyId"] = key


def _queue(properties: Properties, key: Any) -> None:
    properties.pop("SqsManagedSseEnabled", None)
    properties["KmsMasterKeyId"] = key


def _function(properties: Properties, key: Any) -> None:
    properties["KmsKeyArn"] = key


def _role(properties: Properties, key: Any) -> None:
    if not set(_services(properties)) & set(_USERS):
        return
    right = {"Sid": _USE_KEY, "Effect": "Allow", "Action": _USES, "Resource": key}
    properties["Policies"][0]["PolicyDocument"]["Statement"].append(right)


_ENCRYPTED: Mapping[str, Callable[[Properties, Any], None]] = {
    "AWS::Logs::LogGroup": _logs,
    "AWS::S3::Bucket": _bucket,
    "AWS::DynamoDB::Table": _table,
    "AWS::SNS::Topic": _topic,
    "AWS::SQS::Queue": _queue,
    "AWS::Lambda::Function": _function,
    "AWS::IAM::Role": _role,
}


def _services(role: Properties) -> Iterator[str]:
    """Yield the services that may take a role."""
    for statement in role["AssumeRolePolicyDocument"]["Statement"]:
        named = statement["Principal"].get("Service", ())
        yield from [named] if isinstance(named, str) else named


def bound(template: Template, stack: StackConfig) -> None:
    """Give every role its path and its boundary, where there are some."""
    for resource in template["Resources"].values():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        if stack.role_path != "/":
            resource["Properties"]["Path"] = stack.role_path
        if stack.permissions_boundary:
            resource["Properties"]["PermissionsBoundary"] = stack.permissions_boundary


def retain(template: Template, stack: StackConfig, rows: int | None) -> None:
    """Have log lines end with their retention; those with captured rows with `rows` days."""
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Logs::LogGroup":
            continue
        days: int = stack.log_retention
        if rows is not None and name == "FunctionLogs":
            days = max(one for one in get_args(LogDays) if one <= min(days, rows))
        resource["Properties"]["RetentionInDays"] = days


def name(template: Template, domain: DomainConfig | None) -> None:
    """Give the endpoint the name that is asked for, and leave out what is not."""
    resources, outputs = template["Resources"], template["Outputs"]
    if domain is None:
        for one in DOMAIN:
            resources.pop(one, None)
        outputs.pop("DomainTarget", None)
        return
    if DOMAIN[0] not in resources:
        return  # the door is still closed
    properties = resources[DOMAIN[0]]["Properties"]
    properties["DomainName"] = domain.name
    properties["DomainNameConfigurations"][0]["CertificateArn"] = domain.certificate
    if domain.truststore:
        version = {"TruststoreVersion": domain.truststore_version}
        properties["MutualTlsAuthentication"] = {
            "TruststoreUri": domain.truststore, **(version if domain.truststore_version else {})
        }  # fmt: skip
    if domain.hosted_zone:
        resources[DOMAIN[2]]["Properties"]["HostedZoneId"] = domain.hosted_zone
    else:
        del resources[DOMAIN[2]]
    if not domain.default_endpoint:
        resources["Api"]["Properties"]["DisableExecuteApiEndpoint"] = True
    outputs["Url"]["Value"] = f"https://{domain.name}"
