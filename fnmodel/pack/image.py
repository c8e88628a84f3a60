"""Images as values: a layer or an image never changes; `append` and `configure` return a new one.

Names are those of the OCI image specification: a *digest* is the SHA-256 of the bytes as stored, a
*diff_id* that of the uncompressed tar.
"""

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fnmodel.errors import PackError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"

# Docker's and OCI's gzip layers are the same bytes under two names; one image carries one of them.
_GZIP_LAYERS = frozenset({LAYER_TYPE, "application/vnd.docker.image.rootfs.diff.tar.gzip"})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

# Constant, not SOURCE_DATE_EPOCH: that is usually a commit's time, and would make every layer new
# at each commit. 1980 is the first year that zip files, and so wheels, can express.
EPOCH = 315532800
CREATED = "1980-01-01T00:00:00Z"

Architecture = Literal["x86_64", "arm64"]
_OCI_ARCHITECTURE: dict[str, str] = {"x86_64": "amd64", "arm64": "arm64"}


def oci_architecture(architecture: Architecture) -> str:
    """Return OCI's word (`amd64`, `arm64`) for Lambda's (`x86_64`, `arm64`)."""
    return _OCI_ARCHITECTURE[architecture]


def host_architecture() -> Architecture:
    """Return this machine's architecture by Lambda's word."""
    return "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"


def digest_of(data: bytes) -> str:
    """Return `sha256:` and the hex SHA-256 of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def encode(value: Any) -> bytes:
    """Return JSON whose bytes depend on the value alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of one blob: its media type, digest, and size in bytes."""

    media_type: str
    digest: str
    size: int

    def __post_init__(self) -> None:
        if not is_digest(self.digest):
            raise PackError(f"{self.digest!r} is not a sha256 digest")
        if type(self.size) is not int or self.size < 0:
            raise PackError(f"{self.digest} has the impossible size {self.size!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as a manifest holds it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @staticmethod
    def from_json(data: Any) -> "Descriptor":
        """Read a descriptor of a manifest or an index.

        Raises:
            PackError: it is not a descriptor.

        """
        try:
            return Descriptor(str(data["mediaType"]), str(data["digest"]), data["size"])
        except (KeyError, TypeError) as error:
            raise PackError(f"not a descriptor: {data!r}") from error


def is_digest(text: str) -> bool:
    """Whether a text is a complete sha256 digest, the only algorithm that we accept."""
    return _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True)
class Layer:
    """One layer: its blob, the digest of its uncompressed tar, and one line of history."""

    descriptor: Descriptor
    diff_id: str
    created_by: str

    def __post_init__(self) -> None:
        if not is_digest(self.diff_id):
            raise PackError(f"{self.diff_id!r} is not a sha256 diff_id")

    @property
    def size(self) -> int:
        """Bytes as stored and pushed."""
        return self.descriptor.size

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back."""
        descriptor = self.descriptor.to_json()
        return {"descriptor": descriptor, "diff_id": self.diff_id, "created_by": self.created_by}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Layer":
        """Read what `to_json` returned."""
        return Layer(
            Descriptor.from_json(data["descriptor"]), data["diff_id"], str(data["created_by"])
        )


@dataclass(frozen=True)
class Image:
    """A single-architecture image: its layers from bottom to top, and its two JSON documents.

    `config` and `manifest` are exact bytes, since their digests name the image.
    """

    layers: tuple[Layer, ...]
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        """The manifest's digest: the image's name in every registry."""
        return digest_of(self.manifest)

    @property
    def size(self) -> int:
        """Bytes of all blobs and the manifest, as stored and pushed."""
        blobs = sum(layer.size for layer in self.layers)
        return blobs + len(self.config) + len(self.manifest)

    @property
    def settings(self) -> dict[str, Any]:
        """The config document as plain data; a fresh copy at each call."""
        settings: dict[str, Any] = json.loads(self.config)
        return settings

    @property
    def labels(self) -> dict[str, str]:
        """The config's labels."""
        return dict(self.settings.get("config", {}).get("Labels") or {})

    @property
    def config_descriptor(self) -> Descriptor:
        """What the manifest says of the config."""
        return Descriptor(CONFIG_TYPE, digest_of(self.config), len(self.config))

    @property
    def descriptor(self) -> Descriptor:
        """What an index says of this image."""
        return Descriptor(MANIFEST_TYPE, self.digest, len(self.manifest))

    def append(self, layer: Layer) -> "Image":
        """Return this image with one more layer on top, and one more entry of history."""
        settings = self.settings
        settings["rootfs"]["diff_ids"].append(layer.diff_id)
        settings["history"].append({"created": CREATED, "created_by": layer.created_by})
        return _assemble((*self.layers, layer), settings)

    def configure(
        self,
        *,
        env: Mapping[str, str],
        labels: Mapping[str, str],
        entrypoint: Sequence[str],
        cmd: Sequence[str],
        working_dir: str,
    ) -> "Image":
        """Return this image with variables and labels added, and what it starts replaced."""
        settings = self.settings
        config = settings.setdefault("config", {})
        present = dict(item.partition("=")[::2] for item in config.get("Env") or ())
        config["Env"] = [f"{name}={value}" for name, value in {**present, **env}.items()]
        config["Labels"] = {**(config.get("Labels") or {}), **labels}
        config["Entrypoint"] = list(entrypoint)
        config["Cmd"] = list(cmd)
        config["WorkingDir"] = working_dir
        settings["created"] = CREATED
        return _assemble(self.layers, settings)


