"""Lambda's versions and aliases in memory, stricter than any emulator."""

import base64
import copy
import io
import json
import math
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from fnmodel.testing.answering import RefusedError, client_answered_by
from fnmodel.testing.repositories import ACCOUNT, REGION

Respond = Callable[[str, Any], Any]
"""Takes a version and an event; returns what the function answers, or raises: its crash."""

_LATEST = "$LATEST"


class InMemoryLambda:
    """One image function with versions and aliases; `client` is a boto3 client that talks to it.

    As in AWS: an update is in progress before it is done, published versions never change and their
    numbers never come back, an unchanged function is not published twice, an alias is moved only
    with its RevisionId when one is given, routes to at most two published versions with weights of
    0 to 1, and keeps the versions it uses from being deleted. Every mutating call is noted in
    `mutations`.

    `unreserved` is what may be kept started of all versions together.
    `respond(version, event)` answers invocations; an exception it raises is the function's crash.
    With `takes(version, event)`, milliseconds, the tail of the log ends with Lambda's REPORT; the
    first invocation of a version is a cold start.
    """

    def __init__(
        self,
        function: str,
        image_uri: str,
        *,
        alias: str = "live",
        respond: Respond | None = None,
        takes: Callable[[str, Any], float] | None = None,
        pending_reads: int = 1,
    ) -> None:
        self.function = function
        self.takes = takes
        self._warm: set[str] = set()
        self.respond = respond
        self.mutations: list[str] = []
        self.unreserved: int | None = None
        self._pending_reads = pending_reads
        self._in_progress = 0
        self._next = 1
        self._latest: dict[str, Any] = {
            "image": image_uri, "memory": 1769, "snapstart": "None", "revision": _revision(),
        }  # fmt: skip
        self._kept: dict[str, dict[str, Any]] = {}
        self._state: dict[str, str] = {}
        self._next_state: dict[str, str] = {}
        self._versions: dict[str, dict[str, Any]] = {}
        number = self._publish()
        self._aliases: dict[str, dict[str, Any]] = {
            alias: {"version": number, "weights": {}, "revision": _revision()}
        }

    def update(
        self, image_uri: str, *, memory: int | None = None, snapstart: str | None = None
    ) -> None:
        """Change the function's image and settings, as an update of its stack does."""
        self._latest = {
            "image": image_uri,
            "memory": memory or self._latest["memory"],
            "snapstart": snapstart or self._latest["snapstart"],
            "revision": _revision(),
        }
        self._state, self._next_state = self._next_state, {}
        self._in_progress = self._pending_reads

    def update_fails(self, code: str, reason: str) -> None:
        """Let the next update of the function be failed."""
        self._next_state = {
            "LastUpdateStatus": "Failed",
            "LastUpdateStatusReasonCode": code,
            "LastUpdateStatusReason": reason,
        }

    def fail(self, code: str, reason: str, version: str = _LATEST) -> None:
        """Let the function's update, or a version's state, be failed from now on."""
        if version == _LATEST:
            self._state = {
                "LastUpdateStatus": "Failed",
                "LastUpdateStatusReasonCode": code,
                "LastUpdateStatusReason": reason,
            }
        else:
            self._versions[version]["state"] = {
                "State": "Failed",
                "StateReasonCode": code,
                "StateReason": reason,
            }

    def fall_asleep(self, version: str) -> None:
        """Let a version be as one that nobody invoked for weeks: the next invocation is refused."""
        self._versions[version]["state"] = {"State": "Inactive", "StateReasonCode": "Idle"}

    @cached_property
    def client(self) -> Any:
        """A boto3 client that talks to it."""
        return client_answered_by("lambda", self.answer)

    def answer(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer an operation of the API."""
        if asked.get("FunctionName", self.function) != self.function:
            raise RefusedError("ResourceNotFoundException", "Function not found", 404)
        match operation:
            case "GetFunction":
                return self._get_function(asked.get("Qualifier", _LATEST))
            case "ListVersionsByFunction":
                numbers = [_LATEST, *self._versions]
                return {"Versions": [self._configuration(number) for number in numbers]}
            case "PublishVersion":
                return self._publish_version(asked)
            case "DeleteFunction":
                return self._delete_version(asked)
            case "GetAlias":
                return self._alias(asked["Name"])
            case "ListAliases":
                return {"Aliases": [self._alias(name) for name in self._aliases]}
            case "UpdateAlias":
                return self._update_alias(asked)
            case "Invoke":
                return self._invoke(asked)
            case _:
                return self._answer_started(operation, asked)

    def _answer_started(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        match operation:
            case "PutProvisionedConcurrencyConfig":
                return self._keep(asked)
            case "DeleteProvisionedConcurrencyConfig":
                self.mutations.append("DeleteProvisionedConcurrencyConfig")
                self._kept.pop(asked["Qualifier"], None)
                return {}
            case "ListProvisionedConcurrencyConfigs":
                return {"ProvisionedConcurrencyConfigs": [*map(self._started, self._kept)]}
            case _:
                message = f"InMemoryLambda does not know {operation}"
                raise NotImplementedError(message)

    def _find(self, number: str) -> dict[str, Any]:
        if number == _LATEST:
            return self._latest
        if number not in self._versions:
            raise RefusedError("ResourceNotFoundException", f"no version {number}", 404)
        return self._versions[number]

    def _get_function(self, number: str) -> dict[str, Any]:
        configuration = self._configuration(number)
        image = self._find(number)["image"]
        if number == _LATEST and self._in_progress:
            self._in_progress -= 1
        code = {"RepositoryType": "ECR", "ImageUri": image, "ResolvedImageUri": image}
        return {"Configuration": configuration, "Code": code}

    def _configuration(self, number: str) -> dict[str, Any]:
        build = self._find(number)
        configuration = {
            "FunctionName": self.function,
            "Version": number,
            "PackageType": "Image",
            "MemorySize": build["memory"],
            "SnapStart": {
                "ApplyOn": build["snapstart"],
                "OptimizationStatus": "Off" if number == _LATEST else "On",
            },
            "Role": f"arn:aws:iam::{ACCOUNT}:role/{self.function}",
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "RevisionId": build["revision"],
        }
        if number == _LATEST:
            if self._in_progress:
                configuration["LastUpdateStatus"] = "InProgress"
            configuration.update(self._state)
        state = build.get("state", {})
        if state.get("State") == "Pending":
            build["state"] = {} if state["reads"] == "0" else {**state, "reads": "0"}
        return {**configuration, **{k: v for k, v in state.items() if k != "reads"}}

    def _publish(self) -> str:
        newest = self._versions.get(str(self._next - 1))
        compared = ("image", "memory", "snapstart")
        if newest and all(newest[key] == self._latest[key] for key in compared):
            return str(self._next - 1)
        number, self._next = str(self._next), self._next + 1
        self._versions[number] = {**copy.deepcopy(self._latest), "revision": _revision()}
        return number

    def _publish_version(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if self._in_progress:
            raise RefusedError("ResourceConflictException", "an update is in progress", 409)
        _check_revision(asked, self._latest)
        self.mutations.append("PublishVersion")
        return self._configuration(self._publish())

    def _delete_version(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        number = asked.get("Qualifier", _LATEST)
        self._find(number)
        used = any(number in {a["version"], *a["weights"]} for a in self._aliases.values())
        if number == _LATEST or used:
            raise RefusedError("ResourceConflictException", f"version {number} is in use", 409)
        self.mutations.append("DeleteFunction")
        del self._versions[number]
        return {}

    def _alias(self, name: str) -> dict[str, Any]:
        if name not in self._aliases:
            raise RefusedError("ResourceNotFoundException", f"Cannot find alias {name}", 404)
        alias = self._aliases[name]
        answer = {
            "Name": name,
            "FunctionVersion": alias["version"],
            "RevisionId": alias["revision"],
        }
        if alias["weights"]:
            answer["RoutingConfig"] = {"AdditionalVersionWeights": dict(alias["weights"])}
        return answer

    def _update_alias(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._alias(asked["Name"])
        alias = self._aliases[asked["Name"]]
        _check_revision(asked, alias)
        version = asked.get("FunctionVersion", alias["version"])
        weights = alias["weights"]
        if "RoutingConfig" in asked:
            weights = dict(asked["RoutingConfig"].get("AdditionalVersionWeights", {}))
        for number in (version, *weights):
            self._find(number)
        if weights and _LATEST in {version, *weights}:
            raise _invalid("$LATEST is not supported with routing")
        if len(weights) > 1 or version in weights:
            raise _invalid("an alias routes to at most two different versions")
        if not all(0 <= weight <= 1 for weight in weights.values()):
            raise _invalid("a weight lies between 0.0 and 1.0")
        self.mutations.append("UpdateAlias")
        alias.update(version=version, weights=weights, revision=_revision())
        return self._alias(asked["Name"])

    def _keep(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Keep environments started; they are in progress for as many looks as updates are."""
        number, count = asked["Qualifier"], asked["ProvisionedConcurrentExecutions"]
        alias = self._aliases.get(number)
        if alias is not None and alias["weights"]:
            message = "Alias with weights can not be used with Provisioned Concurrency"
            raise _invalid(message)
        if alias is None:
            if self._find(number)["snapstart"] != "None" or number == _LATEST:
                raise _invalid("provisioned concurrency needs a version without SnapStart")
            others = sum(one["count"] for key, one in self._kept.items() if key != number)
            if self.unreserved is not None and count + others > self.unreserved:
                raise _invalid("there is not that much unreserved concurrency")
        self.mutations.append("PutProvisionedConcurrencyConfig")
        self._kept[number] = {"count": count, "pending": self._pending_reads}
        return self._started(number)

    def _started(self, number: str) -> dict[str, Any]:
        kept = self._kept[number]
        pending, kept["pending"] = kept["pending"], max(0, kept["pending"] - 1)
        return {
            "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function}:{number}",
            "RequestedProvisionedConcurrentExecutions": kept["count"],
            "Status": "IN_PROGRESS" if pending else "READY",
        }

    def _invoke(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        number = asked.get("Qualifier", _LATEST)
        state = self._find(number).get("state", {})
        if state.get("State") in {"Inactive", "Pending"}:
            # It wakes while it is looked at.
            self._find(number)["state"] = {"State": "Pending", "reads": "1"}
            raise RefusedError("ResourceConflictException", f"version {number} is Pending", 409)
        assert self.respond is not None, "this function has nothing to answer with"
        event = json.loads(asked["Payload"])
        answer = {"StatusCode": 200, "ExecutedVersion": number}
        if self.takes is not None and asked.get("LogType") == "Tail":
            report = self._report(number, self.takes(number, event))
            answer["LogResult"] = base64.b64encode(report.encode()).decode()
        try:
            payload = self.respond(number, event)
        except Exception as error:
            answer["FunctionError"] = "Unhandled"
            payload = {"errorType": type(error).__name__, "errorMessage": str(error)}
        return {**answer, "Payload": io.BytesIO(json.dumps(payload).encode())}

    def _report(self, number: str, took: float) -> str:
        """Return the last line of an invocation's log."""
        line = (
            f"REPORT RequestId: {uuid.uuid4()}\tDuration: {took:.2f} ms\t"
            f"Billed Duration: {math.ceil(took)} ms\tMemory Size: 1769 MB\tMax Memory Used: 90 MB\t"
        )
        if number not in self._warm:
            self._warm.add(number)
            line += "Init Duration: 900.00 ms\t"
        return line


def _check_revision(asked: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    if asked.get("RevisionId") not in {None, current["revision"]}:
        raise RefusedError(
            "PreconditionFailedException", "the RevisionId does not match the newest one", 412
        )


def _invalid(message: str) -> RefusedError:
    return RefusedError("InvalidParameterValueException", message)


def _revision() -> str:
    return str(uuid.uuid4())
