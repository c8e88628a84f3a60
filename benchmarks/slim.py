"""What `fnmodel slim` makes of a model, against the original and a stock converter.

    python benchmarks/slim.py [--only WORD] [--check] [--json]

Each model is trained here, converted by the stock converter (skl2onnx in float32 for
scikit-learn, `torch.onnx.export` for networks) and by `slim`. Bytes, time to load, and the time
of 1 and of 1,000 rows are ratios to the stock file; the two take turns, and each figure is the
median of the ratios of the turns. Goals: the forest's file at most 0.35 of the stock one with no
flip next to a split, the transformer's at most 0.28 with a cosine of 0.999. `--check` fails where
one is missed.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from fnmodel.engine import open_session
from fnmodel.inference import Predictor
from fnmodel.model import MODEL, OnnxModel
from fnmodel.slim.content import content_sha256, content_size
from fnmodel.slim.job import run
from fnmodel.slim.order import Job, Order

TURNS = 7
GOALS = {"forest of 500 trees": 0.35, "transformer, MiniLM's size": 0.28}
_SECONDS = 0.05


@dataclass(frozen=True)
class Case:
    """A model on disk, the stock converter's file, and inputs of the stock file for n rows."""

    source: Path
    sample: Path | None
    stock: bytes
    feeds: Callable[[int], dict[str, Any]]
    load: Callable[[], object]


@dataclass(frozen=True)
class Line:
    """Ratios to the stock file; the original's own load time and bytes beside them."""

    name: str
    original_bytes: int
    stock_bytes: int
    our_bytes: int
    load: float
    original_load: float
    one_row: float
    thousand_rows: float
    flips_per_thousand: float
    max_abs: float
    kept: str

    @property
    def size(self) -> float:
        """Our bytes over the stock converter's."""
        return self.our_bytes / self.stock_bytes

    @property
    def goal_met(self) -> bool:
        """Whether the goal for this model's bytes holds, if there is one."""
        return self.size <= GOALS.get(self.name, np.inf) and self.flips_per_thousand == 0


def main() -> int:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="models whose name has this word")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    lines = []
    if not options.json:
        print(
            f"{'ratios to the stock converter':<30}{'bytes':>8}{'load':>8}{'1 row':>8}"
            f"{'1,000':>8}{'flips':>7}  of the original's bytes, kept form"
        )
    for name, make in cases():
        if options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            line = measured(name, make(Path(folder)), Path(folder, "made"))
        lines.append(line)
        if not options.json:
            print(
                f"{line.name:<30}{line.size:>8.3f}{line.load:>8.2f}{line.one_row:>8.2f}"
                f"{line.thousand_rows:>8.2f}{line.flips_per_thousand:>7.1f}"
                f"  {line.our_bytes / line.original_bytes:.3f}, {line.kept}"
                + (f"; goal {GOALS[name]} {'met' if line.goal_met else 'MISSED'}"
                   if name in GOALS else ""),
                flush=True,
            )  # fmt: skip
    if options.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    return int(options.check and not all(line.goal_met for line in lines))


def measured(name: str, case: Case, made: Path) -> Line:
    """Convert a model, and time its file against the stock one."""
    job = Job(Order(case.source, case.sample), content_sha256(case.source), made)
    report = run(job, lambda _: None)
    if not report.passed:
        raise SystemExit(f"{name}: the answers differ, so there is nothing to compare")
    ours = made / MODEL
    stock = open_session(case.stock, threads=1)
    predictor = Predictor(made, threads=1)
    given = _inputs(predictor, case.feeds)

    def asks(count: int) -> tuple[Callable[[], object], Callable[[], object]]:
        theirs, mine = case.feeds(count), predictor.feeds(given(count))
        session = open_session(ours, threads=1)
        return (lambda: session.run(None, dict(mine))), (lambda: stock.run(None, theirs))

    return Line(
        name=name,
        original_bytes=content_size(case.source),
        stock_bytes=len(case.stock),
        our_bytes=OnnxModel.load(made).size,
        load=ratio(
            lambda: open_session(ours, threads=1), lambda: open_session(case.stock, threads=1)
        ),
        original_load=ratio(case.load, lambda: open_session(case.stock, threads=1)),
        one_row=ratio(*asks(1)),
        thousand_rows=ratio(*asks(1000)),
        flips_per_thousand=1000 * report.edge_flips / max(report.edge_rows, 1),
        max_abs=report.max_abs,
        kept=(report.ladder or {}).get("kept", "as converted"),
    )


def _inputs(
    predictor: Predictor, feeds: Callable[[int], dict[str, Any]]
) -> Callable[[int], dict[str, Any]]:
    """Return the same rows as our own signature has them."""

    def given(count: int) -> dict[str, Any]:
        arrays = feeds(count)
        inputs = predictor.signature.inputs
        if len(inputs) == len(arrays):
            from fnmodel.arrays import DTYPES

            return {
                tensor.name: array.astype(DTYPES[tensor.datatype])
                for tensor, array in zip(inputs, arrays.values(), strict=True)
            }
        raise SystemExit(f"the stock file has other inputs: {list(arrays)}")

    return given


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """Return the median over turns of our time over theirs."""
    ours(), theirs()
    found = []
    for turn in range(TURNS):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        times = {id(call): _time(call) for call in (first, second)}
        found.append(times[id(ours)] / times[id(theirs)])
    return statistics.median(found)


