"""A plan as a file, the world it is held against, and what it lets a deploy do."""

import json
from pathlib import Path
from typing import Any

import pytest

from fnmodel.cli import plantext
from fnmodel.cli.approved import SavedPlan
from fnmodel.cli.saved import (
    AccessLine,
    Before,
    Blob,
    CostItem,
    CostLine,
    DriftLine,
    EditLine,
    Plan,
    ResourceLine,
    StepLine,
    World,
    json_schema,
    load,
    moved,
    save,
    sha256,
)
from fnmodel.errors import PlanError, StalePlanError
from fnmodel.provision.changes import Action, resource_changes, unplanned
from fnmodel.provision.edits import edits, same
from fnmodel.provision.resolve import Place, Resource, resolve
from fnmodel.provision.stack import Change, ChangeSet

WORLD = World(
    project="churn", stage="prod", cloud="aws", account="111122223333", region="us-east-1",
    configuration=sha256("c"), template=sha256("t"), parameters=sha256("p"),
    image="sha256:" + "a" * 64, stack="arn:aws:cloudformation:us-east-1:1:stack/x/1",
    stack_status="UPDATE_COMPLETE", stack_updated="2026-11-28T06:00:00+00:00", live="3",
    weights={"4": 0.1}, alias_revision="r1", function=sha256("f"), entries=7, ledger="b" * 64,
)  # fmt: skip


def plan(**changes: Any) -> Plan:
    given: dict[str, Any] = {
        "fnmodel": "0.1.0",
        "created": "2026-11-28T07:00:00+00:00",
        "pending": True,
        "world": WORLD,
        "image": Before(before="sha256:" + "9" * 64, after=WORLD.image),
        "push": (
            Blob(digest="sha256:" + "c" * 64, size=18_500, made_by="fnmodel pack: model"),
            Blob(digest="sha256:" + "d" * 64, size=1_400, made_by="settings"),
        ),
        "changes": (
            ResourceLine(
                action="replace", logical_id="Ledger", type="AWS::DynamoDB::Table",
                replacement="True", loss="its items: LOST",
                edits=(EditLine(path="KeySchema", before=["a" * 90], after=None),),
            ),
            ResourceLine(
                action="change", logical_id="Function", type="AWS::Lambda::Function",
                replacement="False", edits=(EditLine(path="MemorySize", before=512, after=1024),),
            ),
        ),
        "permissions": (
            AccessLine(
                kind="widening", subject="FunctionRole", sid="ReadMore", state="new",
                effect="Allow", principals=("FunctionRole",),
                actions=tuple(f"s3:GetObject{n}" for n in range(12)), resources=("*",),
                conditions={},
            ),
        ),
        "cost": CostLine(
            region="us-east-1", prices_as_of="2024-07", sources=("x",), monthly_before=0.0,
            monthly_after=0.2, million_before=2.0, million_after=1.5,
            items=(CostItem(what="alarm", amount=0.1), CostItem(what="Odd", amount=None)),
            unknown=("Odd",),
        ),
        "access": Before(before="iam", after="iam"),
        "alias": "live stays at version 3: 90 %, version 4: 10 %",
        "rollout": (StepLine(percent=10, bake=300, approve=True),),
        "drift": (
            DriftLine(
                logical_id="Function", type="AWS::Lambda::Function", kind="changed",
                path="MemorySize", expected=512, found=3000, deploy="deploy sets it",
            ),
        ),
        "unread": {"Key": "DescribeKey: not you (AccessDenied)"},
    }  # fmt: skip
    return Plan(**{**given, **changes})


