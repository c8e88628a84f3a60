"""The border to CloudFormation: a body and parameters become a change set, that becomes a stack."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Literal, TypeVar

from fnmodel.aws import translated
from fnmodel.errors import ProvisionError, StackBusyError
from fnmodel.provision.bodies import Bodies
from fnmodel.provision.status import Step, next_step, succeeded, way_out

_T = TypeVar("_T")
_MASK = "****"
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True)
class Stack:
    """A stack as DescribeStacks shows it."""

    name: str
    id: str
    status: str
    reason: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    updated: str = ""
    """When it was made, or changed last; ISO 8601."""

    @property
    def access(self) -> str | None:
        """Who may call the endpoint: iam, jwt, api_key, public; None while nobody may.

        A stack without the word is of a time when every stage was public.
        """
        return self.outputs.get("Access", "public") if "Url" in self.outputs else None


@dataclass(frozen=True)
class Change:
    """One resource that a change set adds, modifies or removes.

    `replacement` is CloudFormation's word: `True`, `False`, `Conditional`, or empty.
    """

    action: str
    logical_id: str
    type: str
    replacement: str


@dataclass(frozen=True)
class ChangeSet:
    """What applying would change; without an `arn` there is nothing to apply."""

    stack: str
    type: Literal["CREATE", "UPDATE"]
    changes: tuple[Change, ...]
    arn: str = ""
    stack_id: str = ""

    @property
    def empty(self) -> bool:
        """Whether the stack already is as asked."""
        return not self.arn


@dataclass(frozen=True)
class ResourceEvent:
    """One step of one resource, in the order in which CloudFormation took it."""

    logical_id: str
    type: str
    status: str
    reason: str


Progress = Callable[[ResourceEvent], None]


def ignore(event: ResourceEvent) -> None:
    """Report nothing."""


class Stacks:
    """CloudFormation stacks, changed by change sets only.

    `bodies` has large templates read from a stage's bucket. `interval` is the pause between two
    looks in seconds; `timeout` bounds each wait.
    """

    def __init__(
        self,
        client: Any,
        *,
        bodies: Bodies,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 2.0,
        timeout: float = 3600.0,
    ) -> None:
        self._client = client
        self._bodies = bodies
        self._sleep = sleep
        self._clock = clock
        self._interval = interval
        self._timeout = timeout

    def find(self, name: str) -> Stack | None:
        """Return the stack of this name or id, or None; a deleted one is found only by its id."""
        with translated():
            try:
                answer = self._client.describe_stacks(StackName=name)
            except self._client.exceptions.ClientError as error:
                detail = error.response["Error"]
                if detail["Code"] == "ValidationError" and "does not exist" in detail["Message"]:
                    return None
                raise
        return _stack(answer["Stacks"][0])

    def tagged(self, key: str, value: str, *, prefix: str | None = None) -> list[str]:
        """Return the names of the stacks that carry a tag, but for deleted ones.

        With `prefix` also those whose names begin so: one that is only planned has no tags yet.
        """
        with translated():
            pages = self._client.get_paginator("describe_stacks").paginate()
            found = [_stack(data) for page in pages for data in page["Stacks"]]
        return [
            stack.name
            for stack in found
            if stack.tags.get(key) == value
            or (prefix is not None and stack.name.startswith(prefix))
        ]

    def parameters_ahead(self, stack: Stack) -> list[dict[str, str]]:
        """Return the parameters of each change set that somebody may still apply."""
        found = []
        with translated():
            pages = self._client.get_paginator("list_change_sets").paginate(StackName=stack.id)
            names = [item["ChangeSetId"] for page in pages for item in page["Summaries"]]
            for name in names:
                try:
                    answer = self._client.describe_change_set(ChangeSetName=name)
                except self._client.exceptions.ChangeSetNotFoundException:
                    continue  # applied or discarded meanwhile
                found.append(_parameters(answer))
        return found

    def physical_ids(self, name: str, type_: str) -> list[str]:
        """Return the physical ids of the resources of one type; `name` is a stack's, or its id."""
        with translated():
            return [
                one["PhysicalResourceId"]
                for one in summaries(self._client, name)
                if one["ResourceType"] == type_ and one.get("PhysicalResourceId")
            ]

    def is_unchanged(
        self, stack: Stack, body: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> bool:
        """Whether the stack stands with exactly this template, parameters and tags.

        Reads only. CloudFormation keeps the template it applied last, so that no mark of ours is
        needed.
        """
        if not succeeded(stack.status):
            return False
        shown = dict(stack.parameters)
        # CloudFormation never shows the value of a NoEcho parameter.
        masked = {key: value for key, value in parameters.items() if shown.get(key) == _MASK}
        if {**shown, **masked} != dict(parameters) or dict(stack.tags) != dict(tags):
            return False
        return bool(self.template(stack) == json.loads(body))

    def template(self, stack: Stack) -> Any:
        """Return the template that CloudFormation applied last."""
        with translated():
            answer = self._client.get_template(StackName=stack.id, TemplateStage="Original")
        return answer["TemplateBody"]

    def plan(
        self, name: str, body: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> ChangeSet:
        """Ask CloudFormation what this template would change; nothing is changed yet.

        Waits for work in progress. The remains of a failed creation or deletion are deleted, for
        CloudFormation plans nothing on them.

        Raises:
            ProvisionError: the template is refused, or the stack needs a person first.

        """
        step = self._settle(name)
        kind: Literal["CREATE", "UPDATE"] = "UPDATE" if step is Step.UPDATE else "CREATE"
        stack = self.find(name) if kind == "UPDATE" else None
        template = self._bodies.argument(body, stack.outputs.get("Bucket") if stack else None)
        change_set_name = f"fnmodel-{uuid.uuid4().hex[:16]}"
        with translated():
            try:
                answer = self._client.create_change_set(
                    StackName=name,
                    ChangeSetName=change_set_name,
                    ChangeSetType=kind,
                    # The same call again, after a lost answer, is then no second change set.
                    ClientToken=change_set_name,
                    **template,
                    Parameters=[
                        {"ParameterKey": key, "ParameterValue": value}
                        for key, value in sorted(parameters.items())
                    ],
                    Tags=[{"Key": key, "Value": value} for key, value in sorted(tags.items())],
                    Capabilities=["CAPABILITY_IAM"],
                )
            except self._client.exceptions.ClientError as error:
                detail = error.response["Error"]
                if detail["Code"] == "AlreadyExistsException" or self._moved(name, step):
                    raise _busy(name, detail["Message"]) from error
                if detail["Code"] != "ValidationError":
                    raise
                raise ProvisionError(f"stack {name}: {detail['Message']}") from error
        change_set = ChangeSet(name, kind, (), answer["Id"], answer["StackId"])
        status, reason, changes = self._described(change_set)
        if status == "CREATE_COMPLETE":
            return ChangeSet(name, kind, changes, answer["Id"], answer["StackId"])
        self.discard(change_set)
        if any(text in reason for text in _NO_CHANGES):
            return ChangeSet(name, kind, ())
        raise ProvisionError(f"stack {name}: the change set is {status}: {reason}")

    def apply(self, change_set: ChangeSet, progress: Progress = ignore) -> Stack:
        """Execute a change set and wait for its end, reporting each resource's steps.

        An empty change set changes nothing and gives the stack as it stands.

        Raises:
            ProvisionError: a resource failed; the message names the first one and AWS's reason.
                CloudFormation has rolled back by then.

        """
        if change_set.empty:
            stack = self.find(change_set.stack)
            assert stack is not None, "an empty change set has a stack"
            return stack
        seen = self._event_ids(change_set.stack_id)
        with translated():
            try:
                self._client.execute_change_set(
                    ChangeSetName=change_set.arn,
                    ClientRequestToken=change_set.arn.split("/")[-2],
                )
            except (
                self._client.exceptions.ChangeSetNotFoundException,
                self._client.exceptions.InvalidChangeSetStatusException,
            ) as error:
                raise _busy(change_set.stack, error.response["Error"]["Message"]) from error
        stack, events = self._watch(change_set.stack_id, seen, progress)
        if stack.status.startswith("DELETE_"):
            raise _busy(stack.name, f"it is {stack.status}")
        if not succeeded(stack.status):
            raise _failure(stack, events)
        return stack

    def discard(self, change_set: ChangeSet) -> None:
        """Remove a change set, and the empty shell of a stack that planning a new one made."""
        if change_set.empty:
            return
        with translated():
            self._client.delete_change_set(ChangeSetName=change_set.arn)
        if change_set.type == "CREATE":
            stack = self.find(change_set.stack_id)
            if stack is not None and stack.status == "REVIEW_IN_PROGRESS":
                self._delete_shell(stack)

    def delete(self, name: str, progress: Progress = ignore) -> None:
        """Delete a stack and wait for its end; without one this does nothing.

        Raises:
            ProvisionError: a resource could not be deleted; the message names the first one.

        """
        stack = self.find(name)
        if stack is None:
            return
        if next_step(stack.status) is Step.WAIT:
            stack = self._settled(stack)
            if stack.status == "DELETE_COMPLETE":
                return
        seen = self._event_ids(stack.id)
        with translated():
            self._client.delete_stack(StackName=stack.id)
        if stack.status == "REVIEW_IN_PROGRESS":
            return
        stack, events = self._watch(stack.id, seen, progress)
        if stack.status != "DELETE_COMPLETE":
            raise _failure(stack, events)

    def _settle(self, name: str) -> Step:
        """Bring a stack to where a change set can be made; return CREATE or UPDATE."""
        stack = self.find(name)
        if stack is not None and next_step(stack.status) is Step.WAIT:
            stack = self._settled(stack)
        step = next_step(stack.status if stack else None)
        if stack is not None and step is Step.REFUSE:
            raise ProvisionError(
                f"stack {name} is {stack.status}: {stack.reason or 'no reason given'}",
                hint=way_out(name, stack.status),
            )
        if step is Step.DELETE:
            self.delete(name)
            return Step.CREATE
        return step

    def _moved(self, name: str, step: Step) -> bool:
        """Whether a stack needs another step now than it did when it was looked at."""
        stack = self.find(name)
        return next_step(stack.status if stack else None) is not step

    def _settled(self, stack: Stack) -> Stack:
        for found in self._looks(f"stack {stack.name} to settle", lambda: self.find(stack.id)):
            # A stack that is gone even by its id was deleted long ago.
            if found is None:
                return Stack(stack.name, stack.id, "DELETE_COMPLETE", "", {}, {}, {})
            if next_step(found.status) is not Step.WAIT:
                return found
        raise AssertionError("unreachable")

    def _described(self, change_set: ChangeSet) -> tuple[str, str, tuple[Change, ...]]:
        def look() -> Mapping[str, Any]:
            with translated():
                try:
                    answer: Mapping[str, Any] = self._client.describe_change_set(
                        ChangeSetName=change_set.arn
                    )
                except self._client.exceptions.ChangeSetNotFoundException as error:
                    # Whoever executes a change set deletes all others of the stack.
                    message = error.response["Error"]["Message"]
                    raise _busy(change_set.stack, message) from error
            return answer

        for answer in self._looks(f"the change set of {change_set.stack}", look):
            if answer["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}:
                changes = list(answer["Changes"])
                token = answer.get("NextToken")
                while token:
                    with translated():
                        page = self._client.describe_change_set(
                            ChangeSetName=change_set.arn, NextToken=token
                        )
                    changes += page["Changes"]
                    token = page.get("NextToken")
                reason = str(answer.get("StatusReason") or "")
                return answer["Status"], reason, tuple(_change(item) for item in changes)
        raise AssertionError("unreachable")

    def _delete_shell(self, stack: Stack) -> None:
        with translated():
            others = self._client.list_change_sets(StackName=stack.id)["Summaries"]
            if not others:
                self._client.delete_stack(StackName=stack.id)

    def _watch(
        self, stack_id: str, seen: set[str], progress: Progress
    ) -> tuple[Stack, list[ResourceEvent]]:
        """Follow an operation that has been started; return the stack and its events.

        Its end is told by an event, since the status is still the old one for a moment after a
        change set is executed.
        """
        events: list[ResourceEvent] = []
        ended = False
        for found in self._looks(f"stack {stack_id}", lambda: self._events(stack_id, seen)):
            for item in found:
                seen.add(item["EventId"])
                event = ResourceEvent(
                    item["LogicalResourceId"],
                    item["ResourceType"],
                    item["ResourceStatus"],
                    item.get("ResourceStatusReason", ""),
                )
                events.append(event)
                progress(event)
                if item.get("PhysicalResourceId") == stack_id:
                    ended = not event.status.endswith("_IN_PROGRESS")
            if ended:
                stack = self.find(stack_id)
                if stack is not None and not stack.status.endswith("_IN_PROGRESS"):
                    return stack, events
        raise AssertionError("unreachable")

    def _event_ids(self, stack_id: str) -> set[str]:
        return {item["EventId"] for item in self._events(stack_id, set())}

    def _events(self, stack_id: str, seen: set[str]) -> Sequence[Mapping[str, Any]]:
        """Return events not seen yet, oldest first; CloudFormation lists the newest first."""
        fresh: list[Mapping[str, Any]] = []
        with translated():
            pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
            for page in pages:
                new = [item for item in page["StackEvents"] if item["EventId"] not in seen]
                fresh += new
                if len(new) < len(page["StackEvents"]):
                    break
        return fresh[::-1]

    def _looks(self, what: str, look: Callable[[], _T]) -> Iterator[_T]:
        """Look again and again, until the caller has seen enough or the time is over."""
        deadline = self._clock() + self._timeout
        while True:
            yield look()
            if self._clock() >= deadline:
                raise ProvisionError(
                    f"gave up waiting for {what} after {self._timeout:.0f} s",
                    hint="AWS is still at it; run the same command again and it waits on",
                )
            self._sleep(self._interval)


def summaries(client: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield what CloudFormation says of each resource of a stack; botocore's errors go through."""
    for page in client.get_paginator("list_stack_resources").paginate(StackName=name):
        yield from page["StackResourceSummaries"]


def _stack(data: Mapping[str, Any]) -> Stack:
    return Stack(
        name=data["StackName"],
        id=data["StackId"],
        status=data["StackStatus"],
        reason=data.get("StackStatusReason", ""),
        outputs={o["OutputKey"]: o["OutputValue"] for o in data.get("Outputs", [])},
        parameters=_parameters(data),
        tags={t["Key"]: t["Value"] for t in data.get("Tags", [])},
        updated=_time(data.get("LastUpdatedTime") or data.get("CreationTime")),
    )


def _time(moment: Any) -> str:
    # A timestamp of boto3; scripts of tests have none.
    return moment.astimezone(UTC).isoformat() if moment else ""


def _parameters(data: Mapping[str, Any]) -> dict[str, str]:
    return {p["ParameterKey"]: p["ParameterValue"] for p in data.get("Parameters", [])}


def _change(data: Mapping[str, Any]) -> Change:
    change = data["ResourceChange"]
    return Change(
        change["Action"],
        change["LogicalResourceId"],
        change["ResourceType"],
        change.get("Replacement", ""),
    )


def _busy(name: str, reason: str) -> StackBusyError:
    return StackBusyError(
        f"someone else changed the stack {name} just now: {reason}",
        hint="run the same command again",
    )


def _failure(stack: Stack, events: Sequence[ResourceEvent]) -> ProvisionError:
    """Return the error that names the first resource that failed by itself."""
    failed = [event for event in events if event.status.endswith("_FAILED")]
    # The others are cancelled because of it.
    causes = [event for event in failed if "cancelled" not in event.reason.lower()]
    first = next((e for e in causes if e.type != "AWS::CloudFormation::Stack"), None)
    first = first or next(iter(causes), None)
    if first is None:
        what = stack.reason or "no reason given"
    else:
        what = f"{first.logical_id} ({first.type}): {first.reason or first.status}"
    if next_step(stack.status) is Step.REFUSE:
        hint = way_out(stack.name, stack.status)
    elif stack.status == "DELETE_FAILED":
        hint = "mend the reason, then run the same command again: it goes on deleting"
    else:
        hint = "CloudFormation rolled back; mend the reason, then run the same command again"
    return ProvisionError(f"stack {stack.name} is {stack.status}: {what}", hint=hint)
