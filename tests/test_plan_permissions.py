"""What policies allow more or less than before, as sets of principals, actions and resources."""

from typing import Any

import pytest

from fnmodel.provision.permissions import access_changes, covers
from fnmodel.provision.resolve import Resource


def role(*statements: dict[str, Any], trust: Any = None, attached: tuple[str, ...] = ()) -> Any:
    return {
        "Role": Resource(
            "AWS::IAM::Role",
            {
                "AssumeRolePolicyDocument": {"Statement": [trust] if trust else []},
                "Policies": [{"PolicyName": "p", "PolicyDocument": {"Statement": [*statements]}}],
                "ManagedPolicyArns": list(attached),
            },
        )
    }


def allow(action: Any, resource: Any = "r", **more: Any) -> dict[str, Any]:
    return {"Sid": "s", "Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "r") -> dict[str, Any]:
    return {**allow(action, resource), "Effect": "Deny"}


def told(before: Any, after: Any) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    return [(c.kind, c.state, c.actions, c.resources) for c in access_changes(before, after)]


IN_VPC = {"StringEquals": {"aws:SourceVpc": "a"}}
IN_VPCS = {"StringEquals": {"aws:SourceVpc": ["a", "b"]}}
LIKE = {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::logs-*"}}
LIKE_ONE = {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::logs-1"}}


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (allow("s3:GetObject"), allow(["s3:GetObject"]), []),
        (allow(["a:B", "a:C"]), allow(["a:C", "a:B"]), []),
        (allow("s3:getobject"), allow("s3:GetObject"), []),
        (allow("s3:*"), allow("s3:Get*"), ["narrowing"]),
        (allow("s3:Get*"), allow("s3:*"), ["widening"]),
        (allow("s3:Get*"), allow("s3:GetObject"), ["narrowing"]),
        (allow("s3:GetObject"), allow("s3:GetObjec?"), ["widening"]),
        (allow("s3:Get?"), allow("s3:Get*"), ["widening"]),
        (allow("a:B", "x/*"), allow("a:B", "x/y"), ["narrowing"]),
        (allow("a:B", "x/y"), allow("a:B", "*"), ["widening"]),
        (allow("a:B", "x"), allow("a:B", "y"), ["widening", "narrowing"]),
        (allow("a:B", Condition=IN_VPC), allow("a:B"), ["widening"]),
        (allow("a:B"), allow("a:B", Condition=IN_VPC), ["narrowing"]),
        (allow("a:B", Condition=IN_VPC), allow("a:B", Condition=IN_VPCS), ["widening"]),
        (allow("a:B", Condition=IN_VPCS), allow("a:B", Condition=IN_VPC), ["narrowing"]),
        (allow("a:B", Condition=LIKE), allow("a:B", Condition=LIKE_ONE), ["narrowing"]),
        (allow("a:B", Condition=LIKE_ONE), allow("a:B", Condition=LIKE), ["widening"]),
        (deny("a:B"), deny("a:*"), ["narrowing"]),
        (deny("a:*"), deny("a:B"), ["widening"]),
        (allow("a:B"), {**allow("a:B"), "Sid": "renamed"}, []),
    ],
)
def test_a_statement_that_grows_is_told_from_one_that_shrinks(
    before: Any, after: Any, kinds: list[str]
) -> None:
    """By what they cover, not by how they are written."""
    found = [change.kind for change in access_changes(role(before), role(after))]

    assert found == kinds


def test_only_the_part_that_grew_is_told() -> None:
    """Of two actions and two resources, the one new action."""
    before = role(allow(["a:Get", "a:List"], ["x", "y"]))
    after = role(allow(["a:Get", "a:List", "a:Put"], ["x", "y"]))

    assert told(before, after) == [("widening", "grown", ("a:Put",), ("x", "y"))]
    assert told(after, before) == [("narrowing", "shrunk", ("a:Put",), ("x", "y"))]


def test_a_statement_that_moves_between_policies_of_a_role_is_no_change() -> None:
    """A role may do what all its policies allow together."""
    one, two = allow("a:B"), {**allow("c:D"), "Sid": "t"}
    split = role(one)
    split["Role"].properties["Policies"].append(
        {"PolicyName": "q", "PolicyDocument": {"Statement": [two]}}
    )

    assert told(role(one, two), split) == []


def test_new_statements_and_gone_ones_are_named() -> None:
    """Of a role that is new, all is new; of one that goes, all goes."""
    there = role(allow("a:B"))

    assert told({}, there) == [("widening", "new", ("a:B",), ("r",))]
    assert told(there, {}) == [("narrowing", "gone", ("a:B",), ("r",))]


def test_an_attached_policy_is_a_widening_by_its_name() -> None:
    """What it allows is not looked up; that it is attached is enough to look at."""
    [change] = access_changes(role(), role(attached=("arn:aws:iam::aws:policy/ReadOnlyAccess",)))

    assert (change.kind, change.sid) == ("widening", "arn:aws:iam::aws:policy/ReadOnlyAccess")


def test_who_may_take_a_role_is_compared_by_principal() -> None:
    """Everybody covers a service; a second account does not."""

    def trust(principal: Any) -> Any:
        return role(trust={"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal})

    service = trust({"Service": "lambda.amazonaws.com"})
    account = trust({"Service": "lambda.amazonaws.com", "AWS": "111122223333"})
    everybody = trust("*")

    [added] = access_changes(service, account)
    assert (added.kind, added.subject, added.principals) == (
        "widening", "Role (trust)", ("111122223333",),
    )  # fmt: skip
    [opened] = access_changes(service, everybody)
    assert (opened.kind, opened.principals) == ("widening", ("*",))


def test_what_is_not_named_is_not_judged() -> None:
    """`NotAction` that changes is shown as it is, neither wider nor narrower."""
    before = {"Sid": "s", "Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}
    after = {**before, "NotAction": ["iam:*", "sts:*"]}

    assert [one.kind for one in access_changes(role(before), role(after))] == ["other", "other"]
    assert access_changes(role(before), role(before)) == ()


def test_permissions_of_functions_count_too() -> None:
    """A permission without its source is wider than with it."""

    def permission(**more: str) -> Any:
        given = {
            "FunctionName": "${F}",
            "Action": "lambda:InvokeFunction",
            "Principal": "x",
            **more,
        }
        return {"P": Resource("AWS::Lambda::Permission", given)}

    held, open_ = permission(SourceAccount="1", SourceArn="arn:a"), permission()

    assert [one.kind for one in access_changes(held, open_)] == ["widening"]
    assert [one.kind for one in access_changes(open_, held)] == ["narrowing"]
    assert access_changes(held, open_)[0].subject == "F"


@pytest.mark.parametrize(
    ("pattern", "text", "inside"),
    [("*", "a*", True), ("a*", "*", False), ("a?c", "abc", True), ("a?c", "a*c", False),
     ("a.c", "abc", False), ("x/*", "x/y/z", True)],
)  # fmt: skip
def test_patterns_are_compared_as_sets(pattern: str, text: str, inside: bool) -> None:
    """All that the one stands for is in what the other stands for."""
    assert covers(pattern, text) is inside
