"""Tells what wrote a trained model, from the first bytes of a file or the names in a folder."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fnmodel.errors import SlimError

Kind = Literal[
    "pickle", "skops", "xgboost", "lightgbm", "catboost",
    "torch", "torchscript", "torch-export", "keras", "huggingface", "onnx",
]  # fmt: skip

_COMPRESSED = (
    b"\x1f\x8b",  # gzip
    b"BZh",
    b"\xfd7zXZ",
    b"\x5d\x00\x00",  # lzma
    b"\x04\x22\x4d\x18",  # lz4
    b"ZF",  # joblib before 0.10
)
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_REFUSED = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"\x89HDF", "an HDF5 file", "save the Keras model as `.keras`: model.save('model.keras')"),
    (b"<", "a web page or XML text", "export the model to ONNX, or save it in its own format"),
    (b"GGUF", "a GGUF file", "fnmodel serves ONNX models; a language model of that size is none"),
)
_HEAD = 4096
READS = (
    "fnmodel reads joblib, pickle, skops, XGBoost, LightGBM, CatBoost, PyTorch, Keras, ONNX, "
    "and the folders of Hugging Face and MLflow"
)


@dataclass(frozen=True)
class Found:
    """A model file or folder and what wrote it. `beside` is a sample that the folder brings."""

    kind: Kind
    path: Path
    beside: Path | None = None


def detect(path: Path) -> Found:
    """Look at a file or a folder and say what it is; nothing in it is run or unpickled.

    Raises:
        SlimError: it is none of the kinds that fnmodel reads.

    """
    return _folder(path) if path.is_dir() else _file(path)


def _file(path: Path) -> Found:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise SlimError(
            f"the model {path} cannot be read: {error.strerror}", hint="name an existing file"
        ) from error
    if not head:
        raise SlimError(f"{path.name} is empty", hint="save the model again")
    for magic, words, hint in _REFUSED:
        if head.startswith(magic):
            raise SlimError(f"{path.name} is {words}", hint=hint)
    kind = _by_head(path, head)
    if kind is None:
        raise SlimError(f"{path.name} is no trained model that is known here", hint=READS)
    return Found(kind, path)


def _by_head(path: Path, head: bytes) -> Kind | None:
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head.startswith(b"CBM1"):
        return "catboost"
    if head.startswith(b"tree\n"):
        return "lightgbm"
    if head.startswith(b"{"):
        return _braces(path, head)
    if path.suffix.lower() == ".onnx" or _is_onnx(head):
        return "onnx"
    pickled = head[:1] == b"\x80" or head.startswith((*_COMPRESSED, *_ZLIB))
    # Protocol 0 and 1 are opcodes without a header: the reader tells whether it is a pickle.
    return "pickle" if pickled or path.suffix in {".pkl", ".pickle", ".joblib"} else None


def _is_onnx(head: bytes) -> bool:
    # Field 1 of ModelProto is ir_version, a small number; then a string or a nested message.
    return len(head) > 3 and head[0] == 0x08 and head[1] < 0x20 and head[2] & 7 in (0, 2)


def _braces(path: Path, head: bytes) -> Kind:
    if head[1:2] in (b"L", b"l", b"i", b"U"):  # UBJSON gives each key's length first
        return "xgboost"
    keys: list[str] = []
    try:
        keys = list(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise SlimError(
            f"{path.name} begins like JSON and is none", hint="save the model again"
        ) from error
    if "learner" in keys:
        return "xgboost"
    if "oblivious_trees" in keys or "trees" in keys or "features_info" in keys:
        return "catboost"
    raise SlimError(f"{path.name} is JSON, but no model that is known here", hint=READS)


def _zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise SlimError(
            f"{path.name} is a damaged zip archive: {error}", hint="save the model again"
        ) from error
    last = {name.rpartition("/")[2] for name in names}
    if "schema.json" in names:
        return "skops"
    if "model.weights.h5" in names:
        return "keras"
    if "constants.pkl" in last:
        return "torchscript"
    if any(name.endswith(("serialized_exported_program.json", "archive_format")) for name in names):
        return "torch-export"
    if "data.pkl" in last:
        return "torch"
    raise SlimError(f"{path.name} is a zip archive, but no model that is known here", hint=READS)


def _folder(path: Path) -> Found:
    if (path / "MLmodel").is_file():
        return _mlflow(path)
    if (path / "saved_model.pb").is_file():
        raise SlimError(
            f"{path.name} is a TensorFlow SavedModel",
            hint="save the model as `.keras`, or convert it with tf2onnx and give the `.onnx` file",
        )
    if (path / "config.json").is_file():
        return Found("huggingface", path)
    graphs = sorted(path.glob("*.onnx"))
    if len(graphs) == 1:
        return Found("onnx", graphs[0])
    raise SlimError(
        f"the folder {path.name} holds no model that is known here",
        hint="a Hugging Face folder has config.json, an MLflow folder MLmodel; else name the file",
    )


def _mlflow(path: Path) -> Found:
    import yaml

    try:
        data = yaml.safe_load((path / "MLmodel").read_text("utf-8"))
        flavors = dict(data["flavors"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise SlimError(
            f"{path.name}/MLmodel is not what MLflow writes: {error!r}", hint="log the model again"
        ) from error
    beside = _example(path, data)
    for flavor, key in (
        ("sklearn", "pickled_model"),
        ("xgboost", "data"),
        ("lightgbm", "data"),
        ("catboost", "data"),
        ("onnx", "data"),
        ("keras", "data"),
        ("pytorch", "model_data"),
        ("transformers", "model_binary"),
    ):
        told = flavors.get(flavor)
        if not isinstance(told, dict):
            continue
        inside = (path / str(told.get(key) or "model")).resolve()
        if not inside.is_relative_to(path.resolve()) or not inside.exists():
            continue
        inner = detect(_innermost(inside))
        return Found(inner.kind, inner.path, beside or inner.beside)
    raise SlimError(
        f"{path.name} is an MLflow model of {', '.join(sorted(flavors)) or 'no flavor'}, and none "
        "of its flavors holds a model file that is known here",
        hint="log it with mlflow.sklearn, xgboost, lightgbm, catboost, pytorch, keras or onnx",
    )


def _innermost(path: Path) -> Path:
    """Return the one model file of an MLflow data folder, such as data/model.keras."""
    if not path.is_dir() or (path / "config.json").is_file():
        return path
    files = [p for p in sorted(path.iterdir()) if p.name.startswith("model.")]
    return files[0] if len(files) == 1 else path


def _example(path: Path, data: dict[str, object]) -> Path | None:
    told = data.get("saved_input_example_info")
    name = told.get("artifact_path") if isinstance(told, dict) else None
    if not isinstance(name, str):
        return None
    example = path / name
    return example if example.is_file() and example.suffix in {".json", ".csv"} else None
