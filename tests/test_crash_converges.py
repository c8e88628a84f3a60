"""Commands that are killed, or whose calls fail, at any call: the same command again ends them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_cases import (
    DESTROY,
    PROMOTE,
    ROLLBACK,
    SCENARIOS,
    Scenario,
    World,
    converges,
    deploy,
    hit,
    shift,
)

from fnmodel.provision.bodies import IN_REQUEST, Bodies
from fnmodel.provision.stack import Stacks
from fnmodel.provision.status import Step, next_step, way_out
from fnmodel.release.reasons import REMEDIES
from fnmodel.testing import InMemoryAccount

# `make crash` tries every point.
EVERY = 17


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.account.interpose = None


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_command_that_broke_off_is_ended_by_the_same_command(
    world: World, scenario: Scenario
) -> None:
    """Hit in eight ways at calls of its own, it comes to what an unbroken run comes to."""
    assert converges(world, scenario, EVERY)


def test_an_unchanged_deploy_changes_nothing(world: World) -> None:
    """Repeated, a deploy makes no call that could change anything."""
    world.run(deploy("a"))
    ended, fault = hit(world, deploy("a"), "", 0)

    assert ended == "done"
    changing = ("Create", "Execute", "Delete", "Put", "Update", "Publish", "Transact", "Enable")
    assert [call for call in fault.log if call.split(".")[1].startswith(changing)] == []


def test_a_roll_back_is_one_move_and_nothing_else(world: World) -> None:
    """No build, no push, no stack: one UpdateAlias."""
    for command in (deploy("a"), deploy("b"), PROMOTE):
        world.run(command)
    _, fault = hit(world, ROLLBACK, "", 0)

    assert fault.log.count("lambda.UpdateAlias") == 1
    services = {call.split(".")[0] for call in fault.log if "Describe" not in call}
    assert services == {"lambda", "dynamodb"}


def test_a_template_too_large_for_a_request_comes_from_the_bucket(world: World) -> None:
    """It is put there first; an account takes no such template in the request."""
    world.run(deploy("a"))
    account = world.account
    cloudformation = account.client("cloudformation")
    body = cloudformation.get_template(StackName=world.name)["TemplateBody"]
    body["Resources"]["Function"]["Properties"]["MemorySize"] = 3008
    large = json.dumps({**body, "Description": "x" * IN_REQUEST})
    [shown] = cloudformation.describe_stacks(StackName=world.name)["Stacks"]
    given = {p["ParameterKey"]: p["ParameterValue"] for p in shown["Parameters"]}
    tags = {tag["Key"]: tag["Value"] for tag in shown["Tags"]}
    stacks = Stacks(
        cloudformation, bodies=Bodies(account.client("s3")), sleep=world.sleep, interval=0
    )
    stacks.apply(stacks.plan(world.name, large, given, tags))

    assert cloudformation.get_template(StackName=world.name)["TemplateBody"] == json.loads(large)
    with pytest.raises(cloudformation.exceptions.ClientError, match="more than 51200"):
        cloudformation.create_change_set(
            StackName=world.name, ChangeSetName="large", TemplateBody=large, Tags=[]
        )


def test_destroying_one_stage_leaves_what_others_have(world: World) -> None:
    """A function, a table and a repository of somebody else stay as they are."""
    world.run(deploy("a"))
    account = world.account
    account.resources.tables.tables["theirs"] = {}
    account.repositories.images["theirs"] = {"sha256:1"}
    world.run(DESTROY)

    assert account.resources.tables.tables == {"theirs": {}}
    assert account.repositories.images == {"theirs": {"sha256:1"}}
    assert account.resources.functions == {}


# ---------------------------------------------------------------- every state


def _enumeration(service: str, shape: str) -> list[str]:
    client = InMemoryAccount(lambda _version, _event: None).client(service)
    return list(client.meta.service_model.shape_for(shape).enum)


STATES = _enumeration("cloudformation", "StackStatus")
REASONS = _enumeration("lambda", "LastUpdateStatusReasonCode")
STATE_REASONS = _enumeration("lambda", "StateReasonCode")


@pytest.mark.parametrize("status", STATES)
def test_every_state_of_a_stack_has_its_next_step(world: World, status: str) -> None:
    """A deploy goes on from it by itself, or the error says what a person does."""
    world.run(deploy("a"))
    alias = world.alias()
    world.account.stacks.set_status(world.name, status)
    step = next_step(status)
    said, fault = hit(world, deploy("b"), "", 0)

    changing = [call for call in fault.log if call.endswith(("ExecuteChangeSet", "DeleteStack"))]
    match step:
        case Step.UPDATE | Step.CREATE | Step.DELETE:
            assert changing
        case Step.WAIT:
            assert said.startswith("exit 1: gave up waiting for stack")
            assert said.endswith("run the same command again and it waits on")
        case Step.REFUSE:
            assert said.startswith(f"exit 1: stack {world.name} is {status}")
            assert said.endswith(f"| {way_out(world.name, status)}")
            assert f"--stack-name {world.name}" in said
    if not changing:
        assert world.alias() == alias


@pytest.mark.parametrize("code", REASONS)
def test_every_reason_of_a_failed_update_leaves_the_alias(world: World, code: str) -> None:
    """Traffic stays, and the error names the reason and its remedy."""
    world.run(deploy("a"))
    function, alias = world.account.resources.functions[world.name], world.alias()
    function.update_fails(code, "because")
    said, fault = hit(world, deploy("b"), "", 0)

    assert f"because ({code}) | {REMEDIES[code]}" in said
    assert "lambda.UpdateAlias" not in fault.log
    assert world.alias() == alias


@pytest.mark.parametrize("code", STATE_REASONS)
def test_every_reason_of_a_failed_version_leaves_the_alias(world: World, code: str) -> None:
    """A candidate that Lambda cannot load gets no requests."""
    for command in (deploy("a"), deploy("b")):
        world.run(command)
    world.account.resources.functions[world.name].fail(code, "because", "2")
    alias = world.alias()
    said, fault = hit(world, shift(10), "", 0)

    assert f"because ({code}) | {REMEDIES[code]}" in said
    assert "lambda.UpdateAlias" not in fault.log
    assert world.alias() == alias
