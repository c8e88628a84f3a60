"""A bucket in memory, as strict as S3 about conditions, that can be told to fail."""

import hashlib
import io
from collections.abc import Callable
from typing import BinaryIO

from fnmodel.batch.objects import Object, Readable, changed, deleted
from fnmodel.errors import BatchError


class InMemoryObjects:
    """Implements `fnmodel.batch.objects.ObjectStore`.

    `before` is called with the operation ("list", "open", "put", and, after a write was done but
    before it is acknowledged, "put done") and the key; what it raises, the call raises.
    """

    def __init__(self, before: Callable[[str, str], None] = lambda operation, key: None) -> None:  # noqa: ARG005
        self.contents: dict[str, bytes] = {}
        self.before = before

    def list(self, prefix: str) -> list[Object]:
        """Return the objects below a prefix, in the order of their keys' UTF-8 bytes."""
        self.before("list", prefix)
        return [
            Object(key, _etag(content), len(content))
            for key, content in sorted(self.contents.items(), key=lambda item: item[0].encode())
            if key.startswith(prefix)
        ]

    def open(self, key: str, etag: str) -> Readable:
        """Return the content, if the ETag is still the same."""
        self.before("open", key)
        if key not in self.contents:
            raise BatchError(deleted(key))
        if _etag(self.contents[key]) != etag:
            raise BatchError(changed(key))
        return io.BytesIO(self.contents[key])

    def put(self, key: str, body: bytes | BinaryIO, *, if_none_match: bool = False) -> bool:
        """Write an object; returns False where the condition forbids it."""
        self.before("put", key)
        if if_none_match and key in self.contents:
            return False
        self.contents[key] = body if isinstance(body, bytes) else body.read()
        self.before("put done", key)
        return True


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
