"""A content store on disk: an OCI image layout with room for many images, and notes beside them.

    oci-layout  index.json        as the OCI image layout specification has them
    blobs/sha256/HEX              manifests, configs and layers, each named by its content
    notes/KIND/KEY.json           what we remember: which inputs made which layer

A blob appears under its name only when it is complete and its digest was checked. Whoever asks for
one marks it as used, so that a clean-up beside it leaves it alone.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fnmodel.errors import PackError
from fnmodel.pack.image import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    Image,
    Layer,
    digest_of,
    encode,
    is_digest,
    parse,
)
from fnmodel.uses import Uses

_REFERENCE = "org.opencontainers.image.ref.name"
_CHUNK = 1 << 20


class BlobWriter:
    """Takes the bytes of one blob; `Store.writing` moves them into place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes at the end."""
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """The digest of the bytes written until now."""
        return f"sha256:{self._hash.hexdigest()}"


class Store:
    """A folder of content-addressed blobs; several processes may use one store at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uses = Uses(root)
        self._blobs = root / "blobs" / "sha256"
        try:
            self._blobs.mkdir(parents=True, exist_ok=True)
            marker = root / "oci-layout"
            if not marker.exists():
                _replace(marker, encode({"imageLayoutVersion": "1.0.0"}))
            if not (root / "index.json").exists():
                with self.uses.locked():
                    if not (root / "index.json").exists():
                        self._write_index([])
        except OSError as error:
            raise PackError(f"{root} cannot be used as an image store: {error}") from error

    def path(self, digest: str) -> Path:
        """Return where a blob lies, or would lie."""
        if not is_digest(digest):
            raise PackError(f"{digest!r} is not a sha256 digest")
        return self._blobs / digest.removeprefix("sha256:")

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob of this digest and size is here; its content is not read."""
        path = self.path(descriptor.digest)
        try:
            return path.stat().st_size == descriptor.size and self.uses.mark(path)
        except FileNotFoundError:
            return False

    def blobs(self) -> Iterator[Path]:
        """Yield the path of each blob."""
        yield from (path for path in self._blobs.iterdir() if not path.name.startswith("."))

    def leftovers(self) -> Iterator[Path]:
        """Yield temporary files and folders: of builds under way, and of those that were killed."""
        for folder in (self.root, self._blobs):
            for path in folder.glob(".*"):
                if path.name != ".lock":
                    yield path

    @contextmanager
    def writing(self, expected: Descriptor | None = None) -> Iterator[BlobWriter]:
        """Give a writer for one blob; it appears in the store when the block ends well.

        Raises:
            PackError: the bytes are not those that were expected, or the disk refuses them.

        """
        try:
            handle, name = tempfile.mkstemp(prefix=".incoming-", dir=self._blobs)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    writer = BlobWriter(file)
                    yield writer
                if expected and (writer.digest, writer.size) != (expected.digest, expected.size):
                    raise PackError(
                        f"expected {expected.digest} of {expected.size} bytes, "
                        f"got {writer.digest} of {writer.size} bytes"
                    )
                temporary.chmod(0o644)
                temporary.replace(self.path(writer.digest))
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise PackError(f"the image store {self.root} cannot be written: {error}") from error

    def write(self, media_type: str, data: bytes) -> Descriptor:
        """Store bytes and return their descriptor."""
        descriptor = Descriptor(media_type, digest_of(data), len(data))
        if not self.has(descriptor):
            with self.writing(descriptor) as writer:
                writer.write(data)
        return descriptor

    def chunks(self, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield a blob's bytes; after the last, its digest and size have been checked.

        Raises:
            PackError: the blob is missing or damaged; a damaged one is removed, so that the next
                build makes it again.

        """
        path = self.path(descriptor.digest)
        found = hashlib.sha256()
        size = 0
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
                    size += len(chunk)
                    yield chunk
        except FileNotFoundError as error:
            raise PackError(
                f"{self.root} does not hold {descriptor.digest}", hint="build the image again"
            ) from error
        if (size, f"sha256:{found.hexdigest()}") != (descriptor.size, descriptor.digest):
            path.unlink(missing_ok=True)
            raise damaged(descriptor)

    def read(self, descriptor: Descriptor) -> bytes:
        """Return a blob whole, checked.

        Raises:
            PackError: as `chunks`.

        """
        return b"".join(self.chunks(descriptor))

    def save(self, image: Image) -> None:
        """Store an image's manifest and config; its layers must be here.

        Raises:
            PackError: a layer's blob is missing.

        """
        for layer in image.layers:
            if not self.has(layer.descriptor):
                raise PackError(f"{self.root} does not hold layer {layer.descriptor.digest}")
        self.write(image.config_descriptor.media_type, image.config)
        self.write(MANIFEST_TYPE, image.manifest)

    def add_reference(self, name: str, image: Image) -> None:
        """Save an image and let `name` mean it; what `name` meant before loses the name."""
        self.save(image)
        entry = {**image.descriptor.to_json(), "annotations": {_REFERENCE: name}}
        with self.uses.locked():
            others = [item for item in self._entries() if _name(item) != name]
            self._write_index([*others, entry])

    def references(self) -> dict[str, Descriptor]:
        """Return the manifests of this store by name; nameless ones are left out."""
        return {
            name: Descriptor.from_json(item)
            for item in self._entries()
            if (name := _name(item)) is not None
        }

    def manifests(self) -> tuple[tuple[Descriptor, dict[str, Any]], ...]:
        """Return each entry of `index.json`: its descriptor, and the entry as plain data."""
        return tuple((Descriptor.from_json(item), item) for item in self._entries())

    def load(self, reference: str) -> Image:
        """Return an image by its name or its digest.

        Raises:
            PackError: it is not here, or damaged.

        """
        if is_digest(reference):
            path = self.path(reference)
            if not path.is_file():
                raise PackError(f"{self.root} holds no image {reference}")
            return self.image(Descriptor(MANIFEST_TYPE, reference, path.stat().st_size))
        descriptor = self.references().get(reference)
        if descriptor is None:
            raise PackError(f"{self.root} holds no image named {reference!r}")
        return self.image(descriptor)

    def image(self, manifest: Descriptor) -> Image:
        """Return the image of a manifest that is in this store.

        Raises:
            PackError: it is not here, is damaged, or is no image.

        """
        document = self.read(manifest)
        try:
            config = Descriptor.from_json(json.loads(document)["config"])
        except (ValueError, KeyError, TypeError) as error:
            raise PackError(f"{manifest.digest} is not an image manifest") from error
        return parse(document, self.read(config))

    def export(self, image: Image, folder: Path, name: str = "latest") -> Path:
        """Write one image as an OCI image layout of its own and return that folder.

        Blobs are copied, not linked: what happens to the copy must not reach the store.

        Raises:
            PackError: the folder holds something that is not an image layout, or a blob is damaged.

        """
        if not _is_layout(folder) and (folder.is_file() or any(folder.glob("*"))):
            raise PackError(
                f"{folder} holds something that is not an image layout",
                hint="name an empty or a new folder",
            )
        target = Store(folder)
        for layer in image.layers:
            self.copy(layer.descriptor, target)
        target.add_reference(name, image)
        shutil.rmtree(folder / "notes", ignore_errors=True)
        (folder / ".lock").unlink(missing_ok=True)
        return folder

    def copy(self, descriptor: Descriptor, target: "Store") -> None:
        """Copy one blob to another store, checking it on the way."""
        if target.has(descriptor):
            return
        with target.writing(descriptor) as writer:
            for chunk in self.chunks(descriptor):
                writer.write(chunk)

    def remember(self, kind: str, key: str, value: Any) -> None:
        """Write a note: plain data under a kind and a key of letters, digits, `.` and `-`."""
        path = self.root / "notes" / kind / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, encode(value))

    def recall(self, kind: str, key: str) -> Any:
        """Return a note, or None when there is none or it is unreadable."""
        path = self.root / "notes" / kind / f"{key}.json"
        try:
            note = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        self.uses.mark(path)
        return note

    def notes(self, kind: str) -> Iterator[Path]:
        """Yield the path of each note of a kind, `*` for all."""
        yield from self.root.glob(f"notes/{kind}/*.json")

    def remember_layer(self, key: str, layer: Layer) -> None:
        """Note which layer the inputs of this key made."""
        self.remember("layers", key, layer.to_json())

    def recall_layer(self, key: str) -> Layer | None:
        """Return the layer that the inputs of this key made, if its blob is still here."""
        try:
            layer = Layer.from_json(self.recall("layers", key))
        except (PackError, KeyError, TypeError):
            return None  # no note, or one that another version wrote
        return layer if self.has(layer.descriptor) else None

    def _entries(self) -> list[dict[str, Any]]:
        path = self.root / "index.json"
        try:
            entries: list[dict[str, Any]] = json.loads(path.read_bytes())["manifests"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PackError(f"{path} is not an image index: {error}") from error
        return entries

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
        _replace(self.root / "index.json", encode(index))


def damaged(descriptor: Descriptor) -> PackError:
    """Return the error for a blob whose bytes no longer fit its name."""
    return PackError(
        f"the stored blob {descriptor.digest} is damaged; it was removed",
        hint="build the image again",
    )


def _is_layout(folder: Path) -> bool:
    return (folder / "oci-layout").is_file()


def _name(entry: dict[str, Any]) -> str | None:
    name = (entry.get("annotations") or {}).get(_REFERENCE)
    return str(name) if name is not None else None


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
