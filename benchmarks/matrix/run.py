"""Convert every kind of model and write what came of it to docs/matrix.md: `make matrix`.

Each kind is trained, saved, and read, converted and compared as `fnmodel slim` does it; then the
original and what would be served are asked rows that the conversion never saw. `--only WORD` runs
the kinds whose name or group has one of the words (it may be repeated) and prints them only, with
`--merge` also writes the page from these and the kept results of the others.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boosting_kinds
import fresh
import joblib
import network_kinds
import networks
import numpy as np
import page
import pandas as pd
import result
import sklearn_kinds
import text_kinds
from result import Result

from fnmodel.errors import FnmodelError
from fnmodel.slim.content import content_sha256
from fnmodel.slim.job import run
from fnmodel.slim.order import Job, Order
from fnmodel.slim.proof.report import ParityReport
from fnmodel.slim.versions import versions

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "matrix.md"
KEPT = ROOT / "build" / "matrix.json"
Kind = tuple[str, Callable[[], tuple[Any, Any]]]
_TORCH = ("torch", "onnxscript")
GROUPS: tuple[tuple[str, tuple[str, ...], Callable[[], Iterator[Kind]]], ...] = (
    ("Linear models", (), sklearn_kinds.linear),
    ("Trees", (), sklearn_kinds.trees),
    ("Models made of models", (), sklearn_kinds.ensembles),
    ("Kernels, neighbours, Bayes, networks, clusters", (), sklearn_kinds.others),
    ("Preparations", (), sklearn_kinds.preparations),
    ("Tables", (), sklearn_kinds.tables),
    ("Text", (), text_kinds.kinds),
    ("XGBoost", ("xgboost",), boosting_kinds.xgboost),
    ("LightGBM", ("lightgbm",), boosting_kinds.lightgbm),
    ("CatBoost", ("catboost",), boosting_kinds.catboost),
    ("PyTorch", _TORCH, network_kinds.torch),
    ("Keras", (*_TORCH, "keras", "h5py"), network_kinds.keras),
    ("Hugging Face", (*_TORCH, "transformers", "safetensors"), network_kinds.huggingface),
)
_SAMPLE_ROWS = 600


def main() -> int:
    """Run the matrix; fail when a kind broke off without a reason, or is silently wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], help="kinds whose name or group has it"
    )
    parser.add_argument("--merge", action="store_true", help="keep the others' results")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page goes")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where results are kept")
    options = parser.parse_args()
    words = [word.lower() for word in options.only]
    # Old results of a group that runs go: kinds are renamed.
    kept = result.read(options.kept) if options.merge else {}
    made: dict[tuple[str, str], Result] = {}
    for title, modules, kinds in GROUPS:
        if any(find_spec(module) is None for module in modules):
            continue
        for name, make in kinds():
            key = title, name
            if not words or any(word in f"{title}: {name}".lower() for word in words):
                made[key] = replace(row_of(name, make), group=title)
                print(_line(made[key]), flush=True)
            elif key in kept:
                made[key] = kept[key]
    absent = [
        f"{title} needs {missing}"
        for title, modules, _ in GROUPS
        if (missing := _missing(modules)) and all(group != title for group, _ in kept)
    ]
    rest = {k: v for k, v in kept.items() if _missing(dict(_needs())[k[0]])}
    groups = {
        title: [row for (group, _), row in {**made, **rest}.items() if group == title]
        for title, _, _ in GROUPS
    }
    groups = {title: rows for title, rows in groups.items() if rows}
    if options.merge or not words:
        result.write(options.kept, [row for rows in groups.values() for row in rows])
        options.page.write_text(page.render(groups, absent, versions()), encoding="utf-8")
    return _verdict([row for rows in groups.values() for row in rows], absent)


def row_of(name: str, make: Callable[[], Any]) -> Result:
    """Train, convert and compare one kind."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(0)
        try:
            row = _row(name, make, Path(folder))
        except FnmodelError as error:
            row = Result("", name, "refused", error.message)
        except Exception as error:  # a defect is a row too; the others are still run
            row = Result("", name, "broken", f"{type(error).__name__}: {error}")
    return replace(row, seconds=round(time.perf_counter() - start, 1), code=_code())


def _row(name: str, make: Callable[[], Any], folder: Path) -> Result:
    model, rows = make()
    source, sample = _saved(folder, model, rows)
    made = folder / "made"
    report = run(Job(Order(source, sample), content_sha256(source), made), lambda _: None)
    row = Result(
        "", name, "same", report.how, report.max_abs, report.label_flips, report.ties,
        report.edge_rows, report.edge_flips,
    )  # fmt: skip
    if not report.passed:
        return replace(row, verdict="stopped", how=_why(report))
    if isinstance(model, Path):
        asked = networks.ask(model, rows, made)
    else:
        asked = fresh.ask(model, rows, made, trees=report.edge_rows > 0)
    return replace(
        row,
        verdict="silent" if asked.differs else "same",
        fresh=asked.rows,
        declined=asked.declined,
        differs=asked.differs,
    )


def _why(report: ParityReport) -> str:
    answered = f"; answers an unknown {', '.join(report.answered)}" if report.answered else ""
    batches = [size for size, same in report.batches.items() if not same]
    return report.how + answered + (f"; other answers in batches of {batches}" if batches else "")


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


def _needs() -> Iterator[tuple[str, tuple[str, ...]]]:
    return ((title, modules) for title, modules, _ in GROUPS)


def _missing(modules: Sequence[str]) -> str:
    return ", ".join(module for module in modules if find_spec(module) is None)


def _code() -> str:
    """Return a hash of the code that converts, so that kept results can be told from new ones."""
    inside = ROOT / "fnmodel"
    files = [*inside.glob("*.py"), *inside.glob("front/*.py"), *inside.glob("slim/**/*.py")]
    return sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:12]


def _line(row: Result) -> str:
    if row.verdict in ("refused", "broken"):
        return f"{row.seconds:5.1f} s  {row.verdict:<8} {row.name}: {row.how[:200]}"
    return (
        f"{row.seconds:5.1f} s  {row.verdict:<8} {row.name}: {row.how}, "
        f"difference {row.difference:.1e}, flips {row.flips}, ties {row.ties}, "
        f"edge flips {row.edge_flips}/{row.edges}, fresh {row.fresh}, declined {row.declined} "
        f"{row.differs}"
    )


def _verdict(rows: Sequence[Result], absent: Sequence[str]) -> int:
    counts: Mapping[str, int] = {v: sum(row.verdict == v for row in rows) for v in result.VERDICTS}
    print(f"{len(rows)} kinds: {counts}")
    for words in absent:
        print(f"not run: {words}")
    older = len({row.code for row in rows}) - 1
    if older > 0:
        print(f"the results come from {older + 1} states of the code")
    wrong = [f"{row.group}: {row.name}" for row in rows if row.wrong]
    print(f"wrong: {wrong}" if wrong else "every refusal has a reason, nothing is silently wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
