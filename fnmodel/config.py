"""`fnmodel.yaml`: one model of pydantic, read with line numbers, all problems reported at once."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fnmodel.errors import ConfigError, UsageError
from fnmodel.schedule import check_schedule, check_timezone

FILE = "fnmodel.yaml"

NAME = r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$"
Name = Annotated[str, Field(pattern=NAME)]
"""2 to 32 characters that CloudFormation, ECR and EventBridge Scheduler all accept in a name."""

ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}[a-z0-9]$")]
"""A name, which may have underscores: a segment of paths that is never escaped."""

AccessMode = Literal["iam", "jwt", "api_key", "public"]
ACCESS_MODES: tuple[AccessMode, ...] = ("iam", "jwt", "api_key", "public")

_LOOPBACK = r"http://(127\.0\.0\.1|localhost)(:\d{1,5})?"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parity(_Strict):
    """The parity budget: how far ONNX answers may lie from the original's on the sample."""

    absolute: float = Field(default=1e-4, ge=0, description="absolute tolerance of an output")
    relative: float = Field(default=1e-3, ge=0, description="relative tolerance of an output")
    label_flips: int = Field(
        default=0, ge=0, description="rows whose label may differ, ties not counted"
    )
    edge_flips: float = Field(
        default=0,
        ge=0,
        le=1000,
        description="of 1,000 rows next to the splits of trees, how many may differ",
    )
    cosine: float = Field(
        default=0.999,
        gt=0,
        le=1,
        description="least cosine between an embedding of a transformer and the original's, when "
        "its weights are made smaller by rounding; 1 forbids that",
    )


class SlimConfig(_Strict):
    """How the model is converted and made small."""

    goal: Literal["balanced", "size", "latency"] = Field(
        default="balanced",
        description="the smallest form that is not slower, the smallest, or the fastest",
    )
    four_bit: bool = Field(default=False, description="allow 4-bit weights in transformers")
    truncate_trees: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="allow to drop trees for up to this loss of the metric",
    )
    trust: tuple[str, ...] = Field(
        default=(),
        description="classes and functions, as package.module.Name, that the model file may hold "
        "beyond those of known libraries; reading the file runs their code",
    )
    isolation: Literal["strongest", "full"] = Field(
        default="strongest",
        description="where the model is read: the strongest isolation that the machine offers, "
        "or an error where that is not bubblewrap's (no network, no other files)",
    )


Label = str | int | float | bool
Judge = Literal["point", "bound"]


class _Bounds(_Strict):
    at_least: float | None = Field(default=None, description="the figure must not be below")
    at_most: float | None = Field(default=None, description="the figure must not be above")
    positive: Label | None = Field(
        default=None, description="the label that the figure is about, where there are two classes"
    )

    @property
    def bounded(self) -> bool:
        """Whether there is anything to hold the figure against."""
        return self.at_least is not None or self.at_most is not None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.bounded:
            raise ValueError("a gate needs `at_least` or `at_most`")
        if None not in (self.at_least, self.at_most) and self.at_least > self.at_most:  # type: ignore[operator]
            raise ValueError(f"at_least {self.at_least} is above at_most {self.at_most}")
        return self


class ChampionConfig(_Strict):
    """The comparison with the model that serves now, on the same rows."""

    margin: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="how much worse is accepted, in the metric's own unit",
    )
    judge: Judge = Field(
        default="bound",
        description="proven by the worse end of the paired 95 % interval, or the figure itself",
    )


class MetricGate(_Bounds):
    """A metric of the model on labelled rows: what it must reach, and how it stands to what serves.

    With `champion`, `deploy` asks the version that serves the same rows before it publishes.
    """

    metric: str = Field(description="accuracy, roc_auc, f1, log_loss, r2, … or a scorer's name")
    judge: Judge = Field(
        default="point", description="the figure itself, or the worse end of its 95 % interval"
    )
    champion: ChampionConfig | None = Field(
        default=None, description="also compare with the version that serves now"
    )

    @property
    def bounded(self) -> bool:
        """Whether there is anything to hold the figure against."""
        return super().bounded or self.champion is not None


