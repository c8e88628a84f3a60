"""Statements of the roles in a template, by their Sid."""

from collections.abc import Mapping
from typing import Any


def statement(resources: Mapping[str, Any], role: str, sid: str) -> dict[str, Any]:
    """Return a statement of a role, to be filled in."""
    found: dict[str, Any] = next(
        one for one in _document(resources, role)["Statement"] if one["Sid"] == sid
    )
    return found


def forbid(resources: Mapping[str, Any], role: str, sid: str) -> None:
    """Take a statement out of a role."""
    document = _document(resources, role)
    document["Statement"] = [one for one in document["Statement"] if one["Sid"] != sid]


def _document(resources: Mapping[str, Any], role: str) -> dict[str, Any]:
    [policy] = resources[role]["Properties"]["Policies"]
    document: dict[str, Any] = policy["PolicyDocument"]
    return document
