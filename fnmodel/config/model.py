"""Models: their files, how they are slimmed, and what they must reach."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from fnmodel.config.base import Strict


class Parity(Strict):
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


class SlimConfig(Strict):
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


class _Bounds(Strict):
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


class ChampionConfig(Strict):
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


class Gates(Strict):
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


class OneModel(Strict):
    """What belongs to one model: at the top level, or under its name in `models`."""

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


class ModelConfig(OneModel):
    """One of several models: what stands at the top level where there is one."""

    model: Path = Field(description="the trained model file")
