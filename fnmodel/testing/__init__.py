"""Strict stand-ins for what fnmodel talks to, for your tests and ours."""

from fnmodel.testing.account import InMemoryAccount
from fnmodel.testing.aliases import InMemoryLambda
from fnmodel.testing.metrics import InMemoryMetrics
from fnmodel.testing.objects import InMemoryObjects
from fnmodel.testing.registry import InMemoryRegistry

__all__ = [
    "InMemoryAccount",
    "InMemoryLambda",
    "InMemoryMetrics",
    "InMemoryObjects",
    "InMemoryRegistry",
]
