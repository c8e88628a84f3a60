"""A project in an account in memory, its commands, the faults that hit them, and what must hold."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from release_cases import PROBE, proven

from fnmodel.cli import recipe
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import FnmodelError, RegistryError
from fnmodel.pack.build import Recipe
from fnmodel.pack.image import Image, host_architecture
from fnmodel.pack.layout import Store
from fnmodel.provision.bodies import Bodies
from fnmodel.provision.pins import Pins
from fnmodel.provision.stack import Stacks
from fnmodel.release.alias import AliasState
from fnmodel.release.chain import faults
from fnmodel.release.clock import NoClock, RuleClock
from fnmodel.release.ledger import Ledger
from fnmodel.release.meter import CloudWatchMeter
from fnmodel.release.probe import AllGates, ProbeGate
from fnmodel.release.publish import Publisher
from fnmodel.release.release import Releases
from fnmodel.release.rollouts import Rollouts
from fnmodel.testing import InMemoryAccount
from fnmodel.testing.answering import RefusedError

WAYS = ("killed before", "killed after", "reply lost", "unheard", "reset", "throttled", "500",
        "expired")  # fmt: skip
"""A lost reply is asked for again by botocore; unheard, it was lost every time."""

READS = ("Describe", "Get", "List", "Head", "Query", "Invoke")
_URL = "https://aws.invalid"
_COMMON = """
model: model.joblib
stages:
  local: {cloud: local, access: {public: true}}
"""
BY_HAND = f"name: churn{_COMMON}"
SCHEDULED = f"""{BY_HAND}
batch:
  - {{name: daily, input: incoming/, output: scored/, schedule: rate(1 day)}}
"""
ROLLING = f"""{BY_HAND}
rollout:
  strategy: steps
  steps: [{{percent: 10, bake: 60s}}, {{percent: 50, bake: 60s, approve: true}}]
  analysis: {{minimum_samples: 20}}
audit: {{retention: 30}}
"""


class Killed(BaseException):
    """The process is gone."""


def image(letter: str) -> Image:
    """Return an image without layers; another letter gives another digest."""
    config = json.dumps({"config": {"Labels": {}}, "letter": letter}).encode()
    return Image((), config, json.dumps({"letter": letter}).encode())


class World:
    """An account, the time, and the processes that work on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account = InMemoryAccount(proven)
        self.now = 1_800_000_000.0
        self.alive: set[str] = set()
        self.ran = itertools.count(1)
        self.store = Store(folder / "store")
        for name, text in (("hand", BY_HAND), ("batch", SCHEDULED), ("rolling", ROLLING)):
            (folder / name).mkdir()
            (folder / name / "fnmodel.yaml").write_text(text)
        self.name = "fnmodel-churn-local"

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def save(self) -> Any:
        """Return all that is not the code's, for `load`."""
        return self.account.save(), self.now

    def load(self, saved: Any) -> None:
        """Go back to what was saved; no process runs."""
        account, self.now = saved
        self.account.load(account)
        self.account.interpose = None
        self.alive.clear()

    def run(self, command: "Command") -> Any:
        """Run a command in a process of its own."""
        who = f"ada@host, process {next(self.ran)}"
        self.alive.add(who)
        try:
            return command(Inside(self, command.project, who))
        finally:
            self.alive.discard(who)

    def serve(self, count: int = 60, *, bad: bool = False) -> None:
        """Send requests for a bake, which the candidate answers so or so."""
        state = self.alias()
        assert state is not None
        metrics = self.account.metrics_of(self.name)
        for number in range(count):
            for version in {state.version, *state.weights}:
                failed = bad and version in state.weights
                metrics.request(version, self.now + number, failed=failed)
        self.now += 120

    def alias(self) -> AliasState | None:
        """Return the alias as it is."""
        function = self.account.resources.functions.get(self.name)
        if function is None:
            return None
        said = function.answer("GetAlias", {"Name": "live"})
        weights = said.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
        return AliasState(said["FunctionVersion"], weights)

    def records(self) -> list[dict[str, Any]]:
        """Return the ledger's records, oldest first."""
        physical = self.account.stacks.find(self.name) or {}
        table = self.account.resources.tables.tables.get(physical.get("Ledger", ""), {})
        return [
            json.loads(table[key]["record"]["S"]) for key in sorted(table) if "#" in key[1]
        ]  # fmt: skip

    def ledger(self) -> Ledger | None:
        """Open the ledger, without being counted."""
        physical = self.account.stacks.find(self.name) or {}
        if physical.get("Ledger") not in self.account.resources.tables.tables:
            return None
        calm = InMemoryAccount(proven)
        calm.resources.tables = self.account.resources.tables
        return Ledger(_calm_client(calm), physical["Ledger"])

    def picture(self) -> dict[str, Any]:
        """Return what a stage is, without times, names and numbers that any run makes anew."""
        resources, alias = self.account.resources, self.alias()
        function = resources.functions.get(self.name)
        stack = self.account.stacks.find(self.name)
        ledger = self.ledger()
        rollout = json.loads(ledger.rollout() or "null") if ledger else None
        return {
            "stack": sorted(stack) if stack is not None else None,
            "alias": (alias.version, dict(alias.weights)) if alias else None,
            "versions": _images(function) if function else None,
            "targets": sorted(resources.targets.values()),
            "rules": dict(resources.rules),
            "buckets": len(resources.buckets.buckets),
            "tables": len(resources.tables.tables),
            "images": {k: sorted(v) for k, v in self.account.repositories.images.items()},
            "rollout": rollout and {k: rollout[k] for k in ("phase", "step", "paused", "approved")},
            "done": _done(self.records()),
        }


