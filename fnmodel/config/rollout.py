"""How a new version gets its requests."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fnmodel.config.base import Duration, Strict, seconds

_STEPS = 100
"""Steps of a rollout at most: the ledger keeps all of them in one item."""


class RolloutStep(Strict):
    """One step of a rollout: a share of the requests, watched for a while."""

    percent: float = Field(ge=0.01, le=100, description="share of the requests that it gets")
    bake: Duration = Field(default="10m", description="how long it is watched: 30s, 10m, 2h, 1d")
    approve: bool = Field(
        default=False, description="take the step only after `fnmodel rollout approve`"
    )


class Replay(Strict):
    """Captured requests that are sent once more to both versions, where callers send too few."""

    mode: Literal["off", "when-thin", "always"] = Field(
        default="off",
        description="`when-thin`: where a step's `minimum_samples` do not come within its bake; "
        "`always`: in each step",
    )
    requests: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description="of one rollout at most, without those of its `shadow`; each invokes both "
        "versions, which costs twice",
    )
    rate: float = Field(default=5, gt=0, le=100, description="requests a second at most")

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, given: object) -> object:
        # `replay: when-thin` is enough; YAML reads a bare `off` as false.
        if given is False:
            return {"mode": "off"}
        return {"mode": given} if isinstance(given, str) else given


def _or_word(schema: dict[str, Any]) -> None:
    """Let the JSON Schema take a mode in the place of the table."""
    words: list[Any] = ["when-thin", "always", "off", False]
    schema["anyOf"] = [{"$ref": schema.pop("$ref")}, {"enum": words}]


class Analysis(Strict):
    """What a candidate must not do; null switches a check off."""

    max_error_rate: float | None = Field(
        default=0.05, gt=0, lt=1, description="share of its requests that may fail"
    )
    max_error_increase: float | None = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="by how much that share may be above the stable version's at the same time",
    )
    max_latency_ratio: float | None = Field(
        default=None,
        ge=1,
        le=100,
        description="how many times the stable version's 99th percentile its own may be; cold "
        "starts do not count",
    )
    max_prediction_shift: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="by how much the share of a label, or below a quantile, may move; needs "
        "`capture.rate`",
    )
    minimum_samples: int = Field(
        default=100, ge=1, le=1_000_000, description="requests of a step without which it waits"
    )
    false_alarm_rate: float = Field(
        default=0.01,
        gt=0,
        le=0.2,
        description="chance that a candidate within these limits is rolled back, over all checks "
        "and the whole rollout",
    )
    alarms: bool = Field(
        default=True, description="roll back when an alarm of the stage begins to ring"
    )
    replay: Replay = Field(
        default=Replay(),
        description="a mode alone is enough: `when-thin`",
        json_schema_extra=_or_word,
    )


class RolloutConfig(Strict):
    """How a new version gets its requests, and when it loses them again."""

    strategy: Literal["by-hand", "all-at-once", "canary", "linear", "steps"] = Field(
        default="by-hand",
        description="`by-hand` leaves it to `shift` and `promote`; `canary` gives `percent`, then "
        "all; `linear` gives `percent` more each time; `all-at-once` gives all and watches; "
        "`steps` are written out",
    )
    percent: float = Field(
        default=10,
        ge=0.01,
        le=99.99,
        description="share of the requests of `canary` and `linear`",
    )
    bake: Duration = Field(
        default="10m", description="how long each of these steps is watched: 30s, 10m, 2h, 1d"
    )
    steps: tuple[RolloutStep, ...] = Field(default=(), description="with `strategy: steps`")
    analysis: Analysis = Analysis()
    inconclusive: Literal["wait", "rollback", "approve"] = Field(
        default="wait",
        description="after a step that says neither yes nor no: wait for more requests, roll back, "
        "or wait for `fnmodel rollout approve`",
    )
    shadow: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="captured requests that are replayed to both versions before the first step; "
        "none is taken where the candidate errs or shifts beyond the limits",
    )
    deadline: Duration = Field(
        default="1d", description="a rollout that has not ended by then is rolled back"
    )

    @property
    def automatic(self) -> bool:
        """Whether `deploy` begins a rollout."""
        return self.strategy != "by-hand"

    @property
    def replays(self) -> bool:
        """Whether captured requests are ever sent once more."""
        return self.automatic and (self.analysis.replay.mode != "off" or self.shadow is not None)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.strategy == "steps") != bool(self.steps):
            raise ValueError("`steps` and `strategy: steps` belong together")
        shares = [step.percent for step in self.steps]
        if shares != sorted(set(shares)):
            raise ValueError("each step must have a larger percent than the one before")
        if self.automatic and self.planned >= seconds(self.deadline):
            raise ValueError(
                f"the steps alone take {self.planned:g} s, the deadline is before that"
            )
        if seconds(self.deadline) > 7 * 86_400:
            raise ValueError("the deadline may be 7d at most; CloudWatch forgets minutes later")
        return self

    @model_validator(mode="after")
    def _takeable(self) -> Self:
        if any(99.99 < step.percent < 100 for step in self.steps):
            raise ValueError("a step's percent may be 99.99, or 100; Lambda knows none between")
        if self.steps and self.steps[0].approve:
            raise ValueError(
                "steps.0.approve: `deploy` itself takes the first step; let a later one ask, or "
                "leave it to `fnmodel shift` with `strategy: by-hand`"
            )
        count = self._linear if self.strategy == "linear" else len(self.steps)
        if count > _STEPS:
            raise ValueError(f"a rollout may have {_STEPS} steps; these would be {count:,}")
        return self

    @model_validator(mode="after")
    def _comparing(self) -> Self:
        if self.replays:
            return self  # replayed requests are answered by both, whatever share callers give them
        if self.strategy == "all-at-once" or (self.steps and self.steps[0].percent == 100):
            for name in ("max_latency_ratio", "max_prediction_shift"):
                if getattr(self.analysis, name) is not None:
                    raise ValueError(
                        f"analysis.{name} compares both versions while they serve side by side; "
                        "begin with a step below 100 %, replay requests, or leave it out"
                    )
        return self

    @property
    def planned(self) -> float:
        """The seconds that all steps take at least."""
        match self.strategy:
            case "steps":
                return sum(seconds(step.bake) for step in self.steps)
            case "linear":
                return seconds(self.bake) * self._linear
            case _:
                return seconds(self.bake)

    @property
    def _linear(self) -> int:
        # As many as `fnmodel.release.plan.linear` makes.
        return int((99.995 - 1e-9) // self.percent)
