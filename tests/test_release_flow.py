"""Releases and moves from end to end, killed between any two calls and run again."""

import copy
import itertools
import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from release_cases import PROBE, Emulator, digest, http_answer, image_uri, make_table, proven

from fnmodel.errors import ConflictError, GateError, LockHeldError, ReleaseError
from fnmodel.release.alias import AliasRouter, AliasState
from fnmodel.release.ledger import Ledger, Record
from fnmodel.release.probe import ProbeGate
from fnmodel.release.publish import Publisher
from fnmodel.release.release import Released, Releases
from fnmodel.testing import InMemoryLambda

pytest_plugins = ["release_emulator"]

FUNCTION = "fnmodel-churn-flow"
TABLE = "flow-tests"
_aliases = itertools.count()


class Killed(BaseException):
    """The process is gone: nothing after it runs, no `finally` reaches the cloud."""


@dataclass
class World:
    """A strict Lambda and a real ledger; calls may be watched, and cut off."""

    function: InMemoryLambda
    database: Any
    alias: str = field(default_factory=lambda: f"flow-{next(_aliases)}")
    calls: list[str] = field(default_factory=list)
    kill_at: tuple[str, int] | None = None
    dead: bool = False

    def __post_init__(self) -> None:
        for client, service in ((self.function.client, "lambda"), (self.database, "dynamodb")):
            client.meta.events.register_first(f"before-call.{service}", self._before)
            client.meta.events.register_last(f"after-call.{service}", self._after)

    def close(self) -> None:
        """Stop watching the shared client."""
        self.database.meta.events.unregister("before-call.dynamodb", self._before)
        self.database.meta.events.unregister("after-call.dynamodb", self._after)

    def _before(self, model: Any, **_: Any) -> None:
        if self.dead:
            raise Killed
        self.calls.append(model.name)
        self._maybe_die("before")

    def _after(self, **_: Any) -> None:
        self._maybe_die("after")

    def _maybe_die(self, when: str) -> None:
        if self.kill_at == (when, len(self.calls)):
            self.dead = True
            raise Killed

    @property
    def ledger(self) -> Ledger:
        """Open the ledger; whoever held it was killed."""
        return Ledger(self.database, TABLE, self.alias, gone=lambda _name: True)

    @property
    def router(self) -> AliasRouter:
        """Move the alias."""
        return AliasRouter(self.function.client, FUNCTION)

    @property
    def releases(self) -> Releases:
        """Put the parts together, as each command does."""
        publisher = Publisher(self.function.client, FUNCTION, interval=0)
        return Releases(publisher, self.router, self.ledger, who="ada")

    def release(self, letter: str) -> Released:
        """Release what the stack was updated to."""
        gate = ProbeGate(self.function.client, FUNCTION, "churn", PROBE)
        return self.releases.release(digest(letter), gate)

    def deploy(self, letter: str) -> Released:
        """Update the stack, then release."""
        self.function.update(image_uri(letter))
        return self.release(letter)

    def state(self) -> tuple[str, dict[str, float]]:
        """Return version and weights of the alias."""
        state = self.router.read()
        return state.version, dict(state.weights)

    def story(self) -> list[tuple[Any, ...]]:
        """Return what the ledger tells, oldest first."""
        return [(r.action, r.version, r.result) for r in self.ledger.history(100)[::-1]]


@pytest.fixture(scope="module")
def database(emulator: Emulator) -> Iterator[Any]:
    client = emulator.cloud.client("dynamodb")
    make_table(client, TABLE)
    yield client
    client.delete_table(TableName=TABLE)


@pytest.fixture
def world(database: Any) -> Iterator[World]:
    world = World(InMemoryLambda(FUNCTION, image_uri("a"), respond=proven), database)
    yield world
    world.close()


def wrong(version: str, event: Any) -> Any:
    return http_answer({"outputs": []})


