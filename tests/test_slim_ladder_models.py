"""Real kinds of models on the ladder: which form each keeps, and how close it answers."""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from slim_ladder_cases import Array, Case, answers, digits, row_of

from fnmodel.slim.ladder import Judgement, Options, climb, rungs
from fnmodel.slim.rungs.closeness import Closeness
from fnmodel.slim.trees import sklearn as reader
from fnmodel.slim.trees import write


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Let exporters warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _export(
    module: Any, example: tuple[Any, ...], names: list[str], axes: Any, folder: Path
) -> bytes:
    torch = pytest.importorskip("torch")
    program = torch.onnx.export(
        module.eval(), example, dynamo=True, input_names=names, output_names=["answer"],
        dynamic_shapes=axes, verbose=False,
    )  # fmt: skip
    path = folder / "model.onnx"
    program.save(path, external_data=False)
    return path.read_bytes()


def test_convolutions_keep_a_quarter_that_sees_the_same_digits(tmp_path: Path) -> None:
    """A network trained on the digits keeps an int8 form with its accuracy and no other label."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    nn = torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    pixels, labels = digits()
    rows, classes = torch.tensor(pixels[:1200]), torch.tensor(labels[:1200])
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(8):
        for start in range(0, 1200, 100):
            optimizer.zero_grad()
            part = slice(start, start + 100)
            nn.functional.cross_entropy(net(rows[part]), classes[part]).backward()
            optimizer.step()
    axes = ({0: torch.export.Dim("n")},)
    onnx_bytes = _export(net, (rows[:2],), ["x"], axes, tmp_path)
    asked = {"x": pixels[1200:1500]}
    case = Case(onnx_bytes, asked, "cnn", labels[1200:1500], Closeness(spread=0.03))

    form, ladder = case.climb()

    assert ladder.kept in ("int8-static", "int8-weights")
    assert len(form) < 0.3 * len(onnx_bytes)
    assert row_of(ladder, ladder.kept).metric == row_of(ladder, "as converted").metric
    assert row_of(ladder, "float16-weights").verdict == "passed"
    static = row_of(ladder, "int8-static")
    assert static.verdict in ("passed", "kept", "slower", "failed parity")
    assert static.bytes is not None
    assert static.bytes < 0.3 * len(onnx_bytes)
    assert str(Path(__file__).parent).encode() not in form


def test_a_transformer_keeps_int8_weights_at_a_cosine_of_0_999(tmp_path: Path) -> None:
    """Table and layers become int8, and a batch of any length still runs."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=2000, hidden_size=128, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=64,
    )  # fmt: skip

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.bert = transformers.BertModel(config)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
            shown = attention_mask.unsqueeze(-1).to(states.dtype)
            return torch.nn.functional.normalize((states * shown).sum(1) / shown.sum(1), dim=1)

    chance = np.random.default_rng(0)
    asked: Mapping[str, Array] = {
        "input_ids": chance.integers(0, 2000, (24, 12)),
        "attention_mask": np.ones((24, 12), np.int64),
    }
    axis = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    example = tuple(torch.tensor(array[:2]) for array in asked.values())
    onnx_bytes = _export(Encoder(), example, list(asked), (axis, axis), tmp_path)
    case = Case(onnx_bytes, asked, "transformer")

    form, ladder = case.climb()

    assert ladder.kept == "int8-weights"
    assert len(form) < 0.3 * len(onnx_bytes)
    before, after = (answers(m, asked)["answer"] for m in (onnx_bytes, form))
    assert (before * after).sum(axis=1).min() >= 0.999
    longer = {name: np.concatenate([a, a], axis=1)[:5] for name, a in asked.items()}
    before, after = (answers(m, longer)["answer"] for m in (onnx_bytes, form))
    assert (before * after).sum(axis=1).min() >= 0.999


def _trees(model: Any, *, number: write.Number) -> tuple[bytes, dict[str, Array], Array]:
    rows, labels = make_classification(1500, 20, n_informative=12, random_state=0)
    model.fit(rows[:800], labels[:800])
    ensemble = reader.read(model)
    assert ensemble is not None
    dtype = np.float64 if number == "FP64" else np.float32
    return write.model(ensemble, number), {"input": rows[800:].astype(dtype)}, labels[800:]


def _climb_trees(
    onnx_bytes: bytes, feeds: dict[str, Array], labels: Array, options: Options
) -> tuple[bytes, Any]:
    expected = answers(onnx_bytes, feeds)["value"][:, -1]

    def judge(form: bytes) -> Judgement:
        actual = answers(form, feeds)["value"][:, -1]
        far = float(np.abs(actual - expected).max())
        changes = int(((actual > 0.5) != (expected > 0.5)).sum())
        return Judgement(far < 1e-5, far, changes, float(((actual > 0.5) == labels).mean()))

    return climb(
        onnx_bytes, rungs("trees", options), judge=judge, feeds=feeds, options=options,
        progress=lambda _: None,
    )  # fmt: skip


def test_boosted_trees_over_float32_columns_are_narrowed() -> None:
    """float64 splits over float32 columns become float32: smaller, and no row falls elsewhere."""
    model = HistGradientBoostingClassifier(max_iter=120, random_state=0)
    onnx_bytes, feeds, labels = _trees(model, number="FP32")

    form, ladder = _climb_trees(onnx_bytes, feeds, labels, Options())

    assert ladder.kept == "float32-trees"
    assert len(form) < 0.85 * len(onnx_bytes)


def test_a_forest_of_300_trees_is_cut_only_on_request_and_within_the_loss() -> None:
    """Fewer trees answer differently: they are judged by the metric, against the budget given."""
    model = RandomForestClassifier(300, random_state=0, min_samples_leaf=4)
    onnx_bytes, feeds, labels = _trees(model, number="FP32")

    form, plain = _climb_trees(onnx_bytes, feeds, labels, Options())
    small, cut = _climb_trees(onnx_bytes, feeds, labels, Options(truncate_trees=0.02))

    assert plain.kept == "tidy"
    assert len(form) == len(onnx_bytes)
    assert cut.kept.startswith("trees-")
    assert len(small) < 0.55 * len(onnx_bytes)
    before, after = (row_of(cut, name).metric for name in ("as converted", cut.kept))
    assert before is not None
    assert after is not None
    assert before - after <= 0.02


def test_trees_are_not_cut_without_labels() -> None:
    """Without a metric nobody can say what dropping trees costs."""
    model = RandomForestClassifier(100, random_state=0, min_samples_leaf=4)
    onnx_bytes, feeds, _ = _trees(model, number="FP32")
    options = Options(truncate_trees=0.02, rungs=("tidy", "trees-50%"))

    form, ladder = climb(
        onnx_bytes, rungs("trees", options), judge=lambda _: Judgement(True, 0.0), feeds=feeds,
        options=options, progress=lambda _: None,
    )  # fmt: skip

    assert row_of(ladder, "trees-50%").verdict == "failed parity"
    assert "labels" in row_of(ladder, "trees-50%").reason
    assert len(form) == len(onnx_bytes)
