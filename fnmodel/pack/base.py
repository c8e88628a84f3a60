"""Finds the image to build upon: none, an image layout on disk, or a reference in a registry."""

from collections.abc import Callable
from pathlib import Path

from fnmodel.errors import PackError
from fnmodel.pack import credentials
from fnmodel.pack.image import (
    DOCKER_MANIFEST_TYPE,
    MANIFEST_TYPE,
    Architecture,
    Descriptor,
    Image,
    as_base,
    empty,
    oci_architecture,
)
from fnmodel.pack.layout import Store
from fnmodel.pack.reference import Reference
from fnmodel.pack.registry import Registry

LAYOUT = "oci:"

Progress = Callable[[str], None]
Pull = Callable[[Reference, Architecture, Store, Progress], Image]
"""Fetches the image of a digest from its registry into the store."""

Login = Callable[[str], credentials.Credentials | None]
"""Returns the credentials for a registry's host, or None for an anonymous pull."""


def _quiet(_text: str) -> None:
    """Say nothing."""


def resolve(
    base: str | None,
    architecture: Architecture,
    store: Store,
    pull: Pull,
    progress: Progress = _quiet,
) -> Image:
    """Return the base image, its blobs in the store: one without layers when `base` is None.

    Raises:
        PackError: there is no such image, it is not pinned, or it is for another architecture.
        RegistryError: the registry refused it.

    """
    if base is None:
        return empty(architecture)
    if base.startswith(LAYOUT):
        image = from_layout(base, store, architecture)
    else:
        reference = Reference.parse(base)
        if reference.digest is None:
            raise PackError(
                f"the base image {base} is not pinned: what it means can change",
                hint=f"write {base}@sha256:…; `skopeo inspect docker://{base}` shows the digest",
            )
        image = pull(reference, architecture, store, progress)
    settings = image.settings
    found = f"{settings.get('os')}/{settings.get('architecture')}"
    wanted = f"linux/{oci_architecture(architecture)}"
    if found != wanted:
        raise PackError(
            f"the base image {base} is for {found}, and the function for {wanted}",
            hint="set `image.architecture` in fnmodel.yaml, or take another base",
        )
    return as_base(image)


def pull(
    reference: Reference,
    architecture: Architecture,
    store: Store,
    progress: Progress = _quiet,
    *,
    login: Login = credentials.from_docker,
) -> Image:
    """Fetch a pinned image unless it is in the store; without a `login` as `docker login` left it.

    Raises:
        RegistryError: the registry refused it.

    """
    assert reference.digest is not None
    known = store.recall("bases", _key(reference.digest, architecture))
    if isinstance(known, str) and store.path(known).exists():
        image = store.load(known)
        layers = (layer.descriptor for layer in image.layers)
        if all(map(store.has, (image.descriptor, image.config_descriptor, *layers))):
            return image
    registry = Registry(reference.url, login(reference.host))
    try:
        image = registry.pull(
            reference.repository,
            reference.digest,
            store,
            architecture=architecture,
            progress=progress,
        )
    finally:
        registry.close()
    store.remember("bases", _key(reference.digest, architecture), image.digest)
    return image


def pull_through(kept: Store, pull: Pull) -> Pull:
    """Return a `Pull` that fetches into one store, and copies from there."""

    def copied(
        reference: Reference, architecture: Architecture, store: Store, progress: Progress = _quiet
    ) -> Image:
        image = pull(reference, architecture, kept, progress)
        for layer in image.layers:
            kept.copy(layer.descriptor, store)
        return image

    return copied


def _key(digest: str, architecture: Architecture) -> str:
    return f"{digest.removeprefix('sha256:')}-{architecture}"


def from_layout(base: str, store: Store, architecture: Architecture | None = None) -> Image:
    """Copy an image from a layout on disk, `oci:DIR` or `oci:DIR:NAME` as skopeo has it.

    Of several images the one for `architecture` is taken, if one is given.

    Raises:
        PackError: there is no such layout, or not exactly one image in it fits.

    """
    text = base.removeprefix(LAYOUT)
    folder, name = Path(text), None
    if not folder.is_dir() and ":" in text:
        path, _, name = text.rpartition(":")
        folder = Path(path)
    if not (folder / "oci-layout").is_file():
        raise PackError(
            f"{folder} is not an OCI image layout", hint="give the folder that holds oci-layout"
        )
    source = Store(folder)
    wanted = {"os": "linux", "architecture": architecture and oci_architecture(architecture)}
    images: list[Descriptor] = []
    for descriptor, entry in source.manifests():
        platform = entry.get("platform") or wanted
        named = (entry.get("annotations") or {}).get("org.opencontainers.image.ref.name")
        if (
            descriptor.media_type in (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE)
            and all(platform.get(key) == value for key, value in wanted.items() if value)
            and name in (None, named)
        ):
            images.append(descriptor)
    if len(images) != 1:
        raise PackError(
            f"oci:{text} holds {len(images)} images that fit, not one",
            hint="name one of them: oci:DIR:NAME",
        )
    image = source.image(images[0])
    for layer in image.layers:
        source.copy(layer.descriptor, store)
    return image
