"""Remembers which repositories hold a blob, so that a push can have it mounted, not sent again.

A note may be out of date: a registry that finds no such blob there takes it as an upload.
"""

from contextlib import suppress

from fnmodel.pack.image import Descriptor
from fnmodel.pack.layout import Store

_KIND = "places"
_KEPT = 4


def remember(store: Store, blob: Descriptor, host: str, repository: str) -> None:
    """Note that a repository holds a blob."""
    places, here = _places(store, blob), (host, repository)
    if here not in places:
        with suppress(OSError):  # a full disk costs a mount one day, not this push
            store.remember(_KIND, _key(blob), [here, *places][:_KEPT])


def other(store: Store, blob: Descriptor, host: str, repository: str) -> str | None:
    """Return another repository of the same registry that held the blob when last seen."""
    found = (name for at, name in _places(store, blob) if at == host and name != repository)
    return next(found, None)


def _places(store: Store, blob: Descriptor) -> list[tuple[str, str]]:
    try:
        return [(str(host), str(name)) for host, name in store.recall(_KIND, _key(blob))]
    except (TypeError, ValueError):
        return []  # no note, or one that another version wrote


def _key(blob: Descriptor) -> str:
    return blob.digest.removeprefix("sha256:")
