"""Late labels in the stage's bucket: put there, and read back, the later ones being true."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fnmodel.aws import translated
from fnmodel.cli import objects
from fnmodel.watch import labels

PREFIX = "labels/"


def put(client: Any, bucket: str, found: Mapping[str, labels.Label], now: datetime) -> str:
    """Keep labels in the bucket; return their key. Names sort by time (UTC)."""
    content = labels.to_lines(found)
    digest = hashlib.sha256(content).hexdigest()[:12]
    key = f"{PREFIX}{now:%Y/%m/%d/%H%M%S}-{digest}.jsonl"
    with translated():
        client.put_object(Bucket=bucket, Key=key, Body=content)
    return key


def get(client: Any, bucket: str) -> dict[str, labels.Label]:
    """Return all labels of the bucket by prediction id; of several for one id the latest."""
    found: dict[str, labels.Label] = {}
    with translated():
        for key in sorted(objects.keys(client, bucket, PREFIX)):
            content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
            found |= labels.read(content, f"s3://{bucket}/{key}")
    return found
