"""The Lambda function, and what is kept of its answers and of its releases."""

import re
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from fnmodel.config.base import KMS_KEY, Strict


class FunctionConfig(Strict):
    """The Lambda function."""

    memory: int = Field(default=1769, ge=128, le=10240, description="MB; 1,769 are one vCPU")
    timeout: int = Field(
        default=60, ge=1, le=900, description="seconds; HTTP requests end at 30 in any case"
    )
    snapstart: bool = Field(
        default=False,
        description="start from a snapshot of the loaded model; AWS bills it for each version",
    )
    reserved_concurrency: int | None = Field(
        default=None,
        ge=1,
        description="requests at once: kept free for this function, and never exceeded; without it "
        "the account's quota is shared",
    )
    provisioned_concurrency: int | None = Field(
        default=None,
        ge=1,
        description="environments of each version that serves which are kept started; billed by "
        "the hour",
    )
    tracing: Literal["none", "xray", "otlp"] = Field(
        default="none",
        description="`xray` samples requests into AWS X-Ray, which bills them; `otlp` sends spans "
        "to the OpenTelemetry collector that `otel` names",
    )
    otel: Mapping[str, str] = Field(
        default={},
        description="OpenTelemetry's own variables, with `tracing: otlp`: "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` at least",
    )

    @model_validator(mode="after")
    def _started(self) -> Self:
        provisioned = self.provisioned_concurrency
        if provisioned and self.snapstart:
            raise ValueError(
                "snapstart and provisioned_concurrency exclude each other in Lambda: one starts "
                "environments fast, the other keeps them started; leave one out"
            )
        if provisioned and self.reserved_concurrency and provisioned > self.reserved_concurrency:
            raise ValueError(
                f"provisioned_concurrency: {provisioned} is more than the "
                f"{self.reserved_concurrency} of reserved_concurrency"
            )
        return self

    @model_validator(mode="after")
    def _collector(self) -> Self:
        wrong = [name for name in self.otel if not re.fullmatch(r"OTEL_[A-Z0-9_]+", name)]
        if wrong:
            raise ValueError(f"otel: {wrong[0]!r} is none of OpenTelemetry's variables (OTEL_…)")
        endpoints = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
        if self.tracing == "otlp" and not endpoints & self.otel.keys():
            raise ValueError(
                "tracing: otlp needs a collector: otel: {OTEL_EXPORTER_OTLP_ENDPOINT: https://…}"
            )
        if self.otel and self.tracing != "otlp":
            raise ValueError("otel: means something with `tracing: otlp` only")
        return self


class CaptureConfig(Strict):
    """Which rows and predictions are kept, what is left of them, and for how long."""

    rate: float = Field(
        default=0.0, ge=0, le=1, description="share of rows that is kept; 0 keeps none"
    )
    fields: Mapping[str, Literal["drop", "hash", "keep"]] = Field(
        default={},
        description="fields, wherever they stand in a row or a prediction: `drop` leaves one out, "
        "`hash` keeps a keyed hash of its value, `keep` spares it from `patterns`",
    )
    patterns: bool = Field(
        default=True,
        description="replace e-mail addresses, card and phone numbers, national ids, IBANs, JWTs "
        "and AWS keys, in values and names",
    )
    subject: str | None = Field(
        default=None,
        description="field that says whom a row is about; its keyed hash is kept, by which "
        "`fnmodel capture erase` finds the rows",
    )
    retention: int = Field(
        default=30, ge=1, le=3653, description="days after which kept rows are deleted"
    )
    kms_key: str | None = Field(
        default=None,
        pattern=KMS_KEY,
        description="ARN of a KMS key that encrypts kept rows, instead of S3's own",
    )


class AuditConfig(Strict):
    """Copies of the release ledger that nobody can change or delete until their time is over."""

    retention: int | None = Field(
        default=None,
        ge=1,
        le=36500,
        description="days for which each copy is locked, in a bucket that outlives the stage; "
        "without it there are no copies",
    )
    mode: Literal["governance", "compliance"] = Field(
        default="governance",
        description="whether those with s3:BypassGovernanceRetention may end a lock, or nobody",
    )
