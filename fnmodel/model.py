"""The values that stages hand to each other: a model directory and what it says of itself.

A model directory holds `model.onnx`, `signature.json` and `probe.json`; `model.onnx.data` where the
graph has large weights, which are mapped into memory; `front.json` where values need Python before
the graph, and `reference.json` where there was a training sample. It is what `slim` writes, `pack`
ships to `/opt/ml/model` and `inference` loads.

Imports only the standard library, because the image pays for it at each cold start.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fnmodel.errors import SlimError

MODEL = "model.onnx"
WEIGHTS = "model.onnx.data"
SIGNATURE = "signature.json"
PROBE = "probe.json"
FRONT = "front.json"
REFERENCE = "reference.json"
PROCESSING = "processing.py"
REQUIRED = (MODEL, SIGNATURE, PROBE)
OPTIONAL = (WEIGHTS, FRONT, REFERENCE, PROCESSING)
FILES = (*REQUIRED, *OPTIONAL)
"""The files of a model directory, in the order of its digest."""

MISSING_TEXT = "\x00missing"
"""What a missing text is in a tensor: no caller can send it, since texts with NUL are refused."""

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip
"""Tensor datatypes as the Open Inference Protocol names them."""

Task = Literal["classification", "regression", "other"]


@dataclass(frozen=True)
class Tensor:
    """One ONNX input or output: `shape` as the Open Inference Protocol has it, -1 is variable."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Feature:
    """One column that a caller gives by name.

    `datatype` is the tensor's; `integral` marks numbers that were integers in the training
    sample (`3.0` is still accepted); `nullable` allows a missing value; `categories` are the
    known strings or numbers, in order, or empty when they are not known. Where they are `closed`,
    the model has no answer for any other value.
    """

    name: str
    datatype: Datatype
    integral: bool = False
    nullable: bool = False
    categories: tuple[str | int | float, ...] = ()
    closed: bool = False


@dataclass(frozen=True)
class Signature:
    """What goes into a model and what comes out.

    The features fill the inputs in one of two ways. *Stacked*: one input of shape (-1, F) holds
    the F features in order. *By column*: input i of shape (-1, 1) holds feature i. A model with
    neither (images, tokens) has no features and is called with tensors only.

    `label` and `scores` name the outputs that carry a classifier's label, shape (-1,), and its
    class probabilities, shape (-1, C), in the order of `classes`; a model that only gives these
    has no `label`. `raw` is what callers send where the project's own code makes the features of
    it.
    """

    task: Task
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    features: tuple[Feature, ...] = ()
    classes: tuple[str | int | float | bool, ...] = ()
    label: str | None = None
    scores: str | None = None
    raw: tuple[Feature, ...] = ()

    @property
    def asked(self) -> tuple[Feature, ...]:
        """What callers send by name: the features, or what the project makes these of."""
        return self.raw or self.features

    @property
    def stacked(self) -> bool:
        """Whether one input holds all features side by side."""
        return len(self.inputs) == 1 and len(self.inputs[0].shape) > 1

    @property
    def one_value(self) -> bool:
        """Whether the answer is one output of a regressor, which `/predict` calls `value`."""
        return self.task == "regression" and len(self.outputs) == 1

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `signature.json`."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Signature":
        """Read `signature.json`'s data.

        Raises:
            SlimError: a key is missing or of another form.

        """
        try:
            return Signature(
                task=data["task"],
                inputs=tuple(_tensor(t) for t in data["inputs"]),
                outputs=tuple(_tensor(t) for t in data["outputs"]),
                features=tuple(map(_feature, data["features"])),
                raw=tuple(map(_feature, data.get("raw", ()))),
                classes=tuple(data["classes"]),
                label=data["label"],
                scores=data["scores"],
            )
        except (KeyError, TypeError) as error:
            raise SlimError(
                f"{SIGNATURE} is not a signature: {error!r}", hint="run `fnmodel slim` again"
            ) from error


def _feature(data: Mapping[str, Any]) -> Feature:
    return Feature(**{**data, "categories": tuple(data.get("categories", ()))})


def _tensor(data: Mapping[str, Any]) -> Tensor:
    return Tensor(data["name"], data["datatype"], tuple(data["shape"]))


@dataclass(frozen=True)
class Tolerance:
    """How far two answers may lie apart: `|a - b| <= absolute + relative * |b|`."""

    absolute: float
    relative: float

    def __post_init__(self) -> None:
        for value in (self.absolute, self.relative):
            if not (math.isfinite(value) and value >= 0):
                message = f"a tolerance is a finite number of at least 0, not {value}"
                raise ValueError(message)


@dataclass(frozen=True)
class OnnxModel:
    """A model directory: `model.onnx`, its signature, and the probe that proves its answers.

    `digest` is the SHA-256 over its files, so that it names the model and its proof; `hashes` has
    the SHA-256 of each, 32 bytes.
    """

    folder: Path
    signature: Signature
    digest: str
    hashes: Mapping[str, bytes] = field(repr=False, compare=False)

    @staticmethod
    def load(folder: Path, sha256: Callable[[Path], bytes] | None = None) -> "OnnxModel":
        """Open a model directory; `sha256` may know hashes without reading.

        Raises:
            SlimError: a file is missing or unreadable.

        """
        import hashlib

        hashes: dict[str, bytes] = {}
        for name in FILES:
            path = folder / name
            if not path.is_file():
                if name in OPTIONAL:
                    continue
                raise SlimError(f"{path} does not exist", hint="run `fnmodel slim` again")
            hashes[name] = (sha256 or _sha256)(path)
        signature = read_signature(folder)
        digest = hashlib.sha256(b"".join(name.encode() + hashes[name] for name in hashes))
        return OnnxModel(folder, signature, f"sha256:{digest.hexdigest()}", hashes)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the directory's files, in the order of the digest."""
        return tuple(name for name in FILES if (self.folder / name).is_file())

    @property
    def size(self) -> int:
        """Bytes of the graph and its weights."""
        return sum(
            (self.folder / name).stat().st_size for name in self.files if name in (MODEL, WEIGHTS)
        )

    def probe(self) -> dict[str, Any]:
        """Return the probe: `request`, an Open Inference Protocol request, and what it must answer.

        Keys: `request` (JSON body of `/v2/models/{model}/infer`), `expected` (the `outputs` of its
        answer), `tolerance` (`absolute`, `relative`). With `processing.py` also `records`, as
        callers send them, and `answers`, what `/predict` must say.
        """
        probe: dict[str, Any] = json.loads((self.folder / PROBE).read_bytes())
        return probe


def _sha256(path: Path) -> bytes:
    # Serving needs no digests, and hashlib brings OpenSSL: 4 ms of a cold start.
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def read_signature(folder: Path) -> Signature:
    """Read `signature.json` of a model directory.

    Raises:
        SlimError: it is missing, is not JSON, or is not a signature.

    """
    path = folder / SIGNATURE
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SlimError(f"{path}: {error}", hint="run `fnmodel slim` again") from error
    return Signature.from_json(data)
