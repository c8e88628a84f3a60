"""What a rollout is to do: its steps, what may not happen during them, and when it ends anyway."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Inconclusive = Literal["wait", "rollback", "approve"]
"""After a bake that says neither yes nor no: wait for more, go back, or ask a person."""

ReplayMode = Literal["off", "when-thin", "always"]


@dataclass(frozen=True)
class Step:
    """A share of the requests in percent, above 0 to 100, and how many seconds it is watched.

    `approve` says that somebody must agree before it is taken.
    """

    percent: float
    bake: float
    approve: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100 or self.bake < 0:
            message = f"a step is a share above 0 to 100 %, for some seconds, not {self}"
            raise ValueError(message)


@dataclass(frozen=True)
class Limits:
    """What the candidate may not do; None switches a check off.

    error_rate        share of its requests that may fail
    error_increase    by how much that share may be above the stable version's at the same time
    latency_ratio     how many times slower its slowest hundredth may be than the stable version's
    prediction_shift  by how much the share of a label, or below a quantile, may move
    samples           requests of a step without which it is not judged
    false_alarms      chance that a candidate within these limits is rolled back, over all checks
                      and the whole rollout
    alarms            whether an alarm of the stage that begins to ring rolls back
    """

    error_rate: float | None = 0.05
    error_increase: float | None = 0.01
    latency_ratio: float | None = None
    prediction_shift: float | None = None
    samples: int = 100
    false_alarms: float = 0.01
    alarms: bool = True

    @property
    def tests(self) -> int:
        """The tests that share the chance of a false alarm."""
        given = (self.error_rate, self.error_increase, self.latency_ratio, self.prediction_shift)
        return sum(limit is not None for limit in given)


@dataclass(frozen=True)
class Replays:
    """When captured requests are sent again, to both versions, and how many at most.

    mode      `off`; `when-thin`, where a step's requests do not come within its bake; `always`
    requests  of a whole rollout at most, without the shadow's; each is sent to both versions
    rate      requests a second at most
    shadow    requests that are replayed before the first step, which is taken if all is well
    """

    mode: ReplayMode = "off"
    requests: int = 500
    rate: float = 5.0
    shadow: int = 0

    @property
    def any(self) -> bool:
        """Whether anything is ever replayed."""
        return self.mode != "off" or self.shadow > 0


@dataclass(frozen=True)
class Plan:
    """The steps of a rollout in order; after the last one the candidate has all the requests.

    `deadline` is the seconds after which a rollout that has not ended goes back, whoever is there.
    """

    steps: tuple[Step, ...]
    limits: Limits = Limits()
    inconclusive: Inconclusive = "wait"
    deadline: float = 86_400.0
    replays: Replays = Replays()

    def __post_init__(self) -> None:
        shares = [step.percent for step in self.steps]
        if not shares or shares != sorted(set(shares)):
            message = f"a rollout goes up step by step, not by {shares}"
            raise ValueError(message)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Plan":
        """Read what `to_json` returned."""
        steps = tuple(Step(**step) for step in data["steps"])
        parts = {"limits": Limits(**data["limits"]), "replays": Replays(**data.get("replays", {}))}
        return Plan(**{**data, "steps": steps, **parts})


def canary(percent: float, bake: float) -> tuple[Step, ...]:
    """Return one step: a share of the requests for a while, then all of them."""
    return (Step(percent, bake),)


def linear(percent: float, bake: float) -> tuple[Step, ...]:
    """Return steps of the same size below 100 %, each for a while."""
    # A weight has four decimals: from here on a share would be all the requests.
    count = int((99.995 - 1e-9) // percent)
    return tuple(Step(round(percent * number, 4), bake) for number in range(1, count + 1))


def all_at_once(bake: float) -> tuple[Step, ...]:
    """Return one step of all the requests, watched for a while with the way back open."""
    return (Step(100.0, bake),)
