"""Says in the stages' own words what a project asks of them."""

from dataclasses import replace
from pathlib import Path

from fnmodel.config import ModelConfig, Parity, RolloutConfig, SlimConfig, seconds
from fnmodel.model import Tolerance
from fnmodel.release.plan import Limits, Plan, Replays, Step, all_at_once, canary, linear
from fnmodel.slim.order import Budget, Order


def conversion(one: ModelConfig) -> Order:
    """Return what a project asks of the conversion of one of its models."""
    order = conversion_of(one.model, one.sample, one.target, one.parity, one.slim)
    return replace(
        order,
        # What is left at its default leaves the order what it is without: one key of the cache.
        gates=one.gates.model_dump(mode="json", exclude={"sample"}, exclude_defaults=True),
        processing=one.processing,
        held_out=one.gates.sample,
    )


def conversion_of(
    model: Path, sample: Path | None, target: str | None, parity: Parity, slim: SlimConfig
) -> Order:
    """Return an order from the parts of a project."""
    budget = Budget(
        Tolerance(parity.absolute, parity.relative),
        parity.label_flips,
        parity.edge_flips,
        parity.cosine,
    )
    ladder = slim.model_dump(mode="json", exclude={"trust", "isolation"})
    return Order(model, sample, target, budget, slim.trust, ladder=ladder)


def rollout(config: RolloutConfig) -> Plan | None:
    """Return what `deploy` begins for a new version; None where a person moves the requests."""
    if not config.automatic:
        return None
    asked = config.analysis
    limits = Limits(
        error_rate=asked.max_error_rate,
        error_increase=asked.max_error_increase,
        latency_ratio=asked.max_latency_ratio,
        prediction_shift=asked.max_prediction_shift,
        samples=asked.minimum_samples,
        false_alarms=asked.false_alarm_rate,
        alarms=asked.alarms,
    )
    replay = asked.replay
    replays = Replays(replay.mode, replay.requests, replay.rate, config.shadow or 0)
    return Plan(_steps(config), limits, config.inconclusive, seconds(config.deadline), replays)


def _steps(config: RolloutConfig) -> tuple[Step, ...]:
    bake = seconds(config.bake)
    match config.strategy:
        case "all-at-once":
            return all_at_once(bake)
        case "canary":
            return canary(config.percent, bake)
        case "linear":
            return linear(config.percent, bake)
        case _:
            return tuple(Step(s.percent, seconds(s.bake), s.approve) for s in config.steps)
