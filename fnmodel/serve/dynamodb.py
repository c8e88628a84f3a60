"""Two calls of DynamoDB over one kept connection, without boto3.

The authorizer stands before the first answer of a cold endpoint, so its own start counts: with a
client of boto3 it takes several times as long.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
"""

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from fnmodel.errors import AwsError, EndpointError
from fnmodel.sigv4 import Credentials, sign

_PATIENCE = 3.0
_VERSION = "DynamoDB_20120810"


class Table:
    """A table whose key is `pk`; `endpoint` is DynamoDB's URL in the table's region."""

    def __init__(
        self,
        name: str,
        endpoint: str,
        region: str,
        credentials: Credentials,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._endpoint = endpoint.rstrip("/")
        self._region = region
        self._credentials = credentials
        self._now = now
        self._connection: http.client.HTTPConnection | None = None

    @staticmethod
    def from_environment(environ: Mapping[str, str]) -> "Table":
        """Make the table that a function's environment names, with the function's own role."""
        credentials = Credentials(
            environ["AWS_ACCESS_KEY_ID"],
            environ["AWS_SECRET_ACCESS_KEY"],
            environ.get("AWS_SESSION_TOKEN"),
        )
        endpoint = environ.get("AWS_ENDPOINT_URL") or environ["FNMODEL_DYNAMODB"]
        return Table(environ["FNMODEL_KEYS"], endpoint, environ["AWS_REGION"], credentials)

    def get(self, key: str) -> dict[str, Any] | None:
        """Return an item in DynamoDB's JSON, as it is now, or None.

        Raises:
            AwsError: DynamoDB refused.
            EndpointError: it did not answer.

        """
        found = self._call("GetItem", {"Key": {"pk": {"S": key}}, "ConsistentRead": True})
        item: dict[str, Any] | None = found.get("Item")
        return item

    def touch(self, key: str, name: str, value: int) -> None:
        """Set one number of an item that is there.

        Raises:
            AwsError: DynamoDB refused, or there is no such item.
            EndpointError: it did not answer.

        """
        change = {
            "Key": {"pk": {"S": key}},
            "UpdateExpression": "SET #name = :value",
            "ConditionExpression": "attribute_exists(pk)",
            "ExpressionAttributeNames": {"#name": name},
            "ExpressionAttributeValues": {":value": {"N": str(value)}},
        }
        self._call("UpdateItem", change)

    def _call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps({"TableName": self._name, **request}).encode()
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"{_VERSION}.{operation}",
        }
        signed = sign(
            "POST", f"{self._endpoint}/", headers, body, self._credentials,
            service="dynamodb", region=self._region, now=self._now(),
        )  # fmt: skip
        try:
            try:
                status, answer = self._send(signed, body)
            except (http.client.HTTPException, ConnectionError):
                # It was closed while the sandbox was frozen; both calls may be repeated.
                status, answer = self._send(signed, body)
            said: dict[str, Any] = json.loads(answer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EndpointError(f"{operation}: DynamoDB does not answer: {error}") from error
        if status != 200:
            raise AwsError(f"{operation}: {said.get('message') or said.get('__type') or status}")
        return said

    def _send(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if self._connection is None:
            where = urlsplit(self._endpoint)
            kind = http.client.HTTPSConnection if where.scheme == "https" else None
            self._connection = (kind or http.client.HTTPConnection)(where.netloc, timeout=_PATIENCE)
        try:
            self._connection.request("POST", "/", body, dict(headers))
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
