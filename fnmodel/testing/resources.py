"""What the resources of a stack are, in memory; CloudFormation makes, changes and deletes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fnmodel.testing.aliases import InMemoryLambda, Respond
from fnmodel.testing.buckets import InMemoryBuckets
from fnmodel.testing.repositories import ACCOUNT, REGION
from fnmodel.testing.tables import InMemoryTables

Resource = Mapping[str, Any]


class FailedError(Exception):
    """A resource could not be made, changed or deleted; says why."""


@dataclass
class Resources:
    """What stacks own; kinds that no command looks at are held by their names alone."""

    tables: InMemoryTables
    buckets: InMemoryBuckets
    respond: Respond
    functions: dict[str, InMemoryLambda] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    refuse: set[str] = field(default_factory=set)
    _made: int = 0

    def name(self, stack: str, logical: str, resource: Resource) -> str:
        """Return the physical id of a resource that is about to be made."""
        properties = resource.get("Properties", {})
        for key in ("FunctionName", "BucketName", "TableName"):
            if resource["Type"].split("::")[2] + "Name" == key and key in properties:
                return str(properties[key])
        if resource["Type"] in {"AWS::Events::Rule", "AWS::Scheduler::ScheduleGroup"}:
            return str(properties.get("Name") or f"{stack}-{logical}")
        self._made += 1
        return f"{stack}-{logical}-{self._made}".lower()

    def make(self, logical: str, resource: Resource, physical: str) -> None:
        """Make a resource with its properties resolved.

        Raises:
            FailedError: it is to be refused, or there is one of that name.

        """
        self._check(logical)
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::Lambda::Function" if logical == "Function":
                if physical in self.functions:
                    raise FailedError(f"{physical} already exists")
                self.functions[physical] = InMemoryLambda(
                    physical, properties["Code"]["ImageUri"], respond=self.respond
                )
            case "AWS::S3::Bucket":
                self.buckets.buckets[physical] = {}
            case "AWS::DynamoDB::Table":
                self.tables.tables[physical] = {}
            case "AWS::Events::Rule":
                self.rules[physical] = properties.get("State", "ENABLED")
            case "AWS::Scheduler::Schedule":
                self.targets[physical] = properties["Target"]["Arn"]
            case _:
                self.others.add(physical)

    def change(self, logical: str, resource: Resource, physical: str) -> None:
        """Change a resource to its new properties.

        Raises:
            FailedError: it is to be refused.

        """
        self._check(logical)
        if physical in self.functions:
            properties = resource["Properties"]
            self.functions[physical].update(
                properties["Code"]["ImageUri"], memory=int(properties["MemorySize"])
            )
        elif resource["Type"] == "AWS::Scheduler::Schedule":
            self.targets[physical] = resource["Properties"]["Target"]["Arn"]

    def delete(self, logical: str, resource: Resource, physical: str) -> None:
        """Delete a resource, unless its template keeps it.

        Raises:
            FailedError: it is to be refused, or it is a bucket with objects.

        """
        self._check(logical)
        if resource.get("DeletionPolicy") == "Retain":
            return
        if self.buckets.buckets.get(physical):
            raise FailedError("The bucket you tried to delete is not empty")
        for held in (
            self.functions, self.buckets.buckets, self.tables.tables, self.rules, self.targets
        ):  # fmt: skip
            held.pop(physical, None)
        self.others.discard(physical)

    def _check(self, logical: str) -> None:
        if logical in self.refuse:
            raise FailedError("refused by the test")


def reference(resource: Resource, physical: str) -> str:
    """Return what `Ref` gives of a resource."""
    if resource["Type"] == "AWS::Lambda::Alias":
        function = resource["Properties"]["FunctionName"]
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}:live"
    return physical


def attribute(resource: Resource, physical: str, name: str) -> str:
    """Return what `Fn::GetAtt` gives of a resource."""
    if name == "Version":
        return "1"
    if name == "ApiEndpoint":
        return f"https://{physical}.execute-api.{REGION}.amazonaws.com"
    service = resource["Type"].split("::")[1].lower()
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{physical}"