def test_the_first_version_that_passes_gets_all_requests(world: World) -> None:
    """Version 1 is already behind the alias; it is judged and recorded."""
    released = world.release("a")

    assert released.serving
    assert released.gate is not None
    assert released.gate.checked == 6
    assert world.state() == ("1", {})
    assert world.story() == [("gate", "1", "passed"), ("deploy", "1", "done")]
    assert world.function.mutations == []


def test_a_later_version_waits_as_the_candidate(world: World) -> None:
    """It is published and judged; no request reaches it before a shift."""
    world.release("a")
    released = world.deploy("b")

    assert not released.serving
    assert released.version.number == "2"
    assert world.state() == ("1", {})
    assert world.function.mutations == ["PublishVersion"]


def test_a_release_that_was_planned_waits_for_nobody_s_entries(world: World) -> None:
    """Where the ledger has gone on since the plan, nothing is published, judged or moved."""
    planned = world.ledger.head()
    world.release("a")
    world.function.update(image_uri("b"))
    story = world.story()
    gate = ProbeGate(world.function.client, FUNCTION, "churn", PROBE)

    with pytest.raises(ConflictError, match="2 entries were added") as refused:
        world.releases.release(digest("b"), gate, after=planned)
    assert "plan again" in refused.value.hint
    assert world.story() == story
    assert world.function.mutations == []

    released = world.releases.release(digest("b"), gate, after=world.ledger.head())
    assert released.version.number == "2"


def test_a_rollout_goes_up_and_ends_in_a_promotion(world: World) -> None:
    """Each step is one UpdateAlias; repeated, it is none."""
    world.release("a")
    world.deploy("b")
    world.function.mutations.clear()

    for _ in range(2):
        assert world.releases.shift(10).serves_as(AliasState("1", {"2": 0.1}))
    assert world.releases.shift(50).serves_as(AliasState("1", {"2": 0.5}))
    for _ in range(2):
        assert world.releases.promote().serves_as(AliasState("2"))

    assert world.function.mutations == ["UpdateAlias"] * 3
    assert world.story()[3:] == [
        ("deploy", "2", "done"),
        ("shift", "2", "started"),
        ("shift", "2", "done"),
        ("shift", "2", "started"),
        ("shift", "2", "done"),
        ("promote", "2", "started"),
        ("promote", "2", "done"),
    ]


def test_rollback_takes_traffic_away_then_goes_back_version_by_version(world: World) -> None:
    """A candidate first, then the version that was stable before, until there is none."""
    world.release("a")
    for letter in "bc":
        world.deploy(letter)
        world.releases.promote()
    world.deploy("d")
    world.releases.shift(20)
    assert world.state() == ("3", {"4": 0.2})
    world.function.mutations.clear()

    assert world.releases.rollback().serves_as(AliasState("3"))
    assert world.releases.rollback().serves_as(AliasState("2"))
    assert world.releases.rollback().serves_as(AliasState("1"))
    with pytest.raises(ReleaseError, match="nothing to go back to"):
        world.releases.rollback()

    assert world.function.mutations == ["UpdateAlias"] * 3


def test_what_was_rolled_back_is_promoted_only_by_name(world: World) -> None:
    """A bare `promote` after a rollback is refused; the version may be named."""
    world.release("a")
    world.deploy("b")
    world.releases.shift(10)
    world.releases.rollback()

    with pytest.raises(ReleaseError, match="was rolled back"):
        world.releases.promote()
    assert world.releases.shift(100, "2").serves_as(AliasState("2"))


def test_abort_takes_the_candidate_away_and_nothing_else(world: World) -> None:
    """Without a candidate it changes nothing, however often."""
    world.release("a")
    world.deploy("b")
    world.releases.promote()
    world.deploy("c")
    world.releases.shift(30)
    world.function.mutations.clear()

    for _ in range(3):
        assert world.releases.abort().serves_as(AliasState("2"))
    assert world.function.mutations == ["UpdateAlias"]


