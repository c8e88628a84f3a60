"""CloudFormation in memory: change sets, stacks and their events, as strict as its documentation.

Work that was begun goes on while nobody looks, and is done after a few looks.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fnmodel.provision.bodies import IN_REQUEST
from fnmodel.testing.answering import RefusedError
from fnmodel.testing.repositories import ACCOUNT, REGION
from fnmodel.testing.resources import FailedError, Resources, attribute, reference

_PSEUDO = {
    "AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com", "AWS::NoValue": "",
}  # fmt: skip
_LOOKS = 2
_DELETABLE = frozenset(
    "REVIEW_IN_PROGRESS CREATE_IN_PROGRESS ROLLBACK_IN_PROGRESS DELETE_IN_PROGRESS".split()
)


@dataclass
class _Stack:
    name: str
    id: str
    status: str = "REVIEW_IN_PROGRESS"
    body: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    tags: list[Any] = field(default_factory=list)
    physical: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, str]] = field(default_factory=list)
    change_sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    work: dict[str, Any] | None = None
    looks: int = 0
    token: str = ""


class InMemoryStacks:
    """Stacks over resources in memory; `set_status` puts one into any state."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._stacks: dict[str, _Stack] = {}

    def set_status(self, name: str, status: str) -> None:
        """Let a stack be in a state, as after troubles that no test can make."""
        self._find(name).status = status

    def find(self, name: str) -> Mapping[str, str] | None:
        """Return the physical ids of a standing stack's resources, or None."""
        found = [s for s in self._stacks.values() if s.name == name and _there(s)]
        return found[0].physical if found else None

    def answer(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer an operation of the CloudFormation API."""
        known: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "DescribeStacks": self._describe,
            "DescribeStackEvents": self._list_events,
            "GetTemplate": lambda asked: {"TemplateBody": self._find(asked["StackName"]).body},
            "CreateChangeSet": self._create,
            "DescribeChangeSet": lambda asked: self._change_set(asked)[1]["shown"],
            "ListChangeSets": self._list_change_sets,
            "DeleteChangeSet": self._delete_change_set,
            "ExecuteChangeSet": self._execute,
            "DeleteStack": self._delete,
        }
        if operation not in known:
            raise NotImplementedError(f"InMemoryStacks does not know {operation}")
        return known[operation](asked)

    def _describe(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if "StackName" in asked:
            return {"Stacks": [_shown(self._look(asked["StackName"]))]}
        return {"Stacks": [_shown(stack) for stack in self._stacks.values() if _there(stack)]}

    def _list_events(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"StackEvents": self._look(asked["StackName"]).events[::-1]}

    def _list_change_sets(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stack = self._find(asked["StackName"])
        return {"Summaries": [{"ChangeSetId": arn} for arn in stack.change_sets]}

    def _delete_change_set(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        for stack in self._stacks.values():
            stack.change_sets.pop(asked["ChangeSetName"], None)
        return {}

    def _find(self, name: str) -> _Stack:
        for stack in self._stacks.values():
            if name == stack.id or (name == stack.name and _there(stack)):
                return stack
        raise _invalid(f"Stack with id {name} does not exist")

    def _look(self, name: str) -> _Stack:
        stack = self._find(name)
        if stack.work is not None:
            stack.looks -= 1
            if stack.looks <= 0:
                self._finish(stack)
        return stack

    def _create(self, asked: Mapping[str, Any]) -> dict[str, str]:
        name, kind = asked["StackName"], asked.get("ChangeSetType", "UPDATE")
        standing = [s for s in self._stacks.values() if s.name == name and _there(s)]
        stack = standing[0] if standing else None
        if kind == "CREATE" and stack is not None and stack.status != "REVIEW_IN_PROGRESS":
            raise _invalid(f"Stack [{name}] already exists and cannot be created again")
        if kind == "UPDATE" and (stack is None or not stack.status.endswith("_COMPLETE")):
            raise _invalid(f"Stack [{name}] does not exist, or cannot be updated in its state")
        if stack is None:
            arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{uuid.uuid4()}"
            stack = self._stacks[arn] = _Stack(name, arn)
        arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{asked['ChangeSetName']}/"
        for known, found in stack.change_sets.items():
            if known.startswith(arn):
                if found["token"] and found["token"] == asked.get("ClientToken"):
                    return {"Id": known, "StackId": stack.id}  # the same request once more
                raise RefusedError(
                    "AlreadyExistsException",
                    f"ChangeSet {asked['ChangeSetName']} cannot be created due to a mismatch with "
                    "existing attribute ClientToken",
                )
        arn += str(uuid.uuid4())
        given = {p["ParameterKey"]: p["ParameterValue"] for p in asked.get("Parameters", [])}
        body = json.loads(self._template(asked))
        unknown = given.keys() - body.get("Parameters", {}).keys()
        if unknown:
            raise _invalid(f"Parameters: {sorted(unknown)} do not exist in the template")
        parameters = {
            key: given.get(key, str(said.get("Default", "")))
            for key, said in body.get("Parameters", {}).items()
        }
        changes = list(_changes(stack, body, parameters))
        shown: dict[str, Any] = {
            "ChangeSetId": arn, "StackId": stack.id, "StackName": name, "Changes": changes,
            "Status": "CREATE_COMPLETE", "ExecutionStatus": "AVAILABLE",
        }  # fmt: skip
        same = (stack.body.get("Outputs"), stack.tags) == (body.get("Outputs"), asked["Tags"])
        if not changes and same:
            shown["Status"] = "FAILED"
            shown["StatusReason"] = "The submitted information didn't contain changes."
        stack.change_sets[arn] = {
            "shown": shown, "body": body, "parameters": parameters, "tags": asked["Tags"],
            "token": asked.get("ClientToken"),
        }  # fmt: skip
        return {"Id": arn, "StackId": stack.id}

    def _template(self, asked: Mapping[str, Any]) -> str | bytes:
        """Return a template as it was sent, or as it lies in a bucket now."""
        if "TemplateURL" in asked:
            bucket, key = asked["TemplateURL"].split("/", 3)[3].split("/", 1)
            held = self._resources.buckets.buckets.get(bucket, {})
            found = [body for (name, _), body in held.items() if name == key]
            if not found:
                raise _invalid("S3 error: The specified key does not exist.")
            return found[-1]
        body: str = asked["TemplateBody"]
        if len(body.encode()) > IN_REQUEST:
            raise _invalid(f"templateBody has more than {IN_REQUEST} bytes")
        return body

    def _change_set(self, asked: Mapping[str, Any]) -> tuple[_Stack, dict[str, Any]]:
        wanted = asked["ChangeSetName"]
        for stack in self._stacks.values():
            for arn, found in stack.change_sets.items():
                named = arn.split("/")[1] == wanted and stack.name == asked.get("StackName")
                if arn == wanted or named:
                    return stack, found
        raise RefusedError("ChangeSetNotFound", f"ChangeSet [{wanted}] does not exist", 404)

    def _execute(self, asked: Mapping[str, Any]) -> dict[str, str]:
        token = asked.get("ClientRequestToken", "")
        if token and any(stack.token == token for stack in self._stacks.values()):
            return {}  # the same request once more
        stack, found = self._change_set(asked)
        if found["shown"]["Status"] != "CREATE_COMPLETE" or stack.work is not None:
            raise RefusedError("InvalidChangeSetStatus", "the change set cannot be executed")
        kind = "UPDATE" if stack.body else "CREATE"
        self._begin(stack, f"{kind}_IN_PROGRESS", found)
        stack.change_sets.clear()
        stack.token = token
        return {}

    def _delete(self, asked: Mapping[str, Any]) -> dict[str, str]:
        try:
            stack = self._find(asked["StackName"])
        except RefusedError:
            return {}  # gone, or never there
        if stack.status.endswith("_IN_PROGRESS") and stack.status not in _DELETABLE:
            raise _invalid(f"Stack [{stack.name}] cannot be deleted while in {stack.status}")
        if stack.status == "DELETE_IN_PROGRESS":
            return {}
        if stack.status == "REVIEW_IN_PROGRESS":
            stack.status = "DELETE_COMPLETE"
            stack.change_sets.clear()
            return {}
        self._begin(stack, "DELETE_IN_PROGRESS", {})
        return {}

    def _begin(self, stack: _Stack, status: str, work: dict[str, Any]) -> None:
        stack.status, stack.work, stack.looks = status, work, _LOOKS
        self._event(stack, stack.name, stack.id, status)

    def _event(
        self, stack: _Stack, logical: str, physical: str, status: str, reason: str = ""
    ) -> None:
        kind = "AWS::CloudFormation::Stack"
        if physical != stack.id:
            kind = (stack.work or {}).get("body", stack.body)["Resources"][logical]["Type"]
        stack.events.append(
            {"EventId": str(uuid.uuid4()), "LogicalResourceId": logical, "ResourceType": kind,
             "PhysicalResourceId": physical, "ResourceStatus": status,
             "ResourceStatusReason": reason}
        )  # fmt: skip

    def _finish(self, stack: _Stack) -> None:
        verb = stack.status.partition("_")[0]
        assert stack.work is not None
        try:
            if verb == "DELETE":
                self._remove(stack, dict(stack.physical))
            else:
                self._bring(stack, stack.work)
        except FailedError as error:
            done = {
                "CREATE": "ROLLBACK_COMPLETE", "UPDATE": "UPDATE_ROLLBACK_COMPLETE",
                "DELETE": "DELETE_FAILED",
            }[verb]  # fmt: skip
            if verb == "CREATE":
                stack.body = stack.work["body"]
                self._undo(stack)
            reason = str(error)
        else:
            done, reason = f"{verb}_COMPLETE", ""
        stack.work, stack.status = None, done
        if done == "DELETE_COMPLETE":
            stack.change_sets.clear()
        self._event(stack, stack.name, stack.id, done, reason)

    def _bring(self, stack: _Stack, work: Mapping[str, Any]) -> None:
        body, physical = work["body"], dict(stack.physical)
        known = _Known(body, work["parameters"], physical)
        for logical, resource in body["Resources"].items():
            if logical not in physical:
                first = known.resolved({**resource, "Properties": _named(resource)})
                physical[logical] = self._resources.name(stack.name, logical, first)
        before = _Known(stack.body, stack.parameters, stack.physical)
        for logical, resource in body["Resources"].items():
            wanted = known.resolved(resource)
            try:
                if logical not in stack.physical:
                    self._resources.make(logical, wanted, physical[logical])
                    stack.physical[logical] = physical[logical]
                elif wanted != before.resolved(stack.body["Resources"][logical]):
                    self._resources.change(logical, wanted, physical[logical])
            except FailedError as error:
                self._event(stack, logical, physical[logical], "CREATE_FAILED", str(error))
                raise
        gone = stack.physical.keys() - body["Resources"].keys()
        self._remove(stack, {logical: stack.physical[logical] for logical in gone})
        stack.body, stack.parameters, stack.tags = body, work["parameters"], work["tags"]
        stack.outputs = {
            name: known.resolved(output["Value"]) for name, output in body["Outputs"].items()
        }

    def _undo(self, stack: _Stack) -> None:
        refuse, self._resources.refuse = self._resources.refuse, set()
        self._remove(stack, dict(stack.physical))
        self._resources.refuse = refuse

    def _remove(self, stack: _Stack, gone: Mapping[str, str]) -> None:
        failed = None
        for logical, physical in gone.items():
            resource = stack.body["Resources"][logical]
            try:
                self._resources.delete(logical, resource, physical)
            except FailedError as error:
                self._event(stack, logical, physical, "DELETE_FAILED", str(error))
                failed = error
            else:
                del stack.physical[logical]
        if failed is not None:
            raise failed


class _Known:
    """Resolves the functions of a template."""

    def __init__(
        self, body: Mapping[str, Any], parameters: Mapping[str, str], physical: Mapping[str, str]
    ) -> None:
        self._resources = body.get("Resources", {})
        self._parameters = parameters
        self._physical = physical

    def resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, given)] = value.items()
            if name == "Ref":
                return self._ref(given)
            if name == "Fn::GetAtt":
                return self._attribute(*given)
            if name == "Fn::Join":
                return given[0].join(str(self.resolved(item)) for item in given[1])
            if name == "Fn::Sub":
                return self._sub(given)
        return {key: self.resolved(item) for key, item in value.items()}

    def _ref(self, name: str) -> str:
        if name in self._parameters:
            return self._parameters[name]
        if name in _PSEUDO:
            return _PSEUDO[name]
        resource = self._resources[name]
        if resource["Type"] == "AWS::Lambda::Alias":
            resource = self.resolved(resource)
        return reference(resource, self._physical.get(name, name))

    def _attribute(self, name: str, key: str) -> str:
        return attribute(self._resources[name], self._physical.get(name, name), key)

    def _sub(self, text: str) -> str:
        before, *parts = text.split("${")
        for part in parts:
            name, _, rest = part.partition("}")
            if name.startswith("!"):
                before += "${" + name[1:] + "}" + rest
                continue
            resource, _, key = name.partition(".")
            before += (self._attribute(resource, key) if key else self._ref(name)) + rest
        return before


def _named(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that a physical id comes from."""
    properties = resource.get("Properties", {})
    return {key: value for key, value in properties.items() if key.endswith("Name")}


def _changes(
    stack: _Stack, body: Mapping[str, Any], parameters: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    before = _Known(stack.body, stack.parameters, stack.physical)
    after = _Known(body, parameters, stack.physical)
    old, new = stack.body.get("Resources", {}), body["Resources"]
    for name in [*new, *(old.keys() - new.keys())]:
        if name not in old:
            action = "Add"
        elif name not in new:
            action = "Remove"
        elif before.resolved(old[name]) != after.resolved(new[name]):
            action = "Modify"
        else:
            continue
        kind = (new.get(name) or old[name])["Type"]
        yield {
            "Type": "Resource",
            "ResourceChange": {"Action": action, "LogicalResourceId": name, "ResourceType": kind},
        }


def _there(stack: _Stack) -> bool:
    return stack.status != "DELETE_COMPLETE"


def _shown(stack: _Stack) -> dict[str, Any]:
    return {
        "StackName": stack.name,
        "StackId": stack.id,
        "StackStatus": stack.status,
        "Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in stack.outputs.items()],
        "Parameters": [
            {"ParameterKey": k, "ParameterValue": v} for k, v in stack.parameters.items()
        ],
        "Tags": stack.tags,
    }


def _invalid(message: str) -> RefusedError:
    return RefusedError("ValidationError", message)