class FairnessGate(_Bounds):
    """How far groups of the sample's rows lie apart."""

    columns: tuple[str, ...] = Field(
        min_length=1, description="columns of the sample that make the groups; need not be features"
    )
    metric: str = Field(description="demographic_parity_difference, equalized_odds_difference, …")
    judge: Judge = Field(
        default="bound", description="the figure itself, or the worse end of its 95 % interval"
    )
    strict: bool = Field(default=False, description="fail when a group is too small to be judged")
    edges: tuple[float, ...] = Field(default=(), description="cuts of a column of numbers")


class Gates(_Strict):
    """What a model must keep before it is packed; judged on the sample, or on rows held out."""

    sample: Path | None = Field(
        default=None,
        description="labelled rows to judge on, best such that no model was trained on; by default "
        "the project's sample",
    )
    metrics: tuple[MetricGate, ...] = ()
    fairness: tuple[FairnessGate, ...] = ()
    one_row_ms: float | None = Field(
        default=None, gt=0, description="milliseconds for one row, the median"
    )
    model_mb: float | None = Field(default=None, gt=0, description="size of the ONNX file, in MB")


class ImageConfig(_Strict):
    """The container image."""

    python: Literal["3.11", "3.12", "3.13", "3.14"] = Field(
        default="3.13", description="Python of the image; the embedded cloud uses the host's"
    )
    architecture: Literal["x86_64", "arm64"] = Field(
        default="x86_64", description="the function's architecture"
    )
    base: str | None = Field(
        default=None,
        description="base image: a reference pinned by digest (NAME@sha256:…) or oci:DIR. "
        "AWS needs one; the embedded cloud does not",
    )


class SigningConfig(_Strict):
    """Who signs images, and whose signatures a deploy asks for."""

    key: Path | None = Field(
        default=None,
        description="private key (PEM, ECDSA P-256) that signs what is deployed; the variable "
        "FNMODEL_SIGNING_KEY wins over it, FNMODEL_SIGNING_PASSWORD opens an encrypted one",
    )
    trusted: tuple[Path, ...] = Field(
        default=(),
        description="public keys (PEM); an image that none of them signed is not deployed",
    )


class FunctionConfig(_Strict):
    """The Lambda function."""

    memory: int = Field(default=1769, ge=128, le=10240, description="MB; 1,769 are one vCPU")
    timeout: int = Field(
        default=60, ge=1, le=900, description="seconds; HTTP requests end at 30 in any case"
    )
    snapstart: bool = Field(
        default=False,
        description="start from a snapshot of the loaded model; AWS bills it for each version",
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


class CaptureConfig(_Strict):
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
        pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$",
        description="ARN of a KMS key that encrypts kept rows, instead of S3's own",
    )


class AuditConfig(_Strict):
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


Duration = Annotated[str, Field(pattern=r"^[1-9]\d{0,5}[smhd]$")]
"""A number and its unit: 30s, 10m, 2h, 1d."""


def seconds(duration: str) -> float:
    """Return a duration in seconds."""
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[duration[-1]]


_STEPS = 100
"""Steps of a rollout at most: the ledger keeps all of them in one item."""


class RolloutStep(_Strict):
    """One step of a rollout: a share of the requests, watched for a while."""

    percent: float = Field(ge=0.01, le=100, description="share of the requests that it gets")
    bake: Duration = Field(default="10m", description="how long it is watched: 30s, 10m, 2h, 1d")
    approve: bool = Field(
        default=False, description="take the step only after `fnmodel rollout approve`"
    )


class Analysis(_Strict):
    """What a candidate must not do; null switches a check off."""

    max_error_rate: float | None = Field(
        default=0.05, gt=0, lt=1, description="share of its requests that may fail"
    )
    max_error_increase: float | None = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="by how much that share may be above the stable version's at the same time",
    )
    max_latency_ratio: float | None = Field(
        default=None,
        ge=1,
        le=100,
        description="how many times the stable version's 99th percentile its own may be; cold "
        "starts do not count",
    )
    max_prediction_shift: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="by how much the share of a label, or below a quantile, may move; needs "
        "`capture.rate`",
    )
    minimum_samples: int = Field(
        default=100, ge=1, le=1_000_000, description="requests of a step without which it waits"
    )
    false_alarm_rate: float = Field(
        default=0.01,
        gt=0,
        le=0.2,
        description="chance that a candidate within these limits is rolled back, over all checks "
        "and the whole rollout",
    )
    alarms: bool = Field(
        default=True, description="roll back when an alarm of the stage begins to ring"
    )