def test_a_version_that_fails_its_gate_gets_nothing(world: World) -> None:
    """Traffic is as before, the reason is in the ledger, and no shift can reach it."""
    world.release("a")
    world.function.respond = wrong
    with pytest.raises(GateError, match="answers differently"):
        world.deploy("b")

    assert world.state() == ("1", {})
    failed = world.ledger.latest("gate")
    assert failed is not None
    assert (failed.version, failed.result) == ("2", "failed")
    assert "this output" in failed.reason
    with pytest.raises(ReleaseError, match="version 2 has not passed its gate"):
        world.releases.shift(10, "2")
    assert not world.releases.is_current(digest("b"))

    world.function.respond = proven
    assert not world.release("b").serving
    assert world.releases.is_current(digest("b"))


def test_a_first_version_that_failed_gives_way_to_the_first_that_passes(world: World) -> None:
    """What was never proven is replaced at once, and is no way back."""
    world.function.respond = wrong
    with pytest.raises(GateError):
        world.release("a")
    world.function.respond = proven

    assert world.deploy("b").serving
    assert world.state() == ("2", {})
    with pytest.raises(ReleaseError, match="nothing to go back to"):
        world.releases.rollback()


def test_an_unchanged_project_is_current_and_only_read(world: World) -> None:
    """The check makes no mutating call, and is false for another image or setting."""
    assert not world.releases.is_current(digest("a"))
    world.release("a")
    world.calls.clear()

    assert world.releases.is_current(digest("a"))
    assert set(world.calls) <= {"ListVersionsByFunction", "GetFunction", "Query"}
    assert not world.releases.is_current(digest("b"))
    world.function.update(image_uri("a"), memory=512)
    assert not world.releases.is_current(digest("a"))


def test_releasing_again_changes_nothing(world: World) -> None:
    """The same release twice: no new version, no new record, no probe."""
    world.release("a")
    world.deploy("b")
    story, world.function.respond = world.story(), None

    again = world.release("b")

    assert again.version.number == "2"
    assert again.gate is None
    assert world.story() == story
    assert world.function.mutations == ["PublishVersion"]


def test_another_image_is_not_deployed_into_a_rollout(world: World) -> None:
    """It is finished first; deploying the candidate itself again is no conflict."""
    world.release("a")
    world.deploy("b")
    world.releases.shift(10)

    world.releases.require_idle(digest("b"))
    assert world.release("b").state.candidate == "2"
    with pytest.raises(ReleaseError, match="version 2 has 10 % of the requests"):
        world.releases.require_idle(digest("c"))
    with pytest.raises(ReleaseError, match="a rollout is under way"):
        world.deploy("c")
    assert world.state() == ("1", {"2": 0.1})


def test_a_way_back_that_cannot_be_loaded_is_refused_before_the_move(world: World) -> None:
    """Lambda would move the alias, and every request would fail."""
    world.release("a")
    world.deploy("b")
    world.releases.promote()
    world.function.fail("ImageDeleted", "the image is gone", "1")
    world.function.mutations.clear()

    with pytest.raises(ReleaseError, match="the image is gone"):
        world.releases.rollback()
    assert world.function.mutations == []
    assert world.ledger.holder() is None


def test_a_move_that_somebody_else_made_is_not_overwritten(world: World) -> None:
    """The ledger keeps the failure; the alias keeps the other's move."""
    world.release("a")
    world.deploy("b")
    once = [1]

    def meddle(**_: Any) -> None:
        if once and once.pop():
            router = world.router
            router.move(AliasState("1", {"2": 0.9}), router.read())

    world.function.client.meta.events.register_first("before-call.lambda.UpdateAlias", meddle)
    with pytest.raises(ConflictError):
        world.releases.shift(10)

    assert world.state() == ("1", {"2": 0.9})
    assert world.story()[-1] == ("shift", "2", "failed")


