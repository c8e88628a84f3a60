"""An AWS account in memory, for commands as they are: every service that a deploy talks to."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from fnmodel.testing.aliases import Respond
from fnmodel.testing.answering import Answer, RefusedError, client_answered_by
from fnmodel.testing.buckets import InMemoryBuckets
from fnmodel.testing.metrics import InMemoryMetrics
from fnmodel.testing.repositories import ACCOUNT, InMemoryRepositories
from fnmodel.testing.resources import Resources
from fnmodel.testing.stacks import InMemoryStacks
from fnmodel.testing.tables import InMemoryTables

Interpose = Callable[[str, str, Mapping[str, Any], Callable[[], Mapping[str, Any]]], Any]
"""Takes a service, an operation, its parameters and what answers it; returns an answer."""


class InMemoryAccount:
    """An account; `client(service)` takes the place of `Cloud.client`.

    `interpose` stands between every call and its answer: it may count, refuse, raise, answer twice,
    or wait. `respond(version, event)` answers invocations.
    """

    def __init__(self, respond: Respond) -> None:
        self.interpose: Interpose | None = None
        self._clients: dict[str, Any] = {}
        tables, buckets = InMemoryTables(), InMemoryBuckets()
        self.resources = Resources(tables, buckets, respond)
        self.stacks = InMemoryStacks(self.resources)
        self.repositories = InMemoryRepositories()
        self.metrics: dict[str, InMemoryMetrics] = {}

    def client(self, service: str, *, wait: float = 0.0) -> Any:  # noqa: ARG002
        """Return a boto3 client of a service, the same each time."""
        if service not in self._clients:
            self._clients[service] = client_answered_by(
                service, lambda operation, asked: self.call(service, operation, asked)
            )
        return self._clients[service]

    def call(
        self, service: str, operation: str, asked: Mapping[str, Any], answer: Answer | None = None
    ) -> Mapping[str, Any]:
        """Answer a call; `answer` is what answers it, if none of these services does."""

        def done() -> Mapping[str, Any]:
            found = (answer or self._answer_of(service))(operation, asked)
            return copy.deepcopy(found) if service == "cloudformation" else found

        if self.interpose is None:
            return done()
        said: Mapping[str, Any] = self.interpose(service, operation, asked, done)
        return said

    def metrics_of(self, function: str) -> InMemoryMetrics:
        """Return what CloudWatch knows of a function."""
        return self.metrics.setdefault(function, InMemoryMetrics(function))

    def save(self) -> Any:
        """Return what the account holds, for `load`."""
        return copy.deepcopy(self._held())

    def load(self, saved: Any) -> None:
        """Hold what was saved."""
        held = copy.deepcopy(saved)
        self.resources, self.stacks, self.repositories, self.metrics = held

    def _held(self) -> tuple[Any, ...]:
        return self.resources, self.stacks, self.repositories, self.metrics

    def _answer_of(self, service: str) -> Answer:
        match service:
            case "cloudformation":
                return self.stacks.answer
            case "dynamodb":
                return self.resources.tables.answer
            case "s3":
                return self.resources.buckets.answer
            case "ecr":
                return self.repositories.answer
            case "lambda":
                return self._lambda
            case "cloudwatch":
                return self._cloudwatch
            case "events":
                return self._events
            case "sts":
                return lambda _operation, _asked: {"Account": ACCOUNT}
            case _:
                raise NotImplementedError(f"InMemoryAccount does not know {service}")

    def _lambda(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        name = asked["FunctionName"]
        if name not in self.resources.functions:
            raise RefusedError("ResourceNotFoundException", f"Function not found: {name}", 404)
        return self.resources.functions[name].answer(operation, asked)

    def _cloudwatch(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if operation == "DescribeAlarms":
            name = asked["AlarmNames"][0].rpartition("-")[0]
        else:
            dimensions = asked["MetricDataQueries"][0]["MetricStat"]["Metric"]["Dimensions"]
            name = next(d["Value"] for d in dimensions if d["Name"].lower().startswith("function"))
        return self.metrics_of(name).answer(operation, asked)

    def _events(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        name = asked["Name"]
        if name not in self.resources.rules:
            raise RefusedError("ResourceNotFoundException", f"Rule {name} does not exist")
        match operation:
            case "EnableRule":
                self.resources.rules[name] = "ENABLED"
            case "DisableRule":
                self.resources.rules[name] = "DISABLED"
            case _:
                raise NotImplementedError(f"InMemoryAccount does not know {operation}")
        return {}
