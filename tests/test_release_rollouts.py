"""Rollouts driven through a strict Lambda, a real ledger and a strict CloudWatch."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from release_cases import PROBE, Emulator, digest, image_uri, make_table, proven

from fnmodel.distribution import Shift
from fnmodel.errors import AwsError, LockHeldError, ReleaseError
from fnmodel.histogram import Categories
from fnmodel.release.alias import AliasRouter
from fnmodel.release.analysis import Readings
from fnmodel.release.ledger import Ledger
from fnmodel.release.meter import CloudWatchMeter, prediction_columns
from fnmodel.release.plan import Limits, Plan, Replays, Step, all_at_once
from fnmodel.release.probe import ProbeGate
from fnmodel.release.publish import Publisher
from fnmodel.release.release import Releases
from fnmodel.release.rollouts import Rollouts
from fnmodel.release.tick import Phase, Rollout
from fnmodel.testing import InMemoryLambda, InMemoryMetrics

pytest_plugins = ["release_emulator"]

FUNCTION = "fnmodel-churn-flow"
TABLE = "rollout-tests"
PLAN = Plan((Step(10, 600), Step(50, 600)), Limits(samples=50))
SHORT = Plan((Step(50, 60),), Limits(samples=50))
BUCKET = "rollout-tests"
_aliases = itertools.count()


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Bell:
    """Notes whether the controller is woken."""

    runs: bool = False

    def start(self) -> None:
        """Wake it."""
        self.runs = True

    def stop(self) -> None:
        """Let it sleep."""
        self.runs = False


@dataclass
class World:
    """One function with two versions that passed their gates; requests come as the alias says."""

    database: Any
    storage: Any
    function: InMemoryLambda = field(
        default_factory=lambda: InMemoryLambda(FUNCTION, image_uri("a"), respond=proven)
    )
    alias: str = field(default_factory=lambda: f"rollouts-{next(_aliases)}")
    now: float = 1_800_000_000.0
    bell: Bell = field(default_factory=Bell)
    random: Random = field(default_factory=lambda: Random(5))
    calls: int = 0
    kill_at: int = 0

    def __post_init__(self) -> None:
        self.metrics = InMemoryMetrics(FUNCTION)
        self._deploy("a")
        self._deploy("b")
        for client, service in ((self.function.client, "lambda"), (self.database, "dynamodb")):
            client.meta.events.register_first(f"before-call.{service}", self._count)

    def close(self) -> None:
        """Stop watching the shared client."""
        self.database.meta.events.unregister("before-call.dynamodb", self._count)

    def _count(self, **_: Any) -> None:
        self.calls += 1
        if self.kill_at and self.calls >= self.kill_at:
            raise Killed

    def _deploy(self, letter: str) -> None:
        self.function.update(image_uri(letter))
        gate = ProbeGate(self.function.client, FUNCTION, "churn", PROBE)
        publisher = Publisher(self.function.client, FUNCTION, interval=0)
        Releases(publisher, self.router, self.ledger, who="ada").release(digest(letter), gate)

    @property
    def router(self) -> AliasRouter:
        """Move the alias."""
        return AliasRouter(self.function.client, FUNCTION)

    @property
    def ledger(self) -> Ledger:
        """Open the ledger; whoever held it was killed."""
        return Ledger(
            self.database, TABLE, self.alias, clock=lambda: self.now, gone=lambda _name: True
        )

    def rollouts(self, who: str = "ada", ledger: Ledger | None = None) -> Rollouts:
        """Put the parts together, as each driver does."""
        meter = CloudWatchMeter(
            self.metrics.client, FUNCTION, "live", s3=self.storage, bucket=BUCKET
        )
        return Rollouts(
            self.router, ledger or self.ledger, meter, self.bell, who=who,
            clock=lambda: self.now, sleep=self.sleep, random=self.random,
        )  # fmt: skip

    def sleep(self, seconds: float) -> None:
        """Let time pass without requests."""
        self.now += seconds

    def begin(self, plan: Plan = PLAN, shift: Shift | None = None) -> Rollout:
        """Begin the rollout of version 2 over version 1."""
        publisher = Publisher(self.function.client, FUNCTION, interval=0)
        return self.rollouts().begin(plan, publisher.ready("2"), publisher.ready("1"), shift)

    def serve(self, seconds: float, count: int, **candidate: Any) -> None:
        """Let time pass, with requests to the alias; `candidate` says how its requests go."""
        state = self.router.read()
        for number in range(count):
            second = self.random.random() < state.weights.get("2", float(state.version == "2"))
            at = self.now + seconds * number / count
            self.metrics.request("2" if second else "1", at, **(candidate if second else {}))
        self.now += seconds

    def run(self, count: int = 200, looks: int = 200, **candidate: Any) -> Rollout:
        """Look every minute until the rollout has ended."""
        for _ in range(looks):
            rollout = self.rollouts().tick()
            assert rollout is not None
            if not rollout.active:
                return rollout
            self.serve(60, count, **candidate)
        raise AssertionError(f"it never ended: {rollout.phase} {rollout.why}")

    def state(self) -> tuple[str, dict[str, float]]:
        """Return version and weights of the alias."""
        state = self.router.read()
        return state.version, dict(state.weights)

    def story(self) -> list[tuple[str, str, str]]:
        """Return what the ledger tells of moves, oldest first."""
        records = self.ledger.history(100)[::-1]
        return [(r.action, r.version, r.result) for r in records if r.action != "gate"]


@pytest.fixture(scope="module")
def services(emulator: Emulator) -> Iterator[tuple[Any, Any]]:
    database, storage = emulator.cloud.client("dynamodb"), emulator.cloud.client("s3")
    make_table(database, TABLE)
    storage.create_bucket(Bucket=BUCKET)
    yield database, storage
    database.delete_table(TableName=TABLE)


@pytest.fixture
def world(services: tuple[Any, Any]) -> Iterator[World]:
    world = World(*services)
    yield world
    world.close()


def test_a_good_version_reaches_all_the_requests(world: World) -> None:
    """Nobody does anything but look; the ledger tells each step and why it was taken."""
    began = world.begin()
    ringing = world.bell.runs
    ended = world.run()
    reasons = [r.reason for r in world.ledger.history(10) if r.action == "promote"]

    assert (began.phase, began.current) == (Phase.baking, PLAN.steps[0])
    assert ended.phase is Phase.completed
    assert world.state() == ("2", {})
    assert world.story() == [
        ("deploy", "1", "done"), ("deploy", "2", "done"),
        ("shift", "2", "started"), ("shift", "2", "done"),
        ("shift", "2", "started"), ("shift", "2", "done"),
        ("promote", "2", "started"), ("promote", "2", "done"),
    ]  # fmt: skip
    assert "0.00% of requests failed" in reasons[0]
    assert ringing
    assert not world.bell.runs


@pytest.mark.parametrize(
    ("behaviour", "check"),
    [
        ({"failed": True}, "error"),
        ({"crashed": True}, "error"),
        ({"latency_ms": 40.0}, "latency"),
    ],
)
def test_a_bad_version_is_rolled_back_without_a_hand(
    world: World, behaviour: dict[str, Any], check: str
) -> None:
    """By one call to Lambda: errors that it answers, errors that kill it, slowness."""
    for number in range(200):
        world.metrics.request("1", world.now - 300 + number, latency_ms=10 + number / 100)
    world.begin(Plan(PLAN.steps, Limits(samples=50, latency_ratio=2.0)))
    world.function.mutations.clear()
    ended = world.run(**behaviour)

    assert ended.phase is Phase.rolled_back
    assert ended.why.startswith(check)
    assert world.state() == ("1", {})
    assert world.function.mutations == ["UpdateAlias"]
    assert world.story()[-1] == ("rollback", "1", "done")
    assert not world.bell.runs


def test_cold_starts_are_apart(world: World) -> None:
    """A new version starts cold, which is slow and no fault; only warm latencies are compared."""
    for number in range(200):
        world.metrics.request("1", world.now - 300 + number, latency_ms=10.0)
    world.begin(Plan(PLAN.steps, Limits(samples=50, latency_ratio=2.0)))
    for _ in range(5):
        world.serve(60, 200, latency_ms=2000.0, cold=True)
        rollout = world.rollouts().tick()

    assert rollout is not None
    assert rollout.phase is Phase.baking
    assert rollout.evidence.seen[1].cold > 50
    assert rollout.evidence.seen[1].timed == 0


def captured(version: str, request: str, label: str, time: str) -> str:
    data = json.dumps({"label": label, "probabilities": {"no": 0.4, "yes": 0.6}})
    return json.dumps(
        {
            "captureData": {"endpointOutput": {"data": data}},
            "eventMetadata": {"inferenceTime": time},
            "fnmodel": {"version": version, "request_id": request},
        }
    )


@pytest.mark.parametrize(("share", "phase"), [(0.9, Phase.rolled_back), (0.3, Phase.completed)])
def test_predictions_that_shift_roll_back(world: World, share: float, phase: Phase) -> None:
    """Captured rows of both versions are compared as they arrive; requests alone look healthy."""
    bins = {"label": Categories(("no", "yes"))}
    plan = Plan(PLAN.steps, Limits(samples=50, prediction_shift=0.15))
    world.begin(plan, Shift.between(bins, 0.15))
    for look in range(120):
        rollout = world.rollouts().tick()
        assert rollout is not None
        if not rollout.active:
            break
        world.serve(60, 100)
        moment = f"2027-01-15T{8 + look // 60:02}:{look % 60:02}:59.000Z"
        lines = [
            captured(version, f"{look}-{version}-{n}", label, moment)
            for version, yes in (("1", 0.3), ("2", share))
            for n in range(12)
            for label in ["yes" if world.random.random() < yes else "no"]
        ]
        # Two rows of one request, of which one counts; and what is no row.
        lines += [lines[-1], '\n{"captureData":{}}\n', "broken\n"]
        key = f"capture/{FUNCTION}/live/2027/01/15/{8 + look // 60:02}/{look:04}-{world.alias}"
        world.storage.put_object(Bucket=BUCKET, Key=key, Body="".join(lines).encode())

    for item in world.storage.list_objects_v2(Bucket=BUCKET)["Contents"]:
        world.storage.delete_object(Bucket=BUCKET, Key=item["Key"])
    assert rollout.phase is phase, rollout.why
    assert rollout.why.startswith("predictions") == (phase is Phase.rolled_back)
    assert rollout.evidence.shift is not None
    assert rollout.evidence.shift.samples[0] == rollout.evidence.shift.samples[1]


def test_columns_are_named_as_the_reference_names_them() -> None:
    """A classifier's, a regressor's, and what else a model may answer."""
    assert prediction_columns({"label": "b", "probabilities": {"a": 0.25, "b": 0.75}}) == {
        "label": "b", "probability:a": 0.25, "probability:b": 0.75, "margin": 0.5,
        "confidence": 0.75,
    }  # fmt: skip
    assert prediction_columns(3.5) == {"value": 3.5}
    assert prediction_columns({"price": 3.5}) == {"price": 3.5, "value": 3.5}
    assert prediction_columns({"boxes": [1, 2]}) == {"boxes:0": 1, "boxes:1": 2}


def test_a_killed_command_is_gone_on_with_by_the_controller(world: World) -> None:
    """Killed at any call, what it leaves is a rollout that the next driver brings to its end."""
    for kill_at in range(1, 40):
        again = World(world.database, world.storage)
        try:
            again.calls, again.kill_at = 0, kill_at
            finished = False
            try:
                again.begin(SHORT)
                finished = True
            except Killed:
                pass
            again.kill_at = 0
            again.now += 61  # the lease of whoever is elsewhere and dead
            left = again.rollouts("controller").current()
            if left is None:
                # Nothing was begun: the same command begins.
                assert again.state() == ("1", {})
                again.begin(SHORT)
            assert again.run().phase is Phase.completed
            assert again.state() == ("2", {})
            assert not again.bell.runs
        finally:
            again.close()
        if finished:
            return
    raise AssertionError("no run lived to its end")


def test_a_rollback_that_is_killed_is_finished(world: World) -> None:
    """At each call of the look that finds the candidate bad."""
    for kill_at in range(1, 40):
        again = World(world.database, world.storage)
        try:
            again.begin(SHORT)
            again.serve(60, 200, failed=True)
            again.calls, again.kill_at = 0, kill_at
            finished = False
            try:
                again.rollouts().tick()
                finished = True
            except Killed:
                pass
            again.kill_at = 0
            again.now += 61
            ended = again.rollouts("controller").tick()
            assert ended is not None
            assert ended.phase is Phase.rolled_back
            assert again.state() == ("1", {})
            again.rollouts("controller").tick()
            assert not again.bell.runs
        finally:
            again.close()
        if finished:
            return
    raise AssertionError("no run lived to its end")


def test_only_one_driver_at_a_time(world: World) -> None:
    """A second one waits a little, then says who holds the lease."""
    world.begin()
    ledger = Ledger(
        world.database, TABLE, world.alias, clock=lambda: world.now, gone=lambda _name: False
    )
    with world.ledger.lease("the controller", 900):
        before = world.now
        with pytest.raises(LockHeldError, match="the controller"):
            world.rollouts(ledger=ledger).tick()
        waited = world.now - before
    steered = world.rollouts(ledger=ledger).pause()

    assert waited >= 20
    assert steered.paused


def test_the_way_back_at_the_deadline_needs_no_figures(world: World) -> None:
    """While CloudWatch refuses, a look fails; once the time is over the candidate goes."""
    world.begin()

    class Refusing:
        def read(self, _rollout: Rollout, _now: float) -> Readings:
            raise AwsError("no metrics today")

    def look() -> Rollout | None:
        rollouts = Rollouts(
            world.router, world.ledger, Refusing(), world.bell, clock=lambda: world.now
        )
        return rollouts.tick()

    with pytest.raises(AwsError, match="no metrics today"):
        look()
    world.now += PLAN.deadline
    ended = look()

    assert ended is not None
    assert (ended.phase, world.state(), world.bell.runs) == (Phase.rolled_back, ("1", {}), False)


def test_people_steer_a_rollout(world: World) -> None:
    """Pause, resume, approve and abort, each written down for whoever drives."""
    rollouts = world.rollouts()
    with pytest.raises(ReleaseError, match="no rollout is under way"):
        rollouts.pause()
    world.begin()
    with pytest.raises(ReleaseError, match="nothing waits for approval"):
        rollouts.approve()
    rollouts.pause()
    world.serve(1200, 2000)
    paused = rollouts.tick()
    resumed = rollouts.resume()
    world.serve(600, 4)
    inconclusive = rollouts.tick()
    approved = rollouts.approve()
    finished = world.run(looks=1)

    assert paused is not None
    assert inconclusive is not None
    assert (paused.paused, paused.step, paused.phase) == (True, 0, Phase.baking)
    assert (resumed.step, resumed.phase) == (1, Phase.baking)
    assert inconclusive.phase is Phase.inconclusive
    assert (approved.phase, finished.phase) == (Phase.completed, Phase.completed)


def test_a_shadow_that_waits_for_nobody_takes_no_approval(world: World) -> None:
    """Before the first step as in any other, it is an error to agree to what nobody asked."""
    world.begin(replace(PLAN, replays=Replays(shadow=10)))

    with pytest.raises(ReleaseError, match="the rollout is shadow; nothing waits for approval"):
        world.rollouts().approve()


def test_an_aborted_rollout_returns_and_stays_ended(world: World) -> None:
    """The ledger names who did it, and the same deploy does not begin it again."""
    world.begin()
    ended = world.rollouts("eve").abort()
    again = world.begin()
    [record] = [r for r in world.ledger.history(10) if (r.action, r.result) == ("rollback", "done")]

    assert (ended.phase, again.phase) == (Phase.rolled_back, Phase.rolled_back)
    assert world.state() == ("1", {})
    assert (record.who, record.reason) == ("eve", "aborted by eve")


def test_a_deploy_of_another_image_waits_for_the_rollout(world: World) -> None:
    """Also while the candidate has all the requests, which the alias alone does not show."""
    world.begin(Plan(all_at_once(600), Limits(samples=50)))
    rollouts = world.rollouts()
    rollouts.require_idle(digest("b"))
    with pytest.raises(ReleaseError, match="version 2, baking"):
        rollouts.require_idle(digest("c"))
    world.run()
    rollouts.require_idle(digest("c"))

    assert world.state() == ("2", {})


@pytest.mark.parametrize(
    ("crashed", "phase"), [(False, Phase.completed), (True, Phase.rolled_back)]
)
def test_an_alias_that_points_to_one_version_is_measured_too(
    world: World, crashed: bool, phase: Phase
) -> None:
    """Lambda may count its requests for no version; from a whole minute on they are the new one's.

    The last minute before it is the stable version's, crashes and all.
    """
    world.now += 30
    for number in range(30):
        world.metrics.request("1", world.now - 20 + number / 2, crashed=True, by_version=False)
    world.begin(Plan(all_at_once(600), Limits(samples=50)))
    ended = world.run(by_version=False, crashed=crashed)

    assert ended.phase is phase, ended.why
    assert ended.evidence.samples >= 50


def test_a_hand_on_the_alias_ends_the_rollout(world: World) -> None:
    """`fnmodel promote` in the middle of it is obeyed, and nothing is moved after it."""
    world.begin()
    publisher = Publisher(world.function.client, FUNCTION, interval=0)
    Releases(publisher, world.router, world.ledger, who="eve").promote()
    ended = world.rollouts().tick()

    assert ended is not None
    assert ended.phase is Phase.superseded
    assert world.state() == ("2", {})
