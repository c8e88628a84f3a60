"""Two sets of resources in, what their policies allow more or less out. Pure.

A statement is taken apart into grants: one principal, one action, one resource, with conditions. A
grant is new when no grant from before covers it, with `*` and `?` read as patterns. So a wildcard
that is spelled out is no change, and a statement that moves to another policy of the same role is
none either.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from fnmodel.provision.edits import same
from fnmodel.provision.resolve import Resource

Kind = Literal["widening", "narrowing", "other"]
State = Literal["new", "grown", "gone", "shrunk"]

_RESOURCE_POLICIES = {
    "AWS::S3::BucketPolicy": "PolicyDocument",
    "AWS::SQS::QueuePolicy": "PolicyDocument",
    "AWS::SNS::TopicPolicy": "PolicyDocument",
    "AWS::KMS::Key": "KeyPolicy",
}
_NEGATED = ("NotAction", "NotResource", "NotPrincipal")
# More values of these let more requests through; of others it is not known.
_POSITIVE = re.compile(
    r"^(ForAnyValue:)?(String(Equals|Like|EqualsIgnoreCase)|Arn(Equals|Like))(IfExists)?$"
)


@dataclass(frozen=True)
class Statement:
    """One statement of a policy, in lists. `subject` is the role or resource that has it.

    `negated` holds `NotAction` and its like as JSON: what such a statement covers is not compared.
    """

    subject: str
    sid: str
    effect: str
    principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: str = ""
    negated: str = ""


@dataclass(frozen=True)
class Grant:
    """What one statement says of one principal, action and resource."""

    subject: str
    effect: str
    principal: str
    action: str
    resource: str
    conditions: str


@dataclass(frozen=True)
class AccessChange:
    """What a statement says more or less than before; only the part that changed.

    `state` is the statement's own: one that denies and is new makes the whole narrower.
    """

    kind: Kind
    subject: str
    sid: str
    state: State
    effect: str
    principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Any


def access_changes(
    before: Mapping[str, Resource], after: Mapping[str, Resource]
) -> tuple[AccessChange, ...]:
    """Return what policies of `after` allow more or less than those of `before`.

    Both are resolved with marks, so that the same reference is the same text.
    """
    old, new = list(_statements(before)), list(_statements(after))
    gained = _differences(new, old)
    lost = _differences(old, new)
    return (
        *(_change(statement, part, old, gained=True) for statement, part in gained),
        *(_change(statement, part, new, gained=False) for statement, part in lost),
    )


def covers(pattern: str, text: str) -> bool:
    """Whether all that `text` stands for is in what `pattern` stands for."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # A `?` cannot hold what a `*` stands for.
    words = {"*": ".*", "?": "[^*]"}
    return re.compile("".join(words.get(one, re.escape(one)) for one in pattern), re.DOTALL)


def _differences(
    ours: Iterable[Statement], theirs: list[Statement]
) -> Iterator[tuple[Statement, list[Grant]]]:
    """Yield statements with those of their grants that no statement of the others covers."""
    others = [grant for one in theirs for grant in _grants(one)]
    negated = {(one.subject, one.effect, one.negated) for one in theirs if one.negated}
    for statement in ours:
        if statement.negated:
            if (statement.subject, statement.effect, statement.negated) not in negated:
                yield statement, []
            continue
        left = [g for g in _grants(statement) if not any(_covers(other, g) for other in others)]
        if left:
            yield statement, left


def _covers(wide: Grant, narrow: Grant) -> bool:
    if (wide.subject, wide.effect) != (narrow.subject, narrow.effect):
        return False
    return (
        covers(wide.action.lower(), narrow.action.lower())
        and covers(wide.resource, narrow.resource)
        and covers(wide.principal, narrow.principal)
        and _admits(wide.conditions, narrow.conditions)
    )


