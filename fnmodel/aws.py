"""Makes boto3 clients and turns botocore's errors into ours. The only module that imports boto3."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fnmodel.errors import (
    AwsError,
    CredentialsError,
    EndpointError,
    ThrottledError,
    UnansweredError,
)
from fnmodel.sigv4 import Credentials

_EXPIRED = frozenset(
    "ExpiredToken ExpiredTokenException RequestExpired InvalidClientTokenId "
    "UnrecognizedClientException InvalidAccessKeyId SignatureDoesNotMatch "
    "AuthFailure InvalidSignatureException".split()
)
_THROTTLED = frozenset(
    "Throttling ThrottlingException ThrottledException RequestLimitExceeded "
    "TooManyRequestsException ProvisionedThroughputExceededException SlowDown "
    "LimitExceededException ServiceQuotaExceededException PriorRequestNotComplete".split()
)

EMULATOR_REGION = "us-east-1"
EMULATOR_KEYS = ("test", "test")
"""Access key and secret of the embedded cloud; the user's own must never reach it."""


# Seconds; more than any control-plane call or HTTP request takes.
_PATIENCE = 70.0


@dataclass(frozen=True)
class Cloud:
    """Where calls go: the user's AWS account, or an endpoint with fixed credentials.

    With `endpoint_url` set this is the embedded cloud: its credentials mean nothing, and the
    user's own are never sent to it. With `role`, an ARN, that role is assumed with the credentials
    of the profile, and again before it expires.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    role: str | None = None

    def client(
        self, service: str, *, wait: float = _PATIENCE, once: bool = False, signs: bool = False
    ) -> Any:
        """Return a boto3 client with our retry mode; it waits `wait` seconds for an answer.

        A longer wait than the default is for work that must not be begun again while it runs, so
        that nothing is retried then; nor with `once`. One of S3 that `signs` makes URLs and forms
        for others.

        Raises:
            CredentialsError: the profile does not exist.
            AwsError: no region is configured.

        """
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "max_attempts": 1 if once or wait > _PATIENCE else 5},
            connect_timeout=10,
            read_timeout=wait,
            user_agent_extra="fnmodel",
        )
        if signs:
            config = config.merge(_signing())
        with translated():
            if self.endpoint_url:
                # It is on this machine: the user's proxy must not be asked for it.
                config = config.merge(Config(proxies={}))
                if service == "s3":
                    config = config.merge(Config(s3={"addressing_style": "path"}))
                return self._session.client(service, endpoint_url=self.endpoint_url, config=config)
            return self._session.client(service, config=config)

    def credentials(self) -> Credentials:
        """Return what requests are signed with, as it is now.

        Raises:
            CredentialsError: none found, or expired.

        """
        with translated():
            found = self._session.get_credentials()
            frozen = found.get_frozen_credentials() if found else None
        if frozen is None:
            raise CredentialsError("unable to locate credentials", hint=_renew())
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    @property
    def region_name(self) -> str:
        """The region of its clients.

        Raises:
            AwsError: none is configured.

        """
        name: str = self.client("sts").meta.region_name
        return name

    @cached_property
    def _session(self) -> Any:
        # A session reads botocore's data once: its second client takes 4 ms, not 90.
        import boto3

        if self.endpoint_url:
            import botocore.session

            # Neither AWS_PROFILE nor the user's files have a say here.
            bare = botocore.session.Session(
                session_vars={
                    "profile": (None, [], None, None),
                    "config_file": (None, [], "", None),
                }
            )
            return boto3.Session(
                *EMULATOR_KEYS,
                region_name=self.region or EMULATOR_REGION,
                botocore_session=bare,
            )
        own = boto3.Session(profile_name=self.profile, region_name=self.region or _region())
        return _assuming(own, self.role) if self.role else own

    def account(self) -> str:
        """Return the account that the credentials are of.

        Raises:
            CredentialsError: none found, or expired.
            AwsError: the role cannot be assumed.

        """
        with translated():
            number: str = self.client("sts").get_caller_identity()["Account"]
        return number


def _signing() -> Any:
    """Return how URLs and forms of S3 are signed: by Signature Version 4, for the region's host.

    boto3 takes version 2 in the older regions, which no bucket of today accepts, nor one with a
    KMS key, and the global host, which redirects uploads to a bucket that is new.
    https://aws.amazon.com/blogs/aws/amazon-s3-update-sigv2-deprecation-period-extended-modified/
    """
    from botocore.config import Config

    # In the embedded cloud a bucket has no host of its own.
    emulated = "AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ
    return Config(
        signature_version="s3v4", s3={"addressing_style": "path" if emulated else "virtual"}
    )


def _assuming(own: Any, role: str) -> Any:
    """Return a session whose credentials are those of a role, renewed while it is used."""
    import boto3
    import botocore.session
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    class Assumed:
        """What botocore asks for credentials, before all else."""

        METHOD = CANONICAL_NAME = "assume-role"

        def load(self) -> Any:
            fetcher = AssumeRoleCredentialFetcher(
                lambda service, **given: own.client(
                    service,
                    aws_access_key_id=given["aws_access_key_id"],
                    aws_secret_access_key=given["aws_secret_access_key"],
                    aws_session_token=given["aws_session_token"],
                ),
                own.get_credentials() or _none_found(),
                role,
                extra_args={"RoleSessionName": "fnmodel"},
            )
            return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)

    session = botocore.session.Session()
    session.get_component("credential_provider").providers.insert(0, Assumed())
    return boto3.Session(region_name=own.region_name, botocore_session=session)


def _none_found() -> Any:
    raise CredentialsError("unable to locate credentials", hint=_renew())


def credentials_source(profile: str | None = None) -> tuple[str | None, str | None]:
    """Return where boto3 found credentials (its own word) and the region, each None if nowhere.

    Raises:
        CredentialsError: the profile does not exist or cannot be read.

    """
    import boto3

    with translated():
        session = boto3.Session(profile_name=profile, region_name=_region())
        credentials = session.get_credentials()
    return (credentials.method if credentials else None), session.region_name


@contextmanager
def translated() -> Iterator[None]:
    """Turn what botocore raises inside the block into errors of ours.

    Callers that expect one error (`client.exceptions.ResourceNotFoundException`) catch it inside.

    Raises:
        CredentialsError: none found, or expired.
        ThrottledError: throttled, or a quota is used up.
        EndpointError: no connection.
        UnansweredError: there was one, and no answer came in time.
        AwsError: anything else that AWS refused.

    """
    from boto3 import exceptions as s3
    from botocore import exceptions as be

    try:
        yield
    except (
        be.NoCredentialsError, be.PartialCredentialsError, be.ProfileNotFound,
        be.TokenRetrievalError, be.SSOTokenLoadError, be.UnauthorizedSSOTokenError,
        be.CredentialRetrievalError,
    ) as error:  # fmt: skip
        raise CredentialsError(str(error), hint=_renew()) from error
    except be.NoRegionError as error:
        raise AwsError("no AWS region is set", hint="set AWS_REGION, or use --local") from error
    except be.ReadTimeoutError as error:
        raise UnansweredError(str(error), hint="run the same command again") from error
    except (be.HTTPClientError, be.ConnectionError, be.EndpointResolutionError) as error:
        raise EndpointError(str(error), hint="check the network, region and endpoint") from error
    except be.ClientError as error:
        raise from_client_error(error) from error
    except be.BotoCoreError as error:
        raise AwsError(str(error)) from error
    except s3.S3UploadFailedError as error:
        cause = error.__context__
        if isinstance(cause, be.ClientError):
            raise from_client_error(cause) from error
        raise AwsError(str(error)) from error


def from_client_error(error: Any) -> AwsError:
    """Return the error of ours for a `botocore.exceptions.ClientError`."""
    detail = error.response.get("Error", {})
    code, text = detail.get("Code", "Unknown"), detail.get("Message", str(error))
    message = f"{error.operation_name}: {text} ({code})"
    if code in _EXPIRED:
        return CredentialsError(message, hint=_renew())
    if code in _THROTTLED:
        return ThrottledError(message, hint="wait a little, then run the same command again")
    if code in {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}:
        return AwsError(message, hint="docs/provision.md lists the permissions that are needed")
    return AwsError(message)


def _region() -> str | None:
    # Lambda and the other SDKs set this one; boto3 reads AWS_DEFAULT_REGION only.
    return os.environ.get("AWS_REGION")


def _renew() -> str:
    profile = os.environ.get("AWS_PROFILE")
    login = f"aws sso login --profile {profile}" if profile else "aws sso login"
    return f"renew them (`{login}`, or set AWS_PROFILE), or use --local, which needs none"
