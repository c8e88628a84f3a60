"""Asynchronous requests: inputs too large for an HTTP request."""

from typing import Literal

from pydantic import Field

from fnmodel.config.base import Strict


class JobsConfig(Strict):
    """Which inputs callers may upload to be scored, and for how long they are kept."""

    formats: tuple[Literal["csv", "jsonl"], ...] = Field(
        default=("csv", "jsonl"), min_length=1, description="formats of inputs and results"
    )
    bytes: int = Field(
        default=1_000_000_000,
        ge=1,
        le=5_000_000_000,
        description="bytes that an upload may have; S3 takes 5 GB in one",
    )
    days: int = Field(
        default=7, ge=1, le=365, description="days after which a job, its input and results go"
    )
