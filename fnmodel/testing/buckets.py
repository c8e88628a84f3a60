"""S3 buckets in memory, with versions: what emptying them and the ledger's copies ask for."""

from collections.abc import Mapping
from typing import Any

from fnmodel.testing.answering import RefusedError


class InMemoryBuckets:
    """Buckets by name; each holds the versions of its objects, the newest last."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[tuple[str, str], bytes]] = {}
        self._next = 0

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Write a version of an object."""
        self._next += 1
        self.buckets[bucket][key, f"v{self._next}"] = body

    def answer(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer an operation of the S3 API."""
        bucket = asked["Bucket"]
        if bucket not in self.buckets:
            raise RefusedError("NoSuchBucket", "The specified bucket does not exist", 404)
        held = self.buckets[bucket]
        prefix = asked.get("Prefix", "")
        match operation:
            case "PutObject":
                known = any(key == asked["Key"] for key, _ in held)
                if asked.get("IfNoneMatch") == "*" and known:
                    raise RefusedError("PreconditionFailed", "a precondition did not hold", 412)
                body = asked["Body"]
                self.put(bucket, asked["Key"], body if isinstance(body, bytes) else body.read())
                return {}
            case "ListObjectsV2":
                keys = sorted({key for key, _ in held if key.startswith(prefix)})
                return {"KeyCount": len(keys), "Contents": [{"Key": key} for key in keys]}
            case "ListObjectVersions":
                listed = [{"Key": key, "VersionId": version} for key, version in sorted(held)]
                return {"Versions": listed[: asked.get("MaxKeys", 1000)]}
            case "DeleteObjects":
                for one in asked["Delete"]["Objects"]:
                    held.pop((one["Key"], one["VersionId"]), None)
                return {}
            case "ListMultipartUploads":
                return {}
            case _:
                raise NotImplementedError(f"InMemoryBuckets does not know {operation}")
