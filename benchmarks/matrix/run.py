"""Convert every model kind and write what came of it to docs/matrix.md: `make matrix`.

Each kind is trained, saved, and read, converted and compared as `fnmodel slim` does it; then the
original and what would be served are asked 400 rows that the conversion never saw. `--only WORD`
runs the kinds whose name or group has the word, and prints them only.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boosting_kinds
import fresh
import joblib
import network_kinds
import numpy as np
import pandas as pd
import sklearn_kinds
import text_kinds

from fnmodel.errors import FnmodelError
from fnmodel.slim.content import content_sha256
from fnmodel.slim.job import run
from fnmodel.slim.order import Job, Order
from fnmodel.slim.proof.report import ParityReport

PAGE = Path(__file__).parents[2] / "docs" / "matrix.md"
GROUPS: tuple[tuple[str, str, Callable[[], Iterator[Any]]], ...] = (
    ("Linear models", "", sklearn_kinds.linear),
    ("Trees", "", sklearn_kinds.trees),
    ("Models made of models", "", sklearn_kinds.ensembles),
    ("Kernels, neighbours, Bayes, networks, clusters", "", sklearn_kinds.others),
    ("Preparations", "", sklearn_kinds.preparations),
    ("Tables", "", sklearn_kinds.tables),
    ("Text", "", text_kinds.kinds),
    ("XGBoost", "xgboost", boosting_kinds.xgboost),
    ("LightGBM", "lightgbm", boosting_kinds.lightgbm),
    ("CatBoost", "catboost", boosting_kinds.catboost),
    ("PyTorch", "torch", network_kinds.torch),
    ("Keras", "keras", network_kinds.keras),
    ("Hugging Face", "transformers", network_kinds.huggingface),
)
_SAMPLE_ROWS = 600
_INTRODUCTION = """\
{kinds} kinds of models, each trained small, saved, converted and compared as `fnmodel slim` does \
it: on rows of its sample, on rows with values missing where it copes with that, on categories \
that it never saw, in batches of 0, 1 and 7, and, for trees, on up to 1,000 rows next to their \
splits. After that the original and what would be served are asked 400 rows that the conversion \
never saw, as JSON.

| verdict | kinds | |
| --- | --- | --- |
| same | {same} | within the default budget of [parity](slim.md) |
| refused | {refused} | `slim` says why it cannot |
| stopped | {stopped} | converted, and the parity gate found rows that differ |
| silent | {silent} | passed the gate, and differs on the rows it never saw |

`make matrix` writes this page. For comparison: of 147 kinds, converters as they come (skl2onnx \
1.20, onnxmltools 1.16, the exporters of PyTorch 2.13) converted 122, and 22 of those answered \
otherwise without a word; 25 failed."""


@dataclass(frozen=True)
class Row:
    """What came of one kind: its report, or why it was refused; and rows it had not seen."""

    name: str
    report: ParityReport | None
    refusal: str
    seconds: float
    unseen: fresh.Fresh | None = None

    @property
    def verdict(self) -> str:
        """`same`, `stopped` by the parity gate, `silent`, or `refused` in words."""
        if self.report is None:
            return "refused"
        if not self.report.passed:
            return "stopped"
        return "silent" if self.unseen is not None and self.unseen.differs else "same"


def main() -> int:
    """Run the matrix; fail when a kind broke off without a reason, or is silently wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="kinds whose name or group has this word")
    only = parser.parse_args().only.lower()
    groups = []
    for title, module, kinds in GROUPS:
        if not _installed(module):
            print(f"not run: {title}, {module} is not installed")
            continue
        rows = []
        for name, make in kinds():
            if only in f"{title} {name}".lower():
                rows.append(row := row_of(name, make))
                print(_line(row), flush=True)
        groups.append((title, rows))
    every = [row for _, rows in groups for row in rows]
    verdicts = ("same", "refused", "stopped", "silent")
    counts = {v: sum(row.verdict == v for row in every) for v in verdicts}
    print(f"{len(every)} kinds: {counts}")
    missing = len(groups) < len(GROUPS)
    if not only and not missing:
        PAGE.write_text(_page(groups, counts), encoding="utf-8")
    wrong = [row.name for row in every if row.refusal.startswith("BROKE OFF")]
    wrong += [row.name for row in every if row.verdict == "silent"]
    print(f"wrong: {wrong}" if wrong else "every refusal has a reason, nothing is silently wrong")
    return 1 if wrong else 0


