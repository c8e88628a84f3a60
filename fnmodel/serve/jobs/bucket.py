"""Jobs on AWS: the stage's bucket, and the function that calls itself."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from fnmodel.aws import Cloud, translated
from fnmodel.serve.jobs.jobs import Jobs, Limits


def opened(models: frozenset[str], limits: Limits, environ: Mapping[str, str]) -> Jobs:
    """Return the jobs of the function that this is."""
    bucket = Bucket(environ["FNMODEL_BUCKET"])
    function = f"{environ['AWS_LAMBDA_FUNCTION_NAME']}:live"

    def invoke(event: Mapping[str, Any]) -> None:
        # Asynchronous: it is queued, tried three times, and its run does nothing twice.
        with translated():
            Cloud().client("lambda").invoke(
                FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode()
            )

    return Jobs(models, limits, bucket.name, bucket, invoke)


class Bucket:
    """Implements `fnmodel.serve.jobs.jobs.Store` by S3."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _client(self) -> Any:
        return Cloud().client("s3", signs=True)

    def get(self, key: str) -> bytes | None:
        """As `Store.get`."""
        with translated():
            try:
                answer = self._client.get_object(Bucket=self.name, Key=key)
            except self._client.exceptions.NoSuchKey:
                return None
            body: bytes = answer["Body"].read()
            return body

    def put(self, key: str, body: bytes) -> bool:
        """As `Store.put`, by If-None-Match."""
        with translated():
            try:
                self._client.put_object(Bucket=self.name, Key=key, Body=body, IfNoneMatch="*")
            except self._client.exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
                if code in ("PreconditionFailed", "ConditionalRequestConflict"):
                    return False
                raise
        return True

    def list(self, prefix: str) -> list[tuple[str, int]]:
        """As `Store.list`."""
        with translated():
            pages = self._client.get_paginator("list_objects_v2")
            return [
                (item["Key"], item["Size"])
                for page in pages.paginate(Bucket=self.name, Prefix=prefix)
                for item in page.get("Contents", ())
            ]

    def form(self, key: str, media: str, most: int, seconds: int) -> dict[str, Any]:
        """As `Store.form`; S3 refuses another key, another type and more bytes.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
        """
        with translated():
            made: dict[str, Any] = self._client.generate_presigned_post(
                self.name,
                key,
                Fields={"Content-Type": media},
                Conditions=[{"Content-Type": media}, ["content-length-range", 1, most]],
                ExpiresIn=seconds,
            )
        return made

    def link(self, key: str, seconds: int) -> str:
        """As `Store.link`."""
        with translated():
            url: str = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=seconds
            )
        return url
