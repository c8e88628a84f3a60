"""Scheduled scoring."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from fnmodel.config.base import ModelName, Name, Strict
from fnmodel.config.fanout import FanoutConfig
from fnmodel.schedule import check_schedule, check_timezone, longest_gap

# Seconds between Lambda's attempts at an event, and a run of a state machine at the longest.
_PAUSES, _FANOUT_RUN = 240, 86_400


class BatchJob(Strict):
    """One scheduled scoring job: a prefix of the stage's bucket in, another one out."""

    name: Name = Field(description="the job's name: in the schedule's name and in result keys")
    input: str = Field(description="prefix in the stage's bucket whose objects are scored")
    output: str = Field(description="prefix in the stage's bucket for results and manifest")
    schedule: str | None = Field(
        default=None, description="rate(…), cron(…) or at(…); without it the job runs by hand"
    )
    timezone: str = Field(default="UTC", description="an IANA time zone for the schedule")
    error_budget: float = Field(
        default=0.01, ge=0, le=1, description="share of bad rows above which the job fails"
    )
    model: ModelName | None = Field(
        default=None, description="which of `models` scores; the first one by default"
    )
    format: Literal["csv", "jsonl", "parquet", "arrow"] = Field(
        default="csv", description="of the objects; others under the prefix are left alone"
    )
    compression: Literal["auto", "none", "gzip", "zstd"] = Field(
        default="auto",
        description="of CSV and JSON Lines: `auto` goes by .gz and .zst; the image can read zstd "
        "where a job names it",
    )
    results: Literal["same", "csv", "jsonl", "parquet", "arrow"] = Field(
        default="same", description="format of the results"
    )
    results_compression: Literal["none", "gzip", "zstd"] = Field(
        default="none",
        description="of results; Parquet has snappy for `none`, and Parquet and Arrow have no gzip",
    )
    keep: tuple[str, ...] | None = Field(
        default=None, description="columns of the input that results have; by default all"
    )
    probabilities: bool = Field(
        default=True, description="whether a classifier's results have a column for each class"
    )
    part_rows: int = Field(
        default=1_000_000,
        ge=1000,
        le=10_000_000,
        description="rows of one part; a run that is killed goes on behind the last part",
    )
    concurrency: int = Field(
        default=0, ge=0, le=16, description="threads that score; 0 is one for each processor"
    )
    overlap: Literal["queue", "skip"] = Field(
        default="queue",
        description="what a run does while another one of the job is under way: wait, or leave "
        "its time out",
    )
    window: int = Field(
        default=0,
        ge=0,
        le=1440,
        description="minutes after its time within which AWS may start a run; 0 starts at once",
    )
    late: int = Field(
        default=60,
        ge=1,
        le=1440,
        description="minutes for which AWS tries to start a run; after that its time is missed, "
        "and `fnmodel batch backfill` makes up for it",
    )

    @property
    def home(self) -> str:
        """The prefix of its runs in the stage's bucket."""
        return f"{self.output}{self.name}/"

    @property
    def layers(self) -> tuple[str, ...]:
        """What the image needs for this job beyond what every image has."""
        columns = bool({self.format, self.results} & {"parquet", "arrow"})
        # Parquet and Arrow bring their own zstd.
        texts = bool({self.format, self.results_format} & {"csv", "jsonl"})
        zstd = texts and "zstd" in (self.compression, self.results_compression)
        return ("arrow",) * columns + ("zstd",) * zstd

    @property
    def results_format(self) -> str:
        """The format of the results."""
        return self.format if self.results == "same" else self.results

    def watched(self, timeout: int, fanout: FanoutConfig | None = None) -> dict[str, Any] | None:
        """Return what a look for overdue runs is told; None where no schedule repeats.

        `timeout` is the function's, in seconds, of which a run has three attempts.
        """
        gap = None if self.schedule is None else longest_gap(self.schedule, self.timezone)
        if gap is None:
            return None
        run = _FANOUT_RUN if fanout else 3 * timeout + _PAUSES
        within = gap.total_seconds() + 60 * (self.window + self.late) + run
        return {"job": self.name, "home": self.home, "within": int(within)}

    def event(
        self,
        bucket: str,
        scheduled_time: str,
        schedule_arn: str,
        fanout: FanoutConfig | None = None,
    ) -> dict[str, Any]:
        """Return the event that runs the job; what is as by default is left out."""
        shape = self.model_dump(
            mode="json",
            exclude_defaults=True,
            include={
                "format", "compression", "results", "results_compression", "keep",
                "probabilities", "part_rows", "concurrency", "overlap", "model",
            },
        )  # fmt: skip
        return {
            "fnmodel": "batch",
            "job": self.name,
            "bucket": bucket,
            "input": self.input,
            "output": self.output,
            "error_budget": self.error_budget,
            **shape,
            **({} if fanout is None else {"fanout": fanout.event}),
            "scheduled_time": scheduled_time,
            "schedule_arn": schedule_arn,
        }

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        check_timezone(value)
        return value

    @field_validator("input", "output")
    @classmethod
    def _prefix(cls, value: str) -> str:
        if value.startswith(("s3://", "/")) or not value.endswith("/") or ".." in value:
            raise ValueError(
                "write a prefix of the stage's bucket that ends with '/', as incoming/"
            )
        return value

    @field_validator("schedule")
    @classmethod
    def _schedule(cls, value: str | None) -> str | None:
        if value is not None:
            check_schedule(value)
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.input.startswith(self.output) or self.output.startswith(self.input):
            raise ValueError("input and output must not lie inside each other")
        columns = {"parquet", "arrow"}
        if self.format in columns and self.compression in ("gzip", "zstd"):
            raise ValueError(f"{self.format} files are compressed inside; leave `compression` out")
        if self.results_format in columns and self.results_compression == "gzip":
            raise ValueError(f"{self.results_format} results can be of `none` or `zstd`, not gzip")
        return self
