"""What a figure has to reach: the bound that we aim at, and the gate that fails a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """The bound of one figure, and the gate, where `--check` fails.

    There is no gate where a figure is as much the machine's as ours: what is no ratio.
    """

    bound: float
    gate: float | None
    at_most: bool = False

    def verdict(self, value: float | None) -> str:
        """Say how a figure stands to the goal and its gate."""
        if value is None:
            return "not measured"
        if self._holds(value, self.bound):
            return "met"
        if self.gate is None:
            return "missed"
        return "missed, gate held" if self._holds(value, self.gate) else "GATE MISSED"

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"