def test_a_move_whose_answer_was_lost_is_recognised(world: World) -> None:
    """Botocore repeats the call and meets its own move: that is no conflict."""
    world.release("a")
    world.deploy("b")
    once = [1]

    def move_first(**_: Any) -> None:
        if once and once.pop():
            router = world.router
            router.move(AliasState("1", {"2": 0.1}), router.read())

    world.function.client.meta.events.register_first("before-call.lambda.UpdateAlias", move_first)

    assert world.releases.shift(10).serves_as(AliasState("1", {"2": 0.1}))
    assert world.story()[-1] == ("shift", "2", "done")


def test_nothing_is_moved_while_someone_else_releases(world: World, database: Any) -> None:
    """The second one is told who is at it."""
    world.release("a")
    world.function.mutations.clear()
    ledger = Ledger(database, TABLE, world.alias, gone=lambda _name: False)
    releases = Releases(Publisher(world.function.client, FUNCTION), world.router, ledger, who="bob")
    with ledger.lease("ada"), pytest.raises(LockHeldError, match="ada"):
        releases.rollback()
    assert world.function.mutations == []


# ---------------------------------------------------------------- killed at every call


def _first(world: World) -> None:
    world.release("a")


def _later(world: World) -> None:
    world.release("b")


def _shift(world: World) -> None:
    world.releases.shift(10)


def _promote(world: World) -> None:
    world.releases.promote()


def _rollback(world: World) -> None:
    world.releases.rollback()


def _abort(world: World) -> None:
    world.releases.abort()


def _nothing(_world: World) -> None:
    """Do nothing: a first deploy has nothing before it."""


def _released(world: World) -> None:
    world.release("a")
    world.function.update(image_uri("b"))


def _candidate(world: World) -> None:
    world.release("a")
    world.deploy("b")


def _canary(world: World) -> None:
    _candidate(world)
    world.releases.shift(10)


def _three(world: World) -> None:
    _candidate(world)
    world.releases.promote()
    world.deploy("c")
    world.releases.promote()


def _three_and_a_canary(world: World) -> None:
    _three(world)
    world.deploy("d")
    world.releases.shift(20)


CASES: dict[str, tuple[Callable[[World], None], Callable[[World], None]]] = {
    "first release": (_nothing, _first),
    "later release": (_released, _later),
    "shift": (_candidate, _shift),
    "promote": (_canary, _promote),
    "rollback of a candidate": (_three_and_a_canary, _rollback),
    "rollback of a version": (_three, _rollback),
    "abort": (_three_and_a_canary, _abort),
}


def _snapshot(world: World) -> tuple[dict[str, Any], list[Any]]:
    parts = {k: v for k, v in vars(world.function).items() if k not in {"client", "respond"}}
    items = world.database.query(
        TableName=TABLE,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": world.alias}},
    )["Items"]
    return copy.deepcopy(parts), items


def _restore(world: World, snapshot: tuple[dict[str, Any], list[Any]]) -> None:
    parts, items = snapshot
    vars(world.function).update(copy.deepcopy(parts))
    world.alias = f"flow-{next(_aliases)}"
    for item in items:
        world.database.put_item(TableName=TABLE, Item={**item, "pk": {"S": world.alias}})
    world.calls.clear()
    world.kill_at, world.dead = None, False


def _end(world: World) -> tuple[Any, ...]:
    """Return what must be the same after a kill and a second run as after one unbroken run."""
    moves = [
        (r.action, r.version, r.stable, tuple(r.weights.items()), r.result)
        for r in world.ledger.history(100)[::-1]
        if r.result in {"done", "passed"}
    ]
    versions = [v.digest for v in Publisher(world.function.client, FUNCTION).versions()]
    return world.state(), moves, versions, world.ledger.holder()


@pytest.mark.parametrize("name", CASES)
def test_a_run_killed_at_any_call_is_finished_by_the_next(world: World, name: str) -> None:
    """Before and after every call: the same command then ends where an unbroken run ends.

    Whatever the alias sends requests to has passed its gate, at every one of these moments.
    """
    prepare, run = CASES[name]
    prepare(world)
    start = _snapshot(world)

    _restore(world, start)
    run(world)
    count = len(world.calls)
    wanted = _end(world)

    for when, number in itertools.product(("before", "after"), range(1, count + 1)):
        _restore(world, start)
        world.kill_at = when, number
        with pytest.raises(Killed):
            run(world)
        world.kill_at, world.dead = None, False
        if prepare is not _nothing:  # the version that a stack is made with is not proven yet
            _assert_only_proven_versions_serve(world)

        if (when, number) != ("after", count):  # that run was whole
            run(world)

        assert _end(world) == wanted, (when, number)