def test_a_plan_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    """Byte for byte the same values, with an id that is of all of them."""
    path = tmp_path / "a.fnplan"
    save(plan(), path)

    assert load(path) == plan()
    assert load(path).id == plan().id != plan(pending=False).id


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text[: len(text) // 2], "it is not JSON"),
        (lambda _: "[]", "is no saved plan"),
        (lambda _: '{"format": "other"}', "is no saved plan"),
        (lambda text: text.replace('"after": 1024', '"after": 2048'), "changed after it was saved"),
        (lambda text: text.replace('"region": "us-east-1"', '"region": "eu-west-1"', 1),
         "changed after it was saved"),
        (lambda text: text.replace('"pending": true', '"pending": 7'), "pending"),
        (lambda text: text.replace('"fnmodel": "0.1.0"', '"fnmodel": "9.9.9"'),
         "was saved by fnmodel 9.9.9; this is 0.1.0"),
        (lambda text: text.replace("fnmodel.plan/1", "fnmodel.plan/2"), "was saved by fnmodel"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_as_it_was_saved_is_refused(
    tmp_path: Path, spoil: Any, words: str
) -> None:
    """Cut off, edited, of another version: told in words, with the way on."""
    path = tmp_path / "a.fnplan"
    save(plan(), path)
    path.write_text(spoil(path.read_text()))

    with pytest.raises(PlanError, match=words) as refused:
        load(path)
    assert "fnmodel plan --out" in refused.value.hint


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """As is one that cannot be written."""
    with pytest.raises(PlanError, match="No such file"):
        load(tmp_path / "none")
    with pytest.raises(PlanError, match="No such file"):
        save(plan(), tmp_path / "no" / "folder")


@pytest.mark.parametrize("name", World.model_fields)
def test_whatever_has_moved_is_told(name: str) -> None:
    """Each part of the world by itself makes a plan stale; the same world does not."""
    other = WORLD.model_copy(update={name: {"5": 0.5} if name == "weights" else "another"})

    [words] = moved(WORLD, other)

    assert ": was " in words
    assert list(moved(WORLD, WORLD)) == []


def test_a_change_set_may_do_what_the_plan_says_and_no_more() -> None:
    """Less is fine: a new stage is made in two steps, and the second changes what is there."""
    agreed = SavedPlan(plan())

    def change_set(*changes: Change) -> ChangeSet:
        return ChangeSet("x", "UPDATE", changes, "arn", "id")

    function = Change("Modify", "Function", "AWS::Lambda::Function", "False")
    agreed.admit(change_set())
    agreed.admit(change_set(function))
    agreed.admit(change_set(Change("Modify", "Ledger", "AWS::DynamoDB::Table", "True"), function))
    for more in (
        Change("Modify", "Function", "AWS::Lambda::Function", "True"),
        Change("Remove", "Function", "AWS::Lambda::Function", ""),
        Change("Add", "Role", "AWS::IAM::Role", ""),
    ):
        with pytest.raises(StalePlanError, match=more.logical_id) as refused:
            agreed.admit(change_set(function, more))
        assert refused.value.exit_code == 5

    later = Change("Modify", "Api", "AWS::ApiGatewayV2::Api", "")
    assert unplanned([later], {"Api": "add"}) == []
    assert unplanned([later], {}) == ["change Api (AWS::ApiGatewayV2::Api)"]


@pytest.mark.parametrize(
    ("planned", "fitting"),
    [
        ("add", {"Modify", "Conditional", "True"}),
        ("change", {"Modify"}),
        ("may-replace", {"Modify", "Conditional"}),
        ("replace", {"Modify", "Conditional", "True"}),
        ("remove", set()),
    ],
)
def test_what_a_plan_says_has_room_for_what_loses_no_more(
    planned: Action, fitting: set[str]
) -> None:
    """A new stage's second step may make anew what its first one made; nothing else may."""
    for replacement in ("Modify", "Conditional", "True"):
        given = "False" if replacement == "Modify" else replacement
        later = Change("Modify", "Dashboard", "AWS::CloudWatch::Dashboard", given)
        assert (unplanned([later], {"Dashboard": planned}) == []) is (replacement in fitting)


def test_a_plan_fits_a_terminal_and_says_the_worst_first() -> None:
    """80 columns; what is lost is the first resource; no colours."""
    text = plantext.show(plan())

    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert text.index("LOST") < text.index("MemorySize: 512 → 1024")
    for words in (
        "WIDENING", "Function MemorySize: template 512, found 3000", "deploy sets it",
        "Key could not be read", "10 % for 300 s once approved, then 100 %",
        "$0.00 → $0.20 (+$0.20) a month", "not known: Odd", "19.9 kB  in all",
        "1 to change, 1 to replace, 1 permissions widened, 1 changed by hand",
    ):  # fmt: skip
        assert words in text


def test_the_schema_takes_every_plan_and_nothing_else() -> None:
    """What `--output json` prints is what docs/plan.schema.json says."""
    import jsonschema

    schema = json_schema()
    jsonschema.validate(plan().to_json(), schema)
    for spoiled in ({"id": "x"}, {"more": 1}, {"pending": None}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**plan().to_json(), **spoiled}, schema)
    published = json.loads((Path(__file__).parents[1] / "docs/plan.schema.json").read_text())
    assert published.items() >= json.loads(json.dumps(schema)).items()


BUCKET = Resource("AWS::S3::Bucket", {"Name": "a"})
KEPT = Resource("AWS::DynamoDB::Table", {"Name": "a"}, "Retain", "Retain")
LOG = Resource("AWS::Logs::LogGroup", {"Days": 1}, "Delete", "Delete")


@pytest.mark.parametrize(
    ("change", "old", "action", "loss"),
    [
        (Change("Remove", "X", "AWS::Logs::LogGroup", ""), LOG, "remove", "its log: LOST"),
        (Change("Modify", "X", "AWS::Logs::LogGroup", "True"), LOG, "replace", "its log: LOST"),
        (Change("Modify", "X", "AWS::Logs::LogGroup", "Conditional"), LOG, "may-replace",
         "its log: LOST if it is made anew"),
        (Change("Modify", "X", "AWS::Logs::LogGroup", "False"), LOG, "change", ""),
        (Change("Remove", "X", "AWS::DynamoDB::Table", ""), KEPT, "remove",
         "its items: kept in the old resource, which leaves the stack"),
        (Change("Remove", "X", "AWS::S3::Bucket", ""), BUCKET, "remove",
         "its objects: CloudFormation deletes no bucket that has any, so that this fails"),
        (Change("Add", "X", "AWS::S3::Bucket", ""), None, "add", ""),
    ],
)  # fmt: skip
def test_what_is_lost_with_a_resource_is_told(
    change: Change, old: Resource | None, action: str, loss: str
) -> None:
    """By its type and its deletion policy."""
    before = {"X": old} if old else {}
    [found] = resource_changes([change], before, {})

    assert (found.action, found.loss) == (action, loss)


def test_values_are_compared_as_services_give_them_back() -> None:
    """Text for numbers, one for a list of one, any order; 0 is not nothing."""
    assert same({"A": 1, "B": True}, {"A": "1", "B": "true"})
    assert same(["b", {"x": 1}], [{"x": "1"}, "b"])
    assert same("a", ["a"])
    assert same({"A": 1}, '{"A": 1}')
    assert same(None, {"A": {"B": []}})
    assert same(30, 30.0)
    assert same("arn:aws:logs:r:1:log-group:x:*", "arn:aws:logs:r:1:log-group:x")
    assert not same(None, 0)
    assert not same(["a", "a"], ["a"])
    assert same("arn:${X.Arn}:z", "arn:abc:z", marks=True)
    assert not same("arn:${X.Arn}:z", "arn:abc:y", marks=True)
    assert not same("arn:${X.Arn}:z", "arn:abc:z")


def test_an_edit_is_named_by_its_path() -> None:
    """Through objects, and through lists whose elements have names."""
    before = {"A": {"B": 1}, "Rules": [{"Id": "x", "Days": 1}, {"Id": "y"}], "L": [1, 2]}
    after = {"A": {"B": 2}, "Rules": [{"Id": "y"}, {"Id": "x", "Days": 3}], "L": [1]}

    found = [(one.path, one.before, one.after) for one in edits(before, after)]

    assert found == [("A.B", 1, 2), ("Rules[x].Days", 1, 3), ("L", [1, 2], [1])]


TEMPLATE: dict[str, Any] = {
    "Parameters": {
        "Size": {"Type": "Number", "Default": 3},
        "Secret": {"Type": "String", "NoEcho": True},
    },
    "Mappings": {"M": {"us-east-1": {"x": "mapped"}}},
    "Conditions": {
        "Big": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Size"}, "3"]}]},
        "Both": {"Fn::And": [{"Condition": "Big"}, {"Fn::Or": [{"Condition": "Big"}]}]},
    },
    "Resources": {
        "Queue": {"Type": "AWS::SQS::Queue", "DeletionPolicy": "Retain"},
        "Extra": {"Type": "AWS::SQS::Queue", "Condition": "Both"},
        "Thing": {
            "Type": "X",
            "Properties": {
                "arn": {"Fn::GetAtt": ["Queue", "Arn"]},
                "url": {"Ref": "Queue"},
                "sub": {"Fn::Sub": "${AWS::Region}-${Size}-${!Size}-${Queue.Arn}"},
                "own": {"Fn::Sub": ["${A}", {"A": {"Ref": "Size"}}]},
                "join": {"Fn::Join": ["-", ["a", {"Ref": "AWS::AccountId"}]]},
                "if": {"Fn::If": ["Big", "big", {"Ref": "AWS::NoValue"}]},
                "pick": {"Fn::Select": ["1", {"Fn::Split": [",", "a,b"]}]},
                "map": {"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "x"]},
                "secret": {"Ref": "Secret"},
                "late": {"Fn::GetAtt": "Other.Name"},
            },
        },
    },
}


def test_a_template_is_resolved_as_cloudformation_does() -> None:
    """What only CloudFormation knows stays a mark, and so does a parameter that is not shown."""
    place = Place.of("arn:aws:cloudformation:us-east-1:123:stack/s/1")
    url = "https://sqs.us-east-1.amazonaws.com/123/q"
    found = resolve(TEMPLATE, {"Secret": "****"}, place=place, physical={"Queue": url})
    grown = resolve(TEMPLATE, {"Size": "4"}, place=place)

    assert found["Thing"].properties == {
        "arn": "arn:aws:sqs:us-east-1:123:q",
        "url": url,
        "sub": "us-east-1-3-${Size}-arn:aws:sqs:us-east-1:123:q",
        "own": "3",
        "join": "a-123",
        "pick": "b",
        "map": "mapped",
        "secret": "${Secret}",
        "late": "${Other.Name}",
    }
    assert found["Queue"].deletion == "Retain"
    assert set(found) == {"Queue", "Thing"}
    assert set(grown) == {"Queue", "Thing", "Extra"}
    assert grown["Thing"].properties["if"] == "big"
    assert grown["Thing"].properties["arn"] == "${Queue.Arn}"