def empty(architecture: Architecture) -> Image:
    """Return an image without layers, for one architecture of Linux."""
    settings = {
        "architecture": oci_architecture(architecture),
        "config": {},
        "created": CREATED,
        "history": [],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return _assemble((), settings)


def parse(manifest: bytes, config: bytes) -> Image:
    """Read an image from the bytes of its manifest and config, and check it.

    Raises:
        PackError: the documents are no image, or contradict each other.

    """
    try:
        document, settings = json.loads(manifest), json.loads(config)
        descriptors = [Descriptor.from_json(item) for item in document["layers"]]
        stated = Descriptor.from_json(document["config"])
        diff_ids = [str(diff_id) for diff_id in settings["rootfs"]["diff_ids"]]
        history = settings.get("history") or []
        lines = [str(h.get("created_by", "")) for h in history if not h.get("empty_layer")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PackError(f"not an image manifest and config: {error!r}") from error
    if (stated.digest, stated.size) != (digest_of(config), len(config)):
        raise PackError(f"the manifest names config {stated.digest}, not {digest_of(config)}")
    if len(descriptors) != len(diff_ids):
        raise PackError(
            f"the manifest has {len(descriptors)} layers and the config {len(diff_ids)} diff_ids"
        )
    if len(lines) != len(descriptors):
        lines = [""] * len(descriptors)
    layers = tuple(Layer(*parts) for parts in zip(descriptors, diff_ids, lines, strict=True))
    return Image(layers, config, manifest)


def as_base(image: Image) -> Image:
    """Return the image to build upon: the same layer blobs, OCI media types, complete history.

    Raises:
        PackError: a layer is neither Docker's nor OCI's gzip tar.

    """
    layers = []
    for layer in image.layers:
        if layer.descriptor.media_type not in _GZIP_LAYERS:
            raise PackError(
                f"base layer {layer.descriptor.digest} is {layer.descriptor.media_type}",
                hint="use a base image whose layers are gzip tars; Lambda documents no other",
            )
        descriptor = Descriptor(LAYER_TYPE, layer.descriptor.digest, layer.size)
        layers.append(Layer(descriptor, layer.diff_id, layer.created_by))
    settings = image.settings
    history = [dict(item) for item in settings.get("history") or ()]
    if sum(not item.get("empty_layer") for item in history) != len(layers):
        history = [{"created": CREATED, "created_by": layer.created_by} for layer in layers]
    settings["history"] = history
    return _assemble(tuple(layers), settings)


def _assemble(layers: tuple[Layer, ...], settings: Mapping[str, Any]) -> Image:
    config = encode(settings)
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": Descriptor(CONFIG_TYPE, digest_of(config), len(config)).to_json(),
            "layers": [layer.descriptor.to_json() for layer in layers],
        }
    )
    return Image(layers, config, manifest)


@dataclass(frozen=True)
class LayerSize:
    """One row of the table that `fnmodel pack` prints; `size` is bytes compressed."""

    digest: str
    size: int
    created_by: str


def size_by_layer(image: Image) -> tuple[LayerSize, ...]:
    """Return one row a layer, from bottom to top."""
    return tuple(
        LayerSize(layer.descriptor.digest, layer.size, layer.created_by) for layer in image.layers
    )
