"""What batch scoring costs, against pandas with scikit-learn and against the limits.

    python benchmarks/batch.py [--rows 1000000] [--rounds 3] [--check] [--json]

A table of 30 columns of float32 and an id in Parquet (snappy), and a gradient-boosted classifier
of 100 trees that was trained here. Each figure is that of a fresh process, from its start to its
end, imports included; all take turns, and a ratio is the median over rounds of the ratio in a
round. Memory is the peak of the process.

    decode      reads the file and does nothing with it
    session     ONNX Runtime on an array that was made in memory, by as many threads as ours
    ours        `fnmodel.batch.run` from the file to parts in Parquet: id, label, probabilities
    csv, jsonl  ours on the same rows in these formats, written in them too
    pandas      `read_parquet`, `predict_proba`, `to_parquet` of id and probabilities

Goals: at least 2.8 times the rows a second of pandas, with at most 0.15 of its memory; `--check`
fails where a gate is missed. `build/bench-batch.json` keeps the figures.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from goals import Goal

COLUMNS = 30
BUILD = Path("build")
GOALS = {
    "ours / pandas, rows a second": Goal(2.8, 2.0),
    "ours / pandas, memory": Goal(0.15, 0.2, at_most=True),
}
# JSON Lines and CSV are not what large tables come in: fewer rows say the same.
_SHARE = {"csv": 5, "jsonl": 5}


def main() -> int:
    """Measure each way in turns, and print rows a second, memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="fail where a gate is missed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=[*WAYS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        WAYS[options.way](options.folder)
        print(json.dumps({"peak": _peak()}))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-batch-") as name:
        folder = Path(name)
        prepare(folder, options.rows)
        rounds = [
            {way: measured(way, folder, options.rows) for way in WAYS}
            for _ in range(options.rounds)
        ]
    return report(rounds, options)


@dataclass(frozen=True)
class Figure:
    """Rows a second of a fresh process, and its peak memory in MB."""

    rate: float
    memory: float