def _time(call: Callable[[], object]) -> float:
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < _SECONDS or not count:
        call()
        count += 1
    return spent / count


def cases() -> Iterator[tuple[str, Callable[[Path], Case]]]:
    """Yield names, and calls that train the model in a folder."""
    yield "forest of 500 trees", lambda folder: _table(folder, "forest")
    yield "histogram boosting", lambda folder: _table(folder, "histogram")
    yield "logistic regression, columns", _columns
    yield "perceptron of scikit-learn", lambda folder: _table(folder, "perceptron")
    if find_spec("torch") and find_spec("onnxscript"):
        yield "convolutions", _convolutions
        if find_spec("transformers"):
            yield "transformer, MiniLM's size", _transformer


def _table(folder: Path, kind: str) -> Case:
    from skl2onnx import to_onnx
    from sklearn.datasets import make_classification
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.neural_network import MLPClassifier

    rows, labels = make_classification(4000, 20, n_informative=10, n_classes=3, random_state=0)
    rows = rows.astype(np.float32)
    models = {
        "forest": RandomForestClassifier(500, random_state=0, n_jobs=1),
        "histogram": HistGradientBoostingClassifier(random_state=0),
        "perceptron": MLPClassifier((128, 64), max_iter=20, random_state=0),
    }
    model = models[kind].fit(rows, labels)
    stock = to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString()
    frame = pd.DataFrame(rows, columns=[f"x{i}" for i in range(20)])
    return _sklearn(folder, model, frame, stock, lambda n: {"X": rows[:n]})


def _columns(folder: Path) -> Case:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = np.random.default_rng(0)
    texts = {name: random.choice([f"{name}{i}" for i in range(40)], 3000) for name in "pq"}
    numbers = {name: random.normal(size=3000).astype(np.float32) for name in "abc"}
    frame = pd.DataFrame({**texts, **numbers})
    steps = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["p", "q"]), (StandardScaler(), ["a", "b", "c"])
    )
    model = make_pipeline(steps, LogisticRegression()).fit(frame, frame["a"] > 0.2)
    kinds = [(n, StringTensorType([None, 1]) if n in "pq" else FloatTensorType([None, 1]))
             for n in frame]  # fmt: skip
    stock = to_onnx(model, initial_types=kinds, options={"zipmap": False}).SerializeToString()

    def feeds(count: int) -> dict[str, Any]:
        return {
            name: frame[name].head(count).to_numpy(object if name in "pq" else np.float32)[:, None]
            for name in frame
        }

    return _sklearn(folder, model, frame, stock, feeds)


def _sklearn(
    folder: Path, model: Any, frame: Any, stock: bytes, feeds: Callable[[int], dict[str, Any]]
) -> Case:
    source, sample = folder / "model.joblib", folder / "sample.csv"
    joblib.dump(model, source)
    frame.head(600).to_csv(sample, index=False)
    return Case(source, sample, stock, feeds, lambda: joblib.load(source))


def _convolutions(folder: Path) -> Case:
    import torch
    from torch import nn

    torch.manual_seed(0)
    wide = [(1, 32), (32, 64), (64, 128)]
    layers = [
        layer
        for before, after in wide
        for layer in (nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
                      nn.MaxPool2d(2))
    ]  # fmt: skip
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 9, 10)).eval()
    images = np.random.default_rng(0).random((1000, 1, 28, 28), np.float32)
    source, sample = folder / "model.pt2", folder / "sample.npz"
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(
        module, (torch.from_numpy(images[:3]),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, source)
    np.savez(sample, input=images[:64])
    stock = _exported(program)
    name = open_session(stock).get_inputs()[0].name
    return Case(
        source, sample, stock, lambda n: {name: images[:n]}, lambda: torch.export.load(source)
    )


def _exported(program: Any) -> bytes:
    import torch

    made = torch.onnx.export(program, dynamo=True, verbose=False, external_data=False)
    content: bytes = made.model_proto.SerializeToString()
    return content


def _transformer(folder: Path) -> Case:
    """Make a sentence encoder of MiniLM's sizes with random weights; its inputs are token ids."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
        intermediate_size=1536, max_position_embeddings=512, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    source = folder / "encoder"
    model.save_pretrained(source)
    parts = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in parts
    ]
    (source / "modules.json").write_text(json.dumps(modules))
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')

    class Pooled(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, ids: Any, mask: Any) -> Any:
            vectors = self.inner(input_ids=ids, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).float()
            mean = (vectors * weight).sum(1) / weight.sum(1)
            return torch.nn.functional.normalize(mean, dim=1)

    random = np.random.default_rng(0)
    ids = random.integers(0, 30522, (1000, 16))
    mask = np.ones_like(ids)
    sample = folder / "sample.npz"
    np.savez(sample, input_ids=ids[:48], attention_mask=mask[:48])
    given = tuple(torch.from_numpy(array[:3]) for array in (ids, mask))
    dynamic = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},) * 2
    program = torch.export.export(Pooled().eval(), given, dynamic_shapes=dynamic, strict=False)
    stock = _exported(program)
    names = [value.name for value in open_session(stock).get_inputs()]
    return Case(
        source,
        sample,
        stock,
        lambda n: dict(zip(names, (ids[:n], mask[:n]), strict=True)),
        lambda: transformers.BertModel.from_pretrained(source),
    )


if __name__ == "__main__":
    sys.exit(main())
