"""`fnmodel.yaml`: one model of pydantic, a module for each part of it."""

from fnmodel.config.access import Access, AccessMode, ApiKeyAccess, CorsConfig, JwtAccess
from fnmodel.config.base import FILE, NAME, Duration, ModelName, Name, seconds
from fnmodel.config.batch import BatchJob
from fnmodel.config.fanout import FanoutConfig
from fnmodel.config.function import AuditConfig, CaptureConfig, FunctionConfig
from fnmodel.config.image import ImageConfig, SigningConfig
from fnmodel.config.jobs import JobsConfig
from fnmodel.config.load import find, json_schema, load
from fnmodel.config.model import (
    ChampionConfig,
    FairnessGate,
    Gates,
    Judge,
    Label,
    MetricGate,
    ModelConfig,
    OneModel,
    Parity,
    SlimConfig,
)
from fnmodel.config.project import Project
from fnmodel.config.rollout import Analysis, RolloutConfig, RolloutStep
from fnmodel.config.stage import Stage

__all__ = [
    "FILE",
    "NAME",
    "Access",
    "AccessMode",
    "Analysis",
    "ApiKeyAccess",
    "AuditConfig",
    "BatchJob",
    "CaptureConfig",
    "ChampionConfig",
    "CorsConfig",
    "Duration",
    "FairnessGate",
    "FanoutConfig",
    "FunctionConfig",
    "Gates",
    "ImageConfig",
    "JobsConfig",
    "Judge",
    "JwtAccess",
    "Label",
    "MetricGate",
    "ModelConfig",
    "ModelName",
    "Name",
    "OneModel",
    "Parity",
    "Project",
    "RolloutConfig",
    "RolloutStep",
    "SigningConfig",
    "SlimConfig",
    "Stage",
    "find",
    "json_schema",
    "load",
    "seconds",
]
