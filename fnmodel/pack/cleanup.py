"""Takes out of a store what no name leads to and nobody used for a while.

Kept are the images that have a name, with all their blobs; what was used within the time that is
given, and always within the last hour; and notes that speak of something kept.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fnmodel.errors import PackError
from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.uses import Freed

_HEX = re.compile(r"[0-9a-f]{64}")
_DAY = 86400.0


def clean(store: Store, seconds: float, *, dry_run: bool = False) -> Freed:
    """Remove what was not used for so many seconds, and return what that freed.

    It may run beside builds and pushes. With `dry_run` nothing is removed. Notes are small: they
    go with what they speak of and are not counted.

    Raises:
        PackError: the store's index is damaged, so that nobody knows what is to be kept.

    """
    images = list(_named(store))
    kept = {_hex(digest) for image in images for digest in _digests(image)}
    blobs = [(path, path) for path in store.blobs() if path.name not in kept]
    leftovers = [(path, path) for path in store.leftovers()]
    freed = store.uses.clean(blobs, seconds, dry_run=dry_run)
    # No build takes a day: these are of builds that were killed.
    freed += store.uses.clean(leftovers, _DAY, dry_run=dry_run)
    if not dry_run:
        left = {path.name for path in store.blobs()}
        left |= {_hex(layer.diff_id) for image in images for layer in image.layers}
        notes = [(note, note) for note in _needless(store, left)]
        store.uses.clean(notes, seconds)
    return freed


def _named(store: Store) -> Iterator[Image]:
    for descriptor in store.references().values():
        try:
            yield store.image(descriptor)
        except PackError:  # damaged or gone: the next build makes it anew
            continue


def _digests(image: Image) -> Iterator[str]:
    yield image.digest
    yield image.config_descriptor.digest
    yield from (layer.descriptor.digest for layer in image.layers)


def _needless(store: Store, kept: set[str]) -> Iterator[Path]:
    """Yield the notes that speak of nothing kept; a kept layer's note names its diff_id too."""
    for note in store.notes("layers"):
        speaks_of = set(_HEX.findall(note.read_text("utf-8", "replace")))
        if speaks_of & kept:
            kept |= speaks_of
    for note in store.notes("*"):
        speaks_of = {*_HEX.findall(note.name), *_HEX.findall(note.read_text("utf-8", "replace"))}
        if not speaks_of & kept:
            yield note


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
