"""The stage's bucket as a `Store`: read and written by single calls, and as streams."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fnmodel.aws import translated
from fnmodel.capture.line import PREFIX, folder_of, lines_of

_TIME = b'"inferenceTime":"'
_CHUNK = 1 << 20


class S3Store:
    """An S3 bucket through a boto3 client."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def get(self, key: str) -> bytes | None:
        """As `Store.get`."""
        with translated():
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            except self._client.exceptions.NoSuchKey:
                return None
            content: bytes = answer["Body"].read()
        return content

    def put_once(self, key: str, body: bytes) -> bool:
        """As `Store.put_once`, by If-None-Match."""
        with translated():
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, IfNoneMatch="*")
            except self._client.exceptions.ClientError as error:
                # A conflict is a write of another at the same moment.
                if error.response["Error"]["Code"] in (
                    "PreconditionFailed",
                    "ConditionalRequestConflict",
                ):
                    return False
                raise
        return True

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """As `Store.keys`."""
        more = {"StartAfter": after} if after else {}
        with translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, **more
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    yield item["Key"]

    def captured(self, endpoint: str, hour: str, until: datetime) -> Iterator[bytes]:
        """As `Store.captured`; objects are filed by the hour in which they arrived.

        Lines without a time belong to the hour in which they arrived.
        """
        own = folder_of(endpoint, "live", datetime.fromisoformat(hour + ":00").replace(tzinfo=UTC))
        last = folder_of(endpoint, "live", until)
        mark = _TIME + hour.encode()
        # An object's key goes on where that of its hour's folder ends, so it sorts after it.
        for key in self.keys(f"{PREFIX}{endpoint}/live/", own):
            if key > last + "~":
                return
            for line in self._lines(key):
                if mark in line or (_TIME not in line and key.startswith(own)):
                    yield line

    def _lines(self, key: str) -> Iterator[bytes]:
        with translated():
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            except self._client.exceptions.NoSuchKey:
                return  # erased meanwhile
            for part in body.iter_lines(chunk_size=_CHUNK):
                yield from lines_of(part)
