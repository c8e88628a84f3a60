"""When a stage rings."""

from pydantic import Field, field_validator

from fnmodel.config.base import Strict, check_addresses


class AlarmsConfig(Strict):
    """When a stage rings; null switches an alarm off.

    The thresholds are what a caller or an operator would notice, not what is normal for a model.
    """

    email: tuple[str, ...] = Field(
        default=(),
        description="addresses that hear of every alarm; AWS asks each one to confirm first",
    )
    error_rate: float | None = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="share of the live alias's invocations that crash, time out or answer 5xx: "
        "callers notice, and it is no single bad request",
    )
    minimum_requests: int = Field(
        default=10,
        ge=1,
        description="invocations of a minute below which shares mean nothing: one of two is not "
        "half of the traffic",
    )
    latency_p99: int | None = Field(
        default=10_000,
        ge=1,
        le=30_000,
        description="ms within which 99 of 100 requests are answered: at three times that the API "
        "cuts off, so that there is time to look",
    )
    throttle_rate: float | None = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="share of the live alias's invocations that Lambda refuses: each one is a "
        "caller's error, and more memory does not help",
    )
    concurrency: float | None = Field(
        default=0.8,
        gt=0,
        le=1,
        description="share of `function.reserved_concurrency` that is used, or of the account's "
        "quota where none is reserved: throttling comes next",
    )
    memory: float | None = Field(
        default=0.9,
        gt=0,
        le=1,
        description="share of the function's memory: at all of it Lambda kills the process",
    )
    api_error_rate: float | None = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="share of the API's answers that are 5xx: what callers see, requests that "
        "the function never saw among it",
    )
    batch_failures: int | None = Field(
        default=1,
        ge=1,
        description="scheduled runs and other events of five minutes that failed in every attempt: "
        "their results are missing",
    )
    overdue_jobs: int | None = Field(
        default=1,
        ge=1,
        description="scheduled jobs that have not run by their time, or any number when nobody "
        "looks: a run that never begins has no error",
    )
    controller_failures: int | None = Field(
        default=3,
        ge=1,
        description="crashes of the rollout controller in five minutes, Lambda's repetitions among "
        "them: one is made up for by the next minute",
    )
    authorizer_failures: int | None = Field(
        default=3,
        ge=1,
        description="crashes of the authorizer in five minutes: each keeps a caller with a valid "
        "key out",
    )
    failed_events: int | None = Field(
        default=1,
        ge=1,
        description="events that wait in a dead-letter queue: each is work that nobody did",
    )

    @field_validator("email")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_addresses(value)
        return value
