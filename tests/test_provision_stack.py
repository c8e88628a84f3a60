"""Change sets planned, applied and discarded on an emulator, and every status a stack may be in."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from release_cases import Emulator, digest, inputs

from fnmodel.errors import CredentialsError, ProvisionError
from fnmodel.provision import bucket
from fnmodel.provision.bodies import IN_REQUEST, Bodies
from fnmodel.provision.stack import ChangeSet, ResourceEvent, Stack, Stacks
from fnmodel.provision.status import Step, next_step
from fnmodel.testing.answering import RefusedError, client_answered_by

pytest_plugins = ["release_emulator"]

NAME = "fnmodel-churn-dev"
BODIES = Bodies(client_answered_by("s3", lambda _operation, _asked: {}))


def alias_of(emulator: Emulator, function: str) -> dict[str, Any]:
    answer = emulator.client("lambda").get_alias(FunctionName=function, Name="live")
    return {key: answer.get(key) for key in ("FunctionVersion", "RoutingConfig", "RevisionId")}


def left(emulator: Emulator) -> dict[str, list[str]]:
    """Return the names of everything of this stage that still exists."""
    client = emulator.client
    found = {
        "functions": [f["FunctionName"] for f in client("lambda").list_functions()["Functions"]],
        "apis": [api["Name"] for api in client("apigatewayv2").get_apis()["Items"]],
        "roles": [role["RoleName"] for role in client("iam").list_roles()["Roles"]],
        "buckets": [b["Name"] for b in client("s3").list_buckets()["Buckets"]],
        "tables": client("dynamodb").list_tables()["TableNames"],
        "groups": [g["Name"] for g in client("scheduler").list_schedule_groups()["ScheduleGroups"]],
        "schedules": [s["GroupName"] for s in client("scheduler").list_schedules()["Schedules"]],
        "logs": [g["logGroupName"] for g in client("logs").describe_log_groups()["logGroups"]],
    }
    return {kind: [n for n in names if NAME in n] for kind, names in found.items()}


def test_a_stack_lives_from_first_plan_to_nothing(emulator: Emulator) -> None:
    """Create, see no change, update the image, keep alias and version, delete without a trace."""
    stacks = emulator.stacks
    assert stacks.find(NAME) is None

    planned = emulator.plan("dev", "a")
    assert planned.type == "CREATE"
    assert {change.action for change in planned.changes} == {"Add"}
    assert {"Function", "LiveAlias", "Api", "Bucket", "Ledger", "Scheduledaily"} <= {
        change.logical_id for change in planned.changes
    }

    events: list[ResourceEvent] = []
    stack = stacks.apply(planned, events.append)
    assert stack.status == "CREATE_COMPLETE"
    assert stack.outputs["FunctionName"] == NAME
    assert ":function:fnmodel-churn-dev:live" in stack.outputs["AliasArn"]
    done = {event.logical_id for event in events if event.status == "CREATE_COMPLETE"}
    assert {change.logical_id for change in planned.changes} <= done
    before = alias_of(emulator, NAME)
    assert before["FunctionVersion"] == "1"

    assert emulator.plan("dev", "a") == ChangeSet(NAME, "UPDATE", ())
    assert stacks.is_unchanged(stack, *inputs("dev", "a")[1:])
    assert not stacks.is_unchanged(stack, *inputs("dev", "b")[1:])
    assert not stacks.is_unchanged(stack, *inputs("dev", "a", jobs=())[1:])

    planned = emulator.plan("dev", "b")
    assert [(c.action, c.logical_id, c.replacement) for c in planned.changes] == [
        ("Modify", "Function", "False")
    ]
    updated = stacks.apply(planned)
    assert updated.parameters["ImageUri"].endswith(digest("b"))
    assert alias_of(emulator, NAME) == before

    s3 = emulator.client("s3")
    name = updated.outputs["Bucket"]
    for body in (b"one", b"two"):
        s3.put_object(Bucket=name, Key="scored/part", Body=body)
    s3.put_object(Bucket=name, Key="incoming/rows.csv", Body=b"x")
    s3.delete_object(Bucket=name, Key="incoming/rows.csv")
    s3.create_multipart_upload(Bucket=name, Key="broken")
    assert bucket.empty(s3, name) == 5
    assert bucket.empty(s3, name) == 0

    stacks.delete(NAME)
    assert stacks.find(NAME) is None
    assert not any(left(emulator).values())
    stacks.delete(NAME)
    assert bucket.empty(s3, name) == 0


def test_a_discarded_first_plan_leaves_no_stack(emulator: Emulator) -> None:
    """`plan` on a new stage makes a shell, and takes it away again."""
    planned = emulator.plan("flow", "a")
    assert emulator.stacks.find("fnmodel-churn-flow") is not None

    emulator.stacks.discard(planned)

    assert emulator.stacks.find("fnmodel-churn-flow") is None
    emulator.stacks.discard(planned)


def test_a_killed_plan_does_not_stand_in_the_way(emulator: Emulator) -> None:
    """The shell of an unexecuted change set is planned on again."""
    emulator.plan("kill", "a")

    again = emulator.plan("kill", "a")

    assert again.type == "CREATE"
    assert emulator.stacks.apply(again).status == "CREATE_COMPLETE"
    emulator.stacks.delete("fnmodel-churn-kill")


def test_a_refused_template_names_the_reason_and_leaves_no_shell(emulator: Emulator) -> None:
    """A parameter that the template forbids fails before anything is made."""
    with pytest.raises(ProvisionError, match="Timeout"):
        emulator.plan("gate", "a", Timeout="9000")

    assert emulator.stacks.find("fnmodel-churn-gate") is None


def test_a_failed_creation_names_the_first_cause_and_can_be_repeated(emulator: Emulator) -> None:
    """CloudFormation rolls back; the next plan deletes the remains and creates again."""
    name = "fnmodel-churn-contract"
    bad = json.loads(inputs("contract", "a")[1])
    # The second alias of this name is refused, as AWS does.
    bad["Resources"]["Twin"] = {
        **bad["Resources"]["LiveAlias"], "DependsOn": "LiveAlias"
    }  # fmt: skip
    _, body, parameters, tags = inputs("contract", "a")
    stacks = emulator.stacks

    with pytest.raises(ProvisionError, match=r"Twin \(AWS::Lambda::Alias\).*exists") as caught:
        stacks.apply(stacks.plan(name, json.dumps(bad), parameters, tags))
    assert "ROLLBACK_COMPLETE" in caught.value.message
    assert "same command again" in caught.value.hint
    rolled_back = stacks.find(name)
    assert rolled_back is not None
    assert rolled_back.status == "ROLLBACK_COMPLETE"

    assert stacks.apply(stacks.plan(name, body, parameters, tags)).status == "CREATE_COMPLETE"
    stacks.delete(name)


def test_a_failed_update_rolls_back_and_is_not_taken_for_current(emulator: Emulator) -> None:
    """After UPDATE_ROLLBACK_COMPLETE the stage serves as before and can be deployed again."""
    name, body, parameters, tags = inputs("ledger", "a")
    stacks = emulator.stacks
    stacks.apply(stacks.plan(name, body, parameters, tags))
    bad = json.loads(body)
    bad["Resources"]["Twin"] = {**bad["Resources"]["LiveAlias"], "DependsOn": "LiveAlias"}

    with pytest.raises(ProvisionError, match="UPDATE_ROLLBACK_COMPLETE: Twin"):
        stacks.apply(stacks.plan(name, json.dumps(bad), parameters, tags))

    stack = stacks.find(name)
    assert stack is not None
    assert not stacks.is_unchanged(stack, json.dumps(bad), parameters, tags)
    assert stacks.apply(emulator.plan("ledger", "b")).status == "UPDATE_COMPLETE"
    stacks.delete(name)


# ---------------------------------------------------------------- statuses, on a scripted service


class Script:
    """A CloudFormation whose stack goes through given statuses, one a look."""

    def __init__(self, *statuses: str | None, delete: tuple[str, ...] = ()) -> None:
        self.statuses = list(statuses)
        self.delete = list(delete)
        self.calls: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.reason = "because"
        self.changes = "CREATE_COMPLETE"
        self.client = client_answered_by("cloudformation", self.answer)

    def event(self, status: str, logical_id: str = NAME, reason: str = "") -> None:
        """Add an event; the newest is listed first."""
        self.events.append(
            {
                "EventId": str(len(self.events)),
                "LogicalResourceId": logical_id,
                "PhysicalResourceId": "id" if logical_id == NAME else logical_id,
                "ResourceType": "AWS::CloudFormation::Stack" if logical_id == NAME else "AWS::X::Y",
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
            }
        )

    def answer(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer one call."""
        self.calls.append(operation)
        match operation:
            case "DescribeStacks":
                status = self.statuses[0]
                if len(self.statuses) > 1:
                    self.statuses.pop(0)
                if status is None:
                    raise RefusedError("ValidationError", f"Stack {NAME} does not exist")
                stack = {"StackName": NAME, "StackId": "id", "StackStatus": status}
                return {"Stacks": [{**stack, "StackStatusReason": self.reason}]}
            case "DescribeStackEvents":
                return {"StackEvents": self.events[::-1]}
            case "CreateChangeSet":
                self.kind = asked["ChangeSetType"]
                return {"Id": "arn:aws:cloudformation:r:1:changeSet/name/uuid", "StackId": "id"}
            case "DescribeChangeSet":
                return {"Status": self.changes, "StatusReason": self.reason, "Changes": []}
            case "ListChangeSets":
                return {"Summaries": []}
            case "DeleteStack":
                for status in self.delete:
                    self.event(status)
                self.statuses = [self.delete[-1] if self.delete else None]
                return {}
            case _:
                return {}


