"""What Lambda would refuse, checked in one place before anything is pushed.

Lambda's own message comes minutes later and names neither the layer nor the limit.
"""

from fnmodel.errors import ImageLimitError
from fnmodel.pack.compression import Inflated
from fnmodel.pack.image import (
    LAYER_TYPE,
    MANIFEST_TYPE,
    Architecture,
    Image,
    Layer,
    oci_architecture,
)
from fnmodel.pack.layout import Store, damaged

UNCOMPRESSED = 10 * 1024**3
MANIFEST = 25_400


def check(image: Image, architecture: Architecture, store: Store) -> None:
    """Refuse an image that Lambda would refuse; all findings at once.

    That files are readable for all, and that there are no hardlinks and devices, holds for our
    layers by construction.

    Raises:
        ImageLimitError: too large, of another architecture, or of a form that Lambda rejects.
        PackError: a layer is damaged.

    """
    import json

    problems = []
    settings, manifest = image.settings, json.loads(image.manifest)
    if manifest.get("mediaType") != MANIFEST_TYPE:
        problems.append("it is not a single image manifest")
    if len(image.manifest) >= MANIFEST:
        problems.append(
            f"its manifest has {len(image.manifest):,} bytes; Lambda allows {MANIFEST - 1:,}"
        )
    found = f"{settings.get('os')}/{settings.get('architecture')}"
    wanted = f"linux/{oci_architecture(architecture)}"
    if found != wanted:
        problems.append(f"it is for {found}, and the function for {wanted}")
    entries = sum(not item.get("empty_layer") for item in settings.get("history") or ())
    if entries != len(image.layers):
        problems.append(f"it has {len(image.layers)} layers and {entries} entries of history")
    problems.extend(
        f"layer {layer.descriptor.digest} is {layer.descriptor.media_type}"
        for layer in image.layers
        if layer.descriptor.media_type != LAYER_TYPE
    )
    size = sum(uncompressed_size(layer, store) for layer in image.layers)
    if size > UNCOMPRESSED:
        problems.append(f"it unpacks to {size / 1024**3:.1f} GB; Lambda allows 10 GB")
    if problems:
        raise ImageLimitError(
            "Lambda would refuse this image: " + "; ".join(problems),
            hint="use a smaller model, or another base (`image.base` in fnmodel.yaml)",
        )


def uncompressed_size(layer: Layer, store: Store) -> int:
    """Return the bytes of a layer's tar; read once, checked against its diff_id, then remembered.

    Raises:
        PackError: the layer's blob is missing or damaged.

    """
    key = layer.diff_id.removeprefix("sha256:")
    known = store.recall("sizes", key)
    if isinstance(known, int):
        return known
    stream = Inflated(store.chunks(layer.descriptor), limit=2 * UNCOMPRESSED)
    stream.drain()
    if stream.diff_id != layer.diff_id:
        raise damaged(layer.descriptor)
    store.remember("sizes", key, stream.size)
    return stream.size