def _admits(wide: str, narrow: str) -> bool:
    """Whether each request that meets the narrow conditions meets the wide ones too."""
    if wide == narrow or not wide:
        return True
    ours, theirs = json.loads(wide), json.loads(narrow or "{}")
    for operator, keys in ours.items():
        for key, values in keys.items():
            if key not in theirs.get(operator, {}):
                return False
            given = theirs[operator][key]
            if same(values, given):
                continue
            if not _POSITIVE.match(operator):
                return False
            exact = "Like" not in operator
            for one in _list(given):
                if not any(one == v if exact else covers(str(v), str(one)) for v in _list(values)):
                    return False
    return True


def _change(
    statement: Statement, part: list[Grant], others: list[Statement], *, gained: bool
) -> AccessChange:
    known = {(one.subject, one.sid) for one in others if one.sid}
    # To deny more is to allow less.
    wider = gained == (statement.effect == "Allow")
    kind: Kind = "other" if statement.negated else "widening" if wider else "narrowing"
    there = (statement.subject, statement.sid) in known
    state: State = ("grown" if there else "new") if gained else ("shrunk" if there else "gone")
    return AccessChange(
        kind,
        statement.subject,
        statement.sid,
        state,
        statement.effect,
        _unique(g.principal for g in part) if part else statement.principals,
        _unique(g.action for g in part) if part else statement.actions,
        _unique(g.resource for g in part) if part else statement.resources,
        json.loads(statement.negated or statement.conditions or "{}"),
    )


def _statements(resources: Mapping[str, Resource]) -> Iterator[Statement]:
    for name, resource in resources.items():
        given = resource.properties
        if resource.type == "AWS::IAM::Role":
            yield from _of(f"{name} (trust)", given.get("AssumeRolePolicyDocument"))
            for policy in given.get("Policies", ()):
                yield from _of(name, policy["PolicyDocument"], principal=name)
            for arn in given.get("ManagedPolicyArns", ()):
                yield Statement(name, arn, "Allow", (name,), (f"what {arn} allows",), ("*",))
        elif resource.type in _RESOURCE_POLICIES:
            yield from _of(name, given.get(_RESOURCE_POLICIES[resource.type]))
        elif resource.type == "AWS::Lambda::Permission":
            yield _permission(name, given)


def _of(subject: str, document: Any, principal: str = "") -> Iterator[Statement]:
    for one in _list((document or {}).get("Statement", [])):
        negated = {key: one[key] for key in _NEGATED if key in one}
        conditions = one.get("Condition") or {}
        yield Statement(
            subject,
            one.get("Sid", ""),
            one["Effect"],
            (principal,) if principal else _principals(one.get("Principal")),
            _words(one.get("Action")),
            _words(one.get("Resource")) or ("",),
            _json(conditions) if conditions else "",
            _json({**one}) if negated else "",
        )


def _permission(name: str, given: Mapping[str, Any]) -> Statement:
    conditions: dict[str, Any] = {}
    if "SourceAccount" in given:
        conditions["StringEquals"] = {"aws:SourceAccount": given["SourceAccount"]}
    if "SourceArn" in given:
        conditions["ArnLike"] = {"aws:SourceArn": given["SourceArn"]}
    return Statement(
        str(given.get("FunctionName", name)).strip("${}"),
        name,
        "Allow",
        (str(given["Principal"]),),
        (str(given["Action"]),),
        ("",),
        _json(conditions) if conditions else "",
    )


def _grants(statement: Statement) -> Iterator[Grant]:
    if statement.negated:
        return
    for principal in statement.principals:
        for action in statement.actions:
            for resource in statement.resources:
                yield Grant(
                    statement.subject, statement.effect, principal, action, resource,
                    statement.conditions,
                )  # fmt: skip


def _principals(given: Any) -> tuple[str, ...]:
    if not isinstance(given, Mapping):
        return _words(given)
    return tuple(str(one) for values in given.values() for one in _list(values))


def _words(given: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in _list(given)) if given is not None else ()


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
