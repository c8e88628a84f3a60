"""Says in the stages' own words what a project asks of them."""

from dataclasses import replace
from pathlib import Path

from fnmodel.config import ModelConfig, Parity, SlimConfig
from fnmodel.model import Tolerance
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
