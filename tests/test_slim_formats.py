"""What wrote a model is told from its first bytes or its folder; nothing in it is run."""

import io
import json
import zipfile

import joblib
import pytest
from sklearn.linear_model import LinearRegression

from fnmodel.errors import SlimError
from fnmodel.slim.formats import detect


def _zip(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


KNOWN = {
    "pickle": b"\x80\x05N.",
    "skops": _zip("schema.json", "1.npy"),
    "torch": _zip("model/data.pkl", "model/version"),
    "torchscript": _zip("m/data.pkl", "m/constants.pkl", "m/code/x.py"),
    "torch-export": _zip("archive_format", "models/model.json"),
    "keras": _zip("metadata.json", "config.json", "model.weights.h5"),
    "catboost": b"CBM1\x00\x00",
    "lightgbm": b"tree\nversion=v4\n",
    "xgboost": b'{"learner": {}, "version": [3, 0, 0]}',
    "onnx": b"\x08\x0a\x12\x08skl2onnx",
}


@pytest.mark.parametrize("kind", KNOWN)
def test_kind_is_told_by_content(tmp_path, kind):
    """The suffix says nothing; the first bytes do."""
    path = tmp_path / "model.bin"
    path.write_bytes(KNOWN[kind])

    assert detect(path).kind == kind


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_compressed_joblib_is_a_pickle(tmp_path, compress):
    """The compressors of joblib are told apart from other formats."""
    path = tmp_path / "model"
    joblib.dump(LinearRegression().fit([[0], [1]], [0, 1]), path, compress=compress)

    assert detect(path).kind == "pickle"


REFUSED = {
    "empty": (b"", "is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "page": (b"<html>", "web page"),
    "text": (b"hello", "no trained model"),
    "json": (b'{"a": 1}', "JSON, but no model"),
    "half json": (b'{"a": ', "begins like JSON"),
    "half zip": (b"PK\x03\x04", "damaged zip"),
    "other zip": (_zip("a.txt"), "zip archive, but no model"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_files_are_refused_in_words(tmp_path, kind):
    """What is no model says what it seems to be, and what to do."""
    content, words = REFUSED[kind]
    path = tmp_path / "model.bin"
    path.write_bytes(content)

    with pytest.raises(SlimError, match=words) as caught:
        detect(path)
    assert caught.value.hint


def _mlflow(folder, flavors, **more):
    folder.mkdir()
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavors, **more}))  # JSON is YAML
    return folder


def test_mlflow_folder_names_its_file_and_its_example(tmp_path):
    """The flavor names the file, and the example beside it is a sample."""
    folder = _mlflow(
        tmp_path / "logged",
        {"python_function": {}, "sklearn": {"pickled_model": "model.pkl"}},
        saved_input_example_info={"artifact_path": "input_example.json"},
    )
    (folder / "model.pkl").write_bytes(KNOWN["pickle"])
    (folder / "input_example.json").write_text("{}")

    found = detect(folder)

    assert (found.kind, found.path.name) == ("pickle", "model.pkl")
    assert found.beside == folder / "input_example.json"


@pytest.mark.parametrize("name", ["../outside.pkl", "/etc/passwd", "missing.pkl"])
def test_mlflow_folder_cannot_name_files_outside(tmp_path, name):
    """A flavor that points out of its folder is not followed."""
    (tmp_path / "outside.pkl").write_bytes(KNOWN["pickle"])
    folder = _mlflow(tmp_path / "logged", {"sklearn": {"pickled_model": name}})

    with pytest.raises(SlimError, match="none of its flavors"):
        detect(folder)


def test_other_folders_are_refused_in_words(tmp_path):
    """A TensorFlow SavedModel and an unknown folder say what to do instead."""
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(SlimError, match="SavedModel"):
        detect(tmp_path)
    (tmp_path / "saved_model.pb").unlink()
    with pytest.raises(SlimError, match="no model that is known"):
        detect(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert detect(tmp_path).kind == "huggingface"
