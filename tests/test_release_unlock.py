"""Breaking a lease: only the one that is named, and its old holder loses."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from release_cases import PROBE, Emulator, digest, image_uri, make_table, proven

from fnmodel.errors import ConflictError, LockHeldError, UsageError
from fnmodel.release.alias import AliasRouter, AliasState
from fnmodel.release.chain import faults
from fnmodel.release.ledger import Ledger, Record
from fnmodel.release.probe import ProbeGate
from fnmodel.release.publish import Publisher
from fnmodel.release.release import Releases
from fnmodel.testing import InMemoryLambda

pytest_plugins = ["release_emulator"]

FUNCTION, TABLE = "fnmodel-churn-unlock", "unlock-tests"
_aliases = itertools.count()


class World:
    """A strict Lambda and a real ledger, of which several processes may open the same."""

    def __init__(self, database: Any) -> None:
        self.function = InMemoryLambda(FUNCTION, image_uri("a"), respond=proven)
        self.now = 1_800_000_000.0
        self._database, self._alias = database, f"unlock-{next(_aliases)}"

    @property
    def ledger(self) -> Ledger:
        """Open the ledger; nobody is known to be dead."""
        return Ledger(
            self._database, TABLE, self._alias, clock=lambda: self.now, gone=lambda _: False
        )

    @property
    def router(self) -> AliasRouter:
        """Read and move the alias."""
        return AliasRouter(self.function.client, FUNCTION)

    def releases(self, who: str = "ada") -> Releases:
        """Work as somebody."""
        publisher = Publisher(self.function.client, FUNCTION, interval=0)
        return Releases(publisher, self.router, self.ledger, who=who)

    def deploy(self, letter: str) -> None:
        """Release an image."""
        self.function.update(image_uri(letter))
        gate = ProbeGate(self.function.client, FUNCTION, "churn", PROBE)
        self.releases().release(digest(letter), gate)


@pytest.fixture(scope="module")
def database(emulator: Emulator) -> Iterator[Any]:
    client = emulator.cloud.client("dynamodb")
    make_table(client, TABLE)
    yield client
    client.delete_table(TableName=TABLE)


@pytest.fixture
def world(database: Any) -> World:
    return World(database)


def record(version: str) -> Record:
    return Record(f"v{version}", "shift", version, digest("a"), "done", stable="1")


def test_the_holder_is_shown_with_its_id_and_since_when(world: World) -> None:
    """Each lease has an id of its own, which the refusal of others names."""
    with world.ledger.lease("ada", 900):
        world.now += 60
        first = world.ledger.holder()
        with pytest.raises(LockHeldError) as caught, world.ledger.lease("bob"):
            raise AssertionError("two holders at once")
    with world.ledger.lease("ada", 900):
        second = world.ledger.holder()

    assert first is not None
    assert second is not None
    assert (first.name, first.began) == ("ada", "2027-01-15T08:00:00+00:00")
    assert f"fnmodel unlock --id {first.id}" in caught.value.hint
    assert first.id != second.id


def test_only_the_lease_that_is_named_is_broken(world: World) -> None:
    """A wrong id, or that of a lease that has ended, is refused and changes nothing."""
    world.deploy("a")
    with world.ledger.lease("ada", 900) as lease:
        holder = world.ledger.holder()
        assert holder is not None
        with pytest.raises(UsageError, match=r"'1-00000000' is not the id .* ada holds"):
            world.releases("bob").unlock("1-00000000")
        lease.append(record("1"))
    with pytest.raises(UsageError, match="nobody holds the lock"):
        world.releases("bob").unlock(holder.id)

    assert [r.action for r in world.ledger.history()] == ["shift", "deploy", "gate"]


def test_the_old_holder_can_neither_write_nor_move(world: World) -> None:
    """It was not dead after all: the fence refuses its record, the alias its state."""
    world.deploy("a")
    world.deploy("b")
    with world.ledger.lease("slow", 900) as slow:
        seen = world.router.read()
        holder = world.ledger.holder()
        assert holder is not None
        broken = world.releases("bob").unlock(holder.id, "the runner was shut down")

        with pytest.raises(ConflictError, match="slow was taken over"):
            slow.append(record("2"))
        with pytest.raises(ConflictError):
            world.router.move(AliasState("2"), seen)

    assert broken == holder
    assert world.router.read().serves_as(AliasState("1"))
    assert world.ledger.holder() is None
    [newest, *_] = world.ledger.history()
    assert (newest.action, newest.result, newest.who) == ("unlock", "done", "bob")
    assert newest.reason == "broke the lease of slow: the runner was shut down"
    assert list(faults(*world.ledger.chain())) == []


def test_of_two_who_break_one_lease_one_does(world: World, database: Any) -> None:
    """Both have read it; the second is told that somebody was faster."""
    world.deploy("a")
    with world.ledger.lease("dead", 900):
        holder = world.ledger.holder()
        assert holder is not None
        done: list[Any] = []

        def be_faster(**_: object) -> None:
            if not done:
                done.append(None)
                world.releases("rival").unlock(holder.id)

        database.meta.events.register("before-call.dynamodb.PutItem", be_faster)
        try:
            with pytest.raises(LockHeldError):
                world.releases("bob").unlock(holder.id)
        finally:
            database.meta.events.unregister("before-call.dynamodb.PutItem", be_faster)

    assert [r.who for r in world.ledger.history() if r.action == "unlock"] == ["rival"]


@pytest.mark.parametrize("told", [True, False])
def test_a_rollback_whose_lease_was_broken_is_not_made_twice(world: World, told: bool) -> None:
    """The same command goes on where it was, with the unlock between: one step back, not two."""
    for letter in "abc":
        world.deploy(letter)
        world.releases().promote()
    state = world.router.read()
    lease = world.ledger._take("killed", 900)
    back = Record(
        "v2", "rollback", "2", digest("b"), "started", stable="2", weights={}, previous="3"
    )
    lease.append(back)
    world.router.move(AliasState("2"), state)
    if told:
        lease.append(Record(**{**vars(back), "result": "done"}))
    holder = world.ledger.holder()
    assert holder is not None

    world.releases("bob").unlock(holder.id)
    world.releases("bob").rollback()

    assert world.router.read().version == "2"
    world.releases("bob").rollback()
    assert world.router.read().version == "1"
