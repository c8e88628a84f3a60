"""Convert every model kind and write what came of it to docs/matrix.md: `make matrix`.

Each kind is trained, saved with joblib, and read, converted and compared as `fnmodel slim` does it.
`--only WORD` runs the kinds whose name has the word and prints them only.
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
GROUPS: tuple[tuple[str, Callable[[], Iterator[Any]]], ...] = (
    ("Linear models", sklearn_kinds.linear),
    ("Trees", sklearn_kinds.trees),
    ("Models made of models", sklearn_kinds.ensembles),
    ("Kernels, neighbours, Bayes, networks, clusters", sklearn_kinds.others),
    ("Preparations", sklearn_kinds.preparations),
    ("Tables", sklearn_kinds.tables),
    ("Text", text_kinds.kinds),
    ("XGBoost", boosting_kinds.xgboost),
    ("LightGBM", boosting_kinds.lightgbm),
    ("CatBoost", boosting_kinds.catboost),
    ("PyTorch", network_kinds.torch),
    ("Keras", network_kinds.keras),
    ("Hugging Face", network_kinds.huggingface),
)
_SAMPLE_ROWS = 600
_INTRODUCTION = (
    "{kinds} kinds of models, each trained small, saved, converted and asked: rows of its sample, "
    "rows with values missing where it copes with that, categories that it never saw, and, for "
    "trees, rows next to their splits. **Same** means within the default budget of "
    "[parity](slim.md): {same}. **Stopped** means that the gate found rows that differ: {stopped}. "
    "**Refused** means that `slim` says why it cannot: {refused}. Nothing is served that was not "
    "the same."
)


@dataclass(frozen=True)
class Row:
    """What came of one kind: its report, or why it was refused."""

    name: str
    report: ParityReport | None
    refusal: str
    seconds: float

    @property
    def verdict(self) -> str:
        """`same`, `stopped` by the parity gate, or `refused` in words."""
        if self.report is None:
            return "refused"
        return "same" if self.report.passed else "stopped"


def main() -> int:
    """Run the matrix; fail when a kind broke off without a reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="kinds whose name has this word")
    only = parser.parse_args().only.lower()
    groups = []
    for title, kinds in GROUPS:
        rows = []
        for name, make in kinds():
            if only in name.lower():
                rows.append(row := _row(name, make))
                print(_line(row), flush=True)
        groups.append((title, rows))
    every = [row for _, rows in groups for row in rows]
    counts = {v: sum(row.verdict == v for row in every) for v in ("same", "stopped", "refused")}
    print(f"{len(every)} kinds: {counts}")
    if not only:
        PAGE.write_text(_page(groups, counts), encoding="utf-8")
    broken = [row.name for row in every if row.refusal.startswith("BROKE OFF")]
    print(f"broke off: {broken}" if broken else "every refusal has a reason")
    return 1 if broken else 0


def _row(name: str, make: Callable[[], Any]) -> Row:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(0)
        source, sample = _saved(Path(folder), *make())
        job = Job(Order(source, sample), content_sha256(source), Path(folder, "made"))
        try:
            report, refusal = run(job, lambda _: None), ""
        except FnmodelError as error:
            report, refusal = None, error.message
        except Exception as error:
            report, refusal = None, f"BROKE OFF: {type(error).__name__}: {error}"
    return Row(name, report, refusal, time.perf_counter() - start)


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
            "| model | verdict | largest difference | label flips (ties) | edge flips | how |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_cells(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _cells(row: Row) -> str:
    report = row.report
    if report is None:
        reason = row.refusal.splitlines()[0].replace("|", "\\|")
        return f"| {row.name} | refused | | | | {reason[:160]} |"
    flips = f"{report.label_flips} ({report.ties})"
    edges = f"{report.edge_flips} of {report.edge_rows:,}" if report.edge_rows else ""
    # One digit: the same on every machine, which the second one is not.
    return (
        f"| {row.name} | {row.verdict} | {report.max_abs:.0e} | {flips} | {edges} | {report.how} |"
    )


if __name__ == "__main__":
    sys.exit(main())