class RolloutConfig(_Strict):
    """How a new version gets its requests, and when it loses them again."""

    strategy: Literal["by-hand", "all-at-once", "canary", "linear", "steps"] = Field(
        default="by-hand",
        description="`by-hand` leaves it to `shift` and `promote`; `canary` gives `percent`, then "
        "all; `linear` gives `percent` more each time; `all-at-once` gives all and watches; "
        "`steps` are written out",
    )
    percent: float = Field(
        default=10,
        ge=0.01,
        le=99.99,
        description="share of the requests of `canary` and `linear`",
    )
    bake: Duration = Field(
        default="10m", description="how long each of these steps is watched: 30s, 10m, 2h, 1d"
    )
    steps: tuple[RolloutStep, ...] = Field(default=(), description="with `strategy: steps`")
    analysis: Analysis = Analysis()
    inconclusive: Literal["wait", "rollback", "approve"] = Field(
        default="wait",
        description="after a step that says neither yes nor no: wait for more requests, roll back, "
        "or wait for `fnmodel rollout approve`",
    )
    deadline: Duration = Field(
        default="1d", description="a rollout that has not ended by then is rolled back"
    )

    @property
    def automatic(self) -> bool:
        """Whether `deploy` begins a rollout."""
        return self.strategy != "by-hand"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.strategy == "steps") != bool(self.steps):
            raise ValueError("`steps` and `strategy: steps` belong together")
        shares = [step.percent for step in self.steps]
        if shares != sorted(set(shares)):
            raise ValueError("each step must have a larger percent than the one before")
        if self.automatic and self.planned >= seconds(self.deadline):
            raise ValueError(
                f"the steps alone take {self.planned:g} s, the deadline is before that"
            )
        if seconds(self.deadline) > 7 * 86_400:
            raise ValueError("the deadline may be 7d at most; CloudWatch forgets minutes later")
        return self

    @model_validator(mode="after")
    def _takeable(self) -> Self:
        if any(99.99 < step.percent < 100 for step in self.steps):
            raise ValueError("a step's percent may be 99.99, or 100; Lambda knows none between")
        if self.steps and self.steps[0].approve:
            raise ValueError(
                "steps.0.approve: `deploy` itself takes the first step; let a later one ask, or "
                "leave it to `fnmodel shift` with `strategy: by-hand`"
            )
        count = self._linear if self.strategy == "linear" else len(self.steps)
        if count > _STEPS:
            raise ValueError(f"a rollout may have {_STEPS} steps; these would be {count:,}")
        return self

    @model_validator(mode="after")
    def _comparing(self) -> Self:
        if self.strategy == "all-at-once" or (self.steps and self.steps[0].percent == 100):
            for name in ("max_latency_ratio", "max_prediction_shift"):
                if getattr(self.analysis, name) is not None:
                    raise ValueError(
                        f"analysis.{name} compares both versions while they serve side by side; "
                        "begin with a step below 100 %, or leave it out"
                    )
        return self

    @property
    def planned(self) -> float:
        """The seconds that all steps take at least."""
        match self.strategy:
            case "steps":
                return sum(seconds(step.bake) for step in self.steps)
            case "linear":
                return seconds(self.bake) * self._linear
            case _:
                return seconds(self.bake)

    @property
    def _linear(self) -> int:
        # As many as `fnmodel.release.plan.linear` makes.
        return int((99.995 - 1e-9) // self.percent)


class BatchJob(_Strict):
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

    def event(self, bucket: str, scheduled_time: str, schedule_arn: str) -> dict[str, Any]:
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


class JwtAccess(_Strict):
    """Callers with a token of an OpenID Connect provider."""

    issuer: str = Field(description="URL of the provider, exactly as `iss` in its tokens")
    audience: tuple[str, ...] = Field(
        min_length=1, description="`aud` (or `client_id`) of a token must be one of these"
    )
    scopes: tuple[str, ...] = Field(
        default=(), description="a token needs one of these scopes; none are asked for by default"
    )

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, value: str) -> str:
        if not re.fullmatch(rf"(https://[a-z0-9.-]+(:\d+)?|{_LOOPBACK})(/[^\s?#]*)?", value):
            raise ValueError("write the provider's URL: https://…; http is for 127.0.0.1 only")
        return value