def row_of(name: str, make: Callable[[], Any]) -> Row:
    """Train, convert and compare one kind."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(0)
        model, rows = make()
        source, sample = _saved(Path(folder), model, rows)
        made = Path(folder, "made")
        job = Job(Order(source, sample), content_sha256(source), made)
        report, refusal, asked = None, "", None
        try:
            report = run(job, lambda _: None)
            if report.passed and hasattr(model, "get_params"):
                asked = fresh.ask(model, rows, made)
        except FnmodelError as error:
            refusal = error.message
        except Exception as error:
            refusal = f"BROKE OFF: {type(error).__name__}: {error}"
            report = None
    return Row(name, report, refusal, time.perf_counter() - start, asked)


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return not module or find_spec(module) is not None


def _saved(folder: Path, model: Any, rows: Any) -> tuple[Path, Path | None]:
    """Write the model and a sample; a path is a model that was written already."""
    if isinstance(model, Path):
        return model, rows
    source = folder / "model.joblib"
    joblib.dump(model, source)
    sample = folder / "sample.csv"
    if not isinstance(rows, pd.DataFrame):
        rows = np.asarray(rows).reshape(len(rows), -1)
        rows = pd.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])])
    rows.head(_SAMPLE_ROWS).to_csv(sample, index=False)
    return source, sample


def _line(row: Row) -> str:
    report = row.report
    if report is None:
        return f"{row.seconds:5.1f} s  refused  {row.name}: {row.refusal[:150]}"
    return (
        f"{row.seconds:5.1f} s  {row.verdict:<8} {row.name}: {report.how}, "
        f"difference {report.max_abs:.1e}, flips {report.label_flips}, ties {report.ties}, "
        f"edge flips {report.edge_flips}/{report.edge_rows}"
        + (f" ANSWERS {report.answered}" if report.answered else "")
        + (f", {row.unseen.rows} fresh {row.unseen.differs}" if row.unseen else "")
    )


def _page(groups: list[tuple[str, list[Row]]], counts: dict[str, int]) -> str:
    lines = [
        "# What converts",
        "",
        "<!-- written by `make matrix`; do not edit -->",
        "",
        _INTRODUCTION.format(kinds=sum(counts.values()), **counts),
        "",
    ]
    for title, rows in groups:
        lines += [
            f"## {title}",
            "",
            "| model | verdict | largest difference | label flips (ties) | edge flips | fresh rows | how |",  # noqa: E501
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_cells(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _cells(row: Row) -> str:
    report = row.report
    if report is None:
        reason = row.refusal.splitlines()[0].replace("|", "\\|")
        return f"| {row.name} | refused | | | | | {reason[:160]} |"
    flips = f"{report.label_flips} ({report.ties})"
    edges = f"{report.edge_flips} of {report.edge_rows:,}" if report.edge_rows else ""
    asked = (row.unseen.differs or f"same, {row.unseen.rows}") if row.unseen else ""
    # No digits: the power of ten is the same on every machine.
    return (
        f"| {row.name} | {row.verdict} | {_power(report.max_abs)} | {flips} | {edges} | {asked} "
        f"| {report.how} |"
    )


def _power(value: float) -> str:
    return "0" if value == 0 else f"< 1e{int(np.floor(np.log10(value))) + 1}"


if __name__ == "__main__":
    sys.exit(main())
