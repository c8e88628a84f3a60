"""A service with two versions that is called all the time; a rollout is driven over it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from fnmodel.release.alias import AliasState
from fnmodel.release.analysis import Readings, Requests, none_yet
from fnmodel.release.plan import Limits, Plan, Step
from fnmodel.release.tick import Rollout, Ticked, tick

LIMITS = Limits(samples=50)
STEPS = (Step(10, 600), Step(50, 600))
PLAN = Plan(STEPS, LIMITS)


def begun(plan: Plan = PLAN, **changes: object) -> Rollout:
    """Return a rollout of version 2 over version 1 that begins at time 0."""
    rollout = Rollout(
        id="v2-b", plan=plan, stable="1", candidate="2", digest="sha256:b",
        stable_digest="sha256:a", started=0.0, evidence=none_yet(plan.limits),
    )  # fmt: skip
    return replace(rollout, **changes)  # type: ignore[arg-type]


@dataclass
class Version:
    """How a version behaves: the share of its requests that fail, and that are slow."""

    errors: float = 0.0
    slow: float = 0.01


@dataclass
class Service:
    """Requests go to two versions as the alias says; `rate` a second."""

    rollout: Rollout
    candidate: Version = field(default_factory=Version)
    stable: Version = field(default_factory=lambda: Version(errors=0.001))
    rate: float = 2.0
    seed: int = 1
    every: float = 60.0
    alias: AliasState = field(default_factory=lambda: AliasState("1"))
    now: float = 0.0
    alarms: tuple[str, ...] = ()
    did: tuple[Requests, Requests] = (Requests(), Requests())
    moves: list[tuple[float, AliasState]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    def tick(self, *, die: bool = False) -> Ticked:
        """Let the rollout look once, and do as it says, until it asks for nothing more.

        With `die` the driver is killed before a move that it has written down.
        """
        while True:
            readings = Readings(*self.did, p99_before=20.0, alarms=self.alarms)
            ticked = tick(self.rollout, self.alias, readings, self.now, self.random)
            self.rollout = ticked.rollout
            if ticked.move is None or die:
                return ticked
            self.alias = ticked.move
            self.moves.append((self.now, ticked.move))

    def serve(self, seconds: float) -> None:
        """Let time pass, with requests."""
        self.now += seconds
        share = self.alias.weights.get("2", float(self.alias.version == "2"))
        total = round(self.rate * seconds)
        second = sum(self.random.random() < share for _ in range(total))
        stable, candidate = self.did
        self.did = (
            self._served(stable, self.stable, total - second),
            self._served(candidate, self.candidate, second),
        )

    def _served(self, before: Requests, version: Version, count: int) -> Requests:
        def some(share: float) -> int:
            return sum(self.random.random() < share for _ in range(count))

        return replace(
            before,
            count=before.count + count,
            errors=before.errors + some(version.errors),
            timed=before.timed + count,
            slow=before.slow + some(version.slow),
        )

    def run(self, until: Callable[["Service"], bool] = lambda _: False, most: int = 3000) -> None:
        """Drive the rollout to its end, or until something holds."""
        for _ in range(most):
            self.tick()
            if not self.rollout.active or until(self):
                return
            self.serve(self.every)
        message = f"it never ended: {self.rollout.phase}, {self.rollout.why}"
        raise AssertionError(message)

    @property
    def shares(self) -> list[float]:
        """The candidate's share after each move, in percent."""
        return [
            100.0 if alias.version == "2" else 100 * alias.weights.get("2", 0.0)
            for _, alias in self.moves
        ]
