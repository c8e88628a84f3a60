"""Builds an image once more, from nothing that was kept, and says where the two differ."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fnmodel.errors import PackError
from fnmodel.pack.archive import entries
from fnmodel.pack.image import Image, Layer
from fnmodel.pack.layout import Store

_SHOWN = 5


def verify(image: Image, store: Store, again: Callable[[Store], Image]) -> None:
    """Build into an empty store with `again`, and compare.

    Raises:
        PackError: the second image has another digest; the message names layers and files.

    """
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=store.root) as name:
        fresh = Store(Path(name))
        second = again(fresh)
        if second.digest == image.digest:
            return
        found = list(differences(image, store, second, fresh))
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise PackError(
        f"a second build gives {second.digest[:19]}, not {image.digest[:19]}: "
        + "; ".join(found[:_SHOWN])
        + more,
        hint="remove FNMODEL_HOME/cache/oci and pack again; if they still differ, something reads "
        "the time, the place or the machine",
    )


def differences(one: Image, store: Store, two: Image, other: Store) -> Iterator[str]:
    """Yield where two images differ: a key of the config, a layer, a file of a layer.

    Raises:
        PackError: a layer is damaged.

    """
    yield from _of_values("config", one.settings, two.settings)
    if len(one.layers) != len(two.layers):
        yield f"{len(one.layers)} layers and {len(two.layers)}"
    for first, second in zip(one.layers, two.layers, strict=False):
        if first.diff_id != second.diff_id:
            yield from _of_files(first, store, second, other)
        elif first.descriptor != second.descriptor:
            yield f"layer {first.created_by!r} is compressed differently"


def _of_values(where: str, one: Any, two: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two}):
            if key not in {"diff_ids", "history"}:  # what differs there, differs in a layer
                yield from _of_values(f"{where}.{key}", one.get(key), two.get(key))
    elif one != two:
        yield f"{where} is {json.dumps(one)} and {json.dumps(two)}"


def _of_files(one: Layer, store: Store, two: Layer, other: Store) -> Iterator[str]:
    here, there = _files(one, store), _files(two, other)
    for path in sorted({*here, *there}):
        if path not in there:
            yield f"only the first has {path}"
        elif path not in here:
            yield f"only the second has {path}"
        elif here[path] != there[path]:
            yield f"{path} differs"


def _files(layer: Layer, store: Store) -> dict[str, tuple[object, ...]]:
    """Return what is said of each entry of a layer, and the digest of its content."""
    found: dict[str, tuple[object, ...]] = {}
    for member, stream in entries(layer, store):
        content = hashlib.sha256()
        left = member.size if member.isreg() else 0
        while left and (chunk := stream.read(min(left, 1 << 20))):
            content.update(chunk)
            left -= len(chunk)
        about = (member.type, member.mode, member.uid, member.gid, member.mtime, member.linkname)
        found[member.name] = (*about, content.hexdigest())
    return found
