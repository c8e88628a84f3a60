"""Keras models answer as Keras does with the torch backend; code in the file is refused."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile_cases import nothing_outside
from slim_cases import convert

from fnmodel.errors import SlimError, UnsupportedModelError
from fnmodel.inference import Predictor
from fnmodel.slim.readers import keras as reader

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
layers = keras.layers

ROWS = 16
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


def _normal(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def _dense() -> Any:
    return keras.Sequential(
        [keras.Input((5,), name="rows"), layers.Normalization(mean=1.0, variance=4.0),
         layers.Dense(8, activation="gelu"), layers.Dropout(0.5),
         layers.Dense(3, activation="softmax")]
    )  # fmt: skip


def _branched() -> Any:
    numbers, codes = keras.Input((4,), name="numbers"), keras.Input((2,), name="codes")
    both = layers.Concatenate()([layers.Dense(6, activation="relu")(numbers), codes])
    return keras.Model(
        [numbers, codes], {"risk": layers.Dense(2)(both), "value": layers.Dense(1)(both)}
    )


def _pictures() -> Any:
    return keras.Sequential(
        [keras.Input((8, 8, 1), name="images"), layers.Conv2D(4, 3, activation="relu"),
         layers.BatchNormalization(), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )  # fmt: skip


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "dense": (_dense, {"rows": _normal(ROWS, 5)}),
    "branched": (_branched, {"numbers": _normal(ROWS, 4), "codes": _normal(ROWS, 2)}),
    "pictures": (_pictures, {"images": _normal(ROWS, 8, 8, 1)}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_answers_as_keras_does(tmp_path: Path, case: str) -> None:
    """One row, seven and none; outputs keep the names that they have in Keras."""
    keras.utils.set_random_seed(0)
    make, arrays = CASES[case]
    model = make()
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "sample.npz", **arrays)

    report = convert(tmp_path, tmp_path / "model.keras", tmp_path / "sample.npz")
    predictor = Predictor(tmp_path / "model")

    assert report.passed
    for count in (1, 7):
        fed = {name: array[:count] for name, array in arrays.items()}
        given = list(fed.values()) if len(fed) > 1 else next(iter(fed.values()))
        wanted = model.predict(given, verbose=0)
        ours = predictor.run(fed)
        if isinstance(wanted, dict):
            assert list(ours) == list(wanted)
        parts = wanted.values() if isinstance(wanted, dict) else [wanted]
        for theirs, own in zip(parts, ours.values(), strict=True):
            assert np.allclose(own, theirs, rtol=1e-3, atol=1e-5)
    none = predictor.run({name: array[:0] for name, array in arrays.items()})
    assert {len(array) for array in none.values()} == {0}


def test_without_a_sample_rows_of_the_declared_shape_are_made(tmp_path: Path) -> None:
    """A Keras file says what its inputs look like."""
    _pictures().save(tmp_path / "model.keras")

    assert convert(tmp_path, tmp_path / "model.keras", None).passed


def test_columns_of_a_table_become_features(tmp_path: Path) -> None:
    """A model of rows of numbers is asked by the names that the sample has."""
    model = _dense()
    model.save(tmp_path / "model.keras")
    frame = pd.DataFrame(_normal(ROWS, 5), columns=list("abcde"))
    frame.to_csv(tmp_path / "rows.csv", index=False)

    convert(tmp_path, tmp_path / "model.keras", tmp_path / "rows.csv")
    (answer,) = Predictor(tmp_path / "model").predict(frame.head(1).to_dict("records"))

    wanted = model.predict(frame.head(1).to_numpy(), verbose=0)[0]
    assert np.allclose(next(iter(answer.values())), wanted, atol=1e-5)


class Own(layers.Layer):  # type: ignore[misc]
    """A layer of the user's own package."""

    def call(self, x: Any) -> Any:
        """Return twice the input."""
        return 2 * x


def _edited(path: Path, change: Callable[[Any], None]) -> Path:
    """Change the configuration in a saved file."""
    before = path.with_suffix(".before")
    shutil.move(path, before)
    with zipfile.ZipFile(before) as given, zipfile.ZipFile(path, "w") as made:
        for info in given.infolist():
            data = given.read(info)
            if info.filename == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            made.writestr(info.filename, data)
    return path


def _dense_file(path: Path) -> Path:
    _dense().save(path)
    return path


def _with_layer(layer: Any) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        keras.Sequential([keras.Input((5,)), layer()]).save(path)
        return path

    return write


def _class_of_python(path: Path) -> Path:
    def change(config: Any) -> None:
        layer = config["config"]["layers"][2]
        layer.update(module="subprocess", class_name="Popen", registered_name=None)
        layer["config"] = {"args": ["touch", str(path.with_name("marker"))]}

    return _edited(_dense_file(path), change)


def _utility(path: Path) -> Path:
    def change(config: Any) -> None:
        layer = config["config"]["layers"][2]
        layer["config"]["activation"] = {
            "module": "keras.utils", "class_name": "function", "config": "get_file",
            "registered_name": "get_file",
        }  # fmt: skip

    return _edited(_dense_file(path), change)


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "code in a Lambda layer": (_with_layer(lambda: layers.Lambda(lambda x: x * 2)), "Lambda"),
    "a layer of one's own": (_with_layer(Own), "Own"),
    "a class of Python": (_class_of_python, "subprocess"),
    "a function that fetches files": (_utility, "get_file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_with_code_is_refused_by_name(tmp_path: Path, case: str) -> None:
    """Nothing of it runs, and the error names it with a way out."""
    write, words = REFUSED[case]
    path = write(tmp_path / "model.keras")

    with nothing_outside(tmp_path), pytest.raises(UnsupportedModelError, match=words) as caught:
        reader.subject(path, sample=None)

    assert caught.value.hint
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"config.json", b"config.jsox"),
    ],
)
def test_a_damaged_file_is_told_in_words(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """A cut file and one without configuration are no traceback."""
    path = _dense_file(tmp_path / "model.keras")
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(SlimError) as caught:
        convert(tmp_path, path, None)
    assert caught.value.hint
