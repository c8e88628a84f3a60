"""Which versions stay: what serves, what a rollout needs, and the ways back, which stay awake."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from release_cases import PROBE, Emulator, digest, image_uri, make_table, proven

from fnmodel.errors import ConflictError, LockHeldError
from fnmodel.release.alias import AliasRouter, AliasState
from fnmodel.release.garbage import decide
from fnmodel.release.ledger import Ledger, Record
from fnmodel.release.probe import ProbeGate
from fnmodel.release.publish import Publisher
from fnmodel.release.release import Releases
from fnmodel.testing import InMemoryLambda

pytest_plugins = ["release_emulator"]

FUNCTION, TABLE = "fnmodel-churn-gc", "gc-tests"
_aliases = itertools.count()


def moved(version: str, previous: str | None, action: Any = "promote") -> Record:
    return Record(
        f"v{version}", action, version, digest("a"), "done", stable=version, previous=previous
    )


STORY = [
    moved("1", None, "deploy"), moved("2", "1"), moved("3", "2"), moved("5", "3"), moved("6", "5"),
][::-1]  # fmt: skip
NUMBERS = [str(number) for number in range(1, 9)]


def test_what_serves_and_the_ways_back_stay() -> None:
    """The stable version, the newest, and the last that were stable, each with its reason."""
    made = decide(NUMBERS, {"live": AliasState("6")}, None, STORY, keep=2)

    assert dict(made.kept) == {
        "1": "the newest deploy",
        "3": "way back 2 of 2",
        "5": "way back 1 of 2",
        "6": "live points to it",
        "8": "the newest; Lambda compares the next one with it",
    }
    assert made.removed == ("2", "4", "7")
    assert made.idle == ("1", "3", "5", "8")


def test_every_alias_and_weight_counts() -> None:
    """Also of an alias that somebody made by hand."""
    aliases = {"live": AliasState("6", {"7": 0.1}), "mine": AliasState("2")}

    made = decide(NUMBERS, aliases, None, STORY, keep=1)

    assert made.kept["7"] == "live gives it 0.1 of the requests"
    assert made.kept["2"] == "mine points to it"
    assert made.removed == ("3", "4")


def test_a_function_without_a_story_keeps_what_serves() -> None:
    """An empty ledger is no reason to delete it; nor is a function without versions an error."""
    assert decide([], {}, None, [], 3).removed == ()
    assert decide(["1"], {"live": AliasState("1")}, None, [], 3).removed == ()


class World:
    """A strict Lambda and a real ledger."""

    def __init__(self, database: Any) -> None:
        self.function = InMemoryLambda(FUNCTION, image_uri("a"), respond=proven)
        self.ledger = Ledger(database, TABLE, f"gc-{next(_aliases)}", gone=lambda _: False)
        self.publisher = Publisher(self.function.client, FUNCTION, interval=0)
        self.releases = Releases(
            self.publisher, AliasRouter(self.function.client, FUNCTION), self.ledger, who="ada"
        )

    def deploy(self, letters: str) -> None:
        """Release images one after the other, each to all requests."""
        for letter in letters:
            self.function.update(image_uri(letter))
            gate = ProbeGate(self.function.client, FUNCTION, "churn", PROBE)
            self.releases.release(digest(letter), gate)
            self.releases.promote()


@pytest.fixture(scope="module")
def database(emulator: Emulator) -> Iterator[Any]:
    client = emulator.client("dynamodb")
    make_table(client, TABLE)
    yield client
    client.delete_table(TableName=TABLE)


@pytest.fixture
def world(database: Any) -> World:
    return World(database)


def nothing() -> None:
    """There is no rollout."""


def test_cleaning_deletes_the_rest_and_repeated_nothing(world: World) -> None:
    """The way back still works afterwards, and what is gone is gone."""
    world.deploy("abcdef")
    assert world.releases.garbage(None, 2).removed == ("1", "2", "3")
    assert len(world.publisher.numbers()) == 6

    world.releases.clean(nothing, 2)
    again = world.releases.clean(nothing, 2)

    assert again.removed == ()
    assert world.publisher.numbers() == ["4", "5", "6"]
    assert world.releases.rollback().version == "5"


def test_nothing_is_deleted_while_somebody_releases(world: World) -> None:
    """The lease is theirs: what they are about to use stays."""
    world.deploy("abcde")
    with world.ledger.lease("bob", 900), pytest.raises(LockHeldError, match="bob"):
        world.releases.clean(nothing, 1)

    assert len(world.publisher.numbers()) == 5


def test_a_version_that_is_taken_into_use_by_hand_meanwhile_stays(world: World) -> None:
    """Lambda itself refuses to delete what an alias points to."""
    world.deploy("abcd")
    client = world.function.client

    def move(**_: Any) -> None:
        client.meta.events.unregister("before-call.lambda.DeleteFunction", move)
        client.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="1")

    client.meta.events.register_first("before-call.lambda.DeleteFunction", move)
    with pytest.raises(ConflictError, match=f"{FUNCTION}:1 is used"):
        world.releases.clean(nothing, 1)

    assert "1" in world.publisher.numbers()


def test_ways_back_are_kept_awake(world: World) -> None:
    """Each is asked once; one that sleeps is woken, and takes requests again."""
    world.deploy("abc")
    asked: list[str] = []

    def respond(version: str, event: Any) -> Any:
        asked.append(version)
        return proven(version, event)

    world.function.respond = respond
    world.function.fall_asleep("2")

    world.releases.clean(nothing, 2)

    assert asked == ["1"]  # the refused question has woken the other
    assert world.publisher.ready("2").number == "2"
    world.releases.clean(nothing, 2)
    assert asked == ["1", "1", "2"]


def test_a_rollback_wakes_where_it_goes(world: World) -> None:
    """The alias is moved only once the version takes requests: no caller meets the refusal."""
    world.deploy("ab")
    world.function.fall_asleep("1")

    state = world.releases.rollback()

    assert state.version == "1"
    answer = world.function.client.invoke(FunctionName=FUNCTION, Qualifier="1", Payload=b"{}")
    assert "FunctionError" not in answer
