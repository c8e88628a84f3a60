"""A template and its parameters in, the properties that CloudFormation gives each resource out.

What only CloudFormation knows, such as an address that a service makes up, stays in the text as
`${Resource.Attribute}`. Two templates are compared with such marks in them; against what stands in
the cloud, a mark fits anything.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MARK = re.compile(r"\$\{[A-Za-z0-9:]+(\.[A-Za-z0-9.]+)?\}")
"""What stays of a value that is not known."""
_NO_VALUE = object()
# What `Fn::GetAtt …Arn` gives, by the physical id.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
_ARNS = {
    "AWS::CloudWatch::Alarm": "arn:{partition}:cloudwatch:{region}:{account}:alarm:{id}",
    "AWS::DynamoDB::Table": "arn:{partition}:dynamodb:{region}:{account}:table/{id}",
    "AWS::Events::Rule": "arn:{partition}:events:{region}:{account}:rule/{id}",
    "AWS::IAM::Role": "arn:{partition}:iam::{account}:role{path}{id}",
    "AWS::KMS::Key": "arn:{partition}:kms:{region}:{account}:key/{id}",
    "AWS::KinesisFirehose::DeliveryStream": (
        "arn:{partition}:firehose:{region}:{account}:deliverystream/{id}"
    ),
    "AWS::Lambda::Function": "arn:{partition}:lambda:{region}:{account}:function:{id}",
    "AWS::Logs::LogGroup": "arn:{partition}:logs:{region}:{account}:log-group:{id}:*",
    "AWS::S3::Bucket": "arn:{partition}:s3:::{id}",
    "AWS::SQS::Queue": "arn:{partition}:sqs:{region}:{account}:{id}",
    "AWS::Scheduler::ScheduleGroup": (
        "arn:{partition}:scheduler:{region}:{account}:schedule-group/{id}"
    ),
}


@dataclass(frozen=True)
class Place:
    """Where a stack is: what its pseudo parameters give."""

    partition: str = "aws"
    region: str = "${AWS::Region}"
    account: str = "${AWS::AccountId}"

    @classmethod
    def of(cls, stack_id: str) -> "Place":
        """Read it from a stack's ARN."""
        _, partition, _, region, account, _ = stack_id.split(":", 5)
        return cls(partition, region, account)


@dataclass(frozen=True)
class Resource:
    """One resource as it is asked for; a deletion policy is CloudFormation's word, or empty."""

    type: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    deletion: str = ""
    replacement: str = ""


def resolve(
    template: Mapping[str, Any],
    parameters: Mapping[str, str],
    *,
    place: Place | None = None,
    physical: Mapping[str, str] | None = None,
) -> dict[str, Resource]:
    """Return the resources that a template asks for, by their logical ids, in its order.

    `physical` are the physical ids of those that stand, by logical id. A parameter that is never
    shown (`NoEcho`) stays a mark.
    """
    solver = _Solver(template, parameters, place or Place(), physical or {})
    return {
        name: Resource(
            data["Type"],
            solver.value(data.get("Properties", {})),
            data.get("DeletionPolicy", ""),
            data.get("UpdateReplacePolicy", ""),
        )
        for name, data in template["Resources"].items()
        if "Condition" not in data or solver.holds(data["Condition"])
    }


class _Solver:
    def __init__(
        self,
        template: Mapping[str, Any],
        parameters: Mapping[str, str],
        place: Place,
        physical: Mapping[str, str],
    ) -> None:
        self._resources = template["Resources"]
        self._conditions = template.get("Conditions", {})
        self._mappings = template.get("Mappings", {})
        self._place = place
        self._physical = physical
        suffix = "amazonaws.com.cn" if place.partition == "aws-cn" else "amazonaws.com"
        self._names = {
            "AWS::Partition": place.partition,
            "AWS::Region": place.region,
            "AWS::AccountId": place.account,
            "AWS::URLSuffix": suffix,
        }
        for name, data in template.get("Parameters", {}).items():
            given = parameters.get(name, data.get("Default", ""))
            self._names[name] = _mark(name) if data.get("NoEcho") else given
        self._functions: Mapping[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": lambda given: self._attribute(*_pair(given)),
            "Fn::Sub": self._substituted,
            "Fn::Join": lambda given: given[0].join(str(self.value(part)) for part in given[1]),
            "Fn::If": lambda given: self.value(given[1 if self.holds(given[0]) else 2]),
            "Fn::Select": lambda given: self.value(given[1])[int(given[0])],
            "Fn::Split": lambda given: str(self.value(given[1])).split(given[0]),
            "Fn::FindInMap": self._found,
        }

    def value(self, given: Any) -> Any:
        if isinstance(given, Mapping):
            if len(given) == 1:
                [(name, argument)] = given.items()
                if name in self._functions:
                    return self._functions[name](argument)
            solved = {key: self.value(one) for key, one in given.items()}
            return {key: one for key, one in solved.items() if one is not _NO_VALUE}
        if isinstance(given, list):
            return [one for one in map(self.value, given) if one is not _NO_VALUE]
        return given

    def holds(self, condition: Any) -> bool:
        """Decide a condition, by its name or as it stands."""
        if isinstance(condition, str):
            return self.holds(self._conditions[condition])
        [(name, given)] = condition.items()
        if name == "Condition":
            return self.holds(given)
        if name == "Fn::Equals":
            return bool(str(self.value(given[0])) == str(self.value(given[1])))
        if name == "Fn::Not":
            return not self.holds(given[0])
        return (any if name == "Fn::Or" else all)(self.holds(one) for one in given)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self._names:
            return self._names[name]
        return self._physical.get(name, _mark(name))

    def _attribute(self, name: str, attribute: str) -> str:
        identity = self._physical.get(name)
        pattern = _ARNS.get(self._resources.get(name, {}).get("Type", ""))
        if identity is None or pattern is None or attribute != "Arn":
            return _mark(f"{name}.{attribute}")
        if identity.startswith("arn:"):
            return identity
        # A queue's physical id is its URL.
        short = identity.rsplit("/", 1)[-1] if identity.startswith("http") else identity
        place = self._place
        path = self.value(self._resources[name].get("Properties", {}).get("Path", "/"))  # of a role
        return pattern.format(
            partition=place.partition, region=place.region, account=place.account, id=short,
            path=path,
        )  # fmt: skip

    def _substituted(self, given: Any) -> str:
        text, own = (given, {}) if isinstance(given, str) else given

        def put(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return _mark(name[1:])
            if name in own:
                return str(self.value(own[name]))
            return str(self._attribute(*_pair(name)) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", put, text)

    def _found(self, given: Any) -> Any:
        first, *rest = (self.value(one) for one in given)
        found = self._mappings[first]
        for key in rest:
            found = found[key]
        return found


def _pair(given: Any) -> tuple[str, str]:
    first, second = given.split(".", 1) if isinstance(given, str) else given
    return first, second


def _mark(name: str) -> str:
    return "${" + name + "}"
