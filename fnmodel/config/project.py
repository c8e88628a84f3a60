"""The whole of `fnmodel.yaml`."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fnmodel.config.access import CorsConfig
from fnmodel.config.alarms import AlarmsConfig
from fnmodel.config.base import FILE, NAME, ModelName, Name, Strict, repeated
from fnmodel.config.batch import BatchJob
from fnmodel.config.card import CardConfig
from fnmodel.config.fanout import FanoutConfig
from fnmodel.config.function import AuditConfig, CaptureConfig, FunctionConfig
from fnmodel.config.image import ImageConfig, SigningConfig
from fnmodel.config.jobs import JobsConfig
from fnmodel.config.model import ModelConfig, OneModel
from fnmodel.config.rollout import RolloutConfig
from fnmodel.config.stack import StackConfig
from fnmodel.config.stage import Stage
from fnmodel.config.watch import PipelineStep, WatchConfig
from fnmodel.errors import UsageError


class _Named(Strict):
    name: Name = Field(
        description="the project's name: in the stack's and image's name, and in URLs as the name "
        "of its one model"
    )


class Project(OneModel, _Named):
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
    fanout: FanoutConfig | None = Field(
        default=None,
        description="spread large batch runs over many invocations, by Step Functions; without it "
        "one function scores a run, one attempt after the other",
    )
    jobs: JobsConfig | None = Field(
        default=None,
        description="asynchronous requests, for inputs too large for one over HTTP; none by "
        "default",
    )
    rollout: RolloutConfig = RolloutConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    stack: StackConfig = StackConfig()
    card: CardConfig = CardConfig()
    watch: WatchConfig = WatchConfig()
    pipeline: tuple[PipelineStep, ...] = Field(
        default=(), description="steps of `fnmodel run`, in order; what retraining runs"
    )
    stage: Name = Field(default="dev", description="stage of commands that name none")
    stages: Mapping[Name, Stage] = Field(default_factory=dict)

    @property
    def served(self) -> Mapping[str, ModelConfig]:
        """The models by their names in URLs, the first one first; one has the project's name."""
        if self.models:
            return self.models
        return {
            self.name: ModelConfig(**{key: getattr(self, key) for key in OneModel.model_fields})
        }

    @field_validator("models")
    @classmethod
    def _instead(
        cls, value: Mapping[str, ModelConfig], info: ValidationInfo
    ) -> Mapping[str, ModelConfig]:
        fields = OneModel.model_fields.items()
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
        if twice := repeated(job.name for job in self.batch):
            raise ValueError(f"batch job {twice!r} is declared twice")
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
    def _steps(self) -> Self:
        if twice := repeated(step.name for step in self.pipeline):
            raise ValueError(f"step {twice!r} of `pipeline` is declared twice")
        if self.watch.retrain is not None:
            if not self.pipeline:
                raise ValueError("watch.retrain starts `pipeline`, which has no step")
            captures = [self.capture, *(s.capture for s in self.stages.values() if s.capture)]
            if self.watch.off or not any(capture.rate for capture in captures):
                raise ValueError("watch.retrain needs captured rows; set `capture.rate`")
        return self

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        pairs = [(self.rollout, self.capture)]
        pairs += [
            (s.rollout or self.rollout, s.capture or self.capture) for s in self.stages.values()
        ]
        asked = [(r, c) for r, c in pairs if r.automatic and r.analysis.max_prediction_shift]
        if any(not capture.rate for _, capture in asked):
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