class ApiKeyAccess(_Strict):
    """Callers with a key that `fnmodel keys add` made; it has no settings."""


class Access(_Strict):
    """Who may call the endpoint: exactly one of `iam`, `jwt`, `api_key` and `public`."""

    iam: Literal[True] | None = Field(
        default=None, description="callers whose IAM policy allows it; they sign with SigV4"
    )
    jwt: JwtAccess | None = Field(
        default=None, description="callers with a token of an OpenID Connect provider"
    )
    api_key: ApiKeyAccess | None = Field(
        default=None, description="callers with a key of `fnmodel keys`: `api_key: {}`"
    )
    public: Literal[True] | None = Field(
        default=None, description="everybody; in AWS `deploy` asks for the stage's name first"
    )
    health: Literal["protected", "public"] = Field(
        default="protected",
        description="whether `/v2/health/live` and `/v2/health/ready` answer everybody",
    )
    docs: Literal["protected", "public"] = Field(
        default="protected",
        description="whether `/docs` and `/openapi.json` answer everybody: they name the features",
    )

    @property
    def mode(self) -> AccessMode:
        """The one that is set."""
        return next(mode for mode in ACCESS_MODES if getattr(self, mode) is not None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [mode for mode in ACCESS_MODES if getattr(self, mode) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(
                f"write exactly one of iam, jwt, api_key and public; {found} is written"
            )
        return self


class CorsConfig(_Strict):
    """Web pages that may call the endpoint from a browser."""

    origins: tuple[str, ...] = Field(
        min_length=1,
        description="origins of the pages, as https://app.example; each is written out, for `*`, "
        "`null` and patterns are refused; http is for 127.0.0.1 and localhost only",
    )

    @field_validator("origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            host = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
            if not re.fullmatch(rf"https://{host}(\.{host})*(:\d{{1,5}})?|{_LOOPBACK}", origin):
                raise ValueError(
                    f"{origin!r} is not an origin: write scheme and host, as https://app.example, "
                    "in lower case, without a path and without *"
                )
        return value


class Stage(_Strict):
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


class _OneModel(_Strict):
    model: Path | None = Field(default=None, description="the trained model file")
    sample: Path | None = Field(
        default=None, description="rows like the training data (.csv, .json, .parquet, .npz)"
    )
    target: str | None = Field(default=None, description="label column of the sample, left out")
    request: Path | None = Field(
        default=None, description="one request as JSON; `init` writes it, `invoke` sends it"
    )
    processing: Path | None = Field(
        default=None,
        description="Python file with preprocess(records) and postprocess(predictions, records), "
        "which is packed and runs around the model",
    )
    parity: Parity = Parity()
    slim: SlimConfig = SlimConfig()
    gates: Gates = Gates()


class ModelConfig(_OneModel):
    """One of several models: what stands at the top level where there is one."""

    model: Path = Field(description="the trained model file")


class _Named(_Strict):
    name: Name = Field(
        description="the project's name: in the stack's and image's name, and in URLs as the name "
        "of its one model"
    )


class Project(_OneModel, _Named):
    """A model, or several in one image, and how they are slimmed, packed, deployed and scored."""

    models: Mapping[ModelName, ModelConfig] = Field(
        default={},
        validate_default=True,
        description="several models by their names in URLs, instead of `model`; paths that name "
        "none are the first one's",
    )
    requirements: Path | None = Field(
        default=None,
        description="packages that `processing` imports beyond the runtime's, one a line; `fnmodel "
        "lock` pins them beside this file",
    )
    image: ImageConfig = ImageConfig()
    signing: SigningConfig = SigningConfig()
    function: FunctionConfig = FunctionConfig()
    capture: CaptureConfig = CaptureConfig()
    audit: AuditConfig = AuditConfig()
    cors: CorsConfig | None = Field(
        default=None, description="web pages that may call the endpoint; none by default"
    )
    batch: tuple[BatchJob, ...] = ()
    rollout: RolloutConfig = RolloutConfig()
    stage: Name = Field(default="dev", description="stage of commands that name none")
    stages: Mapping[Name, Stage] = Field(default_factory=dict)

    @property
    def served(self) -> Mapping[str, ModelConfig]:
        """The models by their names in URLs, the first one first; one has the project's name."""
        if self.models:
            return self.models
        return {
            self.name: ModelConfig(**{key: getattr(self, key) for key in _OneModel.model_fields})
        }

    @field_validator("models")
    @classmethod
    def _instead(
        cls, value: Mapping[str, ModelConfig], info: ValidationInfo
    ) -> Mapping[str, ModelConfig]:
        fields = _OneModel.model_fields.items()
        beside = [key for key, one in fields if info.data.get(key, one.default) != one.default]
        if value and beside:
            keys = ", ".join(f"`{key}`" for key in beside)
            raise ValueError(f"{keys} of one model beside it; move that under a name in `models`")
        if not value and info.data.get("model", ...) is None:
            raise ValueError(
                "there is no model; write `model: FILE`, or several as "
                "`models: {NAME: {model: FILE}}`"
            )
        return value

    @model_validator(mode="after")
    def _jobs(self) -> Self:
        names = [job.name for job in self.batch]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"batch job {twice[0]!r} is declared twice")
        known = self.models or {self.name}
        for job in self.batch:
            if job.model is not None and job.model not in known:
                raise ValueError(
                    f"batch job {job.name!r} is of model {job.model!r}; there is: "
                    + ", ".join(known)
                )
        return self

    def model_name(self, given: str | None) -> str:
        """Return the name of the model that is meant; the first one's where none is given.

        Raises:
            UsageError: there is no such model.

        """
        served = self.served
        if given is not None and given not in served:
            raise UsageError(
                f"there is no model {given!r} in {FILE}", hint=f"use one of: {', '.join(served)}"
            )
        return given or next(iter(served))

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        rollouts = [self.rollout, *(s.rollout for s in self.stages.values() if s.rollout)]
        asked = any(r.automatic and r.analysis.max_prediction_shift for r in rollouts)
        if asked and not self.capture.rate:
            raise ValueError(
                "rollout.analysis.max_prediction_shift compares captured rows; set `capture.rate`"
            )
        if asked and self.models:
            raise ValueError(
                "rollout.analysis.max_prediction_shift compares the predictions of one model; with "
                "`models` leave it out"
            )
        return self

    def stage_of(self, name: str | None, *, local: bool = False) -> tuple[str, Stage]:
        """Return the name and settings of a stage.

        `name` wins over `FNMODEL_STAGE` and the project's `stage`. With `local`, the stage runs in
        the embedded cloud, and is called `local` when nothing names one. The stage `local` is
        there without being declared.

        Raises:
            UsageError: the stage is neither declared nor the default one.

        """
        chosen = name or os.environ.get("FNMODEL_STAGE") or ("local" if local else self.stage)
        if not re.fullmatch(NAME, chosen):
            raise UsageError(
                f"{chosen!r} is not a stage name",
                hint="lower-case letters, digits and hyphens, 2 to 32 characters",
            )
        stage = self.stages.get(chosen)
        if stage is None:
            if not local and chosen not in {self.stage, "local"}:
                known = ", ".join(sorted({*self.stages, self.stage, "local"}))
                raise UsageError(
                    f"there is no stage {chosen!r} in {FILE}",
                    hint=f"declare it under `stages:`, or use one of: {known}",
                )
            stage = Stage(cloud="local" if chosen == "local" else "aws")
        if local and stage.cloud != "local":
            stage = stage.model_copy(update={"cloud": "local"})
        return chosen, stage


def find(start: Path | None = None) -> Path:
    """Return the `fnmodel.yaml` of this folder.

    Raises:
        UsageError: there is none.

    """
    folder = (start or Path.cwd()).absolute()
    path = folder / FILE
    if not path.is_file():
        raise UsageError(
            f"there is no {FILE} in {folder}",
            hint="`fnmodel init MODEL --sample FILE` writes one; or name the folder with --project",
        )
    return path


def load(path: Path) -> Project:
    """Read a project file; its relative paths become absolute.

    Raises:
        ConfigError: it is not YAML, has unknown keys or wrong values; lists all of them by line.

    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_plain(node)
        data = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(str(path), [str(error)]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(str(path), [f"{line}{problem}"]) from error
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(str(path), ["line 1: expected keys and values, such as `name: churn`"])
    lines = dict(_lines(node, ()))
    twice = [f"line {line}: key {key!r} stands twice" for key, line in _twice(node)]
    try:
        project = Project.model_validate(data)
    except ValidationError as error:
        problems = [_problem(dict(item), lines) for item in error.errors()]
        raise ConfigError(str(path), [*twice, *problems]) from error
    if twice:
        raise ConfigError(str(path), twice)
    folder = path.parent
    base = project.image.base
    if base is not None and base.startswith("oci:"):
        base = f"oci:{folder / base.removeprefix('oci:')}"
    signing = SigningConfig(
        key=project.signing.key and folder / project.signing.key,
        trusted=tuple(folder / key for key in project.signing.trusted),
    )
    models = {
        name: one.model_copy(update=_below(folder, one)) for name, one in project.models.items()
    }
    return project.model_copy(
        update={
            **_below(folder, project),
            "models": models,
            "requirements": project.requirements and folder / project.requirements,
            "image": project.image.model_copy(update={"base": base}),
            "signing": signing,
        }
    )


def _below(folder: Path, one: _OneModel) -> dict[str, Any]:
    """Return what names files of a model, below a folder."""
    keys = ("model", "sample", "request", "processing")
    found = {key: folder / value for key in keys if (value := getattr(one, key)) is not None}
    sample = one.gates.sample and folder / one.gates.sample
    return {**found, "gates": one.gates.model_copy(update={"sample": sample})}


def _check_plain(node: yaml.Node | None) -> None:
    """Refuse YAML that is more than keys, lists and values.

    Raises:
        ValueError: a key is no plain word, or a value has a tag or refers to another.

    """
    seen: set[int] = set()
    waiting = [node] if node is not None else []
    while waiting:
        one = waiting.pop()
        line = f"line {one.start_mark.line + 1}: "
        if id(one) in seen:
            raise ValueError(f"{line}anchors and aliases are not used here; write the value out")
        seen.add(id(one))
        if not one.tag.startswith("tag:yaml.org,2002:"):
            raise ValueError(f"{line}the tag {one.tag} is not used here; write a plain value")
        if isinstance(one, yaml.MappingNode):
            if not all(isinstance(key, yaml.ScalarNode) for key, _ in one.value):
                raise ValueError(f"{line}a key must be a plain word")
            waiting.extend(value for _, value in one.value)
        elif isinstance(one, yaml.SequenceNode):
            waiting.extend(one.value)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `fnmodel.yaml`."""
    return Project.model_json_schema()


def _lines(node: yaml.Node, at: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], int]]:
    yield at, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), key.start_mark.line + 1
            yield from ((k, n) for k, n in _lines(value, (*at, key.value)) if k != (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*at, index))


