"""An answer as Lambda gives it back to an HTTP API, within the size that it can be."""

import json
from collections.abc import Mapping
from typing import Any

from fnmodel.serve.endpoint import Answer
from fnmodel.serve.octets import to_text

# Lambda's limit of a response: 6 MiB and 100 bytes, counted in the JSON that the runtime sends.
RESPONSE_LIMIT = 6_291_556
# Escaping makes a character at most twelve bytes long (beyond U+FFFF: \ud83d\ude42), and what lies
# around the body is never longer than this.
_ESCAPED, _AROUND = 12, 4096


def response(answer: Answer, *, version: str, identity: str) -> dict[str, Any]:
    """Return the HTTP API response of an answer."""
    return {
        "statusCode": answer.status,
        "body": answer.body.decode() if answer.text else to_text(answer.body),
        "headers": {**answer.headers, "x-model-version": version, "x-request-id": identity},
        "isBase64Encoded": not answer.text,
    }


def too_long(made: dict[str, Any]) -> dict[str, Any]:
    """Return a response, or 413 in its place where Lambda could not carry it."""
    most = len(made["body"]) * _ESCAPED + _AROUND
    if most <= RESPONSE_LIMIT or len(json.dumps(made)) <= RESPONSE_LIMIT:
        return made
    text = f"the answer is larger than {RESPONSE_LIMIT:,} bytes; send fewer rows or use batch"
    return refused(413, text, made["headers"])


def refused(status: int, text: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return an error as a response, with those of the headers that are ours."""
    kept = {k: v for k, v in (headers or {}).items() if k.startswith("x-")}
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", **kept},
        "body": json.dumps({"error": text}),
        "isBase64Encoded": False,
    }
