"""How CloudFormation gets a template: in the request, or from the stage's bucket if it is large."""

import hashlib
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import ProvisionError

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
IN_REQUEST = 51_200
LARGEST = 1_000_000
"""Bytes of a template: in a request, and in a bucket."""

PREFIX = "templates/"


class Bodies:
    """Puts large templates where CloudFormation can read them; `client` is S3's."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def argument(self, body: str, bucket: str | None) -> dict[str, str]:
        """Return the body as CreateChangeSet takes it; a large one is put into `bucket` first.

        The object is named by its content. CloudFormation reads it at once and keeps a copy, so
        that the bucket may forget it.

        Raises:
            ProvisionError: it is too large for a request, and the stage has no bucket yet.

        """
        data = body.encode()
        if len(data) <= IN_REQUEST:
            return {"TemplateBody": body}
        if bucket is None:
            raise ProvisionError(
                f"the template has {len(data):,} bytes; CloudFormation takes {IN_REQUEST:,} in a "
                "request, and more only from a bucket, which this stage has not got yet",
                hint="run `fnmodel deploy`, which begins with the bucket",
            )
        key = f"{PREFIX}{hashlib.sha256(data).hexdigest()}.json"
        with translated():
            self._client.put_object(
                Bucket=bucket, Key=key, Body=data, ContentType="application/json"
            )
        return {"TemplateURL": f"{self._client.meta.endpoint_url}/{bucket}/{key}"}
