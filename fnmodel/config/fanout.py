"""When a batch run is spread over many invocations."""

from typing import Any

from pydantic import Field

from fnmodel.config.base import Strict


class FanoutConfig(Strict):
    """From what on a run is spread over many invocations, and over how many at once."""

    objects: int = Field(
        default=1_000, ge=0, description="objects above which a run is spread over invocations"
    )
    bytes: int = Field(
        default=2_000_000_000, ge=0, description="bytes of all objects above which it is"
    )
    slice_bytes: int = Field(
        default=256_000_000,
        ge=1,
        description="bytes of small objects that an invocation gets; a larger one is cut at every "
        "`part_rows` rows, where its format allows it",
    )
    concurrency: int = Field(
        default=50, ge=1, le=10_000, description="invocations of a run at once"
    )

    @property
    def event(self) -> dict[str, Any]:
        """What the function is told of it."""
        return self.model_dump(include={"objects", "bytes", "slice_bytes"})
