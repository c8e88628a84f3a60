"""Empties a bucket, since CloudFormation deletes only empty ones."""

from collections.abc import Callable
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import ProvisionError


def empty(client: Any, bucket: str, progress: Callable[[int], None] | None = None) -> int:
    """Delete every version, delete marker and unfinished upload; return how many there were.

    A bucket that does not exist counts as empty. Repeated after a break, it goes on.

    Raises:
        ProvisionError: S3 refused to delete an object.

    """
    count = 0
    with translated():
        try:
            # Listed from the start each time: deleting while paging would skip some.
            while found := _first_versions(client, bucket):
                answer = client.delete_objects(
                    Bucket=bucket, Delete={"Objects": found, "Quiet": True}
                )
                refused = answer.get("Errors", [])
                if refused:
                    first = refused[0]
                    raise ProvisionError(
                        f"s3://{bucket}/{first['Key']} cannot be deleted: {first['Message']}",
                        hint="a lock or a bucket policy protects it",
                    )
                count += len(found)
                if progress is not None:
                    progress(count)
            while uploads := client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
                for upload in uploads:
                    client.abort_multipart_upload(
                        Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                count += len(uploads)
        except client.exceptions.NoSuchBucket:
            return count
    return count


def _first_versions(client: Any, bucket: str) -> list[dict[str, str]]:
    page = client.list_object_versions(Bucket=bucket, MaxKeys=1000)
    return [
        {"Key": item["Key"], "VersionId": item["VersionId"]}
        for kind in ("Versions", "DeleteMarkers")
        for item in page.get(kind, [])
    ]
