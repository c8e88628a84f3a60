"""`fnmodel.yaml`: one model of pydantic, a module for each part of it."""

from fnmodel.config.access import Access, AccessMode, ApiKeyAccess, CorsConfig, JwtAccess
from fnmodel.config.alarms import AlarmsConfig
from fnmodel.config.base import FILE, NAME, Duration, ModelName, Name, seconds
from fnmodel.config.batch import BatchJob
from fnmodel.config.card import CardConfig
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
from fnmodel.config.rollout import Analysis, Replay, RolloutConfig, RolloutStep
from fnmodel.config.stack import DomainConfig, StackConfig
from fnmodel.config.stage import Stage
from fnmodel.config.watch import PipelineStep, RetrainConfig, WatchConfig, WebhookConfig

__all__ = [
    "FILE",
    "NAME",
    "Access",
    "AccessMode",
    "AlarmsConfig",
    "Analysis",
    "ApiKeyAccess",
    "AuditConfig",
    "BatchJob",
    "CaptureConfig",
    "CardConfig",
    "ChampionConfig",
    "CorsConfig",
    "DomainConfig",
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
    "PipelineStep",
    "Project",
    "Replay",
    "RetrainConfig",
    "RolloutConfig",
    "RolloutStep",
    "SigningConfig",
    "SlimConfig",
    "StackConfig",
    "Stage",
    "WatchConfig",
    "WebhookConfig",
    "find",
    "json_schema",
    "load",
    "seconds",
]
