"""How a stage is watched, who hears of it, and what retrains."""

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fnmodel.config.base import LOOPBACK, POLICY, Duration, Name, Strict, check_addresses, seconds


class WebhookConfig(Strict):
    """A URL that alerts are posted to, signed."""

    url: str = Field(
        pattern=rf"^(https://[a-z0-9.-]+(:\d{{1,5}})?|{LOOPBACK})(/[^\s#]*)?$",
        description="https, and a public address; http on 127.0.0.1 for the embedded cloud only",
    )
    secret: str = Field(
        pattern=r"^(ssm:/[A-Za-z0-9_./-]{1,200}|secretsmanager:[A-Za-z0-9/_+=.@-]{1,200})$",
        description="where its signing secret is (`whsec_…`): ssm:/NAME of a SecureString, or "
        "secretsmanager:NAME; never the secret itself",
    )


class RetrainConfig(Strict):
    """When drift starts the pipeline by itself."""

    cooldown: Duration = Field(default="7d", description="after a start there is none for so long")
    budget: int = Field(default=4, ge=1, le=31, description="starts in a calendar month at most")
    approve: bool = Field(
        default=False, description="ask a person first: `fnmodel watch approve ID`"
    )
    on_quality: bool = Field(
        default=False, description="start on alarms about broken data, too, which training learns"
    )
    source: str | None = Field(
        default=None,
        pattern=r"^(s3://[a-z0-9.-]+/[^\s]+\.zip|https://(github\.com|git-codecommit\.[a-z0-9-]+"
        r"\.amazonaws\.com)/[^\s]+)$",
        description="where CodeBuild finds the project: s3://BUCKET/KEY.zip, or a repository of "
        "GitHub or CodeCommit; not needed in the embedded cloud",
    )
    policies: tuple[str, ...] = Field(
        default=(),
        description="ARNs of managed policies that let the pipeline read its data and deploy",
    )
    image: str = Field(
        default="aws/codebuild/standard:7.0", description="CodeBuild's image that it runs in"
    )
    compute: Literal["SMALL", "MEDIUM", "LARGE", "XLARGE", "2XLARGE"] = Field(
        default="MEDIUM", description="size of CodeBuild's machine"
    )
    timeout: int = Field(
        default=120, ge=5, le=480, description="minutes after which a run is stopped"
    )

    @field_validator("policies")
    @classmethod
    def _arns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for arn in value:
            if not re.fullmatch(POLICY, arn):
                raise ValueError(f"{arn!r} is no ARN of a managed policy")
        return value


class WatchConfig(Strict):
    """How captured rows are watched."""

    off: bool = Field(default=False, description="do not watch; `watch: off` says the same")
    grace: int = Field(
        default=15,
        ge=10,
        le=55,
        description="minutes after an hour at which it is counted; rows that come later are not",
    )
    false_alarm_rate: float = Field(
        default=0.001,
        ge=0.00001,
        le=0.1,
        description="chance that a window without drift raises an alarm, over all its columns",
    )
    minimum: int = Field(
        default=200, ge=50, le=100_000, description="rows below which hours are put together"
    )
    close_after: int = Field(
        default=3, ge=1, le=168, description="windows without an alarm after which an alert closes"
    )
    remind: Duration = Field(
        default="1d", description="how often an alert that stays open is said again"
    )
    email: tuple[str, ...] = Field(
        default=(), description="addresses that SNS mails alerts to; each has to confirm once"
    )
    webhook: WebhookConfig | None = Field(
        default=None, description="a URL that alerts are posted to, signed"
    )
    retrain: RetrainConfig | None = Field(
        default=None, description="start `pipeline` when columns drift; off by default"
    )

    @field_validator("email")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_addresses(value)
        return value

    @model_validator(mode="after")
    def _rhythm(self) -> Self:
        if seconds(self.remind) < 3600:
            raise ValueError("remind: an hour is the least, since windows are hours")
        return self

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        # YAML 1.1 reads `off` as false.
        return {"off": True} if value in (False, "off") else value


class PipelineStep(Strict):
    """One step: a command, or a deployment."""

    name: Name = Field(description="the step's name, for `fnmodel run NAME`")
    run: str | None = Field(
        default=None, description="command line, run in the project's folder without a shell"
    )
    deploy: Name | None = Field(default=None, description="stage that the project is deployed to")
    env: Mapping[str, str] = Field(default={}, description="variables of the command")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.run is None) == (self.deploy is None):
            raise ValueError("write either `run: COMMAND` or `deploy: STAGE`")
        return self
