"""The stack around the function: its key, roles, tags, logs, domain."""

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fnmodel.config.base import KMS_KEY, POLICY, Strict

_TAGS = 40
"""Of the 50 that AWS allows a resource; the rest is for `fnmodel:` and CloudFormation's own."""

LogDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
]  # fmt: skip


class StackConfig(Strict):
    """What all resources of a stack have in common."""

    kms_key: str | None = Field(
        default=None,
        description="key that encrypts logs, objects, tables, queues, notices and the function's "
        "environment, instead of AWS's own keys: the ARN of yours, or `own`, and the stack makes "
        "one",
    )
    log_retention: LogDays = Field(
        default=90, description="days after which log lines are deleted; CloudWatch knows these"
    )
    permissions_boundary: str | None = Field(
        default=None,
        pattern=POLICY,
        description="ARN of a policy that bounds every role of the stack",
    )
    role_path: str = Field(
        default="/",
        pattern=r"^/([\w+=,.@-]+/)*$",
        max_length=512,
        description="path of every role of the stack: /teams/risk/",
    )
    tags: Mapping[str, str] = Field(
        default={}, description="tags of everything in the stack that takes tags"
    )
    dashboard: bool = Field(
        default=True, description="whether the stage has a dashboard of CloudWatch"
    )

    @field_validator("kms_key")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        if value is not None and value != "own" and not re.fullmatch(KMS_KEY, value):
            raise ValueError(
                "write `own`, or the ARN of a key: arn:aws:kms:REGION:ACCOUNT:key/ID; an alias "
                "can be pointed at another key, which would lock out what is encrypted"
            )
        return value

    @field_validator("tags")
    @classmethod
    def _tags(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        # https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
        for key, text in value.items():
            if not re.fullmatch(r"[\w .:/=+@-]{1,128}", key) or key.lower().startswith("aws:"):
                raise ValueError(f"{key!r} cannot be a tag's key in AWS")
            if key.startswith("fnmodel:"):
                raise ValueError(f"{key!r}: tags that begin with fnmodel: are fnmodel's own")
            if not re.fullmatch(r"[\w .:/=+@-]{0,256}", text):
                raise ValueError(f"{key}: {text!r} cannot be a tag's value in AWS")
        if len(value) > _TAGS:
            raise ValueError(f"there may be {_TAGS} tags; these are {len(value)}")
        return value


class DomainConfig(Strict):
    """A name of your own for the endpoint of a stage."""

    name: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$",
        max_length=255,
        description="host name in lower case: churn.example.com",
    )
    certificate: str = Field(
        pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[A-Za-z0-9-]+$",
        description="ARN of its certificate in AWS Certificate Manager, in the stage's region",
    )
    hosted_zone: str | None = Field(
        default=None,
        pattern=r"^Z[A-Z0-9]{1,31}$",
        description="id of the Route 53 zone that gets its records; without it you make them",
    )
    truststore: str | None = Field(
        default=None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S+$",
        description="s3://BUCKET/KEY of the certificates (PEM) whose holders may connect: mutual "
        "TLS, beside what `access` asks for",
    )
    truststore_version: str | None = Field(
        default=None, description="version of that object; a new one is read when this changes"
    )
    default_endpoint: bool = Field(
        default=False,
        description="whether API Gateway's own name of the endpoint (execute-api) works, too",
    )

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.truststore_version and not self.truststore:
            raise ValueError("truststore_version: there is no truststore that it is a version of")
        if self.truststore and self.default_endpoint:
            raise ValueError(
                "default_endpoint: API Gateway's own name knows no mutual TLS, so that everybody "
                "could go around the truststore; leave it out"
            )
        return self