_CALM: dict[str, Any] = {}


def _calm_client(calm: InMemoryAccount) -> Any:
    """Return one client for all looks; making one costs more than the look."""
    holder = _CALM.setdefault("account", calm)
    holder.resources.tables = calm.resources.tables
    return holder.client("dynamodb")


def _images(function: Any) -> list[str]:
    numbers = [v["Version"] for v in function.answer("ListVersionsByFunction", {})["Versions"]]
    return [
        function.answer("GetFunction", {"Qualifier": n})["Code"]["ImageUri"][-12:]
        for n in numbers
        if n != "$LATEST"
    ]


def _done(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what was done, each once: a run that went on says it again."""
    kept: list[tuple[Any, ...]] = []
    for record in records:
        if record["result"] not in {"done", "passed"}:
            continue
        said = (record["action"], record["version"], record["stable"], str(record["weights"]))
        if said not in kept[-1:]:
            kept.append(said)
    return kept


@dataclass(frozen=True)
class Command:
    """A command of the command line, on one of the project files."""

    name: str
    do: Callable[["Inside"], Any]
    project: str = "hand"

    def __call__(self, work: "Inside") -> Any:
        """Do it."""
        return self.do(work)


class _Silent:
    """A console that says nothing."""

    live = False

    @contextmanager
    def step(self, *_: str) -> Iterator[Any]:
        yield SimpleNamespace(progress=lambda _: None, done=lambda _: None)

    def note(self, *_: str) -> None:
        """Say nothing."""


class Inside(Workspace):
    """The workspace of a command whose cloud is an account in memory."""

    def __init__(self, world: World, project: str, who: str) -> None:
        super().__init__(world.folder / project, local=True)
        self.world, self.who = world, who
        self.console = _Silent()  # type: ignore[assignment]
        self.__dict__["cloud"] = SimpleNamespace(
            client=world.account.client, endpoint_url=_URL, region="us-east-1"
        )
        self.__dict__["store"] = world.store
        self.__dict__["recipe"] = Recipe("churn", "3.12", host_architecture(), None)
        make = {
            "stacks": lambda: Stacks(
                self.client("cloudformation"),
                bodies=Bodies(self.client("s3")),
                sleep=world.sleep,
                clock=lambda: world.now,
                interval=120,
            ),
            "publisher": lambda: Publisher(
                self.client("lambda"), self.name, sleep=world.sleep, clock=lambda: world.now
            ),
        }
        self.__dict__ |= {name: one() for name, one in make.items()}

    @property
    def ledger(self) -> Ledger:  # type: ignore[override]
        """The ledger, whose other holders are gone unless they run."""
        return Ledger(
            self.client("dynamodb"), self.stack.outputs["LedgerTable"], copies=self.copies,
            clock=lambda: self.world.now, gone=lambda name: name not in self.world.alive,
        )  # fmt: skip

    @property
    def pins(self) -> Pins:
        """Words of those who use images and those who delete them, in the world's time."""
        repository = self.repositories.ensure(self.project.name)
        return Pins(
            self.client("ecr"), repository.arn, clock=lambda: self.world.now, sleep=self.world.sleep
        )

    @property
    def releases(self) -> Releases:  # type: ignore[override]
        """Moves by hand."""
        return Releases(self.publisher, self.router, self.ledger, who=self.who)

    @property
    def rollouts(self) -> Rollouts:  # type: ignore[override]
        """Moves by themselves."""
        bucket, rule = self.stack.outputs["Bucket"], self.stack.outputs.get("RolloutClock")
        return Rollouts(
            self.router, self.ledger,
            CloudWatchMeter(
                self.client("cloudwatch"), self.name, "live", s3=self.client("s3"), bucket=bucket
            ),
            RuleClock(self.client("events"), rule) if rule else NoClock(),
            who=self.who, clock=lambda: self.world.now, sleep=self.world.sleep, random=Random(3),
        )  # fmt: skip

    def gate(self, models: Any) -> Any:  # noqa: ARG002
        """Prove a version by the probe of the samples."""
        return AllGates([ProbeGate(self.client("lambda"), self.name, "churn", PROBE)])

    def registry(self, image_uri: str) -> Any:
        """Return a registry whose images are the account's."""
        return _Registry(self.world.account, image_uri.partition("@")[0].partition("/")[2])


class _Registry:
    """What a deploy asks of the registry; its protocol has tests of its own."""

    def __init__(self, account: InMemoryAccount, repository: str) -> None:
        self._account, self._repository = account, repository

    def push(self, pushed: Image, *_: Any, **__: Any) -> str:
        self._call("PutImage", lambda: self._account.repositories.push(
            self._repository, pushed.digest))  # fmt: skip
        return pushed.digest

    def digest(self, _repository: str, _reference: str) -> None:
        self._call("HeadManifest", lambda: None)

    def send(self, *_: Any) -> None:
        """Send nothing: blobs are the registry's own tests'."""

    def put(self, *_: Any) -> bool:
        self._call("PutManifest", lambda: None)
        return True

    def _call(self, operation: str, do: Callable[[], object]) -> None:
        def answer(_operation: str, _asked: Mapping[str, Any]) -> Mapping[str, Any]:
            do()
            return {}

        try:
            self._account.call("registry", operation, {}, answer)
        except (RefusedError, ConnectionClosedError, ReadTimeoutError) as error:
            raise RegistryError(str(error)) from error


def deploy(letter: str, project: str = "hand", *, promote: bool = False) -> Command:
    """Return a deploy of an image."""
    report = SimpleNamespace(gates=())
    slimmed: Any = {"churn": SimpleNamespace(report=report, model=None)}
    return Command(
        f"deploy {letter}",
        lambda work: recipe.bring(work, slimmed, image(letter), promote=promote),
        project,
    )


def shift(percent: float) -> Command:
    """Return a shift."""
    return Command(f"shift {percent:g}", lambda work: work.releases.shift(percent))


PROMOTE = Command("promote", lambda work: work.releases.promote())
ROLLBACK = Command("rollback", lambda work: work.releases.rollback())
ABORT = Command("abort", lambda work: work.releases.abort())
DESTROY = Command("destroy", recipe.destroy)
TICK = Command("tick", lambda work: work.rollouts.tick(), "rolling")
PAUSE = Command("rollout pause", lambda work: work.rollouts.pause(), "rolling")
RESUME = Command("rollout resume", lambda work: work.rollouts.resume(), "rolling")
APPROVE = Command("rollout approve", lambda work: work.rollouts.approve(), "rolling")
STOP = Command("rollout abort", lambda work: work.rollouts.abort(), "rolling")


Step = Command | Callable[[World], None]


@dataclass(frozen=True)
class Scenario:
    """A command after others."""

    name: str
    before: tuple[Step, ...]
    command: Command

    def prepare(self, world: World) -> None:
        """Do what comes before."""
        for step in self.before:
            world.run(step) if isinstance(step, Command) else step(world)


def _bad(world: World) -> None:
    world.serve(bad=True)


_TWO = (deploy("a"), deploy("b"))
_ROLLING = (deploy("a", "rolling"), deploy("b", "rolling"))
_APPROVAL = (*_ROLLING, World.serve, TICK)
SCENARIOS = (
    Scenario("first deploy", (), deploy("a")),
    Scenario("second deploy", (deploy("a"),), deploy("b")),
    Scenario("deploy and promote", (deploy("a"),), deploy("b", promote=True)),
    Scenario("deploy with a rollout", (deploy("a", "rolling"),), deploy("b", "rolling")),
    Scenario("schedules added", (deploy("a"),), deploy("a", "batch")),
    Scenario("schedules removed", (deploy("a", "batch"),), deploy("a")),
    Scenario("shift", _TWO, shift(10)),
    Scenario("shift further", (*_TWO, shift(10)), shift(50)),
    Scenario("promote", (*_TWO, shift(10)), PROMOTE),
    Scenario("rollback of a candidate", (*_TWO, shift(10)), ROLLBACK),
    Scenario("rollback of the stable version", (*_TWO, PROMOTE), ROLLBACK),
    Scenario("abort", (*_TWO, shift(10)), ABORT),
    Scenario("pause", _ROLLING, PAUSE),
    Scenario("resume", (*_ROLLING, PAUSE), RESUME),
    Scenario("approve", _APPROVAL, APPROVE),
    Scenario("rollout abort", _ROLLING, STOP),
    Scenario("tick back", (*_ROLLING, _bad), TICK),
    Scenario("tick on", (*_APPROVAL, APPROVE, World.serve), TICK),
    Scenario("destroy", _TWO, DESTROY),
)  # fmt: skip


@dataclass
class Fault:
    """Hits the n-th call in one way, and checks what must hold after every call that changes."""

    world: World
    way: str = ""
    at: int = 0
    calls: int = 0
    log: list[str] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __call__(
        self, service: str, operation: str, asked: Mapping[str, Any], done: Callable[[], Any]
    ) -> Any:
        """Answer a call, or do not."""
        self.calls += 1
        self.log.append(f"{service}.{operation}")
        self.asked.append((operation, asked))
        hit = self.calls == self.at
        over = self.calls >= self.at > 0
        if self.way.startswith("killed") and over and not (hit and self.way == "killed after"):
            raise Killed
        # The registry has a token of its own, which outlives these.
        if self.way == "expired" and over and service != "registry":
            raise RefusedError("ExpiredTokenException", "the security token has expired", 403)
        if hit and self.way in _REFUSED:
            refused: Exception = _REFUSED[self.way]()
            raise refused
        answer = done()
        if not operation.startswith(READS):
            check(self.world, operation, asked)
        if hit and self.way == "killed after":
            raise Killed
        if hit and self.way == "unheard":
            raise ReadTimeoutError(endpoint_url=_URL)
        return done() if hit and self.way == "reply lost" else answer


_REFUSED: Mapping[str, Callable[[], Exception]] = {
    "reset": lambda: ConnectionClosedError(endpoint_url=_URL),
    "throttled": lambda: RefusedError("ThrottlingException", "Rate exceeded", 429),
    "500": lambda: RefusedError("InternalFailure", "an error of the service", 500),
}


def check(world: World, operation: str, asked: Mapping[str, Any]) -> None:
    """Check what holds at every moment."""
    if operation == "UpdateAlias":
        assert asked["RevisionId"], "an alias is moved without having been read"
    alias, resources = world.alias(), world.account.resources
    if alias is not None:
        _check_alias(world, alias, operation)
    # Schedules invoke the alias.
    assert all(arn.endswith(f":function:{world.name}:live") for arn in resources.targets.values())
    ledger = world.ledger()
    if ledger is not None:
        assert [*faults(*ledger.chain())] == []


def _check_alias(world: World, alias: AliasState, operation: str) -> None:
    records = world.records()
    passed = {r["version"] for r in records if r["action"] == "gate" and r["result"] == "passed"}
    opened = "ApiRoute" in (world.account.stacks.find(world.name) or ())
    if opened:
        assert {alias.version, *alias.weights} <= passed, "requests reach what was never proven"
    function = world.account.resources.functions[world.name]
    images = world.account.repositories.images.get("fnmodel/churn", set())
    if world.account.stacks.find(world.name) and opened:
        for number in (alias.version, *alias.weights):
            uri = function.answer("GetFunction", {"Qualifier": number})["Code"]["ImageUri"]
            assert uri.partition("@")[2] in images, f"version {number} has lost its image"
    assert all(weight in {0.1, 0.5} for weight in alias.weights.values())
    if operation == "UpdateAlias":
        # The intent is in the ledger before the alias moves.
        last = [r for r in records if r["action"] != "gate"][-1]
        assert (last["result"], last["stable"]) == ("started", alias.version)
        assert last["weights"] == dict(alias.weights)


def hit(world: World, command: Command, way: str, at: int) -> tuple[str, Fault]:
    """Run a command that meets a fault; return how it ended, and what was called."""
    fault = Fault(world, way, at)
    world.account.interpose = fault
    try:
        world.run(command)
    except Killed:
        ended = "killed"
    except FnmodelError as error:
        ended = f"exit {error.exit_code}: {error.message} | {error.hint}"
    else:
        ended = "done"
    finally:
        world.account.interpose = None
    return ended, fault


def converges(world: World, scenario: Scenario, every: int = 1) -> int:
    """Hit each call in each way, run the command again, and compare; return how many there were.

    With `every` only each so-manieth of these is tried; over all scenarios the ways share them.
    """
    saved, wanted, calls = unbroken(world, scenario)
    points = [
        (way, at)
        for at in range(1, calls + 1)
        for way in WAYS
        # Killed after its last call, a command has done all that AWS hears of.
        if (way, at) != ("killed after", calls)
    ][::every]
    for way, at in points:
        world.load(saved)
        ended, fault = hit(world, scenario.command, way, at)
        where = f"{scenario.name}: {way} at {at}, {fault.log[at - 1]}: {ended}"
        if ended != "done":
            assert way != "expired" or ended.startswith("exit 6"), where
            again, second = hit(world, scenario.command, "", 0)
            assert again == "done", f"{where}; again: {again} after {second.log[-3:]}"
        assert world.picture() == wanted, where
    return len(points)


def unbroken(world: World, scenario: Scenario) -> tuple[Any, dict[str, Any], int]:
    """Run a scenario without faults; return what was before, its end, and its calls."""
    scenario.prepare(world)
    saved = world.save()
    ended, fault = hit(world, scenario.command, "", 0)
    assert ended == "done", f"{scenario.name}: {ended} after {fault.log[-3:]}"
    return saved, world.picture(), fault.calls
