"""Where models lie in an image, and what its config says of them.

One model lies at `/opt/ml/model`. Several lie by name below `/opt/ml/models`, each in a layer of
its own, so that one that was trained again is the only one that is pushed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fnmodel.errors import PackError, SlimError
from fnmodel.model import OnnxModel
from fnmodel.pack import compression, layer
from fnmodel.pack.archive import entries
from fnmodel.pack.compression import Inflated
from fnmodel.pack.image import Image, Layer, encode
from fnmodel.pack.layout import Store

MODEL_DIRECTORY = "opt/ml/model"
MODEL_DIRECTORIES = "opt/ml/models"

_ONE, _SEVERAL = "io.fnmodel.model", "io.fnmodel.models"
_MADE = "fnmodel pack"
_FORMAT = 2


@dataclass(frozen=True)
class Packed:
    """The models of an image by name, the first one first; `named` where there may be several."""

    models: Mapping[str, OnnxModel]
    named: bool

    @staticmethod
    def of(models: OnnxModel | Mapping[str, OnnxModel], name: str) -> "Packed":
        """Return one model, by the image's name, or several by their own."""
        if isinstance(models, OnnxModel):
            return Packed({name: models}, False)
        return Packed(models, True)

    @property
    def version(self) -> str:
        """What callers see as the version where Lambda counts none: 12 digits of a digest."""
        if self.named:
            return hashlib.sha256(encode(self._digests())).hexdigest()[:12]
        [model] = self.models.values()
        return model.digest.removeprefix("sha256:")[:12]

    def env(self, name: str) -> dict[str, str]:
        """Return the variables that `fnmodel.serve.models.folders` reads, and the version."""
        folder = MODEL_DIRECTORIES if self.named else MODEL_DIRECTORY
        return {
            "FNMODEL_MODEL_DIR": f"/{folder}",
            "FNMODEL_MODEL_NAME": name,
            "FNMODEL_MODEL_VERSION": self.version,
            **({"FNMODEL_MODELS": ",".join(self.models)} if self.named else {}),
        }

    def labels(self) -> dict[str, str]:
        """Return the label that `digests` reads."""
        if self.named:
            return {_SEVERAL: json.dumps(self._digests(), separators=(",", ":"))}
        [model] = self.models.values()
        return {_ONE: model.digest}

    def layers(self, store: Store, progress: Callable[[str], None]) -> list[Layer]:
        """Return a layer for each model.

        Raises:
            PackError: a model changed since it was opened.

        """
        return [
            _layer(store, model, name if self.named else "", progress)
            for name, model in self.models.items()
        ]

    def _digests(self) -> dict[str, str]:
        return {name: model.digest for name, model in self.models.items()}


def digests(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of an image's models by name, of what `Packed.labels` made.

    One without a name of its own has the image's.
    """
    if _ONE in labels:
        return {labels.get("io.fnmodel.name", "model"): labels[_ONE]}
    try:
        found = json.loads(labels.get(_SEVERAL, "{}"))
        return {str(name): str(digest) for name, digest in found.items()}
    except (ValueError, AttributeError):
        return {}  # an image that others made


def model_layers(image: Image) -> tuple[Layer, ...]:
    """Return the layers of an image that hold its models."""
    return tuple(one for one in image.layers if one.created_by.startswith(f"{_MADE}: model"))


def unpack(image: Image, store: Store, folder: Path) -> dict[str, OnnxModel]:
    """Write the models of an image into a folder, and return them by name; the first one first.

    Its model layers must be in the store.

    Raises:
        PackError: a layer is missing or damaged, or does not hold the models that the image names.

    """
    wanted = digests(image.labels)
    for one in model_layers(image):
        for member, stream in entries(one, store):
            if member.isreg() and _inside(member.name):
                _write(folder / member.name, stream, member.size)
    several = _SEVERAL in image.labels
    found = {}
    for name, digest in wanted.items():
        at = folder / (f"{MODEL_DIRECTORIES}/{name}" if several else MODEL_DIRECTORY)
        try:
            found[name] = OnnxModel.load(at)
        except SlimError as error:
            raise PackError(f"image {image.digest} has no model {name}: {error.message}") from error
        if found[name].digest != digest:
            raise PackError(f"image {image.digest} has another model {name} than it names")
    if not found:
        raise PackError(f"image {image.digest} names no model; fnmodel did not make it")
    return found


def _inside(path: str) -> bool:
    return PurePosixPath(path).parts[:2] == ("opt", "ml") and ".." not in path.split("/")


def _write(path: Path, stream: Inflated, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while size and (chunk := stream.read(min(size, 1 << 20))):
            file.write(chunk)
            size -= len(chunk)


def _layer(store: Store, model: OnnxModel, name: str, progress: Callable[[str], None]) -> Layer:
    """Return the layer of a model directory, stored uncompressed: weights hardly shrink."""
    inputs = [_FORMAT, model.digest, *([name] if name else [])]
    key = f"model-{hashlib.sha256(encode(inputs)).hexdigest()}"
    words = f"model {name}" if name else "model"
    known = store.recall_layer(key)
    if known:
        progress(f"{words}: unchanged")
        return known
    progress(f"writing {name or 'the model'}")
    at = f"{MODEL_DIRECTORIES}/{name}" if name else MODEL_DIRECTORY
    files: dict[str, layer.Content] = {f"{at}/{file}": model.folder / file for file in model.hashes}
    # The files are hashed as they go into the layer: it holds what the model's digest names.
    expected = {f"{at}/{file}": found for file, found in model.hashes.items()}
    made = layer.write(store, files, f"{_MADE}: {words}", compression.stored, expected)
    store.remember_layer(key, made)
    return made
