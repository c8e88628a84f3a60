"""The parity report: how the ONNX answers compare with the original's, as a value and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fnmodel.errors import ParityError, QualityError, SlimError
from fnmodel.model import Tolerance

FILE = "parity.json"
_SHOWN = 3


@dataclass(frozen=True)
class Change:
    """A measure of the original and of the ONNX model, in the same unit."""

    before: float
    after: float


@dataclass(frozen=True)
class WorstRow:
    """One row and output where the two answers lie furthest apart.

    `row` counts the sample's rows from 0; `origin` says whether it is the sample's own or a copy
    that the check made, and `changed` names the features that it changed there.
    """

    row: int
    output: str
    original: Any
    onnx: Any
    origin: str = "sample"
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """What the sample's labels say of the original and of the ONNX model."""

    name: str
    original: float
    onnx: float


@dataclass(frozen=True)
class ParityReport:
    """What was compared, how far the answers lie apart, and what the conversion gained.

    `rows` counts all questions but the edge rows; `missing_rows` and `unseen_rows` of them are
    changed copies. `edge_flips` are edge rows with another label or a score out of tolerance.
    `max_rel` counts only values above the absolute tolerance. `ties` are rows whose label differs
    while the original itself was undecided between two classes; they are not `label_flips`.
    `batches` tells for batches of 0, 1 and 7 rows whether their answers are those of the whole.
    `answered` names features whose changed values the original refuses and the ONNX model answers.
    `size` is in bytes, of which `weights` lie in `model.onnx.data`; the other changes are in
    milliseconds: one row, 1,000 rows (reckoned from fewer where these would take longer than a
    second), and opening the file (the original's without importing its framework). `ladder` is the
    table of smaller forms.
    """

    source: str
    sha256: str
    framework: str
    version: str
    rows: int
    missing_rows: int
    unseen_rows: int
    edge_rows: int
    rows_from: str
    max_abs: float
    mean_abs: float
    max_rel: float
    label_flips: int
    ties: int
    edge_flips: int
    batches: Mapping[str, bool]
    answered: tuple[str, ...]
    tolerance: Tolerance
    allowed_label_flips: int
    allowed_edge_flips: float
    passed: bool
    worst: tuple[WorstRow, ...]
    metrics: tuple[Metric, ...]
    gates: tuple[Mapping[str, Any], ...]
    size: Change
    weights: int
    one_row: Change
    thousand_rows: Change
    load: Change
    opset: int
    how: str
    ladder: Mapping[str, Any]
    isolation: tuple[str, ...]
    versions: Mapping[str, str]
    notes: tuple[str, ...]
    path: Path = field(default=Path(FILE), compare=False)

    @property
    def page(self) -> Path:
        """The same report as a page to read."""
        return self.path.with_suffix(".html")

    @property
    def edge_flips_per_1000(self) -> float:
        """Edge flips in a thousand edge rows; 0 without edge rows."""
        return 1000 * self.edge_flips / self.edge_rows if self.edge_rows else 0.0

    def check(self) -> None:
        """Return when the gate passed.

        Raises:
            ParityError: the answers differ beyond the budget; names the worst rows and the report.
            QualityError: they are the original's, and the model failed a gate of the project.

        """
        if self.passed:
            self._check_gates()
            return
        found = [f"largest difference {self.max_abs:.3g}", f"{self.label_flips} label flips"]
        if self.edge_flips:
            found.append(f"{self.edge_flips} flips in {self.edge_rows} edge rows")
        wrong = [size for size, same in self.batches.items() if not same]
        if wrong:
            found.append(f"other answers in batches of {', '.join(wrong)}")
        if self.answered:
            found.append(
                f"answers where the original refuses an unknown {', '.join(self.answered[:3])}"
            )
        rows = [_line(row) for row in self.worst[:_SHOWN]]
        message = f"the ONNX model does not answer like {self.source}: {', '.join(found)}"
        raise ParityError(
            "\n  ".join([f"{message} in {self.rows} rows", *rows, *self.notes]),
            hint=f"all figures are in {self.page}; do not raise `parity:` before these rows are "
            "understood",
        )

    def _check_gates(self) -> None:
        failed = [gate["reason"] for gate in self.gates if not gate["passed"]]
        if failed:
            raise QualityError(
                "\n  ".join([f"{self.source} fails {len(failed)} of its gates:", *failed]),
                hint=f"all figures are in {self.page}; `gates:` in fnmodel.yaml holds the rules",
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `parity.json`."""
        data = asdict(self)
        del data["path"]
        return data

    @staticmethod
    def read(path: Path) -> "ParityReport":
        """Read a `parity.json`.

        Raises:
            SlimError: it is missing or is not a parity report.

        """
        try:
            data = json.loads(path.read_bytes())
            changes = ("size", "one_row", "thousand_rows", "load")
            lists = ("isolation", "notes", "answered", "gates")
            worst = [WorstRow(**{**r, "changed": tuple(r["changed"])}) for r in data["worst"]]
            return ParityReport(
                **{
                    **data,
                    **{key: Change(**data[key]) for key in changes},
                    **{key: tuple(data[key]) for key in lists},
                    "tolerance": Tolerance(**data["tolerance"]),
                    "metrics": tuple(Metric(**metric) for metric in data["metrics"]),
                    "worst": tuple(worst),
                    "path": path,
                }
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SlimError(
                f"{path} is not a parity report: {error}", hint="run `fnmodel slim` again"
            ) from error


_WITH = {"missing": "without", "unseen": "with an unknown", "edge": "next to a split of"}


def _line(row: WorstRow) -> str:
    changed = (
        f" {_WITH.get(row.origin, row.origin)} {', '.join(row.changed)}" if row.changed else ""
    )
    return f"row {row.row}{changed}, {row.output}: {row.original} became {row.onnx}"
