"""How `invoke` and the curl line that it prints say who is calling; a secret is never printed."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fnmodel.aws import Cloud
from fnmodel.errors import UsageError
from fnmodel.sigv4 import sign

API_KEY = "FNMODEL_API_KEY"
TOKEN = "FNMODEL_TOKEN"  # noqa: S105 - the variable's name


class Caller(Protocol):
    """Someone who calls an endpoint."""

    def headers(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers of one JSON request.

        Raises:
            UsageError: what the caller should know is not set.

        """

    @property
    def curl(self) -> str:
        """The words of a curl line that do the same, for a shell; empty where none are needed."""


_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Anybody:
    """Says nothing of itself."""

    curl: str = ""

    def headers(self, _method: str, _url: str, _body: bytes) -> Mapping[str, str]:
        """Return the content type alone."""
        return _JSON


@dataclass(frozen=True)
class Bearer:
    """Sends a secret that an environment variable holds, after a prefix, in a header."""

    header: str
    prefix: str
    variable: str
    hint: str

    def headers(self, _method: str, _url: str, _body: bytes) -> Mapping[str, str]:
        """Return the content type and the secret."""
        secret = os.environ.get(self.variable, "").strip()
        if not secret:
            raise UsageError(f"{self.variable} is not set", hint=self.hint)
        if not (secret.isascii() and secret.isprintable()):
            raise UsageError(
                f"{self.variable} holds what no header can carry: other than printable ASCII",
                hint=self.hint,
            )
        return {**_JSON, self.header: f"{self.prefix}{secret}"}

    @property
    def curl(self) -> str:
        """The header; the shell fills the secret in."""
        return f'-H "{self.header}: {self.prefix}${self.variable}"'


@dataclass(frozen=True)
class Signer:
    """Signs with the AWS credentials that boto3 finds."""

    cloud: Cloud

    def headers(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """Return signed headers.

        Raises:
            CredentialsError: there are none.

        """
        return sign(
            method, url, _JSON, body, self.cloud.credentials(),
            service="execute-api", region=self.cloud.region_name, now=time.time(),
        )  # fmt: skip

    @property
    def curl(self) -> str:
        """The signing words; the shell fills credentials in, curl leaves an empty header out."""
        words = f'--aws-sigv4 "aws:amz:{self.cloud.region_name}:execute-api"'
        if self.cloud.endpoint_url:
            # The embedded cloud's credentials are fixed, and mean nothing.
            known = self.cloud.credentials()
            return f"{words} --user {known.access_key}:{known.secret_key}"
        return (
            f'{words} --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" '
            '-H "x-amz-security-token: $AWS_SESSION_TOKEN"'
        )


def caller(access: str | None, cloud: Cloud, stage: str = "") -> Caller:
    """Return who calls an endpoint of this kind of access from this machine.

    The variable of a secret may have the stage's name at its end (`FNMODEL_API_KEY_STAGING`), for
    those who call several.
    """
    api_key, token = _of_stage(API_KEY, stage), _of_stage(TOKEN, stage)
    match access:
        case "iam":
            return Signer(cloud)
        case "api_key":
            return Bearer(
                "x-api-key", "", api_key,
                f"`fnmodel keys add NAME` makes a key; then: export {api_key}=…",
            )  # fmt: skip
        case "jwt":
            return Bearer(
                "authorization", "Bearer ", token,
                f"ask the issuer for a token; then: export {token}=…",
            )  # fmt: skip
        case _:
            return Anybody()


def _of_stage(variable: str, stage: str) -> str:
    """Return the variable of this stage alone, if it is set."""
    own = f"{variable}_{stage.upper().replace('-', '_')}"
    return own if stage and own in os.environ else variable
