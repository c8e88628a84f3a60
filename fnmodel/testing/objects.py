"""A bucket in memory, as strict as S3 about conditions, that can be told to fail."""

import hashlib
import io
import threading
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
        # Conditions are judged and writes done as one, whatever the number of writers.
        self._writing = threading.Lock()

    def list(self, prefix: str) -> list[Object]:
        """Return the objects below a prefix, in the order of their keys' UTF-8 bytes."""
        self.before("list", prefix)
        return [
            Object(key, _etag(content), len(content))
            for key, content in sorted(
                dict(self.contents).items(), key=lambda item: item[0].encode()
            )
            if key.startswith(prefix)
        ]

    def open(self, key: str, etag: str, start: int = 0) -> Readable:
        """Return the content from a byte on, if the ETag is still the same."""
        self.before("open", key)
        if key not in self.contents:
            raise BatchError(deleted(key))
        if _etag(self.contents[key]) != etag:
            raise BatchError(changed(key))
        return io.BytesIO(self.contents[key][start:])

    def range(self, key: str, etag: str, start: int, size: int) -> bytes:
        """Return some bytes of the content, if the ETag is still the same."""
        stream = self.open(key, etag)
        stream.read(start)
        return stream.read(size)

    def put(
        self,
        key: str,
        body: bytes | BinaryIO,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> bool:
        """Write an object; returns False where a condition forbids it."""
        self.before("put", key)
        content = body if isinstance(body, bytes) else body.read()
        with self._writing:
            if if_none_match and key in self.contents:
                return False
            if if_match is not None and (
                key not in self.contents or _etag(self.contents[key]) != if_match
            ):
                return False
            self.contents[key] = content
        self.before("put done", key)
        return True


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