def _twice(node: yaml.Node) -> Iterator[tuple[str, int]]:
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.value, key.start_mark.line + 1
            seen.add(key.value)
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        yield from _twice(child)


def _problem(item: dict[str, Any], lines: dict[tuple[Any, ...], int]) -> str:
    at = tuple(part for part in item["loc"] if part != "[key]")
    line = next(lines[at[:size]] for size in range(len(at), -1, -1) if at[:size] in lines)
    dotted = ".".join(str(part) for part in at)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(at[-1]), _keys(at[:-1]), n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        return f"line {line}: unknown key {dotted!r}{guess}"
    message = item["msg"].removeprefix("Value error, ")
    return f"line {line}: {dotted}: {message}" if dotted else f"line {line}: {message}"


def _keys(at: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Project
    nested: dict[str, type[BaseModel]] = {
        "models": ModelConfig, "parity": Parity, "slim": SlimConfig, "gates": Gates,
        "metrics": MetricGate, "champion": ChampionConfig, "fairness": FairnessGate,
        "image": ImageConfig, "signing": SigningConfig, "function": FunctionConfig,
        "audit": AuditConfig, "capture": CaptureConfig,
        "batch": BatchJob, "stages": Stage, "access": Access, "jwt": JwtAccess,
        "api_key": ApiKeyAccess, "cors": CorsConfig, "rollout": RolloutConfig,
        "analysis": Analysis, "steps": RolloutStep,
    }  # fmt: skip
    for part in at:
        model = nested.get(part, model) if isinstance(part, str) else model
    return list(model.model_fields)