def plan(script: Script) -> ChangeSet:
    stacks = Stacks(script.client, bodies=BODIES, sleep=lambda _: None)
    return stacks.plan(NAME, "{}", {}, {})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (None, "CREATE"),
        ("REVIEW_IN_PROGRESS", "CREATE"),
        ("CREATE_COMPLETE", "UPDATE"),
        ("UPDATE_COMPLETE", "UPDATE"),
        ("UPDATE_ROLLBACK_COMPLETE", "UPDATE"),
        ("IMPORT_COMPLETE", "UPDATE"),
    ],
)
def test_a_stack_at_rest_is_planned_on_at_once(status: str | None, kind: str) -> None:
    """The change set's type follows from the status."""
    script = Script(status)

    assert plan(script).type == kind == script.kind
    assert "DeleteStack" not in script.calls


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        (["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"], "UPDATE"),
        (
            ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE"],
            "UPDATE",
        ),
        (["UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"], "UPDATE"),
        (["DELETE_IN_PROGRESS", "DELETE_COMPLETE"], "CREATE"),
        (["DELETE_IN_PROGRESS", None], "CREATE"),
    ],
)
def test_work_in_progress_is_waited_for(statuses: list[str | None], kind: str) -> None:
    """Somebody else's operation, or that of a killed run, ends first."""
    script = Script(*statuses)

    assert plan(script).type == kind


