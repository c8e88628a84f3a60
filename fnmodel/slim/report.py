"""The parity report: how the ONNX answers compare with the original's, as a value and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fnmodel.errors import ParityError, SlimError
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

    `row` counts the sample's rows from 0; `missing` names the features that the check emptied.
    """

    row: int
    output: str
    original: Any
    onnx: Any
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParityReport:
    """What was compared, how far the answers lie apart, and what the conversion gained.

    `max_rel` counts only values above the absolute tolerance. `ties` are rows whose label differs
    while the original itself was undecided between two classes; they are not `label_flips`.
    `size` is in bytes, the other changes in milliseconds: one row, 1,000 rows, and opening the
    file (the original's without importing its framework).
    """

    source: str
    sha256: str
    framework: str
    version: str
    rows: int
    missing_rows: int
    rows_from: str
    max_abs: float
    max_rel: float
    label_flips: int
    ties: int
    batches_agree: bool
    tolerance: Tolerance
    allowed_label_flips: int
    passed: bool
    worst: tuple[WorstRow, ...]
    size: Change
    one_row: Change
    thousand_rows: Change
    load: Change
    opset: int
    precision: str
    isolation: tuple[str, ...]
    versions: Mapping[str, str]
    notes: tuple[str, ...]
    path: Path = field(default=Path(FILE), compare=False)

    def check(self) -> None:
        """Return when the gate passed.

        Raises:
            ParityError: the answers differ beyond the budget; names the worst rows and the report.

        """
        if self.passed:
            return
        found = [f"largest difference {self.max_abs:.3g}", f"{self.label_flips} label flips"]
        if not self.batches_agree:
            found.append("answers depend on the batch size")
        rows = [_line(row) for row in self.worst[:_SHOWN]]
        message = f"the ONNX model does not answer like {self.source}: {', '.join(found)}"
        raise ParityError(
            "\n  ".join([f"{message} in {self.rows} rows", *rows, *self.notes]),
            hint=f"all figures are in {self.path}; do not raise `parity:` before these rows are "
            "understood",
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
            worst = [WorstRow(**{**r, "missing": tuple(r["missing"])}) for r in data["worst"]]
            return ParityReport(
                **{
                    **data,
                    **{key: Change(**data[key]) for key in changes},
                    **{key: tuple(data[key]) for key in ("isolation", "notes")},
                    "tolerance": Tolerance(**data["tolerance"]),
                    "worst": tuple(worst),
                    "path": path,
                }
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SlimError(
                f"{path} is not a parity report: {error}", hint="run `fnmodel slim` again"
            ) from error


def _line(row: WorstRow) -> str:
    emptied = f" without {', '.join(row.missing)}" if row.missing else ""
    return f"row {row.row}{emptied}, {row.output}: {row.original} became {row.onnx}"
