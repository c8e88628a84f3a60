"""The object storage that a batch job needs: four calls, and their adapter to S3."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from fnmodel.aws import translated
from fnmodel.errors import BatchError


@dataclass(frozen=True)
class Object:
    """One stored object; `etag` names this content, `size` is in bytes."""

    key: str
    etag: str
    size: int


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, all that is left for -1, nothing at the end."""


class ObjectStore(Protocol):
    """One bucket."""

    def list(self, prefix: str) -> list[Object]:
        """Return the objects whose keys start with `prefix`, ordered by key."""

    def open(self, key: str, etag: str, start: int = 0) -> Readable:
        """Return the content with this ETag, from a byte on.

        Raises:
            BatchError: the object was replaced or deleted.

        """

    def range(self, key: str, etag: str, start: int, size: int) -> bytes:
        """Return some bytes of the content with this ETag; fewer at its end.

        Raises:
            BatchError: the object was replaced or deleted.

        """

    def put(
        self,
        key: str,
        body: bytes | BinaryIO,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> bool:
        """Write an object; with `if_none_match`, only where there is none.

        With `if_match`, only over the content with this ETag. Returns False when the condition
        did not hold and nothing was written.
        """


def find(objects: ObjectStore, key: str) -> Object | None:
    """Return the object of this key, or None where there is none."""
    return next((item for item in objects.list(key) if item.key == key), None)


class S3Objects:
    """An S3 bucket through a boto3 client."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def list(self, prefix: str) -> list[Object]:
        """As `ObjectStore.list`."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._border():
            return [
                Object(item["Key"], item["ETag"], item["Size"])
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
                for item in page.get("Contents", ())
            ]

    def open(self, key: str, etag: str, start: int = 0) -> Readable:
        """As `ObjectStore.open`, by If-Match."""
        rest = {"Range": f"bytes={start}-"} if start else {}
        with self._border(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, IfMatch=etag, **rest)
        return _Body(answer["Body"])

    def range(self, key: str, etag: str, start: int, size: int) -> bytes:
        """As `ObjectStore.range`, by If-Match."""
        with self._border(key):
            answer = self._client.get_object(
                Bucket=self._bucket,
                Key=key,
                IfMatch=etag,
                Range=f"bytes={start}-{start + size - 1}",
            )
            data: bytes = answer["Body"].read()
        return data

    def put(
        self,
        key: str,
        body: bytes | BinaryIO,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> bool:
        """As `ObjectStore.put`, by If-None-Match and If-Match."""
        condition = {"IfNoneMatch": "*"} if if_none_match else {}
        if if_match is not None:
            condition["IfMatch"] = if_match
        with self._border():
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, **condition)
            except self._client.exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
                # A conflict is a write of another at the same moment.
                if code in ("PreconditionFailed", "ConditionalRequestConflict"):
                    return False
                if if_match is not None and code == "NoSuchKey":
                    return False
                raise
        return True

    @contextmanager
    def _border(self, key: str = "") -> Iterator[None]:
        with translated():
            try:
                yield
            except self._client.exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
                if code in ("PreconditionFailed", "412"):
                    raise BatchError(changed(key)) from error
                if code in ("NoSuchKey", "404"):
                    raise BatchError(deleted(key)) from error
                if code == "NoSuchBucket":
                    raise BatchError(f"there is no bucket {self._bucket!r}") from error
                raise


class _Body:
    """A response body whose broken connections are errors of ours."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = -1, /) -> bytes:
        with translated():
            data: bytes = self._body.read(None if size < 0 else size)
        return data


def changed(key: str) -> str:
    """Return the message for an object that was replaced between listing and reading."""
    return f"{key} was replaced while the job ran; the next run scores the new one"


def deleted(key: str) -> str:
    """Return the message for an object that was deleted between listing and reading."""
    return f"{key} was deleted while the job ran"
