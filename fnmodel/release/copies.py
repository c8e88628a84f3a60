"""Copies of the ledger's entries in a bucket whose objects nobody can replace."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from fnmodel.aws import translated

_AT_ONCE = 16


class Copies(Protocol):
    """Keeps what it is given once, by number."""

    def put(self, number: int, body: bytes) -> bool:
        """Keep a body; False where there is one of that number, which stays as it is."""

    def has(self, number: int) -> bool:
        """Whether there is one of that number."""


class S3Copies:
    """Copies below a prefix of a bucket, by If-None-Match; its default retention locks each."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def put(self, number: int, body: bytes) -> bool:
        """As `Copies.put`."""
        with translated():
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key(number), Body=body, IfNoneMatch="*"
                )
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] == "PreconditionFailed":
                    return False
                raise
        return True

    def has(self, number: int) -> bool:
        """As `Copies.has`; asked of a list, which shows that it is there and not what it says."""
        with translated():
            found = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._key(number), MaxKeys=1
            )
        return bool(found["KeyCount"])

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number:010d}.json"

    def all(self) -> dict[int, bytes]:
        """Return the first version of each copy, by its number.

        A lock protects versions: somebody may put a later one, or a delete marker, on top.
        """
        first = dict(self._versions())  # of a key the newest is listed first, and the oldest stays
        with translated(), ThreadPoolExecutor(_AT_ONCE) as pool:
            bodies = pool.map(self._read, first.items())
            return {
                int(key.removeprefix(self._prefix).removesuffix(".json")): body
                for key, body in zip(first, bodies, strict=True)
            }

    def _versions(self) -> Iterator[tuple[str, str]]:
        pages = self._client.get_paginator("list_object_versions")
        with translated():
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for item in page.get("Versions", ()):
                    yield item["Key"], item["VersionId"]

    def _read(self, place: tuple[str, str]) -> bytes:
        key, version = place
        answer = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=version)
        body: bytes = answer["Body"].read()
        return body