@pytest.mark.parametrize(
    "status", ["CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"]
)
def test_remains_are_deleted_before_creating_again(status: str) -> None:
    """A stack that was never whole is deleted, then created."""
    script = Script(status, delete=("DELETE_IN_PROGRESS", "DELETE_COMPLETE"))

    assert plan(script).type == "CREATE"
    assert script.calls.index("DeleteStack") < script.calls.index("CreateChangeSet")


def test_remains_that_cannot_be_deleted_are_named() -> None:
    """The first resource that cannot be deleted, and how to go on."""
    script = Script("ROLLBACK_FAILED", delete=("DELETE_FAILED",))

    def fail(operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if operation == "DeleteStack":
            script.event("DELETE_FAILED", "Bucket", "The bucket is not empty")
        return script.answer(operation, asked)

    stacks = Stacks(client_answered_by("cloudformation", fail), bodies=BODIES, sleep=lambda _: None)
    with pytest.raises(ProvisionError, match=r"Bucket .*not empty") as caught:
        stacks.plan(NAME, "{}", {}, {})
    assert "goes on deleting" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "command"),
    [
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("UPDATE_FAILED", "rollback-stack"),
        ("IMPORT_ROLLBACK_FAILED", "describe-stack-events"),
    ],
)
def test_a_stack_that_needs_a_person_is_left_alone(status: str, command: str) -> None:
    """The error carries the command that helps; nothing is called that changes anything."""
    script = Script(status)

    with pytest.raises(ProvisionError, match=f"{status}: because") as caught:
        plan(script)

    assert f"{command} --stack-name {NAME}" in caught.value.hint
    assert set(script.calls) == {"DescribeStacks"}


def test_every_status_of_cloudformation_has_its_step() -> None:
    """A status that a newer API adds fails here first; unknown ones are never touched."""
    model = Script(None).client.meta.service_model
    for status in model.shape_for("StackStatus").enum:
        step = next_step(status)
        assert (step is Step.WAIT) == (
            status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"
        )
        if step is Step.REFUSE:
            assert status.endswith("_FAILED")
    assert next_step("SOMETHING_NEW_COMPLETE") is Step.REFUSE


def test_a_failed_change_set_is_cleaned_up_and_its_reason_told() -> None:
    """The shell made for it is gone too."""
    script = Script(None, "REVIEW_IN_PROGRESS")
    script.changes, script.reason = "FAILED", "Template error: no such parameter"

    with pytest.raises(ProvisionError, match="no such parameter"):
        plan(script)

    assert script.calls[-1] == "DeleteStack"
    assert "DeleteChangeSet" in script.calls


def test_waiting_ends_with_an_error_that_says_so() -> None:
    """The wait is bounded by the given clock."""
    now = iter(range(0, 100_000, 600))
    stacks = Stacks(
        Script("UPDATE_IN_PROGRESS").client,
        bodies=BODIES,
        sleep=lambda _: None,
        clock=lambda: float(next(now)),
    )
    with pytest.raises(ProvisionError, match="gave up waiting") as caught:
        stacks.plan(NAME, "{}", {}, {})
    assert "waits on" in caught.value.hint


