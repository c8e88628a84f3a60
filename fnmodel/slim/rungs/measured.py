"""What was found about one form of a model: figures, and a verdict."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "kept", "passed", "failed parity", "slower", "not smaller", "not applicable", "broken"
]


@dataclass(frozen=True)
class Judgement:
    """How a form answers, in the caller's judgement.

    `label_changes` counts rows whose label is not the original's; `metric` is better when higher,
    and None without labels.
    """

    passed: bool
    max_abs: float
    label_changes: int = 0
    metric: float | None = None


@dataclass(frozen=True)
class Measured:
    """One form of the model: its bytes, times in milliseconds, differences, and what became of it.

    Figures that were not taken are None. Times are those of the model as converted, multiplied by
    how the two compared when they took turns.
    """

    name: str
    bytes: int | None
    load_ms: float | None
    one_row_ms: float | None
    thousand_rows_ms: float | None
    max_abs: float | None
    metric: float | None
    verdict: Verdict
    reason: str