def _assert_only_proven_versions_serve(world: World) -> None:
    records = world.ledger.history(100)
    passed = {r.version for r in records if r.action == "gate" and r.result == "passed"}
    version, weights = world.state()
    assert {version, *weights} <= passed


# ---------------------------------------------------------------- on the embedded cloud


def test_a_whole_life_on_the_embedded_cloud(emulator: Emulator) -> None:
    """Stack, gate, candidate, shift, promotion and rollback, through one real control plane."""
    stack = emulator.deploy("flow", "a")
    client = emulator.client("lambda")
    emulator.stub.respond = proven
    emulator.stub.asked.clear()
    gate = ProbeGate(client, FUNCTION, "churn", PROBE)
    ledger = Ledger(emulator.client("dynamodb"), stack.outputs["LedgerTable"])
    router = AliasRouter(client, FUNCTION)
    releases = Releases(Publisher(client, FUNCTION, interval=0.05), router, ledger)

    assert releases.release(digest("a"), gate).serving
    assert releases.is_current(digest("a"))

    emulator.deploy("flow", "b")
    assert not releases.is_current(digest("a"))
    released = releases.release(digest("b"), gate)
    assert (released.version.number, released.serving) == ("2", False)
    assert [version for version, _ in emulator.stub.asked] == ["1", "2"]

    url = f"{emulator.cloud.endpoint_url}/_aws/execute-api/{stack.outputs['ApiId']}/v2/x?y=1"
    with urllib.request.urlopen(url, timeout=10) as answered:
        assert json.loads(answered.read())["outputs"] == PROBE["expected"]
    version, event = emulator.stub.asked[-1]
    assert (version, event["version"], event["rawPath"]) == ("1", "2.0", "/v2/x")

    assert releases.shift(25).serves_as(AliasState("1", {"2": 0.25}))
    # A stack update in the middle of a rollout leaves the traffic alone.
    emulator.deploy("flow", "b", Memory="2048")
    assert router.read().serves_as(AliasState("1", {"2": 0.25}))
    assert releases.promote().serves_as(AliasState("2"))
    assert releases.rollback().serves_as(AliasState("1"))

    emulator.stub.respond = wrong
    emulator.deploy("flow", "c")
    with pytest.raises(GateError, match=f"{FUNCTION}:3 answers differently"):
        releases.release(digest("c"), gate)
    emulator.stub.respond = lambda _version, _event: 1 // 0
    with pytest.raises(GateError, match="crashed"):
        releases.release(digest("c"), gate)
    emulator.stub.respond = proven
    assert router.read().serves_as(AliasState("1"))

    actions = [(r.action, r.version, r.result) for r in ledger.history(100)]
    assert actions[::-1] == [
        ("gate", "1", "passed"),
        ("deploy", "1", "done"),
        ("gate", "2", "passed"),
        ("deploy", "2", "done"),
        ("shift", "2", "started"),
        ("shift", "2", "done"),
        ("promote", "2", "started"),
        ("promote", "2", "done"),
        ("rollback", "1", "started"),
        ("rollback", "1", "done"),
        ("gate", "3", "failed"),
        ("gate", "3", "failed"),
    ]
    emulator.stacks.delete(stack.name)


def test_records_of_a_release_say_who_did_it(world: World) -> None:
    """Name, digest and a release id that is the same in every run."""
    world.release("a")

    record = world.ledger.latest("deploy")

    assert isinstance(record, Record)
    assert (record.who, record.release, record.digest) == ("ada", "v1-aaaaaaaaaaaa", digest("a"))
