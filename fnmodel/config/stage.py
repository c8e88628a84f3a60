"""What one stage has of its own."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fnmodel.config.access import Access, CorsConfig
from fnmodel.config.alarms import AlarmsConfig
from fnmodel.config.base import Strict
from fnmodel.config.function import FunctionConfig
from fnmodel.config.rollout import RolloutConfig
from fnmodel.config.stack import DomainConfig, StackConfig


class Stage(Strict):
    """What one stage has of its own; everything else is the project's."""

    cloud: Literal["aws", "local"] = Field(
        default="aws", description="an AWS account, or the embedded cloud on this machine"
    )
    function: FunctionConfig | None = Field(default=None, description="instead of the project's")
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
    def _reachable(self) -> Self:
        jwt = self.access and self.access.jwt
        if self.cloud == "aws" and jwt and jwt.issuer.startswith("http:"):
            raise ValueError("access.jwt.issuer: API Gateway reads keys over https only")
        return self
