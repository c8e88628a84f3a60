"""What every part of `fnmodel.yaml` is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FILE = "fnmodel.yaml"

NAME = r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$"
Name = Annotated[str, Field(pattern=NAME)]
"""2 to 32 characters that CloudFormation, ECR and EventBridge Scheduler all accept in a name."""

ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}[a-z0-9]$")]
"""A name, which may have underscores: a segment of paths that is never escaped."""

LOOPBACK = r"http://(127\.0\.0\.1|localhost)(:\d{1,5})?"


class Strict(BaseModel):
    """A part of the file: an unknown key is an error, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Duration = Annotated[str, Field(pattern=r"^[1-9]\d{0,5}[smhd]$")]
"""A number and its unit: 30s, 10m, 2h, 1d."""


def seconds(duration: str) -> float:
    """Return a duration in seconds."""
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[duration[-1]]
