"""Calls a deployed endpoint over HTTP, as any client would."""

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from fnmodel.cli.caller import Caller
from fnmodel.errors import EndpointError

_NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered; `milliseconds` from the first byte sent to the last received."""

    status: int
    headers: Mapping[str, str]
    body: Any
    milliseconds: float

    @property
    def version(self) -> str:
        """The Lambda version that answered."""
        return self.headers.get("x-model-version", "")


def post(url: str, request: Any, caller: Caller) -> Answer:
    """Send a JSON request and return the answer, whatever its status.

    Raises:
        EndpointError: nothing answers at this URL.
        UsageError: the key or token that the endpoint asks for is not set.
        CredentialsError: there is nothing to sign with.

    """
    return send(url, json.dumps(request, allow_nan=False).encode(), caller)


def send(url: str, body: bytes, caller: Caller, headers: Mapping[str, str] = _NONE) -> Answer:
    """Send a body, with more headers than the caller's; as `post`."""
    headers = {**headers, **caller.headers("POST", url, body)}
    began = time.monotonic()
    try:
        answer = urllib3.request(
            "POST", url, body=body, headers=headers, timeout=60.0, retries=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise EndpointError(
            f"{url} does not answer: {error}", hint="see `fnmodel status`"
        ) from error
    milliseconds = (time.monotonic() - began) * 1000
    said = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status, said, parsed(answer.data), milliseconds)


def parsed(body: bytes | str) -> Any:
    """Return a body's JSON, or its text where it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace") if isinstance(body, bytes) else body


def curl(url: str, request: Any, caller: Caller) -> str:
    """Return the command line that sends the same request; the shell fills secrets in."""
    body = json.dumps(request, ensure_ascii=False)
    who = f"{caller.curl} " if caller.curl else ""
    return (
        f"curl -s {shlex.quote(url)} {who}"
        f"-H 'content-type: application/json' -d {shlex.quote(body)}"
    )