def measured(way: str, folder: Path, rows: int) -> Figure:
    """Run one way in a process of its own."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, "--folder", str(folder)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    spent = time.perf_counter() - began
    peak = json.loads(done.stdout.splitlines()[-1])["peak"]
    return Figure(rows // _SHARE.get(way, 1) / spent, peak)


def report(rounds: list[dict[str, Figure]], options: argparse.Namespace) -> int:
    """Print what was measured; returns 1 where a gate is missed and `--check` is given."""
    middle = {
        way: Figure(
            statistics.median(one[way].rate for one in rounds),
            statistics.median(one[way].memory for one in rounds),
        )
        for way in WAYS
    }
    ratios = {
        "ours / pandas, rows a second": statistics.median(
            one["ours"].rate / one["pandas"].rate for one in rounds
        ),
        "ours / pandas, memory": statistics.median(
            one["ours"].memory / one["pandas"].memory for one in rounds
        ),
        "ours / session, rows a second": statistics.median(
            one["ours"].rate / one["session"].rate for one in rounds
        ),
    }
    found = {
        "rows": options.rows,
        "rates": {way: round(figure.rate) for way, figure in middle.items()},
        "memory_mb": {way: round(figure.memory, 1) for way, figure in middle.items()},
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
    }
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench-batch.json").write_text(json.dumps(found, indent=2) + "\n")
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for way, figure in middle.items():
            print(f"{way:<10}{figure.rate:>14,.0f} rows/s{figure.memory:>9.0f} MB")
        for name, value in ratios.items():
            goal = GOALS.get(name)
            print(f"{name:<34}{value:>7.2f}" + (f"  {goal}, {goal.verdict(value)}" if goal else ""))
    missed = [n for n, goal in GOALS.items() if goal.verdict(ratios[n]) == "GATE MISSED"]
    return int(options.check and bool(missed))


def prepare(folder: Path, rows: int) -> None:
    """Train the model, convert it, and write the tables."""
    import joblib
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import GradientBoostingClassifier

    from fnmodel.slim.content import content_sha256
    from fnmodel.slim.job import Job, run
    from fnmodel.slim.order import Order

    random = np.random.default_rng(0)
    names = [f"f{i}" for i in range(COLUMNS)]
    values = random.normal(size=(rows, COLUMNS)).astype(np.float32)
    frame = pd.DataFrame(values, columns=names)
    head = frame.head(20_000)
    labels = (head["f0"] * head["f1"] + head["f2"] > 0.3).astype(int)
    model = GradientBoostingClassifier(n_estimators=100, random_state=0).fit(head, labels)
    joblib.dump(model, folder / "model.joblib")
    head.head(600).to_parquet(folder / "sample.parquet", index=False)
    order = Order(folder / "model.joblib", folder / "sample.parquet")
    made = run(
        Job(order, content_sha256(folder / "model.joblib"), folder / "model"), lambda _: None
    )
    if not made.passed:
        raise SystemExit("the answers differ, so there is nothing to compare")
    frame.insert(0, "id", np.arange(rows))
    (folder / "in").mkdir()
    frame.to_parquet(folder / "in" / "table.parquet", index=False, row_group_size=1 << 17)
    fewer = frame.head(rows // _SHARE["csv"])
    fewer.to_csv(folder / "in" / "table.csv", index=False)
    fewer.to_json(folder / "in" / "table.jsonl", orient="records", lines=True)
    np.save(folder / "values.npy", values)


def _decode(folder: Path) -> None:
    from arro3.io import read_parquet

    for batch in read_parquet(folder / "in" / "table.parquet", batch_size=4096):
        assert batch.num_rows


def _session(folder: Path) -> None:
    import numpy as np

    from fnmodel.arrays import DTYPES
    from fnmodel.batch.work import processors
    from fnmodel.inference import Predictor

    predictor = Predictor(folder / "model", threads=1)
    (tensor,) = predictor.signature.inputs
    name, dtype = tensor.name, DTYPES[tensor.datatype]
    values = np.load(folder / "values.npy", mmap_mode="r")

    def score(start: int) -> None:
        predictor.run({name: values[start : start + 4096].astype(dtype)})

    with ThreadPoolExecutor(processors()) as executor:
        assert all(one is None for one in executor.map(score, range(0, len(values), 4096)))


def _ours(kind: str) -> Callable[[Path], None]:
    def score(folder: Path) -> None:
        from fnmodel.batch.job import JobRequest
        from fnmodel.batch.run import Model, run
        from fnmodel.batch.work import Host
        from fnmodel.inference import Predictor

        request = JobRequest(
            job="bench", bucket="", input="in/", output="out/", error_budget=0,
            scheduled_time=datetime.now(UTC), schedule_arn="bench", format=kind,  # type: ignore[arg-type]
            keep=("id",),
        )  # fmt: skip
        manifest = run(
            request,
            Files(folder),
            Predictor(folder / "model", threads=1),
            model=Model("bench", "1", "sha256:0"),
            host=Host(clock=lambda: datetime.now(UTC)),
        )
        assert manifest["status"] == "succeeded", manifest

    return score


def _pandas(folder: Path) -> None:
    import joblib
    import pandas as pd

    model = joblib.load(folder / "model.joblib")
    frame = pd.read_parquet(folder / "in" / "table.parquet")
    found = model.predict_proba(frame.drop(columns="id"))
    scored = pd.DataFrame({"id": frame["id"], "label": model.classes_[found.argmax(axis=1)]})
    for position, name in enumerate(model.classes_):
        scored[f"probability_{name}"] = found[:, position]
    scored.to_parquet(folder / "scored.parquet", index=False)


WAYS: dict[str, Callable[[Path], None]] = {
    "decode": _decode,
    "session": _session,
    "ours": _ours("parquet"),
    "csv": _ours("csv"),
    "jsonl": _ours("jsonl"),
    "pandas": _pandas,
}


class Files:
    """A folder as an object store, for `fnmodel.batch.run`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self, prefix: str) -> list[Any]:
        """As `ObjectStore.list`."""
        from fnmodel.batch.objects import Object

        found = sorted(p for p in self._root.rglob("*") if p.is_file())
        keys = [(p.relative_to(self._root).as_posix(), p.stat().st_size) for p in found]
        return [Object(key, str(size), size) for key, size in keys if key.startswith(prefix)]

    def open(self, key: str, etag: str, start: int = 0) -> BinaryIO:  # noqa: ARG002
        """As `ObjectStore.open`."""
        file = (self._root / key).open("rb")
        file.seek(start)
        return file

    def range(self, key: str, etag: str, start: int, size: int) -> bytes:
        """As `ObjectStore.range`."""
        with self.open(key, etag) as file:
            file.seek(start)
            return file.read(size)

    def put(
        self,
        key: str,
        body: bytes | BinaryIO,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,  # noqa: ARG002
    ) -> bool:
        """As `ObjectStore.put`, for one writer."""
        path = self._root / key
        if if_none_match and path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            shutil.copyfileobj(io.BytesIO(body) if isinstance(body, bytes) else body, file)
        return True


def _peak() -> float:
    """Return the peak of this process's memory in MB: `ru_maxrss` would count the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.exit(main())
