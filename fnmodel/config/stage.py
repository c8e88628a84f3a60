"""What one stage has of its own."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fnmodel.config.access import Access, CorsConfig
from fnmodel.config.alarms import AlarmsConfig
from fnmodel.config.base import Strict
from fnmodel.config.function import CaptureConfig, FunctionConfig
from fnmodel.config.rollout import RolloutConfig
from fnmodel.config.stack import DomainConfig, StackConfig


class Stage(Strict):
    """What one stage has of its own; everything else is the project's."""

    cloud: Literal["aws", "local"] = Field(
        default="aws", description="an AWS account, or the embedded cloud on this machine"
    )
    account: str | None = Field(
        default=None,
        pattern=r"^\d{12}$",
        description="the AWS account that it is in; credentials of another one are refused",
    )
    region: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,}(-[a-z]+)+-\d+$",
        description="the AWS region that it is in; else the profile's, or AWS_REGION",
    )
    profile: str | None = Field(
        default=None, min_length=1, description="AWS profile for it; else AWS_PROFILE"
    )
    role: str | None = Field(
        default=None,
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$",
        description="ARN of an IAM role that is assumed with those credentials",
    )
    function: FunctionConfig | None = Field(default=None, description="instead of the project's")
    capture: CaptureConfig | None = Field(default=None, description="instead of the project's")
    access: Access | None = Field(
        default=None,
        description="who may call the endpoint; by default `iam: true` in AWS, and everybody on "
        "this machine in the embedded cloud",
    )
    cors: CorsConfig | None = Field(default=None, description="instead of the project's")
    rollout: RolloutConfig | None = Field(default=None, description="instead of the project's")
    alarms: AlarmsConfig | None = Field(default=None, description="instead of the project's")
    stack: StackConfig | None = Field(default=None, description="instead of the project's")
    domain: DomainConfig | None = Field(
        default=None, description="a name of your own for the endpoint"
    )
    sandbox: Literal["auto", "bubblewrap", "process"] = Field(
        default="auto",
        description="how the embedded cloud runs the image: `bubblewrap` the one that AWS gets, by "
        "the Python of its base; `process` one without a base, by this machine's Python; `auto` "
        "takes bubblewrap where it works and `image.base` is set and is for this machine's "
        "processor",
    )

    @property
    def callers(self) -> Access:
        """Who may call the endpoint, the default filled in."""
        if self.access is not None:
            return self.access
        return Access(public=True) if self.cloud == "local" else Access(iam=True)

    @model_validator(mode="after")
    def _placed(self) -> Self:
        placed = ("account", "region", "profile", "role")
        given = [key for key in placed if getattr(self, key) is not None]
        if given and self.cloud == "local":
            raise ValueError(f"`{given[0]}` is AWS's; the embedded cloud is on this machine")
        if self.role and self.account and self.role.split(":")[4] != self.account:
            raise ValueError(f"role {self.role} is not in account {self.account}")
        return self

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        jwt = self.access and self.access.jwt
        if self.cloud == "aws" and jwt and jwt.issuer.startswith("http:"):
            raise ValueError("access.jwt.issuer: API Gateway reads keys over https only")
        return self
