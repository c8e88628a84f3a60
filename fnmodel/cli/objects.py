"""What the batch commands do with S3 and Lambda, each in one call."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fnmodel.aws import translated


def upload(client: Any, path: Path, bucket: str, key: str) -> None:
    """Put a file into a bucket, streamed."""
    with translated():
        client.upload_file(str(path), bucket, key)


def read_json(client: Any, bucket: str, key: str) -> Any:
    """Return the JSON of an object."""
    with translated():
        return json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())


def listed(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield key and size of every object below a prefix."""
    with translated():
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", ()):
                yield item["Key"], item["Size"]


def keys(client: Any, bucket: str, prefix: str) -> Iterator[str]:
    """Yield the key of every object below a prefix."""
    return (key for key, _ in listed(client, bucket, prefix))


def manifests(
    client: Any, bucket: str, prefix: str, name: str = "manifest.json"
) -> Iterator[dict[str, Any]]:
    """Yield the manifest of every run below a prefix, or another of its JSON files."""
    for key in keys(client, bucket, prefix):
        if key.endswith(f"/{name}"):
            yield read_json(client, bucket, key)


def invoke(client: Any, function: str, event: Mapping[str, Any]) -> Any:
    """Run a function and return its answer's JSON; an error's too."""
    with translated():
        answer = client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
        return json.loads(answer["Payload"].read())


def described(client: Any, execution: str) -> dict[str, Any]:
    """Return how an execution of a state machine is, as Step Functions says it."""
    with translated():
        found: dict[str, Any] = client.describe_execution(executionArn=execution)
        return found
