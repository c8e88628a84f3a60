"""PyTorch modules, TorchScript and exported programs answer as torch does, in any batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from slim_cases import convert

from fnmodel.errors import FnmodelError, InputError, SlimError, UnsupportedModelError
from fnmodel.inference import Predictor

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
nn = torch.nn

ROWS = 20


class Words(nn.Module):  # type: ignore[misc]
    """Counts of words and numbers in, scores and a number out."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(50, 8)
        self.score = nn.Linear(11, 2)

    def forward(
        self, words: torch.Tensor, numbers: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two outputs."""
        both = torch.cat([self.words(words), numbers], 1)
        return self.score(both).softmax(1), both.norm(2, dim=1)


class Series(nn.Module):  # type: ignore[misc]
    """A recurrent network over series of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(4, 6, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Return a number for each series."""
        return self.head(self.cell(series)[0][:, -1])


def _perceptron() -> Any:
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))


def _convolutions() -> Any:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip
    net.train()
    with torch.no_grad():
        net(torch.randn(8, 1, 8, 8))  # so that the batch norm has figures of its own
    return net


def _normal(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


CASES: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "perceptron": (_perceptron, (_normal(ROWS, 6),)),
    "convolutions": (_convolutions, (_normal(ROWS, 1, 8, 8),)),
    "recurrent": (Series, (_normal(ROWS, 9, 4),)),
    "two inputs": (
        Words, (np.random.default_rng(0).integers(0, 50, (ROWS, 5)), _normal(ROWS, 3)),
    ),
}  # fmt: skip


def _module(net: Any, _args: Any, path: Path) -> Path:
    torch.save(net, path / "model.pt")
    return path / "model.pt"


def _script(net: Any, _args: Any, path: Path) -> Path:
    torch.jit.script(net).save(str(path / "model.pt"))
    return path / "model.pt"


def _export(net: Any, args: Any, path: Path) -> Path:
    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in args)
    program = torch.export.export(net, args, dynamic_shapes=shapes)
    torch.export.save(program, path / "model.pt2")
    return path / "model.pt2"


FORMS = {"module": _module, "script": _script, "export": _export}
# Whole modules are read where all their classes are torch's own.
PAIRS = [
    (case, form)
    for case in CASES
    for form in FORMS
    if form != "module" or case in {"perceptron", "convolutions"}
]


def _flat(answer: Any) -> list[Any]:
    parts = answer if isinstance(answer, tuple) else [answer]
    return [part.detach().numpy() for part in parts]


@pytest.mark.filterwarnings("ignore:The tensor attributes")
@pytest.mark.parametrize(("case", "form"), PAIRS)
def test_a_network_answers_as_torch_does(tmp_path: Path, case: str, form: str) -> None:
    """However it was saved, one row, seven and none, with the module in eval mode."""
    make, arrays = CASES[case]
    torch.manual_seed(0)
    net = make().eval()
    args = tuple(torch.from_numpy(array) for array in arrays)
    source = FORMS[form](net, args, tmp_path)
    names = ("words", "numbers") if case == "two inputs" else ("input",)
    if case == "recurrent":
        names = ("series",)
    np.savez(tmp_path / "sample.npz", **dict(zip(names, arrays, strict=True)))

    report = convert(tmp_path, source, tmp_path / "sample.npz")
    predictor = Predictor(tmp_path / "model")
    inputs = [tensor.name for tensor in predictor.signature.inputs]

    assert report.passed
    for count in (1, 7, ROWS):
        fed = {n: a[:count] for n, a in zip(inputs, arrays, strict=True)}
        with torch.no_grad():
            wanted = _flat(net(*(torch.from_numpy(a[:count]) for a in arrays)))
        for theirs, ours in zip(wanted, predictor.run(fed).values(), strict=True):
            assert ours.shape == theirs.shape
            assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    none = predictor.run({n: a[:0] for n, a in zip(inputs, arrays, strict=True)})
    assert {len(array) for array in none.values()} == {0}


def test_columns_of_a_table_become_features(tmp_path: Path) -> None:
    """A module of one input of numbers is asked by names where the sample has names."""
    torch.manual_seed(0)
    net = _perceptron().eval()
    frame = pd.DataFrame(_normal(ROWS, 6), columns=[f"größe {i}" for i in range(6)])
    frame.assign(label=0).to_csv(tmp_path / "rows.csv", index=False)

    convert(tmp_path, _module(net, None, tmp_path), tmp_path / "rows.csv", target="label")
    predictor = Predictor(tmp_path / "model")
    (row,) = predictor.predict(frame.head(1).to_dict("records"))

    with torch.no_grad():
        wanted = net(torch.tensor(frame.head(1).to_numpy()))[0].numpy()
    assert np.allclose(next(iter(row.values())), wanted, atol=1e-5)
    with pytest.raises(InputError, match="größe"):
        predictor.predict([{"größe 0": 1.0}])


def test_a_class_of_ones_own_is_trusted_by_name(tmp_path: Path) -> None:
    """Without trust the error names the class; with it the module is read."""
    path = _module(Series().eval(), None, tmp_path)
    np.savez(tmp_path / "sample.npz", series=_normal(ROWS, 9, 4))
    from fnmodel.slim.readers.open import open_subject

    def opened(trust: frozenset[str]) -> Any:
        return open_subject(
            path, sample=tmp_path / "sample.npz", target=None, trust=trust, progress=lambda _: None
        )

    with pytest.raises(FnmodelError, match=rf"{__name__}\.Series"):
        opened(frozenset())
    assert opened(frozenset({f"{__name__}.Series"})).framework == "PyTorch"


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    """Weights of float16 are widened: a CPU has no arithmetic for them."""
    net = _perceptron().eval().half()
    np.savez(tmp_path / "sample.npz", input=_normal(ROWS, 6))

    assert convert(tmp_path, _module(net, None, tmp_path), tmp_path / "sample.npz").passed


class Branches(nn.Module):  # type: ignore[misc]
    """Takes another way where the numbers are large."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rows, or their negatives."""
        if x.sum() > 0:
            return x
        return -x


def _saved(value: Any, path: Path) -> Path:
    torch.save(value, path / "model.pt")
    return path / "model.pt"


def _fixed(path: Path) -> Path:
    program = torch.export.export(_perceptron().eval(), (torch.zeros(2, 6),))
    torch.export.save(program, path / "model.pt2")
    return path / "model.pt2"


REFUSED: dict[str, tuple[Callable[[Path], Path], Any, str]] = {
    "weights alone": (
        lambda path: _saved(_perceptron().state_dict(), path), _normal(ROWS, 6), "state_dict",
    ),
    "no module": (lambda path: _saved([1, 2], path), _normal(ROWS, 6), "holds a list"),
    "another width": (
        lambda path: _module(_perceptron().eval(), None, path), _normal(ROWS, 5), "sample",
    ),
    "one number of rows": (
        _fixed, _normal(ROWS, 6), "rows of one number only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_in_words(tmp_path: Path, case: str) -> None:
    """The error says what the file holds, and how to save it instead."""
    write, rows, words = REFUSED[case]
    np.savez(tmp_path / "sample.npz", input=rows)

    with pytest.raises(SlimError, match=words) as caught:
        convert(tmp_path, write(tmp_path), tmp_path / "sample.npz")
    assert caught.value.hint


def test_a_branch_on_the_data_is_kept_or_refused(tmp_path: Path) -> None:
    """A trace would keep one of the two ways, and be wrong for the other rows."""
    source = _script(Branches().eval(), None, tmp_path)
    rows = _normal(ROWS, 3)
    np.savez(tmp_path / "sample.npz", x=rows)

    try:
        report = convert(tmp_path, source, tmp_path / "sample.npz")
    except UnsupportedModelError:
        return
    assert not report.passed or all(
        np.allclose(
            next(iter(Predictor(tmp_path / "model").run({"x": part}).values())),
            part if part.sum() > 0 else -part,
        )
        for part in (rows[:1], rows[1:2], rows[:3], -rows[:3])
    )


def test_without_a_sample_a_module_is_not_guessed_at(tmp_path: Path) -> None:
    """A file that holds no example needs one; the error says which option gives it."""
    with pytest.raises(SlimError, match="does not say what its inputs look like") as caught:
        convert(tmp_path, _module(_perceptron().eval(), None, tmp_path), None)
    assert "sample" in caught.value.hint