def test_apply_is_not_fooled_by_the_status_from_before() -> None:
    """Right after the execution the stack still shows its old status and no new event."""
    script = Script("UPDATE_COMPLETE")
    script.event("UPDATE_COMPLETE")
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            script.event("UPDATE_IN_PROGRESS")  # the status still lags behind
        if len(pauses) == 3:
            script.event("UPDATE_FAILED", "Other", "Resource update cancelled")
            script.event("UPDATE_FAILED", "Function", "the image is gone")
            script.statuses = ["UPDATE_ROLLBACK_IN_PROGRESS"]
        if len(pauses) == 5:
            script.event("UPDATE_ROLLBACK_COMPLETE")
            script.statuses = ["UPDATE_ROLLBACK_COMPLETE"]

    stacks = Stacks(script.client, bodies=BODIES, sleep=sleep)
    with pytest.raises(ProvisionError, match=r"Function \(AWS::X::Y\): the image is gone"):
        stacks.apply(stacks.plan(NAME, "{}", {}, {}))
    assert len(pauses) == 5


def test_expired_credentials_are_told_as_such() -> None:
    """Foreign errors leave the module as ours."""

    def expired(operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        raise RefusedError("ExpiredToken", "The security token included is expired", 403)

    stacks = Stacks(client_answered_by("cloudformation", expired), bodies=BODIES)
    with pytest.raises(CredentialsError):
        stacks.find(NAME)


def test_a_secret_that_is_never_shown_is_no_change() -> None:
    """CloudFormation masks NoEcho parameters; any other difference still counts."""

    class Client:
        def get_template(self, **_: Any) -> Any:
            return {"TemplateBody": {"Resources": {}}}

    stack = Stack(
        name="s", id="i", status="UPDATE_COMPLETE", reason="", outputs={}, tags={},
        parameters={"Stage": "dev", "CaptureKey": "****"},
    )  # fmt: skip
    stacks = Stacks(Client(), bodies=BODIES)

    assert stacks.is_unchanged(stack, '{"Resources": {}}', {"Stage": "dev", "CaptureKey": "ab"}, {})
    for other in ({"Stage": "x", "CaptureKey": "ab"}, {"Stage": "dev"}):
        assert not stacks.is_unchanged(stack, '{"Resources": {}}', other, {})


def test_a_large_template_is_read_from_the_stages_bucket(emulator: Emulator) -> None:
    """What is too large for a request is planned, applied and recognised all the same."""
    stacks = emulator.stacks
    name, body, parameters, tags = inputs("large", "a")
    with pytest.raises(ProvisionError, match="has not got yet"):
        stacks.plan(name, _enlarged(body, 1), parameters, tags)
    stack = stacks.apply(stacks.plan(name, body, parameters, tags))
    large = _enlarged(body, 1)

    stack = stacks.apply(stacks.plan(name, large, parameters, tags))

    assert stack.status == "UPDATE_COMPLETE"
    assert stacks.is_unchanged(stack, large, parameters, tags)
    assert not stacks.is_unchanged(stack, _enlarged(body, 2), parameters, tags)
    assert stacks.plan(name, large, parameters, tags).empty
    bucket.empty(emulator.client("s3"), stack.outputs["Bucket"])
    stacks.delete(name)


def test_physical_ids_are_those_of_one_type_that_were_made() -> None:
    """All pages are read, a stack is named or its id; a resource that has no id yet is left out."""
    asked: list[Any] = []
    made = {
        "A": ("AWS::CloudWatch::Alarm", "churn-crashes"),
        "B": ("AWS::SNS::Topic", "arn"),
        "C": ("AWS::CloudWatch::Alarm", None),
        "D": ("AWS::CloudWatch::Alarm", "churn-slow"),
    }

    def answer(operation: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        assert operation == "ListStackResources"
        asked.append(given["StackName"])
        found = [
            {"LogicalResourceId": name, "ResourceType": kind, "ResourceStatus": "CREATE_COMPLETE"}
            | ({"PhysicalResourceId": identity} if identity else {})
            for name, (kind, identity) in made.items()
        ]
        if "NextToken" in given:
            return {"StackResourceSummaries": found[2:]}
        return {"StackResourceSummaries": found[:2], "NextToken": "more"}

    stacks = Stacks(client_answered_by("cloudformation", answer), bodies=BODIES)

    assert stacks.physical_ids(NAME, "AWS::CloudWatch::Alarm") == ["churn-crashes", "churn-slow"]
    assert asked == [NAME, NAME]


def _enlarged(body: str, number: int) -> str:
    template = json.loads(body)
    properties = {"Type": "String", "Value": f"{number}" * 4000}
    for n in range(IN_REQUEST // 4000):
        template["Resources"][f"Text{n}"] = {
            "Type": "AWS::SSM::Parameter",
            "Properties": properties,
        }
    return json.dumps(template)
