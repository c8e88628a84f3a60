"""What a change set does to each resource, and a deploy to each hand edit. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fnmodel.provision.drift import Drift
from fnmodel.provision.edits import Edit, edits
from fnmodel.provision.resolve import Resource
from fnmodel.provision.stack import Change

Action = Literal["add", "change", "replace", "may-replace", "remove"]

# What is lost with a resource that is removed, or made anew.
_HOLDS = {
    "AWS::S3::Bucket": "its objects",
    "AWS::DynamoDB::Table": "its items",
    "AWS::Logs::LogGroup": "its log",
    "AWS::SQS::Queue": "its messages",
    "AWS::KMS::Key": "what it encrypted",
    "AWS::Lambda::Function": "its versions",
}
# What a plan's word for a resource has room for. What was not there before the plan cannot lose
# anything, whatever the second of a new stage's two steps does to it.
_WITHIN: Mapping[Action, frozenset[Action]] = {
    "add": frozenset({"add", "change", "may-replace", "replace"}),
    "change": frozenset({"change"}),
    "may-replace": frozenset({"change", "may-replace"}),
    "replace": frozenset({"change", "may-replace", "replace"}),
    "remove": frozenset({"remove"}),
}
_REPLACEMENTS: Mapping[str, Action] = {"True": "replace", "Conditional": "may-replace"}
# What Lambda publishes with a version.
_PUBLISHED = (
    "MemorySize", "Timeout", "Environment", "TracingConfig", "Role", "SnapStart", "VpcConfig",
    "EphemeralStorage", "ImageConfig", "LoggingConfig", "Architectures",
)  # fmt: skip


@dataclass(frozen=True)
class ResourceChange:
    """What happens to one resource. `loss` is what is lost with it, or stays behind; else empty."""

    action: Action
    logical_id: str
    type: str
    replacement: str
    edits: tuple[Edit, ...]
    loss: str


def resource_changes(
    changes: Sequence[Change], before: Mapping[str, Resource], after: Mapping[str, Resource]
) -> tuple[ResourceChange, ...]:
    """Return what a change set does, with the properties that differ between the templates.

    What is lost comes first. Both templates are resolved with marks.
    """
    found = []
    for change in changes:
        action = _action(change)
        old, new = before.get(change.logical_id), after.get(change.logical_id)
        differing: tuple[Edit, ...] = ()
        if old is not None and new is not None:
            differing = tuple(edits(old.properties, new.properties))
        loss = _loss(action, change.type, old)
        found.append(
            ResourceChange(
                action, change.logical_id, change.type, change.replacement, differing, loss
            )
        )
    return tuple(sorted(found, key=lambda one: not one.loss))


def unplanned(changes: Sequence[Change], planned: Mapping[str, Action]) -> list[str]:
    """Return, in words, what a change set would do that a plan does not have.

    A stage that is new is made in two steps, so that what a plan adds may be changed by the second.
    """
    found = []
    for change in changes:
        action = _action(change)
        known = planned.get(change.logical_id)
        if known is None or action not in _WITHIN[known]:
            found.append(f"{action} {change.logical_id} ({change.type})")
    return found


def fate(drift: Drift, changes: Mapping[str, ResourceChange]) -> str:
    """Return, in words, what `deploy` does about a hand edit."""
    change = changes.get(drift.logical_id)
    if change is not None:
        if change.action in {"remove", "replace"}:
            return f"goes: deploy would {change.action} the resource"
        if any(_overlap(edit.path, drift.path) for edit in change.edits):
            return "deploy sets it"
        if drift.kind == "changed":
            return "may be set back: deploy updates the resource"
    if drift.kind == "missing":
        return "stays missing: CloudFormation does not know that it is gone"
    if drift.logical_id == "Function" and drift.kind == "changed":
        if drift.path.startswith("Code"):
            return "deploy stops: it publishes no image but its own"
        if drift.path.split(".")[0] in _PUBLISHED:
            return "stays, and the next version is published with it"
    if drift.path == "traffic":
        return "stays: only `shift`, `promote` and `rollback` move requests"
    return "stays: CloudFormation compares templates only"


def _action(change: Change) -> Action:
    match change.action:
        case "Add":
            return "add"
        case "Remove":
            return "remove"
        case _:
            return _REPLACEMENTS.get(change.replacement, "change")


def _loss(action: Action, kind: str, old: Resource | None) -> str:
    held = _HOLDS.get(kind)
    if held is None or old is None or action in {"add", "change"}:
        return ""
    policy = old.deletion if action == "remove" else old.replacement
    if policy == "Retain":
        return f"{held}: kept in the old resource, which leaves the stack"
    if kind == "AWS::S3::Bucket":
        return f"{held}: CloudFormation deletes no bucket that has any, so that this fails"
    return f"{held}: LOST if it is made anew" if action == "may-replace" else f"{held}: LOST"


def _overlap(one: str, other: str) -> bool:
    return (
        one == other
        or one.startswith((f"{other}.", f"{other}["))
        or other.startswith((f"{one}.", f"{one}["))
    )
