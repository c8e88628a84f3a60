"""What is asked of a conversion, as values that travel to the child process as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fnmodel.model import Tolerance

_TOLERANCE = Tolerance(absolute=1e-4, relative=1e-3)


@dataclass(frozen=True)
class Budget:
    """What may differ: the outputs' tolerance, labels off ties, and edge rows in a thousand.

    `cosine` is the least one between an embedding and the original's once its weights are rounded.
    """

    tolerance: Tolerance = _TOLERANCE
    label_flips: int = 0
    edge_flips: float = 0.0
    cosine: float = 0.999


@dataclass(frozen=True)
class Order:
    """What a project asks for: the model, the rows to prove it on, and what may differ.

    `trust` names classes and functions beyond the allow list that a model file may hold. `gates`
    is plain data: `metrics` and `fairness`, lists of what `slim.gates` calls its rules, with
    `one_row_ms` and `model_mb`, judged on the rows of `held_out` or else on the sample; `ladder`
    is that of `slim.rungs.rung.Options`.
    """

    source: Path
    sample: Path | None = None
    target: str | None = None
    budget: Budget = Budget()
    trust: tuple[str, ...] = ()
    gates: Mapping[str, Any] = field(default_factory=dict)
    ladder: Mapping[str, Any] = field(default_factory=dict)
    processing: Path | None = None
    held_out: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data, to be handed to the child process."""
        return {key: str(v) if isinstance(v, Path) else v for key, v in asdict(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Order":
        """Read what `to_json` returned."""
        given, budget = data["sample"], data["budget"]
        return Order(
            source=Path(data["source"]),
            sample=Path(given) if given else None,
            target=data["target"],
            budget=Budget(**{**budget, "tolerance": Tolerance(**budget["tolerance"])}),
            trust=tuple(data["trust"]),
            gates=data["gates"],
            ladder=data["ladder"],
            processing=Path(data["processing"]) if data["processing"] else None,
            held_out=Path(data["held_out"]) if data["held_out"] else None,
        )


@dataclass(frozen=True)
class Job:
    """One conversion: an order, the hash of the model that it means, and the folder to fill."""

    order: Order
    sha256: str
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain data, to be handed to the child process."""
        return {
            "order": self.order.to_json(),
            "sha256": self.sha256,
            "folder": str(self.folder),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Job":
        """Read what `to_json` returned."""
        return Job(Order.from_json(data["order"]), data["sha256"], Path(data["folder"]))
